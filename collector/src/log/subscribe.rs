//! A subscriber's way through the log: first the files, then memory.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::Stream;
use probepilot_catalog::batch::{Entry, Envelope};
use probepilot_sql::SqlError;
use probepilot_sql::error::SqlState;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::codec::EntryDecoder;
use super::file::{EntryReader, OpenError, Step};
use super::format::EntryKind;
use super::window::{Live, Next};
use super::writer::Shared;

/// An entry takes at most this part of all credit: a subscriber that acts on what it holds when that is a third of its credit
/// would otherwise wait for one which waits for the rest.
const LARGEST_PART: usize = 3;

/// Bytes of entries read from a file at once.
const READ_BYTES: usize = 1024 * 1024;

/// Entries after `after`, as [`probepilot_catalog::ports::Rows::subscribe`] tells.
pub fn subscribe(
    shared: Arc<Shared>,
    closed: CancellationToken,
    after: u64,
    credit: Arc<Semaphore>,
) -> impl Stream<Item = Result<Entry, SqlError>> {
    let credit_all = credit.available_permits();
    let subscription =
        Subscription { shared, closed, after, credit, credit_all, reader: None, file: None, ready: VecDeque::new() };
    futures::stream::unfold(Some(subscription), async |subscription| {
        let mut subscription = subscription?;
        match subscription.next().await {
            Ok(Some(entry)) => Some((Ok(entry), Some(subscription))),
            Ok(None) => None,
            Err(error) => Some((Err(error), None)),
        }
    })
}

struct Subscription {
    shared: Arc<Shared>,
    closed: CancellationToken,
    /// The sequence delivered last.
    after: u64,
    credit: Arc<Semaphore>,
    /// All the credit there is: what was there at the beginning.
    credit_all: usize,
    /// This subscriber's name at the window, while it is live.
    reader: Option<u64>,
    /// The file being read.
    file: Option<FilePosition>,
    /// Found and not delivered.
    ready: VecDeque<Ready>,
}

enum Ready {
    Live(Live),
    FromFile(u64, Arc<Envelope>),
}

struct FilePosition {
    reader: EntryReader,
    decoder: EntryDecoder,
}

impl Subscription {
    async fn next(&mut self) -> Result<Option<Entry>, SqlError> {
        let mut heads = self.shared.window.watch();
        loop {
            if let Some(ready) = self.ready.pop_front() {
                return Ok(self.deliver(ready).await);
            }
            let head = *heads.borrow_and_update();
            match self.shared.window.next(self.after, &mut self.reader) {
                Next::Live(entries) => {
                    self.file = None;
                    self.ready = entries.into_iter().map(Ready::Live).collect();
                }
                Next::InFiles => self.read_files(head).await?,
                Next::None => {
                    self.file = None;
                    tokio::select! {
                        _ = heads.changed() => {}
                        () = self.closed.cancelled() => {
                            // What came between the look and the end is still delivered.
                            if self.shared.window.head() == self.after {
                                return Ok(None);
                            }
                        }
                    }
                }
            }
        }
    }

    async fn deliver(&mut self, ready: Ready) -> Option<Entry> {
        let bytes = match &ready {
            Ready::Live(live) => live.bytes as usize,
            Ready::FromFile(_, envelope) => envelope.memory_bytes(),
        };
        let credit = self.take_credit(bytes).await?;
        let (sequence, envelope) = match ready {
            Ready::Live(live) => {
                if let Some(reader) = self.reader {
                    self.shared.window.read(reader, &live);
                }
                (live.sequence, live.envelope)
            }
            Ready::FromFile(sequence, envelope) => (sequence, envelope),
        };
        self.after = sequence;
        Some(Entry { sequence, envelope, credit: Some(credit) })
    }

    /// `None` when the log closes first: what is not delivered is in the files.
    async fn take_credit(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let largest = (self.credit_all / LARGEST_PART).max(1);
        let share = u32::try_from(bytes.min(largest)).unwrap_or(u32::MAX);
        tokio::select! {
            biased;
            permit = self.credit.clone().acquire_many_owned(share) => permit.ok(),
            () = self.closed.cancelled() => None,
        }
    }

    /// Reads the next entries, up to `head`: what is behind it may be half written.
    async fn read_files(&mut self, head: u64) -> Result<(), SqlError> {
        let wanted = self.after + 1;
        let file = self.file.take();
        let shared = self.shared.clone();
        let read = tokio::task::spawn_blocking(move || read_some(&shared, file, wanted, head)).await;
        let (file, entries) = read
            .map_err(|error| SqlError::internal("reading the log was interrupted", error))?
            .map_err(|error| error.told())?;
        self.file = file;
        match entries {
            Found::Entries(entries) => {
                self.ready =
                    entries.into_iter().map(|(sequence, envelope)| Ready::FromFile(sequence, envelope)).collect();
            }
            // Trimmed, so in segments; or damaged, and told when that was found.
            Found::SkipTo(sequence) => self.after = sequence - 1,
        }
        Ok(())
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if let Some(reader) = self.reader {
            self.shared.window.leave(reader);
        }
    }
}

enum Found {
    Entries(Vec<(u64, Arc<Envelope>)>),
    /// There is nothing before this sequence any more.
    SkipTo(u64),
}

struct ReadError {
    path: PathBuf,
    source: io::Error,
}

impl ReadError {
    fn told(self) -> SqlError {
        SqlError::new(SqlState::IO_ERROR, format!("could not read log file {}", self.path.display()))
            .caused_by(self.source)
    }
}

fn read_some(
    shared: &Shared,
    file: Option<FilePosition>,
    wanted: u64,
    head: u64,
) -> Result<(Option<FilePosition>, Found), ReadError> {
    let Some(holding) = shared.files.holding(wanted) else {
        return Ok((None, Found::SkipTo(head + 1)));
    };
    if holding.first > wanted {
        return Ok((None, Found::SkipTo(holding.first)));
    }
    let reading = file.filter(|file| file.reader.path() == holding.path);
    let mut file = match reading {
        Some(file) => file,
        None => match open(&holding.path)? {
            Some(reader) => FilePosition { reader, decoder: EntryDecoder::default() },
            None => return Ok((None, Found::SkipTo(holding.last.min(head) + 1))),
        },
    };
    let last = holding.last.min(head);
    let entries = file.read(wanted, last)?;
    if entries.is_empty() {
        // The file ends before what it is said to hold, or the rest of it is damaged.
        return Ok((None, Found::SkipTo(last + 1)));
    }
    Ok((Some(file), Found::Entries(entries)))
}

/// `None`: it is gone or not readable, which was told at the start.
fn open(path: &Path) -> Result<Option<EntryReader>, ReadError> {
    match EntryReader::open(path) {
        Ok(reader) => Ok(Some(reader)),
        Err(OpenError::Io { path, source }) if source.kind() != io::ErrorKind::NotFound => {
            Err(ReadError { path, source })
        }
        Err(_) => Ok(None),
    }
}

impl FilePosition {
    /// Entries from `wanted` to `last`, at most about [`READ_BYTES`] of them, at least one if there is one.
    fn read(&mut self, wanted: u64, last: u64) -> Result<Vec<(u64, Arc<Envelope>)>, ReadError> {
        let mut entries = Vec::new();
        let mut bytes = 0;
        let mut done = false;
        while !done && bytes < READ_BYTES {
            let offset = self.reader.offset();
            let step = self.reader.step();
            let step = step.map_err(|source| ReadError { path: self.reader.path().to_owned(), source })?;
            let decoded = match step {
                Step::Entry { header, payload } if header.kind == EntryKind::Schema => {
                    self.decoder.schema(&payload).map(|()| None)
                }
                Step::Entry { header, .. } if header.sequence < wanted => Ok(None),
                Step::Entry { header, payload } => {
                    done = header.sequence >= last;
                    let decoded = self.decoder.envelope(&payload);
                    decoded.map(|envelope| Some((header.sequence, payload.len(), Arc::new(envelope))))
                }
                Step::Damage { offset, .. } => {
                    tracing::error!(file = %self.reader.path().display(), offset, "a damaged entry of the log is left out");
                    Ok(None)
                }
                Step::End { .. } => break,
            };
            match decoded {
                Ok(Some((sequence, length, envelope))) => {
                    bytes += length;
                    entries.push((sequence, envelope));
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::error!(file = %self.reader.path().display(), offset, %error, "an entry of the log is left out");
                }
            }
        }
        Ok(entries)
    }
}
