//! G14: from the text of CREATE PROBE to attached and counting, beside the start of bpftrace.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::bpftrace;
use crate::figures::{median, percentile, show};
use crate::support::{Server, connect};
use crate::workload::numbered;

const ROUNDS: usize = 60;
const PEER_ROUNDS: usize = 5;

/// A hook, a probe on it, the goal for it in milliseconds.
const WORKS: [(&str, &str, f64); 2] = [
    ("tracepoint", "SELECT time, pid, comm, who FROM tracepoint.sys_enter_getpriority WHERE which = 1", 5.0),
    ("tp_btf", "SELECT time, pid, comm, p.pid AS child FROM tp_btf.sched_process_exec WHERE uid = 4000000", 25.0),
];

pub fn run() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let theirs = bpftrace::version().map(|version| (version, median(&peer_starts())));
    runtime.block_on(async {
        let server = Server::with_probes("").expect("the rights were asked for");
        let client = connect(&server).await;
        for (kind, query, goal_ms) in WORKS {
            let mut created = Vec::new();
            for _ in 0..ROUNDS {
                let start = Instant::now();
                client.batch_execute(&format!("CREATE PROBE create_probe AS {query}")).await.expect("it is attached");
                created.push(start.elapsed().as_secs_f64() * 1e3);
                client.batch_execute("DROP PROBE create_probe WITH DATA").await.expect("it goes");
            }
            let p50 = percentile(&created, 50.0);
            let peer = theirs.as_ref().map_or("bpftrace is not installed".to_owned(), |(version, theirs)| {
                format!("{version} {theirs:.0} ms to its first event; ratio {:.3}", p50 / theirs)
            });
            show(
                &format!("G14 CREATE PROBE to attached, {kind}"),
                &format!("p50 {p50:.1} ms, p99 {:.1} ms; goal p50 {goal_ms} ms; {peer}", percentile(&created, 99.0)),
            );
        }
    });
}

/// From the start of bpftrace to the first event it tells, milliseconds.
fn peer_starts() -> Vec<f64> {
    (0..PEER_ROUNDS)
        .map(|_| {
            let events = std::thread::spawn(|| numbered(1, 10_000, Duration::from_secs(3)));
            let start = Instant::now();
            let mut peer = Command::new("bpftrace")
                .args(["-e", r#"tracepoint:syscalls:sys_enter_getpriority { printf("seen\n"); exit(); }"#])
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .expect("bpftrace is installed");
            let output = BufReader::new(peer.stdout.take().expect("stdout is piped"));
            let seen = output.lines().map_while(Result::ok).any(|line| line == "seen");
            let passed = start.elapsed().as_secs_f64() * 1e3;
            assert!(seen, "bpftrace sees an event");
            peer.wait().expect("it is our child");
            events.join().expect("it only makes system calls");
            passed
        })
        .collect()
}
