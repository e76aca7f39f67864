//! Newest rows first: what is opened and read, counted, and the same rows as a sort of everything gives.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{AsArray, Int64Array, RecordBatch, StringViewArray, TimestampNanosecondArray, UInt32Array};
use arrow::compute::{concat_batches, sort_to_indices, take_record_batch};
use arrow::datatypes::{Int64Type, TimestampNanosecondType};
use arrow::util::pretty::pretty_format_batches;
use datafusion::prelude::SessionContext;
use probepilot_catalog::table::arrow_schema;

use crate::support::{Lake, SECOND_NS, START_NS, columns, rows};

/// The counters of the scan of `EXPLAIN ANALYZE`, by name.
async fn counters(lake: &Lake, query: &str) -> BTreeMap<String, u64> {
    let plan = lake.text(&format!("EXPLAIN ANALYZE {query}")).await;
    let names = ["segments_opened", "segments_skipped", "slices_read", "tail_pieces_read"];
    let counters = names.iter().filter_map(|name| {
        let (_, rest) = plan.split_once(&format!("{name}="))?;
        let number: String = rest.chars().take_while(char::is_ascii_digit).collect();
        Some(((*name).to_owned(), number.parse().unwrap()))
    });
    let counters: BTreeMap<String, u64> = counters.collect();
    assert!(counters.contains_key("slices_read") || counters.contains_key("tail_pieces_read"), "{plan}");
    counters
}

/// Segments opened, segments skipped by the filter of the sort, slices and pieces of the tail that were read.
async fn read(lake: &Lake, query: &str) -> [u64; 4] {
    let counters = counters(lake, query).await;
    ["segments_opened", "segments_skipped", "slices_read", "tail_pieces_read"]
        .map(|name| counters.get(name).copied().unwrap_or(0))
}

/// Checks how many of the eight segments are opened, and how many slices and pieces of the tail are read. A partition that begins
/// before the first one has told that it has enough reads one more of something.
async fn check(lake: &Lake, query: &str, [opened, slices, tail_pieces]: [u64; 3]) {
    let others = std::thread::available_parallelism().unwrap().get() as u64 - 1;
    let found = read(lake, query).await;
    let at_most = |found: u64, needed: u64| (needed..=needed + others).contains(&found);
    assert!(at_most(found[0], opened) && found[0] + found[1] == 8, "{query}: {found:?} are opened, skipped, …");
    assert!(at_most(found[2], slices) && at_most(found[3], tail_pieces), "{query}: {found:?} are …, slices, pieces");
}

/// Eight segments of 5,000 events each, one after the other in time.
async fn eight_segments() -> Lake {
    let lake = Lake::start().await;
    for part in 0..8 {
        let sequence = lake.log_events(part * 5_000, (part + 1) * 5_000).await;
        lake.commit_events(part * 5_000, (part + 1) * 5_000, sequence).await;
    }
    lake
}

#[tokio::test]
async fn the_newest_segment_is_opened_and_no_other() {
    let lake = eight_segments().await;
    check(&lake, "SELECT n FROM events ORDER BY time DESC LIMIT 5", [1, 1, 0]).await;
    check(&lake, "SELECT * FROM events ORDER BY time DESC LIMIT 900", [1, 1, 0]).await;
    // Below a filter too; the filter finds 5 of 1,000 rows in the first slice.
    let query = "SELECT n, address FROM events WHERE host = 'host-1' ORDER BY time DESC LIMIT 5";
    check(&lake, query, [1, 1, 0]).await;
    let query = "SELECT time AS happened, upper(host) FROM events WHERE n % 7 = 0 ORDER BY happened DESC, n LIMIT 10";
    check(&lake, query, [1, 1, 0]).await;
    // 39,999 to 33,000: two segments, one of them in part. Each partition looks for so many until the first one has them.
    let [opened, skipped, ..] = read(&lake, "SELECT n FROM events ORDER BY time DESC LIMIT 7000").await;
    let partitions = std::thread::available_parallelism().unwrap().get() as u64;
    assert!((2..=2 * partitions).contains(&opened) && opened + skipped == 8, "{opened} opened, {skipped} skipped");
    // A rare row: everything before it.
    assert_eq!(read(&lake, "SELECT n FROM events WHERE n % 40000 = 0 ORDER BY time DESC LIMIT 1").await[..2], [8, 0]);
}

#[tokio::test]
async fn no_segment_is_opened_while_the_tail_has_newer_rows() {
    let lake = eight_segments().await;
    lake.log_events(40_000, 40_003).await;
    // Three rows are not enough, ten are.
    check(&lake, "SELECT n FROM events ORDER BY time DESC LIMIT 5", [1, 1, 1]).await;
    lake.log_events(40_003, 40_010).await;
    check(&lake, "SELECT n FROM events ORDER BY time DESC LIMIT 5", [0, 0, 1]).await;
    // Below a filter too: it finds 2 of the 10 rows in the tail, and 5 of 1,000 in the first slice.
    let query = "SELECT * FROM events WHERE host = 'host-1' ORDER BY time DESC LIMIT";
    check(&lake, &format!("{query} 2"), [0, 0, 1]).await;
    check(&lake, &format!("{query} 7"), [1, 1, 1]).await;
    // A tail of 30,000 rows has several pieces, and the newest of 8,192 is enough.
    lake.log_events(40_010, 70_010).await;
    check(&lake, "SELECT * FROM events ORDER BY time DESC LIMIT 100", [0, 0, 1]).await;
}

#[tokio::test]
async fn rows_of_row_groups_that_are_not_wanted_are_not_decoded() {
    let lake = eight_segments().await;
    let query = "SELECT * FROM events ORDER BY time DESC LIMIT 5";
    check(&lake, query, [1, 1, 0]).await;
    let plan = lake.text(&format!("EXPLAIN ANALYZE {query}")).await;
    let scan = plan.lines().find(|line| line.contains("newest first")).unwrap_or_else(|| panic!("{plan}"));
    // The last row group of 1,000 rows of the last segment; one more for each partition that came too early.
    let partitions = std::thread::available_parallelism().unwrap().get();
    let decoded = |groups: usize| {
        scan.contains(&format!("output_rows={groups}.00 K")) || scan.contains(&format!("output_rows={groups}000"))
    };
    assert!((1..=partitions).any(decoded), "{scan}");
}

/// A generator of numbers, seeded.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// Rows of all kinds: times that are equal, in any order, NULLs.
fn random_rows(numbers: &mut Numbers, ids: Range<i64>, around: i64) -> RecordBatch {
    let ids: Vec<i64> = ids.collect();
    let times = ids.iter().map(|_| START_NS + (around + numbers.below(400) as i64) * SECOND_NS);
    let times: TimestampNanosecondArray = times.collect::<Vec<_>>().into();
    let hosts = ids.iter().map(|_| (!numbers.chance(20)).then(|| format!("host-{}", numbers.below(50))));
    let hosts: StringViewArray = hosts.collect::<Vec<_>>().into_iter().collect();
    let addresses = ids.iter().map(|id| Some(format!("10.0.0.{}", id % 250)));
    let columns_of: Vec<arrow::array::ArrayRef> = vec![
        Arc::new(times.with_timezone("UTC")),
        Arc::new(Int64Array::from(ids.clone())),
        Arc::new(hosts),
        Arc::new(addresses.collect::<StringViewArray>()),
    ];
    RecordBatch::try_new(arrow_schema(&columns()), columns_of).unwrap()
}

fn sorted_by_time(rows: &RecordBatch) -> RecordBatch {
    let indices: UInt32Array = sort_to_indices(rows.column(0), None, None).unwrap();
    take_record_batch(rows, &indices).unwrap()
}

/// A lake beside a plain list of its rows.
struct Pair {
    lake: Lake,
    numbers: Numbers,
    /// What is in the tail.
    tail: Vec<RecordBatch>,
    /// What is in segments, by path.
    segments: BTreeMap<String, RecordBatch>,
    next_id: i64,
}

impl Pair {
    /// Rows come, are committed, are merged, or end.
    async fn step(&mut self, step: i64) {
        match self.numbers.below(10) {
            0..=4 => {
                let count = 1 + self.numbers.below(700) as i64;
                let rows = random_rows(&mut self.numbers, self.next_id..self.next_id + count, step * 100);
                self.next_id += count;
                self.lake.log_rows(rows.clone()).await;
                self.tail.push(rows);
            }
            5..=7 if !self.tail.is_empty() => {
                let rows = concat_batches(self.tail[0].schema_ref(), &self.tail).unwrap();
                self.tail.clear();
                // Most files are sorted, as ours are.
                let rows = if self.numbers.chance(80) { sorted_by_time(&rows) } else { rows };
                let path = format!("main/events/{step}.parquet");
                self.lake.commit_rows(&path, &rows, self.lake.engine.tail().head()).await;
                self.segments.insert(path, rows);
            }
            8 if self.segments.len() >= 2 => {
                let paths: Vec<String> = self.segments.keys().take(2).cloned().collect();
                let parts: Vec<RecordBatch> = paths.iter().map(|path| self.segments.remove(path).unwrap()).collect();
                let rows = sorted_by_time(&concat_batches(parts[0].schema_ref(), &parts).unwrap());
                let path = format!("main/events/merged-{step}.parquet");
                self.lake.replace_segments(&paths, Some((&path, &rows))).await;
                self.segments.insert(path, rows);
            }
            9 if !self.segments.is_empty() => {
                let nth = self.numbers.below(self.segments.len() as u64) as usize;
                let path = self.segments.keys().nth(nth).unwrap().clone();
                self.segments.remove(&path);
                self.lake.replace_segments(&[path], None).await;
            }
            _ => {}
        }
    }

    fn random_query(&mut self) -> String {
        let host = self.numbers.below(50);
        let second = self.numbers.below(3_000);
        let predicates = [
            "true".to_owned(),
            format!("host = 'host-{host}'"),
            "host IS NULL".to_owned(),
            format!("n % {} = 0", 1 + self.numbers.below(600)),
            format!("host > 'host-{host}' AND address <> '10.0.0.7'"),
            format!("time < TIMESTAMP '2026-01-01T00:00:00Z' + INTERVAL '{second} seconds'"),
            format!("time >= TIMESTAMP '2026-01-01T00:00:00Z' + INTERVAL '{second} seconds' AND n > 50"),
        ];
        let columns = ["*", "n, time", "time, n, upper(host) AS loud", "time, n, address"];
        let predicate = &predicates[self.numbers.below(predicates.len() as u64) as usize];
        let columns = columns[self.numbers.below(columns.len() as u64) as usize];
        let limit = [1, 5, 100, 1_000][self.numbers.below(4) as usize];
        let offset = if self.numbers.chance(20) { " OFFSET 3" } else { "" };
        format!("SELECT {columns} FROM events WHERE {predicate} ORDER BY time DESC, n DESC LIMIT {limit}{offset}")
    }

    async fn compare(&mut self, queries: usize) {
        let oracle = SessionContext::new();
        let all: Vec<RecordBatch> = self.segments.values().chain(&self.tail).cloned().collect();
        let all = concat_batches(&arrow_schema(&columns()), &all).unwrap();
        oracle.register_batch("events", all).unwrap();
        let session = self.lake.session();
        for _ in 0..queries {
            let query = self.random_query();
            let expected = oracle.sql(&query).await.unwrap().collect().await.unwrap();
            let found = rows(&session, &query).await.unwrap_or_else(|error| panic!("{query}: {error:?}"));
            let text = |batches: &[RecordBatch]| -> Vec<String> {
                let full: Vec<RecordBatch> = batches.iter().filter(|batch| batch.num_rows() > 0).cloned().collect();
                let table = pretty_format_batches(&full).unwrap().to_string();
                table.lines().filter(|line| line.starts_with('|')).skip(1).map(str::to_owned).collect()
            };
            assert_eq!(text(&found), text(&expected), "{query}");
            // By the time alone, rows of equal time may come in any order, but the times are the same.
            let by_time = query.replace(", n DESC", "");
            let found = rows(&session, &by_time).await.unwrap_or_else(|error| panic!("{by_time}: {error:?}"));
            let times = |batches: &[RecordBatch]| -> Vec<i64> {
                let column = |batch: &RecordBatch| {
                    batch.column_by_name("time").unwrap().as_primitive::<TimestampNanosecondType>().values().to_vec()
                };
                batches.iter().flat_map(column).collect()
            };
            assert_eq!(times(&found), times(&expected), "{by_time}");
            let mut ids: Vec<i64> = found
                .iter()
                .flat_map(|batch| batch.column_by_name("n").unwrap().as_primitive::<Int64Type>().values().to_vec())
                .collect();
            let count = ids.len();
            ids.sort_unstable();
            ids.dedup();
            assert_eq!(ids.len(), count, "a row came twice: {by_time}");
        }
    }
}

#[tokio::test]
async fn the_newest_rows_are_those_of_a_sort_of_everything() {
    for seed in 1..=3 {
        let lake = Lake::start().await;
        let (tail, segments) = (Vec::new(), BTreeMap::new());
        let mut pair = Pair { lake, numbers: Numbers(seed * 7_919), tail, segments, next_id: 0 };
        for step in 0..30 {
            pair.step(step).await;
            if step % 3 == 2 {
                pair.compare(6).await;
            }
        }
    }
}
