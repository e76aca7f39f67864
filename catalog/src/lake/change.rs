//! A change of the manifest: one snapshot more, with the counters it takes ids from.

use chrono::Utc;

use super::load::refuse_foreign_rows;
use crate::database::{Transaction, parameters};
use crate::error::CatalogError;
use crate::table::{TableDefinition, TableId};

/// The snapshot being made. Its transaction holds the turn, so the ids are ours alone.
pub(super) struct Change {
    /// Its id.
    pub snapshot: i64,
    schema_version: i64,
    next_catalog_id: i64,
    next_file_id: i64,
    /// What changed, in DuckLake's words.
    changes: Vec<String>,
}

impl Change {
    /// The snapshot after the newest one. Fails while the lake holds rows we cannot read: what is kept in log and tail
    /// stays there until someone has looked.
    pub async fn begin(transaction: &mut Transaction) -> Result<Change, CatalogError> {
        let query = "SELECT snapshot_id, schema_version, next_catalog_id, next_file_id FROM ducklake_snapshot
                     ORDER BY snapshot_id DESC LIMIT 1";
        let Some(newest) = transaction.row(query, vec![]).await? else {
            return Err(CatalogError::Corrupt("the lake's catalog has no snapshot".into()));
        };
        refuse_foreign_rows(transaction, newest.get(0)?).await?;
        Ok(Change {
            snapshot: newest.get::<i64>(0)? + 1,
            schema_version: newest.get(1)?,
            next_catalog_id: newest.get(2)?,
            next_file_id: newest.get(3)?,
            changes: Vec::new(),
        })
    }

    /// An id for a schema or a table.
    pub fn catalog_id(&mut self) -> i64 {
        self.next_catalog_id += 1;
        self.next_catalog_id - 1
    }

    /// An id for a data file.
    pub fn file_id(&mut self) -> i64 {
        self.next_file_id += 1;
        self.next_file_id - 1
    }

    /// Ends the live rows that have this id: of each of the manifest's tables, by the column that names it there.
    pub async fn end(&self, transaction: &mut Transaction, rows: &[(&str, &str)], id: i64) -> Result<(), CatalogError> {
        for (of, column) in rows {
            let end = format!("UPDATE {of} SET end_snapshot = $2 WHERE {column} = $1 AND end_snapshot IS NULL");
            transaction.execute(end, parameters![id, self.snapshot]).await?;
        }
        Ok(())
    }

    /// Notes a change that leaves every table's shape alone.
    pub fn note(&mut self, change: String) {
        self.changes.push(change);
    }

    /// Notes a change of a table's shape: this snapshot has a new schema version.
    pub async fn note_shape(
        &mut self,
        transaction: &mut Transaction,
        table: TableId,
        change: String,
    ) -> Result<(), CatalogError> {
        self.note_names(transaction, Some(table), change).await
    }

    /// Notes a change of a table's shape, or of what other names there are: schemas and views.
    pub async fn note_names(
        &mut self,
        transaction: &mut Transaction,
        table: Option<TableId>,
        change: String,
    ) -> Result<(), CatalogError> {
        self.changes.push(change);
        self.schema_version += 1;
        let table = table.map(|table| table.0);
        let version = vec![parameters![self.snapshot, self.schema_version, table]];
        transaction.insert("ducklake_schema_versions (begin_snapshot, schema_version, table_id)", version).await
    }

    /// Stores the snapshot; `extra` is free text that other programs keep and ignore.
    pub async fn finish(self, transaction: &mut Transaction, extra: Option<&str>) -> Result<(), CatalogError> {
        let Change { snapshot, schema_version, next_catalog_id, next_file_id, changes } = self;
        let row = vec![parameters![snapshot, Utc::now(), schema_version, next_catalog_id, next_file_id]];
        let columns = "ducklake_snapshot (snapshot_id, snapshot_time, schema_version, next_catalog_id, next_file_id)";
        transaction.insert(columns, row).await?;
        let changes: Vec<String> = changes.into_iter().filter(|change| !change.is_empty()).collect();
        let row = vec![parameters![snapshot, changes.join(","), "probepilot", extra]];
        let columns = "ducklake_snapshot_changes (snapshot_id, changes_made, author, commit_extra_info)";
        transaction.insert(columns, row).await
    }
}

/// DuckLake's name for one of our schemas.
pub(super) fn ducklake_schema(schema: &str) -> &str {
    if schema == crate::table::PUBLIC { "main" } else { schema }
}

/// Our name for one of DuckLake's schemas.
pub(super) fn our_schema(schema: String) -> String {
    if schema == ducklake_schema(crate::table::PUBLIC) { crate::table::PUBLIC.to_owned() } else { schema }
}

/// A name in the grammar of `changes_made`.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// `created_table:"main"."t"`
pub(super) fn created_table(definition: &TableDefinition) -> String {
    let schema = quoted(ducklake_schema(&definition.name.schema));
    format!("created_table:{schema}.{}", quoted(&definition.name.name))
}
