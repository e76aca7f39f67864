//! The probe `run_queue_latency`: wakeups whose number the test knows, found through psql.

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use crate::support::{Cgroup, Server, wait_until};

/// How often the process is woken.
const WAKEUPS: u64 = 200;

#[test]
fn kernel_run_queue_latency_counts_every_wakeup_of_a_cgroup() {
    let Some(server) = Server::with_probes("") else { return };
    let Some(cgroup) = Cgroup::create("run-queue") else { return };
    let mut child = Command::new("/bin/cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut input, mut output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let state = format!("/proc/{}/syscall", child.id());
    // Off its processor in read (number 0) of descriptor 0, so that the next line wakes it, and nothing else did.
    let wait = || {
        wait_until("the process to wait", || match std::fs::read_to_string(&state) {
            Ok(call) if call.starts_with("0 0x0 ") => Ok(()),
            other => Err(format!("{other:?}")),
        });
    };
    wait();
    cgroup.take(child.id());
    for _ in 0..WAKEUPS {
        wait();
        input.write_all(b"x").unwrap();
        output.read_exact(&mut [0]).unwrap();
    }
    wait();
    let ours = format!("FROM run_queue_latency WHERE cgroup_id = {}", cgroup.id());
    server.wait_for(&format!("SELECT sum(events), bool_or(other) {ours}"), &format!("{WAKEUPS}|f"));
    let latencies = format!(
        "SELECT bool_and(latency_p50_ns BETWEEN 1 AND latency_p99_ns AND latency_p99_ns * 16 <= latency_max_ns * 17
             AND latency_mean_ns <= latency_max_ns) {ours}"
    );
    assert_eq!(server.psql(&latencies), "t");
    drop(input);
    child.wait().unwrap();
}
