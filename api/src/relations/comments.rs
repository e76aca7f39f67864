//! COMMENT ON.

use probepilot_catalog::lake::Commented;
use probepilot_catalog::table::SYSTEM;
use probepilot_sql::ddl::{CommentOn, Name, Place};
use probepilot_sql::{SqlError, SqlState};

use super::names::{Found, find};
use super::{Relations, done};
use crate::probes::Done;

/// Characters of a comment at most: it travels with every description of its object.
const COMMENT_CHARACTERS_MAX: usize = 10_000;

impl Relations {
    pub(super) async fn comment(
        &self,
        on: &CommentOn,
        name: &Place<Name>,
        comment: Option<&str>,
        path: &[String],
    ) -> Result<Done, SqlError> {
        if comment.is_some_and(|comment| comment.chars().count() > COMMENT_CHARACTERS_MAX) {
            let message = format!("a comment has at most {COMMENT_CHARACTERS_MAX} characters");
            return Err(SqlError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, message).at(name.at));
        }
        let commented = self.commented(on, &name.of, path).map_err(|error| error.at(name.at))?;
        done(self.lake.comment(commented, comment).await, name.at)
    }

    /// The object in the manifest.
    fn commented(&self, on: &CommentOn, name: &Name, path: &[String]) -> Result<Commented, SqlError> {
        let manifest = self.lake.manifest();
        if *on == CommentOn::Schema {
            let missing = || {
                let message = format!("schema \"{}\" does not exist", name.name);
                SqlError::new(SqlState::INVALID_SCHEMA_NAME, message)
            };
            return manifest.schemas.get(&name.name).map(|schema| Commented::Schema(schema.id)).ok_or_else(missing);
        }
        let found = find(&manifest, name, path).ok_or_else(|| {
            SqlError::new(SqlState::UNDEFINED_TABLE, format!("relation \"{}\" does not exist", name.name))
        })?;
        if found.name().schema == SYSTEM {
            let message = format!("permission denied: \"{}\" is a system table", found.name());
            return Err(SqlError::new(SqlState::INSUFFICIENT_PRIVILEGE, message));
        }
        let of_another_kind = |word: &str| {
            let message = format!("\"{}\" is not a {word}", name.name);
            Err(SqlError::new(SqlState::WRONG_OBJECT_TYPE, message))
        };
        match (on, &found) {
            (CommentOn::Table, Found::Table(table)) => Ok(Commented::Table(table.id)),
            (CommentOn::Table, Found::View(_)) => of_another_kind("table"),
            (CommentOn::View, Found::View(view)) => Ok(Commented::View(view.id)),
            (CommentOn::View, Found::Table(_)) => of_another_kind("view"),
            (CommentOn::Column(column), found) => {
                let place = match found {
                    Found::Table(table) => {
                        let columns = table.definition.columns.iter().zip(&table.column_ids);
                        let id = columns.filter(|(known, _)| known.name == *column).map(|(_, id)| *id).next();
                        id.map(|id| Commented::Column(table.id, id))
                    }
                    Found::View(view) => {
                        let columns = view.definition.columns.iter().zip(1..);
                        let position = columns.filter(|(known, _)| known.name == *column).map(|(_, at)| at).next();
                        position.map(|position| Commented::ViewColumn(view.id, position))
                    }
                };
                place.ok_or_else(|| {
                    let message = format!("column \"{column}\" of relation \"{}\" does not exist", name.name);
                    SqlError::new(SqlState::UNDEFINED_COLUMN, message)
                })
            }
            (CommentOn::Schema, _) => Err(SqlError::internal("a schema was taken for a relation", "it was found")),
        }
    }
}
