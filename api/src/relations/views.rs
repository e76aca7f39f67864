//! CREATE VIEW.

use probepilot_catalog::error::CatalogError;
use probepilot_catalog::manifest::{View, ViewDefinition};
use probepilot_sql::ddl::{Name, Place};
use probepilot_sql::{SqlError, SqlState};

use super::names::creatable;
use super::{Relations, done};
use crate::probes::Done;

impl Relations {
    pub(super) async fn create_view(
        &self,
        name: &Place<Name>,
        or_replace: bool,
        mut definition: ViewDefinition,
        path: &[String],
    ) -> Result<Done, SqlError> {
        let at = name.at;
        let manifest = self.lake.manifest();
        let name = creatable(&manifest, name, path)?;
        if or_replace && manifest.tables.contains_key(&name) {
            let message = format!("\"{}\" is not a view", name.name);
            return Err(SqlError::new(SqlState::WRONG_OBJECT_TYPE, message).at(at));
        }
        if let Some(view) = manifest.views.get(&name).filter(|_| or_replace) {
            let around = manifest.dependents(&[view.id]);
            let reads_itself = |id: &i64| *id == view.id || around.iter().any(|dependent| dependent.id == *id);
            if definition.reads.iter().any(reads_itself) {
                let message = format!("infinite recursion detected in rules for relation \"{}\"", name.name);
                return Err(SqlError::new(SqlState("42P17"), message).at(at));
            }
            replaces(view, &mut definition).map_err(|error| error.at(at))?;
            return done(self.lake.replace_view(view, &definition).await, at);
        }
        match self.lake.create_view(&name, &definition).await {
            Err(CatalogError::TableExists(name)) => {
                let message = format!("relation \"{}\" already exists", name.name);
                Err(SqlError::new(SqlState::DUPLICATE_TABLE, message).at(at))
            }
            created => done(created, at),
        }
    }
}

/// Whether the new query has the old one's columns, with more behind them at most; their comments stay. Views and
/// statements that read the view count on it.
fn replaces(view: &View, definition: &mut ViewDefinition) -> Result<(), SqlError> {
    let wrong = |message: String| Err(SqlError::new(SqlState::INVALID_TABLE_DEFINITION, message));
    let old = &view.definition.columns;
    if definition.columns.len() < old.len() {
        return wrong("cannot drop columns from view".to_owned());
    }
    for (old, new) in old.iter().zip(&mut definition.columns) {
        if old.name != new.name {
            return wrong(format!("cannot change name of view column \"{}\" to \"{}\"", old.name, new.name));
        }
        if old.sql_type != new.sql_type {
            let (from, to) = (&old.sql_type, &new.sql_type);
            return wrong(format!("cannot change data type of view column \"{}\" from {from} to {to}", old.name));
        }
        new.comment.clone_from(&old.comment);
    }
    Ok(())
}
