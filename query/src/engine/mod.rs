//! The engine: one per tenant; sessions plan and run statements on it.

pub mod settings; // A session's settings.
pub mod session; // Prepare and execute.
mod catch_up; // Before a statement's snapshot.
pub mod statement; // What a running statement may ask: its snapshot, its session.
pub mod queries; // What is running, and how it is stopped.
mod names; // Table names to providers.
pub mod views; // Views that come with us.
mod built_in_views; // Their definitions.
mod plan; // From a tree to a logical plan.
mod stored_views; // Views that users make.
mod insert; // INSERT: prepared, run, and committed.
mod explain; // EXPLAIN as one text column.
mod workers; // The threads that plans run on.
mod interrupt; // Where plans end that nobody waits for.
mod stream; // Rows as they come, until cancelled or too late.
pub(crate) mod errors; // The planner's errors in PostgreSQL's codes.
mod nearest; // Names that look alike.
mod system; // Our own live tables.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use datafusion::common::config::SpillCompression;
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::cache::cache_manager::CacheManagerConfig;
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::session_state::SessionState;
use datafusion::optimizer::Analyzer;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::prelude::SessionConfig;
use object_store::ObjectStore;
use probepilot_catalog::manifest::Manifest;
use probepilot_catalog::ports::{Gathering, LiveTable, Rows};
use probepilot_sql::SqlError;
use tokio::sync::watch;

use crate::functions;
use crate::gapfill::{GapFillPlanner, GapFillRule};
use crate::insert::Lanes;
use crate::losses::Book;
use crate::rewrite::{Casts, SubqueriesToJoins, Typed};
use crate::scan::{OrderBelowFilters, Pin, store_url};
use crate::tail::{Feed, Tail};
use queries::Queries;
use session::{Session, SessionOptions};
use workers::Workers;

/// Bytes of Parquet footers that are kept in memory; the least used go first.
const FOOTER_CACHE_BYTES: usize = 64 << 20;

/// Rows of a batch between operators.
const BATCH_ROWS: usize = 8_192;

/// What an engine is made of.
pub struct EngineOptions {
    /// The lake's live manifest (`Lake::watch`).
    pub manifest: watch::Receiver<Arc<Manifest>>,
    /// Where the segments are; its root is the lake's data path.
    pub store: Arc<dyn ObjectStore>,
    /// The log the tail is fed from.
    pub rows: Arc<dyn Rows>,
    /// Where rows gather before they reach the log; `None` when others are asked for theirs, or nobody makes any here.
    pub gathering: Option<Arc<dyn Gathering>>,
    /// The log's stream, as the manifest's watermark names it.
    pub stream: String,
    /// Tables of other parts whose rows are made when they are read.
    pub live_tables: Vec<Arc<dyn LiveTable>>,
    /// The accounts' names and roles, for `pg_roles`.
    pub accounts: Accounts,
    /// Memory of all queries together; above it they spill to `spill_dir`, then fail (53200).
    pub memory_bytes: usize,
    /// Memory of the tail: the credit of its subscription.
    pub tail_bytes: usize,
    /// Where queries spill; the system's temporary directory when `None`.
    pub spill_dir: Option<std::path::PathBuf>,
    /// Bytes that all queries together may spill; above it they fail (53200).
    pub spill_bytes_max: u64,
    /// The version users see in `version()`.
    pub version: String,
}

/// An account as `pg_roles` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The login name.
    pub name: String,
    /// `admin`, `operator`, `analyst`, …
    pub role: String,
}

/// Lists the accounts; called by each statement that reads `pg_roles` or its like.
pub type Accounts = Arc<dyn Fn() -> Vec<Account> + Send + Sync>;

/// Plans and runs statements over one tenant's lake.
pub struct Engine {
    manifest: watch::Receiver<Arc<Manifest>>,
    tail: Arc<Tail>,
    gathering: Option<Arc<dyn Gathering>>,
    stream: String,
    live_tables: Vec<Arc<dyn LiveTable>>,
    accounts: Accounts,
    version: String,
    queries: Arc<Queries>,
    /// What was lost, for the notices at the end of queries.
    losses: Book,
    /// The log, for rows that are inserted.
    rows: Arc<dyn Rows>,
    lanes: Lanes,
    /// What every statement's state is cloned from.
    state: SessionState,
    workers: Workers,
    next_process_id: AtomicI32,
    feed: Feed,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("stream", &self.stream).field("tail", &self.tail.size()).finish_non_exhaustive()
    }
}

impl Engine {
    /// Starts the engine and refills the tail from the log; when it returns, everything logged so far is visible.
    ///
    /// The writer must be running when the log holds more than `tail_bytes`.
    pub async fn start(options: EngineOptions) -> Result<Arc<Engine>, SqlError> {
        let EngineOptions {
            manifest,
            store,
            rows,
            gathering,
            stream,
            mut live_tables,
            accounts,
            memory_bytes,
            tail_bytes,
            spill_dir,
            spill_bytes_max,
            version,
        } = options;
        let state = state(store, memory_bytes, spill_dir, spill_bytes_max)
            .map_err(|error| SqlError::internal("the query engine could not be set up", error))?;
        let workers = Workers::start()
            .map_err(|error| SqlError::internal("the threads for queries could not be started", error))?;
        let tail = Arc::new(Tail::default());
        let feed =
            Feed::start(Arc::clone(&tail), Arc::clone(&rows), stream.clone(), manifest.clone(), tail_bytes).await?;
        let queries = Arc::new(Queries::default());
        live_tables.extend(system::tables(&queries, &tail, &manifest, &stream));
        Ok(Arc::new(Engine {
            manifest,
            tail,
            gathering,
            stream,
            live_tables,
            accounts,
            version,
            queries,
            losses: Book::default(),
            rows,
            lanes: Lanes::new(session::unix_ns().cast_unsigned()),
            state,
            workers,
            next_process_id: AtomicI32::new(1),
            feed,
        }))
    }

    /// A session for a user who was let in.
    pub fn session(self: &Arc<Self>, options: SessionOptions) -> Session {
        Session::new(Arc::clone(self), options)
    }

    /// A process id no other session of this engine has, for doors that need one.
    pub fn next_process_id(&self) -> i32 {
        self.next_process_id.fetch_add(1, Ordering::Relaxed) & i32::MAX
    }

    /// What is running, and how it is stopped.
    pub fn queries(&self) -> &Arc<Queries> {
        &self.queries
    }

    /// The newest snapshot: the tail, then the manifest.
    pub fn pin(&self) -> Pin {
        Pin::take(&self.tail, &self.manifest, &self.stream)
    }

    /// The tail.
    pub fn tail(&self) -> &Arc<Tail> {
        &self.tail
    }

    /// Tables whose rows are made when they are read.
    pub fn live_tables(&self) -> &[Arc<dyn LiveTable>] {
        &self.live_tables
    }

    /// The accounts, now.
    pub fn accounts(&self) -> Vec<Account> {
        (self.accounts)()
    }

    /// The version users see.
    pub fn version(&self) -> &str {
        &self.version
    }

    fn state(&self) -> &SessionState {
        &self.state
    }
}

fn state(
    store: Arc<dyn ObjectStore>,
    memory_bytes: usize,
    spill_dir: Option<std::path::PathBuf>,
    spill_bytes_max: u64,
) -> datafusion::common::Result<SessionState> {
    let caches = CacheManagerConfig::default();
    let mut runtime = RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(FairSpillPool::new(memory_bytes)))
        .with_cache_manager(caches)
        .with_metadata_cache_limit(FOOTER_CACHE_BYTES)
        .with_max_temp_directory_size(spill_bytes_max);
    if let Some(directory) = spill_dir {
        runtime = runtime.with_temp_file_path(directory);
    }
    let runtime = runtime.build_arc()?;
    runtime.register_object_store(store_url().as_ref(), store);
    let mut rules = Analyzer::new().rules;
    // Gaps are filled by what a query groups by, as it was written.
    rules.push(Arc::new(Typed::default()));
    rules.insert(0, Arc::new(Casts::default()));
    rules.insert(0, Arc::new(SubqueriesToJoins::default()));
    rules.insert(0, Arc::new(GapFillRule::new(functions::bucket::time_bucket())));
    let mut physical = PhysicalOptimizer::new().rules;
    // After the order was told to scans, before filters that depend on rows are.
    let behind = physical.iter().position(|rule| rule.name() == "PushdownSort").map_or(physical.len(), |at| at + 1);
    physical.insert(behind, Arc::new(OrderBelowFilters));
    physical.push(Arc::new(interrupt::Interruptible));
    let mut builder = SessionStateBuilder::new()
        .with_config(config())
        .with_runtime_env(runtime)
        .with_default_features()
        .with_analyzer_rules(rules)
        .with_physical_optimizer_rules(physical)
        .with_query_planner(Arc::new(GapFillPlanner));
    if let Some(planners) = builder.expr_planners() {
        planners.insert(0, Arc::new(functions::literals::ArrayLiterals));
        planners.insert(0, Arc::new(functions::operators::Operators::new()));
    }
    let state = builder.build();
    functions::register(state)
}

fn config() -> SessionConfig {
    let mut config = SessionConfig::new().with_batch_size(BATCH_ROWS).with_information_schema(false);
    let options = config.options_mut();
    options.execution.time_zone = Some("UTC".into());
    options.execution.collect_statistics = false; // The manifest has them.
    options.execution.spill_compression = SpillCompression::Lz4Frame;
    options.execution.sort_pushdown_buffer_capacity = 64 << 20;
    options.execution.parquet.max_in_list_size = 100;
    options.execution.parquet.max_predicate_cache_size = Some(64 << 20);
    options.optimizer.prefer_existing_sort = true;
    options.optimizer.repartition_file_min_size = 4 << 20;
    options.optimizer.filter_null_join_keys = true;
    options.sql_parser.collect_spans = true;
    options.sql_parser.default_null_ordering = "nulls_max".into();
    options.explain.show_sizes = false;
    config
}
