//! Creating, replacing and dropping views.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use uuid::Uuid;

use super::change::{Change, ducklake_schema, our_schema, quoted};
use super::schemas;
use super::tables::refuse_taken_name;
use super::{Lake, TURNSTILE};
use crate::database::{Transaction, parameters};
use crate::error::CatalogError;
use crate::manifest::{View, ViewColumn, ViewDefinition};
use crate::table::TableName;

/// What other engines read of a view's language.
const DIALECT: &str = "duckdb";

/// Where a view is, and by which column.
const VIEW_ROW: (&str, &str) = ("ducklake_view", "view_id");

impl Lake {
    /// Creates a view; 42P07 when the name is taken.
    pub async fn create_view(&self, name: &TableName, definition: &ViewDefinition) -> Result<(), CatalogError> {
        let mut transaction = self.inner.database.write("create a view", TURNSTILE).await?;
        let mut change = Change::begin(&mut transaction).await?;
        let schema = schemas::of_table(&mut transaction, &mut change, &name.schema).await?;
        refuse_taken_name(&mut transaction, schema, name).await?;
        let view = change.catalog_id();
        insert(&mut transaction, change.snapshot, view, schema, name, definition).await?;
        let created = format!("created_view:{}.{}", quoted(ducklake_schema(&name.schema)), quoted(&name.name));
        change.note_names(&mut transaction, None, created).await?;
        self.finish_names(transaction, change).await
    }

    /// Gives a view another query; its comment stays.
    pub async fn replace_view(&self, view: &View, definition: &ViewDefinition) -> Result<(), CatalogError> {
        let mut transaction = self.inner.database.write("replace a view", TURNSTILE).await?;
        let mut change = Change::begin(&mut transaction).await?;
        let query = "SELECT schema_id FROM ducklake_view WHERE view_id = $1 AND end_snapshot IS NULL";
        let row = transaction.row(query, parameters![view.id]).await?;
        let schema: i64 = row.ok_or_else(|| CatalogError::UnknownView(view.name.clone()))?.get(0)?;
        change.end(&mut transaction, &[VIEW_ROW], view.id).await?;
        forget(&mut transaction, view.id).await?;
        insert(&mut transaction, change.snapshot, view.id, schema, &view.name, definition).await?;
        change.note_names(&mut transaction, None, format!("altered_view:{}", view.id)).await?;
        self.finish_names(transaction, change).await
    }

    /// Ends a schema change that no table's shape is part of.
    pub(super) async fn finish_names(&self, mut transaction: Transaction, change: Change) -> Result<(), CatalogError> {
        change.finish(&mut transaction, None).await?;
        transaction.commit().await?;
        self.refresh().await?;
        Ok(())
    }
}

async fn insert(
    transaction: &mut Transaction,
    snapshot: i64,
    view: i64,
    schema: i64,
    name: &TableName,
    definition: &ViewDefinition,
) -> Result<(), CatalogError> {
    let ViewDefinition { sql, lake_sql, columns, reads } = definition;
    let row = parameters![view, Uuid::new_v4(), snapshot, schema, name.name.as_str(), DIALECT, lake_sql.as_str(), ""];
    let into = "ducklake_view (view_id, view_uuid, begin_snapshot, schema_id, view_name, dialect, sql, column_aliases)";
    transaction.insert(into, vec![row]).await?;
    transaction.insert("pp_view (view_id, sql)", vec![parameters![view, sql.as_str()]]).await?;
    let columns = columns.iter().zip(1_i64..).map(|(column, position)| {
        parameters![view, position, column.name.as_str(), column.sql_type.as_str(), column.comment.clone()]
    });
    transaction.insert("pp_view_column (view_id, position, name, sql_type, comment)", columns.collect()).await?;
    let reads = reads.iter().map(|&relation| parameters![view, relation]).collect();
    transaction.insert("pp_view_reads (view_id, relation_id)", reads).await
}

/// Forgets what we keep of a view.
async fn forget(transaction: &mut Transaction, view: i64) -> Result<(), CatalogError> {
    for of in ["pp_view", "pp_view_column", "pp_view_reads"] {
        transaction.execute(format!("DELETE FROM {of} WHERE view_id = $1"), parameters![view]).await?;
    }
    Ok(())
}

/// Ends a view with its comment.
pub(super) async fn end_view(
    transaction: &mut Transaction,
    change: &mut Change,
    view: i64,
) -> Result<(), CatalogError> {
    change.end(transaction, &[VIEW_ROW, ("ducklake_tag", "object_id")], view).await?;
    forget(transaction, view).await?;
    change.note_names(transaction, None, format!("dropped_view:{view}")).await
}

/// Every live view of ours.
pub(super) async fn load(transaction: &mut Transaction) -> Result<BTreeMap<TableName, Arc<View>>, CatalogError> {
    let mut columns: HashMap<i64, Vec<ViewColumn>> = HashMap::new();
    let query = "SELECT view_id, name, sql_type, comment FROM pp_view_column ORDER BY view_id, position";
    for row in transaction.rows(query, vec![]).await? {
        let column = ViewColumn { name: row.get(1)?, sql_type: row.get(2)?, comment: row.get(3)? };
        columns.entry(row.get(0)?).or_default().push(column);
    }
    let mut reads: HashMap<i64, Vec<i64>> = HashMap::new();
    for row in transaction.rows("SELECT view_id, relation_id FROM pp_view_reads", vec![]).await? {
        reads.entry(row.get(0)?).or_default().push(row.get(1)?);
    }
    let query = "
        SELECT v.view_id, s.schema_name, v.view_name, p.sql, v.sql, g.value
        FROM ducklake_view v
        JOIN ducklake_schema s ON s.schema_id = v.schema_id AND s.end_snapshot IS NULL
        JOIN pp_view p ON p.view_id = v.view_id
        LEFT JOIN ducklake_tag g ON g.object_id = v.view_id AND g.key = 'comment' AND g.end_snapshot IS NULL
        WHERE v.end_snapshot IS NULL";
    let mut views = BTreeMap::new();
    for row in transaction.rows(query, vec![]).await? {
        let id: i64 = row.get(0)?;
        let name = TableName { schema: our_schema(row.get(1)?), name: row.get(2)? };
        let definition = ViewDefinition {
            sql: row.get(3)?,
            lake_sql: row.get(4)?,
            columns: columns.remove(&id).unwrap_or_default(),
            reads: reads.remove(&id).unwrap_or_default(),
        };
        views.insert(name.clone(), Arc::new(View { id, name, definition, comment: row.get(5)? }));
    }
    Ok(views)
}
