//! One committed state of the lake, in memory: what planning reads instead of a database.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;

use crate::table::{TableDefinition, TableId, TableName};

/// A snapshot of the lake: tables, their live segments, and the log position they hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Manifest {
    /// DuckLake's `snapshot_id`.
    pub snapshot: i64,
    /// The committed sequence of every stream of the log: entries at or below it are in segments.
    pub watermark: BTreeMap<String, u64>,
    /// The schemas, by name: `public`, and those that a user made.
    pub schemas: BTreeMap<String, Schema>,
    /// The views, by name. No table has the name of a view.
    pub views: BTreeMap<TableName, Arc<View>>,
    /// The tables, by name.
    pub tables: BTreeMap<TableName, Arc<Table>>,
}

impl Manifest {
    /// The committed sequence of `stream`, 0 before its first commit.
    pub fn committed(&self, stream: &str) -> u64 {
        self.watermark.get(stream).copied().unwrap_or(0)
    }

    /// The table with this id.
    pub fn table(&self, id: TableId) -> Option<&Arc<Table>> {
        self.tables.values().find(|table| table.id == id)
    }
}

/// A schema: what names of tables and views are in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schema {
    /// Its id in the manifest.
    pub id: i64,
    /// What it is for.
    pub comment: Option<String>,
}

/// A view: a query with a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// Its id in the manifest.
    pub id: i64,
    /// Where it is found.
    pub name: TableName,
    /// What it stands for.
    pub definition: ViewDefinition,
    /// What a row is.
    pub comment: Option<String>,
}

/// What a view stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViewDefinition {
    /// The query; every table in it has its schema.
    pub sql: String,
    /// The same for engines that attach the lake.
    pub lake_sql: String,
    /// Its columns, as they were when it was made.
    pub columns: Vec<ViewColumn>,
    /// The ids of the lake's tables and views that it reads.
    pub reads: Vec<i64>,
}

/// A column of a view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViewColumn {
    /// Its name.
    pub name: String,
    /// PostgreSQL's name of its type: `numeric(20,0)`.
    pub sql_type: String,
    /// Meaning and unit.
    pub comment: Option<String>,
}

impl Manifest {
    /// The views that read one of these tables and views, and those that read them, by name.
    pub fn dependents(&self, relations: &[i64]) -> Vec<Arc<View>> {
        let mut read = relations.to_vec();
        let mut found: Vec<Arc<View>> = Vec::new();
        loop {
            let more = self.views.values().filter(|view| {
                !read.contains(&view.id) && view.definition.reads.iter().any(|relation| read.contains(relation))
            });
            let more: Vec<Arc<View>> = more.cloned().collect();
            if more.is_empty() {
                return found;
            }
            read.extend(more.iter().map(|view| view.id));
            found.extend(more);
        }
    }
}

/// A table and its live segments.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// Its id in the manifest.
    pub id: TableId,
    /// Name, kind, columns, comment.
    pub definition: TableDefinition,
    /// The Arrow schema of its rows in batches, tail and scans, made once from the definition.
    pub schema: SchemaRef,
    /// DuckLake's `column_id` of each column, in order: the Parquet field ids.
    pub column_ids: Vec<i64>,
    /// The folder of its segments below the lake's data path, ends in `/`: every segment's path begins with it. It
    /// stays when the table is renamed.
    pub path: String,
    /// Settings that differ from the defaults.
    pub settings: TableSettings,
    /// Live segments, newest first by `time_max`.
    pub segments: Arc<Vec<Segment>>,
}

/// What `ALTER TABLE t SET (…)` and `CREATE PROBE … WITH (…)` say about keeping rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableSettings {
    /// How long rows are kept; the kind's default otherwise.
    pub retention_seconds: Option<u64>,
    /// How many bytes of segments are kept; no limit of its own otherwise.
    pub bytes_max: Option<u64>,
}

/// A Parquet file with its manifest row.
#[derive(Clone, Debug, PartialEq)]
pub struct Segment {
    /// DuckLake's `data_file_id`.
    pub id: i64,
    /// Path below the lake's data path, as object_store names it: [`Table::path`] and a name not used before.
    pub path: String,
    /// Rows.
    pub rows: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// Bytes of the Thrift footer: the u32 before the final `PAR1`.
    pub footer_bytes: u64,
    /// Earliest `time`, Unix nanoseconds.
    pub time_min: i64,
    /// Latest `time`, Unix nanoseconds.
    pub time_max: i64,
    /// 0 as cut from the log, 1 merged by hour, 2 merged by day.
    pub level: u8,
    /// Bounds of the pruning columns.
    pub bounds: Vec<ColumnBounds>,
}

impl Segment {
    /// The bounds of a column; `None` when nothing is known of it.
    pub fn column_bounds(&self, column_id: i64) -> Option<&ColumnBounds> {
        self.bounds.iter().find(|bounds| bounds.column_id == column_id)
    }
}

/// Loose bounds of one column in one segment.
#[derive(Clone, Debug, PartialEq)]
pub struct ColumnBounds {
    /// DuckLake's `column_id`.
    pub column_id: i64,
    /// Smallest value or a lower bound of it; `None` when unknown or all NULL.
    pub min: Option<Bound>,
    /// Largest value or an upper bound of it.
    pub max: Option<Bound>,
    /// NULLs.
    pub null_count: u64,
}

/// A bound's value. Text bounds may be cut short (then `max` is rounded up).
#[derive(Clone, Debug, PartialEq, PartialOrd)]
pub enum Bound {
    /// `boolean`
    Boolean(bool),
    /// Integers, dates (days) and times (nanoseconds).
    Int(i64),
    /// Floats; NaN is never a bound.
    Float(f64),
    /// Text and addresses.
    Text(String),
}

/// A segment that was written but is not committed: it has no id yet.
pub type NewSegment = Segment;

/// A commit of segments cut from the log.
#[derive(Clone, Debug)]
pub struct SegmentCommit {
    /// The stream whose log was cut.
    pub stream: String,
    /// The watermark this run started from; compared in the transaction.
    pub from: u64,
    /// The watermark after it.
    pub to: u64,
    /// What was written; ids are given by the commit. May be empty: the watermark advances all the same.
    pub segments: Vec<(TableId, NewSegment)>,
    /// (producer, epoch, highest envelope number) in this range.
    pub producers: Vec<(Arc<str>, u64, u64)>,
}

/// Replaces segments by merged ones (`compacted_table`), or ends them (`deleted_from_table`) when `with` is empty.
#[derive(Clone, Debug)]
pub struct SegmentReplace {
    /// The table.
    pub table: TableId,
    /// Ids of live segments to end; a conflict when one is not live any more.
    pub ended: Vec<i64>,
    /// What takes their place.
    pub with: Vec<NewSegment>,
}
