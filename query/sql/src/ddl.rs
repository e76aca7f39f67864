//! Statements that make, describe and drop schemas, tables and views, as sqlparser reads them, in terms of ours.

mod types; // Types as statements write them.

use datafusion::sql::sqlparser::ast::{
    self, ColumnDef, ColumnOption, CreateTableOptions, Ident, ObjectName, ObjectType, SchemaName, Spanned,
    TableConstraint,
};
use datafusion::sql::sqlparser::tokenizer::Span;

use crate::names::folded;
use crate::types::SqlType;
use crate::{SqlError, SqlState, position};

/// A statement that changes which schemas, tables and views there are, or what is said of them.
#[derive(Clone, Debug)]
pub enum Ddl {
    /// `CREATE SCHEMA [IF NOT EXISTS] name`
    CreateSchema {
        /// The schema.
        name: Place<String>,
        /// No error when it exists.
        if_not_exists: bool,
    },
    /// `CREATE TABLE [IF NOT EXISTS] name (…)`
    CreateTable {
        /// The table.
        name: Place<Name>,
        /// No error when it exists.
        if_not_exists: bool,
        /// Its columns.
        columns: Vec<ColumnDefinition>,
    },
    /// `CREATE [OR REPLACE] VIEW name [(column, …)] AS query`
    CreateView {
        /// The view.
        name: Place<Name>,
        /// A view of the name gets the new query.
        or_replace: bool,
        /// Names of its first columns, instead of the query's.
        columns: Vec<Place<String>>,
        /// The query.
        query: Box<ast::Query>,
    },
    /// `COMMENT ON SCHEMA | TABLE | VIEW | COLUMN name IS 'text' | NULL`
    Comment {
        /// What kind of object it is on.
        on: CommentOn,
        /// The object; of a column, its relation.
        name: Place<Name>,
        /// `None` removes it.
        comment: Option<String>,
    },
    /// `DROP SCHEMA | TABLE | VIEW [IF EXISTS] name, … [CASCADE]`
    Drop {
        /// What is dropped.
        kind: Dropped,
        /// Their names; a schema's is the last part.
        names: Vec<Place<Name>>,
        /// A notice instead of an error for what does not exist.
        if_exists: bool,
        /// What depends on it goes too.
        cascade: bool,
    },
}

/// What `DROP` drops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// A schema.
    Schema,
    /// A table.
    Table,
    /// A view.
    View,
}

/// What `COMMENT` is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommentOn {
    /// A schema.
    Schema,
    /// A table.
    Table,
    /// A view.
    View,
    /// A column of a table or a view.
    Column(String),
}

/// Something and where it stands in the statement, in characters from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place<T> {
    /// What it is.
    pub of: T,
    /// Where it stands.
    pub at: Option<u32>,
}

/// A name with the schema it was written with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// `None` when the search path decides.
    pub schema: Option<String>,
    /// The name within the schema.
    pub name: String,
}

/// A column of `CREATE TABLE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnDefinition {
    /// Its name.
    pub name: Place<String>,
    /// Its type.
    pub sql_type: SqlType,
    /// `NOT NULL`
    pub not_null: bool,
}

impl Ddl {
    /// The statement's command tag, which errors name it by, too.
    pub fn tag(&self) -> &'static str {
        match self {
            Ddl::CreateSchema { .. } => "CREATE SCHEMA",
            Ddl::CreateTable { .. } => "CREATE TABLE",
            Ddl::CreateView { .. } => "CREATE VIEW",
            Ddl::Comment { .. } => "COMMENT",
            Ddl::Drop { kind: Dropped::View, .. } => "DROP VIEW",
            Ddl::Drop { kind: Dropped::Schema, .. } => "DROP SCHEMA",
            Ddl::Drop { kind: Dropped::Table, .. } => "DROP TABLE",
        }
    }

    /// The statement in our terms; `None` when it is no such statement. `text` is what its spans refer to.
    ///
    /// 0A000 with a position for what PostgreSQL knows and we do not do.
    pub fn of(statement: &ast::Statement, text: &str) -> Result<Option<Ddl>, SqlError> {
        let reader = Reader { text };
        Ok(Some(match statement {
            ast::Statement::CreateSchema { schema_name, if_not_exists, .. } => {
                Ddl::CreateSchema { name: reader.schema(schema_name)?, if_not_exists: *if_not_exists }
            }
            ast::Statement::CreateTable(table) => reader.table(table)?,
            ast::Statement::CreateView(view) => reader.view(view)?,
            ast::Statement::Comment { object_type, object_name, comment, .. } => {
                reader.comment(*object_type, object_name, comment.clone())?
            }
            ast::Statement::Drop { object_type, if_exists, names, cascade, temporary: false, .. } => {
                let kind = match object_type {
                    ObjectType::Schema => Dropped::Schema,
                    ObjectType::Table => Dropped::Table,
                    ObjectType::View => Dropped::View,
                    _ => return Ok(None),
                };
                let names = names.iter().map(|name| reader.name(name)).collect::<Result<_, _>>()?;
                Ddl::Drop { kind, names, if_exists: *if_exists, cascade: *cascade }
            }
            _ => return Ok(None),
        }))
    }
}

/// The parts of a name: at most a database, which must be ours and is left out, a schema and a name.
pub fn name(name: &ObjectName) -> Option<Name> {
    let parts: Option<Vec<&Ident>> = name.0.iter().map(|part| part.as_ident()).collect();
    match parts?.as_slice() {
        [name] => Some(Name { schema: None, name: folded(name) }),
        [schema, name] | [_, schema, name] => Some(Name { schema: Some(folded(schema)), name: folded(name) }),
        _ => None,
    }
}

struct Reader<'a> {
    text: &'a str,
}

impl Reader<'_> {
    fn at(&self, span: Span) -> Option<u32> {
        position::of_span(self.text, span)
    }

    fn name(&self, written: &ObjectName) -> Result<Place<Name>, SqlError> {
        let at = self.at(written.span());
        let of = name(written).ok_or_else(|| {
            SqlError::new(SqlState::SYNTAX_ERROR, format!("improper qualified name (too many dotted names): {written}"))
                .at(at)
        })?;
        Ok(Place { of, at })
    }

    fn schema(&self, written: &SchemaName) -> Result<Place<String>, SqlError> {
        match written {
            SchemaName::Simple(name) => {
                let Place { of, at } = self.name(name)?;
                Ok(Place { of: of.name, at })
            }
            SchemaName::UnnamedAuthorization(role) | SchemaName::NamedAuthorization(_, role) => {
                Err(SqlError::unsupported("CREATE SCHEMA … AUTHORIZATION is not supported").at(self.at(role.span)))
            }
        }
    }

    fn view(&self, view: &ast::CreateView) -> Result<Ddl, SqlError> {
        let name = self.name(&view.name)?;
        let refused =
            |what: &str, hint: &str| SqlError::unsupported(format!("{what} is not supported")).hint(hint).at(name.at);
        if view.materialized {
            return Err(refused("CREATE MATERIALIZED VIEW", "Make a table, and fill it with INSERT … SELECT."));
        }
        if view.temporary {
            return Err(refused("CREATE TEMPORARY VIEW", "Make a view in a schema of its own, and drop that."));
        }
        if view.if_not_exists || !matches!(view.options, CreateTableOptions::None) {
            return Err(refused("this form of CREATE VIEW", "Write CREATE OR REPLACE VIEW name AS query."));
        }
        let columns =
            view.columns.iter().map(|column| Place { of: folded(&column.name), at: self.at(column.name.span) });
        let (columns, query) = (columns.collect(), view.query.clone());
        Ok(Ddl::CreateView { name, or_replace: view.or_replace, columns, query })
    }

    fn comment(
        &self,
        kind: ast::CommentObject,
        written: &ObjectName,
        comment: Option<String>,
    ) -> Result<Ddl, SqlError> {
        let comment = comment.filter(|comment| !comment.is_empty());
        let on = match kind {
            ast::CommentObject::Schema => CommentOn::Schema,
            ast::CommentObject::Table => CommentOn::Table,
            ast::CommentObject::View => CommentOn::View,
            ast::CommentObject::Column => {
                let at = self.at(written.span());
                let (column, relation) = match written.0.split_last() {
                    Some((column, relation)) if !relation.is_empty() => (column.as_ident(), relation),
                    _ => return Err(SqlError::new(SqlState::SYNTAX_ERROR, "column name must be qualified").at(at)),
                };
                let Place { of, at } = self.name(&ObjectName(relation.to_vec()))?;
                let column = column.map(folded).unwrap_or_default();
                return Ok(Ddl::Comment { on: CommentOn::Column(column), name: Place { of, at }, comment });
            }
            other => {
                return Err(SqlError::unsupported(format!("COMMENT ON {other} is not supported"))
                    .hint("Schemas, tables, views, columns and probes have comments.")
                    .at(self.at(written.span())));
            }
        };
        Ok(Ddl::Comment { on, name: self.name(written)?, comment })
    }

    fn table(&self, table: &ast::CreateTable) -> Result<Ddl, SqlError> {
        let name = self.name(&table.name)?;
        let refused =
            |what: &str, hint: &str| SqlError::unsupported(format!("{what} is not supported")).hint(hint).at(name.at);
        if table.temporary {
            return Err(refused("CREATE TEMPORARY TABLE", "Make a table in a schema of its own, and drop that."));
        }
        if table.query.is_some() {
            return Err(refused(
                "CREATE TABLE AS",
                "Make the table with CREATE TABLE, and fill it with INSERT … SELECT.",
            ));
        }
        if table.like.is_some() || table.inherits.is_some() || table.clone.is_some() {
            return Err(refused("CREATE TABLE with another table's columns", "Name the columns."));
        }
        if table.partition_by.is_some() || table.partition_of.is_some() {
            return Err(refused(
                "PARTITION BY",
                "Every table is kept in files by the hour of its first timestamp column.",
            ));
        }
        if !matches!(table.table_options, CreateTableOptions::None) {
            return Err(refused(
                "CREATE TABLE … WITH",
                "ALTER TABLE name SET (retention = '30 days') says how long rows are kept.",
            ));
        }
        if let Some(constraint) = table.constraints.first() {
            return Err(self.constraint(kind_of(constraint), constraint.span()));
        }
        if table.columns.is_empty() {
            return Err(SqlError::unsupported("a table without columns is not supported").at(name.at));
        }
        let columns = table.columns.iter().map(|column| self.column(column)).collect::<Result<Vec<_>, _>>()?;
        for (index, column) in columns.iter().enumerate() {
            if columns[..index].iter().any(|earlier| earlier.name.of == column.name.of) {
                let message = format!("column \"{}\" specified more than once", column.name.of);
                return Err(SqlError::new(SqlState::DUPLICATE_COLUMN, message).at(column.name.at));
            }
        }
        Ok(Ddl::CreateTable { name, if_not_exists: table.if_not_exists, columns })
    }

    fn column(&self, column: &ColumnDef) -> Result<ColumnDefinition, SqlError> {
        let name = Place { of: folded(&column.name), at: self.at(column.name.span) };
        let sql_type = types::stored(&column.data_type).map_err(|error| error.at(name.at))?;
        let mut not_null = false;
        for option in &column.options {
            let refused = |what: &str| self.constraint(what, option.span());
            match &option.option {
                ColumnOption::Null => {}
                ColumnOption::NotNull => not_null = true,
                ColumnOption::PrimaryKey(_) => return Err(refused("PRIMARY KEY").at(name.at)),
                ColumnOption::Unique(_) => return Err(refused("UNIQUE").at(name.at)),
                ColumnOption::ForeignKey(_) => return Err(refused("REFERENCES").at(name.at)),
                ColumnOption::Check(_) => return Err(refused("CHECK").at(name.at)),
                ColumnOption::Default(value) => {
                    return Err(SqlError::unsupported("DEFAULT is not supported")
                        .hint("Columns that an INSERT does not name are NULL: write the value in the INSERT.")
                        .at(self.at(value.span()).or(name.at)));
                }
                ColumnOption::Generated { .. } | ColumnOption::Identity(_) => {
                    return Err(SqlError::unsupported("generated columns are not supported").at(name.at));
                }
                other => return Err(SqlError::unsupported(format!("{other} is not supported")).at(name.at)),
            }
        }
        Ok(ColumnDefinition { name, sql_type, not_null })
    }

    /// What would need every row to be looked up at each INSERT.
    fn constraint(&self, what: &str, span: Span) -> SqlError {
        SqlError::unsupported(format!("{what} is not supported"))
            .hint("Tables are append-only and have no indexes: NOT NULL is the one constraint that is kept.")
            .at(self.at(span))
    }
}

fn kind_of(constraint: &TableConstraint) -> &'static str {
    match constraint {
        TableConstraint::PrimaryKey(_) => "PRIMARY KEY",
        TableConstraint::Unique(_) => "UNIQUE",
        TableConstraint::ForeignKey(_) => "FOREIGN KEY",
        TableConstraint::Check(_) => "CHECK",
        _ => "this constraint",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::parse_one;
    use crate::statement::Statement;

    fn read(text: &str) -> Result<Ddl, SqlError> {
        let Statement::Sql(statement) = parse_one(text).unwrap() else { panic!("{text} is plain SQL") };
        Ddl::of(&statement, text).map(|ddl| ddl.unwrap())
    }

    #[test]
    fn columns_have_postgresqls_types() {
        let text = "create table Otel.\"M\" (time timestamptz not null, v float8, l jsonb, c numeric(20,0), \
                    b int8[], t text[], e jsonb[], s varchar(5), a inet, u uuid null)";
        let Ddl::CreateTable { name, columns, if_not_exists: false } = read(text).unwrap() else { panic!() };
        assert_eq!(name, Place { of: Name { schema: Some("otel".into()), name: "M".into() }, at: Some(14) });
        let types: Vec<_> = columns.iter().map(|column| column.sql_type.name().into_owned()).collect();
        assert_eq!(
            types,
            [
                "timestamp with time zone",
                "double precision",
                "jsonb",
                "numeric(20,0)",
                "bigint[]",
                "text[]",
                "jsonb[]",
                "character varying(5)",
                "inet",
                "uuid"
            ]
        );
        let not_null: Vec<_> = columns.iter().filter(|column| column.not_null).map(|column| &column.name.of).collect();
        assert_eq!(not_null, ["time"]);
    }

    #[test]
    fn what_is_not_done_is_refused_where_it_stands() {
        for (text, state, at) in [
            ("create table t (a int primary key)", "0A000", 17),
            ("create table t (a int, unique (a))", "0A000", 32),
            ("create table t (a int default 7)", "0A000", 31),
            ("create temporary table t (a int)", "0A000", 24),
            ("create table t as select 1", "0A000", 14),
            ("create table t (a foo)", "42704", 17),
            ("create table t (a interval)", "0A000", 17),
            ("create table t (a numeric)", "0A000", 17),
            ("create table t (a numeric(39,0))", "22023", 17),
            ("create table t (a int, A text)", "42701", 24),
        ] {
            let error = read(text).unwrap_err();
            assert_eq!((error.state.0, error.position), (state, Some(at)), "{text}: {error}");
        }
    }

    #[test]
    fn drops_name_what_they_drop() {
        let Ddl::Drop { kind, names, if_exists, cascade } = read("drop table if exists a, b.c cascade").unwrap() else {
            panic!()
        };
        let names: Vec<_> = names.into_iter().map(|name| (name.of.schema, name.of.name)).collect();
        assert_eq!(names, [(None, "a".to_owned()), (Some("b".to_owned()), "c".to_owned())]);
        assert_eq!((kind, if_exists, cascade), (Dropped::Table, true, true));
    }
}
