//! How each probe is: counters and cost each second, rows of the health tables.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use probepilot_catalog::batch::Batch;
use probepilot_catalog::probe::{ProbeHealth, ProbeId, ProbeState};
use probepilot_catalog::table::TableId;
use probepilot_collector_ebpf::load::Runs;

use crate::node::clock::unix_now_ns;
use crate::node::health_tables::{HealthRow, LossRow, health_batch, loss_batch};
use crate::node::lifecycle::Probes;
use crate::node::loss::{Losses, Tally};
use crate::node::outbox::{Item, Outbox};

/// How often counters are read.
const TICK: Duration = Duration::from_secs(1);

/// So long in each second, the programs are measured: measuring costs a run two readings of the clock, so a thirtieth of
/// the runs pays it.
const MEASURE_TIME: Duration = Duration::from_millis(33);

/// The part that a measurement has in what is shown; the measurements before it share the rest.
const SHOWN_PART: f64 = 0.1;

/// The part that a measurement has in what budgets are kept by: one burst does not thin a probe out, two seconds do.
const BUDGET_PART: f64 = 0.5;

/// So often, a probe's health is written when it changed.
const WRITE_TICKS: u64 = 10;

/// So often, starts of pairs that have waited for too long are dropped.
const SWEEP_TICKS: u64 = 10;

/// So often, the table of processes is brought in line with `/proc`.
const REFRESH_TICKS: u64 = 30;

/// Where health goes: the tables exist before the node starts.
#[derive(Clone, Copy, Debug)]
pub struct HealthTables {
    /// `system.probe_health`
    pub health: TableId,
    /// `system.probe_loss`
    pub loss: TableId,
}

/// What a probe's counters were at one moment.
#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Instant,
    events: u64,
    rows: u64,
}

/// Rates and costs between two samples of one probe.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rates {
    /// Events in a second.
    pub events_per_second: f64,
    /// Rows in a second.
    pub rows_per_second: f64,
    /// Mean time of a run of the program.
    pub ns_per_event: Option<f64>,
    /// Share of one core, percent.
    pub cpu_percent: Option<f64>,
    /// The same of the last seconds.
    pub cpu_percent_now: Option<f64>,
}

impl Rates {
    /// Takes the rates of the time between two samples.
    fn count(&mut self, before: &Sample, after: &Sample) {
        let seconds = (after.at - before.at).as_secs_f64().max(f64::MIN_POSITIVE);
        self.events_per_second = after.events.saturating_sub(before.events) as f64 / seconds;
        self.rows_per_second = after.rows.saturating_sub(before.rows) as f64 / seconds;
    }

    /// Takes what was measured in `seconds`. Without a run the mean stays what it was.
    pub fn measure(&mut self, before: &Runs, after: &Runs, seconds: f64) {
        let runs = after.count.saturating_sub(before.count);
        let run_ns = after.time_ns.saturating_sub(before.time_ns) as f64;
        let cpu_percent = run_ns / (seconds * 1e9) * 100.0;
        if runs > 0 {
            self.ns_per_event = Some(smooth(self.ns_per_event, run_ns / runs as f64, SHOWN_PART));
        }
        self.cpu_percent = Some(smooth(self.cpu_percent, cpu_percent, SHOWN_PART));
        self.cpu_percent_now = Some(smooth(self.cpu_percent_now, cpu_percent, BUDGET_PART));
    }
}

fn smooth(before: Option<f64>, now: f64, part: f64) -> f64 {
    before.map_or(now, |before| before + (now - before) * part)
}

/// Writes rows of the health tables, each change once.
pub struct HealthWriter {
    outbox: Outbox,
    tables: HealthTables,
    node: Arc<str>,
    epoch: u64,
    /// What became of the rows sent.
    tally: Arc<Tally>,
    /// Rows of ours that were lost when that was last looked at.
    rows_lost: u64,
    written_health: HashMap<ProbeId, (ProbeState, u64, u64, u64)>,
    written_losses: HashMap<ProbeId, Losses>,
}

impl HealthWriter {
    /// A writer that has written nothing in this epoch.
    pub fn new(outbox: Outbox, tables: HealthTables, node: Arc<str>, epoch: u64) -> HealthWriter {
        let (written_health, written_losses) = (HashMap::new(), HashMap::new());
        let (tally, rows_lost) = (Arc::default(), 0);
        HealthWriter { outbox, tables, node, epoch, tally, rows_lost, written_health, written_losses }
    }

    /// Writes the health of the probes that changed since they were last written.
    pub fn write_health(&mut self, rows: Vec<HealthRow>) {
        self.forget_what_was_lost();
        let changed: Vec<HealthRow> = rows
            .into_iter()
            .filter(|HealthRow { report, .. }| {
                let ProbeHealth { events, rows, rows_lost, .. } = report.health;
                let state = (report.state, events, rows, rows_lost);
                self.written_health.insert(report.id, state) != Some(state)
            })
            .collect();
        if !changed.is_empty() {
            self.send(self.tables.health, health_batch(unix_now_ns(), &changed));
        }
    }

    /// Writes the counters of a probe that rose since they were last written.
    pub fn write_losses(&mut self, id: ProbeId, probe: &str, since_unix_ns: i64, losses: &Losses) {
        self.forget_what_was_lost();
        let written = self.written_losses.insert(id, *losses).unwrap_or_default();
        let risen = losses.occurred().filter(|(cause, count)| written.get(*cause) != *count);
        let rows: Vec<LossRow> = risen
            .map(|(cause, count)| LossRow {
                probe: probe.to_owned(),
                probe_id: id.0,
                cause,
                count: Some(count),
                since_unix_ns: Some(since_unix_ns),
            })
            .collect();
        self.write_loss_rows(&rows);
    }

    /// After the log has refused rows of ours, all counters are written again: one that does not rise any more would
    /// never be told otherwise.
    fn forget_what_was_lost(&mut self) {
        let rows_lost = self.tally.losses().rows();
        if std::mem::replace(&mut self.rows_lost, rows_lost) != rows_lost {
            self.written_health.clear();
            self.written_losses.clear();
        }
    }

    /// Writes rows as they are.
    pub fn write_loss_rows(&self, rows: &[LossRow]) {
        if !rows.is_empty() {
            self.send(self.tables.loss, loss_batch(unix_now_ns(), &self.node, self.epoch, rows));
        }
    }

    fn send(&self, table: TableId, rows: Result<RecordBatch, ArrowError>) {
        match rows {
            Ok(rows) => {
                let batch = Batch { table, rows };
                self.outbox.send(vec![Item { batch, tally: self.tally.clone(), oldest_ns: None }]);
            }
            Err(error) => tracing::error!(%error, "could not make rows of probe health"),
        }
    }
}

/// Reads counters each second until the probes are gone.
pub async fn watch(probes: Weak<Probes>) {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut samples = HashMap::new();
    for tick in 1_u64.. {
        ticks.tick().await;
        let Some(probes) = probes.upgrade() else {
            return;
        };
        // Counters are read by system calls, and the measured second is slept through.
        let watched = tokio::task::spawn_blocking(move || {
            look(&probes, &mut samples, tick);
            samples
        });
        samples = match watched.await {
            Ok(samples) => samples,
            Err(_) => return,
        };
    }
}

fn look(probes: &Probes, samples: &mut HashMap<ProbeId, Sample>, tick: u64) {
    if tick.is_multiple_of(REFRESH_TICKS) {
        probes.processes().refresh();
    }
    if tick.is_multiple_of(SWEEP_TICKS) {
        probes.sweep();
    }
    let mut seen = HashMap::new();
    for (id, counts) in probes.counts() {
        let sample = Sample { at: Instant::now(), events: counts.events, rows: counts.rows };
        if let Some(before) = samples.get(&id) {
            probes.rate(id, |rates| rates.count(before, &sample));
        }
        seen.insert(id, sample);
    }
    *samples = seen;
    probes.write_losses();
    if tick.is_multiple_of(WRITE_TICKS) {
        probes.write_health();
    }
    measure(probes);
    probes.keep_within_budgets();
}

/// Measures every program for a moment.
fn measure(probes: &Probes) {
    let Ok(engine) = probes.engine() else { return };
    let _measuring = engine.measure_runs();
    let before: HashMap<ProbeId, Runs> = probes.runs().into_iter().collect();
    let began = Instant::now();
    std::thread::sleep(MEASURE_TIME);
    let seconds = began.elapsed().as_secs_f64();
    for (id, after) in probes.runs() {
        if let Some(before) = before.get(&id) {
            probes.rate(id, |rates| rates.measure(before, &after, seconds));
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;
    use arrow::datatypes::Int64Type;
    use probepilot_sql::SqlState;

    use super::*;
    use crate::node::loss::Cause;
    use crate::node::test_log::TestLog;

    #[tokio::test]
    async fn a_count_that_the_log_refused_is_written_again() {
        let log = Arc::new(TestLog::default());
        let (outbox, _task) = Outbox::start(log.clone(), "n".into(), 9, crate::node::outbox::QUEUE_BYTES_DEFAULT);
        let tables = HealthTables { health: TableId(1), loss: TableId(2) };
        let mut writer = HealthWriter::new(outbox.clone(), tables, "n".into(), 9);
        let mut losses = Losses::default();
        losses.add(Cause::DiskFull, 7);
        log.refuse(Some(SqlState::DISK_FULL));
        writer.write_losses(ProbeId(3), "p", 1, &losses);
        outbox.flush().await;
        log.refuse(None);
        for _ in 0..3 {
            writer.write_losses(ProbeId(3), "p", 1, &losses);
            outbox.flush().await;
        }
        let rows = log.rows(tables.loss);
        let counts: Vec<i64> = rows
            .iter()
            .flat_map(|rows| {
                rows.column_by_name("count").expect("a column").as_primitive::<Int64Type>().values().to_vec()
            })
            .collect();
        assert_eq!(counts, [7], "once, although it did not rise");
    }
}
