//! The queue between the drain and the log: never waits for the log, counts what the log does not take.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::compute::concat_batches;
use probepilot_catalog::batch::{Batch, Durability, Envelope};
use probepilot_catalog::ports::Rows;
use probepilot_sql::{SqlError, SqlState};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::node::clock::monotonic_now_ns;
use crate::node::loss::{Cause, Tally};

/// Parcels waiting for the log. One is made in a millisecond when statements keep asking, or when rings fill, so this is
/// at least a quarter of a second; when full, rows are lost as `queue_full`.
pub const QUEUE_PARCELS_MAX: usize = 256;

/// A parcel takes no more rows when it has so many bytes: envelopes stay small beside what their readers may hold.
const PARCEL_BYTES: usize = 4 << 20;

/// Memory of the rows waiting for the log when nobody says otherwise, bytes; when full, rows are lost as `queue_full`.
pub const QUEUE_BYTES_DEFAULT: usize = 64 << 20;

/// Rows of one probe under way to the log.
#[derive(Debug)]
pub struct Item {
    /// The rows, in their table's schema.
    pub batch: Batch,
    /// Where is counted what becomes of them.
    pub tally: Arc<Tally>,
    /// When the oldest of them happened, monotonic clock; `None` for rows that are not events.
    pub oldest_ns: Option<u64>,
}

/// What waits in the queue.
enum Parcel {
    /// All probes' rows of one drain, and their memory in bytes.
    Items(Vec<Item>, usize),
    /// Answered when everything before it was taken or refused.
    Flush(oneshot::Sender<()>),
}

/// The sending end of the queue.
#[derive(Clone)]
pub struct Outbox {
    sender: mpsc::Sender<Parcel>,
    queued_bytes: Arc<AtomicUsize>,
    queue_bytes_max: usize,
}

impl Outbox {
    /// Starts the task that appends to `rows` as `producer` in this `epoch`; so many bytes may wait for it. It ends when
    /// every `Outbox` is dropped and the queue is empty.
    pub fn start(
        rows: Arc<dyn Rows>,
        producer: Arc<str>,
        epoch: u64,
        queue_bytes_max: usize,
    ) -> (Outbox, JoinHandle<()>) {
        let (sender, receiver) = mpsc::channel(QUEUE_PARCELS_MAX);
        let queued_bytes = Arc::new(AtomicUsize::new(0));
        let appender = Appender { rows, producer, epoch, number: 1, queued_bytes: queued_bytes.clone(), refused: 0 };
        (Outbox { sender, queued_bytes, queue_bytes_max }, tokio::spawn(appender.run(receiver)))
    }

    /// Puts rows into the queue without waiting. Those it has no room for are counted `queue_full`.
    pub fn send(&self, items: Vec<Item>) {
        let (mut parcel, mut bytes) = (Vec::new(), 0);
        for item in items.into_iter().filter(|item| item.batch.rows.num_rows() > 0) {
            bytes += item.batch.rows.get_array_memory_size();
            parcel.push(item);
            if bytes >= PARCEL_BYTES {
                self.send_parcel(std::mem::take(&mut parcel), std::mem::take(&mut bytes));
            }
        }
        if !parcel.is_empty() {
            self.send_parcel(parcel, bytes);
        }
    }

    fn send_parcel(&self, items: Vec<Item>, bytes: usize) {
        let queued_bytes = self.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
        // One parcel may always wait, whatever its size.
        if queued_bytes > 0 && queued_bytes + bytes > self.queue_bytes_max {
            self.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
            return lose(&items, Cause::QueueFull);
        }
        if let Err(refused) = self.sender.try_send(Parcel::Items(items, bytes)) {
            self.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
            if let Parcel::Items(items, _) = refused.into_inner() {
                lose(&items, Cause::QueueFull);
            }
        }
    }

    /// Waits until everything sent so far was taken by the log or refused by it.
    pub async fn flush(&self) {
        // Rows leave this count when their fate is known.
        if self.queued_bytes.load(Ordering::Acquire) == 0 {
            return;
        }
        let (done, wait) = oneshot::channel();
        // When the task is gone, nothing waits any more.
        if self.sender.send(Parcel::Flush(done)).await.is_ok() {
            let _ = wait.await;
        }
    }
}

fn lose(items: &[Item], cause: Cause) {
    for item in items {
        item.tally.lose(cause, item.batch.rows.num_rows() as u64);
    }
}

/// The task behind the queue.
struct Appender {
    rows: Arc<dyn Rows>,
    producer: Arc<str>,
    epoch: u64,
    /// The next envelope's; one that the log refused is used again, so there is no gap.
    number: u64,
    queued_bytes: Arc<AtomicUsize>,
    /// Rows refused since the log last took some.
    refused: u64,
}

impl Appender {
    async fn run(mut self, mut receiver: mpsc::Receiver<Parcel>) {
        while let Some(parcel) = receiver.recv().await {
            match parcel {
                Parcel::Items(items, bytes) => {
                    self.append(items).await;
                    self.queued_bytes.fetch_sub(bytes, Ordering::Release);
                }
                Parcel::Flush(done) => {
                    let _ = done.send(());
                }
            }
        }
    }

    async fn append(&mut self, items: Vec<Item>) {
        let result = match one_batch_per_table(&items) {
            Ok(batches) => {
                let (producer, epoch, number) = (self.producer.clone(), self.epoch, self.number);
                self.rows.append(Envelope { producer, epoch, number, batches }, Durability::Process).await
            }
            Err(error) => Err(error),
        };
        match result {
            Ok(_) => {
                self.number += 1;
                self.taken(&items);
            }
            Err(error) => self.refused(&items, &error),
        }
    }

    fn taken(&mut self, items: &[Item]) {
        let now_ns = monotonic_now_ns();
        for item in items {
            let lag_ns = item.oldest_ns.map_or(0, |oldest_ns| now_ns.saturating_sub(oldest_ns));
            item.tally.stored(item.batch.rows.num_rows() as u64, lag_ns);
        }
        if self.refused > 0 {
            tracing::info!(rows_lost = self.refused, "the log takes rows again");
            self.refused = 0;
        }
    }

    fn refused(&mut self, items: &[Item], error: &SqlError) {
        if self.refused == 0 {
            tracing::warn!(error = error as &dyn std::error::Error, "the log refuses rows; they are counted as lost");
        }
        let cause = if error.state == SqlState::DISK_FULL { Cause::DiskFull } else { Cause::LogFull };
        lose(items, cause);
        self.refused += items.iter().map(|item| item.batch.rows.num_rows() as u64).sum::<u64>();
    }
}

/// An envelope holds a table once; two versions of a probe that run side by side write the same one.
fn one_batch_per_table(items: &[Item]) -> Result<Vec<Batch>, SqlError> {
    let mut batches: Vec<Batch> = Vec::with_capacity(items.len());
    for Item { batch, .. } in items {
        match batches.iter_mut().find(|known| known.table == batch.table) {
            Some(known) => {
                known.rows = concat_batches(&known.rows.schema(), [&known.rows, &batch.rows])
                    .map_err(|error| SqlError::internal("could not join rows of one table", error))?;
            }
            None => batches.push(batch.clone()),
        }
    }
    Ok(batches)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::node::test_log::{TestLog, numbers};
    use probepilot_catalog::table::TableId;

    fn item(table: i64, count: usize, tally: &Arc<Tally>) -> Item {
        Item { batch: Batch { table: TableId(table), rows: numbers(count) }, tally: tally.clone(), oldest_ns: Some(1) }
    }

    #[tokio::test]
    async fn rows_reach_the_log_numbered_without_gaps_one_batch_per_table() {
        let log = Arc::new(TestLog::default());
        let (outbox, task) = Outbox::start(log.clone(), "n".into(), 9, QUEUE_BYTES_DEFAULT);
        let tally = Arc::new(Tally::default());
        outbox.send(vec![item(1, 2, &tally), item(2, 1, &tally), item(1, 3, &tally)]);
        outbox.send(vec![item(1, 0, &tally)]);
        outbox.send(vec![item(1, 4, &tally)]);
        outbox.flush().await;
        let envelopes = log.envelopes();
        let shape: Vec<(u64, Vec<(i64, usize)>)> = envelopes
            .iter()
            .map(|envelope| {
                assert_eq!((&*envelope.producer, envelope.epoch), ("n", 9));
                let batches = envelope.batches.iter().map(|batch| (batch.table.0, batch.rows.num_rows())).collect();
                (envelope.number, batches)
            })
            .collect();
        assert_eq!(shape, [(1, vec![(1, 5), (2, 1)]), (2, vec![(1, 4)])]);
        assert_eq!((tally.rows(), tally.losses().rows()), (10, 0));
        assert_eq!((log.row_count(TableId(1)), log.row_count(TableId(2))), (9, 1));
        assert!(tally.lag_ns() > 0);
        drop(outbox);
        task.await.expect("the task ends with its last sender");
    }

    #[tokio::test]
    async fn what_the_log_refuses_is_counted_and_the_number_is_used_again() {
        let log = Arc::new(TestLog::default());
        let (outbox, _task) = Outbox::start(log.clone(), "n".into(), 9, QUEUE_BYTES_DEFAULT);
        let tally = Arc::new(Tally::default());
        log.refuse(Some(SqlState::OUT_OF_MEMORY));
        outbox.send(vec![item(1, 2, &tally)]);
        outbox.flush().await;
        log.refuse(Some(SqlState::DISK_FULL));
        outbox.send(vec![item(1, 5, &tally)]);
        outbox.flush().await;
        log.refuse(None);
        outbox.send(vec![item(1, 1, &tally)]);
        outbox.flush().await;
        assert_eq!(tally.losses().get(Cause::LogFull), 2);
        assert_eq!(tally.losses().get(Cause::DiskFull), 5);
        assert_eq!(log.envelopes().iter().map(|envelope| envelope.number).collect::<Vec<_>>(), [1]);
    }

    #[tokio::test]
    async fn a_log_that_stands_still_fills_the_queue_and_the_rest_is_counted() {
        let log = Arc::new(TestLog::default());
        let (outbox, _task) = Outbox::start(log.clone(), "n".into(), 9, QUEUE_BYTES_DEFAULT);
        let tally = Arc::new(Tally::default());
        let gate = log.hold();
        outbox.send(vec![item(1, 1, &tally)]);
        while log.waiting() == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        for _ in 0..QUEUE_PARCELS_MAX + 7 {
            outbox.send(vec![item(1, 1, &tally)]);
        }
        assert_eq!(tally.losses().get(Cause::QueueFull), 7);
        drop(gate);
        outbox.flush().await;
        assert_eq!(tally.rows(), QUEUE_PARCELS_MAX as u64 + 1);
        assert_eq!(outbox.queued_bytes.load(Ordering::Relaxed), 0);
    }
}
