//! Views that users make: what is kept of their query, and how it is planned when they are read.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use datafusion::common::TableReference;
use datafusion::sql::sqlparser::ast::{
    self, Ident, ObjectName, Query, Spanned, Statement as Ast, TableFactor, VisitMut, VisitorMut,
};
use datafusion::sql::sqlparser::keywords::{
    ALL_KEYWORDS, ALL_KEYWORDS_INDEX, Keyword, RESERVED_FOR_COLUMN_ALIAS, RESERVED_FOR_IDENTIFIER,
    RESERVED_FOR_TABLE_ALIAS,
};
use probepilot_catalog::manifest::{View, ViewColumn, ViewDefinition};
use probepilot_catalog::table::{PUBLIC, TableName};
use probepilot_sql::ddl::{self, Place};
use probepilot_sql::names::folded;
use probepilot_sql::types::TYPE_KEY;
use probepilot_sql::{SqlError, SqlState, SqlType, hooks, position};

use super::names::Names;
use super::session::Session;
use crate::pg_catalog::PG_CATALOG;

/// Views that stand one behind the other at most; a view that reads itself is found by it.
const VIEW_DEPTH_MAX: usize = 32;

impl Session {
    /// What is kept of a view's query: planned once, with every table's schema written out, so that it means the same in
    /// every session. `text` is what its spans refer to, `names` are those of the first columns.
    pub fn define_view(
        &self,
        text: &Arc<str>,
        query: &Query,
        names: &[Place<String>],
    ) -> Result<ViewDefinition, SqlError> {
        if hooks::mentions_hook(query) {
            return Err(SqlError::unsupported("a view of a hook is not supported")
                .hint("CREATE PROBE keeps what a query on a hook gives, and a view may read the probe's table.")
                .at(position::of_span(text, query.span())));
        }
        let (_, schema, parameters) = self.plan(text, &Ast::Query(Box::new(query.clone())), &[])?;
        if !parameters.is_empty() {
            return Err(SqlError::new(SqlState("42P02"), "there is no parameter $1"));
        }
        if let Some(extra) = names.get(schema.fields().len()) {
            let message = "CREATE VIEW specifies more column names than columns";
            return Err(SqlError::new(SqlState::SYNTAX_ERROR, message).at(extra.at));
        }
        let mut seen = HashSet::new();
        let mut columns = Vec::with_capacity(schema.fields().len());
        for (index, field) in schema.fields().iter().enumerate() {
            let given = names.get(index);
            let name = given.map_or_else(|| field.name().clone(), |given| given.of.clone());
            if !seen.insert(name.clone()) {
                let message = format!("column \"{name}\" specified more than once");
                return Err(SqlError::new(SqlState::DUPLICATE_COLUMN, message).at(given.and_then(|given| given.at)));
            }
            columns.push(ViewColumn { name, sql_type: type_name(field), comment: None });
        }
        let (statement, _) = self.state();
        let known = self.names(&statement);
        let mut reads = Vec::new();
        let mut written = |public: &'static str| {
            let mut query = query.clone();
            let mut qualifier = Qualifier { names: &known, public, common: Vec::new(), reads: &mut reads };
            if let ControlFlow::Break(error) = query.visit(&mut qualifier) {
                return Err(error);
            }
            let names: Vec<String> = columns.iter().map(|column| quoted(&column.name)).collect();
            Ok(match names.is_empty() || seen_as(&columns, &schema) {
                true => query.to_string(),
                false => format!("SELECT * FROM ({query}) AS renamed ({})", names.join(", ")),
            })
        };
        let (sql, lake_sql) = (written(PUBLIC)?, written("main")?);
        reads.sort_unstable();
        reads.dedup();
        Ok(ViewDefinition { sql, lake_sql, columns, reads })
    }
}

/// Whether the query's own names are those of the columns.
fn seen_as(columns: &[ViewColumn], schema: &arrow::datatypes::Schema) -> bool {
    columns.iter().zip(schema.fields()).all(|(column, field)| column.name == *field.name())
}

/// PostgreSQL's name of a result's type.
fn type_name(field: &Field) -> String {
    if let Some(name) = field.metadata().get(TYPE_KEY) {
        return name.clone();
    }
    match field.data_type() {
        DataType::Interval(_) | DataType::Duration(_) => "interval".to_owned(),
        DataType::Time32(_) | DataType::Time64(_) => "time without time zone".to_owned(),
        DataType::UInt64 => "numeric(20,0)".to_owned(),
        DataType::Decimal128(precision, scale) if *scale >= 0 => format!("numeric({precision},{scale})"),
        data_type if data_type.is_decimal() => "numeric".to_owned(),
        DataType::List(element) => format!("{}[]", type_name(element)),
        DataType::Struct(_) | DataType::Map(..) => "jsonb".to_owned(),
        other => SqlType::from_arrow(other).unwrap_or(SqlType::Text).name().into_owned(),
    }
}

/// The query by which a view is read: its columns as they were made, whatever its tables have become.
pub(super) fn text(view: &View) -> String {
    let columns: Vec<String> = view.definition.columns.iter().map(|column| quoted(&column.name)).collect();
    format!("SELECT {} FROM ({}) AS {}", columns.join(", "), view.definition.sql, quoted(&view.name.name))
}

/// The names that a view's query knows: those of every session. 42P17 where views stand too deep.
pub(super) fn names(view: &View, around: &Names) -> Result<Names, SqlError> {
    if around.depth == VIEW_DEPTH_MAX {
        let message = format!("infinite recursion detected in rules for relation \"{}\"", view.name.name);
        return Err(SqlError::new(SqlState("42P17"), message));
    }
    Ok(Names {
        database: around.database.clone(),
        search_path: Vec::new(),
        manifest: Arc::clone(&around.manifest),
        live_tables: around.live_tables.clone(),
        depth: around.depth + 1,
    })
}

/// An error of a view's query, for a statement that reads the view.
pub(super) fn within(view: &View, error: SqlError) -> SqlError {
    let error = SqlError { position: None, ..error };
    if error.context.is_some() { error } else { error.within(format!("view \"{}\"", view.name)) }
}

/// A name in a statement that users are shown, in quotes where it needs them.
fn ident(name: &str) -> Ident {
    let plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    let word = name.to_ascii_uppercase();
    let keyword = ALL_KEYWORDS.binary_search(&word.as_str()).map_or(Keyword::NoKeyword, |at| ALL_KEYWORDS_INDEX[at]);
    let reserved = [RESERVED_FOR_TABLE_ALIAS, RESERVED_FOR_COLUMN_ALIAS, RESERVED_FOR_IDENTIFIER];
    if plain && !reserved.iter().any(|words| words.contains(&keyword)) {
        Ident::new(name)
    } else {
        Ident::with_quote('"', name)
    }
}

fn quoted(name: &str) -> String {
    Ident::with_quote('"', name).to_string()
}

/// Writes out the schemas of tables, and notes which are read.
struct Qualifier<'a> {
    names: &'a Names,
    /// What `public` is called.
    public: &'static str,
    /// The names that queries around the place give to their own.
    common: Vec<HashSet<String>>,
    reads: &'a mut Vec<i64>,
}

impl Qualifier<'_> {
    fn qualify(&mut self, name: &mut ObjectName) -> Result<(), SqlError> {
        let Some(written) = ddl::name(name) else { return Ok(()) };
        let is_common = written.schema.is_none() && self.common.iter().any(|names| names.contains(&written.name));
        if is_common {
            return Ok(());
        }
        let reference = match &written.schema {
            Some(schema) => TableReference::partial(schema.as_str(), written.name.as_str()),
            None => TableReference::bare(written.name.as_str()),
        };
        let found = TableName { schema: self.names.schema_of(&reference)?, name: written.name };
        let manifest = &self.names.manifest;
        self.reads.extend(manifest.tables.get(&found).map(|table| table.id.0));
        self.reads.extend(manifest.views.get(&found).map(|view| view.id));
        if found.schema != PG_CATALOG {
            let schema = if found.schema == PUBLIC { self.public } else { &found.schema };
            *name = ObjectName::from(vec![ident(schema), ident(&found.name)]);
        }
        Ok(())
    }
}

impl VisitorMut for Qualifier<'_> {
    type Break = SqlError;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<SqlError> {
        let tables = query.with.iter().flat_map(|with: &ast::With| &with.cte_tables);
        self.common.push(tables.map(|table| folded(&table.alias.name)).collect());
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _query: &mut Query) -> ControlFlow<SqlError> {
        self.common.pop();
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<SqlError> {
        if let TableFactor::Table { name, args: None, .. } = factor
            && let Err(error) = self.qualify(name)
        {
            return ControlFlow::Break(error);
        }
        ControlFlow::Continue(())
    }
}
