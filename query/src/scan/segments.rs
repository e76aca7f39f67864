//! Parquet files as a scan: order, statistics and footer sizes are told, nothing is listed or guessed.

use std::sync::Arc;

use chrono::DateTime;
use datafusion::catalog::Session;
use datafusion::common::{Result, Statistics};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::object_store::ObjectStoreUrl;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfig, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::physical_expr::expressions::col;
use datafusion::physical_expr::{LexOrdering, PhysicalSortExpr};
use datafusion::physical_plan::ExecutionPlan;
use object_store::ObjectMeta;
use object_store::path::Path;
use probepilot_catalog::manifest::{Segment, Table};
use probepilot_catalog::table::time_column;

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

/// A scan of the given segments of a table.
pub(super) fn scan(
    state: &dyn Session,
    table: &Table,
    segments: &[Segment],
    projection: Option<&Vec<usize>>,
    limit: Option<usize>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let runtime = state.runtime_env();
    let store = runtime.object_store(store_url())?;
    let readers = SegmentReaderFactory::new(store, runtime.cache_manager.get_file_metadata_cache());
    let options = state.table_options().parquet.clone();
    let source = ParquetSource::new(Arc::clone(&table.schema))
        .with_table_parquet_options(options)
        .with_parquet_file_reader_factory(Arc::new(readers));

    let mut files: Vec<PartitionedFile> = segments.iter().map(|segment| file(table, segment)).collect();
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
    let groups = groups(files, table, by_time.as_ref(), state.config().target_partitions())?;
    let config = FileScanConfigBuilder::new(store_url(), Arc::new(source))
        .with_file_groups(groups)
        .with_statistics(total)
        .with_output_ordering(by_time.into_iter().collect())
        .with_limit(limit)
        .with_projection_indices(projection.cloned())?
        .build();
    Ok(DataSourceExec::from_data_source(config))
}

/// A file's earliest time, carried with it for sorting.
struct TimeMin(i64);

fn file(table: &Table, segment: &Segment) -> PartitionedFile {
    let meta = ObjectMeta {
        location: Path::from(segment.path.as_str()),
        last_modified: DateTime::UNIX_EPOCH, // Segments never change.
        size: segment.bytes,
        e_tag: None,
        version: None,
    };
    PartitionedFile::new_from_meta(meta)
        .with_statistics(Arc::new(segment_statistics(table, segment)))
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
