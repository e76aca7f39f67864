//! Parquet files as a scan: order, statistics and footer sizes are told, nothing is listed or guessed.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use chrono::DateTime;
use datafusion::catalog::Session;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, Statistics};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::object_store::ObjectStoreUrl;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfig, FileScanConfigBuilder, ParquetSource};
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
use object_store::ObjectMeta;
use object_store::path::Path;
use probepilot_catalog::manifest::{Segment, Table};
use probepilot_catalog::table::time_column;

use super::newest::{NewestSegments, NewestSource, falling};
use super::prune::segment_statistics;
use super::reader::SegmentReaderFactory;

/// Under this URL the lake's object store is registered with the engine.
pub const STORE_URL: &str = "probepilot://lake";

/// Bytes after a footer's Thrift part: its length and the magic number.
const FOOTER_TAIL_BYTES: u64 = 8;

/// The lake's store as the planner names it.
pub fn store_url() -> ObjectStoreUrl {
    ObjectStoreUrl::parse(STORE_URL).expect("the constant is a URL with a scheme and a host")
}

/// Segments of a table that may have rows a statement wants, by their places in the manifest.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    table: Arc<Table>,
    places: Arc<[usize]>,
}

impl Kept {
    /// Those of `table` for which `keep` is true.
    pub(super) fn new(table: Arc<Table>, keep: &[bool]) -> Kept {
        let places = keep.iter().enumerate().filter_map(|(place, keep)| keep.then_some(place)).collect();
        Kept { table, places }
    }

    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    pub(super) fn get(&self, index: usize) -> Option<&Segment> {
        self.table.segments.get(*self.places.get(index)?)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Segment> {
        self.places.iter().filter_map(|place| self.table.segments.get(*place))
    }

    /// The name of the column that says when a row happened.
    pub(super) fn time_name(&self) -> Option<String> {
        time_column(&self.table.schema).map(|index| self.table.schema.field(index).name().clone())
    }
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

    let described = |segment: &Segment| file(segment).with_statistics(Arc::new(segment_statistics(&table, segment)));
    let mut files: Vec<PartitionedFile> = kept.iter().map(described).collect();
    files.sort_by_key(|file| file.extension::<TimeMin>().map_or(i64::MIN, |min| min.0));
    let total = Statistics::try_merge_iter(
        files.iter().filter_map(|file| file.statistics.as_deref()).collect::<Vec<_>>(),
        &table.schema,
    )?;
    let by_time = match time_column(&table.schema) {
        Some(index) => {
            LexOrdering::new([PhysicalSortExpr::new_default(col(table.schema.field(index).name(), &table.schema)?)])
        }
        None => None,
    };
    let groups = groups(files, &table, by_time.as_ref(), state.config().target_partitions())?;
    let config = FileScanConfigBuilder::new(store_url(), Arc::new(source))
        .with_file_groups(groups)
        .with_statistics(total)
        .with_output_ordering(by_time.into_iter().collect())
        .with_limit(limit)
        .with_projection_indices(projection.cloned())?
        .build();
    Ok(DataSourceExec::from_data_source(SegmentsSource { kept, scan: config }))
}

/// A file's earliest time, carried with it for sorting.
struct TimeMin(i64);

/// A segment as a file to read, without statistics.
pub(super) fn file(segment: &Segment) -> PartitionedFile {
    let meta = ObjectMeta {
        location: Path::from(segment.path.as_str()),
        last_modified: DateTime::UNIX_EPOCH, // Segments never change.
        size: segment.bytes,
        e_tag: None,
        version: None,
    };
    PartitionedFile::new_from_meta(meta)
        .with_metadata_size_hint((segment.footer_bytes + FOOTER_TAIL_BYTES) as usize)
        .with_extension(TimeMin(segment.time_min))
}

/// Spreads files over the partitions, so that files of one group do not overlap in time when that is possible: then
/// every group is read in order.
fn groups(
    files: Vec<PartitionedFile>,
    table: &Table,
    by_time: Option<&LexOrdering>,
    partitions: usize,
) -> Result<Vec<FileGroup>> {
    if files.len() <= partitions {
        return Ok(files.into_iter().map(|file| FileGroup::new(vec![file])).collect());
    }
    let one = [FileGroup::new(files)];
    if let Some(by_time) = by_time {
        let apart = FileScanConfig::split_groups_by_statistics_with_target_partitions(
            &table.schema,
            &one,
            by_time,
            partitions,
        )?;
        // Files that overlap much would need a partition each: order is not worth that many open files.
        if apart.len() <= partitions {
            return Ok(apart);
        }
    }
    let [all] = one;
    Ok(all.split_files(partitions))
}

/// A scan of segments, which knows what the manifest says of them.
#[derive(Clone, Debug)]
pub(super) struct SegmentsSource {
    kept: Kept,
    scan: FileScanConfig,
}

impl SegmentsSource {
    /// The segments it reads.
    pub(super) fn kept(&self) -> &Kept {
        &self.kept
    }

    /// A scan of the same segments that was made of ours.
    fn wrap(&self, source: Arc<dyn DataSource>) -> Arc<dyn DataSource> {
        match source.downcast_ref::<FileScanConfig>() {
            Some(scan) => Arc::new(SegmentsSource { kept: self.kept.clone(), scan: scan.clone() }),
            None => source,
        }
    }

    /// Whether this column of the output is the time of the rows.
    fn is_time(&self, column: &Column) -> bool {
        let Some(projection) = self.scan.file_source().projection() else { return false };
        let expression = projection.as_ref().get(column.index()).map(|projected| &projected.expr);
        let table_column = expression.and_then(|expression| expression.downcast_ref::<Column>());
        table_column.is_some_and(|table_column| Some(table_column.index()) == time_column(&self.kept.table.schema))
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
        Some((column.index(), NewestSegments { kept: self.kept.clone(), scan }))
    }
}

impl DataSource for SegmentsSource {
    fn open(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        self.scan.open(partition, context)
    }

    fn open_with_args(&self, args: OpenArgs) -> Result<SendableRecordBatchStream> {
        self.scan.open_with_args(args)
    }

    fn create_sibling_state(&self, config: &ConfigOptions) -> Option<Arc<dyn Any + Send + Sync>> {
        self.scan.create_sibling_state(config)
    }

    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        self.scan.fmt_as(format, f)
    }

    fn repartitioned(
        &self,
        partitions: usize,
        file_bytes_min: usize,
        ordering: Option<LexOrdering>,
    ) -> Result<Option<Arc<dyn DataSource>>> {
        Ok(self.scan.repartitioned(partitions, file_bytes_min, ordering)?.map(|source| self.wrap(source)))
    }

    fn output_partitioning(&self) -> Partitioning {
        self.scan.output_partitioning()
    }

    fn eq_properties(&self) -> EquivalenceProperties {
        self.scan.eq_properties()
    }

    fn scheduling_type(&self) -> SchedulingType {
        self.scan.scheduling_type()
    }

    fn partition_statistics(&self, partition: Option<usize>) -> Result<Arc<Statistics>> {
        self.scan.partition_statistics(partition)
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
        self.scan.try_pushdown_sort(order)?.try_map(|source| Ok(self.wrap(source)))
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
