//! Segments and tail under one node that hands filters, order, statistics and columns on to both.

use std::fmt;
use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, Statistics};
use datafusion::datasource::source::DataSourceExec;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_plan::execution_plan::{CardinalityEffect, ReplaceChildrenOptions};
use datafusion::physical_plan::filter_pushdown::{FilterDescription, FilterPushdownPhase};
use datafusion::physical_plan::metrics::MetricsSet;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::sort_pushdown::SortOrderPushdownResult;
use datafusion::physical_plan::statistics::{ChildStats, StatisticsArgs};
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};

use super::newest::NewestSource;
use super::segments::SegmentsSource;
use super::tail_source::TailSource;

/// A union of scans of the same table.
///
/// DataFusion's [`UnionExec`] does not pass a wanted order on to its inputs, so that `ORDER BY time DESC LIMIT n` would
/// read the oldest rows first. This one does. That one also puts a filter of its own over each input that does not filter by
/// itself, and behind those no order reaches a scan; here the filter stays above. All else is the union's.
#[derive(Debug, Clone)]
pub(super) struct ScanUnion {
    /// Always a [`UnionExec`].
    union: Arc<dyn ExecutionPlan>,
}

impl ScanUnion {
    /// One plan for all scans; the scan itself when there is just one.
    pub(super) fn try_new(scans: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        UnionExec::try_new(scans).map(wrap)
    }
}

impl ScanUnion {
    /// Tail and segments as one scan; `None` when one of them is something else by now, or for another order.
    fn newest_first(&self, order: &[PhysicalSortExpr]) -> Option<Arc<dyn ExecutionPlan>> {
        let [tail, segments] = self.union.children()[..] else { return None };
        let source =
            |scan: &Arc<dyn ExecutionPlan>| Some(Arc::clone(scan.downcast_ref::<DataSourceExec>()?.data_source()));
        let (tail, segments) = (source(tail)?, source(segments)?);
        let (_, rows) = tail.downcast_ref::<TailSource>()?.newest_first(order)?;
        let (time, segments) = segments.downcast_ref::<SegmentsSource>()?.newest_first(order)?;
        let properties = self.properties();
        let partitions = properties.partitioning.partition_count();
        let newest = NewestSource::new(rows, Some(segments), &properties.eq_properties, time, partitions);
        Some(DataSourceExec::from_data_source(newest))
    }
}

/// Puts a union back under our node; anything else stays what it is.
fn wrap(plan: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
    if plan.is::<UnionExec>() { Arc::new(ScanUnion { union: plan }) } else { plan }
}

impl DisplayAs for ScanUnion {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        match format {
            DisplayFormatType::Default | DisplayFormatType::Verbose => f.write_str("ScanUnion"),
            DisplayFormatType::TreeRender => Ok(()),
        }
    }
}

impl ExecutionPlan for ScanUnion {
    fn name(&self) -> &str {
        "ScanUnion"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.union.properties()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        self.union.maintains_input_order()
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        self.union.benefits_from_input_partitioning()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        self.union.children()
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.union.apply_expressions(f)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Arc::clone(&self.union).replace_children(children, options).map(wrap)
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        ScanUnion::try_new(children)
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        self.union.execute(partition, context)
    }

    fn metrics(&self) -> Option<MetricsSet> {
        self.union.metrics()
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        self.union.child_stats_requests(partition)
    }

    fn statistics_from_inputs(&self, inputs: &[Arc<Statistics>], args: &StatisticsArgs) -> Result<Arc<Statistics>> {
        self.union.statistics_from_inputs(inputs, args)
    }

    fn cardinality_effect(&self) -> CardinalityEffect {
        self.union.cardinality_effect()
    }

    fn supports_limit_pushdown(&self) -> bool {
        self.union.supports_limit_pushdown()
    }

    fn try_swapping_with_projection(&self, projection: &ProjectionExec) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        Ok(self.union.try_swapping_with_projection(projection)?.map(wrap))
    }

    fn gather_filters_for_pushdown(
        &self,
        phase: FilterPushdownPhase,
        parent_filters: Vec<Arc<dyn PhysicalExpr>>,
        config: &ConfigOptions,
    ) -> Result<FilterDescription> {
        self.union.gather_filters_for_pushdown(phase, parent_filters, config)
    }

    /// Asks every scan, or makes one of all for the newest rows first: then segments stay closed while rows of the tail are
    /// newer. The sort above stays unless every scan reads in exactly the wanted order.
    fn try_pushdown_sort(&self, order: &[PhysicalSortExpr]) -> Result<SortOrderPushdownResult<Arc<dyn ExecutionPlan>>> {
        if let Some(newest) = self.newest_first(order) {
            return Ok(SortOrderPushdownResult::Inexact { inner: newest });
        }
        let (mut exact, mut changed) = (true, false);
        let mut scans = Vec::with_capacity(self.union.children().len());
        for scan in self.union.children() {
            match scan.try_pushdown_sort(order)? {
                SortOrderPushdownResult::Exact { inner } => {
                    changed = true;
                    scans.push(inner);
                }
                SortOrderPushdownResult::Inexact { inner } => {
                    (exact, changed) = (false, true);
                    scans.push(inner);
                }
                SortOrderPushdownResult::Unsupported => {
                    exact = false;
                    scans.push(Arc::clone(scan));
                }
            }
        }
        if !changed {
            return Ok(SortOrderPushdownResult::Unsupported);
        }
        let inner = ScanUnion::try_new(scans)?;
        Ok(if exact { SortOrderPushdownResult::Exact { inner } } else { SortOrderPushdownResult::Inexact { inner } })
    }
}
