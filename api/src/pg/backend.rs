//! What the door needs of the rest of the server: accounts to let clients in, and sessions to run their statements.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, SchemaRef};
use async_trait::async_trait;
use datafusion::scalar::ScalarValue;
use datafusion::sql::sqlparser::ast::{Ident, ObjectName};
use probepilot_catalog::ports::RowStream;
use probepilot_sql::SqlError;
use probepilot_sql::statement::Statement;

/// What is kept of a password: enough to check it, not enough to use it (RFC 5802).
#[derive(Clone)]
pub struct ScramVerifier {
    /// The salt.
    pub salt: Vec<u8>,
    /// Rounds of the key derivation.
    pub iterations: u32,
    /// The hash of the client's key.
    pub stored_key: [u8; 32],
    /// The key with which the server proves that it knows the verifier.
    pub server_key: [u8; 32],
}

impl fmt::Debug for ScramVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScramVerifier").field("iterations", &self.iterations).finish_non_exhaustive()
    }
}

/// An account that may log in.
#[derive(Clone, Debug)]
pub struct Account {
    /// Its role: `admin`, `operator`, `analyst`, …
    pub role: String,
    /// `None` when it has no password, and so none is right.
    pub verifier: Option<ScramVerifier>,
}

/// Who is at the door.
#[derive(Clone, Debug)]
pub struct Client {
    /// The account's name.
    pub user: String,
    /// The account's role.
    pub role: String,
    /// The database asked for, which exists.
    pub database: String,
    /// Where the client is: an address, or `local` on the Unix socket.
    pub address: String,
    /// What the client calls itself, or nothing.
    pub application_name: String,
    /// The number of the connection: `pg_backend_pid()`.
    pub process_id: i32,
}

/// The rest of the server, as the door sees it.
#[async_trait]
pub trait Backend: Send + Sync + 'static {
    /// The account of that name, `None` when there is none.
    async fn account(&self, user: &str) -> Result<Option<Account>, SqlError>;

    /// Whether a database of that name exists.
    async fn has_database(&self, name: &str) -> Result<bool, SqlError>;

    /// A session for a client that was let in.
    async fn connect(&self, client: Client) -> Result<Box<dyn Session>, SqlError>;
}

/// A session's settings at some moment; only the session knows what they look like.
pub type SavedSettings = Box<dyn Any + Send + Sync>;

/// One client's session.
#[async_trait]
pub trait Session: Send + Sync + 'static {
    /// Plans a statement without running it. `text` is the whole text that `statement`'s spans refer to;
    /// `parameter_types` are those the client named, the others are inferred.
    async fn prepare(
        &self,
        text: &Arc<str>,
        statement: &Statement,
        parameter_types: &[Option<DataType>],
    ) -> Result<Arc<dyn Plan>, SqlError>;

    /// A table that takes rows of a COPY FROM, in the columns that are named, or all. `text` is the whole text that the
    /// spans of `table` refer to. 42P01 when there is no such table, 0A000 when it takes none.
    async fn copy_in(
        &self,
        text: &Arc<str>,
        table: &ObjectName,
        columns: &[Ident],
    ) -> Result<Box<dyn CopyTarget>, SqlError>;

    /// Keeps what the transaction has inserted: when it returns the rows are on the disk and everybody sees them. All of
    /// them or, when it fails, none.
    async fn commit(&self) -> Result<(), SqlError>;

    /// A setting's value as `SHOW` prints it; `None` when there is no such setting.
    fn setting(&self, name: &str) -> Option<String>;

    /// Gives a setting the value of the startup packet, to which `RESET` goes back; errors as for [`Session::set`].
    fn set_startup(&self, name: &str, value: &str) -> Result<(), SqlError>;

    /// Changes a setting as `SET` does: 42704 for an unknown name, 22023 for a wrong value.
    fn set(&self, name: &str, value: &str) -> Result<(), SqlError>;

    /// Changes a setting until the end of the transaction, as `SET LOCAL` does; errors as for [`Session::set`].
    fn set_local(&self, name: &str, value: &str) -> Result<(), SqlError>;

    /// The transaction is over: settings that were changed for it alone are as before, and its snapshot is given up.
    fn end_transaction(&self);

    /// All settings as they are now, and how far the transaction has inserted.
    fn save_settings(&self) -> SavedSettings;

    /// Puts all settings back to what this session saved, and forgets what was inserted since.
    fn restore_settings(&self, saved: &SavedSettings);

    /// Puts a setting back to its default as `RESET` does; 42704 for an unknown name.
    fn reset(&self, name: &str) -> Result<(), SqlError>;

    /// Puts every setting back to its default.
    fn reset_all(&self);

    /// Every setting for `SHOW ALL`: name, value, description.
    fn settings(&self) -> Vec<[String; 3]>;
}

/// Rows on their way into a table: all of them, or none when it is dropped before it was finished. They are kept when the
/// session commits.
#[async_trait]
pub trait CopyTarget: Send + Sync + 'static {
    /// The table's name, for errors.
    fn name(&self) -> &str;

    /// The columns of the rows.
    fn schema(&self) -> SchemaRef;

    /// Takes rows of that schema.
    async fn write(&mut self, rows: RecordBatch) -> Result<(), SqlError>;

    /// There are no more: they belong to the transaction now.
    async fn finish(self: Box<Self>) -> Result<(), SqlError>;
}

/// A planned statement.
#[async_trait]
pub trait Plan: Send + Sync + 'static {
    /// The columns of its rows; `None` for a statement that has no rows.
    fn schema(&self) -> Option<SchemaRef>;

    /// The types of `$1`, `$2`, ….
    fn parameters(&self) -> &[DataType];

    /// Whether its work may be dropped half way.
    fn can_stop(&self) -> bool {
        self.schema().is_some()
    }

    /// Runs it with a value for each parameter.
    ///
    /// A plan that can stop may be dropped at any time, which stops its work; any other is always awaited.
    async fn run(&self, parameters: Vec<ScalarValue>) -> Result<Outcome, SqlError>;
}

/// What running a statement gives.
pub enum Outcome {
    /// Rows as they come.
    Rows {
        /// The rows.
        stream: RowStream,
        /// The first word of the command tag: `SELECT` (the count is added), `SHOW`, `EXPLAIN`.
        tag: &'static str,
    },
    /// Something was done.
    Done {
        /// The command tag: `CREATE PROBE`.
        tag: String,
        /// What the client should be told.
        notices: Vec<String>,
    },
}
