//! SQLite or PostgreSQL behind one face: every statement is written once, with `$1` placeholders.

mod open; // Pools, files and migrations.
mod value; // Parameters in, rows out.

use std::path::Path;
use std::sync::Arc;

use sqlx::postgres::{PgArguments, PgPool};
use sqlx::sqlite::{SqliteArguments, SqlitePool};
use sqlx::{AssertSqlSafe, Postgres, Sqlite};

pub(crate) use self::open::Migrations;
pub(crate) use self::value::{Parameter, Row, parameters};
use crate::error::CatalogError;

/// A database; cheap to clone.
#[derive(Clone)]
pub(crate) enum Database {
    Sqlite {
        /// The file.
        path: Arc<Path>,
        /// One connection: SQLite has one writer, and waiting for a turn here is fair where its own lock is not.
        writer: SqlitePool,
        readers: SqlitePool,
    },
    Postgres(PgPool),
}

impl Database {
    /// A transaction that sees one state and changes nothing.
    pub async fn read(&self, attempted: &'static str) -> Result<Transaction, CatalogError> {
        let connection = match self {
            Database::Sqlite { readers, .. } => readers.begin().await.map(Connection::Sqlite),
            Database::Postgres(pool) => {
                pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await.map(Connection::Postgres)
            }
        };
        let connection = connection.map_err(|source| CatalogError::Database { attempted, source })?;
        Ok(Transaction { connection, attempted })
    }

    /// A transaction that has the right to write from its first statement on: it waits its turn, then sees all that
    /// was committed before. `turnstile` is the table that writers queue at in PostgreSQL.
    pub async fn write(&self, attempted: &'static str, turnstile: &'static str) -> Result<Transaction, CatalogError> {
        let connection = match self {
            Database::Sqlite { writer, .. } => writer.begin_with("BEGIN IMMEDIATE").await.map(Connection::Sqlite),
            Database::Postgres(pool) => pool.begin().await.map(Connection::Postgres),
        };
        let connection = connection.map_err(|source| CatalogError::Database { attempted, source })?;
        let mut transaction = Transaction { connection, attempted };
        if matches!(self, Database::Postgres(_)) {
            // Readers are let through by this mode; other programs' inserts wait as ours do.
            transaction.execute(format!("LOCK TABLE {turnstile} IN EXCLUSIVE MODE"), vec![]).await?;
        }
        Ok(transaction)
    }

    /// Bytes of SQLite's write-ahead log, which grows for as long as one reader keeps an old state; 0 for PostgreSQL.
    pub fn journal_bytes(&self) -> u64 {
        let Database::Sqlite { path, .. } = self else { return 0 };
        let mut journal = path.as_os_str().to_owned();
        journal.push("-wal");
        std::fs::metadata(Path::new(&journal)).map_or(0, |metadata| metadata.len())
    }

    /// Waits until every connection is closed.
    pub async fn close(&self) {
        match self {
            Database::Sqlite { writer, readers, .. } => {
                readers.close().await;
                writer.close().await;
            }
            Database::Postgres(pool) => pool.close().await,
        }
    }
}

enum Connection {
    Sqlite(sqlx::Transaction<'static, Sqlite>),
    Postgres(sqlx::Transaction<'static, Postgres>),
}

/// A transaction; dropping it rolls back.
pub(crate) struct Transaction {
    connection: Connection,
    /// For the error: what all its statements are for.
    attempted: &'static str,
}

/// Rows of one `INSERT`: few enough for the limits on parameters of both databases (32,766 and 65,535).
const INSERT_ROWS_MAX: usize = 100;

impl Transaction {
    /// Runs a statement and returns how many rows it changed.
    pub async fn execute(
        &mut self,
        statement: impl Into<String>,
        parameters: Vec<Parameter>,
    ) -> Result<u64, CatalogError> {
        let sql = AssertSqlSafe(statement.into());
        let attempted = self.attempted;
        let changed = match &mut self.connection {
            Connection::Sqlite(transaction) => {
                let arguments: SqliteArguments = value::arguments(parameters);
                sqlx::query_with(sql, arguments).execute(&mut **transaction).await.map(|done| done.rows_affected())
            }
            Connection::Postgres(transaction) => {
                let arguments: PgArguments = value::arguments(parameters);
                sqlx::query_with(sql, arguments).execute(&mut **transaction).await.map(|done| done.rows_affected())
            }
        };
        changed.map_err(|source| CatalogError::Database { attempted, source })
    }

    /// Runs a query and returns its rows.
    pub async fn rows(
        &mut self,
        query: impl Into<String>,
        parameters: Vec<Parameter>,
    ) -> Result<Vec<Row>, CatalogError> {
        let sql = AssertSqlSafe(query.into());
        let attempted = self.attempted;
        let rows = match &mut self.connection {
            Connection::Sqlite(transaction) => {
                let arguments: SqliteArguments = value::arguments(parameters);
                let rows = sqlx::query_with(sql, arguments).fetch_all(&mut **transaction).await;
                rows.map(|rows| rows.into_iter().map(Row::Sqlite).collect())
            }
            Connection::Postgres(transaction) => {
                let arguments: PgArguments = value::arguments(parameters);
                let rows = sqlx::query_with(sql, arguments).fetch_all(&mut **transaction).await;
                rows.map(|rows| rows.into_iter().map(Row::Postgres).collect())
            }
        };
        rows.map_err(|source| CatalogError::Database { attempted, source })
    }

    /// The first row of a query, if any.
    pub async fn row(
        &mut self,
        query: impl Into<String>,
        parameters: Vec<Parameter>,
    ) -> Result<Option<Row>, CatalogError> {
        Ok(self.rows(query, parameters).await?.into_iter().next())
    }

    /// Inserts rows, many by one statement: `insert("t (a, b)", [[1, 2], [3, 4]])`.
    pub async fn insert(&mut self, into: &str, rows: Vec<Vec<Parameter>>) -> Result<(), CatalogError> {
        let mut rows = rows.into_iter().peekable();
        while let Some(first) = rows.peek() {
            let width = first.len();
            let chunk: Vec<Vec<Parameter>> = rows.by_ref().take(INSERT_ROWS_MAX).collect();
            let mut statement = format!("INSERT INTO {into} VALUES ");
            for row in 0..chunk.len() {
                statement.push_str(if row == 0 { "(" } else { ", (" });
                for column in 0..width {
                    let comma = if column == 0 { "" } else { ", " };
                    statement.push_str(&format!("{comma}${}", row * width + column + 1));
                }
                statement.push(')');
            }
            self.execute(statement, chunk.into_iter().flatten().collect()).await?;
        }
        Ok(())
    }

    /// Makes it last. After an error the outcome is unknown.
    pub async fn commit(self) -> Result<(), CatalogError> {
        let attempted = self.attempted;
        let committed = match self.connection {
            Connection::Sqlite(transaction) => transaction.commit().await,
            Connection::Postgres(transaction) => transaction.commit().await,
        };
        committed.map_err(|source| CatalogError::Database { attempted, source })
    }
}
