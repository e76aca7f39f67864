//! What the server is told to be: accounts, probes, settings. Kept apart from the lake, so that whoever may read the
//! lake never holds a secret.

mod accounts; // Accounts, roles and their passwords.
mod password; // Passwords as hashes.
mod probes; // The probes that are wanted, with their versions.
mod settings; // Named values, among them the key that signs tokens.

use std::path::Path;
use std::sync::Arc;

use tokio::sync::Semaphore;

pub use self::accounts::{Account, NewAccount, Role};
pub use self::password::ScramVerifier;
pub use self::probes::{NewProbe, ProbeRow, Shipped};
use crate::database::{Database, Migrations};
use crate::error::CatalogError;

const MIGRATIONS: Migrations = &[("control", include_str!("../migrations/control/0001_control.sql"))];

/// Only the owner reads hashes and keys.
const FILE_MODE: u32 = 0o600;

/// The table at which PostgreSQL's writers queue.
const TURNSTILE: &str = "pp_setting";

/// Passwords hashed at the same time; more wait. Each takes 19 MiB and a core for its time.
const HASHING_MAX: usize = 2;

/// Accounts, probes and settings; cheap to clone.
#[derive(Clone)]
pub struct Control {
    database: Database,
    hashing: Arc<Semaphore>,
}

impl Control {
    /// Opens or creates the SQLite file, for the owner only.
    pub async fn open_sqlite(path: &Path) -> Result<Control, CatalogError> {
        Control::open(Database::open_sqlite(path, FILE_MODE).await?).await
    }

    /// Opens or creates the tables in a schema of a PostgreSQL database.
    pub async fn open_postgres(url: &str, schema: &str) -> Result<Control, CatalogError> {
        Control::open(Database::open_postgres(url, schema).await?).await
    }

    async fn open(database: Database) -> Result<Control, CatalogError> {
        database.migrate(MIGRATIONS).await?;
        Ok(Control { database, hashing: Arc::new(Semaphore::new(HASHING_MAX)) })
    }

    /// Closes the database; nothing can be asked afterwards.
    pub async fn close(&self) {
        self.database.close().await;
    }
}

#[cfg(test)]
mod tests;
