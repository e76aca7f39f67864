//! One run of the segment writer: entries of the log to files, and files to a commit. It goes on until it succeeds.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use probepilot_catalog::CatalogError;
use probepilot_catalog::Lake;
use probepilot_catalog::batch::Entry;
use probepilot_catalog::manifest::{Manifest, NewSegment, SegmentCommit, Table};
use probepilot_catalog::table::TableId;

use super::encode::{Encoded, encode};
use super::sorted::sorted_by_hour;
use super::store::SegmentStore;
use crate::loss::{Cause, Losses};

/// The first wait after a failure; each further one is twice as long.
const RETRY_WAIT_MIN: Duration = Duration::from_millis(100);

/// The longest wait between attempts.
const RETRY_WAIT_MAX: Duration = Duration::from_secs(15);

/// Who cuts: the same for every run.
#[derive(Clone)]
pub struct Cutter {
    /// The manifest.
    pub lake: Lake,
    /// The files.
    pub store: SegmentStore,
    /// The stream of the log.
    pub stream: String,
    /// Rows that had to be given up.
    pub losses: Arc<Losses>,
    /// Told of every failed attempt.
    pub failures: tokio::sync::watch::Sender<Option<Arc<str>>>,
}

impl Cutter {
    /// Stores the entries, which follow `from`, and commits them together with the sequence of the last one.
    pub async fn cut(&self, from: u64, mut entries: Vec<Entry>) -> Arc<Manifest> {
        let mut from = from;
        loop {
            let Some(to) = entries.last().map(|entry| entry.sequence) else { return self.lake.manifest() };
            match self.cut_once(from, to, &entries).await {
                Ok(manifest) => return manifest,
                Err(found) => {
                    tracing::warn!(from, to, found, "another committer was here: what it committed is left out");
                    entries.retain(|entry| entry.sequence > found);
                    from = found;
                }
            }
        }
    }

    /// An error is the watermark that another committer left.
    async fn cut_once(&self, from: u64, to: u64, entries: &[Entry]) -> Result<Arc<Manifest>, u64> {
        let mut segments: Vec<(TableId, NewSegment)> = Vec::new();
        for (id, batches) in by_table(entries) {
            segments.extend(self.store_table(id, batches).await.into_iter().map(|segment| (id, segment)));
        }
        let producers = producers(entries);
        let mut wait = RETRY_WAIT_MIN;
        loop {
            let commit = SegmentCommit {
                stream: self.stream.clone(),
                from,
                to,
                segments: segments.clone(),
                producers: producers.clone(),
            };
            match self.lake.commit(commit).await {
                Ok(manifest) => {
                    self.failures.send_replace(None);
                    return Ok(manifest);
                }
                Err(CatalogError::WatermarkMoved { found, .. }) if found > from => {
                    let paths: Vec<String> = segments.into_iter().map(|(_, segment)| segment.path).collect();
                    self.store.delete(&paths).await;
                    return Err(found);
                }
                Err(CatalogError::UnknownTable(dropped)) => {
                    let (gone, kept): (Vec<_>, Vec<_>) = segments.into_iter().partition(|(id, _)| *id == dropped);
                    segments = kept;
                    for (_, segment) in &gone {
                        self.losses.count(Cause::TableDropped, segment.rows);
                    }
                    let paths: Vec<String> = gone.into_iter().map(|(_, segment)| segment.path).collect();
                    self.store.delete(&paths).await;
                }
                Err(error) => self.failed(&mut wait, &error).await,
            }
        }
    }

    /// The files of one table's rows; none when the table is gone or the rows cannot be encoded, which is counted.
    async fn store_table(&self, id: TableId, batches: Vec<RecordBatch>) -> Vec<NewSegment> {
        let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        let Some(table) = self.table(id).await else {
            self.losses.count(Cause::TableDropped, rows as u64);
            return Vec::new();
        };
        let encoding = {
            let table = table.clone();
            tokio::task::spawn_blocking(move || encode_table(&table, &batches)).await
        };
        let files = match encoding {
            Ok(Ok(files)) => files,
            Ok(Err(error)) => return self.give_up(&table, rows, &error),
            Err(panicked) => return self.give_up(&table, rows, &panicked),
        };
        let mut segments = Vec::with_capacity(files.len());
        for Encoded { mut segment, bytes } in files {
            let mut wait = RETRY_WAIT_MIN;
            while let Err(error) = self.store.put(&segment.path, bytes.clone()).await {
                self.failed(&mut wait, &error).await;
                // The failed attempt may have left a file, which nobody may take for ours.
                segment.path = super::encode::segment_path(&table, segment.time_min);
            }
            segments.push(segment);
        }
        segments
    }

    fn give_up(&self, table: &Table, rows: usize, error: &(dyn std::error::Error + 'static)) -> Vec<NewSegment> {
        tracing::error!(table = %table.definition.name, rows, error, "rows cannot be written to a segment and are lost");
        self.losses.count(Cause::NotEncodable, rows as u64);
        Vec::new()
    }

    async fn table(&self, id: TableId) -> Option<Arc<Table>> {
        if let Some(table) = self.lake.manifest().table(id) {
            return Some(table.clone());
        }
        let mut wait = RETRY_WAIT_MIN;
        loop {
            match self.lake.refresh().await {
                Ok(manifest) => return manifest.table(id).cloned(),
                Err(error) => self.failed(&mut wait, &error).await,
            }
        }
    }

    async fn failed(&self, wait: &mut Duration, error: &(dyn std::error::Error + Send + Sync + 'static)) {
        let cause = error.source().map(|source| source.to_string());
        tracing::warn!(%error, cause, retry_in_ms = wait.as_millis(), "segments cannot be stored: the log keeps the rows");
        self.failures.send_replace(Some(error.to_string().into()));
        tokio::time::sleep(*wait).await;
        *wait = (*wait * 2).min(RETRY_WAIT_MAX);
    }
}

fn by_table(entries: &[Entry]) -> BTreeMap<TableId, Vec<RecordBatch>> {
    let mut tables: BTreeMap<TableId, Vec<RecordBatch>> = BTreeMap::new();
    for batch in entries.iter().flat_map(|entry| &entry.envelope.batches) {
        tables.entry(batch.table).or_default().push(batch.rows.clone());
    }
    tables
}

fn producers(entries: &[Entry]) -> Vec<(Arc<str>, u64, u64)> {
    let mut highest: HashMap<(Arc<str>, u64), u64> = HashMap::new();
    for envelope in entries.iter().map(|entry| &entry.envelope) {
        let number = highest.entry((envelope.producer.clone(), envelope.epoch)).or_default();
        *number = (*number).max(envelope.number);
    }
    highest.into_iter().map(|((producer, epoch), number)| (producer, epoch, number)).collect()
}

fn encode_table(table: &Table, batches: &[RecordBatch]) -> Result<Vec<Encoded>, parquet::errors::ParquetError> {
    let parts = sorted_by_hour(&table.schema, batches)?;
    parts.iter().map(|rows| encode(table, rows)).collect()
}
