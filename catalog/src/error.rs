//! What can go wrong in the catalog, and what a user is told of it.

use probepilot_sql::SqlError;
use probepilot_sql::error::SqlState;

use crate::table::{TableId, TableName};

/// Why the catalog did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// Another committer advanced the stream: nothing of this commit is stored. The manifest is already refreshed.
    #[error("could not commit: the watermark of stream \"{stream}\" is {found}, not {expected}")]
    WatermarkMoved {
        /// The stream.
        stream: String,
        /// The watermark the commit started from.
        expected: u64,
        /// The watermark in the catalog.
        found: u64,
    },
    /// A segment to be replaced was ended by someone else: nothing of the replacement is stored.
    #[error("could not replace segments of table {table}: segment {segment} is not live")]
    SegmentNotLive {
        /// The table.
        table: TableId,
        /// The segment.
        segment: i64,
    },
    /// The connection broke while a commit was under way and the catalog cannot be asked. Try the same commit again:
    /// if it was stored, that is noticed.
    #[error("could not learn whether a commit was stored")]
    OutcomeUnknown {
        /// What the database said.
        source: sqlx::Error,
    },
    /// No table has this id (any more).
    #[error("table {0} does not exist")]
    UnknownTable(TableId),
    /// A table of this name exists.
    #[error("relation \"{0}\" already exists")]
    TableExists(TableName),
    /// No view has this name any more.
    #[error("relation \"{0}\" does not exist")]
    UnknownView(TableName),
    /// No schema has this name.
    #[error("schema \"{0}\" does not exist")]
    UnknownSchema(String),
    /// A schema of this name exists.
    #[error("schema \"{0}\" already exists")]
    SchemaExists(String),
    /// A schema is not empty.
    #[error("cannot drop schema {schema} because other objects depend on it")]
    SchemaNotEmpty {
        /// The schema.
        schema: String,
        /// One of what is in it.
        holds: TableName,
    },
    /// A table cannot be as asked for.
    #[error("{0}")]
    InvalidTable(String),
    /// A column of this name exists, or is named twice.
    #[error("column \"{column}\" of relation \"{table}\" already exists")]
    ColumnExists {
        /// The table.
        table: TableName,
        /// The column.
        column: String,
    },
    /// A segment lies outside its table's folder.
    #[error("segment \"{path}\" is not below \"{folder}\"")]
    SegmentPath {
        /// The segment's path below the data path.
        path: String,
        /// [`crate::manifest::Table::path`].
        folder: String,
    },
    /// The catalog has a DuckLake version we do not write.
    #[error("the lake's catalog has DuckLake version {found}, and only {} is supported", crate::lake::DUCKLAKE_VERSION)]
    ForeignVersion {
        /// The version it has.
        found: String,
    },
    /// Another writer stored rows in a way we do not read: serving the rest would give wrong results.
    #[error("snapshot {snapshot} of the lake, committed by another program, holds {what}, which is not supported")]
    ForeignRows {
        /// The snapshot.
        snapshot: i64,
        /// What it holds.
        what: String,
    },
    /// A stored value does not make sense.
    #[error("{0}")]
    Corrupt(String),
    /// A path or name given to `open` cannot be used.
    #[error("{0}")]
    Unusable(String),
    /// A probe of this name exists.
    #[error("probe \"{0}\" already exists")]
    ProbeExists(String),
    /// No probe has this name or id.
    #[error("probe \"{0}\" does not exist")]
    UnknownProbe(String),
    /// An account of this name exists.
    #[error("role \"{0}\" already exists")]
    AccountExists(String),
    /// No account has this name.
    #[error("role \"{0}\" does not exist")]
    UnknownAccount(String),
    /// A password cannot be used.
    #[error("{0}")]
    InvalidPassword(String),
    /// A file of the catalog could not be made or read.
    #[error("could not {attempted} \"{path}\"")]
    File {
        /// What was attempted.
        attempted: &'static str,
        /// On which file.
        path: String,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The catalog's schema could not be brought up to date.
    #[error("could not bring the catalog's schema up to date")]
    Migration(#[from] sqlx::migrate::MigrateError),
    /// The database failed.
    #[error("could not {attempted}")]
    Database {
        /// What was attempted.
        attempted: &'static str,
        /// Why it failed.
        source: sqlx::Error,
    },
}

impl CatalogError {
    fn state(&self) -> SqlState {
        match self {
            CatalogError::WatermarkMoved { .. } | CatalogError::SegmentNotLive { .. } => {
                SqlState::SERIALIZATION_FAILURE
            }
            CatalogError::OutcomeUnknown { .. } => SqlState::IO_ERROR,
            CatalogError::UnknownTable(_) | CatalogError::UnknownView(_) => SqlState::UNDEFINED_TABLE,
            CatalogError::TableExists(_) => SqlState::DUPLICATE_TABLE,
            CatalogError::UnknownSchema(_) => SqlState::INVALID_SCHEMA_NAME,
            CatalogError::SchemaExists(_) => SqlState::DUPLICATE_SCHEMA,
            CatalogError::SchemaNotEmpty { .. } => SqlState::DEPENDENT_OBJECTS_STILL_EXIST,
            CatalogError::InvalidTable(_) => SqlState::INVALID_TABLE_DEFINITION,
            CatalogError::ColumnExists { .. } => SqlState::DUPLICATE_COLUMN,
            CatalogError::SegmentPath { .. } => SqlState::INTERNAL_ERROR,
            CatalogError::ForeignVersion { .. } | CatalogError::ForeignRows { .. } => SqlState::FEATURE_NOT_SUPPORTED,
            CatalogError::Corrupt(_) => SqlState::DATA_CORRUPTED,
            CatalogError::Unusable(_) | CatalogError::InvalidPassword(_) => SqlState::INVALID_PARAMETER_VALUE,
            CatalogError::ProbeExists(_) | CatalogError::AccountExists(_) => SqlState::DUPLICATE_OBJECT,
            CatalogError::UnknownProbe(_) | CatalogError::UnknownAccount(_) => SqlState::UNDEFINED_OBJECT,
            CatalogError::File { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => {
                SqlState::DISK_FULL
            }
            CatalogError::File { .. } | CatalogError::Migration(_) => SqlState::IO_ERROR,
            CatalogError::Database { source, .. } if disk_is_full(source) => SqlState::DISK_FULL,
            CatalogError::Database { .. } => SqlState::IO_ERROR,
        }
    }
}

/// SQLite says `SQLITE_FULL` (13), PostgreSQL 53100.
fn disk_is_full(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|database| database.code());
    matches!(code.as_deref(), Some("13" | "53100"))
}

impl From<CatalogError> for SqlError {
    fn from(error: CatalogError) -> SqlError {
        let told = SqlError::new(error.state(), error.to_string());
        match &error {
            CatalogError::ForeignRows { .. } => {
                told.hint("Attach the lake with READ_ONLY. Delete the foreign rows with the program that wrote them.")
            }
            CatalogError::SchemaNotEmpty { schema, holds } => told
                .detail(format!("{} depends on schema {schema}.", holds.name))
                .hint("DROP SCHEMA … CASCADE drops what is in it too."),
            CatalogError::ForeignVersion { .. } => told.hint("Use the version of ProbePilot that wrote the lake."),
            _ => told,
        }
        .caused_by(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_told_the_code_and_the_log_keeps_the_chain() {
        let error = SqlError::from(CatalogError::TableExists(TableName::public("t")));
        assert_eq!(error.state, SqlState::DUPLICATE_TABLE);
        assert_eq!(error.message, "relation \"t\" already exists");
        assert!(std::error::Error::source(&error).is_some());
    }
}
