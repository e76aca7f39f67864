//! This node: what the doors and the composition root hold.

use std::sync::Arc;
use std::sync::Weak;
use std::time::Duration;

use arrow::datatypes::DataType;
use async_trait::async_trait;
use parking_lot::Mutex;
use probepilot_catalog::ports::{self, Described, Explain, Gathering, Hooks, LiveTable, RowStream, Rows};
use probepilot_catalog::probe::{EVERY_PROBE, ProbeHealth, ProbeId, ProbePlan, ProbeReport, ProbeSpec, ProbeStarted};
use probepilot_catalog::table::{Column, TableKind};
use probepilot_collector_ebpf::capability;
use probepilot_collector_ebpf::kernel::{Kernel, KernelError};
use probepilot_sql::statement::{CreateProbe, ProbeQuery};
use probepilot_sql::{SqlError, SqlState};
use tokio::sync::{Mutex as AsyncMutex, Semaphore};
use tokio::task::JoinHandle;

use crate::node::clock::unix_now_ns;
use crate::node::cmdline::CmdlineSetting;
use crate::node::drain::{DrainOptions, STORED_GATHER, Settler};
use crate::node::engine::Engine;
use crate::node::feed::Feed;
use crate::node::health::{self, HealthTables, HealthWriter};
use crate::node::health_tables::LossRow;
use crate::node::hook_tables::{HookColumnTable, HookTable};
use crate::node::lifecycle::{Probes, Unavailable};
use crate::node::live::{LIVE_QUERIES_MAX, LiveQuery};
use crate::node::live_queue::LiveQueue;
use crate::node::loss::Cause;
use crate::node::measure;
use crate::node::outbox::Outbox;
use crate::node::process_table::ProcessTable;
use crate::node::processes::Processes;

/// Bytes of the rings of all stored probes together, when nobody says otherwise.
pub const RING_BYTES_DEFAULT: usize = 64 << 20;

/// How long a statement waits for events that happened before it, when there is more to do than is done at once.
const SETTLE_MAX: Duration = Duration::from_millis(100);

/// How long `EXPLAIN ANALYZE` measures.
const ANALYZE_TIME: Duration = Duration::from_secs(1);

/// Rows in a second of a program that is loaded to be looked at, and not attached.
const EXPLAIN_ROWS_PER_SECOND_MAX: u32 = 5_000;

/// How a node is started.
pub struct NodeOptions {
    /// The node's name: the column `node`, and the producer of its envelopes.
    pub name: String,
    /// The log.
    pub rows: Arc<dyn Rows>,
    /// Bytes of the rings of all stored probes together; see [`RING_BYTES_DEFAULT`].
    pub ring_bytes_total: usize,
    /// Bytes of rows that wait for the log; see [`crate::node::outbox::QUEUE_BYTES_DEFAULT`].
    pub queue_bytes_max: usize,
    /// Without probes nothing is loaded into the kernel; everything else works.
    pub probes_enabled: bool,
    /// How much of command lines is shown and stored.
    pub cmdline: CmdlineSetting,
    /// What the programs of all probes together may take, percent of all processors.
    pub cpu_percent_max: f64,
    /// Where health and losses go; `None` writes none.
    pub health: Option<HealthTables>,
}

/// A node with its probes. Call [`Node::shutdown`] before dropping it.
pub struct Node {
    name: Arc<str>,
    rows: Arc<dyn Rows>,
    probes: Arc<Probes>,
    outbox: Mutex<Option<Outbox>>,
    feed: Mutex<Option<Feed>>,
    appender: Mutex<Option<JoinHandle<()>>>,
    watcher: JoinHandle<()>,
    /// One probe is started or stopped at a time, each in the order it was asked for.
    turn: AsyncMutex<()>,
    live_permits: Arc<Semaphore>,
    live_queues: Mutex<Vec<Weak<LiveQueue>>>,
}

impl Node {
    /// Starts a node: reads the processes, makes rings, attaches the programs that keep the table of processes.
    ///
    /// Never fails: what is missing is told by [`Node::unavailable`] and by every start.
    pub async fn start(options: NodeOptions) -> Arc<Node> {
        let NodeOptions {
            name,
            rows,
            ring_bytes_total,
            queue_bytes_max,
            probes_enabled,
            cmdline,
            cpu_percent_max,
            health,
        } = options;
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        let cpu_percent_max = cpu_percent_max * cpus as f64;
        let name: Arc<str> = name.into();
        let epoch = unix_now_ns() as u64;
        let (outbox, appender) = Outbox::start(rows.clone(), name.clone(), epoch, queue_bytes_max);
        let writer = health.map(|tables| HealthWriter::new(outbox.clone(), tables, name.clone(), epoch));
        let prepared = tokio::task::spawn_blocking({
            let (name, outbox) = (name.clone(), outbox.clone());
            move || {
                let processes = Arc::new(Processes::of_host(cmdline));
                let kernel = Kernel::of_host().map(Arc::new);
                let allowed = may_attach(probes_enabled);
                let feed = allowed.is_ok().then(|| start_feed(&kernel, &processes)).flatten();
                let settler = feed.as_ref().map(Feed::settler);
                let engine = allowed.and_then(|()| start_engine(ring_bytes_total, outbox, settler));
                let probes = Probes::new(name, processes, kernel.ok(), engine, writer, cpu_percent_max);
                (Arc::new(probes), feed)
            }
        });
        let (probes, feed) = prepared.await.expect("starting a node does not panic and is not cancelled");
        let watcher = tokio::spawn(health::watch(Arc::downgrade(&probes)));
        Arc::new(Node {
            name,
            rows,
            probes,
            outbox: Mutex::new(Some(outbox)),
            feed: Mutex::new(feed),
            appender: Mutex::new(Some(appender)),
            watcher,
            turn: AsyncMutex::new(()),
            live_permits: Arc::new(Semaphore::new(LIVE_QUERIES_MAX)),
            live_queues: Mutex::default(),
        })
    }

    /// Why nothing can be attached here: message and hint; `None` when it can.
    pub fn unavailable(&self) -> Option<SqlError> {
        self.probes.engine().err()
    }

    /// The processes of this host.
    pub fn processes(&self) -> &Arc<Processes> {
        self.probes.processes()
    }

    /// `system.processes`, `system.hooks`, `system.hook_columns`.
    pub fn live_tables(&self) -> Vec<Arc<dyn LiveTable>> {
        vec![
            Arc::new(ProcessTable::new(self.processes().clone())),
            Arc::new(HookTable::new(self.probes.clone())),
            Arc::new(HookColumnTable::new(self.probes.clone())),
        ]
    }

    /// Says in `system.probe_loss` that a probe was not attached from the last row of an earlier epoch until now: how
    /// many rows that cost is not known.
    pub fn note_restart(&self, probe: ProbeId, name: &str, last_row_unix_ns: i64) {
        self.probes.write_loss_rows(&[LossRow {
            probe: name.to_owned(),
            probe_id: probe.0,
            cause: Cause::Restart,
            count: None,
            since_unix_ns: Some(last_row_unix_ns),
        }]);
    }

    /// Says in `system.probe_loss` that rows were in the log and could not be read at the start: `None` when it is not
    /// known how many. The damage does not say whose they were.
    pub fn note_log_damage(&self, rows: Option<u64>) {
        self.probes.write_loss_rows(&[LossRow {
            probe: EVERY_PROBE.to_owned(),
            probe_id: 0,
            cause: Cause::Restart,
            count: rows,
            since_unix_ns: None,
        }]);
    }

    /// Ends live queries, detaches every probe, lets the log take what the rings still held. Call it once; the log must
    /// still take rows.
    pub async fn shutdown(&self) {
        self.live_permits.close();
        for queue in self.live_queues.lock().drain(..).filter_map(|queue| queue.upgrade()) {
            queue.close();
        }
        let _turn = self.turn.lock().await;
        let (probes, feed) = (self.probes.clone(), self.feed.lock().take());
        let stopped = tokio::task::spawn_blocking(move || {
            probes.write_health();
            // Detaching waits for the kernel, and the kernel makes all of them wait together.
            std::thread::scope(|scope| {
                for id in probes.ids() {
                    let probes = &probes;
                    scope.spawn(move || probes.stop(id));
                }
                if let Some(feed) = feed {
                    scope.spawn(move || feed.stop());
                }
            });
            probes.close_writer();
        });
        if let Err(error) = stopped.await {
            tracing::error!(%error, "could not stop all probes");
        }
        self.watcher.abort();
        let outbox = self.outbox.lock().take();
        if let Some(outbox) = outbox {
            outbox.flush().await;
        }
        // The drain keeps an end of the queue for as long as the engine lives, so the task is ended, with nothing left to do.
        if let Some(appender) = self.appender.lock().take() {
            appender.abort();
        }
    }

    async fn flush(&self) {
        let outbox = self.outbox.lock().clone();
        if let Some(outbox) = outbox {
            outbox.flush().await;
        }
    }

    /// Runs something that may wait for the kernel, away from the threads that serve others.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Probes) -> Result<T, SqlError> + Send + 'static,
    ) -> Result<T, SqlError> {
        let probes = self.probes.clone();
        let done = tokio::task::spawn_blocking(move || work(&probes)).await;
        done.map_err(|error| SqlError::internal("work for the kernel ended early", error))?
    }
}

fn may_attach(probes_enabled: bool) -> Result<(), Unavailable> {
    if !probes_enabled {
        return Err(Unavailable::Disabled);
    }
    capability::missing().map_or(Ok(()), |missing| Err(Unavailable::Rights(missing)))
}

fn start_engine(ring_bytes: usize, outbox: Outbox, settler: Option<Settler>) -> Result<Arc<Engine>, Unavailable> {
    let drain = DrainOptions { gather: STORED_GATHER, outbox: Some(outbox), settler };
    Engine::start(ring_bytes, drain).map(Arc::new).map_err(|error| {
        tracing::error!(error = &error as &dyn std::error::Error, "cannot attach probes");
        Unavailable::Kernel(error.to_string())
    })
}

/// Without the feed everything works; processes that live shortly are then not seen.
fn start_feed(kernel: &Result<Arc<Kernel>, KernelError>, processes: &Arc<Processes>) -> Option<Feed> {
    let kernel = kernel.as_ref().map_err(KernelError::to_sql);
    let feed = kernel.and_then(|kernel| Feed::start(kernel, processes));
    feed.map_err(|error| tracing::warn!(%error, hint = error.hint, "processes are read from /proc only")).ok()
}

#[async_trait]
impl ports::Node for Node {
    fn name(&self) -> &str {
        &self.name
    }

    async fn plan(&self, probe: &CreateProbe) -> Result<ProbePlan, SqlError> {
        let probe = probe.clone();
        self.blocking(move |probes| {
            let compiled = probes.compile_probe(&probe, &probe.name.value)?;
            let kind = if compiled.aggregates() { TableKind::Windows } else { TableKind::Events };
            let columns = compiled.columns.into_iter().map(|column| Column {
                name: column.name,
                sql_type: column.sql_type,
                nullable: column.nullable,
                comment: column.comment,
            });
            Ok(ProbePlan { columns: columns.collect(), kind })
        })
        .await
    }

    async fn explain(&self, what: Explain<'_>) -> Result<Vec<String>, SqlError> {
        let (query, name) = (what.query.clone(), what.name.to_owned());
        let Explain { stored, running, verbose, analyze, .. } = what;
        self.blocking(move |probes| {
            let what = Explain { name: &name, query: &query, stored, running, verbose, analyze };
            explain(probes, what)
        })
        .await
    }

    async fn start(&self, probe: ProbeSpec) -> Result<ProbeStarted, SqlError> {
        let _turn = self.turn.lock().await;
        self.blocking(move |probes| probes.start(&probe)).await
    }

    async fn stop(&self, probe: ProbeId) -> Result<(), SqlError> {
        {
            let _turn = self.turn.lock().await;
            self.blocking(move |probes| {
                probes.stop(probe);
                Ok(())
            })
            .await?;
        }
        self.flush().await;
        Ok(())
    }

    fn rename(&self, probe: ProbeId, name: &str) {
        self.probes.rename(probe, name);
    }

    fn reports(&self) -> Vec<ProbeReport> {
        self.probes.reports()
    }
}

#[async_trait]
impl Gathering for Node {
    async fn settle(&self) -> u64 {
        let settled = async {
            // Without an engine only health and losses are written, and they do not gather.
            if let Ok(engine) = self.probes.engine() {
                engine.settler().settled().await;
            }
            self.flush().await;
        };
        if tokio::time::timeout(SETTLE_MAX, settled).await.is_err() {
            tracing::debug!("a statement began before all that had happened was in the log");
        }
        self.rows.head()
    }
}

#[async_trait]
impl Hooks for Node {
    async fn describe(&self, query: &ProbeQuery, types: &[Option<DataType>]) -> Result<Described, SqlError> {
        let (query, types) = (query.clone(), types.to_vec());
        self.blocking(move |probes| probes.describe(&query, &types)).await
    }

    async fn select(&self, query: &ProbeQuery) -> Result<RowStream, SqlError> {
        let permit = self.live_permits.clone().try_acquire_owned().map_err(|_| {
            SqlError::new(
                SqlState::CONFIGURATION_LIMIT_EXCEEDED,
                format!("cannot read the hook: {LIVE_QUERIES_MAX} live queries run already, or the node is going down"),
            )
        })?;
        let query = query.clone();
        let settler = self.feed.lock().as_ref().map(Feed::settler);
        let (live, compiled) = self
            .blocking(move |probes| {
                let compiled = probes.compile(&query, "select", false)?;
                probes.engine()?;
                let live = LiveQuery::start(&compiled, permit, settler)?;
                live.program().into_iter().for_each(|program| probes.look_after(program));
                Ok((live, compiled))
            })
            .await?;
        {
            let mut queues = self.live_queues.lock();
            queues.retain(|queue| queue.strong_count() > 0);
            queues.push(Arc::downgrade(live.queue()));
        }
        Ok(live.stream(&compiled))
    }
}

fn explain(probes: &Probes, what: Explain<'_>) -> Result<Vec<String>, SqlError> {
    let Explain { name, query, stored, running, verbose, analyze } = what;
    let compiled = probes.compile(query, name, stored)?;
    let mut lines = compiled.explain(verbose);
    lines.extend(compiled.limit.map(|rows| format!("Limit: ends after {rows} rows")));
    let reports = probes.reports();
    lines.extend(running.map(|id| match reports.iter().find(|report| report.id == id) {
        Some(report) => state_line(report),
        None => "State: disabled".to_owned(),
    }));
    let engine = match probes.engine() {
        Ok(engine) => engine,
        Err(error) if analyze => return Err(error),
        Err(error) => {
            lines.push(format!("Verifier: not asked, {error}"));
            return Ok(lines);
        }
    };
    let loaded = engine.load(&compiled, EXPLAIN_ROWS_PER_SECOND_MAX).map_err(|error| error.to_sql_in(&query.text))?;
    let info = loaded.info().map_err(|error| SqlError::internal("the kernel does not say what it loaded", error))?;
    lines.push(format!(
        "Verifier: {} instructions looked at, {} bytes of machine code, {} bytes of kernel memory",
        info.verified_insns, info.jited_bytes, info.memory_bytes
    ));
    if analyze {
        let counting = probes.compile_counting(query, name, stored)?;
        lines.push(measure::measure(&counting, || std::thread::sleep(ANALYZE_TIME))?.to_string());
    }
    Ok(lines)
}

/// `State: running, version 2; 10 events, 8 rows, 2 lost; 120 ns an event, 0.01 % of a core; 9000 bytes of kernel memory`
fn state_line(report: &ProbeReport) -> String {
    let ProbeHealth { events, rows, rows_lost, ns_per_event, cpu_percent, kernel_bytes, .. } = report.health;
    let mut parts = vec![format!("State: {}, version {}", report.state.as_str(), report.version)];
    parts.extend(report.reason.clone());
    parts.push(format!("{events} events, {rows} rows, {rows_lost} lost"));
    parts.extend(
        ns_per_event.zip(cpu_percent).map(|(ns, percent)| format!("{ns:.0} ns an event, {percent:.2} % of a core")),
    );
    parts.push(format!("{kernel_bytes} bytes of kernel memory"));
    parts.join("; ")
}

#[cfg(test)]
mod tests;
