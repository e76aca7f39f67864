//! Reads segments through the footer cache; an error names the file.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::ParquetFileReaderFactory;
use datafusion::datasource::physical_plan::parquet::CachedParquetFileReaderFactory;
use datafusion::execution::cache::cache_manager::FileMetadataCache;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use futures::FutureExt;
use futures::future::BoxFuture;
use object_store::ObjectStore;
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaData;

/// A segment that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("segment {path} cannot be read")]
pub struct SegmentError {
    /// The file, below the lake's data path.
    pub path: String,
    /// Why.
    #[source]
    pub source: ParquetError,
}

#[derive(Debug)]
pub(super) struct SegmentReaderFactory {
    inner: CachedParquetFileReaderFactory,
}

impl SegmentReaderFactory {
    pub(super) fn new(store: Arc<dyn ObjectStore>, footers: Arc<FileMetadataCache>) -> SegmentReaderFactory {
        SegmentReaderFactory { inner: CachedParquetFileReaderFactory::new(store, footers) }
    }
}

impl ParquetFileReaderFactory for SegmentReaderFactory {
    fn create_reader(
        &self,
        partition_index: usize,
        file: PartitionedFile,
        metadata_size_hint: Option<usize>,
        metrics: &ExecutionPlanMetricsSet,
    ) -> datafusion::common::Result<Box<dyn AsyncFileReader + Send>> {
        let path = file.object_meta.location.to_string();
        let inner = self.inner.create_reader(partition_index, file, metadata_size_hint, metrics)?;
        Ok(Box::new(SegmentReader { path, inner }))
    }
}

struct SegmentReader {
    path: String,
    inner: Box<dyn AsyncFileReader + Send>,
}

/// Adds the file's name to an error.
fn named<T>(path: &str, result: parquet::errors::Result<T>) -> parquet::errors::Result<T> {
    result.map_err(|source| ParquetError::External(Box::new(SegmentError { path: path.to_owned(), source })))
}

impl AsyncFileReader for SegmentReader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, parquet::errors::Result<Bytes>> {
        let SegmentReader { path, inner } = self;
        async move { named(path, inner.get_bytes(range).await) }.boxed()
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, parquet::errors::Result<Vec<Bytes>>> {
        let SegmentReader { path, inner } = self;
        async move { named(path, inner.get_byte_ranges(ranges).await) }.boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, parquet::errors::Result<Arc<ParquetMetaData>>> {
        let SegmentReader { path, inner } = self;
        async move { named(path, inner.get_metadata(options).await) }.boxed()
    }
}
