//! The probe `syscall_latency`: calls whose number the test knows, found through psql.

use crate::support::Server;

const CALLS: usize = 1_000;

#[test]
fn kernel_syscall_latency_counts_every_call_by_name() {
    let Some(server) = Server::with_probes("ALTER PROBE syscall_latency ENABLE") else { return };
    for call in 0..CALLS {
        // Of a call that nobody makes by chance. The first kind (1) is a process, 0 this one; there is no kind 99.
        let kind = if call % 4 == 0 { 99 } else { 1 };
        // SAFETY: numbers only, and it changes nothing.
        unsafe { libc::syscall(libc::SYS_ioprio_get, kind, 0) };
    }
    let ours = "FROM syscall_latency WHERE syscall = 'ioprio_get'";
    server.wait_for(&format!("SELECT sum(events), sum(errors) {ours}"), &format!("{CALLS}|{}", CALLS / 4));
    let latencies = format!(
        "SELECT bool_and(latency_p50_ns BETWEEN 1 AND latency_p99_ns AND latency_p99_ns * 16 <= latency_max_ns * 17
             AND latency_mean_ns <= latency_max_ns AND latency_histogram_ns LIKE '[[%]]') {ours}"
    );
    assert_eq!(server.psql(&latencies), "t");
}
