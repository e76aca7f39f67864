//! Replacing segments by merged ones, and ending them when their time has come.

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::json;
use uuid::Uuid;

use super::change::Change;
use super::commit::insert_segments;
use super::{Lake, TURNSTILE};
use crate::database::{Transaction, parameters};
use crate::error::CatalogError;
use crate::manifest::{Manifest, SegmentReplace};
use crate::table::TableId;

/// Ids in one statement: long lists are cut into several.
const IDS_MAX: usize = 500;

impl Lake {
    /// Ends segments and puts others in their place, and returns the state after it.
    ///
    /// [`CatalogError::SegmentNotLive`] when someone else ended one of them: nothing is stored.
    pub async fn replace(&self, replace: SegmentReplace) -> Result<Arc<Manifest>, CatalogError> {
        let SegmentReplace { table: id, ended, with } = &replace;
        let tables = self.tables_of(std::iter::once(*id)).await?;
        let mut transaction = self.inner.database.write("replace segments", TURNSTILE).await?;
        let mut change = Change::begin(&mut transaction).await?;
        end_segments(&mut transaction, change.snapshot, *id, ended).await?;
        if with.is_empty() {
            change.note(format!("deleted_from_table:{id}"));
        } else {
            insert_segments(&mut transaction, &mut change, &[(&tables[id], with.iter().collect())]).await?;
            change.note(format!("compacted_table:{id}"));
        }
        let extra = json!({ "commit": Uuid::new_v4().to_string() }).to_string();
        change.finish(&mut transaction, Some(&extra)).await?;
        self.finish(transaction, &extra).await
    }
}

/// Ends live segments of a table and takes them off its totals; row ids are not given again.
async fn end_segments(
    transaction: &mut Transaction,
    snapshot: i64,
    table: TableId,
    ended: &[i64],
) -> Result<(), CatalogError> {
    let (mut rows, mut bytes) = (0, 0);
    for ids in ended.chunks(IDS_MAX) {
        let list = id_list(ids);
        let query = format!(
            "SELECT data_file_id, record_count, file_size_bytes FROM ducklake_data_file
             WHERE table_id = $1 AND end_snapshot IS NULL AND data_file_id IN ({list})"
        );
        let mut live = HashSet::new();
        for row in transaction.rows(query, parameters![table.0]).await? {
            live.insert(row.get::<i64>(0)?);
            rows += row.get::<i64>(1)?;
            bytes += row.get::<i64>(2)?;
        }
        if let Some(&segment) = ids.iter().find(|id| !live.contains(id)) {
            return Err(CatalogError::SegmentNotLive { table, segment });
        }
        let end = format!("UPDATE ducklake_data_file SET end_snapshot = $1 WHERE data_file_id IN ({list})");
        transaction.execute(end, parameters![snapshot]).await?;
    }
    let totals = "UPDATE ducklake_table_stats SET record_count = record_count - $2,
                  file_size_bytes = file_size_bytes - $3 WHERE table_id = $1";
    transaction.execute(totals, parameters![table.0, rows, bytes]).await?;
    Ok(())
}

/// `1, 2, 3`: numbers need no placeholders.
pub(super) fn id_list(ids: &[i64]) -> String {
    ids.iter().map(i64::to_string).collect::<Vec<_>>().join(", ")
}
