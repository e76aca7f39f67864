//! The probe `softirq_latency`: what the kernel's own counters say, found through psql.

use std::time::Duration;

use crate::support::{Server, per_cpu_counts};

fn served(kind: &str) -> u64 {
    per_cpu_counts("/proc/softirqs").into_iter().find(|(name, _)| name == kind).expect("every kernel has it").1
}

#[test]
fn kernel_softirq_latency_counts_what_the_kernel_counts() {
    let Some(server) = Server::with_probes("") else { return };
    // What was served while it was surely attached, and what was while it may have been.
    let before = served("TIMER");
    server.psql("ALTER PROBE softirq_latency ENABLE");
    let attached = served("TIMER");
    std::thread::sleep(Duration::from_secs(3));
    let until = served("TIMER");
    server.psql("ALTER PROBE softirq_latency DISABLE");
    let after = served("TIMER");
    assert!(until > attached, "a timer's interrupt in three seconds");
    // One that is being served at either end has only one of its two events, on each processor.
    let (least, most) = ((until - attached).saturating_sub(64), after - before);
    let ours = "FROM softirq_latency WHERE softirq = 'TIMER'";
    // The kernel keeps an event from the probe that interrupts another program of its kind, whosever that is.
    let lost = "SELECT coalesce(sum(count), 0) FROM (SELECT max(count) AS count FROM system.probe_loss
        WHERE probe = 'softirq_latency' AND cause IN ('recursion', 'unpaired_start', 'unpaired_end') GROUP BY cause)";
    server.wait_for(&format!("SELECT sum(events) + ({lost}) >= {least} AND sum(events) <= {most} {ours}"), "t");
    let times = format!(
        "SELECT bool_and(total_ns >= latency_max_ns AND latency_p50_ns > 0 AND latency_p50_ns * 16 <= latency_max_ns * 17),
             sum(total_ns) < 3600000000000 {ours}"
    );
    assert_eq!(server.psql(&times), "t|t");
}
