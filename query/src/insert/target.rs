//! The table and the columns of an INSERT.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::sql::sqlparser::ast::{Ident, ObjectName};
use probepilot_catalog::manifest::Table;
use probepilot_catalog::table::Column;
use probepilot_sql::names::folded;
use probepilot_sql::{SqlError, SqlState, position};

/// A table and which of its columns are given.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// The table as it is when the statement is prepared.
    pub table: Arc<Table>,
    /// The columns' places in the table, in the order in which values are given.
    pub indexes: Vec<usize>,
    /// Whether the statement names them.
    named: bool,
}

impl Target {
    /// The columns that are named, or all. `text` is what their spans refer to.
    pub fn new(table: Arc<Table>, columns: &[Ident], text: &str) -> Result<Target, SqlError> {
        let known = &table.definition.columns;
        let mut indexes = Vec::with_capacity(columns.len());
        let mut seen = HashSet::new();
        for column in columns {
            let name = folded(column);
            let at = position::of_span(text, column.span);
            let Some(index) = known.iter().position(|known| known.name == name) else {
                let relation = &table.definition.name.name;
                let message = format!("column \"{name}\" of relation \"{relation}\" does not exist");
                return Err(SqlError::new(SqlState::UNDEFINED_COLUMN, message).at(at));
            };
            if !seen.insert(index) {
                let message = format!("column \"{name}\" specified more than once");
                return Err(SqlError::new(SqlState::DUPLICATE_COLUMN, message).at(at));
            }
            indexes.push(index);
        }
        let named = !columns.is_empty();
        if !named {
            indexes = (0..known.len()).collect();
        }
        Ok(Target { table, indexes, named })
    }

    /// The columns in the order in which values are given.
    pub fn columns(&self) -> impl Iterator<Item = &Column> {
        self.indexes.iter().map(|&index| &self.table.definition.columns[index])
    }

    /// Takes a source of so many columns: without a list of names the last columns may be left out. `places` says where
    /// the source's columns stand.
    pub fn fit(&mut self, width: usize, places: &[Option<u32>]) -> Result<(), SqlError> {
        let wrong = |message: &str, at| Err(SqlError::new(SqlState::SYNTAX_ERROR, message).at(at));
        if width > self.indexes.len() {
            let at = places.get(self.indexes.len()).copied().flatten();
            return wrong("INSERT has more expressions than target columns", at);
        }
        if width < self.indexes.len() && self.named {
            return wrong("INSERT has more target columns than expressions", places.first().copied().flatten());
        }
        self.indexes.truncate(width);
        Ok(())
    }
}

/// The plain names of a list of columns; 0A000 for parts of columns.
pub(crate) fn plain(columns: &[ObjectName], text: &str) -> Result<Vec<Ident>, SqlError> {
    use datafusion::sql::sqlparser::ast::Spanned;
    let plain = columns.iter().map(|column| match column.0.as_slice() {
        [part] => part.as_ident().cloned().ok_or(column),
        _ => Err(column),
    });
    plain
        .map(|ident| {
            ident.map_err(|column| {
                SqlError::unsupported(format!("{column} is no column: parts of columns cannot be inserted"))
                    .at(position::of_span(text, column.span()))
            })
        })
        .collect()
}
