//! A small lake in memory: a log, a manifest, segments in an in-memory object store, and an engine over them.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{AsArray, Int64Array, RecordBatch, StringViewArray, TimestampNanosecondArray};
use arrow::compute::{max, min};
use arrow::datatypes::{Int64Type, TimestampNanosecondType};
use arrow::util::pretty::pretty_format_batches;
use async_trait::async_trait;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parking_lot::Mutex;
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use probepilot_catalog::batch::{Batch, Durability, Entry, Envelope};
use probepilot_catalog::manifest::{Bound, ColumnBounds, Manifest, Segment, Table, TableSettings};
use probepilot_catalog::ports::Rows;
use probepilot_catalog::table::{Column, TableDefinition, TableId, TableKind, TableName, arrow_schema};
use probepilot_query::engine::Account;
use probepilot_query::{Engine, EngineOptions, Session, SessionOptions};
use probepilot_sql::{SqlError, SqlType};
use tokio::sync::{Semaphore, watch};

pub const STREAM: &str = "test";
pub const EVENTS: TableId = TableId(1);

/// Events are a second apart, from 2026-01-01 on.
pub const START_NS: i64 = 1_767_225_600_000_000_000;
pub const SECOND_NS: i64 = 1_000_000_000;

/// A log in memory: every entry is kept, subscribers are woken by a watch.
#[derive(Clone)]
pub struct Log {
    entries: Arc<Mutex<Vec<Arc<Envelope>>>>,
    head: watch::Sender<u64>,
}

#[async_trait]
impl Rows for Log {
    async fn append(&self, envelope: Envelope, _durability: Durability) -> Result<u64, SqlError> {
        let mut entries = self.entries.lock();
        entries.push(Arc::new(envelope));
        let head = entries.len() as u64;
        self.head.send_replace(head);
        Ok(head)
    }

    fn subscribe(&self, after: u64, _credit: Arc<Semaphore>) -> BoxStream<'static, Result<Entry, SqlError>> {
        let state = (self.clone(), self.head.subscribe(), after);
        futures::stream::unfold(state, |(log, mut head, last)| async move {
            head.wait_for(|head| *head > last).await.ok()?;
            let envelope = Arc::clone(&log.entries.lock()[last as usize]);
            let entry = Entry { sequence: last + 1, envelope, credit: None };
            Some((Ok(entry), (log, head, last + 1)))
        })
        .boxed()
    }

    fn head(&self) -> u64 {
        *self.head.borrow()
    }

    async fn checkpoint(&self) -> Result<i64, SqlError> {
        Err(SqlError::unsupported("the double has no writer"))
    }
}

/// The columns of the table `events`.
pub fn columns() -> Vec<Column> {
    vec![
        Column::new("time", SqlType::Timestamptz, false, "when it happened; ns"),
        Column::new("n", SqlType::BigInt, false, "number, from 0"),
        Column::new("host", SqlType::Text, true, "where; name"),
        Column::new("address", SqlType::Inet, true, "peer; address"),
    ]
}

/// Events `from..to`: one a second, in turn on three hosts.
pub fn events(from: i64, to: i64) -> RecordBatch {
    let numbers: Vec<i64> = (from..to).collect();
    let times = numbers.iter().map(|n| START_NS + n * SECOND_NS);
    let hosts = numbers.iter().map(|n| (n % 10 != 9).then(|| format!("host-{}", n % 3)));
    let addresses = numbers.iter().map(|n| Some(format!("10.0.0.{}", n % 250)));
    RecordBatch::try_new(
        arrow_schema(&columns()),
        vec![
            Arc::new(
                times
                    .collect::<Vec<_>>()
                    .into_iter()
                    .map(Some)
                    .collect::<TimestampNanosecondArray>()
                    .with_timezone("UTC"),
            ),
            Arc::new(Int64Array::from(numbers.clone())),
            Arc::new(hosts.collect::<StringViewArray>()),
            Arc::new(addresses.collect::<StringViewArray>()),
        ],
    )
    .unwrap()
}

/// A lake with the table `events`, and an engine over it.
pub struct Lake {
    pub log: Log,
    pub store: Arc<InMemory>,
    pub manifest: watch::Sender<Arc<Manifest>>,
    pub engine: Arc<Engine>,
}

impl Lake {
    pub async fn start() -> Lake {
        Lake::start_with(64 << 20).await
    }

    pub async fn start_with(memory_bytes: usize) -> Lake {
        let columns = columns();
        let definition = TableDefinition {
            name: TableName::public("events"),
            kind: TableKind::Events,
            columns: columns.clone(),
            comment: Some("Things that happened.".into()),
        };
        let table = Table {
            id: EVENTS,
            path: "main/events/".into(),
            schema: arrow_schema(&columns),
            column_ids: (1..=columns.len() as i64).collect(),
            definition: definition.clone(),
            settings: TableSettings::default(),
            segments: Arc::new(Vec::new()),
        };
        let manifest = Manifest {
            snapshot: 1,
            watermark: BTreeMap::new(),
            tables: BTreeMap::from([(definition.name, Arc::new(table))]),
            ..Manifest::default()
        };
        let (manifest, watch) = watch::channel(Arc::new(manifest));
        let log = Log { entries: Arc::default(), head: watch::channel(0).0 };
        let store = Arc::new(InMemory::new());
        let engine = Engine::start(EngineOptions {
            manifest: watch,
            store: Arc::clone(&store) as Arc<dyn ObjectStore>,
            rows: Arc::new(log.clone()),
            gathering: None,
            stream: STREAM.into(),
            live_tables: Vec::new(),
            accounts: Arc::new(|| vec![Account { name: "admin".into(), role: "admin".into() }]),
            memory_bytes,
            tail_bytes: 64 << 20,
            spill_dir: None,
            spill_bytes_max: 64 << 20,
            version: "0.1.0".into(),
        })
        .await
        .unwrap();
        Lake { log, store, manifest, engine }
    }

    /// Appends events to the log and waits until the tail shows them.
    pub async fn log_events(&self, from: i64, to: i64) -> u64 {
        self.log_rows(events(from, to)).await
    }

    /// Appends rows to the log and waits until the tail shows them.
    pub async fn log_rows(&self, rows: RecordBatch) -> u64 {
        let batches = vec![Batch { table: EVENTS, rows }];
        let number = self.log.head() + 1;
        let envelope = Envelope { producer: "test".into(), epoch: 1, number, batches };
        let sequence = self.log.append(envelope, Durability::Process).await.unwrap();
        while self.engine.tail().head() < sequence {
            tokio::task::yield_now().await;
        }
        sequence
    }

    /// Writes a segment of events `from..to` and commits it with the watermark in one step.
    pub async fn commit_events(&self, from: i64, to: i64, watermark: u64) -> String {
        let path = format!("main/events/{from}-{to}.parquet");
        self.commit_rows(&path, &events(from, to), watermark).await;
        path
    }

    /// Writes a segment and commits it with the watermark in one step.
    pub async fn commit_rows(&self, path: &str, rows: &RecordBatch, watermark: u64) {
        let segment = self.write_segment(path, rows).await;
        self.change_segments(|manifest, segments| {
            manifest.watermark.insert(STREAM.into(), watermark);
            segments.push(segment);
        });
    }

    /// Ends segments, and commits another in their place.
    pub async fn replace_segments(&self, ended: &[String], with: Option<(&str, &RecordBatch)>) {
        let with = match with {
            Some((path, rows)) => Some(self.write_segment(path, rows).await),
            None => None,
        };
        self.change_segments(|_, segments| {
            segments.retain(|segment| !ended.contains(&segment.path));
            segments.extend(with);
        });
    }

    async fn write_segment(&self, path: &str, rows: &RecordBatch) -> Segment {
        let properties = WriterProperties::builder()
            .set_max_row_group_row_count(Some(1_000))
            .set_data_page_row_count_limit(100)
            .set_write_batch_size(100)
            .build();
        let mut writer = ArrowWriter::try_new(Vec::new(), rows.schema(), Some(properties)).unwrap();
        writer.write(rows).unwrap();
        let bytes = writer.into_inner().unwrap();
        let footer = u32::from_le_bytes(bytes[bytes.len() - 8..bytes.len() - 4].try_into().unwrap());
        let times = rows.column(0).as_primitive::<TimestampNanosecondType>();
        let numbers = rows.column(1).as_primitive::<Int64Type>();
        let segment = Segment {
            id: numbers.value(0) + 1,
            path: path.to_owned(),
            rows: rows.num_rows() as u64,
            bytes: bytes.len() as u64,
            footer_bytes: u64::from(footer),
            time_min: min(times).unwrap(),
            time_max: max(times).unwrap(),
            level: 0,
            bounds: vec![ColumnBounds {
                column_id: 2,
                min: min(numbers).map(Bound::Int),
                max: max(numbers).map(Bound::Int),
                null_count: 0,
            }],
        };
        self.store.put(&Path::from(path), bytes.into()).await.unwrap();
        segment
    }

    fn change_segments(&self, change: impl FnOnce(&mut Manifest, &mut Vec<Segment>)) {
        self.manifest.send_modify(|manifest| {
            let mut next = Manifest::clone(manifest);
            next.snapshot += 1;
            let name = TableName::public("events");
            let mut table = Table::clone(&next.tables[&name]);
            let mut segments = Vec::clone(&table.segments);
            change(&mut next, &mut segments);
            segments.sort_by_key(|segment| std::cmp::Reverse(segment.time_max));
            table.segments = Arc::new(segments);
            next.tables.insert(name, Arc::new(table));
            *manifest = Arc::new(next);
        });
    }

    pub fn session(&self) -> Session {
        self.engine.session(SessionOptions {
            user: "admin".into(),
            role: "admin".into(),
            database: "probepilot".into(),
            application_name: "test".into(),
            client_address: None,
            process_id: self.engine.next_process_id(),
        })
    }

    /// The whole result as a table of text.
    pub async fn text(&self, sql: &str) -> String {
        text(&self.session(), sql).await
    }

    /// The first column of the only row, as text.
    pub async fn value(&self, sql: &str) -> String {
        let rows = rows(&self.session(), sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        assert_eq!(rows.iter().map(RecordBatch::num_rows).sum::<usize>(), 1, "{sql}");
        let row = rows.iter().find(|batch| batch.num_rows() > 0).unwrap();
        arrow::util::display::array_value_to_string(row.column(0), 0).unwrap()
    }

    /// The error a statement fails with.
    pub async fn error(&self, sql: &str) -> SqlError {
        match rows(&self.session(), sql).await {
            Ok(_) => panic!("{sql} did not fail"),
            Err(error) => error,
        }
    }
}

/// Runs a statement to its end.
pub async fn rows(session: &Session, sql: &str) -> Result<Vec<RecordBatch>, SqlError> {
    session.query(sql).await?.batches.try_collect().await
}

/// The result as a table of text.
pub async fn text(session: &Session, sql: &str) -> String {
    let stream = session.query(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    let schema = Arc::clone(&stream.schema);
    let mut batches: Vec<RecordBatch> =
        stream.batches.try_collect().await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    if batches.is_empty() {
        batches.push(RecordBatch::new_empty(schema));
    }
    pretty_format_batches(&batches).unwrap().to_string()
}
