//! Several files to one, row by row in order of time, with a few batches of each in memory.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use datafusion::error::DataFusionError;
use datafusion::execution::memory_pool::{GreedyMemoryPool, MemoryConsumer, MemoryPool};
use datafusion::physical_expr::{LexOrdering, PhysicalSortExpr, expressions};
use datafusion::physical_plan::SendableRecordBatchStream;
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet};
use datafusion::physical_plan::sorts::streaming_merge::StreamingMergeBuilder;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryStreamExt};
use object_store::buffered::BufWriter;
use object_store::path::Path as ObjectPath;
use parquet::arrow::ParquetRecordBatchStreamBuilder;
use parquet::arrow::async_writer::{AsyncArrowWriter, AsyncFileWriter};
use parquet::errors::ParquetError;
use probepilot_catalog::manifest::{NewSegment, Segment};
use probepilot_catalog::table::time_column;
use tokio::io::AsyncWriteExt;

use super::choose::Group;
use super::reader::SegmentReader;
use crate::segment::layout::{ZSTD_LEVEL_MERGED, fitted, layout};
use crate::segment::store::{SegmentStore, StoreError};
use crate::segment::{NanWatch, conform, describe, segment_path};

/// Rows of a batch on the way from file to file.
const BATCH_ROWS: usize = 8_192;

/// A row group is written when it takes this part of the memory, however few rows it has.
const ROW_GROUP_PART: usize = 4;

/// Why segments could not be merged.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// One of them cannot be read.
    #[error("segment \"{path}\" cannot be read")]
    Read {
        /// The segment.
        path: String,
        /// Why.
        source: ParquetError,
    },
    /// Putting rows in order failed, or ran out of memory.
    #[error("rows could not be merged")]
    Merge(#[from] DataFusionError),
    /// The new file could not be written.
    #[error("segment \"{path}\" cannot be written")]
    Write {
        /// The segment.
        path: String,
        /// Why.
        source: ParquetError,
    },
    /// The new file could not be kept.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The new file has not as many rows as the old ones.
    #[error("{merged} rows came out of a merge of {rows}")]
    Rows {
        /// Rows of the old ones.
        rows: u64,
        /// Rows of the new one.
        merged: u64,
    },
}

/// Writes the rows of all segments, in order of time, to a new file that is not committed yet.
pub async fn combine(store: &SegmentStore, group: &Group, memory_bytes_max: usize) -> Result<NewSegment, MergeError> {
    let Group { table, segments, level } = group;
    let mut streams = Vec::with_capacity(segments.len());
    for segment in segments {
        streams.push(open(store, segment, &table.schema).await?);
    }
    let mut rows = in_order(streams, &table.schema, memory_bytes_max)?;

    let first = segments.iter().map(|segment| segment.time_min).min().unwrap_or(0);
    let path = segment_path(table, first);
    let failed = |source| MergeError::Write { path: path.clone(), source };
    let layout = layout(table, ZSTD_LEVEL_MERGED).map_err(failed)?;
    let upload = Upload::new(store, &path);
    let mut writer =
        AsyncArrowWriter::try_new_with_options(upload, layout.schema.clone(), layout.options).map_err(failed)?;
    let mut nans = NanWatch::default();
    while let Some(batch) = rows.try_next().await? {
        nans.see(&batch);
        let batch = fitted(&batch, &layout.schema).map_err(|error| failed(error.into()))?;
        writer.write(&batch).await.map_err(failed)?;
        if writer.in_progress_size() > memory_bytes_max / ROW_GROUP_PART {
            writer.flush().await.map_err(failed)?;
        }
    }
    let metadata = writer.finish().await.map_err(failed)?;
    let upload = writer.into_inner();
    store.sync(&path).await?;
    let (bytes, footer_bytes) = (upload.bytes, upload.footer_bytes());
    let last = segments.iter().map(|segment| segment.time_max).max().unwrap_or(first);
    let merged = describe(table, &metadata, &nans, path, [bytes, footer_bytes], (first, last), *level);
    let wanted = segments.iter().map(|segment| segment.rows).sum();
    if merged.rows == wanted { Ok(merged) } else { Err(MergeError::Rows { rows: wanted, merged: merged.rows }) }
}

/// The rows of one segment in the table's schema.
async fn open(
    store: &SegmentStore,
    segment: &Segment,
    schema: &SchemaRef,
) -> Result<SendableRecordBatchStream, MergeError> {
    let failed = |source| MergeError::Read { path: segment.path.clone(), source };
    let reader = SegmentReader::new(store.objects.clone(), segment);
    let builder = ParquetRecordBatchStreamBuilder::new(reader).await.map_err(failed)?;
    let batches = builder.with_batch_size(BATCH_ROWS).build().map_err(failed)?;
    let schema = schema.clone();
    let conforming = {
        let schema = schema.clone();
        batches.map(move |batch| -> Result<RecordBatch, DataFusionError> { Ok(conform(&schema, &batch?)?) })
    };
    Ok(Box::pin(RecordBatchStreamAdapter::new(schema, conforming)))
}

fn in_order(
    streams: Vec<SendableRecordBatchStream>,
    schema: &SchemaRef,
    memory_bytes_max: usize,
) -> Result<SendableRecordBatchStream, DataFusionError> {
    let Some(time) = time_column(schema) else {
        let rows = futures::stream::iter(streams).flatten();
        return Ok(Box::pin(RecordBatchStreamAdapter::new(schema.clone(), rows)));
    };
    let time = PhysicalSortExpr::new_default(expressions::col(schema.field(time).name(), schema)?);
    let order = LexOrdering::new([time]).expect("one expression is an order");
    let memory: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(memory_bytes_max));
    StreamingMergeBuilder::new()
        .with_streams(streams)
        .with_schema(schema.clone())
        .with_expressions(&order)
        .with_metrics(BaselineMetrics::new(&ExecutionPlanMetricsSet::new(), 0))
        .with_batch_size(BATCH_ROWS)
        .with_reservation(MemoryConsumer::new("merge of segments").register(&memory))
        .build()
}

/// A file that is written piece by piece, and what its end is.
struct Upload {
    writer: BufWriter,
    bytes: u64,
    /// The last eight bytes.
    tail: Vec<u8>,
}

impl Upload {
    fn new(store: &SegmentStore, path: &str) -> Upload {
        let writer = BufWriter::new(store.objects.clone(), ObjectPath::from(path));
        Upload { writer, bytes: 0, tail: Vec::new() }
    }

    fn footer_bytes(&self) -> u64 {
        let size = self.tail.first_chunk::<4>().expect("a finished file ends with its footer's size");
        u32::from_le_bytes(*size).into()
    }
}

impl AsyncFileWriter for Upload {
    fn write(&mut self, bytes: Bytes) -> BoxFuture<'_, Result<(), ParquetError>> {
        async move {
            self.bytes += bytes.len() as u64;
            self.tail.extend_from_slice(&bytes[bytes.len().saturating_sub(8)..]);
            self.tail.drain(..self.tail.len().saturating_sub(8));
            self.writer.put(bytes).await.map_err(|error| ParquetError::External(Box::new(error)))
        }
        .boxed()
    }

    fn complete(&mut self) -> BoxFuture<'_, Result<(), ParquetError>> {
        async move { self.writer.shutdown().await.map_err(|error| ParquetError::External(Box::new(error))) }.boxed()
    }
}
