//! Another engine reads what we commit: DuckDB with its ducklake extension, in a process of its own.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;
use std::process::Command;

use arrow::array::{ArrayRef, Int32Array, RecordBatch, StringArray, TimestampNanosecondArray};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use parquet::arrow::ArrowWriter;

use super::*;

/// Attaches the lake as the documentation says, and prints a line per question.
const ASK: &str = r#"
import glob, importlib.util, os, sys
import duckdb

def extension(name):
    folder = os.path.dirname(importlib.util.find_spec("duckdb_extension_" + name).origin)
    return glob.glob(folder + "/extensions/*/" + name + ".duckdb_extension")[0]

attach, questions = sys.argv[1], sys.argv[2:]
connection = duckdb.connect()
scanner = "postgres_scanner" if "postgres:" in attach else "sqlite_scanner"
for name in ["ducklake", scanner]:
    connection.execute("LOAD '" + extension(name) + "'")
connection.execute("SET TimeZone='UTC'")
connection.execute(attach)
for question in questions:
    print(connection.execute(question).fetchall())
"#;

fn write_parquet(path: &Path, column_ids: &[i64], first: i64, rows: i64) -> (u64, u64) {
    let field = |index: usize, name: &str, data_type| {
        let id = HashMap::from([("PARQUET:field_id".to_owned(), column_ids[index].to_string())]);
        Field::new(name, data_type, index == 2).with_metadata(id)
    };
    let schema = Arc::new(Schema::new(vec![
        field(0, "time", DataType::Timestamp(TimeUnit::Nanosecond, None)),
        field(1, "pid", DataType::Int32),
        field(2, "address", DataType::Utf8),
    ]));
    let times: ArrayRef = Arc::new(TimestampNanosecondArray::from_iter_values(first..first + rows));
    let pids: ArrayRef = Arc::new((1..=i32::try_from(rows).unwrap()).collect::<Int32Array>());
    let addresses: ArrayRef = Arc::new((0..rows).map(|row| (row > 0).then_some("10.0.0.1")).collect::<StringArray>());
    let batch = RecordBatch::try_new(schema.clone(), vec![times, pids, addresses]).unwrap();
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut writer = ArrowWriter::try_new(File::create(path).unwrap(), schema, None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    let bytes = std::fs::read(path).unwrap();
    let footer_bytes = u32::from_le_bytes(bytes[bytes.len() - 8..bytes.len() - 4].try_into().unwrap());
    (bytes.len() as u64, u64::from(footer_bytes))
}

/// A file on disk with the manifest row that describes it.
fn written(table: &Table, data: &Path, file: &str, hour: i64, rows: i64) -> NewSegment {
    let described = segment(table, file, rows.cast_unsigned(), hour);
    let (bytes, footer_bytes) = write_parquet(&data.join(&described.path), &table.column_ids, hour * HOUR_NS, rows);
    let mut bounds = described.bounds;
    bounds[0].max = Some(Bound::Int(rows));
    bounds[1] = ColumnBounds { max: Some(Bound::Text("10.0.0.1".into())), null_count: 1, ..bounds[1].clone() };
    bounds.push(ColumnBounds {
        column_id: table.column_ids[0],
        min: Some(Bound::Int(hour * HOUR_NS)),
        max: Some(Bound::Int(hour * HOUR_NS + rows - 1)),
        null_count: 0,
    });
    NewSegment { bytes, footer_bytes, bounds, ..described }
}

fn ask(place: &Place, questions: &[&str]) -> Option<String> {
    let attach = match place {
        Place::Sqlite(folder) => {
            format!("ATTACH 'ducklake:sqlite:{}' AS lake (READ_ONLY)", folder.join("catalog.sqlite").display())
        }
        Place::Postgres { socket_folder, .. } => format!(
            "ATTACH 'ducklake:postgres:host={} user=postgres dbname=postgres' AS lake (METADATA_SCHEMA 'lake', READ_ONLY)",
            socket_folder.display()
        ),
    };
    let python = crate::testing::python()?;
    let output = Command::new(python).args(["-c", ASK, &attach]).args(questions).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).unwrap())
}

#[test]
fn duckdb_reads_the_rows_we_committed_while_the_lake_is_open() {
    on_both(async |place| {
        let folder = tempfile::tempdir().unwrap();
        let data_path = format!("{}/", folder.path().display());
        let lake = place.lake(&data_path).await;
        let table = lake.create_table(definition("t"), TableSettings::default()).await.unwrap();
        let system = TableDefinition { name: TableName::system("probe_health"), ..definition("") };
        lake.create_table(system, TableSettings::default()).await.unwrap();
        let first = written(&table, folder.path(), "a.parquet", 1, 3);
        let second = written(&table, folder.path(), "b.parquet", 2, 40);
        let manifest = lake.commit(commit_of(0, 5, vec![(&table, first), (&table, second)])).await.unwrap();
        lake.add_columns(table.id, vec![Column::new("uid", SqlType::BigInt, true, "user")]).await.unwrap();

        let time_travel = format!("SELECT count(*) FROM lake.t AT (VERSION => {})", manifest.snapshot - 1);
        let questions = [
            "SELECT count(*) FROM lake.t",
            "SELECT count(*), sum(pid) FROM lake.t WHERE pid > 3",
            "SELECT max(time)::VARCHAR FROM lake.t WHERE time < TIMESTAMP_NS '1970-01-01 01:30:00'",
            "SELECT count(*) FROM lake.t WHERE address IS NULL AND uid IS NULL",
            "SELECT count(*) FROM lake.system.probe_health",
            &time_travel,
            "SELECT comment FROM duckdb_tables() WHERE table_name = 't'",
        ];
        let Some(answers) = ask(&place, &questions) else { return };
        let expected = [
            "[(43,)]",
            "[(37, 814)]",
            "[('1970-01-01 01:00:00.000000002',)]",
            "[(2,)]",
            "[(0,)]",
            "[(0,)]",
            "[('one row per event',)]",
        ];
        assert_eq!(answers.lines().collect::<Vec<_>>(), expected);

        let ids = manifest.table(table.id).unwrap().segments.iter().map(|segment| segment.id).collect();
        let merged = written(&table, folder.path(), "ab.parquet", 1, 43);
        lake.replace(SegmentReplace { table: table.id, ended: ids, with: vec![merged] }).await.unwrap();
        lake.rename_table(table.id, "renamed").await.unwrap();
        lake.expire(Duration::ZERO, Duration::ZERO).await.unwrap();
        let answers = ask(&place, &["SELECT count(*), max(pid) FROM lake.renamed WHERE pid >= 43"]).unwrap();
        assert_eq!(answers, "[(1, 43)]\n");
    });
}
