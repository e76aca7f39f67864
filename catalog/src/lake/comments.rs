//! Comments on schemas, tables, views and columns.

use super::change::Change;
use super::{Lake, TURNSTILE};
use crate::database::{Transaction, parameters};
use crate::error::CatalogError;
use crate::table::TableId;

/// What a comment is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Commented {
    /// A schema, by its id.
    Schema(i64),
    /// A table.
    Table(TableId),
    /// A table's column, by DuckLake's `column_id`.
    Column(TableId, i64),
    /// A view, by its id.
    View(i64),
    /// A view's column, from 1.
    ViewColumn(i64, i64),
}

impl Lake {
    /// Gives something a comment, or takes it away.
    pub async fn comment(&self, on: Commented, comment: Option<&str>) -> Result<(), CatalogError> {
        let mut transaction = self.inner.database.write("store a comment", TURNSTILE).await?;
        let mut change = Change::begin(&mut transaction).await?;
        let (table, noted) = match on {
            // DuckLake has no word for a change of a schema.
            Commented::Schema(_) => (None, String::new()),
            Commented::Table(id) | Commented::Column(id, _) => (Some(id), format!("altered_table:{id}")),
            Commented::View(id) | Commented::ViewColumn(id, _) => (None, format!("altered_view:{id}")),
        };
        match on {
            Commented::Schema(id) | Commented::Table(TableId(id)) | Commented::View(id) => {
                replace(&mut transaction, change.snapshot, ("ducklake_tag", &["object_id"]), &[id], comment).await?;
            }
            Commented::Column(TableId(id), column) => {
                let of = ("ducklake_column_tag", &["table_id", "column_id"][..]);
                replace(&mut transaction, change.snapshot, of, &[id, column], comment).await?;
            }
            Commented::ViewColumn(id, position) => {
                let update = "UPDATE pp_view_column SET comment = $3 WHERE view_id = $1 AND position = $2";
                transaction.execute(update, parameters![id, position, comment]).await?;
            }
        }
        change.note_names(&mut transaction, table, noted).await?;
        self.finish_names(transaction, change).await
    }
}

/// Ends the tag with a comment, and stores the new one.
async fn replace(
    transaction: &mut Transaction,
    snapshot: i64,
    (of, keys): (&str, &[&str]),
    ids: &[i64],
    comment: Option<&str>,
) -> Result<(), CatalogError> {
    let conditions: Vec<String> = keys.iter().zip(2..).map(|(key, number)| format!("{key} = ${number}")).collect();
    let end = format!(
        "UPDATE {of} SET end_snapshot = $1 WHERE {} AND key = 'comment' AND end_snapshot IS NULL",
        conditions.join(" AND ")
    );
    let mut values = parameters![snapshot];
    values.extend(ids.iter().map(|&id| id.into()));
    transaction.execute(end, values).await?;
    let Some(comment) = comment else { return Ok(()) };
    let mut row = Vec::new();
    row.extend(ids.iter().map(|&id| id.into()));
    row.extend(parameters![snapshot, "comment", comment]);
    transaction.insert(&format!("{of} ({}, begin_snapshot, key, value)", keys.join(", ")), vec![row]).await
}
