//! A lake in a folder of its own, a writer on it, and a reader of what is committed.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Float64Type, Int64Type, TimestampNanosecondType};
use object_store::local::LocalFileSystem;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use probepilot_catalog::Lake;
use probepilot_catalog::batch::{Batch, Envelope};
use probepilot_catalog::manifest::{Segment, Table, TableSettings};
use probepilot_catalog::table::TableName;
use probepilot_collector::segment::store::SegmentStore;
use probepilot_collector::source::Source;
use probepilot_collector::writer::WriterOptions;

/// Folders and manifest of one test.
pub struct House {
    pub folder: PathBuf,
    pub lake: Lake,
    pub store: SegmentStore,
}

impl House {
    pub async fn open(folder: &Path) -> House {
        let data = folder.join("data");
        fs::create_dir_all(&data).expect("the folder can be made");
        let data_path = format!("{}/", data.display());
        let lake = Lake::open_sqlite(&folder.join("catalog.sqlite"), &data_path).await.expect("the lake opens");
        let objects = Arc::new(LocalFileSystem::new_with_prefix(&data).expect("the folder is there"));
        House { folder: folder.to_owned(), lake, store: SegmentStore { objects, local_root: Some(data) } }
    }

    pub fn options(&self) -> WriterOptions {
        let SegmentStore { objects, local_root } = self.store.clone();
        let mut options = WriterOptions::new(self.folder.join("log"), self.lake.clone(), objects, local_root);
        options.space.disk_bytes_max = Some(1 << 40);
        options.space.free_bytes_min = Some(0);
        options
    }

    pub async fn table(&self, name: &str) -> Arc<Table> {
        if let Some(table) = self.lake.manifest().tables.get(&TableName::public(name)) {
            return table.clone();
        }
        self.lake.create_table(Source::table(name), TableSettings::default()).await.expect("the table can be made")
    }

    pub fn segments(&self, name: &str) -> Vec<Segment> {
        self.lake.manifest().tables[&TableName::public(name)].segments.to_vec()
    }

    pub fn file(&self, segment: &Segment) -> PathBuf {
        self.folder.join("data").join(&segment.path)
    }

    pub fn read(&self, segment: &Segment) -> Vec<RecordBatch> {
        let file = File::open(self.file(segment)).expect("the segment is there");
        let reader =
            ParquetRecordBatchReaderBuilder::try_new(file).expect("it is Parquet").build().expect("it can be read");
        reader.map(|batch| batch.expect("it can be read")).collect()
    }

    /// Checks every committed row against the source, and returns their sorted numbers.
    pub fn check_rows(&self, name: &str, source: Source) -> Vec<u64> {
        let mut numbers = Vec::new();
        for segment in self.segments(name) {
            let mut last = i64::MIN;
            let mut rows = 0;
            for batch in self.read(&segment) {
                let times = batch.column(0).as_primitive::<TimestampNanosecondType>();
                let ns = batch.column(1).as_primitive::<Int64Type>();
                let texts = batch.column(2).as_string_view();
                let values = batch.column(3).as_primitive::<Float64Type>();
                for row in 0..batch.num_rows() {
                    let n = ns.value(row) as u64;
                    let value = values.is_valid(row).then(|| values.value(row));
                    assert_eq!(
                        (times.value(row), texts.value(row), value),
                        (source.time(n), source.text(n).as_str(), source.value(n)),
                        "row {n}"
                    );
                    assert!(last <= times.value(row), "rows are sorted by time");
                    assert!((segment.time_min..=segment.time_max).contains(&times.value(row)));
                    last = times.value(row);
                    numbers.push(n);
                }
                rows += batch.num_rows() as u64;
            }
            assert_eq!(rows, segment.rows);
            assert_eq!(fs::metadata(self.file(&segment)).unwrap().len(), segment.bytes);
        }
        numbers.sort_unstable();
        numbers
    }
}

/// Envelope `number` of the source: rows `(number - 1) * rows..number * rows`.
pub fn envelope(table: &Table, source: Source, number: u64, rows: u64) -> Envelope {
    let batches = vec![Batch { table: table.id, rows: source.rows((number - 1) * rows, rows) }];
    Envelope { producer: "node".into(), epoch: 1, number, batches }
}

/// Waits for a condition.
#[allow(dead_code, reason = "not every test file waits")]
pub async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    for _ in 0..600 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("it did not come to pass within 30 seconds: {what}");
}
