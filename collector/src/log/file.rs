//! Reading a log file entry by entry, past damage.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use arrow::buffer::{Buffer, MutableBuffer};

use super::format::{
    ALIGNMENT_BYTES, EntryHeader, FileHeaderError, HEADER_BYTES, decode_entry_header, decode_file_header, find_entry,
};

/// The ending of log files; the name is the first sequence in twenty digits, so that names sort as sequences do.
const FILE_SUFFIX: &str = ".log";

/// How much is read at once when looking for the next entry behind damage.
const SEARCH_BYTES: usize = 64 * 1024;

/// The file in `directory` whose first envelope has sequence `first`.
pub fn file_path(directory: &Path, first: u64) -> PathBuf {
    directory.join(format!("{first:020}{FILE_SUFFIX}"))
}

/// The first sequence that a log file's name tells; `None` for other files.
pub fn file_first(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.strip_suffix(FILE_SUFFIX)?.parse().ok()
}

/// Why a file cannot be opened for reading.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The operating system refuses.
    #[error("{path} cannot be read")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is shorter than a header: the process ended while it was created.
    #[error("{path} has no header")]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// Its header is not ours.
    #[error("{path} cannot be read: {source}")]
    Header {
        /// The file.
        path: PathBuf,
        /// Why.
        source: FileHeaderError,
    },
}

/// What comes next in a file.
#[derive(Debug)]
pub enum Step {
    /// A whole entry.
    Entry {
        /// Its header.
        header: EntryHeader,
        /// Its payload, whose checksum is right.
        payload: Buffer,
    },
    /// Bytes that are no entry; reading goes on behind them.
    Damage {
        /// Where they begin.
        offset: u64,
        /// The header, when only the payload is damaged.
        header: Option<EntryHeader>,
    },
    /// From `offset` on there is no entry: the end, or a torn one.
    End {
        /// Where the next entry would begin.
        offset: u64,
        /// Bytes behind it that are no entry.
        torn_bytes: u64,
    },
}

/// Reads a file from its first entry on.
pub struct EntryReader {
    file: File,
    path: PathBuf,
    offset: u64,
}

impl EntryReader {
    /// Opens a file and checks its header.
    pub fn open(path: &Path) -> Result<EntryReader, OpenError> {
        let io = |source| OpenError::Io { path: path.to_owned(), source };
        let file = File::open(path).map_err(io)?;
        let mut header = [0; HEADER_BYTES];
        match file.read_exact_at(&mut header, 0) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(OpenError::Empty { path: path.to_owned() });
            }
            Err(error) => return Err(io(error)),
        }
        decode_file_header(&header).map_err(|source| OpenError::Header { path: path.to_owned(), source })?;
        Ok(EntryReader { file, path: path.to_owned(), offset: HEADER_BYTES as u64 })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the next entry is looked for, bytes from the file's beginning.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The next entry, damage, or the end. After an end it may be asked again: the file may have grown.
    pub fn step(&mut self) -> io::Result<Step> {
        let length = self.file.metadata()?.len();
        let offset = self.offset;
        let header = match self.header_at(offset, length)? {
            Some(header) => header,
            None => return self.skip_to_entry(offset, length, None),
        };
        let payload_offset = offset + HEADER_BYTES as u64;
        let end = payload_offset + u64::from(header.payload_bytes);
        if end > length {
            return self.skip_to_entry(offset, length, Some(header));
        }
        let mut payload = MutableBuffer::from_len_zeroed(header.payload_bytes as usize);
        self.file.read_exact_at(payload.as_slice_mut(), payload_offset)?;
        if crc32fast::hash(payload.as_slice()) != header.payload_crc {
            return self.skip_to_entry(offset, length, Some(header));
        }
        self.offset = end;
        Ok(Step::Entry { header, payload: payload.into() })
    }

    fn header_at(&self, offset: u64, length: u64) -> io::Result<Option<EntryHeader>> {
        if offset + HEADER_BYTES as u64 > length {
            return Ok(None);
        }
        let mut bytes = [0; HEADER_BYTES];
        self.file.read_exact_at(&mut bytes, offset)?;
        Ok(decode_entry_header(&bytes))
    }

    /// Looks for an entry's header behind `offset`. Without one, what follows is torn and the place stays.
    fn skip_to_entry(&mut self, offset: u64, length: u64, header: Option<EntryHeader>) -> io::Result<Step> {
        // A header with the right checksum tells where its entry ends: what looks like an entry inside is not one.
        let skipped = header.map_or(ALIGNMENT_BYTES, |header| HEADER_BYTES + header.payload_bytes as usize);
        let mut from = offset + skipped as u64;
        let mut bytes = vec![0; SEARCH_BYTES];
        while from + HEADER_BYTES as u64 <= length {
            let wanted = SEARCH_BYTES.min((length - from) as usize);
            self.file.read_exact_at(&mut bytes[..wanted], from)?;
            let Some(found) = find_entry(&bytes[..wanted]) else {
                from += wanted.next_multiple_of(ALIGNMENT_BYTES) as u64;
                continue;
            };
            let candidate = from + found as u64;
            if self.header_at(candidate, length)?.is_some() {
                self.offset = candidate;
                return Ok(Step::Damage { offset, header });
            }
            from = candidate + ALIGNMENT_BYTES as u64;
        }
        Ok(Step::End { offset, torn_bytes: length.saturating_sub(offset) })
    }
}
