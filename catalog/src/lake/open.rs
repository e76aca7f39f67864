//! Opening a lake: version, data path, and the first snapshot of a new one.

use std::path::Path;
use std::sync::Arc;

use chrono::Utc;
use uuid::Uuid;

use super::{DUCKLAKE_VERSION, Inner, Lake, TURNSTILE, load};
use crate::database::{Database, Migrations, Transaction, parameters};
use crate::error::CatalogError;
use crate::manifest::Manifest;

const MIGRATIONS: Migrations = &[
    ("ducklake", include_str!("../../migrations/lake/0001_ducklake.sql")),
    ("side tables", include_str!("../../migrations/lake/0002_side_tables.sql")),
    ("views", include_str!("../../migrations/lake/0003_views.sql")),
];

/// The lake may be read by a group, so that whoever attaches it need not be us.
const FILE_MODE: u32 = 0o640;

impl Lake {
    /// Opens or creates the manifest in an SQLite file. `data_path` is absolute (or a URL) and ends in `/`; when the
    /// data moved, the new path is stored.
    pub async fn open_sqlite(path: &Path, data_path: &str) -> Result<Lake, CatalogError> {
        Lake::open(Database::open_sqlite(path, FILE_MODE).await?, data_path).await
    }

    /// Opens or creates the manifest in a schema of a PostgreSQL database.
    pub async fn open_postgres(url: &str, schema: &str, data_path: &str) -> Result<Lake, CatalogError> {
        Lake::open(Database::open_postgres(url, schema).await?, data_path).await
    }

    async fn open(database: Database, data_path: &str) -> Result<Lake, CatalogError> {
        let is_absolute = data_path.starts_with('/') || data_path.contains("://");
        if !is_absolute || !data_path.ends_with('/') {
            return Err(CatalogError::Unusable(format!(
                "data path \"{data_path}\" is not an absolute path or URL that ends in a slash"
            )));
        }
        // Before anything is changed: a lake of another version stays as it is.
        if database.has_table("ducklake_metadata").await? {
            let mut transaction = database.read("read the lake's version").await?;
            refuse_other_version(&mut transaction).await?;
        }
        database.migrate(MIGRATIONS).await?;
        let mut transaction = database.write("open the lake", TURNSTILE).await?;
        if transaction.row("SELECT 1 FROM ducklake_snapshot LIMIT 1", vec![]).await?.is_none() {
            first_snapshot(&mut transaction, data_path).await?;
        }
        refuse_other_version(&mut transaction).await?;
        let moved = "UPDATE ducklake_metadata SET value = $1 WHERE key = 'data_path' AND scope IS NULL AND value <> $1";
        transaction.execute(moved, parameters![data_path]).await?;
        transaction.commit().await?;

        let mut transaction = database.read("read the manifest").await?;
        let manifest = load::whole(&mut transaction, data_path).await?;
        drop(transaction);
        let inner = Inner {
            database,
            data_path: data_path.to_owned(),
            manifest: tokio::sync::watch::Sender::new(Arc::<Manifest>::new(manifest)),
            advancing: tokio::sync::Mutex::new(()),
            journal_is_notable: false.into(),
        };
        Ok(Lake { inner: Arc::new(inner) })
    }
}

async fn refuse_other_version(transaction: &mut Transaction) -> Result<(), CatalogError> {
    let query = "SELECT value FROM ducklake_metadata WHERE key = 'version' AND scope IS NULL";
    let Some(row) = transaction.row(query, vec![]).await? else { return Ok(()) };
    let found: String = row.get(0)?;
    if found == DUCKLAKE_VERSION { Ok(()) } else { Err(CatalogError::ForeignVersion { found }) }
}

/// Snapshot 0 is the creation: schema `main` with id 0, as DuckLake's own first snapshot has it.
async fn first_snapshot(transaction: &mut Transaction, data_path: &str) -> Result<(), CatalogError> {
    let created_by = concat!("ProbePilot ", env!("CARGO_PKG_VERSION"));
    let metadata =
        [("version", DUCKLAKE_VERSION), ("created_by", created_by), ("data_path", data_path), ("encrypted", "false")];
    let metadata = metadata.map(|(key, value)| parameters![key, value]);
    transaction.insert("ducklake_metadata (key, value)", metadata.into()).await?;
    let snapshot = vec![parameters![0, Utc::now(), 0, 1, 0]];
    let columns = "ducklake_snapshot (snapshot_id, snapshot_time, schema_version, next_catalog_id, next_file_id)";
    transaction.insert(columns, snapshot).await?;
    let changes = vec![parameters![0, "created_schema:\"main\""]];
    transaction.insert("ducklake_snapshot_changes (snapshot_id, changes_made)", changes).await?;
    transaction.insert("ducklake_schema_versions (begin_snapshot, schema_version)", vec![parameters![0, 0]]).await?;
    let main = vec![parameters![0, Uuid::new_v4(), 0, "main", "main/", true]];
    let columns = "ducklake_schema (schema_id, schema_uuid, begin_snapshot, schema_name, path, path_is_relative)";
    transaction.insert(columns, main).await
}
