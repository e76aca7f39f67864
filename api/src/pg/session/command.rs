//! What a statement is to the door: its own business, or the executor's.

use datafusion::sql::sqlparser::ast::{
    self, CloseCursor, ContextModifier, CopySource, CopyTarget, DiscardObject, Expr, Ident, ObjectName, Query, Reset,
    Set, Value,
};
use probepilot_sql::cursor::Fetch;
use probepilot_sql::names::folded;
use probepilot_sql::statement::{Statement, TransactionModes};
use probepilot_sql::{SqlError, SqlState};

use super::copy::{CopyFormat, Direction};
use crate::pg::encode::oids;

/// A statement, sorted.
#[derive(Debug)]
pub enum Command {
    /// `BEGIN`, `START TRANSACTION`
    Begin {
        /// The tag.
        tag: &'static str,
        /// What the transaction shall be.
        modes: TransactionModes,
    },
    /// `SET TRANSACTION`, `SET SESSION CHARACTERISTICS`
    SetTransaction {
        /// All that follow, not this one.
        session: bool,
        /// What they shall be.
        modes: TransactionModes,
    },
    /// `COMMIT`, `END`
    Commit {
        /// `AND CHAIN`: the next block begins at once.
        chain: bool,
    },
    /// `ROLLBACK`
    Rollback {
        /// `AND CHAIN`: the next block begins at once.
        chain: bool,
    },
    /// `SAVEPOINT name`
    Savepoint(String),
    /// `RELEASE name`
    Release(String),
    /// `ROLLBACK TO name`
    RollbackTo(String),
    /// `DECLARE name CURSOR FOR query`
    Declare(Declare),
    /// `FETCH` or `MOVE`
    Fetch(Fetch),
    /// `CLOSE name`, `CLOSE ALL`
    Close(Option<String>),
    /// `PREPARE name (types) AS statement`
    Prepare {
        /// The statement's name.
        name: String,
        /// OIDs of the types that were named.
        types: Vec<u32>,
        /// What is prepared.
        statement: Box<Statement>,
    },
    /// `EXECUTE name (arguments)`
    Execute {
        /// The statement's name.
        name: String,
        /// An expression for each parameter.
        arguments: Vec<Expr>,
    },
    /// `DEALLOCATE name`, `DEALLOCATE ALL`
    Deallocate(Option<String>),
    /// `SET name = value`; without value the default.
    Set {
        /// The setting.
        name: String,
        /// Its new value, `None` for the default.
        value: Option<String>,
        /// Until the end of the transaction.
        local: bool,
    },
    /// `SHOW name`
    Show(String),
    /// `SHOW ALL`
    ShowAll,
    /// `RESET name`, `RESET ALL`
    Reset(Option<String>),
    /// `DISCARD ALL`
    DiscardAll,
    /// `COPY … TO STDOUT`
    Copy {
        /// The rows.
        query: Box<Query>,
        /// How they are written.
        format: CopyFormat,
    },
    /// `COPY … FROM STDIN`
    CopyIn {
        /// Where the rows go.
        table: ObjectName,
        /// The columns that are given; none for all.
        columns: Vec<Ident>,
        /// How the rows are written.
        format: CopyFormat,
    },
    /// Accepted without effect, as there is nothing it could change; the tag.
    Accept(&'static str),
    /// Planned and run by the executor.
    Run,
}

/// A cursor to be opened.
#[derive(Debug)]
pub struct Declare {
    /// The cursor's name.
    pub name: String,
    /// It outlives its transaction.
    pub hold: bool,
    /// It keeps its rows to go back.
    pub scroll: bool,
    /// Its rows are sent in binary form.
    pub binary: bool,
    /// Its rows.
    pub query: Box<Query>,
}

fn dotted(name: &ObjectName) -> String {
    name.0.iter().filter_map(|part| part.as_ident()).map(folded).collect::<Vec<_>>().join(".")
}

impl Command {
    /// Sorts a statement.
    pub fn of(statement: &Statement) -> Result<Command, SqlError> {
        let sql = match statement {
            Statement::Sql(sql) => sql,
            Statement::Fetch(fetch) => return Ok(Command::Fetch(fetch.clone())),
            Statement::Begin { tag, modes } => return Ok(Command::Begin { tag, modes: modes.clone() }),
            Statement::SetTransaction { session, modes } => {
                return Ok(Command::SetTransaction { session: *session, modes: modes.clone() });
            }
            _ => return Ok(Command::Run),
        };
        Ok(match sql.as_ref() {
            ast::Statement::Commit { chain, .. } => Command::Commit { chain: *chain },
            ast::Statement::Rollback { savepoint: Some(name), .. } => Command::RollbackTo(folded(name)),
            ast::Statement::Rollback { chain, .. } => Command::Rollback { chain: *chain },
            ast::Statement::Savepoint { name } => Command::Savepoint(folded(name)),
            ast::Statement::ReleaseSavepoint { name } => Command::Release(folded(name)),
            ast::Statement::Declare { stmts } => declare(stmts)?,
            // A FETCH of its own does not come here: this one is within a PREPARE.
            ast::Statement::Fetch { .. } => return Err(SqlError::unsupported("FETCH cannot be prepared")),
            ast::Statement::Close { cursor: CloseCursor::All } => Command::Close(None),
            ast::Statement::Close { cursor: CloseCursor::Specific { name } } => Command::Close(Some(folded(name))),
            ast::Statement::Prepare { name, data_types, statement } => Command::Prepare {
                name: folded(name),
                types: data_types.iter().map(parameter_oid).collect::<Result<_, _>>()?,
                statement: Box::new(Statement::Sql(statement.clone())),
            },
            ast::Statement::Execute { name: Some(name), parameters, .. } => {
                Command::Execute { name: dotted(name), arguments: parameters.clone() }
            }
            ast::Statement::Deallocate { name, .. } if is_all(name) => Command::Deallocate(None),
            ast::Statement::Deallocate { name, .. } => Command::Deallocate(Some(folded(name))),
            ast::Statement::Set(set) => set_command(set)?,
            ast::Statement::ShowVariable { variable } => show(variable),
            ast::Statement::Reset(reset) => match &reset.reset {
                Reset::ALL => Command::Reset(None),
                Reset::ConfigurationParameter(name) => Command::Reset(Some(dotted(name))),
            },
            ast::Statement::Discard { object_type } => match object_type {
                DiscardObject::ALL => Command::DiscardAll,
                DiscardObject::PLANS => Command::Accept("DISCARD PLANS"),
                DiscardObject::SEQUENCES => Command::Accept("DISCARD SEQUENCES"),
                DiscardObject::TEMP => Command::Accept("DISCARD TEMP"),
            },
            ast::Statement::LISTEN { .. } => Command::Accept("LISTEN"),
            ast::Statement::UNLISTEN { .. } => Command::Accept("UNLISTEN"),
            ast::Statement::NOTIFY { .. } => Command::Accept("NOTIFY"),
            ast::Statement::Lock(_) => Command::Accept("LOCK TABLE"),
            ast::Statement::Copy { source, to: true, target: CopyTarget::Stdout, options, legacy_options, .. } => {
                Command::Copy {
                    query: copy_query(source)?,
                    format: CopyFormat::of(options, legacy_options, Direction::To)?,
                }
            }
            ast::Statement::Copy {
                source: CopySource::Table { table_name, columns },
                to: false,
                target: CopyTarget::Stdin,
                options,
                legacy_options,
                ..
            } => Command::CopyIn {
                table: table_name.clone(),
                columns: columns.clone(),
                format: CopyFormat::of(options, legacy_options, Direction::From)?,
            },
            ast::Statement::Copy { .. } => {
                return Err(SqlError::new(
                    SqlState::INSUFFICIENT_PRIVILEGE,
                    "COPY with a file or program of the server is not allowed",
                )
                .hint("Use COPY … TO STDOUT, or psql's \\copy."));
            }
            _ => Command::Run,
        })
    }

    /// Whether it may run in a block that has failed.
    pub fn ends_failed_block(&self) -> bool {
        matches!(self, Command::Commit { .. } | Command::Rollback { .. } | Command::RollbackTo(_))
    }
}

fn is_all(name: &Ident) -> bool {
    name.quote_style.is_none() && name.value.eq_ignore_ascii_case("all")
}

fn declare(declarations: &[ast::Declare]) -> Result<Command, SqlError> {
    match declarations {
        [ast::Declare { names, binary, hold, scroll, for_query: Some(query), .. }] if names.len() == 1 => {
            Ok(Command::Declare(Declare {
                name: folded(&names[0]),
                hold: *hold == Some(true),
                scroll: *scroll == Some(true),
                binary: *binary == Some(true),
                query: query.clone(),
            }))
        }
        _ => Err(SqlError::new(SqlState::SYNTAX_ERROR, "DECLARE needs a cursor and its query")),
    }
}

fn parameter_oid(data_type: &ast::DataType) -> Result<u32, SqlError> {
    let name = data_type.to_string().to_lowercase();
    Ok(match name.as_str() {
        "boolean" | "bool" => oids::BOOL,
        "smallint" | "int2" => oids::INT2,
        "int" | "integer" | "int4" => oids::INT4,
        "bigint" | "int8" => oids::INT8,
        "real" | "float4" => oids::FLOAT4,
        "double precision" | "float8" | "double" => oids::FLOAT8,
        "text" => oids::TEXT,
        "name" => oids::NAME,
        "oid" => oids::OID,
        "bytea" => oids::BYTEA,
        "date" => oids::DATE,
        "time" | "time without time zone" => oids::TIME,
        "timestamp" | "timestamp without time zone" => oids::TIMESTAMP,
        "timestamptz" | "timestamp with time zone" => oids::TIMESTAMPTZ,
        "interval" => oids::INTERVAL,
        "uuid" => oids::UUID,
        "json" => oids::JSON,
        "jsonb" => oids::JSONB,
        "inet" => oids::INET,
        "unknown" => 0,
        name if name.starts_with("varchar") || name.starts_with("character varying") => oids::VARCHAR,
        name if name.starts_with("numeric") || name.starts_with("decimal") => oids::NUMERIC,
        _ => {
            return Err(SqlError::new(SqlState::UNDEFINED_OBJECT, format!("type \"{name}\" does not exist")));
        }
    })
}

fn show(variable: &[Ident]) -> Command {
    let words: Vec<String> = variable.iter().map(folded).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["all"] => Command::ShowAll,
        ["time", "zone"] => Command::Show("timezone".to_owned()),
        ["transaction", "isolation", "level"] => Command::Show("transaction_isolation".to_owned()),
        ["session", "authorization"] => Command::Show("session_authorization".to_owned()),
        ["names"] => Command::Show("client_encoding".to_owned()),
        _ => Command::Show(words.join(".")),
    }
}

fn set_command(set: &Set) -> Result<Command, SqlError> {
    Ok(match set {
        Set::SingleAssignment { scope, variable, values, .. } => Command::Set {
            name: dotted(variable),
            value: match values.as_slice() {
                [Expr::Identifier(word)] if is_default(word) => None,
                values => Some(values.iter().map(setting_value).collect::<Result<Vec<_>, _>>()?.join(", ")),
            },
            local: matches!(scope, Some(ContextModifier::Local)),
        },
        Set::SetTimeZone { local, value } => Command::Set {
            name: "timezone".to_owned(),
            value: match value {
                Expr::Identifier(word) if is_default(word) || word.value.eq_ignore_ascii_case("local") => None,
                value => Some(setting_value(value)?),
            },
            local: *local,
        },
        Set::SetNames { charset_name, .. } => {
            Command::Set { name: "client_encoding".to_owned(), value: Some(charset_name.value.clone()), local: false }
        }
        Set::SetNamesDefault {} => Command::Set { name: "client_encoding".to_owned(), value: None, local: false },
        Set::SetRole { role_name: None, .. } => Command::Accept("SET"),
        Set::SetRole { role_name: Some(role), .. } => {
            return Err(SqlError::unsupported(format!("cannot become role \"{}\"", role.value))
                .hint("Log in as the account instead."));
        }
        other => return Err(SqlError::unsupported(format!("{other} is not supported"))),
    })
}

fn is_default(word: &Ident) -> bool {
    word.quote_style.is_none() && word.value.eq_ignore_ascii_case("default")
}

/// The text of a value in `SET`: a literal, a word or a signed number.
fn setting_value(value: &Expr) -> Result<String, SqlError> {
    Ok(match value {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text)
            | Value::EscapedStringLiteral(text)
            | Value::DollarQuotedString(ast::DollarQuotedString { value: text, .. })
            | Value::Number(text, _) => text.clone(),
            Value::Boolean(on) => if *on { "on" } else { "off" }.to_owned(),
            other => other.to_string(),
        },
        Expr::Identifier(word) => folded(word),
        Expr::Interval(interval) => setting_value(&interval.value)?,
        other => other.to_string(),
    })
}

/// The query that gives the rows of a COPY.
fn copy_query(source: &CopySource) -> Result<Box<Query>, SqlError> {
    let (table, columns) = match source {
        CopySource::Query(query) => return Ok(query.clone()),
        CopySource::Table { table_name, columns } => (table_name, columns),
    };
    // A query of the right shape, with the statement's own names in it: their positions stay right.
    let pattern = if columns.is_empty() { "SELECT * FROM t" } else { "SELECT c FROM t" };
    let unlike = || SqlError::new(SqlState::INTERNAL_ERROR, "the pattern of COPY is no plain query");
    let Statement::Sql(pattern) = probepilot_sql::parse_one(pattern)? else { return Err(unlike()) };
    let ast::Statement::Query(mut query) = *pattern else { return Err(unlike()) };
    let ast::SetExpr::Select(select) = query.body.as_mut() else { return Err(unlike()) };
    if !columns.is_empty() {
        select.projection =
            columns.iter().map(|column| ast::SelectItem::UnnamedExpr(Expr::Identifier(column.clone()))).collect();
    }
    match select.from.first_mut().map(|from| &mut from.relation) {
        Some(ast::TableFactor::Table { name, .. }) => *name = table.clone(),
        _ => return Err(unlike()),
    }
    Ok(query)
}
