//! Probes: what was declared, what runs, and how it is.

use std::fmt;

use arrow::datatypes::SchemaRef;

use crate::table::{Column, TableId, TableKind};

/// What stands in `system.probe_loss.probe` when it is not known whose the lost rows were.
pub const EVERY_PROBE: &str = "*";

/// A probe's id: never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProbeId(pub i64);

impl fmt::Display for ProbeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Where a probe comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Shipped with the binary.
    Builtin,
    /// Created by a user.
    User,
}

/// One version of a probe, as a node is asked to run it.
#[derive(Clone, Debug)]
pub struct ProbeSpec {
    /// The probe.
    pub id: ProbeId,
    /// From 1; rises with every change of the query or the options.
    pub version: u32,
    /// The probe's name and its table's.
    pub name: String,
    /// The whole `CREATE PROBE` statement.
    pub sql: String,
    /// Where its rows go.
    pub table: TableId,
    /// The table's schema; rows are delivered with exactly this one.
    pub schema: SchemaRef,
    /// Rows let through in a second; what is above is counted as `rate_limited`.
    pub rows_per_second_max: u32,
    /// Share of one core its programs may take, percent; what is left out for it is counted as `budget`. `None`: only the
    /// node's own bound holds.
    pub cpu_percent_max: Option<f64>,
}

/// What compiling a probe tells before anything is stored or loaded.
#[derive(Clone, Debug)]
pub struct ProbePlan {
    /// The columns of the table its rows need.
    pub columns: Vec<Column>,
    /// What its rows are.
    pub kind: TableKind,
}

/// What a node says once a probe is attached.
#[derive(Clone, Debug)]
pub struct ProbeStarted {
    /// For the notice: `attached in 4 ms on tracepoint sys_enter_openat; filter in kernel; LIKE '%x' after it`.
    pub notice: String,
}

/// States of a probe on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the states are those of the design, one word each")]
pub enum ProbeState {
    Pending,
    Compiling,
    Verifying,
    Attaching,
    Running,
    Degraded,
    Detaching,
    Disabled,
    Failed,
}

impl ProbeState {
    /// The word users see.
    pub fn as_str(self) -> &'static str {
        match self {
            ProbeState::Pending => "pending",
            ProbeState::Compiling => "compiling",
            ProbeState::Verifying => "verifying",
            ProbeState::Attaching => "attaching",
            ProbeState::Running => "running",
            ProbeState::Degraded => "degraded",
            ProbeState::Detaching => "detaching",
            ProbeState::Disabled => "disabled",
            ProbeState::Failed => "failed",
        }
    }
}

/// A probe on a node, now.
#[derive(Clone, Debug)]
pub struct ProbeReport {
    /// The probe.
    pub id: ProbeId,
    /// The version that runs.
    pub version: u32,
    /// The node's name.
    pub node: String,
    /// Its state.
    pub state: ProbeState,
    /// Why it failed or is degraded.
    pub reason: Option<String>,
    /// Counters since it was attached.
    pub health: ProbeHealth,
}

/// Counters of a probe on a node since it was attached.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ProbeHealth {
    /// Events the program saw that its filter let through.
    pub events: u64,
    /// Rows handed to the log.
    pub rows: u64,
    /// Rows lost, all causes.
    pub rows_lost: u64,
    /// Events that are in the rows of windows, or in the window that is open.
    pub aggregated: u64,
    /// Events that the part of the filter after the kernel did not let through.
    pub filtered: u64,
    /// Events of the first hook of a pair that its filter let through.
    pub starts: u64,
    /// Those of them that met their end.
    pub paired: u64,
    /// How full the map of groups, or of starts that wait, is, percent; `None` where there is none.
    pub map_fill_percent: Option<f64>,
    /// Events in the last second.
    pub events_per_second: f64,
    /// Rows in the last second.
    pub rows_per_second: f64,
    /// Mean time of a run of the program; `None` before it was measured.
    pub ns_per_event: Option<f64>,
    /// Share of one core, percent, from the last measurement.
    pub cpu_percent: Option<f64>,
    /// Memory the kernel holds for programs and maps of this probe.
    pub kernel_bytes: u64,
    /// When it was attached, Unix time.
    pub since_unix_ns: i64,
}
