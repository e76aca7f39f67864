//! A lake of a few million rows, made by the write path itself: hours that were merged, fresh segments that overlap.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringViewArray, TimestampNanosecondArray};
use object_store::local::LocalFileSystem;
use probepilot_catalog::Lake;
use probepilot_catalog::batch::{Batch, Durability, Envelope};
use probepilot_catalog::manifest::TableSettings;
use probepilot_catalog::ports::Rows;
use probepilot_catalog::table::{Column, TableDefinition, TableId, TableKind, TableName, arrow_schema};
use probepilot_collector::merge::{MergeOptions, merge_all};
use probepilot_collector::segment::store::SegmentStore;
use probepilot_collector::writer::{Writer, WriterOptions};
use probepilot_sql::SqlType;

/// The table of the rows.
pub const TABLE: &str = "requests";

/// Rows of each hour that is merged, and how many hours those are.
const HOUR_ROWS: u64 = 200_000;
const HOURS: u64 = 10;

/// Rows of each fresh segment, and how many there are.
const FRESH_ROWS: u64 = 20_000;
const FRESH: u64 = 50;

/// All rows.
pub const ROWS: u64 = HOUR_ROWS * HOURS + FRESH_ROWS * FRESH;

/// Rows that come late and are not cut yet.
pub const LATE_ROWS: u64 = 2_000;

/// From one row to the next: an hour has its rows.
const STEP_NS: i64 = 3_600_000_000_000 / HOUR_ROWS as i64;

/// How late a row may be: segments overlap by that.
const LATE_NS: u64 = 60_000_000_000;

/// Rows of an envelope.
const BATCH_ROWS: u64 = 5_000;

/// One row in so many is of the rare host.
const RARE: u64 = 430_000;

/// The folders of a server's data directory.
pub fn folders(data_dir: &Path) -> (PathBuf, PathBuf) {
    let lake = data_dir.join("lake/probepilot");
    (lake.join("catalog.sqlite"), lake.join("data"))
}

/// The columns: some narrow, two wide.
pub fn columns() -> Vec<Column> {
    vec![
        Column::new("time", SqlType::Timestamptz, false, "when the request ended; ns"),
        Column::new("id", SqlType::BigInt, false, "number of the request"),
        Column::new("host", SqlType::Text, false, "who served it"),
        Column::new("level", SqlType::Text, false, "info, warn or error"),
        Column::new("status", SqlType::Integer, false, "HTTP status"),
        Column::new("seconds", SqlType::DoublePrecision, false, "how long it took; s"),
        Column::new("message", SqlType::Text, false, "what was logged"),
        Column::new("payload", SqlType::Text, true, "the request, as JSON"),
    ]
}

/// A number that looks random, the same for the same `n` and `salt`.
fn random(n: u64, salt: u64) -> u64 {
    let mut x = n.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(salt.wrapping_mul(0xD1B5_4A32_D192_ED03));
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// Rows `from..to`, each up to a minute late.
fn rows(from: u64, to: u64, start_ns: i64) -> RecordBatch {
    let ids = || from..to;
    let times = ids().map(|n| start_ns + n as i64 * STEP_NS - (random(n, 1) % LATE_NS) as i64);
    let hosts = ids().map(|n| match n % RARE {
        17 => "host-rare".to_owned(),
        _ => format!("host-{:03}", random(n, 2) % 200),
    });
    let levels = ids().map(|n| match random(n, 3) % 100 {
        0 => "error",
        1..=9 => "warn",
        _ => "info",
    });
    let statuses = ids().map(|n| [200, 200, 200, 204, 301, 404, 500][(random(n, 4) % 7) as usize]);
    let messages = ids().map(|n| {
        let (user, item) = (random(n, 5) % 50_000, random(n, 6));
        format!(
            "request {n} of user {user} for /api/v2/items/{item:016x}/details was answered by the cache after a retry"
        )
    });
    let payloads = ids().map(|n| {
        let parts = (0..4).map(|part| format!("\"field_{part}\":\"{:016x}\"", random(n, 7 + part)));
        format!("{{\"id\":{n},\"tenant\":\"tenant-{}\",{}}}", random(n, 12) % 300, parts.collect::<Vec<_>>().join(","))
    });
    let columns_of: Vec<ArrayRef> = vec![
        Arc::new(TimestampNanosecondArray::from_iter_values(times).with_timezone("UTC")),
        Arc::new(Int64Array::from_iter_values(ids().map(|n| n as i64))),
        Arc::new(StringViewArray::from_iter_values(hosts)),
        Arc::new(StringViewArray::from_iter_values(levels)),
        Arc::new(statuses.collect::<arrow::array::Int32Array>()),
        Arc::new(Float64Array::from_iter_values(ids().map(|n| (random(n, 13) % 1_000_000) as f64 / 1e6))),
        Arc::new(StringViewArray::from_iter_values(messages)),
        Arc::new(StringViewArray::from_iter_values(payloads)),
    ];
    RecordBatch::try_new(arrow_schema(&columns()), columns_of).expect("the columns are those of the table")
}

/// Makes the table and its rows in the data directory of a server that does not run. The last row is of now.
pub async fn make(data_dir: &Path) {
    let (catalog, data) = folders(data_dir);
    let data_path = format!("{}/", data.display());
    let lake = Lake::open_sqlite(&catalog, &data_path).await.expect("the server made it");
    let definition = TableDefinition {
        name: TableName::public(TABLE),
        kind: TableKind::Events,
        columns: columns(),
        comment: Some("Requests.".into()),
    };
    let table = lake.create_table(definition, TableSettings::default()).await.expect("a new table").id;
    let objects = Arc::new(LocalFileSystem::new_with_prefix(&data).expect("the folder of segments"));
    let store = SegmentStore { objects: objects.clone(), local_root: Some(data.clone()) };
    let writer = Writer::start(WriterOptions::new(data_dir.join("log"), lake.clone(), objects, Some(data))).await;
    let mut source = Source { writer: writer.expect("the write path starts"), table, number: 0, start_ns: 0 };
    // The merged hours end with the last full one, so that each of them is closed.
    let now_ns = chrono::Utc::now().timestamp_nanos_opt().expect("the year is before 2262");
    source.start_ns = now_ns - ROWS as i64 * STEP_NS;
    for part in 0..HOURS * 4 {
        source.segment(part * HOUR_ROWS / 4, (part + 1) * HOUR_ROWS / 4).await;
    }
    let merge = MergeOptions { closed_after: Duration::ZERO, ..MergeOptions::default() };
    merge_all(&lake, &store, merge).await;
    for part in 0..FRESH {
        let from = HOUR_ROWS * HOURS + part * FRESH_ROWS;
        source.segment(from, from + FRESH_ROWS).await;
    }
    // What is logged last stays in the log: the server's tail has it. It is so late that no answer does.
    source.log(ROWS - LATE_ROWS - HOUR_ROWS, ROWS - HOUR_ROWS).await;
    // The second call ends the first one before it has anything cut.
    tokio::join!(source.writer.shutdown(), source.writer.shutdown());
}

struct Source {
    writer: Arc<Writer>,
    table: TableId,
    number: u64,
    start_ns: i64,
}

impl Source {
    /// Logs rows and has them cut.
    async fn segment(&mut self, from: u64, to: u64) {
        self.log(from, to).await;
        self.writer.checkpoint().await.expect("the rows are committed");
    }

    async fn log(&mut self, from: u64, to: u64) {
        for start in (from..to).step_by(BATCH_ROWS as usize) {
            self.number += 1;
            let batches =
                vec![Batch { table: self.table, rows: rows(start, to.min(start + BATCH_ROWS), self.start_ns) }];
            let envelope = Envelope { producer: "bench".into(), epoch: 1, number: self.number, batches };
            self.writer.append(envelope, Durability::Process).await.expect("the log takes rows");
        }
    }
}

/// The folder of the segments.
pub fn segments_folder(data_dir: &Path) -> PathBuf {
    folders(data_dir).1
}
