//! What is running, and how it is stopped.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

/// Characters of a statement that are kept for `system.queries`; the rest is cut off.
const TEXT_CHARACTERS_MAX: usize = 4_096;

/// The statements that run now. It holds as many as there are open row streams, which the doors bound.
#[derive(Debug, Default)]
pub struct Queries {
    next_id: AtomicU64,
    running: Mutex<BTreeMap<u64, Arc<Query>>>,
}

/// A running statement.
#[derive(Debug)]
pub struct Query {
    /// Unique since the process started.
    pub id: u64,
    /// The session's process id.
    pub process_id: i32,
    /// Whose it is.
    pub user: String,
    /// The database.
    pub database: String,
    /// The client's name for itself.
    pub application_name: String,
    /// Where the client is; `None` on the Unix socket.
    pub client_address: Option<String>,
    /// The statement, cut to a few thousand characters.
    pub text: String,
    /// When it started, Unix time.
    pub started_unix_ns: i64,
    /// When it started, for its duration.
    pub started: Instant,
    /// Rows handed out so far.
    pub rows: AtomicU64,
    pub(super) cancel: CancellationToken,
}

impl Queries {
    /// What runs now, oldest first.
    pub fn running(&self) -> Vec<Arc<Query>> {
        self.running.lock().values().cloned().collect()
    }

    /// Cancels a query: its stream ends with 57014. False when it is not running (any more).
    pub fn cancel(&self, id: u64) -> bool {
        match self.running.lock().get(&id) {
            Some(query) => {
                query.cancel.cancel();
                true
            }
            None => false,
        }
    }

    /// Cancels everything a session runs, and says how much that was.
    pub fn cancel_session(&self, process_id: i32) -> usize {
        let running = self.running.lock();
        let of_session = running.values().filter(|query| query.process_id == process_id);
        of_session.map(|query| query.cancel.cancel()).count()
    }

    /// Registers a query that starts now; it is listed while the guard lives.
    pub(super) fn start(self: &Arc<Self>, make: impl FnOnce(u64) -> Query) -> Running {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed) + 1;
        let mut query = make(id);
        if let Some((end, _)) = query.text.char_indices().nth(TEXT_CHARACTERS_MAX) {
            query.text.truncate(end);
        }
        let query = Arc::new(query);
        self.running.lock().insert(id, Arc::clone(&query));
        Running { queries: Arc::clone(self), query }
    }
}

/// A query's entry in the list; dropping it takes the entry out.
#[derive(Debug)]
pub(super) struct Running {
    queries: Arc<Queries>,
    pub query: Arc<Query>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.queries.running.lock().remove(&self.query.id);
    }
}
