//! Parquet files as a scan: order, statistics and footer sizes are told, nothing is listed or guessed.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use datafusion::catalog::Session;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, Statistics, internal_err};
use datafusion::datasource::object_store::ObjectStoreUrl;
use datafusion::datasource::physical_plan::{FileScanConfig, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::{DataSource, DataSourceExec, OpenArgs};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::{Column, col};
use datafusion::physical_expr::{EquivalenceProperties, LexOrdering, PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_plan::execution_plan::SchedulingType;
use datafusion::physical_plan::filter_pushdown::FilterPushdownPropagation;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use datafusion::physical_plan::projection::ProjectionExprs;
use datafusion::physical_plan::sort_pushdown::SortOrderPushdownResult;
use datafusion::physical_plan::{DisplayFormatType, ExecutionPlan, Partitioning};
use probepilot_catalog::table::time_column;

use super::layout::{Kept, Layout};
use super::newest::{NewestSegments, NewestSource, falling};
use super::reader::SegmentReaderFactory;

/// Under this URL the lake's object store is registered with the engine.
pub const STORE_URL: &str = "probepilot://lake";

/// Files of a partition that EXPLAIN names are five; with one more it says that there are others.
const FILES_SHOWN: usize = 6;

/// Segments for each partition up to which files are split between partitions. With more of them whole files are spread well
/// enough, and partitions that are done take the files of others.
const SPLIT_SEGMENTS_MAX: usize = 16;

/// The lake's store as the planner names it.
pub fn store_url() -> ObjectStoreUrl {
    ObjectStoreUrl::parse(STORE_URL).expect("the constant is a URL with a scheme and a host")
}

/// A scan of the given segments of a table.
pub(super) fn scan(
    state: &dyn Session,
    kept: Kept,
    projection: Option<&Vec<usize>>,
    limit: Option<usize>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let table = Arc::clone(&kept.table);
    let runtime = state.runtime_env();
    let store = runtime.object_store(store_url())?;
    let readers = SegmentReaderFactory::new(store, runtime.cache_manager.get_file_metadata_cache());
    let options = state.table_options().parquet.clone();
    let source = ParquetSource::new(Arc::clone(&table.schema))
        .with_table_parquet_options(options)
        .with_parquet_file_reader_factory(Arc::new(readers));

    let by_time = match time_column(&table.schema) {
        Some(index) => {
            LexOrdering::new([PhysicalSortExpr::new_default(col(table.schema.field(index).name(), &table.schema)?)])
        }
        None => None,
    };
    let layout = Layout::new(kept, state.config().target_partitions());
    let scan = FileScanConfigBuilder::new(store_url(), Arc::new(source))
        .with_output_ordering(by_time.filter(|_| layout.ordered).into_iter().collect())
        .with_limit(limit)
        .with_projection_indices(projection.cloned())?
        .build();
    Ok(DataSourceExec::from_data_source(SegmentsSource { layout: Arc::new(layout), scan }))
}

/// A scan of segments, which knows what the manifest says of them.
#[derive(Clone, Debug)]
pub(super) struct SegmentsSource {
    layout: Arc<Layout>,
    /// Columns, filters and limit. It names files only when they are not those of the layout.
    scan: FileScanConfig,
}

/// One execution's files; its partitions share them.
struct Execution {
    scan: FileScanConfig,
    /// What the scan's own partitions share.
    shared: Option<Arc<dyn Any + Send + Sync>>,
}

impl SegmentsSource {
    /// The segments it reads.
    pub(super) fn kept(&self) -> &Kept {
        &self.layout.kept
    }

    fn names_files(&self) -> bool {
        !self.scan.file_groups.is_empty()
    }

    /// The scan with its files, or with the first ones of each partition.
    fn listed(&self, most: usize) -> FileScanConfig {
        if self.names_files() {
            return self.scan.clone();
        }
        FileScanConfigBuilder::from(self.scan.clone())
            .with_file_groups(self.layout.files(most))
            .with_statistics(self.layout.statistics(None))
            .build()
    }

    /// A scan of the same segments that was made of ours.
    fn wrap(&self, source: Arc<dyn DataSource>) -> Arc<dyn DataSource> {
        match source.downcast_ref::<FileScanConfig>() {
            Some(scan) => Arc::new(SegmentsSource { layout: Arc::clone(&self.layout), scan: scan.clone() }),
            None => source,
        }
    }

    /// Whether this column of the output is the time of the rows.
    fn is_time(&self, column: &Column) -> bool {
        let Some(projection) = self.scan.file_source().projection() else { return false };
        let expression = projection.as_ref().get(column.index()).map(|projected| &projected.expr);
        let table_column = expression.and_then(|expression| expression.downcast_ref::<Column>());
        table_column.is_some_and(|table_column| Some(table_column.index()) == time_column(&self.kept().table.schema))
    }

    /// The same rows piece by piece, about newest first, for an order that begins with falling time. Parquet decodes what
    /// is not filtered on only for rows that pass.
    pub(super) fn newest_first(&self, order: &[PhysicalSortExpr]) -> Option<(usize, NewestSegments)> {
        let column = falling(order).filter(|column| self.is_time(column))?;
        let mut scan = self.scan.clone();
        let parquet = scan.file_source().downcast_ref::<ParquetSource>()?.clone();
        let parquet = parquet.with_pushdown_filters(true).with_reorder_filters(true);
        scan.file_source = Arc::new(parquet);
        scan.file_groups = Vec::new();
        scan.output_ordering = Vec::new();
        Some((column.index(), NewestSegments { kept: self.kept().clone(), scan }))
    }
}

impl DataSource for SegmentsSource {
    fn open(&self, _partition: usize, _context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        internal_err!("partitions of a scan share its files")
    }

    fn open_with_args(&self, args: OpenArgs) -> Result<SendableRecordBatchStream> {
        let execution = args.sibling_state.as_ref().and_then(|state| state.downcast_ref::<Execution>());
        match execution {
            Some(Execution { scan, shared }) => {
                scan.open_with_args(OpenArgs::new(args.partition, args.context).with_shared_state(shared.clone()))
            }
            None => self.open(args.partition, args.context),
        }
    }

    fn create_sibling_state(&self, config: &ConfigOptions) -> Option<Arc<dyn Any + Send + Sync>> {
        let scan = self.listed(usize::MAX);
        let shared = scan.create_sibling_state(config);
        Some(Arc::new(Execution { scan, shared }))
    }

    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        match format {
            DisplayFormatType::Default | DisplayFormatType::Verbose => {
                write!(f, "segments={}, ", self.kept().len())?;
                self.listed(FILES_SHOWN).fmt_as(format, f)
            }
            DisplayFormatType::TreeRender => {
                writeln!(f, "segments={}", self.kept().len())?;
                self.scan.file_source().fmt_extra(format, f)
            }
        }
    }

    fn repartitioned(
        &self,
        partitions: usize,
        file_bytes_min: usize,
        ordering: Option<LexOrdering>,
    ) -> Result<Option<Arc<dyn DataSource>>> {
        if self.kept().len() > partitions * SPLIT_SEGMENTS_MAX {
            return Ok(None);
        }
        let split = self.listed(usize::MAX).repartitioned(partitions, file_bytes_min, ordering)?;
        Ok(split.map(|source| self.wrap(source)))
    }

    fn output_partitioning(&self) -> Partitioning {
        if self.names_files() {
            return self.scan.output_partitioning();
        }
        Partitioning::UnknownPartitioning(self.layout.len())
    }

    /// Of no files, so that none is looked at: the layout has told whether there is an order.
    fn eq_properties(&self) -> EquivalenceProperties {
        self.scan.eq_properties()
    }

    fn scheduling_type(&self) -> SchedulingType {
        self.scan.scheduling_type()
    }

    fn partition_statistics(&self, partition: Option<usize>) -> Result<Arc<Statistics>> {
        if self.names_files() {
            return self.scan.partition_statistics(partition);
        }
        let told = self.layout.statistics(partition);
        FileScanConfigBuilder::from(self.scan.clone()).with_statistics(told).build().partition_statistics(None)
    }

    fn with_fetch(&self, limit: Option<usize>) -> Option<Arc<dyn DataSource>> {
        self.scan.with_fetch(limit).map(|source| self.wrap(source))
    }

    fn fetch(&self) -> Option<usize> {
        self.scan.fetch()
    }

    fn metrics(&self) -> ExecutionPlanMetricsSet {
        self.scan.metrics()
    }

    fn try_swapping_with_projection(&self, projection: &ProjectionExprs) -> Result<Option<Arc<dyn DataSource>>> {
        Ok(self.scan.try_swapping_with_projection(projection)?.map(|source| self.wrap(source)))
    }

    fn try_pushdown_filters(
        &self,
        filters: Vec<Arc<dyn PhysicalExpr>>,
        config: &ConfigOptions,
    ) -> Result<FilterPushdownPropagation<Arc<dyn DataSource>>> {
        let mut propagation = self.scan.try_pushdown_filters(filters, config)?;
        propagation.updated_node = propagation.updated_node.map(|source| self.wrap(source));
        Ok(propagation)
    }

    fn try_pushdown_sort(&self, order: &[PhysicalSortExpr]) -> Result<SortOrderPushdownResult<Arc<dyn DataSource>>> {
        if let Some((time, segments)) = self.newest_first(order) {
            let partitions = self.output_partitioning().partition_count();
            let newest = NewestSource::new(Vec::new(), Some(segments), &self.eq_properties(), time, partitions);
            return Ok(SortOrderPushdownResult::Inexact { inner: Arc::new(newest) });
        }
        self.listed(usize::MAX).try_pushdown_sort(order)?.try_map(|source| Ok(self.wrap(source)))
    }

    fn with_preserve_order(&self, preserve_order: bool) -> Option<Arc<dyn DataSource>> {
        self.scan.with_preserve_order(preserve_order).map(|source| self.wrap(source))
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.scan.apply_expressions(f)
    }
}
