//! Rows of segments and tail: each exactly once, pruned, in order, while they move.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::{Lake, rows, text};
use object_store::ObjectStoreExt;
use object_store::path::Path;

#[tokio::test]
async fn rows_of_tail_and_segments_are_one_table() {
    let lake = Lake::start().await;
    let committed = lake.log_events(0, 100).await;
    lake.commit_events(0, 100, committed).await;
    lake.log_events(100, 150).await;
    assert_eq!(lake.value("SELECT count(*) FROM events").await, "150");
    assert_eq!(lake.value("SELECT sum(n) FROM public.events").await, (149 * 150 / 2).to_string());
    assert_eq!(lake.value("SELECT max(time) FROM events").await, "2026-01-01T00:02:29Z");
    assert_eq!(lake.value("SELECT min(time) FROM probepilot.public.events").await, "2026-01-01T00:00:00Z");
    assert_eq!(lake.value("SELECT count(host) FROM events WHERE n >= 95 AND n < 105").await, "9");
}

#[tokio::test]
async fn the_newest_rows_come_first() {
    let lake = Lake::start().await;
    for (part, committed) in (0..8).zip(1..) {
        lake.log_events(part * 1_000, (part + 1) * 1_000).await;
        lake.commit_events(part * 1_000, (part + 1) * 1_000, committed).await;
    }
    lake.log_events(8_000, 8_003).await;
    let shown = lake.text("SELECT n FROM events ORDER BY time DESC LIMIT 5").await;
    let numbers: Vec<&str> =
        shown.lines().filter_map(|line| line.trim_matches(['|', ' ']).parse::<i64>().ok().map(|_| line)).collect();
    assert_eq!(numbers.len(), 5);
    assert!(shown.contains("8002") && shown.contains("7998"), "{shown}");
}

#[tokio::test]
async fn every_row_is_seen_exactly_once_while_rows_move() {
    let lake = Arc::new(Lake::start().await);
    let done = Arc::new(AtomicBool::new(false));
    let writer = {
        let (lake, done) = (Arc::clone(&lake), Arc::clone(&done));
        tokio::spawn(async move {
            for part in 0..45 {
                let sequence = lake.log_events(part * 20, (part + 1) * 20).await;
                if part % 3 == 2 {
                    lake.commit_events((part - 2) * 20, (part + 1) * 20, sequence).await;
                }
            }
            done.store(true, Ordering::Release);
        })
    };
    let session = lake.session();
    let mut seen = 0;
    loop {
        let last = done.load(Ordering::Acquire);
        // Rows are numbered without gaps: a lost or doubled one shows in any of the three.
        let line = text(&session, "SELECT count(*), count(DISTINCT n), coalesce(max(n), -1) + 1 FROM events").await;
        let numbers: Vec<i64> =
            line.lines().nth(3).unwrap().split('|').filter_map(|cell| cell.trim().parse().ok()).collect();
        assert_eq!(numbers[0], numbers[1], "{line}");
        assert_eq!(numbers[0], numbers[2], "{line}");
        assert!(numbers[0] >= seen, "{line} after {seen}");
        seen = numbers[0];
        if last {
            break;
        }
    }
    writer.await.unwrap();
    assert_eq!(seen, 900);
}

#[tokio::test]
async fn all_scans_of_a_statement_see_the_same_rows() {
    let lake = Arc::new(Lake::start().await);
    lake.log_events(0, 10).await;
    let session = lake.session();
    let stream =
        session.query("SELECT (SELECT count(*) FROM events) - (SELECT count(*) FROM events AS again)").await.unwrap();
    lake.log_events(10, 20).await;
    let batches: Vec<_> = futures::TryStreamExt::try_collect(stream.batches).await.unwrap();
    assert_eq!(arrow::util::display::array_value_to_string(batches[0].column(0), 0).unwrap(), "0");
}

#[tokio::test]
async fn segments_are_pruned_by_the_manifest() {
    let lake = Lake::start().await;
    for part in 0..10 {
        let sequence = lake.log_events(part * 100, (part + 1) * 100).await;
        lake.commit_events(part * 100, (part + 1) * 100, sequence).await;
    }
    for (predicate, expected) in [
        ("time >= '2026-01-01T00:15:00Z'", vec!["900-1000"]),
        ("time < '2026-01-01T00:01:40Z'", vec!["0-100"]),
        ("n = 450", vec!["400-500"]),
        ("n IN (5, 999)", vec!["0-100", "900-1000"]),
        ("time > '2027-01-01'", vec![]),
    ] {
        let plan = lake.text(&format!("EXPLAIN SELECT n, host FROM events WHERE {predicate}")).await;
        let mut files: Vec<String> = plan
            .split("main/events/")
            .skip(1)
            .filter_map(|rest| rest.split(".parquet").next().map(str::to_owned))
            .collect();
        files.sort();
        assert_eq!(files, expected, "{predicate}\n{plan}");
    }
}

#[tokio::test]
async fn the_order_reaches_segments_beside_a_tail() {
    let lake = Lake::start().await;
    for part in 0..3 {
        let sequence = lake.log_events(part * 5_000, (part + 1) * 5_000).await;
        lake.commit_events(part * 5_000, (part + 1) * 5_000, sequence).await;
    }
    lake.log_events(15_000, 15_010).await;
    let plan = lake.text("EXPLAIN SELECT n FROM events ORDER BY time DESC LIMIT 5").await;
    assert!(plan.contains("newest first, tail_rows=10, segments=3"), "{plan}");
    let plan = lake.text("EXPLAIN SELECT count(*) FROM events").await;
    assert!(!plan.contains("DataSourceExec"), "count(*) reads nothing:\n{plan}");
    let plan = lake.text("EXPLAIN SELECT max(time) FROM events").await;
    assert!(!plan.contains("DataSourceExec"), "max(time) reads nothing:\n{plan}");
}

#[tokio::test]
async fn a_missing_segment_is_named_and_other_tables_go_on() {
    let lake = Lake::start().await;
    let sequence = lake.log_events(0, 100).await;
    let path = lake.commit_events(0, 100, sequence).await;
    lake.store.delete(&Path::from(path.as_str())).await.unwrap();
    let error = lake.error("SELECT sum(n) FROM events").await;
    assert_eq!(error.state.0, "XX001", "{error:?}");
    assert!(error.message.contains(&path), "{error:?}");
    assert_eq!(lake.value("SELECT count(*) FROM system.segments").await, "1");
}

#[tokio::test]
async fn a_damaged_segment_is_an_error_never_wrong_rows() {
    let lake = Lake::start().await;
    let sequence = lake.log_events(0, 5_000).await;
    let path = Path::from(lake.commit_events(0, 5_000, sequence).await.as_str());
    let whole = lake.store.get(&path).await.unwrap().bytes().await.unwrap();
    // A cut file, and a footer that is no footer.
    for damaged in [whole[..whole.len() / 2].to_vec(), [&whole[..whole.len() - 200], &[7; 200][..]].concat()] {
        lake.store.put(&path, damaged.into()).await.unwrap();
        let error = match rows(&lake.session(), "SELECT sum(n), max(host) FROM events").await {
            Err(error) => error,
            Ok(rows) => panic!("{rows:?}"),
        };
        assert!(error.message.contains("main/events/0-5000.parquet"), "{error:?}");
    }
}

#[tokio::test]
async fn a_column_added_later_is_null_in_older_rows() {
    use probepilot_catalog::manifest::{Manifest, Table};
    use probepilot_catalog::table::{Column, TableName, arrow_schema};
    let lake = Lake::start().await;
    let sequence = lake.log_events(0, 10).await;
    lake.commit_events(0, 10, sequence).await;
    lake.log_events(10, 15).await;
    lake.manifest.send_modify(|manifest| {
        let mut next = Manifest::clone(manifest);
        let name = TableName::public("events");
        let mut table = Table::clone(&next.tables[&name]);
        table.definition.columns.push(Column::new("added", probepilot_sql::SqlType::Integer, true, "later"));
        table.schema = arrow_schema(&table.definition.columns);
        table.column_ids.push(9);
        next.tables.insert(name, Arc::new(table));
        *manifest = Arc::new(next);
    });
    assert_eq!(lake.value("SELECT count(*) FROM events WHERE added IS NULL").await, "15");
}
