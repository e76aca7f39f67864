//! A log in memory for tests: keeps envelopes, and refuses or waits when told to.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::{Int64Array, RecordBatch};
use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use parking_lot::Mutex;
use probepilot_catalog::batch::{Durability, Entry, Envelope};
use probepilot_catalog::ports::Rows;
use probepilot_catalog::table::TableId;
use probepilot_sql::{SqlError, SqlState};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A log in memory.
pub struct TestLog {
    envelopes: Mutex<Vec<Arc<Envelope>>>,
    refuse: Mutex<Option<SqlState>>,
    gate: Arc<Semaphore>,
    waiting: AtomicUsize,
}

impl Default for TestLog {
    fn default() -> TestLog {
        TestLog {
            envelopes: Mutex::default(),
            refuse: Mutex::default(),
            gate: Arc::new(Semaphore::new(1)),
            waiting: AtomicUsize::new(0),
        }
    }
}

impl TestLog {
    /// What was appended.
    pub fn envelopes(&self) -> Vec<Arc<Envelope>> {
        self.envelopes.lock().clone()
    }

    /// From now on appends fail with this code; `None` lets them through again.
    pub fn refuse(&self, state: Option<SqlState>) {
        *self.refuse.lock() = state;
    }

    /// Appends wait until the answer is dropped.
    pub fn hold(&self) -> OwnedSemaphorePermit {
        self.gate.clone().try_acquire_owned().expect("nobody holds it")
    }

    /// Appends that wait.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::SeqCst)
    }

    /// All rows of a table.
    pub fn rows(&self, table: TableId) -> Vec<RecordBatch> {
        let envelopes = self.envelopes();
        let batches = envelopes.iter().flat_map(|envelope| &envelope.batches).filter(|batch| batch.table == table);
        batches.map(|batch| batch.rows.clone()).collect()
    }

    /// How many rows a table has.
    pub fn row_count(&self, table: TableId) -> usize {
        self.rows(table).iter().map(RecordBatch::num_rows).sum()
    }
}

#[async_trait]
impl Rows for TestLog {
    async fn append(&self, envelope: Envelope, _durability: Durability) -> Result<u64, SqlError> {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let passed = self.gate.acquire().await.expect("the gate is never closed");
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        drop(passed);
        if let Some(state) = *self.refuse.lock() {
            return Err(SqlError::new(state, "the test refuses"));
        }
        let mut envelopes = self.envelopes.lock();
        envelopes.push(Arc::new(envelope));
        Ok(envelopes.len() as u64)
    }

    fn subscribe(&self, after: u64, _credit: Arc<Semaphore>) -> BoxStream<'static, Result<Entry, SqlError>> {
        let envelopes = self.envelopes().into_iter().zip(1..).skip(after as usize);
        let entries = envelopes.map(|(envelope, sequence)| Ok(Entry { sequence, envelope, credit: None }));
        stream::iter(entries.collect::<Vec<_>>()).boxed()
    }

    fn head(&self) -> u64 {
        self.envelopes.lock().len() as u64
    }

    async fn checkpoint(&self) -> Result<i64, SqlError> {
        Ok(0)
    }
}

/// A batch with the numbers from 0.
pub fn numbers(count: usize) -> RecordBatch {
    let column = Int64Array::from_iter_values(0..count as i64);
    RecordBatch::try_from_iter([("n", Arc::new(column) as _)]).expect("one column")
}
