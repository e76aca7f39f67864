//! A session: its settings, its statements prepared and executed.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use arrow::array::{RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::ScalarValue;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::sqlparser::ast::{self, ObjectName, Reset, Set, Statement as Ast};
use parking_lot::Mutex;
use probepilot_catalog::ports::RowStream;
use probepilot_sql::{SqlError, SqlState};
use tokio_util::sync::CancellationToken;

use super::insert::Insert;
use super::interrupt::EndsStatement;
use super::names::Names;
use super::queries::{Query, Running};
use super::settings::{self, Settings};
use super::statement::Statement;
use super::stream::{self, Deadline, Executed};
use super::{Engine, errors, explain, plan};
use crate::insert::Pending;
use crate::scan::Pin;

/// Who a session is for.
#[derive(Clone, Debug)]
pub struct SessionOptions {
    /// The account's name.
    pub user: String,
    /// Its role: `admin`, `operator`, `analyst`, …
    pub role: String,
    /// The database, which is the tenant.
    pub database: String,
    /// The client's name for itself.
    pub application_name: String,
    /// Where the client is; `None` on the Unix socket.
    pub client_address: Option<String>,
    /// See [`Engine::next_process_id`].
    pub process_id: i32,
}

/// What a session's statements and functions share.
#[derive(Debug)]
pub struct SessionShared {
    /// Who it is for.
    pub options: SessionOptions,
    /// Its settings.
    pub settings: Mutex<Settings>,
    /// Rows that its transaction has inserted and not committed.
    pub pending: Mutex<Pending>,
    /// What all statements of its transaction see, when they shall see the same.
    pub(super) snapshot: Mutex<Option<Pin>>,
    /// When it began, Unix time.
    pub started_unix_ns: i64,
}

/// One connection's session.
#[derive(Debug)]
pub struct Session {
    pub(super) engine: Arc<Engine>,
    pub(super) shared: Arc<SessionShared>,
    /// Whether statements end after `statement_timeout` by themselves.
    timed: bool,
}

/// A statement that was planned and can be executed any number of times.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// The columns, with PostgreSQL's names; empty for a statement without rows.
    pub schema: SchemaRef,
    /// The parameters' types, `$1` first.
    pub parameters: Vec<DataType>,
    /// False for `SET` and `RESET`.
    pub returns_rows: bool,
    /// The command tag without counts: `SELECT`, `SHOW`, `EXPLAIN`, `SET`, `RESET`.
    pub tag: &'static str,
    pub(super) text: Arc<str>,
    pub(super) work: Work,
}

#[derive(Clone, Debug)]
pub(super) enum Work {
    Query(LogicalPlan),
    Insert(Box<Insert>),
    Explain { plan: LogicalPlan, options: explain::Options },
    Show { name: String },
    ShowAll,
    Set { name: String, value: String },
    Reset { name: Option<String> },
}

impl Session {
    pub(super) fn new(engine: Arc<Engine>, options: SessionOptions) -> Session {
        let mut settings = Settings::default();
        settings.set_initial("application_name", &options.application_name);
        settings.set_initial("session_authorization", &options.user);
        settings.set_initial("is_superuser", if options.role == "admin" { "on" } else { "off" });
        let shared = SessionShared {
            options,
            settings: Mutex::new(settings),
            pending: Mutex::default(),
            snapshot: Mutex::default(),
            started_unix_ns: unix_ns(),
        };
        Session { engine, shared: Arc::new(shared), timed: true }
    }

    /// Leaves `statement_timeout` to the door, which counts the time that it works for the client: rows of a cursor may be
    /// fetched long after its query began.
    pub fn untimed(self) -> Session {
        Session { timed: false, ..self }
    }

    /// Who it is for.
    pub fn options(&self) -> &SessionOptions {
        &self.shared.options
    }

    /// Its settings; hold the lock only for a moment.
    pub fn settings(&self) -> &Mutex<Settings> {
        &self.shared.settings
    }

    /// The engine it runs on.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// The session's transaction is over: the next statement sees what is there then.
    pub fn end_transaction(&self) {
        self.shared.settings.lock().end_local();
        *self.shared.snapshot.lock() = None;
    }

    /// Lets a snapshot show every event that happened before this call, unless the transaction has one already; and keeps it, when its
    /// isolation level says so.
    pub(super) async fn catch_up(&self, plan: &LogicalPlan) -> datafusion::common::Result<()> {
        if self.shared.snapshot.lock().is_some() {
            return Ok(());
        }
        self.engine.catch_up(plan).await?;
        let isolation = self.shared.settings.lock().known("transaction_isolation");
        if matches!(isolation.as_str(), "repeatable read" | "serializable") {
            *self.shared.snapshot.lock() = Some(self.engine.pin());
        }
        Ok(())
    }

    /// Cancels everything the session runs: its streams end with 57014.
    pub fn cancel(&self) {
        self.engine.queries.cancel_session(self.shared.options.process_id);
    }

    /// Plans a statement. `text` is the whole text its spans refer to; `parameter_types` are those the client knows.
    pub async fn prepare(
        &self,
        text: &str,
        statement: &Ast,
        parameter_types: &[Option<DataType>],
    ) -> Result<Prepared, SqlError> {
        let text: Arc<str> = text.into();
        match statement {
            Ast::Query(_) => {
                let (plan, schema, parameters) = self.plan(&text, statement, parameter_types)?;
                Ok(Prepared { schema, parameters, returns_rows: true, tag: "SELECT", text, work: Work::Query(plan) })
            }
            Ast::Explain { statement: inner, analyze, verbose, format, options, .. } => {
                let options = explain::Options::read(*analyze, *verbose, format.as_ref(), options.as_deref())?;
                if !matches!(inner.as_ref(), Ast::Query(_)) {
                    return Err(SqlError::unsupported("EXPLAIN works on SELECT, CREATE PROBE and PROBE"));
                }
                let (plan, _, parameters) = self.plan(&text, inner, parameter_types)?;
                let work = Work::Explain { plan, options };
                let schema = text_columns(&["QUERY PLAN"]);
                Ok(Prepared { schema, parameters, returns_rows: true, tag: "EXPLAIN", text, work })
            }
            Ast::Insert(insert) => self.prepare_insert(text, insert, parameter_types),
            other => prepare_setting(text, other),
        }
    }

    pub(super) fn plan(
        &self,
        text: &Arc<str>,
        statement: &Ast,
        parameter_types: &[Option<DataType>],
    ) -> Result<(LogicalPlan, SchemaRef, Vec<DataType>), SqlError> {
        let (running, state) = self.state();
        let names = self.names(&running);
        plan::plan(&state, &names, text, statement, parameter_types).map_err(|error| errors::translate(error, text))
    }

    /// The state a statement is planned or run with: the engine's, with the session's zone and a new snapshot.
    pub(super) fn state(&self) -> (Statement, SessionState) {
        let statement = Statement::start(&self.engine, &self.shared);
        let mut state = self.engine.state().clone();
        let zone = self.shared.settings.lock().known("TimeZone");
        let options = state.config_mut().options_mut();
        options.extensions.insert(statement.clone());
        if options.execution.time_zone.as_deref() != Some(zone.as_str()) {
            options.execution.time_zone = Some(zone);
            plan::follow_options(&mut state);
        }
        state.mark_start_execution();
        (statement, state)
    }

    pub(super) fn names(&self, statement: &Statement) -> Names {
        Names {
            database: self.shared.options.database.clone(),
            search_path: self.shared.settings.lock().search_path(),
            manifest: Arc::clone(statement.pin().manifest()),
            live_tables: self.engine.live_tables().to_vec(),
            depth: 0,
        }
    }

    /// Runs a prepared statement at the newest snapshot. Rows are made as they are taken; dropping the stream stops it.
    pub async fn execute(&self, prepared: &Prepared, parameters: Vec<ScalarValue>) -> Result<RowStream, SqlError> {
        let Prepared { schema, text, work, .. } = prepared;
        if parameters.len() != prepared.parameters.len() {
            let (given, wanted) = (parameters.len(), prepared.parameters.len());
            return Err(SqlError::new(
                SqlState::PROTOCOL_VIOLATION,
                format!("{given} parameters were given, but the statement needs {wanted}"),
            ));
        }
        match work {
            Work::Insert(_) => Err(SqlError::internal("an INSERT was run as a query", "it gives no rows")),
            Work::Query(plan) => {
                let (running, deadline) = self.start(text);
                let caught_up = async { self.catch_up(plan).await.map_err(|error| errors::translate(error, text)) };
                stream::guarded(&running, deadline, caught_up).await?;
                let (statement, state) = self.state();
                let bound = plan::bind(plan, &prepared.parameters, parameters);
                let bound = bound.map_err(|error| errors::translate(error, text))?;
                let rows = async {
                    let executed = Executed::start(&self.engine, &statement, state, bound).await;
                    let executed = executed.map_err(|error| errors::translate(error, text))?;
                    Ok((executed, self.losses(&statement).await))
                };
                let (executed, notices) = stream::guarded(&running, deadline, rows).await?;
                let stream = stream::row_stream(executed, running, deadline, Arc::clone(schema), Arc::clone(text));
                *stream.notices.lock() = notices;
                Ok(stream)
            }
            Work::Explain { plan, options } => {
                let (running, deadline) = self.start(text);
                let (statement, state) = self.state();
                let _ends = EndsStatement::new(&statement);
                let plan = plan::bind(plan, &prepared.parameters, parameters);
                let plan = plan.map_err(|error| errors::translate(error, text))?;
                let options = *options;
                let lines = async move { explain::lines(&state, &plan, &options).await };
                let lines =
                    async { self.engine.workers.run(lines).await.map_err(|error| errors::translate(error, text)) };
                let lines = stream::guarded(&running, deadline, lines).await?;
                Ok(stream::ready(Arc::clone(schema), text_rows(schema, vec![lines])?))
            }
            Work::Show { name } => {
                let value = self.shared.settings.lock().get(name)?;
                Ok(stream::ready(Arc::clone(schema), text_rows(schema, vec![vec![value]])?))
            }
            Work::ShowAll => {
                let all = self.shared.settings.lock().all();
                let names = all.iter().map(|(setting, _)| setting.name.to_owned()).collect();
                let descriptions = all.iter().map(|(setting, _)| setting.description.to_owned()).collect();
                let values = all.into_iter().map(|(_, value)| value).collect();
                Ok(stream::ready(Arc::clone(schema), text_rows(schema, vec![names, values, descriptions])?))
            }
            Work::Set { name, value } => {
                self.shared.settings.lock().set(name, value)?;
                Ok(stream::ready(Arc::clone(schema), Vec::new()))
            }
            Work::Reset { name } => {
                let mut settings = self.shared.settings.lock();
                match name {
                    Some(name) => settings.reset(name)?,
                    None => settings.reset_all(),
                }
                Ok(stream::ready(Arc::clone(schema), Vec::new()))
            }
        }
    }

    /// What was lost in the time that the statement's plan looks at.
    async fn losses(&self, statement: &Statement) -> Vec<String> {
        let scanned = statement.take_scanned();
        // Boxed: the table of losses is read by a query, which itself reads no probe's table.
        let notices = Box::pin(self.engine.losses.notices(self, statement.pin(), &scanned));
        notices.await.unwrap_or_else(|error| {
            tracing::warn!(%error, "what was lost in a query's range is not known");
            vec!["what was lost in this range could not be read".to_owned()]
        })
    }

    /// Prepares and executes one statement without parameters.
    pub async fn query(&self, text: &str) -> Result<RowStream, SqlError> {
        let statement = match probepilot_sql::parse_one(text)? {
            probepilot_sql::statement::Statement::Sql(statement) => statement,
            _ => return Err(SqlError::unsupported("only plain SQL can be run here")),
        };
        let prepared = self.prepare(text, &statement, &[]).await?;
        self.execute(&prepared, Vec::new()).await
    }

    /// Lists the statement as running, from now.
    pub(super) fn start(&self, text: &Arc<str>) -> (Running, Option<Deadline>) {
        let SessionOptions { user, role: _, database, application_name: _, client_address, process_id } =
            self.shared.options.clone();
        let (application_name, timeout) = {
            let settings = self.shared.settings.lock();
            (settings.known("application_name"), settings.statement_timeout())
        };
        let running = self.engine.queries.start(|id| Query {
            id,
            process_id,
            user,
            database,
            application_name,
            client_address,
            text: text.to_string(),
            started_unix_ns: unix_ns(),
            started: Instant::now(),
            rows: AtomicU64::new(0),
            cancel: CancellationToken::new(),
        });
        let timeout = timeout.filter(|_| self.timed);
        (running, timeout.map(|after| Deadline { at: tokio::time::Instant::now() + after }))
    }
}

/// Unix time now, nanoseconds.
pub(crate) fn unix_ns() -> i64 {
    chrono::Utc::now().timestamp_nanos_opt().unwrap_or(i64::MAX)
}

fn text_columns(names: &[&str]) -> SchemaRef {
    Arc::new(Schema::new(names.iter().map(|name| Field::new(*name, DataType::Utf8, false)).collect::<Vec<_>>()))
}

fn text_rows(schema: &SchemaRef, columns: Vec<Vec<String>>) -> Result<Vec<RecordBatch>, SqlError> {
    let columns = columns.into_iter().map(|column| Arc::new(StringArray::from(column)) as _).collect();
    let batch = RecordBatch::try_new(Arc::clone(schema), columns)
        .map_err(|error| SqlError::internal("a result of texts could not be made", error))?;
    Ok(vec![batch])
}

fn prepare_setting(text: Arc<str>, statement: &Ast) -> Result<Prepared, SqlError> {
    let none = || Arc::new(Schema::empty());
    let (schema, returns_rows, tag, work) = match statement {
        Ast::ShowVariable { variable } => {
            let words: Vec<&str> = variable.iter().map(|word| word.value.as_str()).collect();
            let name = if words.len() > 1 && words[0].contains('.') { words.concat() } else { words.join(" ") };
            if name.eq_ignore_ascii_case("all") {
                (text_columns(&["name", "setting", "description"]), true, "SHOW", Work::ShowAll)
            } else {
                let shown = settings::find(&name).map_or(name.as_str(), |setting| setting.name);
                let schema = text_columns(&[shown]);
                // An unknown name fails now, so that Describe tells it.
                if settings::find(&name).is_none() && !name.contains('.') {
                    Settings::default().get(&name)?;
                }
                (schema, true, "SHOW", Work::Show { name })
            }
        }
        Ast::Set(set) => {
            let (name, value) = assignment(set)?;
            let work = match value {
                Some(value) => Work::Set { name, value },
                None => Work::Reset { name: Some(name) },
            };
            (none(), false, "SET", work)
        }
        Ast::Reset(reset) => {
            let name = match &reset.reset {
                Reset::ALL => None,
                Reset::ConfigurationParameter(name) => Some(object_name(name)),
            };
            (none(), false, "RESET", Work::Reset { name })
        }
        other => {
            let verb = other.to_string().split_whitespace().next().unwrap_or_default().to_uppercase();
            return Err(SqlError::unsupported(format!("{verb} is not supported")));
        }
    };
    Ok(Prepared { schema, parameters: Vec::new(), returns_rows, tag, text, work })
}

fn object_name(name: &ObjectName) -> String {
    name.0.iter().filter_map(|part| part.as_ident()).map(|part| part.value.clone()).collect::<Vec<_>>().join(".")
}

/// What a `SET` sets; no value means the default.
fn assignment(set: &Set) -> Result<(String, Option<String>), SqlError> {
    match set {
        Set::SingleAssignment { variable, values, .. } => {
            let values = values.iter().map(setting_value).collect::<Result<Vec<_>, _>>()?;
            let name = object_name(variable);
            let is_default = values.len() == 1 && values[0].eq_ignore_ascii_case("default");
            Ok((name, (!is_default).then(|| values.join(", "))))
        }
        Set::SetTimeZone { value, .. } => {
            let value = setting_value(value)?;
            let is_default = value.eq_ignore_ascii_case("default") || value.eq_ignore_ascii_case("local");
            Ok(("TimeZone".into(), (!is_default).then_some(value)))
        }
        Set::SetNames { charset_name, .. } => Ok(("client_encoding".into(), Some(charset_name.value.clone()))),
        Set::SetNamesDefault {} => Ok(("client_encoding".into(), None)),
        Set::SetRole { role_name, .. } => Ok(("role".into(), role_name.as_ref().map(|role| role.value.clone()))),
        other => Err(SqlError::unsupported(format!("{other} is not supported"))),
    }
}

fn setting_value(value: &ast::Expr) -> Result<String, SqlError> {
    Ok(match value {
        ast::Expr::Value(value) => match &value.value {
            ast::Value::SingleQuotedString(text) | ast::Value::DoubleQuotedString(text) => text.clone(),
            ast::Value::Boolean(value) => value.to_string(),
            other => other.to_string(),
        },
        ast::Expr::Identifier(word) => match word.quote_style {
            Some(_) => format!("\"{}\"", word.value),
            None => word.value.clone(),
        },
        ast::Expr::UnaryOp { .. } => value.to_string().replace(' ', ""),
        other => other.to_string(),
    })
}
