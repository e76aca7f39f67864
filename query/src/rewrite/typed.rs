//! What PostgreSQL means by casts, comparisons and orders of types that Arrow treats otherwise: times of the session's zone,
//! their texts, and intervals. Where types are final, so that casts which the planner adds are seen too.

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::expr::{Between, BinaryExpr, Cast, InList};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, Operator, ScalarUDF, lit};
use datafusion::optimizer::analyzer::AnalyzerRule;

use crate::functions::interval::length_of;
use crate::functions::zone::Zone;
use crate::functions::{calendar, moment, output};

/// Changes each expression of a plan and its subqueries, from the innermost, given the columns it sees. Columns keep their names.
pub(super) fn each_expression(
    plan: LogicalPlan,
    change: impl Fn(Expr, &DFSchema) -> Result<Transformed<Expr>>,
) -> Result<LogicalPlan> {
    let in_plan = |plan: LogicalPlan| {
        let mut schema = merge_schema(&plan.inputs());
        if let LogicalPlan::TableScan(scan) = &plan {
            schema.merge(&DFSchema::try_from_qualified_schema(scan.table_name.clone(), &scan.source.schema())?);
        }
        let names = NamePreserver::new(&plan);
        let changed = plan.map_expressions(|expr| {
            let name = names.save(&expr);
            let changed = expr.transform_up(|expr| change(expr, &schema))?;
            Ok(if changed.transformed { changed.update_data(|expr| name.restore(expr)) } else { changed })
        })?;
        if changed.transformed { changed.map_data(LogicalPlan::recompute_schema) } else { Ok(changed) }
    };
    Ok(plan.transform_up_with_subqueries(in_plan)?.data)
}

/// The rule, behind the one that makes types final.
#[derive(Debug)]
pub struct Typed {
    timestamp_in: ScalarUDF,
    timestamptz_in: ScalarUDF,
    timezone: ScalarUDF,
    timestamptz_plus: ScalarUDF,
}

impl Default for Typed {
    fn default() -> Typed {
        Typed {
            timestamp_in: moment::timestamp_in(),
            timestamptz_in: moment::timestamptz_in(),
            timezone: calendar::timezone(),
            timestamptz_plus: calendar::timestamptz_plus(),
        }
    }
}

impl AnalyzerRule for Typed {
    fn name(&self) -> &'static str {
        "typed"
    }

    fn analyze(&self, plan: LogicalPlan, config: &ConfigOptions) -> Result<LogicalPlan> {
        let is_utc = Zone::of_session(config)?.is_utc();
        let zone = config.execution.time_zone.as_deref().filter(|_| !is_utc).map(lit);
        let plan = each_expression(plan, |expr, schema| self.in_expr(expr, schema, zone.as_ref()))?;
        Ok(plan.transform_up_with_subqueries(order_of_rows)?.data)
    }
}

impl Typed {
    fn in_expr(&self, expr: Expr, schema: &DFSchema, zone: Option<&Expr>) -> Result<Transformed<Expr>> {
        match expr {
            Expr::Cast(cast) => self.cast(cast, schema, zone),
            Expr::BinaryExpr(BinaryExpr { left, op: op @ (Operator::Plus | Operator::Minus), right })
                if let Some(zone) = zone =>
            {
                self.sum(BinaryExpr { left, op, right }, schema, zone)
            }
            Expr::BinaryExpr(BinaryExpr { left, op, right })
                if compares(op) && is_interval(&left, schema)? && is_interval(&right, schema)? =>
            {
                let (left, right) = (Box::new(length_of(*left)), Box::new(length_of(*right)));
                Ok(Transformed::yes(Expr::BinaryExpr(BinaryExpr { left, op, right })))
            }
            Expr::Between(Between { expr, negated, low, high }) if is_interval(&expr, schema)? => {
                let [expr, low, high] = [expr, low, high].map(|bound| Box::new(length_of(*bound)));
                Ok(Transformed::yes(Expr::Between(Between { expr, negated, low, high })))
            }
            Expr::InList(InList { expr, list, negated }) if is_interval(&expr, schema)? => {
                let list = list.into_iter().map(length_of).collect();
                Ok(Transformed::yes(Expr::InList(InList { expr: Box::new(length_of(*expr)), list, negated })))
            }
            other => Ok(Transformed::no(other)),
        }
    }

    /// A sum or a difference with a time of the session's zone.
    fn sum(&self, sum: BinaryExpr, schema: &DFSchema, zone: &Expr) -> Result<Transformed<Expr>> {
        let BinaryExpr { left, op, right } = sum;
        let (left_type, right_type) = (left.get_type(schema)?, right.get_type(schema)?);
        let call_plus = |time: Expr, interval: Expr| {
            let mut args = vec![time, interval, zone.clone()];
            args.extend((op == Operator::Minus).then(|| lit(true)));
            Ok(Transformed::yes(self.timestamptz_plus.call(args)))
        };
        let (left, right) = match (&left_type, &right_type) {
            (DataType::Timestamp(_, Some(_)), DataType::Interval(_)) => return call_plus(*left, *right),
            (DataType::Interval(_), DataType::Timestamp(_, Some(_))) if op == Operator::Plus => {
                return call_plus(*right, *left);
            }
            (DataType::Timestamp(_, Some(_)), local) if is_local(local) => (left, Box::new(self.moment(right, zone))),
            (local, DataType::Timestamp(_, Some(_))) if is_local(local) => (Box::new(self.moment(left, zone)), right),
            _ => return Ok(Transformed::no(Expr::BinaryExpr(BinaryExpr { left, op, right }))),
        };
        Ok(Transformed::yes(Expr::BinaryExpr(BinaryExpr { left, op, right })))
    }

    /// When a wall clock of the zone shows a time.
    fn moment(&self, local: Box<Expr>, zone: &Expr) -> Expr {
        let local = Cast::new(local, DataType::Timestamp(TimeUnit::Nanosecond, None));
        self.timezone.call(vec![zone.clone(), Expr::Cast(local)])
    }

    fn cast(&self, cast: Cast, schema: &DFSchema, zone: Option<&Expr>) -> Result<Transformed<Expr>> {
        let (from, to) = (cast.expr.get_type(schema)?, cast.field.data_type());
        let expr = match (&from, to, zone) {
            (from, to, _) if to.is_string() && output::has_own_text(from) => {
                return Ok(Transformed::yes(output::text_of(to.clone()).call(vec![*cast.expr])));
            }
            (from, DataType::Timestamp(_, zone), _) if from.is_string() => {
                let read = if zone.is_some() { &self.timestamptz_in } else { &self.timestamp_in };
                read.call(vec![*cast.expr])
            }
            (DataType::Timestamp(_, Some(_)), to, Some(zone)) if is_local(to) || is_clock(to) => {
                self.timezone.call(vec![zone.clone(), *cast.expr])
            }
            (from, DataType::Timestamp(_, Some(_)), Some(zone)) if is_local(from) => self.moment(cast.expr, zone),
            _ => return Ok(Transformed::no(Expr::Cast(cast))),
        };
        Ok(Transformed::yes(Expr::Cast(Cast { expr: Box::new(expr), field: cast.field })))
    }
}

/// Rows that are sorted by an interval.
fn order_of_rows(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let LogicalPlan::Sort(mut sort) = plan else { return Ok(Transformed::no(plan)) };
    let changed = by_length(sort.expr.iter_mut().map(|key| &mut key.expr), sort.input.schema())?;
    Ok(Transformed::new_transformed(LogicalPlan::Sort(sort), changed))
}

/// Makes keys that are intervals their lengths, and says whether there was one.
pub(super) fn by_length<'a>(keys: impl Iterator<Item = &'a mut Expr>, schema: &DFSchema) -> Result<bool> {
    let mut changed = false;
    for key in keys {
        if is_interval(key, schema)? {
            *key = length_of(std::mem::replace(key, Expr::Literal(ScalarValue::Null, None)));
            changed = true;
        }
    }
    Ok(changed)
}

fn compares(op: Operator) -> bool {
    use Operator::{Eq, Gt, GtEq, IsDistinctFrom, IsNotDistinctFrom, Lt, LtEq, NotEq};
    matches!(op, Eq | NotEq | Lt | LtEq | Gt | GtEq | IsDistinctFrom | IsNotDistinctFrom)
}

/// Whether it is months, days and time, which Arrow compares one after the other: a day would be longer than 25 hours.
pub(super) fn is_interval(expr: &Expr, schema: &DFSchema) -> Result<bool> {
    Ok(matches!(expr.get_type(schema)?, DataType::Interval(_)))
}

/// Whether it says a time of a wall clock.
fn is_local(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Timestamp(_, None) | DataType::Date32 | DataType::Date64)
}

fn is_clock(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Time32(_) | DataType::Time64(_))
}
