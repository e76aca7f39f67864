//! The lake's promises, on both databases.

mod duckdb; // Another engine reads what we commit.
mod names; // Schemas, views and comments.
mod shapes; // Tables: what is there, and how it changes.

use std::time::Duration;

use probepilot_sql::SqlType;

use super::*;
use crate::database::parameters;
use crate::manifest::{Bound, ColumnBounds, NewSegment, SegmentCommit, SegmentReplace, Table, TableSettings};
use crate::table::{Column, TableDefinition, TableId, TableKind, TableName};
use crate::testing::{Place, on_both};

const HOUR_NS: i64 = 3_600_000_000_000;

fn definition(name: &str) -> TableDefinition {
    TableDefinition {
        name: TableName::public(name),
        kind: TableKind::Events,
        columns: vec![
            Column::new("time", SqlType::Timestamptz, false, "when it happened"),
            Column::new("pid", SqlType::Integer, false, "process"),
            Column::new("address", SqlType::Inet, true, "peer"),
        ],
        comment: Some("one row per event".into()),
    }
}

async fn lake_with_table(place: &Place) -> (Lake, Arc<Table>) {
    let lake = place.lake("/data/").await;
    let table = lake.create_table(definition("t"), TableSettings::default()).await.unwrap();
    (lake, table)
}

fn segment(table: &Table, file: &str, rows: u64, hour: i64) -> NewSegment {
    NewSegment {
        id: 0,
        path: format!("{}{file}", table.path),
        rows,
        bytes: rows * 10,
        footer_bytes: 100,
        time_min: hour * HOUR_NS,
        time_max: (hour + 1) * HOUR_NS - 1,
        level: 0,
        bounds: vec![
            ColumnBounds {
                column_id: table.column_ids[1],
                min: Some(Bound::Int(1)),
                max: Some(Bound::Int(9)),
                null_count: 0,
            },
            ColumnBounds {
                column_id: table.column_ids[2],
                min: Some(Bound::Text("10.0.0.1".into())),
                max: None,
                null_count: rows - 1,
            },
        ],
    }
}

fn commit_of(from: u64, to: u64, segments: Vec<(&Table, NewSegment)>) -> SegmentCommit {
    SegmentCommit {
        stream: "node".into(),
        from,
        to,
        segments: segments.into_iter().map(|(table, segment)| (table.id, segment)).collect(),
        producers: vec![("node".into(), 7, to)],
    }
}

fn paths(manifest: &Manifest, table: TableId) -> Vec<&str> {
    manifest.table(table).unwrap().segments.iter().map(|segment| segment.path.as_str()).collect()
}

/// One number out of the database, past everything that is under test.
async fn number(lake: &Lake, query: &str) -> i64 {
    let mut transaction = lake.inner.database.read("look").await.unwrap();
    transaction.row(query, vec![]).await.unwrap().unwrap().get(0).unwrap()
}

async fn execute(lake: &Lake, statement: &str) {
    let mut transaction = lake.inner.database.write("meddle", TURNSTILE).await.unwrap();
    transaction.execute(statement, vec![]).await.unwrap();
    transaction.commit().await.unwrap();
}

#[test]
fn what_is_committed_is_there_after_opening_again() {
    on_both(async |place| {
        let (lake, table) = lake_with_table(&place).await;
        let mut watch = lake.watch();
        let first = segment(&table, "a.parquet", 3, 1);
        let second = segment(&table, "b.parquet", 4, 2);
        let manifest = lake.commit(commit_of(0, 5, vec![(&table, first.clone()), (&table, second)])).await.unwrap();
        assert_eq!(manifest.committed("node"), 5);
        assert_eq!(lake.high_water("node", 7).await.unwrap(), 5);
        assert_eq!(lake.high_water("node", 8).await.unwrap(), 0);
        assert_eq!(*watch.borrow_and_update(), manifest);
        lake.close().await;

        let again = place.lake("/data/").await.manifest();
        assert_eq!(again, manifest);
        // Newest first.
        assert_eq!(paths(&again, table.id), ["main/t/b.parquet", "main/t/a.parquet"]);
        let stored = &again.table(table.id).unwrap().segments[1];
        assert_eq!(*stored, NewSegment { id: stored.id, ..first });
    });
}

#[test]
fn a_commit_that_lost_the_race_stores_nothing() {
    on_both(async |place| {
        let (lake, table) = lake_with_table(&place).await;
        let other = place.lake("/data/").await;
        other.commit(commit_of(0, 5, vec![(&table, segment(&table, "a.parquet", 3, 1))])).await.unwrap();
        let lost = lake.commit(commit_of(0, 6, vec![(&table, segment(&table, "b.parquet", 3, 1))])).await;
        assert!(
            matches!(&lost, Err(CatalogError::WatermarkMoved { expected: 0, found: 5, .. })),
            "{:?}",
            lost.map(|manifest| manifest.snapshot)
        );
        // It knows now what the other did.
        assert_eq!(paths(&lake.manifest(), table.id), ["main/t/a.parquet"]);
        assert_eq!(number(&lake, "SELECT COUNT(*) FROM ducklake_data_file").await, 1);
        assert_eq!(number(&lake, "SELECT COUNT(*) FROM ducklake_file_column_stats").await, 2);
    });
}

#[test]
fn a_commit_repeated_because_its_outcome_was_unknown_counts_once() {
    on_both(async |place| {
        let (lake, table) = lake_with_table(&place).await;
        let commit = commit_of(0, 5, vec![(&table, segment(&table, "a.parquet", 3, 1))]);
        lake.commit(commit.clone()).await.unwrap();
        let again = lake.commit(commit).await.unwrap();
        assert_eq!(paths(&again, table.id), ["main/t/a.parquet"]);
        let other_file = commit_of(0, 5, vec![(&table, segment(&table, "b.parquet", 3, 1))]);
        assert!(matches!(lake.commit(other_file).await, Err(CatalogError::WatermarkMoved { .. })));
    });
}

#[test]
fn two_committers_at_once_store_every_range_once() {
    const RANGES: u64 = 12;
    on_both(async |place| {
        let (first, table) = lake_with_table(&place).await;
        let second = place.lake("/data/").await;
        let run = async |lake: &Lake, name: &str| {
            let mut won = 0;
            loop {
                let from = lake.manifest().committed("node");
                if from == RANGES {
                    return won;
                }
                let file = segment(&table, &format!("{name}-{from}.parquet"), 1, 1);
                match lake.commit(commit_of(from, from + 1, vec![(&table, file)])).await {
                    Ok(_) => won += 1,
                    Err(CatalogError::WatermarkMoved { .. }) => {}
                    Err(error) => panic!("{error:?}"),
                }
            }
        };
        let (left, right) = tokio::join!(run(&first, "left"), run(&second, "right"));
        assert_eq!(left + right, RANGES);
        let whole = place.lake("/data/").await.manifest();
        assert_eq!(whole.table(table.id).unwrap().segments.len() as u64, RANGES);
        // What each learnt by difference is what is there.
        assert_eq!(first.refresh().await.unwrap(), whole);
        assert_eq!(second.refresh().await.unwrap(), whole);
        assert_eq!(number(&first, "SELECT next_row_id FROM ducklake_table_stats").await.cast_unsigned(), RANGES);
    });
}

#[test]
fn a_commit_cut_short_anywhere_is_whole_or_not_there() {
    on_both(async |place| {
        let (lake, table) = lake_with_table(&place).await;
        let mut from = 0;
        for attempt in 0..40_u64 {
            let file = segment(&table, &format!("{attempt}.parquet"), 1, 1);
            let commit = lake.commit(commit_of(from, from + 1, vec![(&table, file)]));
            let _ = tokio::time::timeout(Duration::from_micros(attempt * 150), commit).await;
            // A commit that was sent may still be under way; whoever has the next turn comes after it.
            drop(lake.inner.database.write("wait for a turn", TURNSTILE).await.unwrap());
            let manifest = lake.refresh().await.unwrap();
            let segments = manifest.table(table.id).unwrap().segments.len() as u64;
            assert_eq!(manifest.committed("node"), segments, "after attempt {attempt}");
            assert_eq!(lake.high_water("node", 7).await.unwrap(), segments);
            from = segments;
        }
        assert!(from > 0, "the later attempts have time enough");
    });
}

#[test]
fn readers_see_files_and_watermark_of_one_commit() {
    on_both(async |place| {
        let (lake, table) = lake_with_table(&place).await;
        let reader = place.lake("/data/").await;
        let done = AtomicBool::new(false);
        let read = async {
            let mut states = 0;
            while !done.load(Ordering::Relaxed) {
                let manifest = reader.refresh().await.unwrap();
                assert_eq!(manifest.table(table.id).unwrap().segments.len() as u64, manifest.committed("node"));
                states += 1;
            }
            states
        };
        let write = async {
            for from in 0..20 {
                let file = segment(&table, &format!("{from}.parquet"), 1, 1);
                lake.commit(commit_of(from, from + 1, vec![(&table, file)])).await.unwrap();
            }
            done.store(true, Ordering::Relaxed);
        };
        let (states, ()) = tokio::join!(read, write);
        assert!(states > 1);
    });
}

#[test]
fn merged_segments_take_the_place_of_others_once() {
    on_both(async |place| {
        let (lake, table) = lake_with_table(&place).await;
        let files = ["a", "b", "c"].map(|file| (&*table, segment(&table, &format!("{file}.parquet"), 2, 1)));
        let manifest = lake.commit(commit_of(0, 5, files.into())).await.unwrap();
        let ids: Vec<i64> = manifest.table(table.id).unwrap().segments.iter().map(|segment| segment.id).collect();

        let merged = NewSegment { level: 1, ..segment(&table, "abc.parquet", 6, 1) };
        let replace = SegmentReplace { table: table.id, ended: ids.clone(), with: vec![merged] };
        let manifest = lake.replace(replace.clone()).await.unwrap();
        assert_eq!(paths(&manifest, table.id), ["main/t/abc.parquet"]);
        assert_eq!(manifest.table(table.id).unwrap().segments[0].level, 1);
        let conflict = lake.replace(replace).await;
        assert!(matches!(conflict, Err(CatalogError::SegmentNotLive { segment, .. }) if ids.contains(&segment)));
        assert_eq!(number(&lake, "SELECT record_count FROM ducklake_table_stats").await, 6);
        assert_eq!(number(&lake, "SELECT next_row_id FROM ducklake_table_stats").await, 12);

        let ended = vec![manifest.table(table.id).unwrap().segments[0].id];
        let manifest = lake.replace(SegmentReplace { table: table.id, ended, with: vec![] }).await.unwrap();
        assert!(paths(&manifest, table.id).is_empty());
        assert_eq!(manifest.committed("node"), 5);
        assert_eq!(number(&lake, "SELECT file_size_bytes FROM ducklake_table_stats").await, 0);
    });
}

#[test]
fn files_are_given_up_once_no_snapshot_holds_them() {
    on_both(async |place| {
        let (lake, table) = lake_with_table(&place).await;
        let stale = place.lake("/data/").await;
        let manifest = lake.commit(commit_of(0, 5, vec![(&table, segment(&table, "a.parquet", 2, 1))])).await.unwrap();
        stale.refresh().await.unwrap();
        let ended = vec![manifest.table(table.id).unwrap().segments[0].id];
        let with = vec![segment(&table, "b.parquet", 2, 1)];
        lake.replace(SegmentReplace { table: table.id, ended, with }).await.unwrap();
        lake.commit(commit_of(5, 6, vec![])).await.unwrap();

        let day = Duration::from_secs(86_400);
        assert_eq!(lake.expire(day, Duration::ZERO).await.unwrap(), []);
        assert_eq!(lake.expire(Duration::ZERO, day).await.unwrap(), []);
        let dead = lake.expire(Duration::ZERO, Duration::ZERO).await.unwrap();
        assert_eq!(dead.iter().map(|file| file.path.as_str()).collect::<Vec<_>>(), ["main/t/a.parquet"]);
        lake.forget(&[dead[0].id]).await.unwrap();
        assert_eq!(lake.expire(Duration::ZERO, Duration::ZERO).await.unwrap(), []);
        assert_eq!(number(&lake, "SELECT COUNT(*) FROM ducklake_snapshot").await, 1);
        assert_eq!(number(&lake, "SELECT COUNT(*) FROM ducklake_file_column_stats").await, 2);

        // The row that said "a ended" is gone, and yet it is not live to one who looked away meanwhile.
        let whole = place.lake("/data/").await.manifest();
        assert_eq!(stale.refresh().await.unwrap(), whole);
        assert_eq!(paths(&whole, table.id), ["main/t/b.parquet"]);

        lake.drop_table(table.id).await.unwrap();
        let dead = lake.expire(Duration::ZERO, Duration::ZERO).await.unwrap();
        assert_eq!(dead.iter().map(|file| file.path.as_str()).collect::<Vec<_>>(), ["main/t/b.parquet"]);
        for empty in
            ["ducklake_table", "ducklake_column", "ducklake_table_stats", "pp_table", "pp_column", "pp_file_ext"]
        {
            assert_eq!(number(&lake, &format!("SELECT COUNT(*) FROM {empty}")).await, 0, "{empty}");
        }
    });
}

#[test]
fn epochs_of_a_producer_are_remembered_in_bounded_number() {
    on_both(async |place| {
        let lake = place.lake("/data/").await;
        for epoch in 1..=20 {
            let commit =
                SegmentCommit { producers: vec![("p".into(), epoch, 3)], ..commit_of(epoch - 1, epoch, vec![]) };
            lake.commit(commit).await.unwrap();
        }
        assert_eq!(lake.high_water("p", 20).await.unwrap(), 3);
        assert_eq!(lake.high_water("p", 5).await.unwrap(), 3);
        assert_eq!(lake.high_water("p", 4).await.unwrap(), 0);
        assert_eq!(number(&lake, "SELECT COUNT(*) FROM pp_producer").await, 16);
    });
}

#[test]
fn rows_that_another_program_hid_are_an_error_that_names_the_snapshot() {
    on_both(async |place| {
        let (lake, table) = lake_with_table(&place).await;
        let from = lake.manifest();
        execute(
            &lake,
            "INSERT INTO ducklake_snapshot SELECT snapshot_id + 1, snapshot_time, schema_version,
            next_catalog_id, next_file_id FROM ducklake_snapshot WHERE snapshot_id = 1",
        )
        .await;
        execute(
            &lake,
            "CREATE TABLE ducklake_inlined_data_1_1 (row_id BIGINT, begin_snapshot BIGINT,
            end_snapshot BIGINT)",
        )
        .await;
        execute(&lake, "INSERT INTO ducklake_inlined_data_tables VALUES (1, 'ducklake_inlined_data_1_1', 1)").await;
        lake.refresh().await.unwrap();
        execute(&lake, "INSERT INTO ducklake_inlined_data_1_1 VALUES (0, 2, NULL)").await;
        let commit = commit_of(0, 1, vec![(&table, segment(&table, "a.parquet", 1, 1))]);
        let refused = lake.commit(commit).await;
        assert!(matches!(refused, Err(CatalogError::ForeignRows { snapshot: 2, .. })));
        assert_eq!(lake.manifest().committed("node"), from.committed("node"));
        execute(&lake, "DELETE FROM ducklake_inlined_data_1_1").await;
        execute(&lake, "INSERT INTO ducklake_delete_file (delete_file_id, table_id, begin_snapshot) VALUES (0, 1, 2)")
            .await;
        assert!(matches!(lake.expire(Duration::MAX, Duration::MAX).await, Ok(dead) if dead.is_empty()));
        let dropped = lake.drop_table(table.id).await;
        assert!(matches!(dropped, Err(CatalogError::ForeignRows { snapshot: 2, .. })));
    });
}

#[test]
fn another_version_of_ducklake_is_refused_and_left_alone() {
    on_both(async |place| {
        let lake = place.lake("/data/").await;
        execute(&lake, "UPDATE ducklake_metadata SET value = '1.1-dev1' WHERE key = 'version'").await;
        lake.close().await;
        let opened = match &place {
            Place::Sqlite(folder) => Lake::open_sqlite(&folder.join("catalog.sqlite"), "/elsewhere/").await,
            Place::Postgres { url, .. } => Lake::open_postgres(url, "lake", "/elsewhere/").await,
        };
        assert!(matches!(opened.map(|_| ()), Err(CatalogError::ForeignVersion { found }) if found == "1.1-dev1"));
    });
}

#[test]
fn a_folder_that_moved_is_found_at_its_new_place() {
    on_both(async |place| {
        let (lake, table) = lake_with_table(&place).await;
        lake.commit(commit_of(0, 5, vec![(&table, segment(&table, "a.parquet", 3, 1))])).await.unwrap();
        lake.close().await;
        let moved = place.lake("/moved/").await;
        let mut transaction = moved.inner.database.read("look").await.unwrap();
        let query = "SELECT value FROM ducklake_metadata WHERE key = $1";
        let stored = transaction.row(query, parameters!["data_path"]).await.unwrap().unwrap();
        assert_eq!(stored.get::<String>(0).unwrap(), "/moved/");
        assert_eq!(paths(&moved.manifest(), table.id), ["main/t/a.parquet"]);
    });
}

#[tokio::test]
async fn the_file_may_be_read_by_a_group_and_paths_must_be_absolute() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("catalog.sqlite");
    let lake = Lake::open_sqlite(&path, "/data/").await.unwrap();
    for file in ["catalog.sqlite", "catalog.sqlite-wal", "catalog.sqlite-shm"] {
        let mode = std::fs::metadata(folder.path().join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o640, "{file}");
    }
    lake.close().await;
    for data_path in ["data/", "/data", ""] {
        assert!(matches!(Lake::open_sqlite(&path, data_path).await, Err(CatalogError::Unusable(_))), "{data_path}");
    }
}

#[tokio::test]
async fn what_a_slow_reader_made_grow_shrinks_after_it() {
    let folder = tempfile::tempdir().unwrap();
    let place = Place::Sqlite(folder.path().to_owned());
    let lake = place.lake("/data/").await;
    let mut reader = lake.inner.database.read("hold a state").await.unwrap();
    reader.row("SELECT COUNT(*) FROM ducklake_snapshot", vec![]).await.unwrap();
    // Long comments make a journal of 24 MiB of few commits.
    for table in 0..12 {
        let wordy = TableDefinition { comment: Some("x".repeat(2 << 20)), ..definition(&format!("t{table}")) };
        lake.create_table(wordy, TableSettings::default()).await.unwrap();
    }
    assert!(lake.journal_bytes() > 20 << 20, "{}", lake.journal_bytes());
    drop(reader);
    for from in 0..20 {
        lake.commit(commit_of(from, from + 1, vec![])).await.unwrap();
    }
    assert!(lake.journal_bytes() <= 16 << 20, "{}", lake.journal_bytes());
}

#[test]
fn after_a_broken_connection_the_catalog_is_asked_whether_the_commit_was_stored() {
    on_both(async |place| {
        let Place::Postgres { .. } = &place else { return };
        let (lake, table) = lake_with_table(&place).await;
        let broken = async |extra: &str| {
            let mut transaction = lake.inner.database.write("commit", TURNSTILE).await.unwrap();
            let change = change::Change::begin(&mut transaction).await.unwrap();
            change.finish(&mut transaction, Some(extra)).await.unwrap();
            let backend = transaction.row("SELECT pg_backend_pid()", vec![]).await.unwrap().unwrap();
            let backend: i32 = backend.get(0).unwrap();
            let terminate = format!("SELECT pg_terminate_backend({backend}, 10000)::INT::BIGINT");
            assert_eq!(number(&lake, &terminate).await, 1);
            lake.finish(transaction, extra).await
        };
        let before = lake.manifest().snapshot;
        assert!(matches!(broken("lost").await, Err(CatalogError::Database { .. })));
        assert_eq!(lake.refresh().await.unwrap().snapshot, before);

        // As if the answer to COMMIT had been lost, and not the COMMIT: a snapshot with this text is there.
        execute(&lake, "UPDATE ducklake_snapshot_changes SET commit_extra_info = 'stored' WHERE snapshot_id = 1").await;
        assert_eq!(broken("stored").await.unwrap().snapshot, before);
        lake.commit(commit_of(0, 1, vec![(&table, segment(&table, "a.parquet", 1, 1))])).await.unwrap();
    });
}
