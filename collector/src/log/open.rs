//! Opening a log: what its files hold, what a crash tore, what is damaged.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use super::codec::{self, EntryDecoder};
use super::file::{EntryReader, OpenError, Step, file_first};
use super::files::LogFile;
use super::format::EntryKind;
use super::producers::Producers;

/// Entries that were in the log and cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file.
    pub path: PathBuf,
    /// Where in it the damage begins, bytes.
    pub offset: u64,
    /// The first sequence that is lost.
    pub first: u64,
    /// The last sequence that is lost.
    pub last: u64,
    /// Rows that are lost, when the entry's header could be read.
    pub rows: Option<u64>,
}

/// Why a log cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The operating system refuses.
    #[error("could not {attempted} {path}")]
    Io {
        /// What was attempted.
        attempted: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A thread could not be started.
    #[error("could not start the log's threads")]
    Thread(#[source] io::Error),
}

/// What the files of a log hold.
pub struct Found {
    /// The files, oldest first.
    pub files: Vec<LogFile>,
    /// The newest sequence, at least the committed one.
    pub head: u64,
    /// Who sent what.
    pub producers: Producers,
    /// What cannot be read.
    pub damage: Vec<Damage>,
}

/// Reads every file in `directory` above the sequence `committed`, removes those below it and cuts torn ends.
pub fn find(directory: &Path, committed: u64) -> Result<Found, LogError> {
    let mut paths = list(directory)?;
    remove_committed(&mut paths, committed)?;
    let mut found = Found { files: Vec::new(), head: committed, producers: Producers::default(), damage: Vec::new() };
    let mut expected = None;
    for (index, (first, path)) in paths.iter().enumerate() {
        // What one file lacks at its end shows at the beginning of the next one.
        let before = expected.unwrap_or(committed + 1).max(committed + 1);
        if *first > before {
            found.lose(path, 0, before, first - 1, None);
        }
        let last = index + 1 == paths.len();
        let next = if last { None } else { Some(paths[index + 1].0) };
        if let Some(file) = found.read_file(*first, path, next, committed)? {
            expected = Some(file.last + 1);
            found.head = found.head.max(file.last);
            found.files.push(file);
        }
    }
    Ok(found)
}

fn list(directory: &Path) -> Result<Vec<(u64, PathBuf)>, LogError> {
    let io = |source| LogError::Io { attempted: "list", path: directory.to_owned(), source };
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory).map_err(io)? {
        let path = entry.map_err(io)?.path();
        if let Some(first) = file_first(&path) {
            paths.push((first, path));
        }
    }
    paths.sort();
    Ok(paths)
}

/// A file may go when the next one begins at or below the first envelope that is not committed.
fn remove_committed(paths: &mut Vec<(u64, PathBuf)>, committed: u64) -> Result<(), LogError> {
    let done = paths.windows(2).take_while(|pair| pair[1].0 <= committed + 1).count();
    for (_, path) in paths.drain(..done) {
        remove(&path)?;
    }
    Ok(())
}

fn remove(path: &Path) -> Result<(), LogError> {
    fs::remove_file(path).map_err(|source| LogError::Io { attempted: "remove", path: path.to_owned(), source })
}

impl Found {
    /// Reads one file. `next`: where the following file begins; without one this is the last, whose end may be torn.
    fn read_file(
        &mut self,
        first: u64,
        path: &Path,
        next: Option<u64>,
        committed: u64,
    ) -> Result<Option<LogFile>, LogError> {
        let io = |attempted| move |source| LogError::Io { attempted, path: path.to_owned(), source };
        let mut reader = match EntryReader::open(path) {
            Ok(reader) => reader,
            Err(OpenError::Empty { .. }) => {
                tracing::warn!(file = %path.display(), "a log file without a header is removed: a crash left it");
                remove(path)?;
                return Ok(None);
            }
            Err(OpenError::Io { source, .. }) => return Err(io("read")(source)),
            Err(error @ OpenError::Header { .. }) => {
                tracing::error!(%error, "a log file is left out");
                if let Some(next) = next {
                    self.lose(path, 0, first.max(committed + 1), next - 1, None);
                }
                let bytes = fs::metadata(path).map_err(io("read"))?.len();
                // It stays where it is, for whoever wants to look, until all around it is committed.
                return Ok(Some(LogFile { path: path.to_owned(), first, last: next.unwrap_or(first) - 1, bytes }));
            }
        };
        let mut last = first - 1;
        let mut damaged_at = None;
        // An entry of a table whose schema is damaged cannot be read either. Only then is one decoded here.
        let (mut decoder, mut schema_lost) = (EntryDecoder::default(), false);
        loop {
            let at = reader.offset();
            match reader.step().map_err(io("read"))? {
                Step::Entry { header, payload } => {
                    let sequence = header.sequence;
                    if let Some(offset) = damaged_at.take()
                        && sequence > last + 1
                    {
                        self.lose(path, offset, (last + 1).max(committed + 1), sequence - 1, None);
                    }
                    if header.kind == EntryKind::Schema {
                        schema_lost |= decoder.schema(&payload).is_err();
                    } else {
                        if schema_lost && decoder.envelope(&payload).is_err() {
                            let rows = Some(u64::from(header.rows));
                            self.lose(path, at, sequence.max(committed + 1), sequence, rows);
                        }
                        if let Ok(identity) = codec::identity(&payload) {
                            self.producers.took(&identity.producer, identity.epoch, identity.number, sequence);
                        }
                        last = sequence;
                    }
                }
                Step::Damage { offset, header } => match header {
                    Some(header) if header.kind == EntryKind::Envelope => {
                        let rows = Some(u64::from(header.rows));
                        self.lose(path, offset, header.sequence.max(committed + 1), header.sequence, rows);
                        last = header.sequence;
                    }
                    Some(_) => {
                        tracing::error!(file = %path.display(), offset, "a schema in the log is damaged");
                        schema_lost = true;
                    }
                    None => {
                        damaged_at = Some(damaged_at.unwrap_or(offset));
                        schema_lost = true; // It may have been one.
                    }
                },
                Step::End { offset, torn_bytes } => {
                    let offset = damaged_at.unwrap_or(offset);
                    match next {
                        Some(next) if last + 1 < next => {
                            self.lose(path, offset, (last + 1).max(committed + 1), next - 1, None);
                            last = next - 1;
                        }
                        None if torn_bytes > 0 => cut(path, offset, torn_bytes)?,
                        _ => {}
                    }
                    return Ok(Some(LogFile { path: path.to_owned(), first, last, bytes: offset }));
                }
            }
        }
    }

    fn lose(&mut self, path: &Path, offset: u64, first: u64, last: u64, rows: Option<u64>) {
        if first > last {
            return;
        }
        tracing::error!(
            file = %path.display(), offset, first, last, rows,
            "entries of the log are damaged and lost; the rest is read"
        );
        self.damage.push(Damage { path: path.to_owned(), offset, first, last, rows });
    }
}

fn cut(path: &Path, offset: u64, torn_bytes: u64) -> Result<(), LogError> {
    tracing::warn!(file = %path.display(), offset, torn_bytes, "the log's torn end is cut: a crash interrupted a write");
    let cut = || {
        let file = OpenOptions::new().write(true).open(path)?;
        file.set_len(offset)?;
        file.sync_all()
    };
    cut().map_err(|source| LogError::Io { attempted: "cut", path: path.to_owned(), source })
}
