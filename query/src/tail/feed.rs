//! From the log into the tail, and out of it when a segment was committed.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use probepilot_catalog::manifest::Manifest;
use probepilot_catalog::ports::Rows;
use probepilot_sql::{SqlError, SqlState};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

use super::Tail;

/// How long the start waits for the log to be read; then the engine refuses to start (57P03).
const REFILL_WAIT_MAX: Duration = Duration::from_secs(300);

/// Pause before a subscription that ended or failed is taken again.
const RESUBSCRIBE_PAUSE: Duration = Duration::from_millis(200);

/// The task that keeps the tail: appends what the log delivers, evicts what the manifest says is committed.
#[derive(Debug)]
pub struct Feed {
    task: JoinHandle<()>,
    /// The newest sequence that is in the tail or in a segment.
    reached: watch::Receiver<u64>,
}

impl Feed {
    /// Starts to read the log above the watermark, and returns when the tail holds all that the log held.
    ///
    /// `bytes_max` is the credit: entries that do not fit wait in the log. When the log holds more than that, this
    /// waits until segments are committed, for a bounded time.
    pub async fn start(
        tail: Arc<Tail>,
        rows: Arc<dyn Rows>,
        stream: String,
        manifest: watch::Receiver<Arc<Manifest>>,
        bytes_max: usize,
    ) -> Result<Feed, SqlError> {
        let credit = Arc::new(Semaphore::new(bytes_max.min(u32::MAX as usize).min(Semaphore::MAX_PERMITS)));
        let committed = manifest.borrow().committed(&stream);
        let wanted = rows.head().max(committed);
        let (progress, mut reached) = watch::channel(committed);
        let work = Work { tail, rows, stream, manifest, credit, progress };
        let feed = Feed { reached: reached.clone(), task: tokio::spawn(work.run(committed)) };
        let refilled = tokio::time::timeout(REFILL_WAIT_MAX, reached.wait_for(|head| *head >= wanted)).await;
        match refilled {
            Ok(Ok(_)) => Ok(feed),
            Ok(Err(_)) | Err(_) => Err(SqlError::new(
                SqlState::CANNOT_CONNECT_NOW,
                format!("the log could not be read up to entry {wanted} in {} s", REFILL_WAIT_MAX.as_secs()),
            )),
        }
    }

    /// Waits until everything up to `sequence` is in the tail or in a segment.
    pub async fn reach(&self, sequence: u64) {
        // It fails when the task has ended, and then nothing comes any more.
        let _ = self.reached.clone().wait_for(|head| *head >= sequence).await;
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Work {
    tail: Arc<Tail>,
    rows: Arc<dyn Rows>,
    stream: String,
    manifest: watch::Receiver<Arc<Manifest>>,
    credit: Arc<Semaphore>,
    /// The newest sequence that is in the tail or in a segment.
    progress: watch::Sender<u64>,
}

impl Work {
    async fn run(mut self, committed: u64) {
        let mut head = committed;
        loop {
            let mut entries = self.rows.subscribe(head, Arc::clone(&self.credit));
            loop {
                tokio::select! {
                    entry = entries.next() => match entry {
                        Some(Ok(entry)) => {
                            head = head.max(entry.sequence);
                            self.tail.append(entry);
                            self.progress.send_if_modified(|known| {
                                let newer = head > *known;
                                *known = head.max(*known);
                                newer
                            });
                        }
                        Some(Err(error)) => {
                            // The log skips what it cannot read; what follows is served.
                            tracing::error!(%error, after = head, "the log could not deliver an entry to the tail");
                        }
                        None => break,
                    },
                    changed = self.manifest.changed() => {
                        if changed.is_err() {
                            return; // The catalog is gone: the process stops.
                        }
                        let committed = self.manifest.borrow_and_update().committed(&self.stream);
                        self.tail.evict(committed);
                        self.progress.send_if_modified(|known| {
                            let newer = committed > *known;
                            *known = committed.max(*known);
                            newer
                        });
                    }
                }
            }
            tokio::time::sleep(RESUBSCRIBE_PAUSE).await;
        }
    }
}
