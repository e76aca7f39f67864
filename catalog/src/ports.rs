//! The traits by which collector, query and doors meet. `api` hands the implementations over; nobody names the other.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, SchemaRef};
use async_trait::async_trait;
use futures::stream::BoxStream;
use probepilot_sql::SqlError;
use probepilot_sql::statement::{CreateProbe, ProbeQuery};
use tokio::sync::Semaphore;

use crate::batch::{Durability, Entry, Envelope};
use crate::probe::{ProbeId, ProbePlan, ProbeReport, ProbeSpec, ProbeStarted};
use crate::table::{Column, TableName};

/// The log as everyone sees it. Implemented by the collector; used by the tail and by every door that takes rows.
#[async_trait]
pub trait Rows: Send + Sync + 'static {
    /// Appends at the promised level and returns the entry's sequence. It is visible to subscribers before it returns.
    ///
    /// Waits while the log is full, for a bounded time; then 53200 (tail full) or 53100 (disk full), and nothing of the
    /// envelope is kept.
    async fn append(&self, envelope: Envelope, durability: Durability) -> Result<u64, SqlError>;

    /// Every entry after `sequence`, in order, without gap, first the durable ones and then as they come.
    ///
    /// `credit` counts bytes of [`Envelope::memory_bytes`]: an entry takes its share before it is delivered (an entry
    /// larger than a third of all credit takes that third) and returns it when dropped. Without credit the stream waits.
    fn subscribe(&self, after: u64, credit: Arc<Semaphore>) -> BoxStream<'static, Result<Entry, SqlError>>;

    /// The sequence of the newest entry, 0 before the first.
    fn head(&self) -> u64;

    /// Commits every row appended so far to segments and returns the snapshot that holds them.
    async fn checkpoint(&self) -> Result<i64, SqlError>;
}

/// Where rows gather before they are appended to the log. Implemented by the node; asked by the engine before a statement
/// takes its snapshot, so that it sees every event that happened before it began.
#[async_trait]
pub trait Gathering: Send + Sync + 'static {
    /// Has everything that happened so far appended, and returns the sequence up to which a reader must read to see it.
    ///
    /// Waits for a bounded time; what is not appended by then the statement does not see.
    async fn settle(&self) -> u64;
}

/// Rows of a query as they come.
pub struct RowStream {
    /// The columns.
    pub schema: SchemaRef,
    /// Batches; dropping the stream stops the work behind it.
    pub batches: BoxStream<'static, Result<RecordBatch, SqlError>>,
    /// What the client should be told when the stream has ended (losses).
    pub notices: Arc<parking_lot::Mutex<Vec<String>>>,
}

/// What a query on hooks gives and takes.
#[derive(Clone, Debug)]
pub struct Described {
    /// The columns of its rows.
    pub schema: SchemaRef,
    /// The types of its parameters: as the client gave them, else as what they are compared with.
    pub parameters: Vec<DataType>,
}

/// Runs a SELECT on hooks for as long as the stream lives. Implemented by the collector; used by every door.
#[async_trait]
pub trait Hooks: Send + Sync + 'static {
    /// The columns and parameters of a query on hooks, without loading anything: for Describe. `types` are those that the
    /// client has given to parameters.
    async fn describe(&self, query: &ProbeQuery, types: &[Option<DataType>]) -> Result<Described, SqlError>;

    /// Compiles, loads, attaches; rows are neither logged nor stored. Dropping the stream detaches. Parameters have been
    /// replaced by values.
    async fn select(&self, query: &ProbeQuery) -> Result<RowStream, SqlError>;
}

/// What `EXPLAIN` is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Explain<'a> {
    /// What the program would be called.
    pub name: &'a str,
    /// The query on hooks.
    pub query: &'a ProbeQuery,
    /// As a stored probe; otherwise as a SELECT.
    pub stored: bool,
    /// A probe whose state and counters are told too.
    pub running: Option<ProbeId>,
    /// The program's listing too.
    pub verbose: bool,
    /// Attaches for one second, and counts what would be written.
    pub analyze: bool,
}

/// The probes of this node. Implemented by the collector, in process; over gRPC in a cluster.
#[async_trait]
pub trait Node: Send + Sync + 'static {
    /// The node's name, as the column `node` has it.
    fn name(&self) -> &str;

    /// Compiles without touching the kernel's state: names, types, what runs where.
    async fn plan(&self, probe: &CreateProbe) -> Result<ProbePlan, SqlError>;

    /// The lines of `EXPLAIN`.
    async fn explain(&self, what: Explain<'_>) -> Result<Vec<String>, SqlError>;

    /// Compiles, loads, verifies and attaches; returns once events are counted. An error leaves nothing behind.
    ///
    /// A version of the probe that runs is replaced without a row lost or doubled, and its counters go on; it goes on
    /// itself when the new one fails.
    async fn start(&self, probe: ProbeSpec) -> Result<ProbeStarted, SqlError>;

    /// Detaches, drains what the rings still hold, and frees everything of the probe.
    async fn stop(&self, probe: ProbeId) -> Result<(), SqlError>;

    /// Gives a probe another name in what is reported; what runs goes on.
    fn rename(&self, probe: ProbeId, name: &str);

    /// Every probe asked for, with state and counters.
    fn reports(&self) -> Vec<ProbeReport>;
}

/// A table whose rows are made when it is read: `system.processes`, `system.hooks`, `system.queries`.
#[async_trait]
pub trait LiveTable: Send + Sync + 'static {
    /// Where it is found.
    fn name(&self) -> TableName;

    /// Its columns.
    fn columns(&self) -> Vec<Column>;

    /// What a row is.
    fn comment(&self) -> &str;

    /// All rows, now, in the columns' Arrow schema ([`crate::table::arrow_schema`]).
    async fn rows(&self) -> Result<Vec<RecordBatch>, SqlError>;
}
