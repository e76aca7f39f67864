//! G19: memory of the server at rest, and its peak while twice as many events come as it takes. Counted is what is the
//! server's own: not the pages of its binary, which the kernel drops and reads again as it likes.

use std::time::{Duration, Instant};

use crate::figures::show;
use crate::support::Server;
use crate::workload::numbered;

const GOAL_REST_MB: f64 = 80.0;

/// What the server may use, and how many events come a second: far more than two busy CPUs store.
const MEMORY: &str = "512MB";
const MEMORY_MB: f64 = 512.0;
const RATE: u64 = 2_000_000;
const TIME: Duration = Duration::from_secs(15);

/// How often memory is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// How long the last rows may be under way, and the last losses to be told.
const SETTLE_MAX: Duration = Duration::from_secs(30);

pub fn run() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    // Without a bound on what probes take, or few events would be let through.
    let server = Server::start(directory.path(), &["--memory", MEMORY, "--probe-cpu-max-percent", "100"]);
    std::thread::sleep(Duration::from_secs(5));
    let (rest, resident) = (memory_mb(server.pid(), "RssAnon:"), memory_mb(server.pid(), "VmRSS:"));
    show(
        "G19 memory at rest, starter probes attached",
        &format!(
            "{rest:.0} MB of its own ({resident:.0} MB with the mapped pages of the binary); goal {GOAL_REST_MB} MB; ratio {:.2}",
            rest / GOAL_REST_MB
        ),
    );
    server.psql(
        "CREATE PROBE overload WITH (max_rows_per_second = 100000000) AS \
         SELECT time, nsecs, pid, tid, uid, gid, comm, cgroup_id, cpu, which, who AS number \
         FROM tracepoint.sys_enter_getpriority WHERE which = 2",
    );
    let sources: Vec<_> = (0..2).map(|_| std::thread::spawn(|| numbered(2, RATE, TIME))).collect();
    let mut peak = 0_f64;
    while sources.iter().any(|source| !source.is_finished()) {
        peak = peak.max(memory_mb(server.pid(), "RssAnon:"));
        std::thread::sleep(LOOK_INTERVAL);
    }
    let made: u64 = sources.into_iter().map(|source| source.join().expect("it only makes system calls")).sum();
    let Settled { rows, lost } = settle(&server, made);
    let unaccounted = i128::from(made) - i128::from(rows) - i128::from(lost);
    show(
        "G19 peak memory under overload",
        &format!(
            "{peak:.0} MB of its own with --memory {MEMORY}; ratio {:.2}; {made} events, {rows} rows, {lost} counted as lost, {unaccounted} unaccounted",
            peak / MEMORY_MB
        ),
    );
}

/// What became of the events, once nothing is under way any more.
struct Settled {
    rows: u64,
    lost: u64,
}

/// Waits until rows and losses are all events; what they are after [`SETTLE_MAX`] is told as it is.
fn settle(server: &Server, made: u64) -> Settled {
    let start = Instant::now();
    loop {
        let rows = server.psql("SELECT count(*) FROM overload").parse().expect("a count");
        let lost = server.psql(
            "SELECT coalesce(sum(lost), 0) FROM (SELECT cause, max(\"count\") AS lost FROM system.probe_loss \
             WHERE probe = 'overload' AND kind = 'rows' GROUP BY cause)",
        );
        let settled = Settled { rows, lost: lost.parse().expect("a count") };
        if settled.rows + settled.lost >= made || start.elapsed() > SETTLE_MAX {
            return settled;
        }
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// A line of the process's status, MB.
fn memory_mb(pid: u32, name: &str) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the server runs");
    let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("the kernel tells it");
    let kib: f64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib * 1024.0 / 1e6
}
