//! Rows under way: from who made them, through the log, to tail and segments.

use std::sync::Arc;

use arrow::array::RecordBatch;
use tokio::sync::OwnedSemaphorePermit;

use crate::table::TableId;

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

    /// Memory of all batches' buffers, bytes.
    pub fn memory_bytes(&self) -> usize {
        self.batches.iter().map(|batch| batch.rows.get_array_memory_size()).sum()
    }
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
