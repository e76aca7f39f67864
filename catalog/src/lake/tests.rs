//! The lake's promises.

use super::*;
use crate::manifest::{Bound, ColumnBounds, NewSegment, SegmentCommit, Table, TableSettings};
use crate::table::{Column, TableDefinition, TableKind, TableName};
use probepilot_sql::SqlType;

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
        bounds: vec![ColumnBounds {
            column_id: table.column_ids[1],
            min: Some(Bound::Int(1)),
            max: Some(Bound::Int(9)),
            null_count: 0,
        }],
    }
}

fn commit_of(from: u64, to: u64, segments: Vec<(&Arc<Table>, NewSegment)>) -> SegmentCommit {
    SegmentCommit {
        stream: "node".into(),
        from,
        to,
        segments: segments.into_iter().map(|(table, segment)| (table.id, segment)).collect(),
        producers: vec![("node".into(), 7, to)],
    }
}

#[tokio::test]
async fn what_is_committed_is_there_after_opening_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("catalog.sqlite");
    let lake = Lake::open_sqlite(&path, "/data/").await.unwrap();
    let settings = TableSettings { retention_seconds: Some(60), bytes_max: None };
    let table = lake.create_table(definition("t"), settings).await.unwrap();
    let manifest = lake.commit(commit_of(0, 5, vec![(&table, segment(&table, "a.parquet", 3, 1))])).await.unwrap();
    assert_eq!(manifest.committed("node"), 5);
    assert_eq!(lake.high_water("node", 7).await.unwrap(), 5);
    lake.close().await;

    let again = Lake::open_sqlite(&path, "/data/").await.unwrap();
    let again = again.manifest();
    assert_eq!(again.snapshot, manifest.snapshot);
    assert_eq!(again.watermark, manifest.watermark);
    let table = again.table(table.id).unwrap();
    assert_eq!(table.definition, definition("t"));
    assert_eq!(table.settings, settings);
    assert_eq!(table.segments, manifest.table(table.id).unwrap().segments);
    assert_eq!(table.segments[0].path, "main/t/a.parquet");
    assert_eq!(table.segments[0].bounds[0].max, Some(Bound::Int(9)));
}
