//! Rows that were inserted and wait for the end of their transaction; then all of them go into the log at once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arrow::compute::concat_batches;
use probepilot_catalog::batch::{Batch, Durability, Envelope};
use probepilot_catalog::manifest::Manifest;
use probepilot_catalog::ports::Rows;
use probepilot_sql::{SqlError, SqlState};
use tokio::sync::Mutex;

/// Bytes of rows that one transaction may insert; above it 54000. They are in memory until it ends.
const PENDING_BYTES_MAX: usize = 128 << 20;

/// Transactions that append at the same time; further ones queue behind them.
const LANES: usize = 16;

/// How long COMMIT waits for the tail to show the rows. It waits longer only when the tail has no room left: then the rows
/// are kept, and shown later.
pub(crate) const SHOWN_WAIT_MAX: Duration = Duration::from_secs(5);

/// The rows of one session's transaction, in the order in which they were inserted.
#[derive(Debug, Default)]
pub struct Pending {
    batches: Vec<Batch>,
    bytes: usize,
}

impl Pending {
    /// Adds rows; nothing is kept of what is too much.
    pub fn add(&mut self, batch: Batch) -> Result<(), SqlError> {
        let bytes = bytes(&batch);
        if self.bytes + bytes > PENDING_BYTES_MAX {
            let mebibytes = PENDING_BYTES_MAX >> 20;
            let message = format!("a transaction may insert at most {mebibytes} MiB of rows");
            return Err(
                SqlError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, message).hint("Insert them in several transactions.")
            );
        }
        self.bytes += bytes;
        self.batches.push(batch);
        Ok(())
    }

    /// The rows.
    pub fn batches(&self) -> &[Batch] {
        &self.batches
    }

    /// The rows, given away.
    pub fn into_batches(self) -> Vec<Batch> {
        self.batches
    }

    /// How many batches there are: where [`Pending::truncate`] goes back to.
    pub fn mark(&self) -> usize {
        self.batches.len()
    }

    /// Forgets what was added after a mark.
    pub fn truncate(&mut self, mark: usize) {
        for gone in self.batches.drain(mark.min(self.batches.len())..) {
            self.bytes -= bytes(&gone);
        }
    }

    /// One batch for each table, in the order of the tables' ids; 42P01 for a table that was dropped meanwhile.
    pub fn take(&mut self, manifest: &Manifest) -> Result<Vec<Batch>, SqlError> {
        self.bytes = 0;
        let mut by_table: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for Batch { table, rows } in std::mem::take(&mut self.batches) {
            by_table.entry(table).or_default().push(rows);
        }
        let joined = by_table.into_iter().map(|(id, rows)| {
            let Some(table) = manifest.table(id) else {
                return Err(SqlError::new(SqlState::UNDEFINED_TABLE, "a table was dropped while rows were inserted"));
            };
            let rows = concat_batches(&table.schema, &rows);
            let rows = rows.map_err(|error| SqlError::internal("inserted rows do not fit their table", error))?;
            Ok(Batch { table: id, rows })
        });
        joined.filter(|batch| batch.as_ref().is_ok_and(|batch| batch.rows.num_rows() > 0) || batch.is_err()).collect()
    }
}

fn bytes(batch: &Batch) -> usize {
    batch.rows.columns().iter().map(|column| column.get_array_memory_size()).sum()
}

/// The producers of inserted rows. Numbers of one producer must reach the log in order, and several transactions shall
/// share one write to the disk: so there are a few producers, each of which appends one envelope at a time.
#[derive(Debug)]
pub struct Lanes {
    epoch: u64,
    /// The number of each lane's last envelope.
    lanes: [Mutex<u64>; LANES],
    next: AtomicUsize,
}

impl Lanes {
    /// New producers: `epoch` is greater than at any start before.
    pub fn new(epoch: u64) -> Lanes {
        Lanes { epoch, lanes: std::array::from_fn(|_| Mutex::new(0)), next: AtomicUsize::new(0) }
    }

    /// Appends rows of one transaction, all or none: returns when they are on the disk, with their sequence.
    pub async fn append(&self, rows: &dyn Rows, batches: Vec<Batch>) -> Result<u64, SqlError> {
        let lane = self.next.fetch_add(1, Ordering::Relaxed) % LANES;
        let mut number = self.lanes[lane].lock().await;
        *number += 1;
        let producer = Arc::from(format!("inserts/{lane}"));
        let envelope = Envelope { producer, epoch: self.epoch, number: *number, batches };
        rows.append(envelope, Durability::Sync).await
    }
}
