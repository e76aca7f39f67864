//! One executor behind every door: our own statements, SELECTs on hooks, and everything the engine runs.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, StringViewArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimestampNanosecondType};
use datafusion::common::ScalarValue;
use datafusion::sql::sqlparser::ast::{self, Spanned};
use futures::{StreamExt, TryStreamExt};
use probepilot_catalog::control::{Control, Role};
use probepilot_catalog::ports::{Described, Explain, Hooks, RowStream, Rows};
use probepilot_query::{Engine, Prepared, Session, SessionOptions};
use probepilot_sql::names::folded;
use probepilot_sql::statement::{ExplainTarget, ProbeChange, ProbeQuery, Statement};
use probepilot_sql::{SqlError, SqlState, ddl::Ddl, hooks, parameters, position};

use crate::directory::DATABASE;
use crate::probes::{self, Probes};
use crate::relations::Relations;

/// Who is at the other end of a connection.
#[derive(Clone, Debug)]
pub struct Who {
    /// The account.
    pub user: String,
    /// What it may do.
    pub role: Role,
    /// The database, which is the tenant.
    pub database: String,
    /// The client's address, or `[local]`.
    pub address: String,
    /// What the client calls itself.
    pub application_name: String,
}

/// Everything a statement may need.
pub struct Executor {
    /// Runs SQL on tables.
    pub engine: Arc<Engine>,
    /// Runs SQL on hooks.
    pub hooks: Arc<dyn Hooks>,
    /// Creates and drops probes.
    pub probes: Arc<Probes>,
    /// Makes and drops schemas and tables.
    pub relations: Relations,
    /// Accounts and settings.
    pub control: Control,
    /// The log.
    pub rows: Arc<dyn Rows>,
}

/// A client's session and who it is.
pub struct Connection {
    /// The engine's session: settings, functions, cancel.
    pub session: Session,
    /// Who it is.
    pub who: Who,
}

/// A statement that is ready to run, as often as wanted.
pub struct Plan {
    /// The columns of its rows; `None` when it gives none.
    pub schema: Option<SchemaRef>,
    /// The types of its parameters.
    pub parameters: Vec<DataType>,
    kind: PlanKind,
}

enum PlanKind {
    /// The engine's.
    Query(Prepared),
    /// One of our statements that is a query on system tables.
    Shown(Prepared),
    /// A SELECT on hooks.
    Hook(ProbeQuery),
    /// One of our statements, with the text its spans refer to.
    Ours(Box<Statement>, Arc<str>),
    /// An INSERT.
    Insert(Prepared),
    /// Makes, describes or drops schemas, tables and views, with the text its places refer to.
    Ddl(Box<Ddl>, Arc<str>),
    /// EXPLAIN of a SELECT on hooks.
    ExplainHook { query: ProbeQuery, verbose: bool, analyze: bool },
}

impl Plan {
    /// Whether its work may be dropped half way: it reads, or inserts what its transaction forgets.
    pub fn can_stop(&self) -> bool {
        self.schema.is_some() || matches!(self.kind, PlanKind::Insert(_))
    }
}

/// What running a statement gives.
pub enum Outcome {
    /// Rows as they come.
    Rows {
        /// The rows.
        stream: RowStream,
        /// The command tag without the count: `SELECT`, `SHOW`, `EXPLAIN`.
        tag: &'static str,
    },
    /// It is done.
    Done {
        /// The whole command tag.
        tag: String,
        /// What the client should be told.
        notices: Vec<String>,
    },
}

impl Executor {
    /// Opens a session; `process_id` is the number the client was told, when it was told one.
    pub fn connect(&self, who: Who, process_id: Option<i32>) -> Connection {
        // A number is given by the Postgres door, which keeps its clients' time.
        let timed = process_id.is_none();
        let session = self.engine.session(SessionOptions {
            user: who.user.clone(),
            role: who.role.as_str().to_owned(),
            database: who.database.clone(),
            application_name: who.application_name.clone(),
            client_address: Some(who.address.clone()),
            process_id: process_id.unwrap_or_else(|| self.engine.next_process_id()),
        });
        Connection { session: if timed { session } else { session.untimed() }, who }
    }

    /// The newest `time` in a users' table, Unix nanoseconds; `None` for an empty one.
    pub async fn newest_row_ns(&self, table: &str) -> Result<Option<i64>, SqlError> {
        let who = Who {
            user: "admin".to_owned(),
            role: Role::Admin,
            database: DATABASE.to_owned(),
            address: "[local]".to_owned(),
            application_name: "restart".to_owned(),
        };
        let connection = self.connect(who, None);
        let text = format!("SELECT max(time) FROM public.\"{}\"", table.replace('"', "\"\""));
        let batches: Vec<RecordBatch> = connection.session.query(&text).await?.batches.try_collect().await?;
        let newest = batches.iter().flat_map(|batch| {
            let times = batch.column(0).as_primitive_opt::<TimestampNanosecondType>();
            times.map(|times| times.iter().flatten().collect::<Vec<_>>()).unwrap_or_default()
        });
        Ok(newest.max())
    }

    /// Plans a statement of `text` without running it.
    pub async fn prepare(
        &self,
        connection: &Connection,
        text: &Arc<str>,
        statement: &Statement,
        parameter_types: &[Option<DataType>],
    ) -> Result<Plan, SqlError> {
        let Statement::Sql(sql) = statement else {
            may(&connection.who, statement)?;
            if let Some(text) = as_system_query(statement) {
                let prepared = connection.session.prepare(&text, &plain_sql(&text)?, &[]).await?;
                let schema = Some(Arc::clone(&prepared.schema));
                return Ok(Plan { schema, parameters: Vec::new(), kind: PlanKind::Shown(prepared) });
            }
            let kind = PlanKind::Ours(Box::new(statement.clone()), Arc::clone(text));
            return Ok(Plan { schema: schema_of(statement), parameters: Vec::new(), kind });
        };
        if let Some(query) = hook_query(sql) {
            may_probe(&connection.who)?;
            let query = ProbeQuery { text: Arc::clone(text), query: Box::new(query.clone()), comments: Vec::new() };
            let Described { schema, parameters } = self.hooks.describe(&query, parameter_types).await?;
            if let ast::Statement::Explain { analyze, verbose, .. } = sql.as_ref() {
                let kind = PlanKind::ExplainHook { query, verbose: *verbose, analyze: *analyze };
                return Ok(Plan { schema: Some(text_schema("QUERY PLAN")), parameters, kind });
            }
            return Ok(Plan { schema: Some(schema), parameters, kind: PlanKind::Hook(query) });
        }
        if let Some(ddl) = Ddl::of(sql, text)? {
            may_define(&connection.who, &ddl)?;
            return Ok(Plan {
                schema: None,
                parameters: Vec::new(),
                kind: PlanKind::Ddl(Box::new(ddl), Arc::clone(text)),
            });
        }
        if let ast::Statement::Insert(insert) = sql.as_ref() {
            may_insert(&connection.who)?;
            if !insert.source.as_ref().is_none_or(|source| matches!(*source.body, ast::SetExpr::Values(_))) {
                may_read(&connection.who)?;
            }
            let prepared = connection.session.prepare(text, sql, parameter_types).await?;
            return Ok(Plan {
                schema: None,
                parameters: prepared.parameters.clone(),
                kind: PlanKind::Insert(prepared),
            });
        }
        refuse_changes(sql, text)?;
        may_read(&connection.who)?;
        let prepared = connection.session.prepare(text, sql, parameter_types).await?;
        let schema = prepared.returns_rows.then(|| Arc::clone(&prepared.schema));
        Ok(Plan { schema, parameters: prepared.parameters.clone(), kind: PlanKind::Query(prepared) })
    }

    /// Runs a planned statement.
    pub async fn run(
        &self,
        connection: &Connection,
        plan: &Plan,
        parameters: Vec<ScalarValue>,
    ) -> Result<Outcome, SqlError> {
        match &plan.kind {
            PlanKind::Query(prepared) => {
                let stream = connection.session.execute(prepared, parameters).await?;
                if prepared.returns_rows {
                    return Ok(Outcome::Rows { stream, tag: prepared.tag });
                }
                stream.batches.try_for_each(|_| futures::future::ready(Ok(()))).await?;
                Ok(Outcome::Done { tag: prepared.tag.to_owned(), notices: Vec::new() })
            }
            PlanKind::Insert(prepared) => {
                let rows = connection.session.insert(prepared, parameters).await?;
                Ok(Outcome::Done { tag: format!("INSERT 0 {rows}"), notices: Vec::new() })
            }
            PlanKind::Ddl(ddl, text) => {
                let done = self.relations.run(ddl, &connection.session, text).await?;
                Ok(Outcome::Done { tag: ddl.tag().to_owned(), notices: done.notices })
            }
            PlanKind::Shown(prepared) => {
                Ok(Outcome::Rows { stream: connection.session.execute(prepared, Vec::new()).await?, tag: "SHOW" })
            }
            PlanKind::Hook(query) => {
                let query = with_values(query, &parameters)?;
                Ok(Outcome::Rows { stream: self.hooks.select(&query).await?, tag: "SELECT" })
            }
            PlanKind::ExplainHook { query, verbose, analyze } => {
                let (query, verbose, analyze) = (&with_values(query, &parameters)?, *verbose, *analyze);
                let explain = Explain { name: "query", query, stored: false, running: None, verbose, analyze };
                let lines = self.probes.node().explain(explain).await?;
                Ok(Outcome::Rows { stream: lines_stream("QUERY PLAN", &lines), tag: "EXPLAIN" })
            }
            PlanKind::Ours(statement, text) => self.ours(connection, statement, text).await,
        }
    }

    async fn ours(&self, connection: &Connection, statement: &Statement, text: &str) -> Result<Outcome, SqlError> {
        let done = |tag: &str, done: probes::Done| Ok(Outcome::Done { tag: tag.to_owned(), notices: done.notices });
        match statement {
            Statement::CreateProbe(probe) => {
                done("CREATE PROBE", self.probes.create(&connection.who.user, probe).await?)
            }
            Statement::AlterProbe { name, change } => {
                let name = folded(name);
                match change {
                    ProbeChange::Enable => done("ALTER PROBE", self.probes.set_enabled(&name, true).await?),
                    ProbeChange::Disable => done("ALTER PROBE", self.probes.set_enabled(&name, false).await?),
                    ProbeChange::Query { query, source } => {
                        done("ALTER PROBE", self.probes.set_query(&name, query, source).await?)
                    }
                    ProbeChange::Set(options) => {
                        done("ALTER PROBE", self.probes.set_options(&name, options, text).await?)
                    }
                    ProbeChange::Rename(to) => done("ALTER PROBE", self.probes.rename(&name, to, text).await?),
                }
            }
            Statement::DropProbe { name, if_exists, with_data } => {
                done("DROP PROBE", self.probes.remove(&folded(name), *if_exists, *with_data).await?)
            }
            Statement::AlterTableSet { name, options } => {
                let path = connection.session.settings().lock().search_path();
                done("ALTER TABLE", self.relations.set_table(name, options, &path, text).await?)
            }
            Statement::CommentOnProbe { name, comment } => {
                done("COMMENT", self.probes.comment(&folded(name), comment.as_deref()).await?)
            }
            Statement::Checkpoint => {
                let snapshot = self.rows.checkpoint().await?;
                Ok(Outcome::Done {
                    tag: "CHECKPOINT".to_owned(),
                    notices: vec![format!("everything up to now is in snapshot {snapshot}")],
                })
            }
            Statement::ShowProbes => {
                let rows = probes::show_probes(&self.probes).await?;
                Ok(Outcome::Rows { stream: batch_stream(rows), tag: "SHOW" })
            }
            Statement::ShowCreateProbe(name) => {
                let probe = self.probes.find(&folded(name)).await?;
                Ok(Outcome::Rows { stream: lines_stream("create_statement", &[probe.sql]), tag: "SHOW" })
            }
            Statement::ExplainProbe { target, verbose, analyze } => {
                let (probe, running) = match target {
                    ExplainTarget::Create(probe) => (probe.as_ref().clone(), None),
                    ExplainTarget::Existing(name) => {
                        let stored = self.probes.find(&folded(name)).await?;
                        (probes::stored_statement(&stored)?, Some(stored.id))
                    }
                };
                let name = folded(&probe.name);
                let (verbose, analyze) = (*verbose, *analyze);
                let explain = Explain { name: &name, query: &probe.query, stored: true, running, verbose, analyze };
                let lines = self.probes.node().explain(explain).await?;
                Ok(Outcome::Rows { stream: lines_stream("QUERY PLAN", &lines), tag: "EXPLAIN" })
            }
            Statement::ShowColumns(name) => self.show_columns(connection, name).await,
            // A door that has cursors does not come here.
            Statement::Fetch(fetch) => {
                let message = format!("cursor \"{}\" does not exist", folded(&fetch.name));
                Err(SqlError::new(SqlState::INVALID_CURSOR_NAME, message))
            }
            // Nor does one that has transactions.
            Statement::Begin { tag, .. } => Err(no_transactions(tag)),
            Statement::SetTransaction { .. } => Err(no_transactions("SET TRANSACTION")),
            Statement::ShowHooks { .. } | Statement::Sql(_) => {
                Err(SqlError::new(SqlState::INTERNAL_ERROR, "a query is planned by the engine"))
            }
        }
    }

    async fn show_columns(&self, connection: &Connection, name: &ast::ObjectName) -> Result<Outcome, SqlError> {
        let text: Arc<str> = format!("SELECT * FROM {name}").into();
        let sql = plain_sql(&text)?;
        let schema = match sql {
            ast::Statement::Query(query) if hooks::is_hook(name) => {
                may_probe(&connection.who)?;
                self.hooks.describe(&ProbeQuery { text, query, comments: Vec::new() }, &[]).await?.schema
            }
            sql => connection.session.prepare(&text, &sql, &[]).await?.schema,
        };
        Ok(Outcome::Rows { stream: batch_stream(columns_of(&schema)?), tag: "SHOW" })
    }
}

/// The query that a statement of ours stands for.
fn as_system_query(statement: &Statement) -> Option<String> {
    let Statement::ShowHooks { like } = statement else { return None };
    let filter = like.as_ref().map(|like| format!(" WHERE name LIKE '{}'", like.replace('\'', "''")));
    Some(format!("SELECT * FROM system.hooks{} ORDER BY 1, 2, 3", filter.unwrap_or_default()))
}

/// Parses a text that we wrote.
fn plain_sql(text: &str) -> Result<ast::Statement, SqlError> {
    match probepilot_sql::parse_one(text)? {
        Statement::Sql(sql) => Ok(*sql),
        _ => Err(SqlError::new(SqlState::INTERNAL_ERROR, "a rewritten statement must be plain SQL")),
    }
}

/// The query on hooks in a statement: itself, or what EXPLAIN or COPY names.
fn hook_query(statement: &ast::Statement) -> Option<&ast::Query> {
    let query = match statement {
        ast::Statement::Query(query) => query,
        ast::Statement::Explain { statement, .. } => return hook_query(statement),
        _ => return None,
    };
    hooks::mentions_hook(query).then_some(query)
}

/// The query with the values of its parameters.
fn with_values(query: &ProbeQuery, values: &[ScalarValue]) -> Result<ProbeQuery, SqlError> {
    let ProbeQuery { text, query, comments } = query;
    let query = Box::new(parameters::substitute(query, values, text)?);
    Ok(ProbeQuery { text: Arc::clone(text), query, comments: comments.clone() })
}

fn may_read(who: &Who) -> Result<(), SqlError> {
    if who.role.may_read() {
        return Ok(());
    }
    let message = format!("permission denied: the role {} may not read tables", who.role.as_str());
    Err(SqlError::new(SqlState::INSUFFICIENT_PRIVILEGE, message).hint("An analyst, an operator or an admin may."))
}

/// Rows are never changed: tables are append-only.
fn refuse_changes(statement: &ast::Statement, text: &str) -> Result<(), SqlError> {
    let verb = match statement {
        ast::Statement::Update(_) => "UPDATE",
        ast::Statement::Delete(_) => "DELETE",
        ast::Statement::Truncate(_) => "TRUNCATE",
        ast::Statement::Merge(_) => "MERGE",
        _ => return Ok(()),
    };
    Err(SqlError::unsupported(format!("{verb} is not supported: tables are append-only"))
        .hint("Old rows go by ALTER TABLE name SET (retention = …), all of them by DROP TABLE.")
        .at(position::of_span(text, statement.span())))
}

fn may_define(who: &Who, ddl: &Ddl) -> Result<(), SqlError> {
    if who.role.may_define() {
        return Ok(());
    }
    let message = format!("permission denied: the role {} may not {}", who.role.as_str(), ddl.tag());
    Err(SqlError::new(SqlState::INSUFFICIENT_PRIVILEGE, message).hint("An operator or an admin may."))
}

/// Says whether this account may insert rows.
pub fn may_insert(who: &Who) -> Result<(), SqlError> {
    if !who.role.may_insert() {
        let message = format!("permission denied: the role {} may not insert rows", who.role.as_str());
        return Err(SqlError::new(SqlState::INSUFFICIENT_PRIVILEGE, message)
            .hint("An operator, an admin or an account of the role ingest may."));
    }
    Ok(())
}

fn no_transactions(tag: &str) -> SqlError {
    SqlError::unsupported(format!("{tag} is not supported here"))
        .hint("Each request is a transaction of its own; those of several statements need the Postgres protocol.")
}

fn may_probe(who: &Who) -> Result<(), SqlError> {
    if who.role.may_probe() {
        return Ok(());
    }
    Err(SqlError::new(
        SqlState::INSUFFICIENT_PRIVILEGE,
        format!("permission denied: the role {} may not create probes or read hooks", who.role.as_str()),
    )
    .hint("Whoever reads hooks sees every process of the node: only admin and operator may."))
}

/// Says whether this account may run a statement of ours.
fn may(who: &Who, statement: &Statement) -> Result<(), SqlError> {
    match statement {
        Statement::ShowProbes
        | Statement::ShowCreateProbe(_)
        | Statement::ShowHooks { .. }
        | Statement::ShowColumns(_)
        | Statement::Fetch(_)
        | Statement::Begin { .. }
        | Statement::SetTransaction { .. }
        | Statement::Sql(_) => Ok(()),
        _ => may_probe(who),
    }
}

fn text_schema(column: &str) -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new(column, DataType::Utf8View, true)]))
}

/// The columns of our statements that give rows, but for those that are queries on system tables.
fn schema_of(statement: &Statement) -> Option<SchemaRef> {
    match statement {
        Statement::ShowProbes => Some(probes::show_probes_schema()),
        Statement::ShowCreateProbe(_) => Some(text_schema("create_statement")),
        Statement::ExplainProbe { .. } => Some(text_schema("QUERY PLAN")),
        Statement::ShowColumns(_) => Some(columns_schema()),
        _ => None,
    }
}

fn columns_schema() -> SchemaRef {
    Arc::new(Schema::new(["column", "type", "comment"].map(|name| Field::new(name, DataType::Utf8View, true)).to_vec()))
}

fn columns_of(schema: &Schema) -> Result<RecordBatch, SqlError> {
    let type_name = |field: &Field| match probepilot_sql::SqlType::of_field(field) {
        Some(sql_type) => sql_type.sql().to_owned(),
        None => field.data_type().to_string(),
    };
    let comment = |field: &Field| field.metadata().get(probepilot_sql::types::COMMENT_KEY).cloned();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(schema.fields().iter().map(|field| Some(field.name().as_str())).collect::<StringViewArray>()),
        Arc::new(schema.fields().iter().map(|field| Some(type_name(field))).collect::<StringViewArray>()),
        Arc::new(schema.fields().iter().map(|field| comment(field)).collect::<StringViewArray>()),
    ];
    RecordBatch::try_new(columns_schema(), columns)
        .map_err(|error| SqlError::internal("cannot list the columns", error))
}

/// Rows that are there already.
pub fn batch_stream(batch: RecordBatch) -> RowStream {
    RowStream { schema: batch.schema(), batches: futures::stream::iter([Ok(batch)]).boxed(), notices: Arc::default() }
}

fn lines_stream<Line: AsRef<str>>(column: &str, lines: &[Line]) -> RowStream {
    let schema = text_schema(column);
    let array: StringViewArray = lines.iter().map(|line| Some(line.as_ref())).collect();
    let batch =
        RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(array)]).expect("one text column fits its schema");
    batch_stream(batch)
}
