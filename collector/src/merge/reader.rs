//! A segment in the object store, as the Parquet reader wants it.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use probepilot_catalog::manifest::Segment;

/// Reads one segment.
pub struct SegmentReader {
    objects: Arc<dyn ObjectStore>,
    path: ObjectPath,
    bytes: u64,
    footer_bytes: u64,
}

impl SegmentReader {
    /// A reader of `segment`; nothing is read yet.
    pub fn new(objects: Arc<dyn ObjectStore>, segment: &Segment) -> SegmentReader {
        let path = ObjectPath::from(segment.path.as_str());
        SegmentReader { objects, path, bytes: segment.bytes, footer_bytes: segment.footer_bytes }
    }
}

fn external(error: object_store::Error) -> ParquetError {
    ParquetError::External(Box::new(error))
}

impl AsyncFileReader for SegmentReader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes, ParquetError>> {
        async move { self.objects.get_range(&self.path, range).await.map_err(external) }.boxed()
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, Result<Vec<Bytes>, ParquetError>> {
        async move { self.objects.get_ranges(&self.path, &ranges).await.map_err(external) }.boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        _options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, Result<Arc<ParquetMetaData>, ParquetError>> {
        async move {
            // The manifest knows how long the footer is; the last eight bytes say so again.
            let hint = usize::try_from(self.footer_bytes + 8).ok();
            let reader = ParquetMetaDataReader::new().with_prefetch_hint(hint);
            let bytes = self.bytes;
            reader.load_and_finish(self, bytes).await.map(Arc::new)
        }
        .boxed()
    }
}
