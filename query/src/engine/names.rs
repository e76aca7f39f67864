//! Table names to providers, along the session's search path.

use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::common::TableReference;
use probepilot_catalog::manifest::{Manifest, Table, View};
use probepilot_catalog::ports::LiveTable;
use probepilot_catalog::table::TableName;
use probepilot_sql::{SqlError, SqlState, hooks};

use super::nearest;
use super::views;
use crate::pg_catalog;
use crate::scan::{LiveProvider, StoredTable};

/// The names a statement can use.
pub(super) struct Names {
    pub database: String,
    pub search_path: Vec<String>,
    pub manifest: Arc<Manifest>,
    pub live_tables: Vec<Arc<dyn LiveTable>>,
    /// Views around the place.
    pub depth: usize,
}

/// What a name stands for.
pub(super) enum Named {
    /// A table.
    Table(Arc<dyn TableProvider>),
    /// A view that a user made.
    Stored(Arc<View>),
    /// A view that comes with us, unless a user made one of its name.
    BuiltIn(&'static views::View),
}

impl Names {
    /// What a name in a statement stands for: 42P01 when there is nothing, 3F000 or 0A000 for its schema or database.
    pub fn resolve(&self, name: &TableReference) -> Result<Named, SqlError> {
        let schema = self.schema_of(name)?;
        self.find(&schema, name.table()).ok_or_else(|| self.not_found(name))
    }

    /// The schema in which a name is found; errors as for [`Names::resolve`].
    pub fn schema_of(&self, name: &TableReference) -> Result<String, SqlError> {
        if let Some(database) = name.catalog()
            && database != self.database
        {
            let message = format!("cross-database references are not implemented: \"{name}\"");
            return Err(SqlError::unsupported(message));
        }
        match name.schema() {
            Some(schema) => self.find(schema, name.table()).map(|_| schema.to_owned()),
            None => std::iter::once(pg_catalog::PG_CATALOG)
                .chain(self.search_path.iter().map(String::as_str))
                .find(|schema| self.find(schema, name.table()).is_some())
                .map(str::to_owned),
        }
        .ok_or_else(|| self.not_found(name))
    }

    /// The stored table that a name stands for: what can be inserted into.
    pub fn stored(&self, name: &TableReference) -> Result<Arc<Table>, SqlError> {
        let found = TableName { schema: self.schema_of(name)?, name: name.table().to_owned() };
        self.manifest.tables.get(&found).cloned().ok_or_else(|| {
            let message = format!("cannot insert into \"{}\"", name.table());
            SqlError::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message)
                .detail("Its rows are made when they are read.")
        })
    }

    fn find(&self, schema: &str, table: &str) -> Option<Named> {
        if let Some(provider) = pg_catalog::provider(schema, table) {
            return Some(Named::Table(provider));
        }
        let name = TableName { schema: schema.to_owned(), name: table.to_owned() };
        if let Some(table) = self.live_tables.iter().find(|live| live.name() == name) {
            return Some(Named::Table(Arc::new(LiveProvider::new(Arc::clone(table)))));
        }
        if let Some(table) = self.manifest.tables.get(&name) {
            return Some(Named::Table(Arc::new(StoredTable::new(table))));
        }
        let stored = self.manifest.views.get(&name).cloned().map(Named::Stored);
        stored.or_else(|| views::find(schema, table).map(Named::BuiltIn))
    }

    /// Says whether there is a table of this name.
    pub fn has_table(&self, name: &TableName) -> bool {
        self.manifest.tables.contains_key(name) || self.live_tables.iter().any(|live| live.name() == *name)
    }

    fn not_found(&self, name: &TableReference) -> SqlError {
        let shown = match name.schema() {
            Some(schema) => format!("{schema}.{}", name.table()),
            None => name.table().to_owned(),
        };
        let error = SqlError::new(SqlState::UNDEFINED_TABLE, format!("relation \"{shown}\" does not exist"));
        if name.schema().is_some_and(|schema| hooks::SCHEMAS.contains(&schema)) {
            return error.hint("Hooks of the kernel can only be read by a SELECT of their own, not beside tables.");
        }
        let known = self.known();
        let full = known.iter().map(String::as_str);
        match nearest::hint(&nearest::nearest(&shown, full)) {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }

    /// Names as a user would write them.
    fn known(&self) -> Vec<String> {
        let stored = self.manifest.tables.keys().cloned();
        let live = self.live_tables.iter().map(|table| table.name());
        let views = self.manifest.views.keys().cloned().chain(views::all().iter().map(views::View::table_name));
        let mut names: Vec<String> = stored.chain(live).chain(views).map(|name| name.to_string()).collect();
        names.extend(pg_catalog::table_names());
        names.sort();
        names.dedup();
        names
    }
}
