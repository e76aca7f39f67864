//! Correlated scalar subqueries as joins, where the planner's own rule refuses them: any condition, and any select list.
//!
//! The subquery is joined with the distinct values of the outer columns it uses, grouped by them, and joined back. A
//! group of more than one row is PostgreSQL's error 21000.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, JoinType, NullEquality, Result, plan_err};
use datafusion::functions_aggregate::expr_fn::array_agg;
use datafusion::functions_window::expr_fn::row_number;
use datafusion::logical_expr::expr::InSubquery;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::logical_plan::{Distinct, FetchType, Join, Limit, Projection, SkipType, Sort, Subquery};
use datafusion::logical_expr::{
    AggregateUDF, BinaryExpr, Expr, ExprFunctionExt, LogicalPlan, LogicalPlanBuilder, Operator, lit,
};
use datafusion::optimizer::AnalyzerRule;

use crate::functions::member::member;
use crate::functions::single_value::single_value;

/// Rewrites correlated scalar subqueries in select lists and conditions.
#[derive(Debug)]
pub struct SubqueriesToJoins {
    single_value: Arc<AggregateUDF>,
    /// Makes the names of the joined columns unique.
    next: AtomicU64,
}

impl Default for SubqueriesToJoins {
    /// The rule; it goes before type coercion.
    fn default() -> SubqueriesToJoins {
        SubqueriesToJoins { single_value: Arc::new(single_value()), next: AtomicU64::new(0) }
    }
}

impl AnalyzerRule for SubqueriesToJoins {
    fn name(&self) -> &str {
        "subqueries_to_joins"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        plan.transform_up_with_subqueries(|plan| self.rewrite(plan)).map(|transformed| transformed.data)
    }
}

/// The outer columns a subquery uses, as the columns of the domain that stand for them.
struct Domain {
    plan: LogicalPlan,
    columns: Vec<(Column, Column)>,
}

impl Domain {
    fn keys(&self) -> impl Iterator<Item = Expr> {
        self.columns.iter().map(|(_, key)| Expr::Column(key.clone()))
    }

    fn has_key(&self, column: &Column) -> bool {
        self.columns.iter().any(|(_, key)| key == column)
    }

    /// The same values under another name, for the other side of a join.
    fn again(&self) -> Result<Domain> {
        let name = self.columns.first().and_then(|(_, key)| key.relation.as_ref()).map_or("", |name| name.table());
        let name = format!("{name}_again");
        let plan = LogicalPlanBuilder::from(self.plan.clone()).alias(name.as_str())?.build()?;
        let columns = self.columns.iter().map(|(outer, key)| {
            let key = Column::new(Some(name.as_str()), key.name.clone());
            (outer.clone(), key)
        });
        Ok(Domain { plan, columns: columns.collect() })
    }

    /// The expression with the domain's columns in place of the outer ones.
    fn replace(&self, expr: &Expr) -> Result<Expr> {
        let replaced = expr.clone().transform(|expr| {
            let Expr::OuterReferenceColumn(_, outer) = &expr else { return Ok(Transformed::no(expr)) };
            match self.columns.iter().find(|(known, _)| known == outer) {
                Some((_, key)) => Ok(Transformed::yes(Expr::Column(key.clone()))),
                None => Ok(Transformed::no(expr)),
            }
        });
        replaced.map(|transformed| transformed.data)
    }
}

impl SubqueriesToJoins {
    fn rewrite(&self, plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
        if let LogicalPlan::Sort(sort) = &plan {
            return match self.sort_by_columns(sort)? {
                Some(sorted) => Ok(Transformed::yes(sorted)),
                None => Ok(Transformed::no(plan)),
            };
        }
        if !matches!(plan, LogicalPlan::Projection(_) | LogicalPlan::Filter(_)) {
            return Ok(Transformed::no(plan));
        }
        let mut input = plan.inputs()[0].clone();
        let names = NamePreserver::new(&plan);
        let mut changed = false;
        let expressions = plan.expressions().into_iter().map(|expr| {
            let name = names.save(&expr);
            let rewritten = expr.transform_down(|expr| match &expr {
                Expr::ScalarSubquery(subquery) => match self.join(&input, subquery)? {
                    Some((joined, value)) => {
                        input = joined;
                        changed = true;
                        Ok(Transformed::new(value, true, TreeNodeRecursion::Jump))
                    }
                    None => Ok(Transformed::new(expr, false, TreeNodeRecursion::Jump)),
                },
                // The planner knows IN only in conditions.
                Expr::InSubquery(within)
                    if matches!(plan, LogicalPlan::Projection(_)) && within.subquery.outer_ref_columns.is_empty() =>
                {
                    changed = true;
                    let member = is_member(within)?;
                    Ok(Transformed::new(member, true, TreeNodeRecursion::Jump))
                }
                _ => Ok(Transformed::no(expr)),
            })?;
            Ok(name.restore(rewritten.data))
        });
        let expressions = expressions.collect::<Result<Vec<_>>>()?;
        if !changed {
            return Ok(Transformed::no(plan));
        }
        let rewritten = match &plan {
            LogicalPlan::Projection(_) => LogicalPlanBuilder::from(input).project(expressions)?.build()?,
            _ => {
                let columns = plan.schema().columns().into_iter().map(Expr::Column);
                let condition = expressions.into_iter().reduce(Expr::and).expect("a filter has a condition");
                LogicalPlanBuilder::from(input).filter(condition)?.project(columns)?.build()?
            }
        };
        Ok(Transformed::yes(rewritten))
    }

    /// A sort by expressions with subqueries as one by columns that a projection below has computed.
    fn sort_by_columns(&self, sort: &Sort) -> Result<Option<LogicalPlan>> {
        let has_subquery =
            |expr: &Expr| expr.exists(|expr| Ok(matches!(expr, Expr::ScalarSubquery(_) | Expr::InSubquery(_))));
        let with_subqueries = sort.expr.iter().map(|key| has_subquery(&key.expr)).collect::<Result<Vec<_>>>()?;
        if !with_subqueries.contains(&true) {
            return Ok(None);
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let columns: Vec<Expr> = sort.input.schema().columns().into_iter().map(Expr::Column).collect();
        let (mut computed, mut keys) = (columns.clone(), Vec::new());
        for (index, (key, has_subquery)) in sort.expr.iter().zip(with_subqueries).enumerate() {
            let mut key = key.clone();
            if has_subquery {
                let name = format!("__sort_{number}_{index}");
                let expr = std::mem::replace(&mut key.expr, Expr::Column(Column::from_name(name.as_str())));
                computed.push(expr.alias(name));
            }
            keys.push(key);
        }
        let projected = LogicalPlanBuilder::from(sort.input.as_ref().clone()).project(computed)?.build()?;
        let projected = self.rewrite(projected)?.data;
        let sorted = LogicalPlanBuilder::from(projected).sort_with_limit(keys, sort.fetch)?.project(columns)?;
        sorted.build().map(Some)
    }

    /// An uncorrelated subquery stays where it is; more than one row of it are the error PostgreSQL gives.
    fn one_row(&self, outer: &LogicalPlan, subquery: &Subquery) -> Result<Option<(LogicalPlan, Expr)>> {
        let Some(value) = subquery.subquery.schema().columns().into_iter().next() else { return Ok(None) };
        if is_one_row(&subquery.subquery) {
            return Ok(None);
        }
        let only = self.single_value.call(vec![Expr::Column(value.clone())]).alias(value.name);
        let plan =
            LogicalPlanBuilder::from(subquery.subquery.as_ref().clone()).aggregate(Vec::<Expr>::new(), [only])?;
        let subquery = Subquery { subquery: Arc::new(plan.build()?), ..subquery.clone() };
        Ok(Some((outer.clone(), Expr::ScalarSubquery(subquery))))
    }

    /// The outer plan joined with the subquery, and the column that has its value; `None` when the subquery has a
    /// shape this rule does not know, which is left to the planner.
    fn join(&self, outer: &LogicalPlan, subquery: &Subquery) -> Result<Option<(LogicalPlan, Expr)>> {
        let mut columns: Vec<Column> = Vec::new();
        for expr in &subquery.outer_ref_columns {
            let Expr::OuterReferenceColumn(_, column) = expr else { return Ok(None) };
            if !outer.schema().has_column(column) {
                return Ok(None); // It belongs to a query further out.
            }
            if !columns.contains(column) {
                columns.push(column.clone());
            }
        }
        if columns.is_empty() {
            return self.one_row(outer, subquery);
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let name = format!("__outer_{number}");
        // No two domains have a key of the same name, as one may be carried through the other.
        let keys = (0..columns.len()).map(|index| format!("__key_{number}_{index}"));
        let named = columns.iter().zip(keys.clone()).map(|(column, key)| Expr::Column(column.clone()).alias(key));
        let domain =
            LogicalPlanBuilder::from(outer.clone()).project(named)?.distinct()?.alias(name.as_str())?.build()?;
        let keys = keys.map(|key| Column::new(Some(name.as_str()), key));
        let domain = Domain { plan: domain, columns: columns.iter().cloned().zip(keys).collect() };

        let Some(carried) = carry(&subquery.subquery, &domain)? else { return Ok(None) };
        let Some(value) = subquery.subquery.schema().columns().into_iter().next() else { return Ok(None) };
        let value_name = format!("__value_{number}");
        let of_groups = if is_one_row(&subquery.subquery) {
            let value = Expr::Column(value).alias(&value_name);
            LogicalPlanBuilder::from(carried).project(std::iter::once(value).chain(domain.keys()))?.build()?
        } else {
            let value = self.single_value.call(vec![Expr::Column(value)]).alias(&value_name);
            LogicalPlanBuilder::from(carried).aggregate(domain.keys(), [value])?.build()?
        };
        let keys: Vec<Column> = domain.columns.iter().map(|(_, key)| key.clone()).collect();
        let joined = LogicalPlanBuilder::from(outer.clone())
            .join_detailed(of_groups, JoinType::Left, (columns, keys), None, NullEquality::NullEqualsNull)?
            .build()?;
        Ok(Some((joined, Expr::Column(Column::from_name(value_name)))))
    }
}

/// `x IN (query)` as a function of `x` and the query's rows in an array.
fn is_member(within: &InSubquery) -> Result<Expr> {
    let Some(value) = within.subquery.subquery.schema().columns().into_iter().next() else {
        return plan_err!("a subquery has no columns");
    };
    let rows = array_agg(Expr::Column(value)).alias("rows");
    let plan = LogicalPlanBuilder::from(within.subquery.subquery.as_ref().clone())
        .aggregate(Vec::<Expr>::new(), [rows])?
        .build()?;
    let rows = Expr::ScalarSubquery(Subquery { subquery: Arc::new(plan), ..within.subquery.clone() });
    let member = member().call(vec![within.expr.as_ref().clone(), rows]);
    Ok(if within.negated { !member } else { member })
}

/// Says whether the plan is an aggregate of all rows.
fn is_one_row(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Aggregate(aggregate) => aggregate.group_expr.is_empty(),
        LogicalPlan::Projection(projection) => is_one_row(&projection.input),
        LogicalPlan::SubqueryAlias(alias) => is_one_row(&alias.input),
        _ => false,
    }
}

/// The plan for all values of the domain at once, with the domain's columns added to its own.
fn carry(plan: &LogicalPlan, domain: &Domain) -> Result<Option<LogicalPlan>> {
    if !plan.exists(|plan| Ok(plan.contains_outer_reference()))? {
        let both = LogicalPlanBuilder::from(domain.plan.clone()).cross_join(plan.clone())?;
        return both.build().map(Some);
    }
    let replace = |exprs: &[Expr]| exprs.iter().map(|expr| domain.replace(expr)).collect::<Result<Vec<_>>>();
    let names = NamePreserver::new_for_projection();
    let built = match plan {
        LogicalPlan::Projection(projection) => {
            let Some(input) = carry(&projection.input, domain)? else { return Ok(None) };
            let exprs = projection.expr.iter().map(|expr| {
                let name = names.save(expr);
                domain.replace(expr).map(|expr| name.restore(expr))
            });
            let exprs = exprs.collect::<Result<Vec<_>>>()?;
            LogicalPlanBuilder::from(input).project(exprs.into_iter().chain(domain.keys()))?
        }
        LogicalPlan::Filter(filter) => {
            let Some(input) = carry(&filter.input, domain)? else { return Ok(None) };
            LogicalPlanBuilder::from(input).filter(domain.replace(&filter.predicate)?)?
        }
        LogicalPlan::SubqueryAlias(alias) => {
            let Some(input) = carry(&alias.input, domain)? else { return Ok(None) };
            let inner = alias.input.schema().columns().into_iter().zip(alias.schema.columns());
            let renamed = inner.map(|(from, to)| Expr::Column(from).alias_qualified(to.relation, to.name));
            LogicalPlanBuilder::from(input).project(renamed.chain(domain.keys()))?
        }
        LogicalPlan::Sort(sort) if sort.fetch.is_none() => {
            // An order within the groups is kept by the aggregates that need it only as far as they see it.
            let Some(input) = carry(&sort.input, domain)? else { return Ok(None) };
            LogicalPlanBuilder::from(input).sort(sort.expr.clone())?
        }
        LogicalPlan::Distinct(Distinct::All(input)) => {
            let Some(input) = carry(input, domain)? else { return Ok(None) };
            LogicalPlanBuilder::from(input).distinct()?
        }
        LogicalPlan::Aggregate(aggregate) => {
            // A count of no rows is 0, not NULL: the planner's own rule knows how.
            if aggregate.group_expr.is_empty() && aggregate.aggr_expr.iter().any(counts) {
                return Ok(None);
            }
            let Some(input) = carry(&aggregate.input, domain)? else { return Ok(None) };
            let groups = replace(&aggregate.group_expr)?.into_iter().chain(domain.keys());
            LogicalPlanBuilder::from(input).aggregate(groups, replace(&aggregate.aggr_expr)?)?
        }
        LogicalPlan::Subquery(subquery) => return carry(&subquery.subquery, domain),
        LogicalPlan::Limit(limit) => return carry_limit(limit, domain),
        LogicalPlan::Join(join) if matches!(join.join_type, JoinType::Inner | JoinType::Left) => {
            let correlated = |side: &LogicalPlan| side.exists(|plan| Ok(plan.contains_outer_reference()));
            let (left, right) = match (correlated(&join.left)?, correlated(&join.right)?) {
                (_, false) => (carry(&join.left, domain)?, Some(join.right.as_ref().clone())),
                (false, true) if join.join_type == JoinType::Inner => {
                    (Some(join.left.as_ref().clone()), carry(&join.right, domain)?)
                }
                (_, true) => return carry_both(join, domain),
            };
            let (Some(left), Some(right)) = (left, right) else { return Ok(None) };
            let on = join.on.iter().map(|(left, right)| Ok((domain.replace(left)?, domain.replace(right)?)));
            let joined = Join::try_new(
                Arc::new(left),
                Arc::new(right),
                on.collect::<Result<Vec<_>>>()?,
                join.filter.as_ref().map(|filter| domain.replace(filter)).transpose()?,
                join.join_type,
                join.join_constraint,
                join.null_equality,
                join.null_aware,
            )?;
            LogicalPlanBuilder::from(LogicalPlan::Join(joined))
        }
        LogicalPlan::Unnest(unnest) => {
            let Some(input) = carry(&unnest.input, domain)? else { return Ok(None) };
            LogicalPlanBuilder::from(input)
                .unnest_columns_with_options(unnest.exec_columns.clone(), unnest.options.clone())?
        }
        _ => return Ok(None),
    };
    built.build().map(Some)
}

/// A limit for each value of the domain: the rows of each are counted in their order.
fn carry_limit(limit: &Limit, domain: &Domain) -> Result<Option<LogicalPlan>> {
    let (SkipType::Literal(skip), FetchType::Literal(fetch)) = (limit.get_skip_type()?, limit.get_fetch_type()?) else {
        return Ok(None);
    };
    // A projection gives a row for each it takes. Below it are all columns that the order may need.
    if let LogicalPlan::Projection(projection) = limit.input.as_ref() {
        let below = LogicalPlan::Limit(Limit { input: Arc::clone(&projection.input), ..limit.clone() });
        let moved = Projection::try_new(projection.expr.clone(), Arc::new(below))?;
        return carry(&LogicalPlan::Projection(moved), domain);
    }
    let (input, order) = match limit.input.as_ref() {
        LogicalPlan::Sort(sort) if sort.fetch.is_none() => (sort.input.as_ref(), sort.expr.as_slice()),
        unsorted => (unsorted, [].as_slice()),
    };
    let Some(carried) = carry(input, domain)? else { return Ok(None) };
    let order = order.iter().map(|key| Ok(key.with_expr(domain.replace(&key.expr)?)));
    let number = row_number().partition_by(domain.keys().collect()).order_by(order.collect::<Result<_>>()?).build()?;
    let counted = Expr::Column(Column::from_name(number.schema_name().to_string()));
    let columns: Vec<Expr> = carried.schema().columns().into_iter().map(Expr::Column).collect();
    let mut kept = counted.clone().gt(lit(skip as u64));
    if let Some(fetch) = fetch {
        kept = kept.and(counted.lt_eq(lit(skip.saturating_add(fetch) as u64)));
    }
    LogicalPlanBuilder::from(carried).window([number])?.filter(kept)?.project(columns)?.build().map(Some)
}

/// A join both of whose sides bring the domain: only rows of the same outer values belong together.
fn carry_both(join: &Join, domain: &Domain) -> Result<Option<LogicalPlan>> {
    let again = domain.again()?;
    let (Some(left), Some(right)) = (carry(&join.left, domain)?, carry(&join.right, &again)?) else { return Ok(None) };
    let kept: Vec<Expr> = left.schema().columns().into_iter().map(Expr::Column).collect();
    let of_right = right.schema().columns().into_iter().filter(|column| !again.has_key(column)).map(Expr::Column);
    let kept: Vec<Expr> = kept.into_iter().chain(of_right).collect();
    let on = join.on.iter().map(|(left, right)| Ok((domain.replace(left)?, again.replace(right)?)));
    let same = domain.keys().zip(again.keys()).map(|(key, other)| {
        Expr::BinaryExpr(BinaryExpr::new(Box::new(key), Operator::IsNotDistinctFrom, Box::new(other)))
    });
    let own = join.filter.as_ref().map(|filter| domain.replace(filter)).transpose()?;
    let joined = Join::try_new(
        Arc::new(left),
        Arc::new(right),
        on.collect::<Result<Vec<_>>>()?,
        own.into_iter().chain(same).reduce(Expr::and),
        join.join_type,
        join.join_constraint,
        join.null_equality,
        join.null_aware,
    )?;
    LogicalPlanBuilder::from(LogicalPlan::Join(joined)).project(kept)?.build().map(Some)
}

fn counts(expr: &Expr) -> bool {
    expr.exists(|expr| Ok(matches!(expr, Expr::AggregateFunction(function) if function.func.name() == "count")))
        .unwrap_or(true)
}
