//! Tables and their columns, as every part of the system names them.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef, Schema, SchemaRef, TimeUnit};
use probepilot_sql::SqlType;
use probepilot_sql::types::field;

/// The schema of users' tables: `public` at the SQL doors, `main` in DuckLake.
pub const PUBLIC: &str = "public";

/// The schema of our own tables.
pub const SYSTEM: &str = "system";

/// A table's id in the manifest: never used again, the same at every node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TableId(pub i64);

impl fmt::Display for TableId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A table's schema and name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TableName {
    /// `public`, `system`, or a schema that a user made.
    pub schema: String,
    /// The name within the schema.
    pub name: String,
}

impl TableName {
    /// A users' table.
    pub fn public(name: impl Into<String>) -> TableName {
        TableName { schema: PUBLIC.into(), name: name.into() }
    }

    /// A table of ours.
    pub fn system(name: impl Into<String>) -> TableName {
        TableName { schema: SYSTEM.into(), name: name.into() }
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.schema == PUBLIC { f.write_str(&self.name) } else { write!(f, "{}.{}", self.schema, self.name) }
    }
}

/// A column as its table declares it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Unique within the table, lower case.
    pub name: String,
    /// Its type.
    pub sql_type: SqlType,
    /// Whether it may be NULL.
    pub nullable: bool,
    /// Meaning and unit, for `\d+` and tools.
    pub comment: Option<String>,
}

impl Column {
    /// A column with its comment.
    pub fn new(name: impl Into<String>, sql_type: SqlType, nullable: bool, comment: impl Into<String>) -> Column {
        Column { name: name.into(), sql_type, nullable, comment: Some(comment.into()) }
    }
}

/// What a table's rows are: decides default retention and what goes first when space is short.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TableKind {
    /// One row per event.
    Events,
    /// One row per window and key.
    Windows,
    /// Security events: dropped last.
    Security,
    /// Our own health and loss rows.
    Health,
    /// Rows that clients insert: kept until someone says otherwise, and dropped last.
    Inserted,
}

impl TableKind {
    /// The word stored in the catalog.
    pub fn as_str(self) -> &'static str {
        match self {
            TableKind::Events => "events",
            TableKind::Windows => "windows",
            TableKind::Security => "security",
            TableKind::Health => "health",
            TableKind::Inserted => "inserted",
        }
    }

    /// The kind a stored word stands for.
    pub fn from_word(word: &str) -> Option<TableKind> {
        [TableKind::Events, TableKind::Windows, TableKind::Security, TableKind::Health, TableKind::Inserted]
            .into_iter()
            .find(|kind| kind.as_str() == word)
    }

    /// How long rows are kept when the table does not say, in days; `None` is without end.
    pub fn retention_days_default(self) -> Option<u32> {
        match self {
            TableKind::Events => Some(7),
            TableKind::Windows => Some(30),
            TableKind::Security => Some(90),
            TableKind::Health => Some(3),
            TableKind::Inserted => None,
        }
    }

    /// Whether its rows go only when no other table has anything left.
    pub fn goes_last(self) -> bool {
        matches!(self, TableKind::Security | TableKind::Inserted)
    }
}

/// A table before it exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableDefinition {
    /// Where it is found.
    pub name: TableName,
    /// What its rows are.
    pub kind: TableKind,
    /// In order. Tables of probes begin with `time timestamptz not null`; see [`time_column`].
    pub columns: Vec<Column>,
    /// What a row is.
    pub comment: Option<String>,
}

/// Name of the column that every table of probes has first.
pub const TIME_COLUMN: &str = "time";

/// The place of the column by which a table's segments are cut and sorted: the first `timestamptz` or `timestamp` that
/// cannot be NULL. A table without one keeps its rows in the order in which they came.
pub fn time_column(schema: &Schema) -> Option<usize> {
    let is_time = |field: &FieldRef| {
        !field.is_nullable() && matches!(field.data_type(), DataType::Timestamp(TimeUnit::Nanosecond, _))
    };
    schema.fields().iter().position(is_time)
}

/// DuckLake's `column_id` of a list's elements, from the list's own: they are apart from those of columns, of which no
/// table has as many.
pub fn element_column_id(list: i64) -> i64 {
    1_000_000 + list
}

/// The Arrow schema of columns, with types and comments in the metadata.
pub fn arrow_schema(columns: &[Column]) -> SchemaRef {
    Arc::new(Schema::new(
        columns
            .iter()
            .map(|column| field(&column.name, column.sql_type, column.nullable, column.comment.as_deref()))
            .collect::<Vec<_>>(),
    ))
}
