//! G19: memory of the server at rest, and its peak while twice as many events come as it takes.

use std::time::Duration;

use crate::figures::show;
use crate::support::Server;
use crate::workload::numbered;

const GOAL_REST_MB: f64 = 80.0;

/// What the server may use, and how many events come a second: far more than two busy CPUs store.
const MEMORY: &str = "512MB";
const MEMORY_MB: f64 = 512.0;
const RATE: u64 = 2_000_000;
const TIME: Duration = Duration::from_secs(15);

pub fn run() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let server = Server::start(directory.path(), &["--memory", MEMORY]);
    std::thread::sleep(Duration::from_secs(5));
    let rest = memory_mb(server.pid(), "VmRSS:");
    show(
        "G19 memory at rest, starter probes attached",
        &format!("{rest:.0} MB; goal {GOAL_REST_MB} MB; ratio {:.2}", rest / GOAL_REST_MB),
    );
    server.psql(
        "CREATE PROBE overload WITH (max_rows_per_second = 100000000) AS \
         SELECT time, nsecs, pid, tid, uid, gid, comm, cgroup_id, cpu, which, who AS number \
         FROM tracepoint.sys_enter_getpriority WHERE which = 2",
    );
    let sources: Vec<_> = (0..2).map(|_| std::thread::spawn(|| numbered(2, RATE, TIME))).collect();
    let made: u64 = sources.into_iter().map(|source| source.join().expect("it only makes system calls")).sum();
    let peak = memory_mb(server.pid(), "VmHWM:");
    std::thread::sleep(Duration::from_secs(2));
    let rows: u64 = server.psql("SELECT count(*) FROM overload").parse().expect("a count");
    let lost = server.psql("SELECT coalesce(sum(count), 0) FROM system.probe_loss WHERE probe = 'overload'");
    let lost: u64 = lost.parse().expect("a count");
    let unaccounted = i128::from(made) - i128::from(rows) - i128::from(lost);
    show(
        "G19 peak memory under overload",
        &format!(
            "{peak:.0} MB with --memory {MEMORY}; ratio {:.2}; {made} events, {rows} rows, {lost} counted as lost, {unaccounted} unaccounted",
            peak / MEMORY_MB
        ),
    );
}

/// A line of the process's status, MB.
fn memory_mb(pid: u32, name: &str) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the server runs");
    let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("the kernel tells it");
    let kib: f64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib * 1024.0 / 1e6
}
