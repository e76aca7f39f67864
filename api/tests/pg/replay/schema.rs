//! The same tables on both sides: those the clients were recorded with, in the types a column of ours may have.

use std::fmt::Write as _;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int32Array, Int64Array, RecordBatch, StringViewArray};
use arrow::array::{TimestampNanosecondArray, new_null_array};
use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use probepilot_catalog::batch::{Durability, Entry, Envelope};
use probepilot_catalog::manifest::Manifest;
use probepilot_catalog::ports::{LiveTable, Rows};
use probepilot_catalog::table::{Column, TableName, arrow_schema};
use probepilot_query::engine::{Account, views};
use probepilot_query::{Engine, EngineOptions};
use probepilot_sql::{SqlError, SqlType};
use tokio::sync::{Semaphore, watch};

/// Rows of each table.
const ROWS: i64 = 12;

/// The time of the first row: 2026-01-01.
const START_NS: i64 = 1_767_225_600_000_000_000;

/// A table of the recorded schema.
struct Fixture {
    schema: &'static str,
    name: &'static str,
    columns: &'static [(&'static str, SqlType, bool)],
}

const TABLES: [Fixture; 3] = [
    Fixture {
        schema: "public",
        name: "logs",
        columns: &[
            ("timestamp", SqlType::Timestamptz, false),
            ("observed_timestamp", SqlType::Timestamptz, true),
            ("trace_id", SqlType::Text, true),
            ("span_id", SqlType::Text, true),
            ("severity_number", SqlType::Integer, true),
            ("severity_text", SqlType::Text, true),
            ("service_name", SqlType::Text, true),
            ("body", SqlType::Text, true),
            ("attributes", SqlType::Text, true),
            ("resource", SqlType::Text, true),
        ],
    },
    Fixture {
        schema: "public",
        name: "spans",
        columns: &[
            ("trace_id", SqlType::Text, false),
            ("span_id", SqlType::Text, false),
            ("parent_span_id", SqlType::Text, true),
            ("name", SqlType::Text, true),
            ("kind", SqlType::Text, true),
            ("start_time", SqlType::Timestamp, true),
            ("end_time", SqlType::Timestamp, true),
            ("duration_ns", SqlType::BigInt, true),
            ("status_code", SqlType::Text, true),
            ("attributes", SqlType::Text, true),
            ("events", SqlType::Text, true),
            ("tags", SqlType::Text, true),
        ],
    },
    Fixture {
        schema: "otel",
        name: "metrics",
        columns: &[
            ("time", SqlType::Timestamptz, false),
            ("name", SqlType::Text, true),
            ("value", SqlType::DoublePrecision, true),
            ("labels", SqlType::Text, true),
            ("count", SqlType::BigInt, true),
            ("bucket_counts", SqlType::Text, true),
        ],
    },
];

#[async_trait]
impl LiveTable for Fixture {
    fn name(&self) -> TableName {
        TableName { schema: self.schema.to_owned(), name: self.name.to_owned() }
    }

    fn columns(&self) -> Vec<Column> {
        let columns = self.columns.iter().map(|(name, sql_type, nullable)| Column {
            name: (*name).to_owned(),
            sql_type: *sql_type,
            nullable: *nullable,
            comment: None,
        });
        columns.collect()
    }

    fn comment(&self) -> &str {
        ""
    }

    async fn rows(&self) -> Result<Vec<RecordBatch>, SqlError> {
        let times = || (0..ROWS).map(|row| START_NS + row * 1_000_000_000).collect::<Vec<_>>();
        let arrays = self.columns.iter().map(|(name, sql_type, _)| -> ArrayRef {
            match sql_type {
                SqlType::Timestamptz => Arc::new(TimestampNanosecondArray::from(times()).with_timezone("UTC")),
                SqlType::Timestamp => Arc::new(TimestampNanosecondArray::from(times())),
                SqlType::Text => {
                    Arc::new((0..ROWS).map(|row| Some(format!("{name} {row}"))).collect::<StringViewArray>())
                }
                SqlType::Integer => Arc::new((0..ROWS as i32).collect::<Int32Array>()),
                SqlType::BigInt => Arc::new((0..ROWS).collect::<Int64Array>()),
                SqlType::DoublePrecision => Arc::new((0..ROWS).map(|row| row as f64).collect::<Float64Array>()),
                other => new_null_array(&other.arrow(), ROWS as usize),
            }
        });
        let arrays: Vec<ArrayRef> = arrays.collect();
        Ok(vec![RecordBatch::try_new(arrow_schema(&self.columns()), arrays).unwrap()])
    }
}

/// A log that stays empty.
struct Nothing;

#[async_trait]
impl Rows for Nothing {
    async fn append(&self, _envelope: Envelope, _durability: Durability) -> Result<u64, SqlError> {
        Err(SqlError::unsupported("nothing is written here"))
    }

    fn subscribe(&self, _after: u64, _credit: Arc<Semaphore>) -> BoxStream<'static, Result<Entry, SqlError>> {
        futures::stream::pending().boxed()
    }

    fn head(&self) -> u64 {
        0
    }

    async fn checkpoint(&self) -> Result<i64, SqlError> {
        Err(SqlError::unsupported("nothing is written here"))
    }
}

/// An engine with the tables.
pub async fn engine() -> Arc<Engine> {
    engine_of(TABLES.into_iter().map(|table| Arc::new(table) as Arc<dyn LiveTable>).collect()).await
}

/// An engine with tables whose rows are made when they are read.
pub async fn engine_of(live_tables: Vec<Arc<dyn LiveTable>>) -> Arc<Engine> {
    let manifest = Manifest { snapshot: 1, ..Manifest::default() };
    let options = EngineOptions {
        manifest: watch::channel(Arc::new(manifest)).1,
        store: Arc::new(InMemory::new()),
        rows: Arc::new(Nothing),
        gathering: None,
        stream: "test".into(),
        live_tables,
        accounts: Arc::new(|| vec![Account { name: "admin".into(), role: "admin".into() }]),
        memory_bytes: 64 << 20,
        tail_bytes: 1 << 20,
        spill_dir: None,
        spill_bytes_max: 1 << 20,
        version: "0.1.0".into(),
    };
    Engine::start(options).await.unwrap()
}

/// What makes the engine's tables and views in PostgreSQL: those above with their rows, and our own with their comments.
pub fn sql(engine: &Engine) -> String {
    let mut sql = String::from("CREATE SCHEMA otel; CREATE SCHEMA system;\n");
    let quoted = |text: &str| text.replace('\'', "''");
    for table in engine.live_tables() {
        let name = format!("{}.{}", table.name().schema, table.name().name);
        let columns: Vec<String> = table
            .columns()
            .iter()
            .map(|column| {
                let null = if column.nullable { "" } else { " NOT NULL" };
                format!("\"{}\" {}{null}", column.name, column.sql_type.sql())
            })
            .collect();
        let _ = writeln!(sql, "CREATE TABLE {name} ({});", columns.join(", "));
        if !table.comment().is_empty() {
            let _ = writeln!(sql, "COMMENT ON TABLE {name} IS '{}';", quoted(table.comment()));
        }
        for column in table.columns() {
            if let Some(comment) = &column.comment {
                let _ = writeln!(sql, "COMMENT ON COLUMN {name}.\"{}\" IS '{}';", column.name, quoted(comment));
            }
        }
    }
    for view in views::all() {
        let nulls = view.columns.iter().map(|column| format!("NULL::{} AS \"{}\"", column.type_name, column.name));
        let _ = writeln!(sql, "CREATE VIEW public.{} AS SELECT {};", view.name, nulls.collect::<Vec<_>>().join(", "));
        let _ = writeln!(sql, "COMMENT ON VIEW public.{} IS '{}';", view.name, quoted(view.comment));
        for column in view.columns {
            let comment = quoted(column.comment);
            let _ = writeln!(sql, "COMMENT ON COLUMN public.{}.\"{}\" IS '{comment}';", view.name, column.name);
        }
    }
    for Fixture { schema, name, columns } in TABLES {
        let values: Vec<String> = columns
            .iter()
            .map(|(name, sql_type, _)| match sql_type {
                SqlType::Timestamptz => "timestamptz '2026-01-01 00:00:00+00' + i * interval '1 s'".to_owned(),
                SqlType::Timestamp => "timestamp '2026-01-01 00:00:00' + i * interval '1 s'".to_owned(),
                SqlType::Text => format!("'{name} ' || i"),
                _ => "i".to_owned(),
            })
            .collect();
        let last = ROWS - 1;
        let _ = writeln!(
            sql,
            "INSERT INTO {schema}.{name} SELECT {} FROM generate_series(0, {last}) i;",
            values.join(", ")
        );
    }
    sql
}
