//! The task that cuts segments from the log: by bytes, by time, or when asked.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::OptionFuture;
use probepilot_catalog::batch::Entry;
use probepilot_catalog::manifest::Manifest;
use probepilot_sql::SqlError;
use probepilot_sql::error::SqlState;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;

pub use super::cut::Cutter;
use crate::log::Log;

/// When segments are cut.
#[derive(Clone, Copy, Debug)]
pub struct SegmentOptions {
    /// After so many bytes of memory. Three times as much is held at most, and what an entry has more than that: one being
    /// stored, the next being gathered. An entry counts as so many bytes at most, so that the next one never waits for it.
    pub cut_bytes: usize,
    /// After this time with rows, however few.
    pub cut_after: Duration,
}

impl Default for SegmentOptions {
    fn default() -> SegmentOptions {
        SegmentOptions { cut_bytes: 64 * 1024 * 1024, cut_after: Duration::from_secs(60) }
    }
}

/// Pause after the newest entry was taken, so that rows that come in a thousand small entries a second do not wake this
/// task as often. The log keeps what it has not taken in memory: at 300 MB a second 8 MB.
const LOOK_INTERVAL: Duration = Duration::from_millis(25);

/// What the task is asked.
pub enum Command {
    /// Commit every row up to the log's head and answer with the snapshot.
    Checkpoint(oneshot::Sender<Result<i64, SqlError>>),
}

struct Task {
    log: Arc<Log>,
    cutter: Cutter,
    options: SegmentOptions,
    /// The sequence that is committed.
    committed: u64,
    /// Entries not cut yet.
    gathered: Vec<Entry>,
    gathered_bytes: usize,
    gathering_since: Instant,
    /// The run under way.
    cutting: Option<JoinHandle<Arc<Manifest>>>,
    /// Who waits for which sequence.
    waiting: Vec<(u64, oneshot::Sender<Result<i64, SqlError>>)>,
}

/// Runs until `commands` has no sender any more and everything that was asked for is done.
pub async fn run(log: Arc<Log>, cutter: Cutter, options: SegmentOptions, mut commands: mpsc::Receiver<Command>) {
    let committed = cutter.lake.manifest().committed(&cutter.stream);
    let credit = Arc::new(Semaphore::new((options.cut_bytes * 3).min(Semaphore::MAX_PERMITS)));
    let mut entries = log.subscribe(committed, credit.clone());
    let mut failures = cutter.failures.subscribe();
    let mut task = Task {
        log,
        cutter,
        options,
        committed,
        gathered: Vec::new(),
        gathered_bytes: 0,
        gathering_since: Instant::now(),
        cutting: None,
        waiting: Vec::new(),
    };
    let mut look_at = Instant::now();
    let mut looks = true;
    let mut commands_open = true;
    let mut entries_open = true;
    while commands_open || task.cutting.is_some() || !task.waiting.is_empty() {
        let due = task.gathering_since + task.options.cut_after;
        let may_cut = task.cutting.is_none() && !task.gathered.is_empty();
        let cutting: OptionFuture<_> = task.cutting.as_mut().into();
        tokio::select! {
            Some(cut) = cutting => if !task.cut_ended(cut) {
                // What was being stored is not committed: it has to come first again.
                task.gathered.clear();
                task.gathered_bytes = 0;
                entries = task.log.subscribe(task.committed, credit.clone());
            },
            () = tokio::time::sleep_until(look_at), if !looks => looks = true,
            entry = entries.next(), if entries_open && (looks || !task.waiting.is_empty()) => match entry {
                Some(Ok(entry)) => {
                    looks = entry.sequence < task.log.head();
                    look_at = Instant::now() + LOOK_INTERVAL;
                    task.gather(entry);
                }
                Some(Err(error)) => {
                    tracing::error!(%error, "segments are not cut any more: the log cannot be read");
                    entries_open = false;
                }
                None => entries_open = false,
            },
            command = commands.recv(), if commands_open => match command {
                Some(Command::Checkpoint(reply)) => {
                    let target = task.log.readable(task.log.head()).max(task.committed);
                    task.waiting.push((target, reply));
                }
                None => commands_open = false,
            },
            Ok(()) = failures.changed() => {
                let failure = failures.borrow_and_update().clone();
                if let Some(failure) = failure {
                    task.refuse_waiting(&failure);
                }
            }
            () = tokio::time::sleep_until(due), if may_cut => task.begin_cut(),
        }
        task.go_on(entries_open);
    }
}

impl Task {
    fn gather(&mut self, entry: Entry) {
        if self.gathered.is_empty() {
            self.gathering_since = Instant::now();
        }
        self.gathered_bytes += entry.envelope.memory_bytes();
        self.gathered.push(entry);
    }

    /// Cuts what is enough, or what someone waits for, and answers who has waited long enough.
    fn go_on(&mut self, entries_open: bool) {
        let read = self.gathered.last().map_or(self.committed, |entry| entry.sequence);
        if self.cutting.is_none() && !self.gathered.is_empty() {
            let asked = self.waiting.iter().any(|(target, _)| *target <= read || !entries_open);
            if asked || self.gathered_bytes >= self.options.cut_bytes {
                self.begin_cut();
            }
        }
        let nothing_more = !entries_open && self.cutting.is_none() && self.gathered.is_empty();
        let snapshot = self.cutter.lake.manifest().snapshot;
        for (target, reply) in std::mem::take(&mut self.waiting) {
            if target <= self.committed {
                let _ = reply.send(Ok(snapshot));
            } else if nothing_more {
                let _ = reply.send(Err(SqlError::new(SqlState::IO_ERROR, "the log cannot be read to its end")));
            } else {
                self.waiting.push((target, reply));
            }
        }
    }

    fn begin_cut(&mut self) {
        let entries = std::mem::take(&mut self.gathered);
        self.gathered_bytes = 0;
        let (cutter, from) = (self.cutter.clone(), self.committed);
        self.cutting = Some(tokio::spawn(async move { cutter.cut(from, entries).await }));
    }

    /// Whether the run came to its end.
    fn cut_ended(&mut self, cut: Result<Arc<Manifest>, tokio::task::JoinError>) -> bool {
        self.cutting = None;
        match cut {
            Ok(manifest) => {
                self.committed = manifest.committed(&self.cutter.stream);
                self.log.trim(self.committed);
                let committed = self.committed;
                self.gathered.retain(|entry| entry.sequence > committed);
                self.gathered_bytes = self.gathered.iter().map(|entry| entry.envelope.memory_bytes()).sum();
                true
            }
            // The rows are still in the log.
            Err(error) => {
                tracing::error!(%error, "storing segments was interrupted");
                self.refuse_waiting("storing segments was interrupted");
                false
            }
        }
    }

    fn refuse_waiting(&mut self, why: &str) {
        for (_, reply) in self.waiting.drain(..) {
            let error = SqlError::new(SqlState::IO_ERROR, format!("could not commit every row yet: {why}"))
                .detail("The rows are in the log and are stored as soon as that is possible.");
            let _ = reply.send(Err(error));
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        if let Some(cutting) = self.cutting.take() {
            cutting.abort();
        }
    }
}
