//! G17: planning with 10,000 segments in the manifest, through the Postgres protocol, beside a table of ten segments.
//!
//! The segments are committed by the catalog, 500 at a time, as the write path commits its own. Their files are not there:
//! planning opens none.

use std::path::Path;
use std::time::Instant;

use probepilot_catalog::Lake;
use probepilot_catalog::manifest::{Bound, ColumnBounds, NewSegment, SegmentCommit, Table, TableSettings};
use probepilot_catalog::table::{TableDefinition, TableKind, TableName};
use probepilot_sql::SqlType;
use tokio_postgres::Client;

use crate::figures::{median, percentile, show};
use crate::lake;
use crate::support::{Server, connect};

const GOAL_MS: f64 = 20.0;
const SEGMENTS: u64 = 10_000;
const COMMIT_SEGMENTS: u64 = 500;

/// The table it is held against.
const FEW: u64 = 10;

const RUNS: usize = 200;
const WARM_UP: usize = 20;

/// The first segment begins here; each has a minute.
const START_NS: i64 = 1_767_225_600_000_000_000;
const MINUTE_NS: i64 = 60_000_000_000;

/// The stream of the log that the commits advance; the server's own is another.
const STREAM: &str = "bench";

/// What is planned, of the table `{table}`.
const QUERIES: [(&str, &str); 5] = [
    (
        "narrow time range",
        "SELECT host, message FROM {table} WHERE time >= '2026-01-03T00:00:00Z' AND time < '2026-01-03T00:10:00Z'",
    ),
    ("newest 100", "SELECT * FROM {table} ORDER BY time DESC LIMIT 100"),
    ("newest 100 below a filter", "SELECT * FROM {table} WHERE level = 'warn' ORDER BY time DESC LIMIT 100"),
    ("count(*)", "SELECT count(*) FROM {table}"),
    ("all rows by host", "SELECT host, count(*), avg(seconds) FROM {table} GROUP BY host"),
];

pub fn run() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(measure());
}

async fn measure() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    // The first start makes the folders.
    Server::start(directory.path(), &["--no-probes"]).terminate();
    commit(directory.path()).await;
    let server = Server::start(directory.path(), &["--no-probes"]);
    let client = connect(&server).await;
    for (name, query) in QUERIES {
        let (mut prepared, mut explained, mut few) = (Vec::new(), Vec::new(), Vec::new());
        let (many_query, few_query) = (query.replace("{table}", "many"), query.replace("{table}", "few"));
        for run in 0..RUNS {
            let start = Instant::now();
            drop(client.prepare(&many_query).await.unwrap_or_else(|error| panic!("{many_query}: {error}")));
            let preparing = ms(start);
            let planning = explain_ms(&client, &many_query).await;
            let planning_few = explain_ms(&client, &few_query).await;
            if run >= WARM_UP {
                prepared.push(preparing);
                explained.push(planning);
                few.push(planning_few);
            }
        }
        let of = |times: &[f64]| format!("{:.2} ms (p99 {:.2})", median(times), percentile(times, 99.0));
        show(
            &format!("G17 planning, {SEGMENTS} segments, {name}"),
            &format!(
                "EXPLAIN {}, of {FEW} segments {}; prepared in {}; goal {GOAL_MS} ms; ratio {:.2}",
                of(&explained),
                of(&few),
                of(&prepared),
                median(&explained) / GOAL_MS
            ),
        );
    }
    // What was measured was there to the end.
    let count = "SELECT count(*) FROM system.segments WHERE table_name = 'many'";
    let counted = client.query_one(count, &[]).await.unwrap_or_else(|error| panic!("{count}: {error}"));
    assert_eq!(counted.get::<_, i64>(0), SEGMENTS as i64, "segments of the table");
}

fn ms(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e3
}

/// From the text to the whole physical plan: parsed, pruned, optimised.
async fn explain_ms(client: &Client, query: &str) -> f64 {
    let query = format!("EXPLAIN {query}");
    let start = Instant::now();
    client.simple_query(&query).await.unwrap_or_else(|error| panic!("{query}: {error}"));
    ms(start)
}

/// Makes the tables, with what the manifest knows of real segments: bounds of every column.
async fn commit(data_dir: &Path) {
    let (catalog, data) = lake::folders(data_dir);
    let lake = Lake::open_sqlite(&catalog, &format!("{}/", data.display())).await.expect("the server made it");
    let mut sequence = 0;
    for (name, count) in [("many", SEGMENTS), ("few", FEW)] {
        let definition = TableDefinition {
            name: TableName::public(name),
            kind: TableKind::Events,
            columns: lake::columns(),
            comment: None,
        };
        let table = lake.create_table(definition, TableSettings::default()).await.expect("a new table");
        for from in (0..count).step_by(COMMIT_SEGMENTS as usize) {
            let segments = (from..count.min(from + COMMIT_SEGMENTS)).map(|n| (table.id, segment(&table, n)));
            let commit = SegmentCommit {
                stream: STREAM.into(),
                from: sequence,
                to: sequence + 1,
                segments: segments.collect(),
                producers: Vec::new(),
            };
            lake.commit(commit).await.expect("the commit is the only one");
            sequence += 1;
        }
    }
}

/// The `n`th segment: a minute and a bit, so that neighbours overlap.
fn segment(table: &Table, n: u64) -> NewSegment {
    let time_min = START_NS + n as i64 * MINUTE_NS;
    let time_max = time_min + MINUTE_NS + MINUTE_NS / 4;
    let columns = table.definition.columns.iter().zip(&table.column_ids);
    let bounds = columns.map(|(column, &column_id)| {
        let (min, max) = match column.sql_type {
            SqlType::Timestamptz => (Bound::Int(time_min), Bound::Int(time_max)),
            SqlType::Text => (Bound::Text(format!("a-{n:05}")), Bound::Text(format!("z-{n:05}"))),
            SqlType::DoublePrecision => (Bound::Float(0.0), Bound::Float(n as f64)),
            _ => (Bound::Int(n as i64), Bound::Int(n as i64 + 500)),
        };
        ColumnBounds { column_id, min: Some(min), max: Some(max), null_count: 0 }
    });
    NewSegment {
        id: 0,
        path: format!("{}{n}.parquet", table.path),
        rows: 10_000,
        bytes: 500_000,
        footer_bytes: 8_000,
        time_min,
        time_max,
        level: 0,
        bounds: bounds.collect(),
    }
}
