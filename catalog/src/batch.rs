//! Rows under way: from who made them, through the log, to tail and segments.

use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::DataType;
use tokio::sync::OwnedSemaphorePermit;

use crate::table::TableId;

/// The stream of a server that has its log in files of its own.
pub const LOCAL_STREAM: &str = "local";

/// Rows of one table, with the table's own Arrow schema (`Table::schema`).
#[derive(Clone, Debug)]
pub struct Batch {
    /// Whose rows.
    pub table: TableId,
    /// The rows.
    pub rows: RecordBatch,
}

/// What is appended to the log at once: all tables' batches of one drain.
///
/// (producer, epoch, number) is its identity: numbers of one producer and epoch rise by one, so a replay is recognised
/// by range, not by row.
#[derive(Clone, Debug)]
pub struct Envelope {
    /// Who made the rows: the node's name, or a client's.
    pub producer: Arc<str>,
    /// New at each start of the producer.
    pub epoch: u64,
    /// From 1, without gaps.
    pub number: u64,
    /// At most one per table; never empty.
    pub batches: Vec<Batch>,
}

impl Envelope {
    /// Rows of all batches.
    pub fn row_count(&self) -> usize {
        self.batches.iter().map(|batch| batch.rows.num_rows()).sum()
    }

    /// Memory of all batches' values, bytes: what arrays show, not what they share with others.
    pub fn memory_bytes(&self) -> usize {
        let columns = self.batches.iter().flat_map(|batch| batch.rows.columns());
        columns.map(|column| column_bytes(column)).sum()
    }
}

/// Arrays read from the log share one buffer: counting what each holds would count it many times over.
fn column_bytes(column: &dyn Array) -> usize {
    let text: usize = match column.data_type() {
        DataType::Utf8View => column.as_string_view().data_buffers().iter().map(|buffer| buffer.len()).sum(),
        DataType::BinaryView => column.as_binary_view().data_buffers().iter().map(|buffer| buffer.len()).sum(),
        _ => 0,
    };
    column.to_data().get_slice_memory_size().unwrap_or_else(|_| column.get_array_memory_size()) + text
}

/// An envelope at its place in the log.
#[derive(Debug)]
pub struct Entry {
    /// Its place: rises by one from entry to entry of a stream, from 1.
    pub sequence: u64,
    /// What was appended.
    pub envelope: Arc<Envelope>,
    /// The subscriber's credit this entry holds; it returns when the entry is dropped.
    pub credit: Option<OwnedSemaphorePermit>,
}

/// What an append promises when it returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// In the page cache; synced every second. For rows of the kernel, whose rings a power cut loses anyway.
    Process,
    /// On the disk. For rows that someone sent us.
    Sync,
}
