//! Where the node is put: over the aggregate that groups by `time_bucket_gapfill`, and over its HAVING.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DataFusionError, Result, ScalarValue};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    Aggregate, Expr, ExprSchemable, Extension, Filter, LogicalPlan, Projection, ScalarUDF, Window,
};
use datafusion::optimizer::AnalyzerRule;
use probepilot_sql::{SqlError, SqlState};

use super::Fill;
use super::node::GapFill;
use super::range::{self, Bound, End};
use crate::engine::errors::FunctionError;
use crate::functions::aggregates::sql_name;
use crate::functions::bucket::{GAPFILL, TIME_BUCKET};
use crate::functions::fill::{INTERPOLATE, LOCF, misplaced};

/// The rule. It runs before types are coerced.
#[derive(Debug)]
pub(crate) struct GapFillRule {
    /// What cuts time where gaps are filled by the node.
    time_bucket: Arc<ScalarUDF>,
}

impl GapFillRule {
    /// The rule with the session's `time_bucket`.
    pub(crate) fn new(time_bucket: Arc<ScalarUDF>) -> GapFillRule {
        debug_assert_eq!(time_bucket.name(), TIME_BUCKET);
        GapFillRule { time_bucket }
    }
}

impl AnalyzerRule for GapFillRule {
    fn name(&self) -> &str {
        "gapfill"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        let plan = plan.transform_down_with_subqueries(|plan| match &plan {
            LogicalPlan::Projection(_) => match self.block(&plan, &mut Vec::new())? {
                Some(filled) => Ok(Transformed::yes(filled)),
                None => Ok(Transformed::no(plan)),
            },
            _ => Ok(Transformed::no(plan)),
        })?;
        nothing_is_left(&plan.data)?;
        Ok(plan.data)
    }
}

impl GapFillRule {
    /// The plan of a query block with the node in it; `None` when it does not group by `time_bucket_gapfill`. `calls` are
    /// those of `locf` and `interpolate` in the nodes above.
    fn block(&self, plan: &LogicalPlan, calls: &mut Vec<Call>) -> Result<Option<LogicalPlan>> {
        match plan {
            LogicalPlan::Projection(projection) => {
                let exprs = take_calls(&projection.expr, calls)?;
                let Some(input) = self.block(&projection.input, calls)? else { return Ok(None) };
                Ok(Some(LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(input))?)))
            }
            LogicalPlan::Window(window) => {
                let exprs = take_calls(&window.window_expr, calls)?;
                let Some(input) = self.block(&window.input, calls)? else { return Ok(None) };
                Ok(Some(LogicalPlan::Window(Window::try_new(exprs, Arc::new(input))?)))
            }
            LogicalPlan::Filter(filter) => match filter.input.as_ref() {
                LogicalPlan::Aggregate(aggregate) => {
                    let Some(grouped) = self.grouped(aggregate)? else { return Ok(None) };
                    let having = Filter::try_new(filter.predicate.clone(), Arc::new(grouped.plan.clone()))?;
                    fill(Grouped { plan: LogicalPlan::Filter(having), ..grouped }, calls).map(Some)
                }
                _ => Ok(None),
            },
            LogicalPlan::Aggregate(aggregate) => match self.grouped(aggregate)? {
                Some(grouped) => fill(grouped, calls).map(Some),
                None => Ok(None),
            },
            _ => Ok(None),
        }
    }

    /// The aggregate with plain buckets, and what the node needs to know of them.
    fn grouped(&self, aggregate: &Aggregate) -> Result<Option<Grouped>> {
        let of_group = |expr: &Expr| match expr {
            Expr::ScalarFunction(function) if function.name() == GAPFILL => Some(function.clone()),
            _ => None,
        };
        let Some((time, function)) =
            aggregate.group_expr.iter().enumerate().find_map(|(index, expr)| Some((index, of_group(expr)?)))
        else {
            return Ok(None);
        };
        let [width, column, rest @ ..] = function.args.as_slice() else { return Ok(None) };
        let time_type = column.get_type(aggregate.input.schema())?;
        let (zone, start, finish) = match rest {
            [] => (None, None, None),
            [zone] => (Some(zone), None, None),
            [start, finish] => (None, Some(start), Some(finish)),
            [zone, start, finish, ..] => (Some(zone), Some(start), Some(finish)),
        };
        let given = |end, expr: Option<&Expr>| {
            expr.filter(|expr| !is_null(expr)).map(|expr| Bound::new(end, expr.clone(), 0, &time_type))
        };
        let asked = range::of_filters(&aggregate.input, column, &time_type);
        let mut bounds = Vec::new();
        for (end, name, given) in
            [(End::Start, "start", given(End::Start, start)), (End::Finish, "finish", given(End::Finish, finish))]
        {
            let of_end = asked.iter().filter(|bound| bound.end == end).cloned();
            let count = bounds.len();
            match given {
                Some(given) => bounds.push(given),
                None => bounds.extend(of_end),
            }
            if bounds.len() == count {
                return Err(no_range(name));
            }
        }
        let buckets: Vec<Expr> = std::iter::once(width).chain(zone.filter(|zone| !is_null(zone))).cloned().collect();
        let mut args = vec![buckets[0].clone(), column.clone()];
        args.extend(buckets.get(1).cloned());
        let mut group = aggregate.group_expr.clone();
        let name = group[time].schema_name().to_string();
        group[time] = Expr::ScalarFunction(ScalarFunction::new_udf(Arc::clone(&self.time_bucket), args)).alias(name);
        let keys = (0..group.len()).filter(|index| *index != time).collect();
        let plan = Aggregate::try_new(Arc::clone(&aggregate.input), group, aggregate.aggr_expr.clone())?;
        Ok(Some(Grouped { plan: LogicalPlan::Aggregate(plan), time, keys, buckets, bounds }))
    }
}

/// An aggregate over buckets whose gaps are to be filled.
struct Grouped {
    plan: LogicalPlan,
    time: usize,
    keys: Vec<usize>,
    buckets: Vec<Expr>,
    bounds: Vec<Bound>,
}

/// A call of `locf` or `interpolate`.
struct Call {
    /// The column with its values.
    name: String,
    value: Expr,
    fill: Fill,
}

/// Puts columns in the places of calls of `locf` and `interpolate`.
fn take_calls(exprs: &[Expr], calls: &mut Vec<Call>) -> Result<Vec<Expr>> {
    let taken = exprs.iter().map(|expr| {
        let replaced = expr.clone().transform_up(|part| {
            let Expr::ScalarFunction(function) = &part else { return Ok(Transformed::no(part)) };
            let Some((value, fill)) = filling(function)? else { return Ok(Transformed::no(part)) };
            let name = part.schema_name().to_string();
            if !calls.iter().any(|call| call.name == name) {
                calls.push(Call { name: name.clone(), value, fill });
            }
            Ok(Transformed::yes(Expr::Column(Column::new_unqualified(name))))
        })?;
        Ok(replaced.data)
    });
    taken.collect()
}

fn filling(function: &ScalarFunction) -> Result<Option<(Expr, Fill)>> {
    let name = function.name();
    if ![LOCF, INTERPOLATE].contains(&name) {
        return Ok(None);
    }
    let [value, rest @ ..] = function.args.as_slice() else { return Ok(None) };
    let fill = match (name, rest) {
        (INTERPOLATE, rest) if rest.iter().all(is_null) => Fill::Line,
        (LOCF, rest) if rest.first().is_none_or(is_null) => match rest.get(1) {
            None => Fill::Last { skip_nulls: false },
            Some(Expr::Literal(ScalarValue::Boolean(skip), _)) => Fill::Last { skip_nulls: skip.unwrap_or(false) },
            Some(other) if is_null(other) => Fill::Last { skip_nulls: false },
            Some(_) => return Err(FunctionError::wrap(LOCF, values_outside(LOCF))),
        },
        _ => return Err(FunctionError::wrap(name, values_outside(name))),
    };
    Ok(Some((value.clone(), fill)))
}

fn values_outside(name: &str) -> SqlError {
    SqlError::unsupported(format!("{name} does not look up values outside of the range"))
        .hint("Let the range begin earlier, and leave the rows before it out in an outer query.")
}

fn is_null(expr: &Expr) -> bool {
    match expr {
        Expr::Literal(value, _) => value.is_null(),
        Expr::Cast(cast) => is_null(&cast.expr),
        _ => false,
    }
}

fn no_range(name: &str) -> DataFusionError {
    let error = SqlError::new(
        SqlState::INVALID_PARAMETER_VALUE,
        format!("missing {GAPFILL} argument: could not infer {name} from the WHERE clause"),
    );
    FunctionError::wrap(
        GAPFILL,
        error.hint("Ask for a range of the time in the same query (time >= x AND time < y), or give start and finish."),
    )
}

/// The node over an aggregate, with a column for each call.
fn fill(grouped: Grouped, calls: &[Call]) -> Result<LogicalPlan> {
    let Grouped { plan, time, keys, buckets, bounds } = grouped;
    for call in calls.iter().filter(|call| call.fill == Fill::Line) {
        let data_type = call.value.get_type(plan.schema())?;
        if !data_type.is_numeric() && !data_type.is_null() {
            let message = format!("function {INTERPOLATE}({}) does not exist", sql_name(&data_type));
            let error = SqlError::new(SqlState::UNDEFINED_FUNCTION, message).hint("It takes a number.");
            return Err(FunctionError::wrap(INTERPOLATE, error));
        }
    }
    let columns = plan.schema().columns();
    let (first, mut exprs): (usize, Vec<Expr>) = (columns.len(), columns.into_iter().map(Expr::Column).collect());
    exprs.extend(calls.iter().map(|call| call.value.clone().alias(&call.name)));
    let fills = calls.iter().enumerate().map(|(index, call)| (first + index, call.fill)).collect();
    let input = LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(plan))?);
    let node = GapFill::new(input, time, keys, fills, buckets, bounds)?;
    Ok(LogicalPlan::Extension(Extension { node: Arc::new(node) }))
}

/// Fails when a call stands where nothing can be filled.
fn nothing_is_left(plan: &LogicalPlan) -> Result<()> {
    plan.apply_with_subqueries(|plan| {
        plan.apply_expressions(|expr| {
            expr.apply(|part| match part {
                Expr::ScalarFunction(function) if [LOCF, INTERPOLATE].contains(&function.name()) => {
                    Err(FunctionError::wrap(function.name(), misplaced(function.name())))
                }
                Expr::ScalarFunction(function) if function.name() == GAPFILL => {
                    let error = SqlError::unsupported(format!("{GAPFILL} works only in GROUP BY"));
                    let hint = format!("Write SELECT {GAPFILL}('1 minute', time) AS time, … GROUP BY 1.");
                    Err(FunctionError::wrap(GAPFILL, error.hint(hint)))
                }
                _ => Ok(TreeNodeRecursion::Continue),
            })
        })
    })?;
    Ok(())
}
