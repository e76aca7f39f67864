//! Views that come with us: their names, their columns, and the query that each stands for.

use std::fmt::Write as _;

use probepilot_catalog::table::{PUBLIC, TableName};

use super::built_in_views::VIEWS;

/// A view over tables of probes. It is there whichever of these tables are.
#[derive(Debug)]
pub struct View {
    /// Its name in `public`.
    pub name: &'static str,
    /// What a row is.
    pub comment: &'static str,
    /// Its columns, in order.
    pub columns: &'static [ViewColumn],
    /// What its rows are made of: each a table and a query on it with the view's columns. All together are the view; one
    /// whose table is not there is left out.
    pub parts: &'static [(&'static str, &'static str)],
}

/// A view's column.
#[derive(Debug)]
pub struct ViewColumn {
    /// Its name, with capitals where Grafana asks for them.
    pub name: &'static str,
    /// PostgreSQL's short name of its type: `timestamptz`, `int8`.
    pub type_name: &'static str,
    /// Meaning and unit.
    pub comment: &'static str,
}

/// The column's parts in a line of the tables below.
pub(super) const fn column(name: &'static str, type_name: &'static str, comment: &'static str) -> ViewColumn {
    ViewColumn { name, type_name, comment }
}

/// Every view.
pub fn all() -> &'static [View] {
    VIEWS
}

/// The view of this name.
pub fn find(schema: &str, name: &str) -> Option<&'static View> {
    VIEWS.iter().find(|view| schema == PUBLIC && view.name == name)
}

impl View {
    /// Where it is found.
    pub fn table_name(&self) -> TableName {
        TableName::public(self.name)
    }

    /// The query that the view stands for, where the tables are that `is_there` knows.
    pub fn query(&self, is_there: impl Fn(&TableName) -> bool) -> String {
        let parts = self.parts.iter().filter(|(table, _)| is_there(&TableName::public(*table)));
        let mut parts: Vec<String> = parts.map(|(_, query)| query.trim().to_owned()).collect();
        if parts.is_empty() {
            let nulls: Vec<String> = self.columns.iter().map(|column| format!("NULL AS \"{}\"", column.name)).collect();
            parts.push(format!("SELECT {} WHERE false", nulls.join(", ")));
        }
        let mut query = String::from("SELECT");
        for (index, column) in self.columns.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            let _ = write!(query, "{comma} CAST(\"{0}\" AS {1}) AS \"{0}\"", column.name, column.type_name);
        }
        let _ = write!(query, "\nFROM (\n{}\n) AS parts", parts.join("\nUNION ALL\n"));
        query
    }
}
