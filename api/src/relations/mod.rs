//! Schemas, tables and views that users make: what CREATE, COMMENT and DROP do.

mod comments; // COMMENT ON.
mod drops; // DROP.
mod names; // What names stand for, and where new ones go.
mod views; // CREATE VIEW.

use std::sync::Arc;

use datafusion::sql::sqlparser::ast::{ObjectName, Spanned};
use probepilot_catalog::Lake;
use probepilot_catalog::control::Control;
use probepilot_catalog::error::CatalogError;
use probepilot_catalog::manifest::TableSettings;
use probepilot_catalog::table::{Column, TableDefinition, TableKind};
use probepilot_query::Session;
use probepilot_sql::ddl::{ColumnDefinition, Ddl, Dropped, Name, Place};
use probepilot_sql::statement::ProbeOption;
use probepilot_sql::{SqlError, SqlState, ddl, position};

pub(crate) use names::refuse_dependents;
use names::{Found, creatable, find, is_reserved};

use crate::probes::{Done, options};

/// Makes and drops schemas and tables.
pub struct Relations {
    lake: Lake,
    control: Control,
}

impl Relations {
    /// Over the catalog.
    pub fn new(lake: Lake, control: Control) -> Relations {
        Relations { lake, control }
    }

    /// Does what the statement says; names without a schema are looked for along the session's search path. `text` is what
    /// the statement's positions refer to.
    pub async fn run(&self, ddl: &Ddl, session: &Session, text: &Arc<str>) -> Result<Done, SqlError> {
        let path = &session.settings().lock().search_path();
        match ddl {
            Ddl::CreateSchema { name, if_not_exists } => self.create_schema(name, *if_not_exists).await,
            Ddl::CreateTable { name, if_not_exists, columns } => {
                self.create_table(name, *if_not_exists, columns, path).await
            }
            Ddl::CreateView { name, or_replace, columns, query } => {
                let definition = session.define_view(text, query, columns)?;
                self.create_view(name, *or_replace, definition, path).await
            }
            Ddl::Comment { on, name, comment } => self.comment(on, name, comment.as_deref(), path).await,
            Ddl::Drop { kind: Dropped::Schema, names, if_exists, cascade } => {
                self.drop_schemas(names, *if_exists, *cascade).await
            }
            Ddl::Drop { kind, names, if_exists, cascade } => {
                self.drop_relations(*kind, names, (*if_exists, *cascade), path).await
            }
        }
    }

    /// `ALTER TABLE … SET (…)`. `text` is the statement, for positions.
    pub async fn set_table(
        &self,
        name: &ObjectName,
        given: &[ProbeOption],
        path: &[String],
        text: &str,
    ) -> Result<Done, SqlError> {
        let missing = || {
            SqlError::new(SqlState::UNDEFINED_TABLE, format!("table \"{name}\" does not exist"))
                .at(position::of_span(text, name.span()))
        };
        let written = ddl::name(name).ok_or_else(missing)?;
        let Some(Found::Table(table)) = find(&self.lake.manifest(), &written, path) else { return Err(missing()) };
        let mut settings = table.settings;
        options::of_table(&mut settings, given, text)?;
        self.lake.set_table_settings(table.id, settings).await?;
        Ok(Done { notices: Vec::new() })
    }

    async fn create_schema(&self, name: &Place<String>, if_not_exists: bool) -> Result<Done, SqlError> {
        let Place { of: schema, at } = name;
        if is_reserved(schema) {
            let message = format!("unacceptable schema name \"{schema}\"");
            return Err(SqlError::new(SqlState::RESERVED_NAME, message).detail("The name is reserved.").at(*at));
        }
        match self.lake.create_schema(schema).await {
            Err(CatalogError::SchemaExists(_)) if if_not_exists => {
                Ok(Done { notices: vec![format!("schema \"{schema}\" already exists, skipping")] })
            }
            created => done(created, *at),
        }
    }

    async fn create_table(
        &self,
        name: &Place<Name>,
        if_not_exists: bool,
        columns: &[ColumnDefinition],
        path: &[String],
    ) -> Result<Done, SqlError> {
        let name_at = name.at;
        let name = creatable(&self.lake.manifest(), name, path)?;
        let columns = columns.iter().map(|column| Column {
            name: column.name.of.clone(),
            sql_type: column.sql_type,
            nullable: !column.not_null,
            comment: None,
        });
        let columns = columns.collect();
        let definition = TableDefinition { name: name.clone(), kind: TableKind::Inserted, columns, comment: None };
        match self.lake.create_table(definition, TableSettings::default()).await {
            Err(CatalogError::TableExists(_)) if if_not_exists => {
                Ok(Done { notices: vec![format!("relation \"{}\" already exists, skipping", name.name)] })
            }
            Err(CatalogError::TableExists(name)) => {
                let message = format!("relation \"{}\" already exists", name.name);
                Err(SqlError::new(SqlState::DUPLICATE_TABLE, message).at(name_at))
            }
            created => done(created.map(drop), name_at),
        }
    }
}

fn done(outcome: Result<(), CatalogError>, at: Option<u32>) -> Result<Done, SqlError> {
    match outcome {
        Ok(()) => Ok(Done { notices: Vec::new() }),
        Err(error) => Err(SqlError::from(error).at(at)),
    }
}
