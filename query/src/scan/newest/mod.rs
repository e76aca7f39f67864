//! Newest rows first: what `ORDER BY time DESC LIMIT n` reads, piece by piece, until nothing older can be among its rows.

mod queue; // What is left to read, newest first.
mod slices; // A segment from its end, by what its page index says.
mod order; // The wanted order reaches a scan below a filter.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, Statistics, internal_err};
use datafusion::datasource::physical_plan::FileScanConfig;
use datafusion::datasource::source::{DataSource, OpenArgs};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr, PhysicalSortExpr, conjunction};
use datafusion::physical_plan::filter_pushdown::{FilterPushdownPropagation, PushedDown};
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use datafusion::physical_plan::projection::ProjectionExprs;
use datafusion::physical_plan::{DisplayFormatType, Partitioning};

use super::layout::Kept;
use queue::Queue;

pub(crate) use order::OrderBelowFilters;

/// Segments to read, and how.
#[derive(Clone, Debug)]
pub(super) struct NewestSegments {
    /// Which.
    pub kept: Kept,
    /// Columns and filters; it names no files.
    pub scan: FileScanConfig,
}

/// Rows of segments and tail, about newest first: piece by piece, each piece in the order it has. A sort above keeps the rows
/// it wants, and tells by its filter which pieces cannot have any.
///
/// All partitions take their pieces from one queue.
#[derive(Clone, Debug)]
pub(super) struct NewestSource {
    /// Rows in memory, with the columns of the output.
    tail: Arc<[RecordBatch]>,
    segments: Option<NewestSegments>,
    eq_properties: EquivalenceProperties,
    /// Where the time is in the output.
    time: usize,
    partitions: usize,
    /// Rows of the output that do not pass are not given.
    predicate: Option<Arc<dyn PhysicalExpr>>,
    /// Filters on the output that pieces are held against; the sort's grows tighter while rows are read.
    filters: Vec<Arc<dyn PhysicalExpr>>,
    metrics: ExecutionPlanMetricsSet,
}

impl NewestSource {
    /// The source in place of a scan with this output.
    pub(super) fn new(
        tail: Vec<RecordBatch>,
        segments: Option<NewestSegments>,
        eq_properties: &EquivalenceProperties,
        time: usize,
        partitions: usize,
    ) -> NewestSource {
        // One set: what Parquet counts stands beside what is counted here.
        let metrics = segments.as_ref().map_or_else(ExecutionPlanMetricsSet::new, |segments| segments.scan.metrics());
        // Its order is not exact, so none is told.
        let eq_properties = EquivalenceProperties::new(Arc::clone(eq_properties.schema()));
        let (tail, filters) = (tail.into(), Vec::new());
        NewestSource { tail, segments, eq_properties, time, partitions, predicate: None, filters, metrics }
    }

    /// The same, which gives only rows that pass. A filter above would gather rows before it gives any, and meanwhile far
    /// more would be read than is wanted.
    fn filtered(&self, predicate: &Arc<dyn PhysicalExpr>) -> NewestSource {
        let both = self.predicate.iter().chain([predicate]).cloned();
        NewestSource { predicate: Some(conjunction(both)), ..self.clone() }
    }

    /// The same in so many partitions.
    fn in_partitions(&self, partitions: usize) -> NewestSource {
        NewestSource { partitions, ..self.clone() }
    }

    /// The segments it may read.
    pub(super) fn kept(&self) -> Option<&Kept> {
        self.segments.as_ref().map(|segments| &segments.kept)
    }
}

/// Where the column is in the output by whose falling order rows are wanted, when it is a plain column.
pub(super) fn falling(order: &[PhysicalSortExpr]) -> Option<&Column> {
    let first = order.first()?;
    if first.options.descending { first.expr.downcast_ref::<Column>() } else { None }
}

impl DataSource for NewestSource {
    fn open(&self, _partition: usize, _context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        internal_err!("partitions of a newest-first scan share a queue")
    }

    fn open_with_args(&self, args: OpenArgs) -> Result<SendableRecordBatchStream> {
        let queue = args.sibling_state.and_then(|state| state.downcast::<Queue>().ok());
        match queue {
            Some(queue) => Ok(queue.open(args.partition, args.context)),
            None => self.open(args.partition, args.context),
        }
    }

    fn create_sibling_state(&self, _config: &ConfigOptions) -> Option<Arc<dyn Any + Send + Sync>> {
        Some(Arc::new(Queue::new(self)))
    }

    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        let rows: usize = self.tail.iter().map(RecordBatch::num_rows).sum();
        let segments = self.kept().map_or(0, Kept::len);
        match format {
            DisplayFormatType::Default | DisplayFormatType::Verbose => {
                write!(f, "newest first, tail_rows={rows}, segments={segments}")?;
                if let Some(predicate) = &self.predicate {
                    write!(f, ", filter={predicate}")?;
                }
                if let Some(segments) = &self.segments {
                    f.write_str(", ")?;
                    segments.scan.fmt_as(format, f)?;
                }
                Ok(())
            }
            DisplayFormatType::TreeRender => writeln!(f, "newest first\nsegments={segments}"),
        }
    }

    fn output_partitioning(&self) -> Partitioning {
        Partitioning::UnknownPartitioning(self.partitions)
    }

    fn eq_properties(&self) -> EquivalenceProperties {
        self.eq_properties.clone()
    }

    /// Whoever chooses a plan by statistics has done so when rows are wanted in an order.
    fn partition_statistics(&self, _partition: Option<usize>) -> Result<Arc<Statistics>> {
        Ok(Arc::new(Statistics::new_unknown(self.eq_properties.schema())))
    }

    fn with_fetch(&self, _limit: Option<usize>) -> Option<Arc<dyn DataSource>> {
        None
    }

    fn fetch(&self) -> Option<usize> {
        None
    }

    fn metrics(&self) -> ExecutionPlanMetricsSet {
        self.metrics.clone()
    }

    fn try_swapping_with_projection(&self, _projection: &ProjectionExprs) -> Result<Option<Arc<dyn DataSource>>> {
        Ok(None)
    }

    /// Takes filters to skip by, and lets Parquet decode other columns only for rows that pass; whoever sends them filters
    /// all the same.
    fn try_pushdown_filters(
        &self,
        filters: Vec<Arc<dyn PhysicalExpr>>,
        config: &ConfigOptions,
    ) -> Result<FilterPushdownPropagation<Arc<dyn DataSource>>> {
        let kept = vec![PushedDown::No; filters.len()];
        if filters.is_empty() {
            return Ok(FilterPushdownPropagation::with_parent_pushdown_result(kept));
        }
        let mut source = self.clone();
        source.filters.extend(filters.iter().cloned());
        if let Some(segments) = &mut source.segments {
            let pushed = segments.scan.try_pushdown_filters(filters, config)?.updated_node;
            if let Some(scan) = pushed.as_ref().and_then(|pushed| pushed.downcast_ref::<FileScanConfig>()) {
                segments.scan = scan.clone();
            }
        }
        let node: Arc<dyn DataSource> = Arc::new(source);
        Ok(FilterPushdownPropagation::with_parent_pushdown_result(kept).with_updated_node(node))
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        let mut next = TreeNodeRecursion::Continue;
        for filter in self.filters.iter().chain(&self.predicate) {
            next = f(filter)?;
            if next == TreeNodeRecursion::Stop {
                return Ok(next);
            }
        }
        match &self.segments {
            Some(segments) => segments.scan.apply_expressions(f),
            None => Ok(next),
        }
    }
}
