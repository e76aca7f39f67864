//! Our engine as the door's backend.

use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use async_trait::async_trait;
use datafusion::scalar::ScalarValue;
use datafusion::sql::sqlparser::ast::{Ident, ObjectName};
use futures::TryStreamExt;
use probepilot_api::pg::backend::{Account, Backend, Client, CopyTarget, Outcome, Plan, SavedSettings, Session};
use probepilot_query::engine::session::Prepared;
use probepilot_query::{Engine, SessionOptions};
use probepilot_sql::SqlError;
use probepilot_sql::statement::Statement;

use crate::backend::{PASSWORD, verifier};

/// Lets `admin` in to the engine.
pub struct EngineBackend(pub Arc<Engine>);

#[async_trait]
impl Backend for EngineBackend {
    async fn account(&self, user: &str) -> Result<Option<Account>, SqlError> {
        Ok((user == "admin").then(|| Account { role: "admin".to_owned(), verifier: Some(verifier(PASSWORD)) }))
    }

    async fn has_database(&self, name: &str) -> Result<bool, SqlError> {
        Ok(name == "probepilot")
    }

    async fn connect(&self, client: Client) -> Result<Box<dyn Session>, SqlError> {
        let session = self.0.session(SessionOptions {
            user: client.user,
            role: client.role,
            database: client.database,
            application_name: client.application_name,
            client_address: None,
            process_id: client.process_id,
        });
        Ok(Box::new(EngineSession(Arc::new(session))))
    }
}

struct EngineSession(Arc<probepilot_query::Session>);

#[async_trait]
impl Session for EngineSession {
    async fn prepare(
        &self,
        text: &Arc<str>,
        statement: &Statement,
        parameter_types: &[Option<DataType>],
    ) -> Result<Arc<dyn Plan>, SqlError> {
        let Statement::Sql(sql) = statement else { return Err(SqlError::unsupported("only plain SQL runs here")) };
        let prepared = self.0.prepare(text, sql, parameter_types).await?;
        Ok(Arc::new(EnginePlan { session: Arc::clone(&self.0), prepared }))
    }

    async fn copy_in(&self, _: &Arc<str>, _: &ObjectName, _: &[Ident]) -> Result<Box<dyn CopyTarget>, SqlError> {
        Err(SqlError::unsupported("only rows that are there are asked for here"))
    }

    async fn commit(&self) -> Result<(), SqlError> {
        Ok(())
    }

    fn setting(&self, name: &str) -> Option<String> {
        self.0.settings().lock().get(name).ok()
    }

    fn set_startup(&self, name: &str, value: &str) -> Result<(), SqlError> {
        self.0.settings().lock().set_startup(name, value)
    }

    fn set(&self, name: &str, value: &str) -> Result<(), SqlError> {
        self.0.settings().lock().set(name, value)
    }

    fn set_local(&self, name: &str, value: &str) -> Result<(), SqlError> {
        self.0.settings().lock().set_local(name, value)
    }

    fn end_transaction(&self) {
        self.0.end_transaction();
    }

    fn save_settings(&self) -> SavedSettings {
        Box::new(self.0.settings().lock().clone())
    }

    fn restore_settings(&self, saved: &SavedSettings) {
        self.0.settings().lock().clone_from(saved.downcast_ref().unwrap());
    }

    fn reset(&self, name: &str) -> Result<(), SqlError> {
        self.0.settings().lock().reset(name)
    }

    fn reset_all(&self) {
        self.0.settings().lock().reset_all();
    }

    fn settings(&self) -> Vec<[String; 3]> {
        let all = self.0.settings().lock().all();
        let shown = all.into_iter();
        shown.map(|(setting, value)| [setting.name.to_owned(), value, setting.description.to_owned()]).collect()
    }
}

struct EnginePlan {
    session: Arc<probepilot_query::Session>,
    prepared: Prepared,
}

#[async_trait]
impl Plan for EnginePlan {
    fn schema(&self) -> Option<SchemaRef> {
        self.prepared.returns_rows.then(|| Arc::clone(&self.prepared.schema))
    }

    fn parameters(&self) -> &[DataType] {
        &self.prepared.parameters
    }

    async fn run(&self, parameters: Vec<ScalarValue>) -> Result<Outcome, SqlError> {
        let stream = self.session.execute(&self.prepared, parameters).await?;
        if self.prepared.returns_rows {
            return Ok(Outcome::Rows { stream, tag: self.prepared.tag });
        }
        stream.batches.try_for_each(|_| futures::future::ready(Ok(()))).await?;
        Ok(Outcome::Done { tag: self.prepared.tag.to_owned(), notices: Vec::new() })
    }
}
