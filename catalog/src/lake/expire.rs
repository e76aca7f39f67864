//! Forgetting old snapshots, and giving up the files that only they held.

use std::time::Duration;

use chrono::{TimeDelta, Utc};

use super::replace::id_list;
use super::{Lake, TURNSTILE};
use crate::database::{Transaction, parameters};
use crate::error::CatalogError;

/// Files handed out by one [`Lake::expire`]; the rest comes with the next.
const DEAD_FILES_MAX: i64 = 1_000;

/// A file that no snapshot holds any longer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadFile {
    /// For [`Lake::forget`].
    pub id: i64,
    /// Path below the lake's data path.
    pub path: String,
}

impl Lake {
    /// Forgets snapshots older than `keep` (never the newest) and schedules the files that only they held.
    ///
    /// Returns files that were scheduled at least `grace` ago, at most 1,000: no statement reads them any more, if none
    /// runs longer than `grace`. Delete them, then tell [`Lake::forget`]; a crash between the two hands them out again.
    pub async fn expire(&self, keep: Duration, grace: Duration) -> Result<Vec<DeadFile>, CatalogError> {
        let now = Utc::now();
        let before = |age: Duration| TimeDelta::from_std(age).ok().and_then(|age| now.checked_sub_signed(age));
        let mut transaction = self.inner.database.write("expire old snapshots", TURNSTILE).await?;
        if let Some(limit) = before(keep) {
            let old = "DELETE FROM ducklake_snapshot WHERE snapshot_time < $1
                       AND snapshot_id < (SELECT MAX(snapshot_id) FROM ducklake_snapshot)";
            if transaction.execute(old, parameters![limit]).await? > 0 {
                forget_unheld(&mut transaction, now).await?;
            }
        }
        let mut dead = Vec::new();
        if let Some(limit) = before(grace) {
            let query = "SELECT data_file_id, path, path_is_relative FROM ducklake_files_scheduled_for_deletion
                         WHERE schedule_start <= $1 ORDER BY data_file_id LIMIT $2";
            for row in transaction.rows(query, parameters![limit, DEAD_FILES_MAX]).await? {
                let (id, path): (i64, String) = (row.get(0)?, row.get(1)?);
                let path = path.strip_prefix(&self.inner.data_path).unwrap_or(&path).to_owned();
                // Another program's file outside our folder is not ours to delete.
                if row.get::<bool>(2)? || !path.starts_with('/') {
                    dead.push(DeadFile { id, path });
                }
            }
        }
        transaction.commit().await?;
        Ok(dead)
    }

    /// Takes deleted files off the list.
    pub async fn forget(&self, deleted: &[i64]) -> Result<(), CatalogError> {
        if deleted.is_empty() {
            return Ok(());
        }
        let mut transaction = self.inner.database.write("forget deleted files", TURNSTILE).await?;
        let list = id_list(deleted);
        let forget = format!("DELETE FROM ducklake_files_scheduled_for_deletion WHERE data_file_id IN ({list})");
        transaction.execute(forget, vec![]).await?;
        transaction.commit().await
    }
}

/// Removes every row that ended at or before the oldest snapshot left.
async fn forget_unheld(transaction: &mut Transaction, now: chrono::DateTime<Utc>) -> Result<(), CatalogError> {
    let oldest = transaction.row("SELECT MIN(snapshot_id) FROM ducklake_snapshot", vec![]).await?;
    let oldest: i64 = oldest.map_or(Ok(0), |row| row.get(0))?;

    let schedule = "
        INSERT INTO ducklake_files_scheduled_for_deletion (data_file_id, path, path_is_relative, schedule_start)
        SELECT f.data_file_id, CASE WHEN f.path_is_relative THEN s.path || t.path || f.path ELSE f.path END,
               f.path_is_relative, $2
        FROM ducklake_data_file f
        JOIN (SELECT DISTINCT table_id, schema_id, path FROM ducklake_table) t ON t.table_id = f.table_id
        JOIN ducklake_schema s ON s.schema_id = t.schema_id
        WHERE f.end_snapshot <= $1";
    transaction.execute(schedule, parameters![oldest, now]).await?;
    for side in ["ducklake_file_column_stats", "pp_file_ext"] {
        let delete = format!(
            "DELETE FROM {side} WHERE data_file_id IN
             (SELECT data_file_id FROM ducklake_data_file WHERE end_snapshot <= $1)"
        );
        transaction.execute(delete, parameters![oldest]).await?;
    }
    for ranged in ["ducklake_data_file", "ducklake_table", "ducklake_column", "ducklake_tag", "ducklake_column_tag"] {
        let delete = format!("DELETE FROM {ranged} WHERE end_snapshot <= $1");
        transaction.execute(delete, parameters![oldest]).await?;
    }
    for by_table in ["ducklake_table_stats", "ducklake_schema_versions", "pp_table", "pp_column"] {
        // A lake without tables has versions too, of no table.
        let delete = format!(
            "DELETE FROM {by_table} WHERE table_id IS NOT NULL
             AND NOT EXISTS (SELECT 1 FROM ducklake_table t WHERE t.table_id = {by_table}.table_id)"
        );
        transaction.execute(delete, vec![]).await?;
    }
    for by_snapshot in ["ducklake_snapshot_changes", "pp_snapshot_watermark"] {
        let delete = format!("DELETE FROM {by_snapshot} WHERE snapshot_id < $1");
        transaction.execute(delete, parameters![oldest]).await?;
    }
    Ok(())
}
