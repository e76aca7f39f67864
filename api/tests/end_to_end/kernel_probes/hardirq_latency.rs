//! The probe `hardirq_latency`: what the kernel's own counters say, found through psql.

use std::process::{Command, Stdio};

use crate::support::{Server, per_cpu_counts};

/// Counts of the interrupts that have numbers: those that have handlers.
fn handled() -> Vec<(String, u64)> {
    let mut counts = per_cpu_counts("/proc/interrupts");
    counts.retain(|(name, _)| name.bytes().all(|byte| byte.is_ascii_digit()));
    counts
}

#[test]
fn kernel_hardirq_latency_counts_what_the_kernel_counts() {
    let Some(server) = Server::with_probes("") else { return };
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let before = handled();
    server.psql("ALTER PROBE hardirq_latency ENABLE");
    let attached = handled();
    let output = format!("of={}", directory.path().join("direct").display());
    for _ in 0..20 {
        let arguments = ["if=/dev/zero", &output, "bs=64k", "count=20", "oflag=direct"];
        Command::new("dd").args(arguments).stderr(Stdio::null()).status().unwrap();
    }
    let until = handled();
    server.psql("ALTER PROBE hardirq_latency DISABLE");
    let after = handled();
    let busiest = attached.iter().zip(&until).max_by_key(|((_, attached), (_, until))| until - attached);
    let Some(((irq, _), _)) = busiest.filter(|((_, attached), (_, until))| until > attached) else {
        println!("skipped: no device of this machine made an interrupt");
        return;
    };
    let count = |counts: &[(String, u64)]| counts.iter().find(|(name, _)| name == irq).unwrap().1;
    let (least, most) = (count(&until) - count(&attached), count(&after) - count(&before));
    let ours = format!("FROM hardirq_latency WHERE irq = {irq}");
    // Several handlers of one interrupt all run.
    server
        .wait_for(&format!("SELECT sum(events) BETWEEN {least} - 8 AND {most} * count(DISTINCT handler) {ours}"), "t");
    let times = format!(
        "SELECT bool_and(total_ns >= latency_max_ns AND latency_p50_ns > 0 AND latency_p50_ns * 16 <= latency_max_ns * 17 AND handler <> '') {ours}"
    );
    assert_eq!(server.psql(&times), "t");
}
