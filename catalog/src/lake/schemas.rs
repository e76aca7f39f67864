//! Creating and dropping schemas.

use uuid::Uuid;

use super::change::{Change, ducklake_schema, our_schema, quoted};
use super::tables::{end_table, plain_folder};
use super::views::end_view;
use super::{Lake, TURNSTILE};
use crate::database::{Transaction, parameters};
use crate::error::CatalogError;
use crate::table::{PUBLIC, SYSTEM, TableId, TableName};

impl Lake {
    /// Creates an empty schema.
    pub async fn create_schema(&self, name: &str) -> Result<(), CatalogError> {
        let mut transaction = self.inner.database.write("create a schema", TURNSTILE).await?;
        let mut change = Change::begin(&mut transaction).await?;
        if find(&mut transaction, name).await?.is_some() {
            return Err(CatalogError::SchemaExists(name.to_owned()));
        }
        insert(&mut transaction, &mut change, name).await?;
        self.finish_names(transaction, change).await
    }

    /// Ends a schema; with `cascade` everything in it too, else it must be empty. `views` go with it: those elsewhere that
    /// read what is in it.
    pub async fn drop_schema(&self, name: &str, cascade: bool, views: &[i64]) -> Result<(), CatalogError> {
        let mut transaction = self.inner.database.write("drop a schema", TURNSTILE).await?;
        let mut change = Change::begin(&mut transaction).await?;
        let schema = find(&mut transaction, name).await?.ok_or_else(|| CatalogError::UnknownSchema(name.to_owned()))?;
        let query = "SELECT table_id, table_name FROM ducklake_table WHERE schema_id = $1 AND end_snapshot IS NULL
                     ORDER BY table_name";
        for row in transaction.rows(query, parameters![schema]).await? {
            if !cascade {
                let holds = TableName { schema: name.to_owned(), name: row.get(1)? };
                return Err(CatalogError::SchemaNotEmpty { schema: name.to_owned(), holds });
            }
            end_table(&mut transaction, &mut change, TableId(row.get(0)?)).await?;
        }
        let query = "SELECT view_id, view_name FROM ducklake_view WHERE schema_id = $1 AND end_snapshot IS NULL
                     ORDER BY view_name";
        for row in transaction.rows(query, parameters![schema]).await? {
            if !cascade {
                let holds = TableName { schema: name.to_owned(), name: row.get(1)? };
                return Err(CatalogError::SchemaNotEmpty { schema: name.to_owned(), holds });
            }
            end_view(&mut transaction, &mut change, row.get(0)?).await?;
        }
        for &view in views {
            end_view(&mut transaction, &mut change, view).await?;
        }
        let rows = [("ducklake_schema", "schema_id"), ("ducklake_tag", "object_id")];
        change.end(&mut transaction, &rows, schema).await?;
        change.note_names(&mut transaction, None, format!("dropped_schema:{schema}")).await?;
        self.finish_names(transaction, change).await
    }
}

/// The id of a live schema.
async fn find(transaction: &mut Transaction, name: &str) -> Result<Option<i64>, CatalogError> {
    let query = "SELECT schema_id FROM ducklake_schema WHERE schema_name = $1 AND end_snapshot IS NULL";
    let row = transaction.row(query, parameters![ducklake_schema(name)]).await?;
    row.map(|row| row.get(0)).transpose()
}

async fn insert(transaction: &mut Transaction, change: &mut Change, name: &str) -> Result<i64, CatalogError> {
    let (id, name) = (change.catalog_id(), ducklake_schema(name));
    let folder = plain_folder(name, "schema", id);
    let row = vec![parameters![id, Uuid::new_v4(), change.snapshot, name, folder, true]];
    let into = "ducklake_schema (schema_id, schema_uuid, begin_snapshot, schema_name, path, path_is_relative)";
    transaction.insert(into, row).await?;
    change.note_names(transaction, None, format!("created_schema:{}", quoted(name))).await?;
    Ok(id)
}

/// The schema of a new table or view. Ours are made when they are first needed, a user's must be there.
pub(super) async fn of_table(
    transaction: &mut Transaction,
    change: &mut Change,
    schema: &str,
) -> Result<i64, CatalogError> {
    match find(transaction, schema).await? {
        Some(id) => Ok(id),
        None if [PUBLIC, SYSTEM].contains(&schema) => insert(transaction, change, schema).await,
        None => Err(CatalogError::UnknownSchema(our_schema(schema.to_owned()))),
    }
}
