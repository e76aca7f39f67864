//! Accounts and sessions over a plain DataFusion context.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use async_trait::async_trait;
use datafusion::catalog::MemTable;
use datafusion::common::ParamValues;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion::scalar::ScalarValue;
use datafusion::sql::parser::Statement as EngineStatement;
use datafusion::sql::sqlparser::ast::{Ident, ObjectName, Spanned};
use futures::{StreamExt, TryStreamExt};
use hmac::{Hmac, Mac};
use parking_lot::Mutex;
use probepilot_api::pg::backend::{
    Account, Backend, Client, CopyTarget, Outcome, Plan, SavedSettings, ScramVerifier, Session,
};
use probepilot_catalog::ports::RowStream;
use probepilot_sql::statement::Statement;
use probepilot_sql::{SqlError, SqlState, position};
use sha2::{Digest, Sha256};

/// The password of every account of the tests.
pub const PASSWORD: &str = "correct horse";

/// Accounts `admin` and `analyst`, database `probepilot`, and a count of live streams.
#[derive(Default)]
pub struct TestBackend {
    /// Streams of `live` that exist now.
    pub live_streams: Arc<AtomicUsize>,
}

fn hmac(key: &[u8], text: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(text);
    mac.finalize().into_bytes().into()
}

/// What a catalog would have stored for a password.
pub fn verifier(password: &str) -> ScramVerifier {
    let (salt, iterations) = (b"0123456789abcdef".to_vec(), 4096);
    let mut block = hmac(password.as_bytes(), &[&salt[..], &[0, 0, 0, 1]].concat());
    let mut salted = block;
    for _ in 1..iterations {
        block = hmac(password.as_bytes(), &block);
        salted.iter_mut().zip(block).for_each(|(byte, mask)| *byte ^= mask);
    }
    ScramVerifier {
        salt,
        iterations,
        stored_key: Sha256::digest(hmac(&salted, b"Client Key")).into(),
        server_key: hmac(&salted, b"Server Key"),
    }
}

#[async_trait]
impl Backend for TestBackend {
    async fn account(&self, user: &str) -> Result<Option<Account>, SqlError> {
        let known = ["admin", "analyst"].contains(&user);
        Ok(known.then(|| Account { role: user.to_owned(), verifier: Some(verifier(PASSWORD)) }))
    }

    async fn has_database(&self, name: &str) -> Result<bool, SqlError> {
        Ok(name == "probepilot")
    }

    async fn connect(&self, client: Client) -> Result<Box<dyn Session>, SqlError> {
        let config = SessionConfig::new().with_batch_size(8_192).with_target_partitions(1);
        let session = TestSession {
            context: SessionContext::new_with_config(config),
            settings: Mutex::new(Values { set: defaults(&client), local: BTreeMap::new() }),
            defaults: Mutex::new(defaults(&client)),
            live_streams: Arc::clone(&self.live_streams),
        };
        Ok(Box::new(session))
    }
}

fn defaults(client: &Client) -> BTreeMap<String, String> {
    [
        ("application_name", client.application_name.as_str()),
        ("client_encoding", "UTF8"),
        ("client_min_messages", "notice"),
        ("datestyle", "ISO, MDY"),
        ("default_transaction_deferrable", "off"),
        ("default_transaction_isolation", "read committed"),
        ("default_transaction_read_only", "off"),
        ("extra_float_digits", "1"),
        ("idle_in_transaction_session_timeout", "0"),
        ("idle_session_timeout", "0"),
        ("intervalstyle", "postgres"),
        ("jit", "off"),
        ("scram_iterations", "4096"),
        ("search_path", "\"$user\", public"),
        ("standard_conforming_strings", "on"),
        ("statement_timeout", "0"),
        ("timezone", "UTC"),
        ("transaction_deferrable", "off"),
        ("transaction_isolation", "read committed"),
        ("transaction_read_only", "off"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

/// Settings, and those that hide them until the end of the transaction.
#[derive(Clone)]
struct Values {
    set: BTreeMap<String, String>,
    local: BTreeMap<String, String>,
}

struct TestSession {
    context: SessionContext,
    settings: Mutex<Values>,
    defaults: Mutex<BTreeMap<String, String>>,
    live_streams: Arc<AtomicUsize>,
}

fn unknown(name: &str) -> SqlError {
    SqlError::new(SqlState::UNDEFINED_OBJECT, format!("unrecognized configuration parameter \"{name}\""))
}

#[async_trait]
impl Session for TestSession {
    async fn prepare(
        &self,
        text: &Arc<str>,
        statement: &Statement,
        parameter_types: &[Option<DataType>],
    ) -> Result<Arc<dyn Plan>, SqlError> {
        let Statement::Sql(sql) = statement else {
            let live_streams = Arc::clone(&self.live_streams);
            let shows = matches!(statement, Statement::ShowHooks { .. });
            return Ok(Arc::new(OursPlan { live_streams, shows, creates: text.contains("CREATE PROBE") }));
        };
        // The driver's own query for its type cache must not fail.
        let plan = self.context.state().statement_to_plan(EngineStatement::Statement(sql.clone())).await;
        let plan = plan.map_err(|error| translate(&error))?;
        let mut types = plan.get_parameter_types().map_err(|error| translate(&error))?;
        infer_from_casts(&plan, &mut types);
        for (index, given) in parameter_types.iter().enumerate() {
            if let Some(given) = given {
                types.insert(format!("${}", index + 1), Some(given.clone()));
            }
        }
        let parameters = (1..=types.len()).map(|n| types[&format!("${n}")].clone().unwrap_or(DataType::Utf8)).collect();
        Ok(Arc::new(QueryPlan { context: self.context.clone(), plan, parameters }))
    }

    async fn copy_in(
        &self,
        text: &Arc<str>,
        table: &ObjectName,
        columns: &[Ident],
    ) -> Result<Box<dyn CopyTarget>, SqlError> {
        if table.to_string() != "copied" {
            let error = SqlError::unsupported(format!("table \"{table}\" takes no rows from clients"));
            return Err(error.at(position::of_span(text, table.span())));
        }
        let schema = copied_schema();
        let places: Vec<usize> = columns.iter().map(|column| schema.index_of(&column.value).unwrap()).collect();
        let schema = if places.is_empty() { schema } else { schema.project(&places).unwrap() };
        Ok(Box::new(Copied { context: self.context.clone(), schema: Arc::new(schema), batches: Vec::new() }))
    }

    async fn commit(&self) -> Result<(), SqlError> {
        Ok(())
    }

    fn setting(&self, name: &str) -> Option<String> {
        let (values, name) = (self.settings.lock(), name.to_lowercase());
        values.local.get(&name).or_else(|| values.set.get(&name)).cloned()
    }

    fn set_startup(&self, name: &str, value: &str) -> Result<(), SqlError> {
        self.set(name, value)?;
        self.defaults.lock().clone_from(&self.settings.lock().set);
        Ok(())
    }

    fn set(&self, name: &str, value: &str) -> Result<(), SqlError> {
        let (mut values, name) = (self.settings.lock(), name.to_lowercase());
        values.local.remove(&name);
        let known = values.set.get_mut(&name).ok_or_else(|| unknown(&name))?;
        value.trim_matches('\'').clone_into(known);
        Ok(())
    }

    fn set_local(&self, name: &str, value: &str) -> Result<(), SqlError> {
        let (mut values, name) = (self.settings.lock(), name.to_lowercase());
        if !values.set.contains_key(&name) {
            return Err(unknown(&name));
        }
        values.local.insert(name, value.trim_matches('\'').to_owned());
        Ok(())
    }

    fn end_transaction(&self) {
        self.settings.lock().local.clear();
    }

    fn save_settings(&self) -> SavedSettings {
        Box::new(self.settings.lock().clone())
    }

    fn restore_settings(&self, saved: &SavedSettings) {
        self.settings.lock().clone_from(saved.downcast_ref().unwrap());
    }

    fn reset(&self, name: &str) -> Result<(), SqlError> {
        let default = self.defaults.lock().get(&name.to_lowercase()).cloned().ok_or_else(|| unknown(name))?;
        self.set(name, &default)
    }

    fn reset_all(&self) {
        *self.settings.lock() = Values { set: self.defaults.lock().clone(), local: BTreeMap::new() };
    }

    fn settings(&self) -> Vec<[String; 3]> {
        self.settings.lock().set.iter().map(|(name, value)| [name.clone(), value.clone(), String::new()]).collect()
    }
}

/// The table `copied`: it is there once a copy into it has ended, with the rows of the last one.
struct Copied {
    context: SessionContext,
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
}

fn copied_schema() -> Schema {
    let moment = DataType::Timestamp(TimeUnit::Nanosecond, None);
    Schema::new(vec![
        Field::new("n", DataType::Int64, false),
        Field::new("t", DataType::Utf8, true),
        Field::new("f", DataType::Float64, true),
        Field::new("at", moment, true),
        Field::new("ok", DataType::Boolean, true),
    ])
}

#[async_trait]
impl CopyTarget for Copied {
    fn name(&self) -> &str {
        "copied"
    }

    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    async fn write(&mut self, rows: RecordBatch) -> Result<(), SqlError> {
        self.batches.push(rows);
        Ok(())
    }

    async fn finish(self: Box<Self>) -> Result<(), SqlError> {
        let table = MemTable::try_new(self.schema, vec![self.batches]).unwrap();
        self.context.deregister_table("copied").unwrap();
        self.context.register_table("copied", Arc::new(table)).unwrap();
        Ok(())
    }
}

fn translate(error: &DataFusionError) -> SqlError {
    let state = match error.find_root() {
        DataFusionError::Plan(_) => SqlState::UNDEFINED_TABLE,
        DataFusionError::SchemaError(..) => SqlState::UNDEFINED_COLUMN,
        DataFusionError::ArrowError(error, _) if matches!(**error, arrow::error::ArrowError::DivideByZero) => {
            SqlState::DIVISION_BY_ZERO
        }
        _ => SqlState::INTERNAL_ERROR,
    };
    SqlError::new(state, error.strip_backtrace())
}

/// `$1::bigint` says what `$1` is.
fn infer_from_casts(plan: &LogicalPlan, types: &mut HashMap<String, Option<DataType>>) {
    let mut visit = |expression: &Expr| {
        if let Expr::Cast(cast) = expression
            && let Expr::Placeholder(placeholder) = cast.expr.as_ref()
        {
            types.insert(placeholder.id.clone(), Some(cast.field.data_type().clone()));
        }
        Ok(TreeNodeRecursion::Continue)
    };
    plan.apply_with_subqueries(|node| node.apply_expressions(|expression| expression.apply(&mut visit))).unwrap();
}

struct QueryPlan {
    context: SessionContext,
    plan: LogicalPlan,
    parameters: Vec<DataType>,
}

#[async_trait]
impl Plan for QueryPlan {
    fn schema(&self) -> Option<SchemaRef> {
        Some(Arc::clone(self.plan.schema().inner()))
    }

    fn parameters(&self) -> &[DataType] {
        &self.parameters
    }

    async fn run(&self, parameters: Vec<ScalarValue>) -> Result<Outcome, SqlError> {
        let plan = self.plan.clone().with_param_values(ParamValues::from(parameters));
        let frame = self.context.execute_logical_plan(plan.map_err(|error| translate(&error))?).await;
        let stream = frame.map_err(|error| translate(&error))?.execute_stream().await;
        let stream = stream.map_err(|error| translate(&error))?;
        let stream = RowStream {
            schema: stream.schema(),
            batches: stream.map_err(|error| translate(&error)).boxed(),
            notices: Arc::default(),
        };
        let explain = matches!(self.plan, LogicalPlan::Explain(_));
        Ok(Outcome::Rows { stream, tag: if explain { "EXPLAIN" } else { "SELECT" } })
    }
}

/// `SHOW HOOKS` gives a row each 20 ms for ever and counts itself; every other statement of ours is done at once.
struct OursPlan {
    live_streams: Arc<AtomicUsize>,
    shows: bool,
    creates: bool,
}

/// Counts a stream for as long as it lives.
struct Alive(Arc<AtomicUsize>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn live_schema() -> SchemaRef {
    let fields = vec![Field::new("n", DataType::Int64, false), Field::new("text", DataType::Utf8, true)];
    Arc::new(Schema::new(fields))
}

#[async_trait]
impl Plan for OursPlan {
    fn schema(&self) -> Option<SchemaRef> {
        self.shows.then(live_schema)
    }

    fn parameters(&self) -> &[DataType] {
        &[]
    }

    async fn run(&self, _parameters: Vec<ScalarValue>) -> Result<Outcome, SqlError> {
        if !self.shows {
            let tag = if self.creates { "CREATE PROBE" } else { "CHECKPOINT" };
            return Ok(Outcome::Done { tag: tag.to_owned(), notices: vec!["it is done".to_owned()] });
        }
        self.live_streams.fetch_add(1, Ordering::SeqCst);
        let alive = Alive(Arc::clone(&self.live_streams));
        let batches = futures::stream::unfold((0, alive), |(n, alive)| async move {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let columns: Vec<ArrayRef> =
                vec![Arc::new(Int64Array::from(vec![n])), Arc::new(StringArray::from(vec![format!("row {n}")]))];
            let batch = RecordBatch::try_new(live_schema(), columns).unwrap();
            Some((Ok(batch), (n + 1, alive)))
        });
        let stream = RowStream { schema: live_schema(), batches: batches.boxed(), notices: Arc::default() };
        Ok(Outcome::Rows { stream, tag: "SELECT" })
    }
}
