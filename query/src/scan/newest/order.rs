//! The wanted order reaches a scan below a filter, which DataFusion's own rule does not look through.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::datasource::source::DataSourceExec;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::execution_plan::replace_children_if_necessary;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::sort_pushdown::SortOrderPushdownResult;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::{ExecutionPlan, Partitioning};

use super::NewestSource;

/// Tells scans below filters in which order the first rows are wanted, and has them filter by themselves.
///
/// The sort stays: it takes the first rows of what comes, and the sooner they come, the less is read.
#[derive(Debug)]
pub(crate) struct OrderBelowFilters;

impl PhysicalOptimizerRule for OrderBelowFilters {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        if !config.optimizer.enable_sort_pushdown {
            return Ok(plan);
        }
        plan.transform_down(|plan| {
            let Some(sort) = plan.downcast_ref::<SortExec>().filter(|sort| sort.fetch().is_some()) else {
                return Ok(Transformed::no(plan));
            };
            let Some(input) = ordered(sort.input(), sort.expr(), false)? else { return Ok(Transformed::no(plan)) };
            let sorted = SortExec::new(sort.expr().clone(), input)
                .with_fetch(sort.fetch())
                .with_preserve_partitioning(sort.preserve_partitioning());
            Ok(Transformed::yes(Arc::new(sorted)))
        })
        .data()
    }

    fn name(&self) -> &str {
        "OrderBelowFilters"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// The plan with a scan that reads about in this order; `None` when there is nothing to tell it. Without a filter on the
/// way the scan knows it already.
fn ordered(
    plan: &Arc<dyn ExecutionPlan>,
    order: &[PhysicalSortExpr],
    below_filter: bool,
) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let input = if let Some(filter) = plan.downcast_ref::<FilterExec>() {
        let columns = filter.projection().as_ref();
        let column = |index: usize| columns.map_or(Some(index), |columns| columns.get(index).copied());
        let order = through(order, column, filter.input());
        let input = order.map(|order| ordered(filter.input(), &order, true)).transpose()?.flatten();
        if let Some(source) = input.as_ref().and_then(newest) {
            let scan = DataSourceExec::from_data_source(source.filtered(filter.predicate()));
            return columns.map_or(Ok(Arc::clone(&scan) as _), |columns| projected(&scan, columns)).map(Some);
        }
        input
    } else if let Some(projection) = plan.downcast_ref::<ProjectionExec>() {
        let column = |index: usize| {
            let expression = &projection.expr().get(index)?.expr;
            expression.downcast_ref::<Column>().map(Column::index)
        };
        let order = through(order, column, projection.input());
        order.map(|order| ordered(projection.input(), &order, below_filter)).transpose()?.flatten()
    } else if let Some(repartition) = plan.downcast_ref::<RepartitionExec>() {
        let input = ordered(repartition.input(), order, below_filter)?;
        // Its partitions share a queue already, and nothing is read ahead for them.
        if let (Partitioning::RoundRobinBatch(count), Some(source)) =
            (repartition.partitioning(), input.as_ref().and_then(newest))
        {
            return Ok(Some(DataSourceExec::from_data_source(source.in_partitions(*count))));
        }
        input
    } else if let Some(coalesce) = plan.downcast_ref::<CoalescePartitionsExec>() {
        ordered(coalesce.input(), order, below_filter)?
    } else if below_filter {
        return match plan.try_pushdown_sort(order)? {
            SortOrderPushdownResult::Inexact { inner } => Ok(Some(inner)),
            // A scan that is sorted as it is needs to be told nothing.
            SortOrderPushdownResult::Exact { .. } | SortOrderPushdownResult::Unsupported => Ok(None),
        };
    } else {
        None
    };
    input.map(|input| replace_children_if_necessary(Arc::clone(plan), vec![input])).transpose()
}

/// The newest-first scan that the plan is.
fn newest(plan: &Arc<dyn ExecutionPlan>) -> Option<NewestSource> {
    plan.downcast_ref::<DataSourceExec>()?.data_source().downcast_ref::<NewestSource>().cloned()
}

/// These columns of the scan.
fn projected(scan: &Arc<DataSourceExec>, columns: &[usize]) -> Result<Arc<dyn ExecutionPlan>> {
    let schema = scan.schema();
    let columns = columns.iter().map(|&index| {
        let name = schema.field(index).name();
        (Arc::new(Column::new(name, index)) as Arc<dyn PhysicalExpr>, name.clone())
    });
    Ok(Arc::new(ProjectionExec::try_new(columns.collect::<Vec<_>>(), Arc::clone(scan) as _)?))
}

/// The order in terms of the input, where each column is one of its columns.
fn through(
    order: &[PhysicalSortExpr],
    column: impl Fn(usize) -> Option<usize>,
    input: &Arc<dyn ExecutionPlan>,
) -> Option<Vec<PhysicalSortExpr>> {
    let schema = input.schema();
    let keys = order.iter().map(|key| {
        let index = column(key.expr.downcast_ref::<Column>()?.index())?;
        let name = schema.fields().get(index)?.name();
        Some(PhysicalSortExpr::new(Arc::new(Column::new(name, index)), key.options))
    });
    keys.collect()
}
