//! DROP SCHEMA, TABLE and VIEW.

use probepilot_catalog::error::CatalogError;
use probepilot_catalog::manifest::Manifest;
use probepilot_catalog::table::{PUBLIC, SYSTEM, TableId, TableKind};
use probepilot_sql::ddl::{Dropped, Name, Place};
use probepilot_sql::{SqlError, SqlState};

use super::names::{Found, find, is_reserved, refuse_dependents};
use super::{Relations, done};
use crate::probes::Done;

impl Relations {
    pub(super) async fn drop_schemas(
        &self,
        names: &[Place<Name>],
        if_exists: bool,
        cascade: bool,
    ) -> Result<Done, SqlError> {
        let mut notices = Vec::new();
        for Place { of: Name { name, .. }, at } in names {
            if is_reserved(name) || name == PUBLIC {
                let message = format!("cannot drop schema {name} because it is required by the database system");
                return Err(SqlError::new(SqlState::DEPENDENT_OBJECTS_STILL_EXIST, message).at(*at));
            }
            let manifest = self.lake.manifest();
            let inside = inside(&manifest, name);
            // Views elsewhere go with what they read.
            let outside = manifest.dependents(&inside).into_iter().filter(|view| view.name.schema != *name);
            let outside: Vec<_> = outside.collect();
            let ids: Vec<i64> = outside.iter().map(|view| view.id).collect();
            match self.lake.drop_schema(name, cascade, &ids).await {
                Err(CatalogError::UnknownSchema(_)) if if_exists => {
                    notices.push(format!("schema \"{name}\" does not exist, skipping"));
                }
                dropped => {
                    done(dropped, *at)?;
                    let more = inside.len() + outside.len();
                    if more > 0 {
                        let objects = if more == 1 { "object" } else { "objects" };
                        notices.push(format!("drop cascades to {more} other {objects}"));
                    }
                }
            }
        }
        Ok(Done { notices })
    }

    /// Drops tables or views, all of them or none.
    pub(super) async fn drop_relations(
        &self,
        kind: Dropped,
        names: &[Place<Name>],
        (if_exists, cascade): (bool, bool),
        path: &[String],
    ) -> Result<Done, SqlError> {
        let manifest = self.lake.manifest();
        let (mut dropped, mut notices): (Vec<(Found, Option<u32>)>, Vec<String>) = (Vec::new(), Vec::new());
        for Place { of: name, at } in names {
            let word = if kind == Dropped::View { "view" } else { "table" };
            let Some(found) = find(&manifest, name, path) else {
                let missing = format!("{word} \"{}\" does not exist", name.name);
                if if_exists {
                    notices.push(format!("{missing}, skipping"));
                    continue;
                }
                return Err(SqlError::new(SqlState::UNDEFINED_TABLE, missing).at(*at));
            };
            if found.kind() != word {
                let hint = format!("Use DROP {0} to remove a {1}.", found.kind().to_uppercase(), found.kind());
                let message = format!("\"{}\" is not a {word}", name.name);
                return Err(SqlError::new(SqlState::WRONG_OBJECT_TYPE, message).hint(hint).at(*at));
            }
            self.may_drop(&found).await.map_err(|error| error.at(*at))?;
            if !dropped.iter().any(|(known, _)| known.id() == found.id()) {
                dropped.push((found, *at));
            }
        }
        let ids: Vec<i64> = dropped.iter().map(|(found, _)| found.id()).collect();
        let more = manifest.dependents(&ids);
        if !cascade {
            for (found, at) in &dropped {
                // What is dropped together keeps nothing of each other.
                if manifest.dependents(&[found.id()]).iter().any(|view| !ids.contains(&view.id)) {
                    refuse_dependents(&manifest, &ids, &format!("{} {}", found.kind(), found.name().name), *at)?;
                }
            }
        }
        let is_view = |(found, _): &(Found, Option<u32>)| matches!(found, Found::View(_)).then(|| found.id());
        let mut views: Vec<i64> = dropped.iter().filter_map(is_view).collect();
        for view in more {
            notices.push(format!("drop cascades to view {}", view.name));
            views.push(view.id);
        }
        let is_table =
            |(found, _): &(Found, Option<u32>)| matches!(found, Found::Table(_)).then(|| TableId(found.id()));
        let tables: Vec<TableId> = dropped.iter().filter_map(is_table).collect();
        self.lake.drop_relations(&tables, &views).await?;
        Ok(Done { notices })
    }

    /// 42501 for tables of ours, 2BP01 for one that a probe writes to.
    async fn may_drop(&self, found: &Found) -> Result<(), SqlError> {
        let Found::Table(table) = found else { return Ok(()) };
        let name = &table.definition.name;
        if name.schema == SYSTEM {
            let message = format!("permission denied: \"{name}\" is a system table");
            return Err(SqlError::new(SqlState::INSUFFICIENT_PRIVILEGE, message));
        }
        let may_be_written = name.schema == PUBLIC && table.definition.kind != TableKind::Inserted;
        if may_be_written && self.control.probe_by_name(&name.name).await?.is_some() {
            let message = format!("cannot drop table {name} because probe {name} writes to it");
            return Err(SqlError::new(SqlState::DEPENDENT_OBJECTS_STILL_EXIST, message)
                .hint(format!("DROP PROBE {name} WITH DATA drops both.")));
        }
        Ok(())
    }
}

/// The ids of a schema's tables and views.
fn inside(manifest: &Manifest, schema: &str) -> Vec<i64> {
    let tables = manifest.tables.values().filter(|table| table.definition.name.schema == schema);
    let views = manifest.views.values().filter(|view| view.name.schema == schema);
    tables.map(|table| table.id.0).chain(views.map(|view| view.id)).collect()
}
