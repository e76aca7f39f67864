//! Opening a database: files with their rights, pools with their bounds, migrations.

use std::borrow::Cow;
use std::fs::{OpenOptions, Permissions};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use sqlx::SqlSafeStr;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};

use super::Database;
use crate::error::CatalogError;

/// How long a statement waits for another program's lock; then it fails.
const LOCK_WAIT: Duration = Duration::from_secs(10);

/// How long a transaction waits for a free connection; then it fails.
const CONNECTION_WAIT: Duration = Duration::from_secs(15);

/// Connections that read an SQLite file at the same time; more readers wait.
const SQLITE_READERS_MAX: u32 = 4;

/// Connections to PostgreSQL; more transactions wait.
const POSTGRES_CONNECTIONS_MAX: u32 = 8;

/// What the write-ahead log is cut back to once no reader holds it any longer, bytes.
const SQLITE_JOURNAL_BYTES_MAX: &str = "16777216";

/// Numbered statements that bring a database up to date: (description, SQL), from number 1.
pub(crate) type Migrations = &'static [(&'static str, &'static str)];

fn migrator(migrations: Migrations) -> Migrator {
    let numbered = (1..).zip(migrations).map(|(number, (description, sql))| {
        Migration::new(number, Cow::Borrowed(description), MigrationType::Simple, sql.into_sql_str(), false)
    });
    let mut migrator = Migrator::with_migrations(numbered.collect());
    migrator.dangerous_set_table_name("pp_migration");
    migrator
}

impl Database {
    /// Opens or creates a file; `mode` is its permission bits when it is new.
    pub async fn open_sqlite(path: &Path, mode: u32) -> Result<Database, CatalogError> {
        create_file(path, mode)?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(LOCK_WAIT)
            .pragma("journal_size_limit", SQLITE_JOURNAL_BYTES_MAX);
        let pool = |connections_max| {
            SqlitePoolOptions::new().max_connections(connections_max).acquire_timeout(CONNECTION_WAIT)
        };
        let attempted = "open the catalog";
        let opened = |source| CatalogError::Database { attempted, source };
        let writer = pool(1).connect_with(options.clone()).await.map_err(opened)?;
        let readers = pool(SQLITE_READERS_MAX).connect_with(options).await.map_err(opened)?;
        Ok(Database::Sqlite { path: path.into(), writer, readers })
    }

    /// Connects to PostgreSQL; every name is looked up in `schema`, which is created when it is missing.
    pub async fn open_postgres(url: &str, schema: &str) -> Result<Database, CatalogError> {
        let first_is_letter = schema.starts_with(|first: char| first.is_ascii_lowercase() || first == '_');
        let is_plain = schema.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        if !first_is_letter || !is_plain || schema.len() > 63 {
            return Err(CatalogError::Unusable(format!(
                "\"{schema}\" cannot name a schema: use at most 63 lower-case letters, digits and underscores"
            )));
        }
        let attempted = "connect to the catalog";
        let opened = |source| CatalogError::Database { attempted, source };
        let lock_wait_ms = LOCK_WAIT.as_millis().to_string();
        let options = PgConnectOptions::from_str(url).map_err(opened)?.application_name("probepilot").options([
            ("search_path", schema),
            ("lock_timeout", &lock_wait_ms),
            ("client_min_messages", "warning"),
        ]);
        let pool = PgPoolOptions::new()
            .max_connections(POSTGRES_CONNECTIONS_MAX)
            .acquire_timeout(CONNECTION_WAIT)
            .connect_with(options)
            .await
            .map_err(opened)?;
        let create = format!("CREATE SCHEMA IF NOT EXISTS {schema}");
        if let Err(error) = sqlx::query(sqlx::AssertSqlSafe(create)).execute(&pool).await {
            // Two servers that start together race for the name; the loser finds the schema there.
            let is_there = "SELECT 1 FROM pg_namespace WHERE nspname = $1";
            let found = sqlx::query(is_there).bind(schema).fetch_optional(&pool).await.map_err(opened)?;
            if found.is_none() {
                return Err(opened(error));
            }
        }
        Ok(Database::Postgres(pool))
    }

    /// Applies what is missing of `migrations`; refuses a database that has others.
    pub async fn migrate(&self, migrations: Migrations) -> Result<(), CatalogError> {
        let migrator = migrator(migrations);
        match self {
            Database::Sqlite { writer, .. } => migrator.run(writer).await?,
            Database::Postgres(pool) => migrator.run(pool).await?,
        }
        Ok(())
    }

    /// Whether a table of this name exists.
    pub async fn has_table(&self, table: &str) -> Result<bool, CatalogError> {
        let query = match self {
            Database::Sqlite { .. } => "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = $1",
            Database::Postgres(_) => {
                "SELECT 1 FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relname = $1"
            }
        };
        let mut transaction = self.read("look into the catalog").await?;
        Ok(transaction.row(query, vec![table.into()]).await?.is_some())
    }
}

/// SQLite gives its side files the rights of the database file, so these are set before it opens it.
fn create_file(path: &Path, mode: u32) -> Result<(), CatalogError> {
    let failed = |source| CatalogError::File { attempted: "create", path: path.display().to_string(), source };
    match OpenOptions::new().write(true).create_new(true).mode(mode).open(path) {
        // The umask may have taken bits away.
        Ok(file) => file.set_permissions(Permissions::from_mode(mode)).map_err(failed),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(failed(error)),
    }
}
