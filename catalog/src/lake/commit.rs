//! Committing segments together with the log position they reach: one transaction, or nothing.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde_json::json;
use uuid::Uuid;

use super::bounds::{self, End};
use super::change::Change;
use super::{Lake, TURNSTILE};
use crate::database::{Parameter, Transaction, parameters};
use crate::error::CatalogError;
use crate::manifest::{Manifest, NewSegment, SegmentCommit, Table};
use crate::table::TableId;

/// Epochs remembered of each producer, newest first: replays come from the last start or the one before, and a
/// producer that restarts for years must not fill the catalog.
const PRODUCER_EPOCHS_MAX: i64 = 16;

impl Lake {
    /// Commits segments and advances the watermark from `from` to `to`, and returns the state after it.
    ///
    /// [`CatalogError::WatermarkMoved`] when the stream does not stand at `from`, [`CatalogError::UnknownTable`] when a
    /// segment's table was dropped: nothing is stored. A commit that is repeated because its outcome was unknown
    /// succeeds when it had been stored.
    pub async fn commit(&self, commit: SegmentCommit) -> Result<Arc<Manifest>, CatalogError> {
        let tables = self.tables_of(commit.segments.iter().map(|(table, _)| *table)).await?;
        let attempted = "commit segments";
        let mut transaction = self.inner.database.write(attempted, TURNSTILE).await?;
        let change = Change::begin(&mut transaction).await?;
        if let Some(found) = watermark_moved(&mut transaction, &commit).await? {
            let was_stored = found == commit.to && segments_are_stored(&mut transaction, &commit, &tables).await?;
            drop(transaction);
            let manifest = self.refresh().await?;
            let SegmentCommit { stream, from: expected, .. } = commit;
            return if was_stored {
                Ok(manifest)
            } else {
                Err(CatalogError::WatermarkMoved { stream, expected, found })
            };
        }
        let extra =
            json!({ "wm": { commit.stream.as_str(): commit.to }, "commit": Uuid::new_v4().to_string() }).to_string();
        store(&mut transaction, change, &commit, &tables, &extra).await?;
        self.finish(transaction, &extra).await
    }

    /// Commits the transaction and refreshes. When the commit fails, the catalog is asked whether it was stored:
    /// `extra` is text that only this snapshot has.
    pub(super) async fn finish(&self, transaction: Transaction, extra: &str) -> Result<Arc<Manifest>, CatalogError> {
        let Err(failed) = transaction.commit().await else {
            self.watch_journal();
            return self.refresh().await;
        };
        let query = "SELECT 1 FROM ducklake_snapshot_changes WHERE commit_extra_info = $1";
        let asked = async {
            let mut transaction = self.inner.database.read("learn whether a commit was stored").await?;
            transaction.row(query, parameters![extra]).await
        };
        match (asked.await, failed) {
            (Ok(Some(_)), _) => self.refresh().await,
            (Err(_), CatalogError::Database { source, .. }) => Err(CatalogError::OutcomeUnknown { source }),
            (_, failed) => Err(failed),
        }
    }

    /// The tables with these ids, from memory, or from the catalog when memory has not all of them.
    pub(super) async fn tables_of(
        &self,
        ids: impl Iterator<Item = TableId>,
    ) -> Result<HashMap<TableId, Arc<Table>>, CatalogError> {
        let mut manifest = self.manifest();
        let mut tables = HashMap::new();
        for id in ids {
            if manifest.table(id).is_none() {
                manifest = self.refresh().await?;
            }
            let table = manifest.table(id).ok_or(CatalogError::UnknownTable(id))?;
            tables.insert(id, table.clone());
        }
        Ok(tables)
    }
}

/// The compare-and-set. `None`: it stood at `from` and stands at `to` now. `Some`: where it stands instead.
async fn watermark_moved(transaction: &mut Transaction, commit: &SegmentCommit) -> Result<Option<u64>, CatalogError> {
    let SegmentCommit { stream, from, to, .. } = commit;
    let first = "INSERT INTO pp_watermark (stream, seq) VALUES ($1, 0) ON CONFLICT (stream) DO NOTHING";
    transaction.execute(first, parameters![stream.as_str()]).await?;
    let set = "UPDATE pp_watermark SET seq = $3 WHERE stream = $1 AND seq = $2";
    let parameters = parameters![stream.as_str(), from.cast_signed(), to.cast_signed()];
    if transaction.execute(set, parameters).await? == 1 {
        return Ok(None);
    }
    let query = "SELECT seq FROM pp_watermark WHERE stream = $1";
    let row = transaction.row(query, parameters![stream.as_str()]).await?;
    row.map_or(Ok(Some(0)), |row| row.get::<i64>(0).map(|found| Some(found.cast_unsigned())))
}

/// Whether exactly these files are in the catalog: paths are never used twice.
async fn segments_are_stored(
    transaction: &mut Transaction,
    commit: &SegmentCommit,
    tables: &HashMap<TableId, Arc<Table>>,
) -> Result<bool, CatalogError> {
    for (table, segment) in &commit.segments {
        let path = path_in_table(&tables[table], segment)?;
        let query = "SELECT 1 FROM ducklake_data_file WHERE table_id = $1 AND path = $2";
        if transaction.row(query, parameters![table.0, path]).await?.is_none() {
            return Ok(false);
        }
    }
    Ok(true)
}

async fn store(
    transaction: &mut Transaction,
    mut change: Change,
    commit: &SegmentCommit,
    tables: &HashMap<TableId, Arc<Table>>,
    extra: &str,
) -> Result<(), CatalogError> {
    let SegmentCommit { stream, to, segments, producers, .. } = commit;
    let snapshot = change.snapshot;
    let mut by_table: BTreeMap<TableId, Vec<&NewSegment>> = BTreeMap::new();
    for (table, segment) in segments {
        by_table.entry(*table).or_default().push(segment);
    }
    let added: Vec<(&Table, Vec<&NewSegment>)> =
        by_table.into_iter().map(|(table, segments)| (&*tables[&table], segments)).collect();
    insert_segments(transaction, &mut change, &added).await?;
    for (table, _) in &added {
        change.note(format!("inserted_into_table:{}", table.id));
    }
    let watermark = vec![parameters![snapshot, stream.as_str(), to.cast_signed()]];
    transaction.insert("pp_snapshot_watermark (snapshot_id, stream, seq)", watermark).await?;
    for (producer, epoch, number) in producers {
        store_producer(transaction, snapshot, producer, *epoch, *number).await?;
    }
    change.finish(transaction, Some(extra)).await
}

/// Inserts segments with their statistics, and advances the totals of their tables.
pub(super) async fn insert_segments(
    transaction: &mut Transaction,
    change: &mut Change,
    added: &[(&Table, Vec<&NewSegment>)],
) -> Result<(), CatalogError> {
    let totals = live_totals(transaction).await?;
    let mut files = Vec::new();
    let mut extensions = Vec::new();
    let mut statistics = Vec::new();
    for (table, segments) in added {
        let totals = totals.get(&table.id).ok_or(CatalogError::UnknownTable(table.id))?;
        let mut next_row_id = totals.next_row_id;
        let mut bytes = 0;
        for segment in segments {
            let id = change.file_id();
            let path = path_in_table(table, segment)?;
            let (rows, file_bytes) = (segment.rows.cast_signed(), segment.bytes.cast_signed());
            let footer_bytes = Some(segment.footer_bytes.cast_signed()).filter(|&bytes| bytes > 0);
            files.push(parameters![
                id,
                table.id.0,
                change.snapshot,
                path,
                true,
                "parquet",
                rows,
                file_bytes,
                footer_bytes,
                next_row_id
            ]);
            extensions.push(parameters![id, i64::from(segment.level), segment.time_min, segment.time_max]);
            statistics.extend(column_statistics(table, segment, id));
            next_row_id += rows;
            bytes += file_bytes;
        }
        let rows = next_row_id - totals.next_row_id;
        let update = if totals.are_stored {
            "UPDATE ducklake_table_stats SET record_count = record_count + $2, next_row_id = next_row_id + $2,
             file_size_bytes = file_size_bytes + $3 WHERE table_id = $1"
        } else {
            "INSERT INTO ducklake_table_stats (table_id, record_count, next_row_id, file_size_bytes)
             VALUES ($1, $2, $2, $3)"
        };
        transaction.execute(update, parameters![table.id.0, rows, bytes]).await?;
    }
    let into = "ducklake_data_file (data_file_id, table_id, begin_snapshot, path, path_is_relative, file_format,
        record_count, file_size_bytes, footer_size, row_id_start)";
    transaction.insert(into, files).await?;
    transaction.insert("pp_file_ext (data_file_id, level, min_ts, max_ts)", extensions).await?;
    let into = "ducklake_file_column_stats (data_file_id, table_id, column_id, value_count, null_count, min_value,
        max_value, contains_nan)";
    transaction.insert(into, statistics).await
}

/// What DuckLake keeps per table.
struct Totals {
    next_row_id: i64,
    /// Whether the table has its row of totals.
    are_stored: bool,
}

async fn live_totals(transaction: &mut Transaction) -> Result<HashMap<TableId, Totals>, CatalogError> {
    let query = "
        SELECT t.table_id, s.next_row_id
        FROM ducklake_table t LEFT JOIN ducklake_table_stats s ON s.table_id = t.table_id
        WHERE t.end_snapshot IS NULL";
    let mut totals = HashMap::new();
    for row in transaction.rows(query, vec![]).await? {
        let next_row_id: Option<i64> = row.get(1)?;
        let are_stored = next_row_id.is_some();
        totals.insert(TableId(row.get(0)?), Totals { next_row_id: next_row_id.unwrap_or(0), are_stored });
    }
    Ok(totals)
}

fn column_statistics(table: &Table, segment: &NewSegment, file_id: i64) -> Vec<Vec<Parameter>> {
    let columns = table.column_ids.iter().zip(&table.definition.columns);
    let types: HashMap<i64, _> = columns.map(|(&id, column)| (id, column.sql_type)).collect();
    let known = segment.bounds.iter().filter_map(|bounds| Some((bounds, *types.get(&bounds.column_id)?)));
    known
        .map(|(bounds, sql_type)| {
            let nulls = bounds.null_count.min(segment.rows);
            let min = bounds.min.as_ref().and_then(|min| bounds::encode(sql_type, min, End::Lower));
            let max = bounds.max.as_ref().and_then(|max| bounds::encode(sql_type, max, End::Upper));
            let (values, nulls) = ((segment.rows - nulls).cast_signed(), nulls.cast_signed());
            let may_hold_nan = bounds::may_hold_nan(sql_type);
            parameters![file_id, table.id.0, bounds.column_id, values, nulls, min, max, may_hold_nan]
        })
        .collect()
}

/// A segment's path as DuckLake stores it: below its table's folder.
fn path_in_table(table: &Table, segment: &NewSegment) -> Result<String, CatalogError> {
    match segment.path.strip_prefix(&table.path) {
        Some(path) if !path.is_empty() => Ok(path.to_owned()),
        _ => Err(CatalogError::SegmentPath { path: segment.path.clone(), folder: table.path.clone() }),
    }
}

async fn store_producer(
    transaction: &mut Transaction,
    snapshot: i64,
    producer: &str,
    epoch: u64,
    number: u64,
) -> Result<(), CatalogError> {
    let key = parameters![producer, epoch.cast_signed(), number.cast_signed(), snapshot];
    let advance = "UPDATE pp_producer SET last_number = $3, snapshot_id = $4
                   WHERE producer = $1 AND epoch = $2 AND last_number <= $3";
    if transaction.execute(advance, key.clone()).await? == 1 {
        return Ok(());
    }
    let insert = "INSERT INTO pp_producer (producer, epoch, last_number, snapshot_id) VALUES ($1, $2, $3, $4)
                  ON CONFLICT (producer, epoch) DO NOTHING";
    if transaction.execute(insert, key).await? == 1 {
        let forget = "DELETE FROM pp_producer WHERE producer = $1 AND epoch NOT IN
            (SELECT epoch FROM pp_producer WHERE producer = $1 ORDER BY snapshot_id DESC LIMIT $2)";
        transaction.execute(forget, parameters![producer, PRODUCER_EPOCHS_MAX]).await?;
    }
    Ok(())
}
