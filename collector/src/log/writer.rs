//! The threads of a log: one writes, in groups; one syncs, so that a slow disk holds up only who waits for it.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use probepilot_catalog::batch::{Durability, Envelope};
use probepilot_sql::SqlError;
use probepilot_sql::error::SqlState;
use tokio::sync::{mpsc, oneshot};

use super::codec::EntryEncoder;
use super::file::file_path;
use super::files::Files;
use super::format::encode_file_header;
use super::producers::Producers;
use super::window::Window;

/// Entries written with one call of the operating system.
const GROUP_ENTRIES_MAX: usize = 256;

/// Bytes after which a group is written, although more entries wait.
const GROUP_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How long entries at level [`Durability::Process`] stay in the page cache only.
const SYNC_INTERVAL: Duration = Duration::from_secs(1);

/// An envelope on its way into the log.
pub struct Request {
    /// What is to be appended.
    pub envelope: Arc<Envelope>,
    /// When to answer.
    pub durability: Durability,
    /// The sequence, or why nothing was kept.
    pub reply: oneshot::Sender<Result<u64, SqlError>>,
}

/// What both threads and the log share.
pub struct Shared {
    /// Where the files are.
    pub directory: PathBuf,
    /// Length at which a file is finished, bytes.
    pub file_bytes_max: u64,
    /// The files.
    pub files: Files,
    /// The newest entries.
    pub window: Window,
    /// What was taken before.
    pub producers: Mutex<Producers>,
    /// Set when the open file should be finished although it is short, so that it can be trimmed.
    pub roll: AtomicBool,
    /// Why the log can promise nothing more until the process starts again.
    pub failed: Mutex<Option<String>>,
}

impl Shared {
    fn refusal(&self) -> Option<SqlError> {
        let failed = self.failed.lock();
        let why = failed.as_ref()?;
        Some(SqlError::new(SqlState::IO_ERROR, why.clone()).hint("Mend the disk, then start the server again."))
    }

    fn fail(&self, why: String) {
        tracing::error!("{why}; nothing more is taken until the server starts again");
        self.failed.lock().get_or_insert(why);
    }
}

/// The thread that writes: ends when every sender of `requests` is gone, after the last request.
pub fn write(shared: &Shared, mut requests: mpsc::Receiver<Request>, syncs: Sender<Sync>) {
    let mut writer = Writer { shared, syncs, file: None, staged: Vec::new() };
    while let Some(first) = requests.blocking_recv() {
        let mut group = vec![first];
        while group.len() < GROUP_ENTRIES_MAX
            && let Ok(request) = requests.try_recv()
        {
            group.push(request);
        }
        writer.write_group(group);
    }
    writer.finish_file();
}

struct Writer<'a> {
    shared: &'a Shared,
    syncs: Sender<Sync>,
    file: Option<OpenFile>,
    /// Entries of the group, as bytes.
    staged: Vec<u8>,
}

/// A file that the other thread syncs.
pub struct LogFile {
    file: File,
    /// The other thread knows of bytes to sync, and has not begun to.
    dirty: AtomicBool,
}

impl LogFile {
    fn new(file: File) -> Arc<LogFile> {
        Arc::new(LogFile { file, dirty: AtomicBool::new(false) })
    }

    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        (&self.file).write_all(bytes)
    }

    fn cut(&self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes)
    }

    /// Says whether the other thread has to be told of new bytes.
    fn soil(&self) -> bool {
        !self.dirty.swap(true, Ordering::AcqRel)
    }

    /// Bytes written before this call are on the disk after it. New ones are told again: the mark goes first.
    fn sync(&self) -> io::Result<()> {
        self.dirty.store(false, Ordering::Release);
        self.file.sync_data()
    }
}

struct OpenFile {
    file: Arc<LogFile>,
    path: PathBuf,
    bytes: u64,
    encoder: EntryEncoder,
}

/// An entry that is encoded, not yet written.
struct Staged {
    sequence: u64,
    request: Request,
}

impl Writer<'_> {
    fn write_group(&mut self, group: Vec<Request>) {
        if let Some(refusal) = self.shared.refusal() {
            for request in group {
                answer(request, Err(SqlError::new(refusal.state, refusal.message.clone())));
            }
            return;
        }
        let mut staged = Vec::with_capacity(group.len());
        for request in group {
            self.stage(request, &mut staged);
            if self.staged.len() >= GROUP_BYTES_MAX {
                self.write_staged(std::mem::take(&mut staged));
            }
        }
        self.write_staged(staged);
    }

    /// Encodes a request behind those staged; a repeated one waits for them and gets its old sequence.
    fn stage(&mut self, request: Request, staged: &mut Vec<Staged>) {
        let Envelope { producer, epoch, number, .. } = &*request.envelope;
        let same = |earlier: &&Staged| {
            let earlier = &earlier.request.envelope;
            earlier.number == *number && earlier.epoch == *epoch && earlier.producer == *producer
        };
        if staged.iter().any(|earlier| same(&earlier)) {
            self.write_staged(std::mem::take(staged));
        }
        if let Some(sequence) = self.shared.producers.lock().sequence(producer, *epoch, *number) {
            self.acknowledge(vec![(sequence, request)]);
            return;
        }
        let sequence = self.shared.window.head() + staged.len() as u64 + 1;
        let mut bytes = std::mem::take(&mut self.staged);
        let encoded = self.open_file(sequence).map_err(refused).and_then(|file| {
            file.encoder.encode(sequence, &request.envelope, &mut bytes).map_err(|error| {
                SqlError::new(SqlState::INVALID_PARAMETER_VALUE, "the rows cannot be written to the log")
                    .caused_by(error)
            })
        });
        self.staged = bytes;
        match encoded {
            Ok(()) => staged.push(Staged { sequence, request }),
            Err(error) => answer(request, Err(error)),
        }
    }

    /// Writes what is staged, makes it visible and answers, or takes it back.
    fn write_staged(&mut self, staged: Vec<Staged>) {
        let bytes = std::mem::take(&mut self.staged);
        if let Some(last) = staged.last().map(|entry| entry.sequence) {
            let file = self.file.as_mut().expect("encoding opened it");
            match file.file.append(&bytes) {
                Ok(()) => {
                    file.bytes += bytes.len() as u64;
                    self.shared.files.grown(last, file.bytes);
                    self.publish(staged);
                    self.finish_file_when_due();
                }
                Err(error) => self.take_back(staged, &error),
            }
        }
        self.staged = bytes;
        self.staged.clear();
    }

    fn publish(&mut self, staged: Vec<Staged>) {
        let mut producers = self.shared.producers.lock();
        for Staged { sequence, request } in &staged {
            let Envelope { producer, epoch, number, .. } = &*request.envelope;
            producers.took(producer, *epoch, *number, *sequence);
        }
        drop(producers);
        self.shared.window.publish(staged.iter().map(|entry| (entry.sequence, entry.request.envelope.clone())));
        self.acknowledge(staged.into_iter().map(|entry| (entry.sequence, entry.request)).collect());
    }

    fn acknowledge(&mut self, written: Vec<(u64, Request)>) {
        let (waiting, done): (Vec<_>, Vec<_>) =
            written.into_iter().partition(|(_, request)| request.durability == Durability::Sync);
        for (sequence, request) in done {
            answer(request, Ok(sequence));
        }
        // A repeated request may come when no file is open: what it repeats was synced with its file.
        let Some(file) = &self.file else {
            return self.sync(Sync { file: None, waiting });
        };
        // One word a second is enough while nobody waits.
        if file.file.soil() || !waiting.is_empty() {
            self.sync(Sync { file: Some(file.file.clone()), waiting });
        }
    }

    /// The disk refused: the file ends where it did before, and nobody was told otherwise.
    fn take_back(&mut self, staged: Vec<Staged>, error: &io::Error) {
        let file = self.file.take().expect("it was written to");
        tracing::warn!(file = %file.path.display(), %error, "the log cannot be written");
        if let Err(error) = file.file.cut(file.bytes) {
            self.shared.fail(format!("could not cut {} after a failed write: {error}", file.path.display()));
        }
        self.shared.files.finish();
        self.sync(Sync { file: Some(file.file), waiting: Vec::new() });
        for entry in staged {
            answer(entry.request, Err(refused(io::Error::new(error.kind(), error.to_string()))));
        }
    }

    /// The file to write to, a new one whose first sequence is `sequence` when there is none.
    fn open_file(&mut self, sequence: u64) -> io::Result<&mut OpenFile> {
        if self.file.is_none() {
            let path = file_path(&self.shared.directory, sequence);
            let create = || {
                let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(&path)?;
                file.write_all(&encode_file_header(sequence))?;
                Ok(file)
            };
            let file = create().inspect_err(|_: &io::Error| {
                // Left behind it would only be found empty at the next start.
                let _ = std::fs::remove_file(&path);
            })?;
            self.shared.files.begin(path.clone(), sequence);
            let bytes = super::format::HEADER_BYTES as u64;
            self.file = Some(OpenFile { file: LogFile::new(file), path, bytes, encoder: EntryEncoder::default() });
            self.sync(Sync { file: File::open(&self.shared.directory).ok().map(LogFile::new), waiting: Vec::new() });
        }
        Ok(self.file.as_mut().expect("it was opened above"))
    }

    fn finish_file_when_due(&mut self) {
        let asked = self.shared.roll.swap(false, Ordering::AcqRel);
        if asked || self.file.as_ref().is_some_and(|file| file.bytes >= self.shared.file_bytes_max) {
            self.finish_file();
        }
    }

    fn finish_file(&mut self) {
        if let Some(file) = self.file.take() {
            self.shared.files.finish();
            self.sync(Sync { file: Some(file.file), waiting: Vec::new() });
        }
    }

    fn sync(&self, sync: Sync) {
        // The other thread ends after this one.
        let _ = self.syncs.send(sync);
    }
}

fn answer(request: Request, result: Result<u64, SqlError>) {
    // Who asked may have given up; the entry stays, as after any answer that is lost.
    let _ = request.reply.send(result);
}

fn refused(error: io::Error) -> SqlError {
    let full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
    if full {
        SqlError::new(SqlState::DISK_FULL, "could not append to the log: the disk is full").caused_by(error)
    } else {
        SqlError::new(SqlState::IO_ERROR, format!("could not append to the log: {error}")).caused_by(error)
    }
}

/// A file whose bytes should reach the disk, and who waits for it.
pub struct Sync {
    /// The file, or the folder when a file was made.
    pub file: Option<Arc<LogFile>>,
    /// Answered afterwards.
    pub waiting: Vec<(u64, Request)>,
}

/// The thread that syncs: at once when someone waits, else within [`SYNC_INTERVAL`]. Ends with its senders.
pub fn sync(shared: &Shared, syncs: &Receiver<Sync>) {
    let mut dirty: Vec<Arc<LogFile>> = Vec::new();
    let mut waiting = Vec::new();
    let mut due = Instant::now() + SYNC_INTERVAL;
    loop {
        let timeout = if dirty.is_empty() { SYNC_INTERVAL } else { due.saturating_duration_since(Instant::now()) };
        let ended = match syncs.recv_timeout(timeout) {
            Ok(sync) => {
                if dirty.is_empty() {
                    due = Instant::now() + SYNC_INTERVAL;
                }
                note(sync, &mut dirty, &mut waiting);
                while let Ok(sync) = syncs.try_recv() {
                    note(sync, &mut dirty, &mut waiting);
                }
                false
            }
            Err(RecvTimeoutError::Timeout) => false,
            Err(RecvTimeoutError::Disconnected) => true,
        };
        if ended || !waiting.is_empty() || Instant::now() >= due {
            let synced = dirty.drain(..).try_for_each(|file| file.sync());
            if let Err(error) = synced {
                shared.fail(format!("could not sync the log in {}: {error}", shared.directory.display()));
            }
            for (sequence, request) in waiting.drain(..) {
                let result = shared.refusal().map_or(Ok(sequence), Err);
                answer(request, result);
            }
        }
        if ended {
            return;
        }
    }
}

fn note(sync: Sync, dirty: &mut Vec<Arc<LogFile>>, waiting: &mut Vec<(u64, Request)>) {
    let Sync { file, waiting: mut more } = sync;
    if let Some(file) = file
        && !dirty.iter().any(|known| Arc::ptr_eq(known, &file))
    {
        dirty.push(file);
    }
    waiting.append(&mut more);
}
