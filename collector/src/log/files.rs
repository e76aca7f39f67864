//! The files of a log: which there are, which sequences each holds, and which may go.

use std::io;
use std::path::PathBuf;

use parking_lot::Mutex;

use super::format::HEADER_BYTES;

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFile {
    /// Where it is.
    pub path: PathBuf,
    /// The sequence of its first envelope.
    pub first: u64,
    /// The sequence of its last envelope; `first - 1` while there is none.
    pub last: u64,
    /// Its length.
    pub bytes: u64,
}

/// All files, oldest first; the last one may be written to.
#[derive(Debug, Default)]
pub struct Files {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    files: Vec<LogFile>,
    /// Whether the last file is being written to.
    open: bool,
}

impl Files {
    /// The files found at the start, oldest first; none is written to.
    pub fn new(files: Vec<LogFile>) -> Files {
        Files { state: Mutex::new(State { files, open: false }) }
    }

    /// Adds the file that is written to from now on.
    pub fn begin(&self, path: PathBuf, first: u64) {
        let mut state = self.state.lock();
        state.files.push(LogFile { path, first, last: first - 1, bytes: HEADER_BYTES as u64 });
        state.open = true;
    }

    /// The last file has grown.
    pub fn grown(&self, last: u64, bytes: u64) {
        if let Some(file) = self.state.lock().files.last_mut() {
            (file.last, file.bytes) = (last, bytes);
        }
    }

    /// Nothing more will be written to the last file. One without entries is removed.
    pub fn finish(&self) {
        let mut state = self.state.lock();
        state.open = false;
        if let Some(file) = state.files.pop_if(|file| file.last < file.first) {
            // When it stays, the next start removes it.
            let _ = std::fs::remove_file(&file.path);
        }
    }

    /// The file that holds the envelope `sequence`, or the first one behind it.
    pub fn holding(&self, sequence: u64) -> Option<LogFile> {
        self.state.lock().files.iter().find(|file| file.last >= sequence).cloned()
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.state.lock().files.iter().map(|file| file.bytes).sum()
    }

    /// Bytes of the file that is written to, when every envelope in it is at or below `sequence`.
    pub fn open_and_done(&self, sequence: u64) -> Option<u64> {
        let state = self.state.lock();
        let file = state.files.last().filter(|_| state.open)?;
        (file.last >= file.first && file.last <= sequence).then_some(file.bytes)
    }

    /// Removes the files in which every envelope is at or below `sequence`, but not the one written to.
    pub fn trim(&self, sequence: u64) -> Result<(), (PathBuf, io::Error)> {
        let mut state = self.state.lock();
        let closed = state.files.len() - usize::from(state.open);
        let done = state.files[..closed].iter().take_while(|file| file.last <= sequence).count();
        for _ in 0..done {
            match std::fs::remove_file(&state.files[0].path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err((state.files[0].path.clone(), error));
                }
                _ => state.files.remove(0),
            };
        }
        Ok(())
    }
}
