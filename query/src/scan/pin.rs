//! The snapshot of a statement: what was in the tail, and which segments were committed.

use std::sync::Arc;

use probepilot_catalog::batch::Batch;
use probepilot_catalog::manifest::Manifest;
use probepilot_catalog::table::TableId;
use tokio::sync::watch;

use crate::tail::{Run, Tail, TailPin};

/// What one statement sees; all its scans share it.
///
/// The tail is pinned before the manifest is read. So a row that leaves the tail in between is in the manifest, whose
/// watermark then hides it in the pinned tail: every row is seen exactly once.
#[derive(Clone, Debug)]
pub struct Pin {
    tail: TailPin,
    manifest: Arc<Manifest>,
    committed: u64,
    /// Rows that the session has inserted in its transaction: nobody else sees them yet.
    own: Vec<(TableId, Arc<Run>)>,
}

impl Pin {
    /// Pins the tail, then the manifest.
    pub fn take(tail: &Tail, manifest: &watch::Receiver<Arc<Manifest>>, stream: &str) -> Pin {
        let tail = tail.pin();
        let manifest = Arc::clone(&manifest.borrow());
        let committed = manifest.committed(stream);
        Pin { tail, manifest, committed, own: Vec::new() }
    }

    /// Shows the session's own rows too, behind all others.
    pub fn with_own(mut self, batches: &[Batch]) -> Pin {
        self.own =
            batches.iter().map(|batch| (batch.table, Arc::new(Run::of_transaction(batch.rows.clone())))).collect();
        self
    }

    /// The lake's state.
    pub fn manifest(&self) -> &Arc<Manifest> {
        &self.manifest
    }

    /// The log sequence up to which rows are seen.
    pub fn sequence(&self) -> u64 {
        self.tail.head().max(self.committed)
    }

    /// The table's rows that no segment of this snapshot holds, oldest first.
    pub fn tail_runs(&self, table: TableId) -> Vec<Arc<Run>> {
        let shared = self.tail.runs(table).iter().filter_map(|run| run.after(self.committed));
        let own = self.own.iter().filter(|(of, _)| *of == table).map(|(_, run)| Arc::clone(run));
        shared.chain(own).collect()
    }
}
