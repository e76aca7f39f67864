//! The queue between a live query's drain and its client: never waits for the client.

use std::collections::VecDeque;

use arrow::array::RecordBatch;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// Memory of the rows waiting for one client, bytes; when full, rows are lost as `queue_full` and the client is told at
/// the end.
pub const LIVE_BYTES_MAX: usize = 8 << 20;

/// Rows waiting for a client.
#[derive(Default)]
pub struct LiveQueue {
    waiting: Mutex<Waiting>,
    changed: Notify,
}

#[derive(Default)]
struct Waiting {
    batches: VecDeque<RecordBatch>,
    bytes: usize,
    closed: bool,
}

impl LiveQueue {
    /// Adds rows; false when there is no room or nobody reads any more.
    pub fn push(&self, rows: RecordBatch) -> bool {
        let bytes = rows.get_array_memory_size();
        let mut waiting = self.waiting.lock();
        // One batch may always wait, whatever its size.
        if waiting.closed || (waiting.bytes > 0 && waiting.bytes + bytes > LIVE_BYTES_MAX) {
            return false;
        }
        waiting.bytes += bytes;
        waiting.batches.push_back(rows);
        drop(waiting);
        self.changed.notify_one();
        true
    }

    /// No more rows come: what waits is still read.
    pub fn close(&self) {
        self.waiting.lock().closed = true;
        self.changed.notify_one();
    }

    /// The next rows, or `None` after the last ones of a closed queue. One reader at a time.
    pub async fn next(&self) -> Option<RecordBatch> {
        loop {
            {
                let mut waiting = self.waiting.lock();
                if let Some(rows) = waiting.batches.pop_front() {
                    waiting.bytes -= rows.get_array_memory_size();
                    return Some(rows);
                }
                if waiting.closed {
                    return None;
                }
            }
            // A change between the look and the wait leaves its permit, so it is not missed.
            self.changed.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::node::test_log::numbers;

    #[tokio::test]
    async fn a_client_that_does_not_read_loses_rows_and_nobody_waits() {
        let queue = LiveQueue::default();
        let mut taken = 0;
        while queue.push(numbers(100_000)) {
            taken += 1;
        }
        assert_eq!(taken, LIVE_BYTES_MAX / numbers(100_000).get_array_memory_size());
        assert_eq!(queue.next().await.map(|rows| rows.num_rows()), Some(100_000));
        assert!(queue.push(numbers(1)), "there is room again");
    }

    #[tokio::test]
    async fn what_waits_at_the_end_is_read() {
        let queue = Arc::new(LiveQueue::default());
        let reader = tokio::spawn({
            let queue = queue.clone();
            async move { (queue.next().await.map(|rows| rows.num_rows()), queue.next().await.is_none()) }
        });
        tokio::task::yield_now().await;
        assert!(queue.push(numbers(3)));
        queue.close();
        assert!(!queue.push(numbers(1)), "nobody reads any more");
        assert_eq!(reader.await.expect("it does not panic"), (Some(3), true));
    }
}
