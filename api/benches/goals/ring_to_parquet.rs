//! G2: rows a second from the ring to committed Parquet, with the server on one core, and no row lost.
//!
//! The rate doubles from step to step until rows are lost or the source can do no more. A step counts when every event
//! made is in a committed segment at its end.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::figures::{process_cpu_ns, show};
use crate::support::Server;
use crate::workload::{EVENT_CPU, READER_CPU, numbered, pin};

const GOAL_ROWS_PER_SECOND: f64 = 1_000_000.0;
const STEP: Duration = Duration::from_secs(10);
const RATES: [u64; 8] = [125_000, 250_000, 500_000, 750_000, 1_000_000, 1_200_000, 1_400_000, 2_000_000];

/// Twelve columns, as a row of a starter probe has.
const PROBE: &str = "CREATE PROBE ring_to_parquet WITH (max_rows_per_second = 100000000) AS \
     SELECT time, nsecs, pid, tid, uid, gid, comm, cgroup_id, cpu, which, who AS number, who % 97 AS bucket \
     FROM tracepoint.sys_enter_getpriority WHERE which = 2";

pub fn run() {
    pin(EVENT_CPU);
    let (mut best, mut best_ns) = (0.0, 0.0);
    for rate in RATES {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut program = Command::new("taskset");
        program.args(["-c", READER_CPU, env!("CARGO_BIN_EXE_probepilot")]);
        let server = Server::spawn(program, directory.path(), &[]).expect("the server starts");
        server.psql(PROBE);
        let cpu_before = process_cpu_ns(server.pid());
        let start = Instant::now();
        let made = numbered(2, rate, STEP);
        let source_seconds = start.elapsed().as_secs_f64();
        // The commit is part of the work: rows count when they are in a segment.
        std::thread::sleep(Duration::from_millis(50));
        server.psql("CHECKPOINT");
        let seconds = start.elapsed().as_secs_f64();
        let cpu_ns = (process_cpu_ns(server.pid()) - cpu_before) as f64 / made as f64;
        let rows: u64 = server.psql("SELECT count(*) FROM ring_to_parquet").parse().expect("a count");
        let (offered, through) = (made as f64 / source_seconds, rows as f64 / seconds);
        println!(
            "  offered {offered:.0} rows/s: {rows} of {made} committed, {through:.0} rows/s with the commit, {cpu_ns:.0} ns of CPU a row"
        );
        if rows != made {
            break;
        }
        if through > best {
            (best, best_ns) = (through, cpu_ns);
        }
        if offered < rate as f64 * 0.95 {
            println!("  the source can do no more");
            break;
        }
    }
    show(
        "G2 ring to committed Parquet, one core, 12 columns, no row lost",
        &format!(
            "{best:.0} rows/s, {best_ns:.0} ns of CPU a row; goal {GOAL_ROWS_PER_SECOND:.0} rows/s; ratio {:.2}",
            best / GOAL_ROWS_PER_SECOND
        ),
    );
}
