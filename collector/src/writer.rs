//! The write path as one: takes rows, keeps them, and ends in order.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use object_store::ObjectStore;
use parking_lot::Mutex;
use probepilot_catalog::Lake;
use probepilot_catalog::batch::{Durability, Entry, Envelope, LOCAL_STREAM};
use probepilot_catalog::ports::Rows;
use probepilot_sql::SqlError;
use probepilot_sql::error::SqlState;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::{AbortHandle, JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::log::{Damage, Log, LogOptions};
use crate::loss::{Cause, Losses};
use crate::merge::MergeOptions;
use crate::segment::store::SegmentStore;
use crate::segment::{Command, Cutter, SegmentOptions};
use crate::space::{SpaceOptions, SpaceState};
use crate::{merge, segment, space};

/// Checkpoints that may wait at once; a further one waits for its turn.
const COMMANDS_MAX: usize = 64;

/// How long a checkpoint waits for the object store and the catalog.
const CHECKPOINT_WAIT_MAX: Duration = Duration::from_secs(300);

/// What the write path needs.
pub struct WriterOptions {
    /// Files and back-pressure of the log.
    pub log: LogOptions,
    /// The manifest.
    pub lake: Lake,
    /// The object store below the manifest's data path.
    pub store: Arc<dyn ObjectStore>,
    /// The folder behind the store when it is one on this machine: files are synced there, and free space is watched.
    pub store_directory: Option<PathBuf>,
    /// The log's stream in the manifest.
    pub stream: String,
    /// When segments are cut.
    pub segments: SegmentOptions,
    /// What is merged.
    pub merge: MergeOptions,
    /// How much is kept.
    pub space: SpaceOptions,
}

impl WriterOptions {
    /// The defaults, for a log in `log_directory` and segments in a folder of this machine.
    pub fn new(
        log_directory: impl Into<PathBuf>,
        lake: Lake,
        store: Arc<dyn ObjectStore>,
        store_directory: Option<PathBuf>,
    ) -> WriterOptions {
        WriterOptions {
            log: LogOptions::new(log_directory),
            lake,
            store,
            store_directory,
            stream: LOCAL_STREAM.to_owned(),
            segments: SegmentOptions::default(),
            merge: MergeOptions::default(),
            space: SpaceOptions::default(),
        }
    }
}

/// The running write path: what takes rows.
pub struct Writer {
    log: Arc<Log>,
    lake: Lake,
    stream: String,
    losses: Arc<Losses>,
    space: Arc<SpaceState>,
    /// To the segment task; gone once the writer is shut down.
    commands: Mutex<Option<mpsc::Sender<Command>>>,
    segments: Mutex<Option<JoinHandle<()>>>,
    /// Ends whatever runs, at once.
    aborts: Vec<AbortHandle>,
    /// Set by the first shutdown.
    stopping: CancellationToken,
    /// Set by the second one.
    stop_now: CancellationToken,
}

/// How the write path is.
#[derive(Clone, Debug)]
pub struct WriterStatus {
    /// The newest sequence.
    pub head: u64,
    /// The sequence up to which segments hold the rows.
    pub committed: u64,
    /// Bytes of the log's files.
    pub log_bytes: u64,
    /// Bytes on the disk of log and segments together; 0 before they were first measured.
    pub disk_bytes: u64,
    /// What log and segments may take, bytes.
    pub disk_bytes_max: u64,
    /// Why rows are refused at the moment.
    pub paused: Option<String>,
    /// Rows lost since the start.
    pub rows_lost: Vec<(Cause, u64)>,
    /// What was damaged in the log at the start.
    pub damage: Vec<Damage>,
}

impl Writer {
    /// Opens the log, and starts storing what it holds.
    pub async fn start(options: WriterOptions) -> Result<Arc<Writer>, SqlError> {
        let WriterOptions { log, lake, store, store_directory, stream, segments, merge, space } = options;
        let committed = lake.refresh().await?.committed(&stream);
        let log_directory = log.directory.clone();
        let opened = tokio::task::spawn_blocking(move || Log::open(log, committed)).await;
        let log = opened
            .map_err(|error| SqlError::internal("opening the log was interrupted", error))?
            .map_err(|error| SqlError::new(SqlState::IO_ERROR, error.to_string()).caused_by(error))?;
        let log = Arc::new(log);
        let losses = Arc::new(Losses::default());
        for damage in log.damage() {
            losses.count(Cause::LogDamaged, damage.rows.unwrap_or(damage.last - damage.first + 1));
        }
        let store = SegmentStore { objects: store, local_root: store_directory };
        let (failures, _) = watch::channel(None);
        let cutter = Cutter {
            lake: lake.clone(),
            store: store.clone(),
            stream: stream.clone(),
            losses: losses.clone(),
            failures,
        };
        let (commands, command_queue) = mpsc::channel(COMMANDS_MAX);
        let cutting = tokio::spawn(segment::run(log.clone(), cutter, segments, command_queue));
        let space_state = Arc::new(SpaceState::default());
        let keeping = space::Keeper {
            log: log.clone(),
            log_directory,
            lake: lake.clone(),
            store: store.clone(),
            options: space,
            state: space_state.clone(),
        };
        keeping.check().await;
        let keeping = tokio::spawn(keeping.run());
        let merging = tokio::spawn(merge::run(lake.clone(), store, merge));
        Ok(Arc::new(Writer {
            log,
            lake,
            stream,
            losses,
            space: space_state,
            commands: Mutex::new(Some(commands)),
            aborts: vec![cutting.abort_handle(), keeping.abort_handle(), merging.abort_handle()],
            segments: Mutex::new(Some(cutting)),
            stopping: CancellationToken::new(),
            stop_now: CancellationToken::new(),
        }))
    }

    /// How it is.
    pub fn status(&self) -> WriterStatus {
        let (disk_bytes, disk_bytes_max, paused) = self.space.read();
        WriterStatus {
            head: self.log.head(),
            committed: self.lake.manifest().committed(&self.stream),
            log_bytes: self.log.bytes(),
            disk_bytes,
            disk_bytes_max,
            paused,
            rows_lost: Cause::ALL.into_iter().map(|cause| (cause, self.losses.rows(cause))).collect(),
            damage: self.log.damage().to_vec(),
        }
    }

    /// Takes nothing more, stores what was taken, and ends. Called a second time it ends at once, and so does the first
    /// call: what is not stored is in the log.
    pub async fn shutdown(&self) {
        if self.stopping.is_cancelled() {
            self.stop_now.cancel();
        }
        self.stopping.cancel();
        tokio::select! {
            () = self.drain() => {}
            () = self.stop_now.cancelled() => {}
        }
        for abort in &self.aborts {
            abort.abort();
        }
        // Whoever was appending gets an answer; this only writes and syncs what is in memory already.
        self.log.close().await;
        self.log.trim(self.lake.manifest().committed(&self.stream));
    }

    async fn drain(&self) {
        self.log.refuse();
        if let Err(error) = self.checkpoint().await {
            tracing::warn!(%error, "not every row is in a segment; the next start stores them from the log");
        }
        drop(self.commands.lock().take());
        let segments = self.segments.lock().take();
        if let Some(segments) = segments {
            segments.abort();
            let _ = segments.await;
        }
    }

    /// Asks the catalog what a producer sent, when the log does not know.
    async fn meet(&self, producer: &Arc<str>, epoch: u64) -> Result<(), SqlError> {
        if self.log.knows(producer, epoch) {
            return Ok(());
        }
        let number = self.lake.high_water(producer, epoch).await?;
        self.log.learn(producer, epoch, number);
        Ok(())
    }
}

#[async_trait]
impl Rows for Writer {
    async fn append(&self, envelope: Envelope, durability: Durability) -> Result<u64, SqlError> {
        self.meet(&envelope.producer, envelope.epoch).await?;
        let rows = envelope.row_count() as u64;
        let appended = self.log.append(envelope, durability).await;
        match appended.as_ref().map_err(|error| error.state) {
            Err(SqlState::OUT_OF_MEMORY) => self.losses.count(Cause::TailFull, rows),
            Err(SqlState::DISK_FULL) => self.losses.count(Cause::DiskFull, rows),
            _ => {}
        }
        appended
    }

    fn subscribe(&self, after: u64, credit: Arc<Semaphore>) -> BoxStream<'static, Result<Entry, SqlError>> {
        self.log.subscribe(after, credit)
    }

    fn head(&self) -> u64 {
        self.log.head()
    }

    async fn checkpoint(&self) -> Result<i64, SqlError> {
        let shutting_down =
            || SqlError::new(SqlState::ADMIN_SHUTDOWN, "rows cannot be committed: the server is shutting down");
        let commands = self.commands.lock().clone().ok_or_else(shutting_down)?;
        let (reply, replied) = oneshot::channel();
        commands.send(Command::Checkpoint(reply)).await.map_err(|_| shutting_down())?;
        drop(commands);
        match tokio::time::timeout(CHECKPOINT_WAIT_MAX, replied).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(shutting_down()),
            Err(_) => Err(SqlError::new(
                SqlState::QUERY_CANCELED,
                format!("could not commit every row within {} seconds", CHECKPOINT_WAIT_MAX.as_secs()),
            )
            .detail("The rows are in the log and are stored as soon as that is possible.")),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        for abort in &self.aborts {
            abort.abort();
        }
    }
}
