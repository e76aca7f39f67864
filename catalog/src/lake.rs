//! The lake's manifest: a DuckLake 1.0 catalog that any engine can attach, with our side tables beside it.

mod open; // Opening and creating.
mod load; // From the database into memory, by difference.
mod change; // One snapshot more.
mod tables; // Creating, altering and dropping tables.
mod schemas; // Creating and dropping schemas.
mod views; // Creating, replacing and dropping views.
mod comments; // Comments on all of them.
mod bounds; // Bounds in DuckLake's text encodings.
mod commit; // Segments cut from the log, with the log's position.
mod replace; // Segments merged, or ended.
mod expire; // Forgetting old snapshots and what only they held.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;

pub use self::comments::Commented;
pub use self::expire::DeadFile;
use crate::database::Database;
use crate::error::CatalogError;
use crate::manifest::Manifest;

/// The version of DuckLake's tables we read and write.
pub const DUCKLAKE_VERSION: &str = "1.0";

/// The table at which PostgreSQL's writers queue: every change of the manifest adds a row to it.
const TURNSTILE: &str = "ducklake_snapshot";

/// From this size on, the write-ahead log of an SQLite catalog is told of: someone has kept a transaction open for days.
/// The log is not limited by force: refusing commits would cost rows, and the reader's next statement ends the growth.
const JOURNAL_BYTES_NOTABLE: u64 = 256 * 1024 * 1024;

/// The manifest of one tenant; cheap to clone.
#[derive(Clone)]
pub struct Lake {
    inner: Arc<Inner>,
}

struct Inner {
    database: Database,
    data_path: String,
    /// The newest state known here.
    manifest: watch::Sender<Arc<Manifest>>,
    /// Held while the manifest is brought up to date, so that it never goes back.
    advancing: tokio::sync::Mutex<()>,
    /// Whether a large write-ahead log was told of, so that it is told once.
    journal_is_notable: AtomicBool,
}

impl Lake {
    /// The newest state known here, from memory.
    pub fn manifest(&self) -> Arc<Manifest> {
        self.inner.manifest.borrow().clone()
    }

    /// Follows [`Lake::manifest`]: told of every commit made here, and of others' at each [`Lake::refresh`].
    pub fn watch(&self) -> watch::Receiver<Arc<Manifest>> {
        self.inner.manifest.subscribe()
    }

    /// What paths of segments are below: a folder or an object store's URL, ends in `/`.
    pub fn data_path(&self) -> &str {
        &self.inner.data_path
    }

    /// Brings the manifest up to date with what others committed.
    pub async fn refresh(&self) -> Result<Arc<Manifest>, CatalogError> {
        let _turn = self.inner.advancing.lock().await;
        let known = self.manifest();
        let mut transaction = self.inner.database.read("read the manifest").await?;
        let Some(newer) = load::advance(&mut transaction, &known, &self.inner.data_path).await? else {
            return Ok(known);
        };
        let newer = Arc::new(newer);
        self.inner.manifest.send_replace(newer.clone());
        Ok(newer)
    }

    /// Bytes of the catalog's write-ahead log; 0 for PostgreSQL. It is cut back once no reader keeps an old state.
    pub fn journal_bytes(&self) -> u64 {
        self.inner.database.journal_bytes()
    }

    /// Tells of a write-ahead log that someone's open transaction keeps from being cut back.
    fn watch_journal(&self) {
        let bytes = self.journal_bytes();
        let is_notable = bytes >= JOURNAL_BYTES_NOTABLE;
        let was_notable = self.inner.journal_is_notable.swap(is_notable, Ordering::Relaxed);
        if is_notable && !was_notable {
            tracing::warn!(
                bytes,
                "the catalog's write-ahead log grows: a program that attached the lake keeps a transaction open"
            );
        }
    }

    /// The highest envelope number of this producer and epoch that is in segments, 0 before the first.
    pub async fn high_water(&self, producer: &str, epoch: u64) -> Result<u64, CatalogError> {
        let mut transaction = self.inner.database.read("read what a producer has committed").await?;
        let query = "SELECT last_number FROM pp_producer WHERE producer = $1 AND epoch = $2";
        let row = transaction.row(query, vec![producer.into(), epoch.cast_signed().into()]).await?;
        row.map_or(Ok(0), |row| row.get::<i64>(0).map(i64::cast_unsigned))
    }

    /// Closes the database; nothing of this lake can be used afterwards but its manifest.
    pub async fn close(&self) {
        self.inner.database.close().await;
    }
}

#[cfg(test)]
mod tests;
