//! Creating, altering and dropping tables.

use std::collections::HashSet;
use std::sync::Arc;

use probepilot_sql::SqlType;
use uuid::Uuid;

use super::change::{Change, created_table, our_schema};
use super::schemas;
use super::views::end_view;
use super::{Lake, TURNSTILE};
use crate::database::{Transaction, parameters};
use crate::error::CatalogError;
use crate::manifest::{Table, TableSettings};
use crate::table::{Column, TIME_COLUMN, TableDefinition, TableId, TableKind, TableName, element_column_id};

impl Lake {
    /// Creates an empty table. Its first column must be `time timestamptz not null`, unless clients fill it.
    pub async fn create_table(
        &self,
        definition: TableDefinition,
        settings: TableSettings,
    ) -> Result<Arc<Table>, CatalogError> {
        check_definition(&definition)?;
        let mut transaction = self.inner.database.write("create a table", TURNSTILE).await?;
        let mut change = Change::begin(&mut transaction).await?;
        let schema_id = schemas::of_table(&mut transaction, &mut change, &definition.name.schema).await?;
        refuse_taken_name(&mut transaction, schema_id, &definition.name).await?;

        let TableDefinition { name, kind, columns, comment } = &definition;
        let table = TableId(change.catalog_id());
        let snapshot = change.snapshot;
        let folder = folder(&name.name, table);
        let row = vec![parameters![table.0, Uuid::new_v4(), snapshot, schema_id, name.name.as_str(), folder, true]];
        let into =
            "ducklake_table (table_id, table_uuid, begin_snapshot, schema_id, table_name, path, path_is_relative)";
        transaction.insert(into, row).await?;
        let retention_seconds = settings.retention_seconds.map(u64::cast_signed);
        let bytes_max = settings.bytes_max.map(u64::cast_signed);
        let row = vec![parameters![table.0, kind.as_str(), retention_seconds, bytes_max]];
        transaction.insert("pp_table (table_id, kind, retention_seconds, bytes_max)", row).await?;
        if let Some(comment) = comment {
            let tag = vec![parameters![table.0, snapshot, "comment", comment.as_str()]];
            transaction.insert("ducklake_tag (object_id, begin_snapshot, key, value)", tag).await?;
        }
        insert_columns(&mut transaction, table, snapshot, 1, columns).await?;
        change.note_shape(&mut transaction, table, created_table(&definition)).await?;
        change.finish(&mut transaction, None).await?;
        transaction.commit().await?;
        self.refreshed_table(table).await
    }

    /// Adds columns at the end; rows stored before have NULL in them, so they must be nullable.
    pub async fn add_columns(&self, table: TableId, columns: Vec<Column>) -> Result<Arc<Table>, CatalogError> {
        let mut transaction = self.inner.database.write("add columns to a table", TURNSTILE).await?;
        let change = Change::begin(&mut transaction).await?;
        let name = live_name(&mut transaction, table).await?;
        let query = "SELECT column_name FROM ducklake_column WHERE table_id = $1 AND end_snapshot IS NULL";
        let mut names = HashSet::new();
        for row in transaction.rows(query, parameters![table.0]).await? {
            names.insert(row.get::<String>(0)?);
        }
        for column in &columns {
            if !names.insert(column.name.clone()) {
                return Err(CatalogError::ColumnExists { table: name, column: column.name.clone() });
            }
            if !column.nullable {
                let text = format!("column \"{}\" of relation \"{name}\" must be nullable to be added", column.name);
                return Err(CatalogError::InvalidTable(text));
            }
        }
        // Ids of dropped columns are not given again: segments on disk still carry them.
        let query = "SELECT MAX(column_id) FROM ducklake_column WHERE table_id = $1 AND parent_column IS NULL";
        let highest = transaction.row(query, parameters![table.0]).await?;
        let highest = highest.map_or(Ok(None), |row| row.get::<Option<i64>>(0))?.unwrap_or(0);
        insert_columns(&mut transaction, table, change.snapshot, highest + 1, &columns).await?;
        self.finish_alter(transaction, change, table).await
    }

    /// Gives a table another name in its schema; its segments stay where they are.
    pub async fn rename_table(&self, table: TableId, name: &str) -> Result<Arc<Table>, CatalogError> {
        let mut transaction = self.inner.database.write("rename a table", TURNSTILE).await?;
        let change = Change::begin(&mut transaction).await?;
        let old = live_name(&mut transaction, table).await?;
        let query = "SELECT schema_id FROM ducklake_table WHERE table_id = $1 AND end_snapshot IS NULL";
        let row = transaction.row(query, parameters![table.0]).await?.ok_or(CatalogError::UnknownTable(table))?;
        let new = TableName { schema: old.schema, name: name.to_owned() };
        refuse_taken_name(&mut transaction, row.get(0)?, &new).await?;
        let copy = "
            INSERT INTO ducklake_table
                (table_id, table_uuid, begin_snapshot, schema_id, table_name, path, path_is_relative)
            SELECT table_id, table_uuid, CAST($2 AS BIGINT), schema_id, $3, path, path_is_relative
            FROM ducklake_table WHERE table_id = $1 AND end_snapshot IS NULL";
        transaction.execute(copy, parameters![table.0, change.snapshot, name]).await?;
        let end = "UPDATE ducklake_table SET end_snapshot = $2
                   WHERE table_id = $1 AND end_snapshot IS NULL AND begin_snapshot < $2";
        transaction.execute(end, parameters![table.0, change.snapshot]).await?;
        self.finish_alter(transaction, change, table).await
    }

    /// Sets how long and how much of a table is kept.
    pub async fn set_table_settings(
        &self,
        table: TableId,
        settings: TableSettings,
    ) -> Result<Arc<Table>, CatalogError> {
        let mut transaction = self.inner.database.write("change a table's settings", TURNSTILE).await?;
        let change = Change::begin(&mut transaction).await?;
        live_name(&mut transaction, table).await?;
        let TableSettings { retention_seconds, bytes_max } = settings;
        let (retention_seconds, bytes_max) = (retention_seconds.map(u64::cast_signed), bytes_max.map(u64::cast_signed));
        let update = "UPDATE pp_table SET retention_seconds = $2, bytes_max = $3 WHERE table_id = $1";
        transaction.execute(update, parameters![table.0, retention_seconds, bytes_max]).await?;
        self.finish_alter(transaction, change, table).await
    }

    /// Ends a table and its segments; [`Lake::expire`] gives the files up later.
    pub async fn drop_table(&self, table: TableId) -> Result<(), CatalogError> {
        self.drop_relations(&[table], &[]).await
    }

    /// Ends tables as [`Lake::drop_table`] does, and views: all of them or none.
    pub async fn drop_relations(&self, tables: &[TableId], views: &[i64]) -> Result<(), CatalogError> {
        if tables.is_empty() && views.is_empty() {
            return Ok(());
        }
        let mut transaction = self.inner.database.write("drop tables and views", TURNSTILE).await?;
        let mut change = Change::begin(&mut transaction).await?;
        for &table in tables {
            live_name(&mut transaction, table).await?;
            end_table(&mut transaction, &mut change, table).await?;
        }
        for &view in views {
            end_view(&mut transaction, &mut change, view).await?;
        }
        change.finish(&mut transaction, None).await?;
        transaction.commit().await?;
        self.refresh().await?;
        Ok(())
    }

    async fn finish_alter(
        &self,
        mut transaction: Transaction,
        mut change: Change,
        table: TableId,
    ) -> Result<Arc<Table>, CatalogError> {
        change.note_shape(&mut transaction, table, format!("altered_table:{table}")).await?;
        change.finish(&mut transaction, None).await?;
        transaction.commit().await?;
        self.refreshed_table(table).await
    }

    async fn refreshed_table(&self, table: TableId) -> Result<Arc<Table>, CatalogError> {
        self.refresh().await?.table(table).cloned().ok_or(CatalogError::UnknownTable(table))
    }
}

/// Ends a table with its columns, segments and comments.
pub(super) async fn end_table(
    transaction: &mut Transaction,
    change: &mut Change,
    table: TableId,
) -> Result<(), CatalogError> {
    let rows = [
        ("ducklake_table", "table_id"),
        ("ducklake_column", "table_id"),
        ("ducklake_data_file", "table_id"),
        ("ducklake_tag", "object_id"),
        ("ducklake_column_tag", "table_id"),
    ];
    change.end(transaction, &rows, table.0).await?;
    change.note_shape(transaction, table, format!("dropped_table:{table}")).await
}

fn check_definition(definition: &TableDefinition) -> Result<(), CatalogError> {
    let TableDefinition { name, kind, columns, .. } = definition;
    let starts_with_time = columns.first().is_some_and(|column| {
        column.name == TIME_COLUMN && column.sql_type == SqlType::Timestamptz && !column.nullable
    });
    if !starts_with_time && *kind != TableKind::Inserted {
        let text = format!("the first column of relation \"{name}\" must be {TIME_COLUMN} timestamptz not null");
        return Err(CatalogError::InvalidTable(text));
    }
    let mut names = HashSet::new();
    match columns.iter().find(|column| !names.insert(&column.name)) {
        Some(twice) => Err(CatalogError::ColumnExists { table: name.clone(), column: twice.name.clone() }),
        None => Ok(()),
    }
}

/// A folder of a new table.
fn folder(name: &str, table: TableId) -> String {
    plain_folder(name, "table", table.0)
}

/// Names that are not plain words must not reach paths.
pub(super) fn plain_folder(name: &str, kind: &str, id: i64) -> String {
    let is_plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if is_plain && !name.is_empty() { format!("{name}/") } else { format!("{kind}-{id}/") }
}

pub(super) async fn refuse_taken_name(
    transaction: &mut Transaction,
    schema_id: i64,
    name: &TableName,
) -> Result<(), CatalogError> {
    for (of, column) in [("ducklake_table", "table_name"), ("ducklake_view", "view_name")] {
        let query = format!("SELECT 1 FROM {of} WHERE schema_id = $1 AND {column} = $2 AND end_snapshot IS NULL");
        if transaction.row(query, parameters![schema_id, name.name.as_str()]).await?.is_some() {
            return Err(CatalogError::TableExists(name.clone()));
        }
    }
    Ok(())
}

async fn live_name(transaction: &mut Transaction, table: TableId) -> Result<TableName, CatalogError> {
    let query = "
        SELECT s.schema_name, t.table_name
        FROM ducklake_table t JOIN ducklake_schema s ON s.schema_id = t.schema_id AND s.end_snapshot IS NULL
        JOIN pp_table p ON p.table_id = t.table_id
        WHERE t.table_id = $1 AND t.end_snapshot IS NULL";
    let row = transaction.row(query, parameters![table.0]).await?.ok_or(CatalogError::UnknownTable(table))?;
    Ok(TableName { schema: our_schema(row.get(0)?), name: row.get(1)? })
}

async fn insert_columns(
    transaction: &mut Transaction,
    table: TableId,
    snapshot: i64,
    first_id: i64,
    columns: &[Column],
) -> Result<(), CatalogError> {
    let mut rows = Vec::with_capacity(columns.len());
    let mut types = Vec::with_capacity(columns.len());
    let mut elements = Vec::new();
    let mut tags = Vec::new();
    for (id, column) in (first_id..).zip(columns) {
        let Column { name, sql_type, nullable, comment } = column;
        rows.push(parameters![id, snapshot, table.0, id, name.as_str(), sql_type.ducklake().as_ref(), *nullable]);
        types.push(parameters![table.0, id, sql_type.name().as_ref()]);
        if let Some(element) = sql_type.element() {
            let (element_id, ducklake) = (element_column_id(id), element.ducklake());
            let row = parameters![element_id, snapshot, table.0, id, "element", ducklake.as_ref(), true, id];
            elements.push(row);
        }
        if let Some(comment) = comment {
            tags.push(parameters![table.0, id, snapshot, "comment", comment.as_str()]);
        }
    }
    let into = "ducklake_column
        (column_id, begin_snapshot, table_id, column_order, column_name, column_type, nulls_allowed)";
    transaction.insert(into, rows).await?;
    let into = "ducklake_column
        (column_id, begin_snapshot, table_id, column_order, column_name, column_type, nulls_allowed, parent_column)";
    transaction.insert(into, elements).await?;
    transaction.insert("pp_column (table_id, column_id, sql_type)", types).await?;
    transaction.insert("ducklake_column_tag (table_id, column_id, begin_snapshot, key, value)", tags).await
}
