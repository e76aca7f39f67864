//! The executor as the Postgres door sees it.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, SchemaRef};
use async_trait::async_trait;
use datafusion::scalar::ScalarValue;
use datafusion::sql::sqlparser::ast::{Ident, ObjectName};
use probepilot_catalog::control::Role;
use probepilot_query::engine::settings::Settings;
use probepilot_query::insert::CopyIn;
use probepilot_sql::statement::Statement;
use probepilot_sql::{SqlError, SqlState};

use crate::directory::DATABASE;
use crate::execute::{self, Connection, Executor, Who};
use crate::pg::backend::{Account, Backend, Client, CopyTarget, Outcome, Plan, SavedSettings, ScramVerifier, Session};

/// The executor behind the door.
pub struct DoorBackend(pub Arc<Executor>);

#[async_trait]
impl Backend for DoorBackend {
    async fn account(&self, user: &str) -> Result<Option<Account>, SqlError> {
        let Some(account) = self.0.control.account(user).await? else { return Ok(None) };
        let verifier = self.0.control.scram_verifier(user).await?.map(|verifier| ScramVerifier {
            salt: verifier.salt,
            iterations: verifier.iterations,
            stored_key: verifier.stored_key,
            server_key: verifier.server_key,
        });
        Ok(Some(Account { role: account.role.as_str().to_owned(), verifier }))
    }

    async fn has_database(&self, name: &str) -> Result<bool, SqlError> {
        Ok(name == DATABASE)
    }

    async fn connect(&self, client: Client) -> Result<Box<dyn Session>, SqlError> {
        let role = Role::from_word(&client.role).ok_or_else(|| {
            SqlError::new(SqlState::INVALID_AUTHORIZATION, format!("the account has no known role: {}", client.role))
        })?;
        let who = Who {
            user: client.user,
            role,
            database: client.database,
            address: client.address,
            application_name: client.application_name,
        };
        let connection = Arc::new(self.0.connect(who, Some(client.process_id)));
        Ok(Box::new(DoorSession { executor: Arc::clone(&self.0), connection }))
    }
}

struct DoorSession {
    executor: Arc<Executor>,
    connection: Arc<Connection>,
}

#[async_trait]
impl Session for DoorSession {
    async fn prepare(
        &self,
        text: &Arc<str>,
        statement: &Statement,
        parameter_types: &[Option<DataType>],
    ) -> Result<Arc<dyn Plan>, SqlError> {
        let plan = self.executor.prepare(&self.connection, text, statement, parameter_types).await?;
        Ok(Arc::new(DoorPlan { executor: Arc::clone(&self.executor), connection: Arc::clone(&self.connection), plan }))
    }

    async fn copy_in(
        &self,
        text: &Arc<str>,
        table: &ObjectName,
        columns: &[Ident],
    ) -> Result<Box<dyn CopyTarget>, SqlError> {
        execute::may_insert(&self.connection.who)?;
        let rows = self.connection.session.copy_in(text, table, columns)?;
        Ok(Box::new(DoorCopy { connection: Arc::clone(&self.connection), rows }))
    }

    async fn commit(&self) -> Result<(), SqlError> {
        self.connection.session.commit().await
    }

    fn setting(&self, name: &str) -> Option<String> {
        self.connection.session.settings().lock().get(name).ok()
    }

    fn set_startup(&self, name: &str, value: &str) -> Result<(), SqlError> {
        self.connection.session.settings().lock().set_startup(name, value)
    }

    fn set(&self, name: &str, value: &str) -> Result<(), SqlError> {
        self.connection.session.settings().lock().set(name, value)
    }

    fn set_local(&self, name: &str, value: &str) -> Result<(), SqlError> {
        self.connection.session.settings().lock().set_local(name, value)
    }

    fn end_transaction(&self) {
        self.connection.session.end_transaction();
    }

    fn save_settings(&self) -> SavedSettings {
        let session = &self.connection.session;
        Box::new(Saved { settings: session.settings().lock().clone(), inserted: session.inserted() })
    }

    fn restore_settings(&self, saved: &SavedSettings) {
        let saved = saved.downcast_ref::<Saved>().expect("the door gives back what this session saved");
        self.connection.session.settings().lock().clone_from(&saved.settings);
        self.connection.session.forget_inserted(saved.inserted);
    }

    fn reset(&self, name: &str) -> Result<(), SqlError> {
        self.connection.session.settings().lock().reset(name)
    }

    fn reset_all(&self) {
        self.connection.session.settings().lock().reset_all();
    }

    fn settings(&self) -> Vec<[String; 3]> {
        let all = self.connection.session.settings().lock().all();
        all.into_iter()
            .map(|(setting, value)| [setting.name.to_owned(), value, setting.description.to_owned()])
            .collect()
    }
}

/// What a session goes back to: its settings, and how far it had inserted.
struct Saved {
    settings: Settings,
    inserted: usize,
}

/// Rows of a COPY on their way into the session's transaction.
struct DoorCopy {
    connection: Arc<Connection>,
    rows: CopyIn,
}

#[async_trait]
impl CopyTarget for DoorCopy {
    fn name(&self) -> &str {
        self.rows.name()
    }

    fn schema(&self) -> SchemaRef {
        self.rows.schema()
    }

    async fn write(&mut self, rows: RecordBatch) -> Result<(), SqlError> {
        self.rows.write(&rows)
    }

    async fn finish(self: Box<Self>) -> Result<(), SqlError> {
        let DoorCopy { connection, rows } = *self;
        connection.session.finish_copy(rows)
    }
}

struct DoorPlan {
    executor: Arc<Executor>,
    connection: Arc<Connection>,
    plan: execute::Plan,
}

#[async_trait]
impl Plan for DoorPlan {
    fn schema(&self) -> Option<SchemaRef> {
        self.plan.schema.clone()
    }

    fn parameters(&self) -> &[DataType] {
        &self.plan.parameters
    }

    fn can_stop(&self) -> bool {
        self.plan.can_stop()
    }

    async fn run(&self, parameters: Vec<ScalarValue>) -> Result<Outcome, SqlError> {
        Ok(match self.executor.run(&self.connection, &self.plan, parameters).await? {
            execute::Outcome::Rows { stream, tag } => Outcome::Rows { stream, tag },
            execute::Outcome::Done { tag, notices } => Outcome::Done { tag, notices },
        })
    }
}
