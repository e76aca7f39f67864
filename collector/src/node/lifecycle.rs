//! The probes of this node: started, replaced, stopped, counted. Everything here may block for the kernel.

use std::collections::BTreeMap;
use std::collections::btree_map;
use std::sync::{Arc, Weak};
use std::time::Duration;

use arrow::datatypes::DataType;
use parking_lot::Mutex;
use probepilot_catalog::ports::Described;
use probepilot_catalog::probe::{ProbeHealth, ProbeId, ProbeReport, ProbeSpec, ProbeStarted, ProbeState};
use probepilot_collector_ebpf::capability::Missing;
use probepilot_collector_ebpf::compile::{CompileOptions, CompiledProbe, compile, compile_counting, parameters};
use probepilot_collector_ebpf::functions::ProcessFacts;
use probepilot_collector_ebpf::kernel::{Hook, Kernel};
use probepilot_collector_ebpf::load::{Counters, LoadError, Predecessor, Runs};
use probepilot_sql::parse::parse_one;
use probepilot_sql::statement::{CreateProbe, ProbeQuery, Statement};
use probepilot_sql::{SqlError, SqlState};

use crate::node::budget::{self, Cost, Share};
use crate::node::clock::unix_now_ns;
use crate::node::conform::Conform;
use crate::node::engine::{Counts, Engine, RunOptions, Running};
use crate::node::health::{HealthWriter, Rates};
use crate::node::health_tables::HealthRow;
use crate::node::loss::{Losses, Tally};
use crate::node::processes::Processes;
use crate::node::slot::Target;

/// Probes of a node; one more is refused with 53400.
pub const PROBES_MAX: usize = 256;

/// Why nothing can be attached here.
#[derive(Clone, Debug)]
pub enum Unavailable {
    /// The operator wants no probes.
    Disabled,
    /// We may not load programs.
    Rights(Missing),
    /// The kernel did not let us begin.
    Kernel(String),
}

impl Unavailable {
    /// What a user is told who wants to attach something.
    pub fn to_sql(&self) -> SqlError {
        match self {
            Unavailable::Disabled => SqlError::new(
                SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
                "cannot attach anything: probes are switched off on this node",
            )
            .hint("Start the server without --no-probes."),
            Unavailable::Rights(missing) => {
                SqlError::new(SqlState::INSUFFICIENT_PRIVILEGE, "cannot attach anything: rights are missing")
                    .detail(missing.sentence())
                    .hint(missing.advice())
            }
            Unavailable::Kernel(reason) => {
                SqlError::new(SqlState::INSUFFICIENT_RESOURCES, format!("cannot attach anything: {reason}"))
            }
        }
    }
}

/// How long calls that began under a replaced version have to return; those that take longer are not seen.
const RETURN_WAIT: Duration = Duration::from_millis(100);

/// Which version a new one replaces.
enum Replaced {
    /// There is none.
    Nothing,
    /// One at the same hook: the new one takes its slot.
    Here,
    /// One at another hook: both are attached for a moment, and the drain tells their records apart by this number.
    Elsewhere(u32),
    /// One at another hook, whose rows are windows: a word says whose turn it is to count.
    Counting(Predecessor),
}

/// A probe is stopped after so many looks, one each second, at which even the least share was too much.
const LOOKS_TOO_DEAR_MAX: u32 = 10;

/// A probe that was asked for.
struct Entry {
    name: String,
    version: u32,
    state: ProbeState,
    reason: Option<String>,
    running: Option<Running>,
    /// A replaced version whose last records are not drained yet.
    leaving: Option<Running>,
    /// What the programs of versions that are gone counted.
    before: Counters,
    /// What became of the records, of all versions.
    tally: Arc<Tally>,
    since_unix_ns: i64,
    rates: Rates,
    /// Share of one core it may take, percent.
    cpu_percent_max: Option<f64>,
    /// Share of the events it is left.
    share: Share,
    /// Looks in a row at which even the least share was too much.
    looks_too_dear: u32,
}

impl Entry {
    fn new(spec: &ProbeSpec) -> Entry {
        Entry {
            name: spec.name.clone(),
            version: spec.version,
            state: ProbeState::Pending,
            reason: None,
            running: None,
            leaving: None,
            before: Counters::default(),
            tally: Arc::default(),
            since_unix_ns: unix_now_ns(),
            rates: Rates::default(),
            cpu_percent_max: spec.cpu_percent_max,
            share: Share::default(),
            looks_too_dear: 0,
        }
    }

    /// What all versions counted since the first was attached.
    fn counts(&self) -> Counts {
        let programs = [&self.running, &self.leaving].into_iter().flatten();
        let kernel = programs.fold(self.before, |sum, program| sum.plus(program.kernel_counts()));
        Counts::new(&kernel, &self.tally)
    }

    fn report(&self, id: ProbeId, node: &str) -> (ProbeReport, u64) {
        let Counts { events, rows, aggregated, filtered, starts, paired, losses, lag_ns } = self.counts();
        let Rates { events_per_second, rows_per_second, ns_per_event, cpu_percent, .. } = self.rates;
        let kernel_bytes =
            self.running.as_ref().map_or(0, |running| running.info().map_or(0, |info| info.memory_bytes));
        let health = ProbeHealth {
            events,
            rows,
            rows_lost: losses.rows(),
            aggregated,
            filtered,
            starts,
            paired,
            map_fill_percent: self.running.as_ref().and_then(Running::map_fill_percent),
            events_per_second,
            rows_per_second,
            ns_per_event,
            cpu_percent,
            kernel_bytes,
            since_unix_ns: self.since_unix_ns,
        };
        let (version, mut state, mut reason) = (self.version, self.state, self.reason.clone());
        if state == ProbeState::Running
            && let Some(thinned) = self.share.reason()
        {
            (state, reason) = (ProbeState::Degraded, Some(thinned));
        }
        (ProbeReport { id, version, node: node.to_owned(), state, reason, health }, lag_ns)
    }
}

/// The probes of a node.
pub struct Probes {
    name: Arc<str>,
    processes: Arc<Processes>,
    /// Read when it is first needed.
    kernel: Mutex<Option<Arc<Kernel>>>,
    engine: Result<Arc<Engine>, Unavailable>,
    entries: Mutex<BTreeMap<ProbeId, Entry>>,
    /// Programs of live queries: at most as many as there may be of these, and those that ended since the last one began.
    live: Mutex<Vec<Weak<Running>>>,
    writer: Mutex<Option<HealthWriter>>,
    /// What the programs of all probes together may take, percent of one core.
    cpu_percent_max: f64,
}

impl Probes {
    /// No probes yet. A kernel that is not given is read when it is first needed.
    pub fn new(
        name: Arc<str>,
        processes: Arc<Processes>,
        kernel: Option<Arc<Kernel>>,
        engine: Result<Arc<Engine>, Unavailable>,
        writer: Option<HealthWriter>,
        cpu_percent_max: f64,
    ) -> Probes {
        let (kernel, entries, live) = (Mutex::new(kernel), Mutex::default(), Mutex::default());
        Probes { name, processes, kernel, engine, entries, live, writer: Mutex::new(writer), cpu_percent_max }
    }

    /// The processes of this host.
    pub fn processes(&self) -> &Arc<Processes> {
        &self.processes
    }

    /// What attaches programs, or why nothing can be attached.
    pub fn engine(&self) -> Result<&Arc<Engine>, SqlError> {
        self.engine.as_ref().map_err(Unavailable::to_sql)
    }

    /// The kernel's hooks. Fails when neither tracefs nor BTF can be read.
    pub fn kernel(&self) -> Result<Arc<Kernel>, SqlError> {
        let mut known = self.kernel.lock();
        if let Some(kernel) = &*known {
            return Ok(kernel.clone());
        }
        let kernel = Arc::new(Kernel::of_host().map_err(|error| error.to_sql())?);
        *known = Some(kernel.clone());
        Ok(kernel)
    }

    /// Compiles a query for this kernel, without touching its state.
    pub fn compile(&self, query: &ProbeQuery, name: &str, stored: bool) -> Result<CompiledProbe, SqlError> {
        compile(query, &*self.kernel()?, &self.facts(), &self.compile_options(name, stored))
    }

    /// As [`Probes::compile`], for a program that only counts what it would send.
    pub fn compile_counting(&self, query: &ProbeQuery, name: &str, stored: bool) -> Result<CompiledProbe, SqlError> {
        compile_counting(query, &*self.kernel()?, &self.facts(), &self.compile_options(name, stored))
    }

    /// The columns and parameters of a live query.
    pub fn describe(&self, query: &ProbeQuery, types: &[Option<DataType>]) -> Result<Described, SqlError> {
        let options = self.compile_options("select", false);
        let described = parameters::describe(query, &*self.kernel()?, &self.facts(), &options, types)?;
        Ok(Described { schema: described.example.schema(), parameters: described.parameters })
    }

    fn facts(&self) -> Arc<dyn ProcessFacts> {
        self.processes.clone()
    }

    fn compile_options(&self, name: &str, stored: bool) -> CompileOptions {
        let (name, node) = (name.to_owned(), self.name.to_string());
        CompileOptions { name, node, excluded_tgid: Some(std::process::id()), stored, weighted: false }
    }

    /// Compiles a statement as a stored probe, with its options.
    pub fn compile_probe(&self, probe: &CreateProbe, name: &str) -> Result<CompiledProbe, SqlError> {
        // Who has a budget of his own is told how much a row stands for when he is over it.
        let weighted = probe.options.iter().any(|option| option.name == "max_cpu_percent");
        let options = CompileOptions { weighted, ..self.compile_options(name, true) };
        let mut compiled = compile(&probe.query, &*self.kernel()?, &self.facts(), &options)?;
        let keys_max = probe.options.iter().find(|option| option.name == "max_keys");
        if let Some(keys_max) = keys_max.and_then(|option| option.value.parse().ok()) {
            compiled.set_keys_max(keys_max);
        }
        Ok(compiled)
    }

    /// Compiles, loads, verifies, attaches. A version that runs is replaced without losing or doubling a record, and
    /// goes on when the new one fails.
    pub fn start(&self, spec: &ProbeSpec) -> Result<ProbeStarted, SqlError> {
        self.enter(spec)?;
        match self.attach(spec) {
            Ok(started) => Ok(started),
            Err(error) => {
                self.fail(spec, &error);
                Err(error)
            }
        }
    }

    fn enter(&self, spec: &ProbeSpec) -> Result<(), SqlError> {
        let mut entries = self.entries.lock();
        let is_full = entries.len() >= PROBES_MAX;
        match entries.entry(spec.id) {
            btree_map::Entry::Occupied(_) => Ok(()),
            btree_map::Entry::Vacant(_) if is_full => Err(SqlError::new(
                SqlState::CONFIGURATION_LIMIT_EXCEEDED,
                format!("cannot start probe \"{}\": this node already has {PROBES_MAX}", spec.name),
            )),
            btree_map::Entry::Vacant(place) => {
                place.insert(Entry::new(spec));
                Ok(())
            }
        }
    }

    fn attach(&self, spec: &ProbeSpec) -> Result<ProbeStarted, SqlError> {
        let engine = self.engine()?;
        self.advance(spec.id, ProbeState::Compiling);
        let Statement::CreateProbe(probe) = parse_one(&spec.sql)? else {
            return Err(SqlError::new(SqlState::SYNTAX_ERROR, "the text of a probe is not CREATE PROBE"));
        };
        let compiled = self.compile_probe(&probe, &spec.name)?;
        let conform = Conform::new(&compiled.schema(), &spec.schema).map_err(|error| {
            SqlError::new(SqlState::DATATYPE_MISMATCH, format!("probe \"{}\" does not fit its table", spec.name))
                .caused_by(error)
        })?;
        self.advance(spec.id, ProbeState::Attaching);
        let hook = &compiled.object.hook;
        let (tally, old) = self.in_place_now(spec.id, hook);
        let keeps_kind = match old {
            Replaced::Nothing | Replaced::Here => true,
            Replaced::Elsewhere(_) => !compiled.aggregates(),
            Replaced::Counting(_) => compiled.aggregates(),
        };
        if !keeps_kind {
            let message = format!("probe \"{}\" cannot begin or cease to aggregate at another hook", spec.name);
            return Err(SqlError::unsupported(message).hint("Create another probe; the rows are of another kind."));
        }
        let options = RunOptions {
            rows_per_second_max: spec.rows_per_second_max,
            target: Target::Table { id: spec.table, conform },
            tally,
            waiting: matches!(old, Replaced::Elsewhere(_)),
        };
        let refused = |error: LoadError| error.to_sql_in(&spec.sql);
        let running = match &old {
            Replaced::Here => Running::prepare(engine, &compiled, options).map_err(refused)?,
            Replaced::Nothing => Running::start(engine, &compiled, options).map_err(refused)?,
            Replaced::Elsewhere(number) => {
                let running = Running::start(engine, &compiled, options).map_err(refused)?;
                running.take_over_from(*number);
                running
            }
            Replaced::Counting(before) => Running::follow(engine, &compiled, options, before).map_err(refused)?,
        };
        let attach_ms = running.attach_time.as_secs_f64() * 1e3;
        let verb = if matches!(old, Replaced::Nothing) { "attached" } else { "replaced" };
        let notice = format!("{verb} in {attach_ms:.0} ms on {hook}; {}", compiled.summary);
        self.install(spec, running, &old).map_err(refused)?;
        self.see_off(engine, spec.id);
        Ok(ProbeStarted { notice: [vec![notice], compiled.notices].concat().join("; ") })
    }

    /// Where the version that runs now sits, seen from `hook`, and where all versions' records are counted.
    fn in_place_now(&self, id: ProbeId, hook: &Hook) -> (Arc<Tally>, Replaced) {
        let entries = self.entries.lock();
        let entry = entries.get(&id);
        let tally = entry.map(|entry| entry.tally.clone()).unwrap_or_default();
        let replaced = match entry.and_then(|entry| entry.running.as_ref()) {
            None => Replaced::Nothing,
            Some(old) if old.sits_at(hook) => Replaced::Here,
            Some(old) => old.predecessor().map_or(Replaced::Elsewhere(old.number()), Replaced::Counting),
        };
        (tally, replaced)
    }

    /// Puts a program in its place: in the slot of the version that was there, or when its turn is over. An error lets that
    /// one go on.
    fn install(&self, spec: &ProbeSpec, mut running: Running, replaced: &Replaced) -> Result<(), LoadError> {
        let mut entries = self.entries.lock();
        let entry = entries.entry(spec.id).or_insert_with(|| Entry::new(spec));
        match (replaced, &mut entry.running) {
            (Replaced::Here, Some(old)) => running.take_place_of(old)?,
            (Replaced::Counting(_), old) => running.take_turn_of(old.as_mut())?,
            _ => {}
        }
        entry.name.clone_from(&spec.name);
        entry.version = spec.version;
        entry.state = ProbeState::Running;
        entry.reason = None;
        entry.cpu_percent_max = spec.cpu_percent_max;
        // The new version begins with all events, and is thinned out like the old one at the next look.
        entry.share = Share::default();
        entry.leaving = entry.running.replace(running);
        if entry.leaving.is_none() {
            entry.since_unix_ns = unix_now_ns();
        }
        Ok(())
    }

    /// Waits until the replaced version's last record is drained, adds its counters to those of its successors, and frees
    /// it.
    fn see_off(&self, engine: &Engine, id: ProbeId) {
        let gone = {
            let mut entries = self.entries.lock();
            let leaving = entries.get_mut(&id).and_then(|entry| entry.leaving.as_mut());
            leaving.map(|old| (old.number(), old.let_go(), old.has_companions()))
        };
        let Some((number, held, has_companions)) = gone else {
            return;
        };
        if has_companions {
            std::thread::sleep(RETURN_WAIT);
        }
        drop(held);
        Running::wait_for_last_record(engine, number);
        let old = {
            let mut entries = self.entries.lock();
            let Some(entry) = entries.get_mut(&id) else {
                return;
            };
            entry.running.iter().for_each(Running::settle);
            let old = entry.leaving.take();
            if let Some(old) = &old {
                entry.before = entry.before.plus(old.kernel_counts());
            }
            old
        };
        drop(old);
    }

    /// Gives a probe another name, in what is reported from now on.
    pub fn rename(&self, id: ProbeId, name: &str) {
        if let Some(entry) = self.entries.lock().get_mut(&id) {
            name.clone_into(&mut entry.name);
        }
    }

    fn advance(&self, id: ProbeId, state: ProbeState) {
        if let Some(entry) = self.entries.lock().get_mut(&id)
            && entry.running.is_none()
        {
            entry.state = state;
        }
    }

    fn fail(&self, spec: &ProbeSpec, error: &SqlError) {
        if let Some(entry) = self.entries.lock().get_mut(&spec.id) {
            let reason = match &entry.running {
                Some(_) => format!("version {} failed and version {} goes on: {error}", spec.version, entry.version),
                None => error.to_string(),
            };
            if entry.running.is_none() {
                entry.state = ProbeState::Failed;
                entry.version = spec.version;
            }
            entry.reason = Some(reason);
        }
    }

    /// Detaches, drains and forgets a probe; its rows are on their way to the log then. One that is unknown is gone.
    pub fn stop(&self, id: ProbeId) {
        let (running, name, since_unix_ns, before, tally) = {
            let mut entries = self.entries.lock();
            let Some(entry) = entries.get_mut(&id) else {
                return;
            };
            entry.state = ProbeState::Detaching;
            (entry.running.take(), entry.name.clone(), entry.since_unix_ns, entry.before, entry.tally.clone())
        };
        if let Some(running) = running {
            let kernel = before.plus(running.stop());
            if let Some(writer) = &mut *self.writer.lock() {
                writer.write_losses(id, &name, since_unix_ns, &Counts::new(&kernel, &tally).losses);
            }
        }
        self.entries.lock().remove(&id);
    }

    /// The probes that were asked for.
    pub fn ids(&self) -> Vec<ProbeId> {
        self.entries.lock().keys().copied().collect()
    }

    /// State and counters of every probe.
    pub fn reports(&self) -> Vec<ProbeReport> {
        self.entries.lock().iter().map(|(id, entry)| entry.report(*id, &self.name).0).collect()
    }

    /// The counters of every probe that runs.
    pub fn counts(&self) -> Vec<(ProbeId, Counts)> {
        let entries = self.entries.lock();
        let running = entries.iter().filter(|(_, entry)| entry.running.is_some());
        running.map(|(id, entry)| (*id, entry.counts())).collect()
    }

    /// The runs that were measured of every program that runs.
    pub fn runs(&self) -> Vec<(ProbeId, Runs)> {
        let entries = self.entries.lock();
        entries.iter().filter_map(|(id, entry)| Some((*id, entry.running.as_ref()?.runs()))).collect()
    }

    /// Looks after a live query's program too, for as long as somebody else holds it.
    pub fn look_after(&self, live: &Arc<Running>) {
        let mut all = self.live.lock();
        all.retain(|program| program.strong_count() > 0);
        all.push(Arc::downgrade(live));
    }

    /// Drops starts of pairs that have waited for too long, of probes and of live queries.
    pub fn sweep(&self) {
        self.sweep_by(Running::sweep);
    }

    /// As [`Probes::sweep`], by other rules.
    pub fn sweep_by(&self, sweep: impl Fn(&Running)) {
        for entry in self.entries.lock().values() {
            entry.running.iter().for_each(&sweep);
        }
        // Not under the lock: whoever lets one of them go last waits for the kernel.
        let live: Vec<Arc<Running>> = self.live.lock().iter().filter_map(Weak::upgrade).collect();
        live.iter().for_each(|program| sweep(program));
    }

    /// Changes the rates of a probe.
    pub fn rate(&self, id: ProbeId, change: impl FnOnce(&mut Rates)) {
        if let Some(entry) = self.entries.lock().get_mut(&id) {
            change(&mut entry.rates);
        }
    }

    /// Gives every probe the share of the events that keeps it within its own budget, and all of them within the node's. One
    /// that is too dear even with the least is stopped: the host comes first.
    pub fn keep_within_budgets(&self) {
        for (id, name) in self.thin_out() {
            tracing::error!(
                probe = name,
                "a probe was stopped: even with the least of its events it was over its budget"
            );
            self.stop_for(id, "stopped: even with the least of its events it took more than its budget");
        }
    }

    /// Names those that are too dear.
    fn thin_out(&self) -> Vec<(ProbeId, String)> {
        let mut entries = self.entries.lock();
        let mut probes: Vec<(ProbeId, &mut Entry)> =
            entries.iter_mut().filter(|(_, entry)| entry.running.is_some()).map(|(id, entry)| (*id, entry)).collect();
        let costs: Vec<Cost> = probes
            .iter()
            .map(|(_, entry)| Cost {
                cpu_percent: entry.rates.cpu_percent_now,
                cpu_percent_max: entry.cpu_percent_max,
                share: entry.share,
            })
            .collect();
        let mut too_dear = Vec::new();
        let shares = budget::shares(&costs, self.cpu_percent_max);
        for (((id, entry), cost), next) in probes.iter_mut().zip(&costs).zip(shares) {
            entry.looks_too_dear = if cost.is_hopeless(next) { entry.looks_too_dear + 1 } else { 0 };
            if entry.looks_too_dear >= LOOKS_TOO_DEAR_MAX {
                too_dear.push((*id, entry.name.clone()));
            }
            let Some(running) = entry.running.as_ref().filter(|_| next != entry.share) else { continue };
            running.thin(next.keep(running.sample_keep()));
            entry.share = next;
        }
        too_dear
    }

    /// Ends a probe's program, and keeps the probe with the reason.
    fn stop_for(&self, id: ProbeId, reason: &str) {
        let running = {
            let mut entries = self.entries.lock();
            let Some(entry) = entries.get_mut(&id) else { return };
            (entry.state, entry.reason) = (ProbeState::Failed, Some(reason.to_owned()));
            entry.running.take()
        };
        if let Some(running) = running {
            let counters = running.stop();
            if let Some(entry) = self.entries.lock().get_mut(&id) {
                entry.before = entry.before.plus(counters);
            }
        }
    }

    /// Writes the health of the probes that changed.
    pub fn write_health(&self) {
        let rows: Vec<HealthRow> = {
            let entries = self.entries.lock();
            let reports = entries.iter().map(|(id, entry)| (entry.name.clone(), entry.report(*id, &self.name)));
            reports.map(|(probe, (report, lag_ns))| HealthRow { probe, report, lag_ns }).collect()
        };
        if let Some(writer) = &mut *self.writer.lock() {
            writer.write_health(rows);
        }
    }

    /// Writes the counters of losses that rose.
    pub fn write_losses(&self) {
        let losses: Vec<(ProbeId, String, i64, Losses)> = {
            let entries = self.entries.lock();
            let all = entries.iter();
            all.map(|(id, entry)| {
                let losses = entry.counts().losses;
                (*id, entry.name.clone(), entry.since_unix_ns, losses)
            })
            .collect()
        };
        if let Some(writer) = &mut *self.writer.lock() {
            for (id, name, since_unix_ns, losses) in losses {
                writer.write_losses(id, &name, since_unix_ns, &losses);
            }
        }
    }

    /// Writes rows of losses as they are.
    pub fn write_loss_rows(&self, rows: &[crate::node::health_tables::LossRow]) {
        if let Some(writer) = &*self.writer.lock() {
            writer.write_loss_rows(rows);
        }
    }

    /// Writes no more health and losses, so that the queue to the log can end.
    pub fn close_writer(&self) {
        *self.writer.lock() = None;
    }
}
