//! From an envelope to committed Parquet, on real files and a real manifest.

mod common;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::{DataType, TimeUnit};
use common::{House, envelope, until};
use futures::TryStreamExt;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{LogicalType, TimeUnit as ParquetUnit};
use probepilot_catalog::batch::{Durability, LOCAL_STREAM};
use probepilot_catalog::manifest::{Bound, TableSettings};
use probepilot_catalog::ports::Rows;
use probepilot_collector::merge::{self, MergeOptions};
use probepilot_collector::source::Source;
use probepilot_collector::writer::Writer;
use probepilot_sql::error::SqlState;
use tokio::sync::Semaphore;

const ROWS: u64 = 500;

async fn append(writer: &Writer, house: &House, source: Source, numbers: std::ops::RangeInclusive<u64>) {
    let table = house.table("events").await;
    for number in numbers {
        writer.append(envelope(&table, source, number, ROWS), Durability::Process).await.expect("there is room");
    }
}

fn numbers(envelopes: u64) -> Vec<u64> {
    (0..envelopes * ROWS).collect()
}

#[tokio::test]
async fn a_checkpoint_commits_every_row_with_the_layout_other_engines_expect() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::open(folder.path()).await;
    let table = house.table("events").await;
    let source = Source::new(1);
    let writer = Writer::start(house.options()).await.unwrap();
    append(&writer, &house, source, 1..=20).await;
    let snapshot = writer.checkpoint().await.unwrap();
    assert_eq!(house.lake.manifest().snapshot, snapshot);
    assert_eq!(house.lake.manifest().committed(LOCAL_STREAM), 20);
    assert_eq!(house.check_rows("events", source), numbers(20));

    let segments = house.segments("events");
    assert_eq!(segments.len(), 2, "the source starts three rows before the hour");
    for segment in &segments {
        assert!(segment.path.starts_with(&table.path), "{}", segment.path);
        let file = fs::File::open(house.file(segment)).unwrap();
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
        let utc = DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()));
        assert_eq!(reader.schema().field(0).data_type(), &utc);
        let columns = reader.parquet_schema().columns();
        let time = columns[0].logical_type_ref().cloned();
        assert_eq!(time, Some(LogicalType::timestamp(false, ParquetUnit::NANOS)), "others keep nanoseconds");
        let ids: Vec<i64> = columns.iter().map(|column| column.self_type().get_basic_info().id().into()).collect();
        assert_eq!(ids, table.column_ids);
        let sorting = reader.metadata().row_group(0).sorting_columns().expect("it says how it is sorted");
        assert_eq!((sorting[0].column_idx, sorting[0].descending), (0, false));
        let bytes = fs::read(house.file(segment)).unwrap();
        let footer = u32::from_le_bytes(bytes[bytes.len() - 8..bytes.len() - 4].try_into().unwrap());
        assert_eq!(segment.footer_bytes, u64::from(footer));
        assert_eq!(segment.bounds[0].min, Some(Bound::Int(segment.time_min)));
    }
    let bound = |column: usize, max: bool| {
        let bounds = segments.iter().map(|segment| &segment.bounds[column]);
        let bounds = bounds.filter_map(|bounds| if max { bounds.max.clone() } else { bounds.min.clone() });
        bounds.reduce(|a, b| if (b > a) == max { b } else { a })
    };
    assert_eq!((bound(1, false), bound(1, true)), (Some(Bound::Int(0)), Some(Bound::Int(20 * ROWS as i64 - 1))));
    let texts: Vec<String> = (0..20 * ROWS).map(|n| source.text(n)).collect();
    assert_eq!(bound(2, false), texts.iter().min().cloned().map(Bound::Text));
    assert_eq!(bound(2, true), texts.iter().max().cloned().map(Bound::Text));
    let nulls: u64 = segments.iter().map(|segment| segment.bounds[3].null_count).sum();
    assert_eq!(nulls, (0..20 * ROWS).filter(|n| n % 7 == 0).count() as u64);
    writer.shutdown().await;
}

#[tokio::test]
async fn shutdown_stores_what_is_left_and_empties_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::open(folder.path()).await;
    let source = Source::new(2);
    let writer = Writer::start(house.options()).await.unwrap();
    append(&writer, &house, source, 1..=5).await;
    writer.shutdown().await;
    assert_eq!(house.check_rows("events", source), numbers(5));
    assert_eq!(fs::read_dir(folder.path().join("log")).unwrap().count(), 0);
    let table = house.table("events").await;
    let error = writer.append(envelope(&table, source, 6, ROWS), Durability::Sync).await.unwrap_err();
    assert_eq!(error.state, SqlState::ADMIN_SHUTDOWN);
}

#[tokio::test]
async fn what_was_only_in_the_log_is_stored_after_a_start_and_a_repeat_is_not_stored_twice() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::open(folder.path()).await;
    let source = Source::new(3);
    let writer = Writer::start(house.options()).await.unwrap();
    append(&writer, &house, source, 1..=5).await;
    writer.checkpoint().await.unwrap();
    append(&writer, &house, source, 6..=9).await;
    drop(writer);
    let writer = Writer::start(house.options()).await.unwrap();
    append(&writer, &house, source, 4..=12).await;
    assert_eq!(writer.head(), 12, "4 to 9 were known, by the catalog or the log");
    writer.checkpoint().await.unwrap();
    assert_eq!(house.check_rows("events", source), numbers(12));
    writer.shutdown().await;
}

#[tokio::test]
async fn segments_are_cut_by_size_and_by_time_while_a_subscriber_follows() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::open(folder.path()).await;
    let source = Source::new(4);
    let mut options = house.options();
    options.segments.cut_bytes = 200_000;
    options.segments.cut_after = Duration::from_millis(300);
    let writer = Writer::start(options).await.unwrap();
    let mut entries = writer.subscribe(0, Arc::new(Semaphore::new(1 << 30)));
    append(&writer, &house, source, 1..=60).await;
    for sequence in 1..=60 {
        assert_eq!(entries.try_next().await.unwrap().expect("the log is open").sequence, sequence);
    }
    until("every row is committed without being asked", || house.lake.manifest().committed(LOCAL_STREAM) == 60).await;
    assert!(house.segments("events").len() > 2);
    assert_eq!(house.check_rows("events", source), numbers(60));
    writer.shutdown().await;
}

#[tokio::test]
async fn a_large_envelope_behind_small_ones_is_cut_with_them_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::open(folder.path()).await;
    let table = house.table("events").await;
    let source = Source::new(40);
    let large_envelope = envelope(&table, source, 6, 20 * ROWS);
    let mut options = house.options();
    // The small ones are not enough for a segment, and what they leave of the credit is too little for the large one.
    options.segments.cut_bytes = large_envelope.memory_bytes() / 3;
    options.segments.cut_after = Duration::from_secs(3_600);
    let writer = Writer::start(options).await.unwrap();
    append(&writer, &house, source, 1..=5).await;
    writer.append(large_envelope, Durability::Process).await.unwrap();
    until("every row is committed without being asked", || house.lake.manifest().committed(LOCAL_STREAM) == 6).await;
    writer.shutdown().await;
}

#[tokio::test]
async fn nothing_is_lost_while_the_object_store_is_down() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::open(folder.path()).await;
    let source = Source::new(5);
    // A file where the folder should be: nothing can be put below it.
    let in_the_way = folder.path().join("data/main");
    fs::write(&in_the_way, "").unwrap();
    let writer = Writer::start(house.options()).await.unwrap();
    append(&writer, &house, source, 1..=5).await;
    let error = writer.checkpoint().await.unwrap_err();
    assert_eq!(error.state, SqlState::IO_ERROR);
    append(&writer, &house, source, 6..=8).await;
    assert_eq!(house.segments("events"), []);
    fs::remove_file(&in_the_way).unwrap();
    until("it goes on by itself", || house.lake.manifest().committed(LOCAL_STREAM) >= 5).await;
    writer.checkpoint().await.unwrap();
    assert_eq!(house.check_rows("events", source), numbers(8));
    writer.shutdown().await;
}

#[tokio::test]
async fn rows_of_a_dropped_table_are_counted_and_those_of_others_stored() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::open(folder.path()).await;
    let source = Source::new(6);
    let writer = Writer::start(house.options()).await.unwrap();
    let doomed = house.table("doomed").await;
    let mut doomed_rows = envelope(&doomed, source, 1, 77);
    doomed_rows.producer = "client".into();
    writer.append(doomed_rows, Durability::Sync).await.unwrap();
    append(&writer, &house, source, 1..=2).await;
    house.lake.drop_table(doomed.id).await.unwrap();
    writer.checkpoint().await.unwrap();
    assert_eq!(house.check_rows("events", source), numbers(2));
    let lost: u64 = writer.status().rows_lost.iter().map(|(_, rows)| rows).sum();
    assert_eq!(lost, 77);
    writer.shutdown().await;
}

#[tokio::test]
async fn a_column_added_meanwhile_is_null_in_rows_from_before() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::open(folder.path()).await;
    let source = Source::new(7);
    let writer = Writer::start(house.options()).await.unwrap();
    append(&writer, &house, source, 1..=2).await;
    let table = house.table("events").await;
    let added = probepilot_catalog::table::Column::new("more", probepilot_sql::SqlType::Text, true, "more of it");
    house.lake.add_columns(table.id, vec![added]).await.unwrap();
    writer.checkpoint().await.unwrap();
    let segments = house.segments("events");
    let batch = &house.read(&segments[0])[0];
    assert_eq!(batch.column_by_name("more").unwrap().null_count(), batch.num_rows());
    assert_eq!(house.check_rows("events", source), numbers(2));
    writer.shutdown().await;
}

#[tokio::test]
async fn of_two_committers_each_row_is_stored_once() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::open(folder.path()).await;
    let source = Source::new(8);
    let first = Writer::start(house.options()).await.unwrap();
    append(&first, &house, source, 1..=6).await;
    // The same log seen twice, as if the first server were thought dead and is not.
    copy_folder(&folder.path().join("log"), &folder.path().join("other-log"));
    let mut options = house.options();
    options.log.directory = folder.path().join("other-log");
    let second = Writer::start(options).await.unwrap();
    let (one, other) = tokio::join!(first.checkpoint(), second.checkpoint());
    one.unwrap();
    other.unwrap();
    assert_eq!(house.check_rows("events", source), numbers(6));
    first.shutdown().await;
    second.shutdown().await;
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[tokio::test]
async fn closed_hours_and_days_are_merged_and_keep_their_rows() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::open(folder.path()).await;
    let mut source = Source::new(9);
    source.step_ns = 8_000_000_000;
    let writer = Writer::start(house.options()).await.unwrap();
    for number in 1..=10 {
        append(&writer, &house, source, number..=number).await;
        writer.checkpoint().await.unwrap();
    }
    let before = house.segments("events");
    let options = MergeOptions { closed_after: Duration::ZERO, segments_max: 3, ..MergeOptions::default() };
    merge::merge_all(&house.lake, &house.store, options).await;
    let hours = house.segments("events");
    assert!(hours.len() < before.len(), "{} of {}", hours.len(), before.len());
    assert!(hours.iter().any(|segment| segment.level == 1));
    assert_eq!(house.check_rows("events", source), numbers(10));
    for _ in 0..4 {
        merge::merge_all(&house.lake, &house.store, options).await;
    }
    let days = house.segments("events");
    assert!(days.iter().any(|segment| segment.level == 2) && days.len() < hours.len());
    assert_eq!(house.check_rows("events", source), numbers(10));
    for old in before {
        assert!(house.file(&old).exists(), "a statement may still read it");
    }
    writer.shutdown().await;
}

#[tokio::test]
async fn a_damaged_segment_is_left_out_of_merges_and_nothing_else_is() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::open(folder.path()).await;
    let source = Source::new(10);
    let writer = Writer::start(house.options()).await.unwrap();
    for number in 1..=2 {
        append(&writer, &house, source, number..=number).await;
        writer.checkpoint().await.unwrap();
    }
    let before = house.segments("events");
    let broken = house.file(&before[0]);
    let bytes = fs::read(&broken).unwrap();
    fs::write(&broken, &bytes[..bytes.len() / 2]).unwrap();
    let options = MergeOptions { closed_after: Duration::ZERO, ..MergeOptions::default() };
    merge::merge_all(&house.lake, &house.store, options).await;
    assert!(house.segments("events").iter().any(|segment| segment.id == before[0].id), "it is not dropped silently");
    fs::write(&broken, bytes).unwrap();
    assert_eq!(house.check_rows("events", source), numbers(2));
    writer.shutdown().await;
}

#[tokio::test]
async fn retention_ends_old_segments_and_their_files_go_after_the_grace() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::open(folder.path()).await;
    let mut source = Source::new(11);
    let now_ns = chrono::Utc::now().timestamp_nanos_opt().unwrap();
    source.start_unix_ns = now_ns - 3 * 3_600_000_000_000;
    let old_table = house.table("events").await;
    let settings = TableSettings { retention_seconds: Some(7200), bytes_max: None };
    house.lake.set_table_settings(old_table.id, settings).await.unwrap();
    let mut options = house.options();
    options.space.check_interval = Duration::from_millis(50);
    options.space.keep_interval = Duration::from_millis(100);
    options.space.snapshot_keep = Duration::ZERO;
    options.space.delete_grace = Duration::from_millis(100);
    let writer = Writer::start(options).await.unwrap();
    append(&writer, &house, source, 1..=2).await;
    writer.checkpoint().await.unwrap();
    until("the rows are too old", || house.segments("events").is_empty()).await;
    let fresh = Source { start_unix_ns: now_ns, ..source };
    append(&writer, &house, fresh, 3..=3).await;
    writer.checkpoint().await.unwrap();
    let kept = house.segments("events");
    assert_eq!(kept.iter().map(|segment| segment.rows).sum::<u64>(), ROWS);
    until("files of ended segments are deleted", || parquet_files(&folder.path().join("data")) == kept.len()).await;
    assert_eq!(house.check_rows("events", fresh).len() as u64, ROWS);
    writer.shutdown().await;
}

fn parquet_files(folder: &Path) -> usize {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| if path.is_dir() { parquet_files(&path) } else { 1 }).sum()
}

#[tokio::test]
async fn over_the_cap_the_oldest_hours_go_and_rows_are_taken_all_the_time() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::open(folder.path()).await;
    let mut source = Source::new(12);
    source.start_unix_ns = chrono::Utc::now().timestamp_nanos_opt().unwrap() - 20 * 3_600_000_000_000;
    source.step_ns = 3_600_000_000_000 / ROWS as i64;
    let mut options = house.options();
    options.space.check_interval = Duration::from_millis(20);
    options.space.keep_interval = Duration::from_millis(20);
    options.space.snapshot_keep = Duration::ZERO;
    options.space.delete_grace = Duration::ZERO;
    options.space.disk_bytes_max = Some(100_000);
    options.log.file_bytes_max = 1;
    let writer = Writer::start(options).await.unwrap();
    let table = house.table("events").await;
    for number in 1..=18 {
        until("there is room, or there will be", || writer.status().paused.is_none()).await;
        let refused = writer.append(envelope(&table, source, number, ROWS), Durability::Process).await;
        refused.expect("segments go before rows are refused");
        writer.checkpoint().await.unwrap();
    }
    let live = || house.segments("events").iter().map(|segment| segment.bytes).sum::<u64>();
    until("the cap holds", || live() <= 100_000).await;
    let left = house.check_rows("events", source);
    assert!(!left.is_empty() && left.len() < 18 * ROWS as usize, "{} rows are left", left.len());
    assert_eq!(left.last(), Some(&(18 * ROWS - 1)), "the newest stay");
    writer.shutdown().await;
}

#[tokio::test]
async fn files_that_no_commit_names_are_deleted_and_committed_ones_stay() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::open(folder.path()).await;
    let mut source = Source::new(13);
    source.start_unix_ns = chrono::Utc::now().timestamp_nanos_opt().unwrap() - 3_600_000_000_000;
    let data = folder.path().join("data");
    let mut options = house.options();
    options.space.check_interval = Duration::from_millis(20);
    options.space.keep_interval = Duration::from_millis(20);
    options.space.snapshot_keep = Duration::ZERO;
    options.space.delete_grace = Duration::ZERO;
    options.space.orphan_grace = Duration::from_millis(1500);
    let writer = Writer::start(options).await.unwrap();
    append(&writer, &house, source, 1..=2).await;
    writer.checkpoint().await.unwrap();
    let committed = house.segments("events");
    // As a server leaves them that is killed between storing its files and committing them.
    let left = committed.iter().map(|segment| house.file(segment).with_extension("left.parquet")).collect::<Vec<_>>();
    for (segment, left) in committed.iter().zip(&left) {
        fs::copy(house.file(segment), left).unwrap();
    }
    // Not ours: other files stay whatever they are.
    fs::write(data.join("notes.txt"), "mine").unwrap();
    assert_eq!(parquet_files(&data), committed.len() + left.len() + 1);
    until("files of no commit are deleted", || left.iter().all(|file| !file.exists())).await;
    assert!(data.join("notes.txt").exists());
    assert_eq!(house.check_rows("events", source), numbers(2));
    assert_eq!(house.segments("events"), committed);
    writer.shutdown().await;
}
