//! Queries that are measured on the running kernel: their numbers are those of the workload, and nothing is written.

use std::sync::Arc;

use probepilot_catalog::ports::{Explain, Node as _};
use probepilot_collector_ebpf::capability;
use probepilot_collector_ebpf::compile::{CompileOptions, compile_counting};
use probepilot_collector_ebpf::functions::ProcessFacts;
use probepilot_collector_ebpf::functions::process::NoFacts;
use probepilot_collector_ebpf::kernel::Kernel;

use super::*;
use crate::node::local::RING_BYTES_DEFAULT;
use crate::node::test_node::{HEALTH, TABLE, call_getppid, create_probe, test_node, unique_name};

/// What the workload does while it is measured.
const CALLS: u64 = 20_000;

/// Head, bitmap and the sixteen bytes of a name.
const RECORD_BYTES: u64 = 24 + 16;

/// Measures a query on the calls of a process of that name; `None` and a line where that needs rights.
fn measured(sql: &str, name: &str) -> Option<Measured> {
    if let Some(missing) = capability::missing() {
        println!("skipped: needs {}", missing.capabilities.join(", "));
        return None;
    }
    let facts: Arc<dyn ProcessFacts> = Arc::new(NoFacts);
    let (probe, node) = ("x".to_owned(), "test".to_owned());
    let options = CompileOptions { name: probe, node, excluded_tgid: None, stored: false, weighted: false };
    let kernel = Kernel::of_host().expect("the kernel shows its hooks");
    let counting = compile_counting(&create_probe(sql).query, &kernel, &facts, &options);
    let counting = counting.unwrap_or_else(|error| panic!("{sql}: {error}"));
    Some(measure(&counting, || call_getppid(name, CALLS)).expect("it is measured"))
}

#[test]
fn rows_are_counted_with_their_bytes_and_cost() {
    let name = unique_name("count");
    let hook = "FROM tracepoint.sys_enter_getppid";
    let sql = format!("CREATE PROBE x AS SELECT comm {hook} WHERE comm = '{name}'");
    let Some(measured) = measured(&sql, &name) else { return };
    assert_eq!((measured.events, measured.rows, measured.rows_at_most), (CALLS, CALLS, false));
    assert_eq!(measured.row_bytes, CALLS * RECORD_BYTES);
    let a_day = CALLS as f64 * RECORD_BYTES as f64 / measured.seconds * 86_400.0;
    assert!((measured.bytes_a_day() / a_day - 1.0).abs() < 1e-9, "{measured:?}");
    // More than nothing, and no more than the workload itself took.
    let share_ns = measured.cpu_percent / 100.0 * measured.seconds * 1e9;
    assert!(share_ns > 20.0 * CALLS as f64 && share_ns < measured.seconds * 1e9, "{measured:?}");
    assert!(measured.ns_per_event > 20.0 && measured.ns_per_event < 20_000.0, "{measured:?}");
}

#[test]
fn a_filter_behind_the_kernel_is_not_asked_and_that_is_said() {
    let name = unique_name("after");
    let sql = format!(
        "CREATE PROBE x AS SELECT comm FROM tracepoint.sys_enter_getppid \
         WHERE comm = '{name}' AND upper(comm) LIKE '%NEVER%'"
    );
    let Some(measured) = measured(&sql, &name) else { return };
    assert_eq!((measured.events, measured.rows, measured.rows_at_most), (CALLS, CALLS, true));
    assert!(measured.to_string().contains(&format!("at most {CALLS} rows")), "{measured}");
}

#[test]
fn groups_of_a_window_are_its_rows() {
    let name = unique_name("group");
    let sql = format!(
        "CREATE PROBE x AS SELECT comm, count(*) AS events FROM tracepoint.sys_enter_getppid \
         WHERE comm = '{name}' GROUP BY comm, time_bucket('10 seconds', time)"
    );
    let Some(measured) = measured(&sql, &name) else { return };
    assert_eq!((measured.events, measured.rows), (CALLS, 1));
    let a_day = measured.row_bytes as f64 * 8_640.0;
    assert!((measured.bytes_a_day() / a_day - 1.0).abs() < 1e-9, "{measured:?}");
}

#[test]
fn pairs_are_counted_and_not_sent() {
    let name = unique_name("pair");
    let sql = format!(
        "CREATE PROBE x AS SELECT x.nsecs - e.nsecs AS latency_ns FROM tracepoint.sys_enter_getppid e \
         JOIN tracepoint.sys_exit_getppid x ON e.tid = x.tid WHERE e.comm = '{name}'"
    );
    let Some(measured) = measured(&sql, &name) else { return };
    assert_eq!((measured.events, measured.rows), (CALLS, CALLS));
    assert_eq!(measured.row_bytes, CALLS * (24 + 8));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn explain_analyze_says_that_nothing_was_written() {
    let Some(test) = test_node(RING_BYTES_DEFAULT).await else {
        return;
    };
    let probe = create_probe("CREATE PROBE x AS SELECT comm FROM tracepoint.sys_enter_getppid");
    let what = Explain { name: "x", query: &probe.query, stored: true, running: None, verbose: false, analyze: true };
    let lines = test.node.explain(what).await.expect("it is measured");
    let last = lines.last().expect("it has lines");
    assert!(last.starts_with("Measured for one second: ") && last.ends_with("; no row was written"), "{last}");
    test.node.shutdown().await;
    assert_eq!((test.log.row_count(TABLE), test.log.row_count(HEALTH.loss)), (0, 0));
}
