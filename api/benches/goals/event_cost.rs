//! G1: what an event costs in the kernel, against bpftrace.
//!
//! A pinned loop of `getppid` is timed bare, under a probe of ours, bare again, and under bpftrace, in rounds whose order
//! alternates. Calls come in bursts that both rings can hold, so that neither side saves by losing events; what was lost
//! all the same is shown.

use std::process::Command;
use std::time::Duration;

use crate::bpftrace::{self, Bpftrace};
use crate::figures::{median, show};
use crate::support::Server;
use crate::workload::{EVENT_CPU, READER_CPU, burst_costs, pin};

const ROUNDS: usize = 10;
const BURSTS: usize = 40;
const CALLS: u32 = 20_000;
const PAUSE: Duration = Duration::from_millis(30);

/// The same work for both: a query of ours, a program of bpftrace.
struct Work {
    name: &'static str,
    ours: &'static str,
    theirs: &'static str,
    /// Rows expected per call.
    rows_per_call: u64,
}

const WORKS: [Work; 2] = [
    Work {
        name: "G1 record (time, pid, tid)",
        ours: "SELECT time, pid, tid FROM tracepoint.sys_enter_getppid",
        theirs: r#"tracepoint:syscalls:sys_enter_getppid { printf("%llu %d %d\n", nsecs, pid, tid); }"#,
        rows_per_call: 1,
    },
    Work {
        name: "G1 filter that lets nothing through (pid = 1)",
        ours: "SELECT time, pid, tid FROM tracepoint.sys_enter_getppid WHERE pid = 1",
        theirs: r#"tracepoint:syscalls:sys_enter_getppid /pid == 1/ { printf("%llu %d %d\n", nsecs, pid, tid); }"#,
        rows_per_call: 0,
    },
];

pub fn run() {
    pin(EVENT_CPU);
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut program = Command::new("taskset");
    program.args(["-c", READER_CPU, env!("CARGO_BIN_EXE_probepilot")]);
    let server = Server::spawn(program, directory.path(), &[]).expect("the server starts");
    let version = bpftrace::version();
    for work in &WORKS {
        measure(work, &server, version.as_deref());
    }
}

fn measure(work: &Work, server: &Server, version: Option<&str>) {
    let (mut ours, mut theirs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    let (mut our_rows, mut their_rows) = (0, 0);
    for round in 0..ROUNDS {
        let (mut first, mut second) = (None, None);
        // ABBA: what drifts over the run meets both sides alike.
        for ours_now in [round % 2 == 0, round % 2 == 1] {
            if ours_now {
                let (added, rows) = under_ours(work, server);
                our_rows += rows;
                first = Some(added);
            } else if version.is_some() {
                let (added, rows) = under_bpftrace(work);
                their_rows += rows;
                second = Some(added);
            }
        }
        ours.extend(first);
        theirs.extend(second);
        if let (Some(first), Some(second)) = (first, second) {
            ratios.push(first / second);
        }
    }
    let calls = ROUNDS as u64 * BURSTS as u64 * u64::from(CALLS) * work.rows_per_call;
    let lost = |rows: u64| {
        if calls == 0 { String::new() } else { format!(", lost {} of {calls}", calls.saturating_sub(rows)) }
    };
    let mut text = format!("ours +{:.0} ns an event{}", median(&ours), lost(our_rows));
    match version {
        Some(version) => text.push_str(&format!(
            "; {version} +{:.0} ns{}; ratio {:.2} (median of {ROUNDS} pairs)",
            median(&theirs),
            lost(their_rows),
            median(&ratios)
        )),
        None => text.push_str("; bpftrace is not installed: no ratio"),
    }
    show(work.name, &text);
}

/// Added nanoseconds an event under our probe, and the rows that came.
fn under_ours(work: &Work, server: &Server) -> (f64, u64) {
    let bare = median(&burst_costs(BURSTS, CALLS, Duration::ZERO));
    server.psql(&format!("CREATE PROBE event_cost WITH (max_rows_per_second = 100000000) AS {}", work.ours));
    let with = median(&burst_costs(BURSTS, CALLS, PAUSE));
    let expected = BURSTS as u64 * u64::from(CALLS) * work.rows_per_call;
    let mut rows = 0;
    for _ in 0..100 {
        rows = server.psql("SELECT count(*) FROM event_cost").parse().expect("a count");
        if rows >= expected {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    server.psql("DROP PROBE event_cost WITH DATA");
    (with - bare, rows)
}

/// Added nanoseconds an event under bpftrace, and the lines that came.
fn under_bpftrace(work: &Work) -> (f64, u64) {
    let bare = median(&burst_costs(BURSTS, CALLS, Duration::ZERO));
    let mut bpftrace = Bpftrace::start(work.theirs);
    let with = median(&burst_costs(BURSTS, CALLS, PAUSE));
    (with - bare, bpftrace.stop())
}
