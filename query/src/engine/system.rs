//! Our own live tables: `system.queries`, `system.tables`, `system.segments`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch, StringViewArray, TimestampNanosecondArray};
use async_trait::async_trait;
use probepilot_catalog::manifest::Manifest;
use probepilot_catalog::ports::LiveTable;
use probepilot_catalog::table::{Column, TableName, arrow_schema};
use probepilot_sql::{SqlError, SqlType};
use tokio::sync::watch;

use super::queries::Queries;
use crate::scan::Pin;
use crate::tail::Tail;

const DAY_SECONDS: u64 = 86_400;

/// The tables, over the engine's parts.
pub(super) fn tables(
    queries: &Arc<Queries>,
    tail: &Arc<Tail>,
    manifest: &watch::Receiver<Arc<Manifest>>,
    stream: &str,
) -> Vec<Arc<dyn LiveTable>> {
    let lake = Lake { tail: Arc::clone(tail), manifest: manifest.clone(), stream: stream.to_owned() };
    vec![
        Arc::new(QueriesTable { queries: Arc::clone(queries) }),
        Arc::new(TablesTable { lake: lake.clone() }),
        Arc::new(SegmentsTable { lake }),
    ]
}

#[derive(Clone)]
struct Lake {
    tail: Arc<Tail>,
    manifest: watch::Receiver<Arc<Manifest>>,
    stream: String,
}

impl Lake {
    fn pin(&self) -> Pin {
        Pin::take(&self.tail, &self.manifest, &self.stream)
    }
}

fn batch(columns: &[Column], arrays: Vec<ArrayRef>) -> Result<Vec<RecordBatch>, SqlError> {
    let batch = RecordBatch::try_new(arrow_schema(columns), arrays);
    batch.map(|batch| vec![batch]).map_err(|error| SqlError::internal("a system table could not be made", error))
}

fn texts<T: AsRef<str>>(values: impl Iterator<Item = Option<T>>) -> ArrayRef {
    Arc::new(values.collect::<StringViewArray>())
}

fn numbers(values: impl Iterator<Item = Option<u64>>) -> ArrayRef {
    Arc::new(values.map(|value| value.map(|value| i64::try_from(value).unwrap_or(i64::MAX))).collect::<Int64Array>())
}

fn times(values: impl Iterator<Item = Option<i64>>) -> ArrayRef {
    Arc::new(values.collect::<TimestampNanosecondArray>().with_timezone("UTC"))
}

struct QueriesTable {
    queries: Arc<Queries>,
}

#[async_trait]
impl LiveTable for QueriesTable {
    fn name(&self) -> TableName {
        TableName::system("queries")
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            Column::new("query_id", SqlType::BigInt, false, "id; unique since the server started"),
            Column::new("pid", SqlType::Integer, false, "process id of the session, as pg_backend_pid() gives it"),
            Column::new("username", SqlType::Text, false, "who runs it"),
            Column::new("database", SqlType::Text, false, "the database"),
            Column::new("application_name", SqlType::Text, false, "the client's name for itself"),
            Column::new("client_address", SqlType::Text, true, "where the client is; NULL on the Unix socket"),
            Column::new("started", SqlType::Timestamptz, false, "when it started"),
            Column::new("elapsed_ms", SqlType::BigInt, false, "time since it started; milliseconds"),
            Column::new("rows", SqlType::BigInt, false, "rows handed to the client so far"),
            Column::new("query", SqlType::Text, false, "the statement"),
        ]
    }

    fn comment(&self) -> &str {
        "Statements that run now."
    }

    async fn rows(&self) -> Result<Vec<RecordBatch>, SqlError> {
        let running = self.queries.running();
        let queries = || running.iter();
        batch(
            &self.columns(),
            vec![
                numbers(queries().map(|query| Some(query.id))),
                Arc::new(Int32Array::from_iter_values(queries().map(|query| query.process_id))),
                texts(queries().map(|query| Some(&query.user))),
                texts(queries().map(|query| Some(&query.database))),
                texts(queries().map(|query| Some(&query.application_name))),
                texts(queries().map(|query| query.client_address.as_ref())),
                times(queries().map(|query| Some(query.started_unix_ns))),
                numbers(queries().map(|query| Some(query.started.elapsed().as_millis() as u64))),
                numbers(queries().map(|query| Some(query.rows.load(Ordering::Relaxed)))),
                texts(queries().map(|query| Some(&query.text))),
            ],
        )
    }
}

struct TablesTable {
    lake: Lake,
}

#[async_trait]
impl LiveTable for TablesTable {
    fn name(&self) -> TableName {
        TableName::system("tables")
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            Column::new("schema", SqlType::Text, false, "the schema"),
            Column::new("name", SqlType::Text, false, "the table"),
            Column::new("kind", SqlType::Text, false, "what its rows are: events, windows, security, health, inserted"),
            Column::new("rows", SqlType::BigInt, false, "rows in segments and tail"),
            Column::new("tail_rows", SqlType::BigInt, false, "rows that are logged and in no segment yet"),
            Column::new("segments", SqlType::BigInt, false, "Parquet files"),
            Column::new("bytes", SqlType::BigInt, false, "size of the segments; bytes"),
            Column::new("oldest", SqlType::Timestamptz, true, "time of the oldest row"),
            Column::new("newest", SqlType::Timestamptz, true, "time of the newest row"),
            Column::new("retention_s", SqlType::BigInt, true, "how long rows are kept; seconds, NULL without end"),
            Column::new("bytes_max", SqlType::BigInt, true, "its own limit of size; bytes, NULL without one"),
            Column::new("bytes_per_day", SqlType::BigInt, true, "size over the time it covers; bytes a day"),
            Column::new("comment", SqlType::Text, true, "what a row is"),
        ]
    }

    fn comment(&self) -> &str {
        "Stored tables: rows, bytes, age, retention."
    }

    async fn rows(&self) -> Result<Vec<RecordBatch>, SqlError> {
        let pin = self.lake.pin();
        let facts: Vec<Facts> = pin.manifest().tables.values().map(|table| Facts::of(&pin, table)).collect();
        let each = || facts.iter();
        batch(
            &self.columns(),
            vec![
                texts(each().map(|facts| Some(&facts.table.definition.name.schema))),
                texts(each().map(|facts| Some(&facts.table.definition.name.name))),
                texts(each().map(|facts| Some(facts.table.definition.kind.as_str()))),
                numbers(each().map(|facts| Some(facts.segment_rows + facts.tail_rows))),
                numbers(each().map(|facts| Some(facts.tail_rows))),
                numbers(each().map(|facts| Some(facts.table.segments.len() as u64))),
                numbers(each().map(|facts| Some(facts.bytes))),
                times(each().map(|facts| facts.bounds.map(|(oldest, _)| oldest))),
                times(each().map(|facts| facts.bounds.map(|(_, newest)| newest))),
                numbers(each().map(|facts| facts.retention_seconds())),
                numbers(each().map(|facts| facts.table.settings.bytes_max)),
                numbers(each().map(|facts| facts.bytes_per_day())),
                texts(each().map(|facts| facts.table.definition.comment.as_ref())),
            ],
        )
    }
}

/// What is known of a table without reading it.
struct Facts {
    table: Arc<probepilot_catalog::manifest::Table>,
    segment_rows: u64,
    tail_rows: u64,
    bytes: u64,
    bounds: Option<(i64, i64)>,
}

impl Facts {
    fn of(pin: &Pin, table: &Arc<probepilot_catalog::manifest::Table>) -> Facts {
        let runs = pin.tail_runs(table.id);
        let in_segments = table.segments.iter().map(|segment| (segment.time_min, segment.time_max));
        let in_tail = runs.iter().filter_map(|run| run.time_bounds());
        Facts {
            table: Arc::clone(table),
            segment_rows: table.segments.iter().map(|segment| segment.rows).sum(),
            tail_rows: runs.iter().map(|run| run.rows().num_rows() as u64).sum(),
            bytes: table.segments.iter().map(|segment| segment.bytes).sum(),
            bounds: in_segments.chain(in_tail).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1))),
        }
    }

    /// `None` is without end.
    fn retention_seconds(&self) -> Option<u64> {
        let days = self.table.definition.kind.retention_days_default();
        self.table.settings.retention_seconds.or(days.map(|days| u64::from(days) * DAY_SECONDS))
    }

    fn bytes_per_day(&self) -> Option<u64> {
        let (oldest, newest) = self.bounds?;
        let seconds = newest.saturating_sub(oldest) as f64 / 1e9;
        (seconds >= 1.0).then(|| (self.bytes as f64 / seconds * DAY_SECONDS as f64) as u64)
    }
}

struct SegmentsTable {
    lake: Lake,
}

#[async_trait]
impl LiveTable for SegmentsTable {
    fn name(&self) -> TableName {
        TableName::system("segments")
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            Column::new("schema", SqlType::Text, false, "the table's schema"),
            Column::new("table_name", SqlType::Text, false, "the table"),
            Column::new("segment_id", SqlType::BigInt, false, "id in the manifest"),
            Column::new("path", SqlType::Text, false, "the file, below the lake's data path"),
            Column::new("rows", SqlType::BigInt, false, "rows"),
            Column::new("bytes", SqlType::BigInt, false, "size; bytes"),
            Column::new("time_min", SqlType::Timestamptz, false, "earliest row"),
            Column::new("time_max", SqlType::Timestamptz, false, "latest row"),
            Column::new("level", SqlType::SmallInt, false, "0 as cut from the log, 1 merged by hour, 2 by day"),
        ]
    }

    fn comment(&self) -> &str {
        "Parquet files of the newest snapshot."
    }

    async fn rows(&self) -> Result<Vec<RecordBatch>, SqlError> {
        let pin = self.lake.pin();
        let tables = || pin.manifest().tables.values();
        let each = || tables().flat_map(|table| table.segments.iter().map(move |segment| (table, segment)));
        batch(
            &self.columns(),
            vec![
                texts(each().map(|(table, _)| Some(&table.definition.name.schema))),
                texts(each().map(|(table, _)| Some(&table.definition.name.name))),
                numbers(each().map(|(_, segment)| Some(segment.id as u64))),
                texts(each().map(|(_, segment)| Some(&segment.path))),
                numbers(each().map(|(_, segment)| Some(segment.rows))),
                numbers(each().map(|(_, segment)| Some(segment.bytes))),
                times(each().map(|(_, segment)| Some(segment.time_min))),
                times(each().map(|(_, segment)| Some(segment.time_max))),
                Arc::new(arrow::array::Int16Array::from_iter_values(
                    each().map(|(_, segment)| i16::from(segment.level)),
                )),
            ],
        )
    }
}
