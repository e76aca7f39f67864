//! The log: envelopes in one order, on the disk and in memory, until segments hold their rows.

mod format; // The bytes of a file.
mod codec; // Envelopes as bytes.
mod file; // Reading a file, past damage.
mod files; // Which files there are.
mod producers; // What was taken before.
mod open; // What a start finds.
mod window; // The newest entries, in memory.
mod compact; // Rows without spare memory.
mod writer; // The threads that write and sync.
mod subscribe; // A subscriber's way through files and memory.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use parking_lot::Mutex;
use probepilot_catalog::batch::{Durability, Entry, Envelope};
use probepilot_sql::SqlError;
use probepilot_sql::error::SqlState;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

pub use self::open::{Damage, LogError};
use self::writer::{Request, Shared};

/// Envelopes between their senders and the writing thread; above it senders wait.
const QUEUE_ENTRIES_MAX: usize = 1024;

/// The largest envelope, bytes of memory; a larger one is refused.
const ENVELOPE_BYTES_MAX: usize = 256 * 1024 * 1024;

/// The open file is finished before it is full when it is this long and all in it is committed, bytes.
const TRIM_OPEN_BYTES_MIN: u64 = 1024 * 1024;

/// How a log behaves.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// The folder of its files; made when it is missing.
    pub directory: PathBuf,
    /// Length at which a file is finished and the next one begun, bytes.
    pub file_bytes_max: u64,
    /// Bytes of envelopes between their senders and the writing thread; above it senders wait.
    pub queue_bytes_max: usize,
    /// How far the slowest live subscriber may be behind before appends wait, bytes of memory.
    pub behind_bytes_max: u64,
    /// How long an append waits for that before it is refused.
    pub append_wait_max: Duration,
}

impl LogOptions {
    /// Files of 64 MiB, 64 MiB on the way to them, subscribers at most 64 MiB behind, one second of waiting.
    pub fn new(directory: impl Into<PathBuf>) -> LogOptions {
        LogOptions {
            directory: directory.into(),
            file_bytes_max: 64 * 1024 * 1024,
            queue_bytes_max: 64 * 1024 * 1024,
            behind_bytes_max: 64 * 1024 * 1024,
            append_wait_max: Duration::from_secs(1),
        }
    }
}

/// The log of one stream.
pub struct Log {
    shared: Arc<Shared>,
    options: LogOptions,
    /// To the writing thread; gone when the log is closed.
    requests: Mutex<Option<mpsc::Sender<Request>>>,
    /// What [`LogOptions::queue_bytes_max`] leaves.
    queue_bytes: Semaphore,
    /// Ends subscriptions.
    closed: CancellationToken,
    /// Why nothing is taken at the moment.
    paused: Mutex<Option<String>>,
    /// The sequence up to which segments hold the rows.
    committed: AtomicU64,
    damage: Vec<Damage>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Log {
    /// Opens or makes the log, whose entries up to `committed` are in segments.
    ///
    /// Cuts a torn end and reports damage ([`Log::damage`]); reads every file that is not committed, so it takes as long
    /// as that.
    pub fn open(options: LogOptions, committed: u64) -> Result<Log, LogError> {
        let directory = options.directory.clone();
        std::fs::create_dir_all(&directory).map_err(|source| LogError::Io {
            attempted: "make",
            path: directory.clone(),
            source,
        })?;
        let found = open::find(&directory, committed)?;
        let shared = Arc::new(Shared {
            directory,
            file_bytes_max: options.file_bytes_max,
            files: files::Files::new(found.files),
            window: window::Window::new(found.head),
            producers: Mutex::new(found.producers),
            roll: AtomicBool::new(false),
            failed: Mutex::new(None),
        });
        let (requests, request_queue) = mpsc::channel(QUEUE_ENTRIES_MAX);
        let (syncs, sync_queue) = std::sync::mpsc::channel();
        let syncing = shared.clone();
        let writing = shared.clone();
        let threads = vec![
            spawn("pp-log-write", move || writer::write(&writing, request_queue, syncs))?,
            spawn("pp-log-sync", move || writer::sync(&syncing, &sync_queue))?,
        ];
        Ok(Log {
            shared,
            queue_bytes: Semaphore::new(options.queue_bytes_max),
            options,
            requests: Mutex::new(Some(requests)),
            closed: CancellationToken::new(),
            paused: Mutex::new(None),
            committed: AtomicU64::new(committed),
            damage: found.damage,
            threads: Mutex::new(threads),
        })
    }

    /// See [`probepilot_catalog::ports::Rows::append`].
    pub async fn append(&self, mut envelope: Envelope, durability: Durability) -> Result<u64, SqlError> {
        if envelope.row_count() == 0 {
            return Err(SqlError::new(
                SqlState::INVALID_PARAMETER_VALUE,
                "an envelope without rows cannot be appended",
            ));
        }
        envelope.batches.retain(|batch| batch.rows.num_rows() > 0);
        compact::compact(&mut envelope);
        let bytes = envelope.memory_bytes();
        if bytes > ENVELOPE_BYTES_MAX {
            return Err(SqlError::new(
                SqlState::PROGRAM_LIMIT_EXCEEDED,
                format!("{bytes} bytes of rows cannot be appended at once: the limit is {ENVELOPE_BYTES_MAX}"),
            ));
        }
        if let Some(why) = &*self.paused.lock() {
            return Err(SqlError::new(SqlState::DISK_FULL, why.clone()));
        }
        let deadline = tokio::time::Instant::now() + self.options.append_wait_max;
        let admitted = async {
            self.shared.window.behind_at_most(self.options.behind_bytes_max).await;
            self.queue_bytes.acquire_many(bytes.min(self.options.queue_bytes_max) as u32).await
        };
        let Ok(Ok(_held)) = tokio::time::timeout_at(deadline, admitted).await else { return Err(tail_full()) };
        let Some(requests) = self.requests.lock().clone() else { return Err(closed()) };
        let (reply, replied) = oneshot::channel();
        let request = Request { envelope: Arc::new(envelope), durability, reply };
        match tokio::time::timeout_at(deadline, requests.reserve()).await {
            Ok(Ok(place)) => place.send(request),
            Ok(Err(_)) => return Err(closed()),
            Err(_) => return Err(tail_full()),
        }
        replied.await.unwrap_or_else(|_| Err(closed()))
    }

    /// See [`probepilot_catalog::ports::Rows::subscribe`]. Entries that were trimmed are in segments and left out, as are
    /// damaged ones; the stream ends when the log is closed.
    pub fn subscribe(&self, after: u64, credit: Arc<Semaphore>) -> BoxStream<'static, Result<Entry, SqlError>> {
        subscribe::subscribe(self.shared.clone(), self.closed.clone(), after, credit).boxed()
    }

    /// The newest sequence, 0 before the first.
    pub fn head(&self) -> u64 {
        self.shared.window.head()
    }

    /// The newest sequence up to `sequence` whose entry was not found damaged: a subscriber gets no further.
    pub fn readable(&self, sequence: u64) -> u64 {
        let damaged = self.damage.iter().rev();
        damaged.fold(
            sequence,
            |sequence, lost| {
                if (lost.first..=lost.last).contains(&sequence) { lost.first - 1 } else { sequence }
            },
        )
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.shared.files.bytes()
    }

    /// What was found damaged when the log was opened.
    pub fn damage(&self) -> &[Damage] {
        &self.damage
    }

    /// Segments hold every row up to `committed`: removes the files that hold nothing else.
    pub fn trim(&self, committed: u64) {
        self.committed.fetch_max(committed, Ordering::AcqRel);
        if let Err((path, error)) = self.shared.files.trim(committed) {
            tracing::warn!(file = %path.display(), %error, "a log file that is not needed any more cannot be removed");
        }
        if self.shared.files.open_and_done(committed).is_some_and(|bytes| bytes >= TRIM_OPEN_BYTES_MIN) {
            self.shared.roll.store(true, Ordering::Release);
        }
    }

    /// Refuses every append with 53100 and this message, until it is called with `None`.
    pub fn pause(&self, why: Option<String>) {
        *self.paused.lock() = why;
    }

    /// Takes nothing more; what was taken can still be read and trimmed.
    pub fn refuse(&self) {
        self.requests.lock().take();
    }

    /// Whether the log knows what this producer has sent in this epoch.
    pub fn knows(&self, producer: &Arc<str>, epoch: u64) -> bool {
        self.shared.producers.lock().knows(producer, epoch)
    }

    /// Takes in that segments hold every envelope of this producer up to `number`.
    pub fn learn(&self, producer: &Arc<str>, epoch: u64, number: u64) {
        let committed = self.committed.load(Ordering::Acquire);
        self.shared.producers.lock().learn(producer, epoch, number, committed);
    }

    /// Takes nothing more, writes and syncs what was taken, and ends every subscription behind it.
    pub async fn close(&self) {
        self.refuse();
        let threads = std::mem::take(&mut *self.threads.lock());
        let joined =
            tokio::task::spawn_blocking(move || threads.into_iter().filter_map(|thread| thread.join().err()).count());
        if joined.map(|panicked| panicked.unwrap_or(1)).await > 0 {
            tracing::error!("a thread of the log panicked");
        }
        self.closed.cancel();
    }
}

impl Drop for Log {
    /// The threads end by themselves, behind what they were given.
    fn drop(&mut self) {
        self.closed.cancel();
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, LogError> {
    std::thread::Builder::new().name(name.into()).spawn(run).map_err(LogError::Thread)
}

fn tail_full() -> SqlError {
    SqlError::new(SqlState::OUT_OF_MEMORY, "rows cannot be appended: the tail is full")
        .hint("Rows arrive faster than they are stored, or the object store or the catalog does not answer.")
}

fn closed() -> SqlError {
    SqlError::new(SqlState::ADMIN_SHUTDOWN, "rows cannot be appended: the server is shutting down")
}

#[cfg(test)]
mod tests;
