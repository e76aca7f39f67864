//! Which segment it was: a decoder says what is wrong with bytes, not in which file they were.

use std::sync::Arc;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::datasource::source::DataSourceExec;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::ExecutionPlan;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::errors::ParquetError;

use super::layout::Kept;
use super::newest::NewestSource;
use super::reader::SegmentError;
use super::segments::{SegmentsSource, store_url};

/// Segments that are read again to find the damaged one; with more of them it stays unnamed.
const SEGMENTS_MAX: usize = 1000;

/// The first segment of the plan's scans that cannot be decoded. Reads them whole, one after the other: only for a
/// statement that has failed.
pub async fn find_damaged(plan: &Arc<dyn ExecutionPlan>, context: &TaskContext) -> Option<SegmentError> {
    let mut paths: Vec<Path> = Vec::new();
    plan.apply(|node| {
        let source = node.downcast_ref::<DataSourceExec>().map(DataSourceExec::data_source);
        let kept = source.and_then(|source| {
            let newest = source.downcast_ref::<NewestSource>().and_then(NewestSource::kept);
            newest.or_else(|| source.downcast_ref::<SegmentsSource>().map(SegmentsSource::kept))
        });
        let segments = kept.into_iter().flat_map(Kept::iter);
        paths.extend(segments.map(|segment| Path::from(segment.path.as_str())));
        Ok(TreeNodeRecursion::Continue)
    })
    .ok()?;
    paths.sort();
    paths.dedup();
    let store = context.runtime_env().object_store(store_url()).ok()?;
    for path in paths.into_iter().take(SEGMENTS_MAX) {
        if let Err(source) = decode(store.as_ref(), &path).await {
            return Some(SegmentError { path: path.to_string(), source });
        }
    }
    None
}

async fn decode(store: &dyn ObjectStore, path: &Path) -> Result<(), ParquetError> {
    let external = |error: object_store::Error| ParquetError::External(Box::new(error));
    let file = store.get(path).await.map_err(external)?.bytes().await.map_err(external)?;
    let decoding = tokio::task::spawn_blocking(move || {
        for batch in ParquetRecordBatchReaderBuilder::try_new(file)?.build()? {
            batch?;
        }
        Ok(())
    });
    // A decoder may panic on bytes that make no sense.
    decoding.await.unwrap_or_else(|error| Err(ParquetError::External(Box::new(error))))
}
