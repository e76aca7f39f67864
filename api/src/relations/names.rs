//! Names of schemas, tables and views: what they stand for, and where new ones go.

use std::sync::Arc;

use probepilot_catalog::manifest::{Manifest, Table, View};
use probepilot_catalog::table::{PUBLIC, SYSTEM, TableName};
use probepilot_sql::ddl::{Name, Place};
use probepilot_sql::{SqlError, SqlState, hooks};

/// Schemas that are always there and hold nothing of users.
const RESERVED: [&str; 4] = [SYSTEM, "main", "pg_catalog", "information_schema"];

pub(super) fn is_reserved(schema: &str) -> bool {
    RESERVED.contains(&schema) || schema.starts_with("pg_") || hooks::SCHEMAS.contains(&schema)
}

/// Where a new relation goes: the schema it is written with, else the first of the path that is there.
pub(super) fn creatable(manifest: &Manifest, name: &Place<Name>, path: &[String]) -> Result<TableName, SqlError> {
    let Place { of: Name { schema, name }, at } = name;
    let exists = |schema: &String| schema == PUBLIC || manifest.schemas.contains_key(schema);
    let schema = match schema {
        Some(schema) if is_reserved(schema) => {
            let message = format!("permission denied for schema {schema}");
            return Err(SqlError::new(SqlState::INSUFFICIENT_PRIVILEGE, message)
                .detail("It holds what the server makes.")
                .at(*at));
        }
        Some(schema) if !exists(schema) => {
            let message = format!("schema \"{schema}\" does not exist");
            return Err(SqlError::new(SqlState::INVALID_SCHEMA_NAME, message).at(*at));
        }
        Some(schema) => schema,
        None => path.iter().find(|schema| exists(schema) && !is_reserved(schema)).ok_or_else(|| {
            SqlError::new(SqlState::INVALID_SCHEMA_NAME, "no schema has been selected to create in").at(*at)
        })?,
    };
    Ok(TableName { schema: schema.clone(), name: name.clone() })
}

/// What a name stands for.
#[derive(Clone)]
pub(super) enum Found {
    Table(Arc<Table>),
    View(Arc<View>),
}

impl Found {
    pub fn name(&self) -> &TableName {
        match self {
            Found::Table(table) => &table.definition.name,
            Found::View(view) => &view.name,
        }
    }

    /// Its id in the manifest.
    pub fn id(&self) -> i64 {
        match self {
            Found::Table(table) => table.id.0,
            Found::View(view) => view.id,
        }
    }

    /// The word for it.
    pub fn kind(&self) -> &'static str {
        match self {
            Found::Table(_) => "table",
            Found::View(_) => "view",
        }
    }
}

/// The table or view of a name, along the path when it has no schema.
pub(super) fn find(manifest: &Manifest, name: &Name, path: &[String]) -> Option<Found> {
    let in_schema = |schema: &String| {
        let name = TableName { schema: schema.clone(), name: name.name.clone() };
        let table = manifest.tables.get(&name).cloned().map(Found::Table);
        table.or_else(|| manifest.views.get(&name).cloned().map(Found::View))
    };
    match &name.schema {
        Some(schema) => in_schema(schema),
        None => path.iter().find_map(in_schema),
    }
}

/// 2BP01 for what views read that are to stay.
pub(crate) fn refuse_dependents(manifest: &Manifest, ids: &[i64], what: &str, at: Option<u32>) -> Result<(), SqlError> {
    let dependents = manifest.dependents(ids);
    let Some(first) = dependents.first() else { return Ok(()) };
    let depends = |view: &Arc<View>| format!("view {} depends on {what}", view.name);
    let all: Vec<String> = dependents.iter().map(depends).collect();
    let message = format!("cannot drop {what} because other objects depend on it");
    Err(SqlError::new(SqlState::DEPENDENT_OBJECTS_STILL_EXIST, message)
        .detail(if all.len() == 1 { format!("{}.", depends(first)) } else { format!("{}.", all.join("; ")) })
        .hint("Use DROP … CASCADE to drop the dependent objects too.")
        .at(at))
}
