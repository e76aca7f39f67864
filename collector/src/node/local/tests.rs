//! Probes on the running kernel, from SQL text to rows: what happens is found exactly, what is lost is counted.

use std::process::{Command, Stdio};

use arrow::array::{Array, AsArray};
use arrow::datatypes::Int64Type;
use futures::StreamExt;
use probepilot_catalog::ports::{Hooks, Node as _};
use probepilot_catalog::probe::{ProbeId, ProbeState};
use probepilot_collector_ebpf::object::STATE_ENTRIES_MAX;
use probepilot_sql::SqlState;

use crate::node::local::RING_BYTES_DEFAULT;
use crate::node::test_log::TestLog;
use crate::node::test_node::{
    HEALTH, TABLE, TestNode, call_getppid, create_probe, test_node, texts, unique_name, wait_for,
};

use super::*;

mod losses; // What rows are lost by on the way to the log.
mod moves; // Probes that aggregate, at another hook.
mod steps; // The wall clock is set.

/// Rows in a second that no test makes.
const UNLIMITED: u32 = 1_000_000_000;

/// Waits until all rows of so many events are there, or have had time to come.
async fn settled(test: &TestNode, events: u64) {
    for _ in 0..400 {
        if test.report(1).health.rows >= events {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Makes the calls in bursts that the rings have room for, also twice and on a machine that is busy.
fn call_in_bursts(name: &str, calls: u64) {
    for _ in 0..30 {
        call_getppid(name, calls / 30);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_opened_is_one_row() {
    let Some(test) = test_node(RING_BYTES_DEFAULT).await else {
        return;
    };
    let path = format!("/tmp/probepilot-{}", std::process::id());
    let sql = format!(
        "CREATE PROBE opens AS SELECT pid, comm, user_string(filename) AS path FROM tracepoint.sys_enter_openat \
         WHERE user_string(filename) = '{path}'"
    );
    let notice = test.start(1, 1, &sql, 5000).await.expect("it starts");
    assert!(notice.starts_with("attached in "), "{notice}");
    let _ = Command::new("cat").arg(&path).output().expect("cat is there");
    let rows = test.rows(1).await;
    assert_eq!((texts(&rows, "path"), texts(&rows, "comm")), (vec![path], vec!["cat".to_owned()]));
    assert_eq!(texts(&rows, "node"), ["test"]);
    test.node.stop(ProbeId(1)).await.expect("it stops");
    assert!(test.node.reports().is_empty());
    test.node.shutdown().await;
    assert_eq!(test.log.row_count(TABLE), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_rings_have_no_room_for_is_counted_to_the_row() {
    // The smallest rings there are, and more events than they hold.
    let Some(test) = test_node(1).await else {
        return;
    };
    let name = unique_name("full");
    let sql = format!("CREATE PROBE calls AS SELECT comm FROM tracepoint.sys_enter_getppid WHERE comm = '{name}'");
    test.start(1, 1, &sql, UNLIMITED).await.expect("it starts");
    let calls = 200_000;
    call_getppid(&name, calls);
    wait_for(|| {
        let health = test.report(1).health;
        health.rows + health.rows_lost == calls
    })
    .await;
    let health = test.report(1).health;
    assert_eq!(health.events, calls, "the workload's own count is the witness");
    assert!(health.rows_lost > 0, "{calls} events fit into the smallest rings");
    test.node.stop(ProbeId(1)).await.expect("it stops");
    assert_eq!(test.log.row_count(TABLE) as u64, health.rows);
    let losses = test.log.rows(HEALTH.loss);
    let causes = texts(&losses, "cause");
    let last = causes.iter().rposition(|cause| cause == "ring_full").expect("the loss is written");
    let counts = losses.iter().flat_map(|rows| {
        let counts = rows.column_by_name("count").expect("a column").as_primitive::<Int64Type>();
        counts.iter().collect::<Vec<_>>()
    });
    assert_eq!(counts.collect::<Vec<_>>()[last], Some(health.rows_lost as i64));
    test.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_above_the_limit_are_counted() {
    let Some(test) = test_node(RING_BYTES_DEFAULT).await else {
        return;
    };
    let name = unique_name("rate");
    let sql = format!("CREATE PROBE calls AS SELECT comm FROM tracepoint.sys_enter_getppid WHERE comm = '{name}'");
    test.start(1, 1, &sql, 100).await.expect("it starts");
    let calls = 10_000;
    call_getppid(&name, calls);
    wait_for(|| {
        let health = test.report(1).health;
        health.rows + health.rows_lost == calls
    })
    .await;
    let health = test.report(1).health;
    assert_eq!(health.events, calls);
    assert!((1..1000).contains(&health.rows), "{} rows", health.rows);
    test.node.shutdown().await;
    assert!(texts(&test.log.rows(HEALTH.loss), "cause").contains(&"rate_limited".to_owned()));
    assert!(texts(&test.log.rows(HEALTH.health), "probe").contains(&"calls".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_short_processes_are_a_thousand_rows() {
    let Some(test) = test_node(RING_BYTES_DEFAULT).await else {
        return;
    };
    let sql = format!(
        "CREATE PROBE execs AS SELECT pid, comm, exe(pid) AS exe, cmdline(pid) AS cmdline FROM tracepoint.sched_process_exec WHERE ppid = {}",
        std::process::id()
    );
    test.start(1, 1, &sql, UNLIMITED).await.expect("it starts");
    for _ in 0..1000 {
        assert!(Command::new("true").status().expect("true is there").success());
    }
    let rows = test.rows(1000).await;
    test.node.shutdown().await;
    assert_eq!(test.log.row_count(TABLE), 1000);
    let with_arguments = texts(&rows, "cmdline").iter().filter(|cmdline| *cmdline == "true").count();
    assert_eq!(with_arguments, 1000, "the kernel hands over the arguments of a process that is gone at once");
    let exes = texts(&rows, "exe");
    let known = exes.iter().filter(|exe| exe.ends_with("/true") || exe.ends_with("/coreutils")).count();
    // On a machine that is starved rows do not wait for facts longer than their bound, and stay without.
    assert!(known >= 950, "{known} of 1000, {:?}", exes.iter().find(|exe| !exe.ends_with("/true")));
    let mut upids: Vec<i64> = rows
        .iter()
        .flat_map(|rows| rows.column_by_name("upid").expect("a column").as_primitive::<Int64Type>().values().to_vec())
        .collect();
    upids.sort_unstable();
    upids.dedup();
    assert_eq!(upids.len(), 1000, "every process has its own upid");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_ended_is_still_known() {
    let Some(test) = test_node(RING_BYTES_DEFAULT).await else {
        return;
    };
    let mut child = Command::new("sleep").arg("0.05").env("X", "y").spawn().expect("sleep is there");
    let pid = child.id() as i32;
    child.wait().expect("it ends");
    let processes = test.node.processes();
    wait_for(|| processes.get(pid).is_some_and(|process| process.exited_unix_ns.is_some())).await;
    let process = processes.get(pid).expect("it is kept");
    assert_eq!(process.cmdline.as_deref(), Some("sleep 0.05"));
    assert_eq!(process.ppid, std::process::id() as i32);
    assert!(process.exe.expect("it has one").contains("/bin/"));
    test.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_version_takes_over_without_losing_or_doubling() {
    let Some(test) = test_node(RING_BYTES_DEFAULT).await else {
        return;
    };
    let name = unique_name("swap");
    let sql = format!("CREATE PROBE calls AS SELECT comm FROM tracepoint.sys_enter_getppid WHERE comm = '{name}'");
    test.start(1, 1, &sql, UNLIMITED).await.expect("it starts");
    let calls = 300_000;
    let workload = std::thread::spawn(move || call_in_bursts(&name, calls));
    wait_for(|| test.report(1).health.events > 0).await;
    for version in 2..12 {
        let notice = test.start(1, version, &sql, UNLIMITED).await.expect("it is replaced");
        assert!(notice.starts_with("replaced in "), "{notice}");
    }
    workload.join().expect("it ends");
    settled(&test, calls).await;
    let ProbeReport { version, health, .. } = test.report(1);
    let seen = (version, health.events, health.rows, health.rows_lost);
    assert_eq!(seen, (11, calls, calls, 0), "counters go on");
    test.node.shutdown().await;
    assert_eq!(test.log.row_count(TABLE) as u64, calls);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_at_another_hook_takes_over_at_one_moment() {
    let Some(test) = test_node(RING_BYTES_DEFAULT).await else {
        return;
    };
    let name = unique_name("move");
    let call = format!("CREATE PROBE calls AS SELECT comm FROM tracepoint.sys_enter_getppid WHERE comm = '{name}'");
    let number = libc::SYS_getppid;
    let any =
        format!("CREATE PROBE calls AS SELECT comm FROM tp_btf.sys_enter WHERE args.id = {number} AND comm = '{name}'");
    test.start(1, 1, &call, UNLIMITED).await.expect("it starts");
    let calls = 300_000;
    let workload = std::thread::spawn(move || call_in_bursts(&name, calls));
    wait_for(|| test.report(1).health.events > 0).await;
    for (version, sql) in [(2, &any), (3, &call)] {
        test.start(1, version, sql, UNLIMITED).await.expect("it is replaced");
    }
    workload.join().expect("it ends");
    settled(&test, calls).await;
    let health = test.report(1).health;
    // Each of the two moments may fall between the two programs of one event.
    assert!(health.rows.abs_diff(calls) <= 2, "{health:?}");
    assert_eq!((health.events, health.rows_lost), (health.rows, 0));
    test.node.shutdown().await;
    assert_eq!(test.log.row_count(TABLE) as u64, health.rows);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_version_leaves_the_old_one_running() {
    let Some(test) = test_node(RING_BYTES_DEFAULT).await else {
        return;
    };
    let sql = "CREATE PROBE calls AS SELECT comm FROM tracepoint.sys_enter_getppid";
    test.start(1, 1, sql, 10).await.expect("it starts");
    let spec = ProbeSpec {
        id: ProbeId(1),
        version: 2,
        name: "calls".into(),
        sql: "CREATE PROBE calls AS SELECT nothing FROM tracepoint.sys_enter_getppid".into(),
        table: TABLE,
        schema: arrow::datatypes::Schema::empty().into(),
        rows_per_second_max: 10,
        cpu_percent_max: None,
    };
    let error = test.node.start(spec).await.expect_err("there is no such column");
    assert_eq!(error.state, SqlState::UNDEFINED_COLUMN);
    let report = test.report(1);
    assert_eq!((report.state, report.version), (ProbeState::Running, 1));
    assert!(report.reason.expect("it says what failed").contains("version 2 failed"));
    test.node.shutdown().await;
    assert!(test.node.reports().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_live_query_ends_at_its_limit_and_one_that_is_dropped_is_gone() {
    let Some(test) = test_node(RING_BYTES_DEFAULT).await else {
        return;
    };
    let name = unique_name("live");
    let query = |limit: &str| {
        let text =
            format!("CREATE PROBE x AS SELECT comm FROM tracepoint.sys_enter_getppid WHERE comm = '{name}' {limit}");
        create_probe(&text).query
    };
    let described = test.node.describe(&query(""), &[]).await.expect("it compiles");
    assert_eq!((described.schema.field(0).name().as_str(), described.parameters), ("comm", Vec::new()));
    let mut rows = test.node.select(&query("LIMIT 3")).await.expect("it attaches");
    let endless = test.node.select(&query("")).await.expect("it attaches");
    call_getppid(&name, 10);
    let mut seen = 0;
    while let Some(batch) = rows.batches.next().await {
        seen += batch.expect("rows").num_rows();
    }
    assert_eq!(seen, 3);
    assert_eq!(*rows.notices.lock(), Vec::<String>::new());
    drop(endless);
    wait_for(|| test.node.live_permits.available_permits() == LIVE_QUERIES_MAX).await;
    test.node.shutdown().await;
    let refused = test.node.select(&query("")).await.err().expect("the node is down");
    assert_eq!(refused.state, SqlState::CONFIGURATION_LIMIT_EXCEEDED);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_read_is_told_what_it_lost() {
    let Some(test) = test_node(RING_BYTES_DEFAULT).await else {
        return;
    };
    let name = unique_name("slow");
    let text = format!("CREATE PROBE x AS SELECT nsecs, comm FROM tracepoint.sys_enter_getppid WHERE comm = '{name}'");
    let mut rows = test.node.select(&create_probe(&text).query).await.expect("it attaches");
    let calls = 1_000_000;
    call_getppid(&name, calls);
    // The drain has taken everything when its queue is closed by the shutdown.
    tokio::time::sleep(Duration::from_millis(50)).await;
    let down = {
        let node = test.node.clone();
        tokio::spawn(async move { node.shutdown().await })
    };
    let mut seen = 0;
    while let Some(batch) = rows.batches.next().await {
        seen += batch.expect("rows").num_rows() as u64;
    }
    down.await.expect("it goes down");
    let notices = rows.notices.lock().join("\n");
    let lost: u64 = notices
        .strip_prefix("lost ")
        .and_then(|rest| rest.split(' ').next()?.parse().ok())
        .unwrap_or_else(|| panic!("a notice of the loss, not \"{notices}\""));
    assert_eq!(seen + lost, calls);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_built_in_probe_runs_and_leaves_nothing_behind() {
    let Some(test) = test_node(RING_BYTES_DEFAULT).await else {
        return;
    };
    let before = kernel_objects();
    assert!(!before.is_empty(), "the rings and the feeds are there");
    let probes = probepilot_collector_ebpf::probes::builtin();
    for (probe, id) in probes.iter().zip(1..) {
        let notice = test
            .start(id, 1, probe.sql, 5000)
            .await
            .unwrap_or_else(|error| panic!("{}: {error} {:?} {:?}", probe.name, error.detail, error.hint));
        assert!(notice.starts_with("attached in "), "{}: {notice}", probe.name);
    }
    assert_eq!(test.node.reports().len(), probes.len());
    assert!(test.node.reports().iter().all(|report| report.state == ProbeState::Running));
    assert!(kernel_objects().len() > before.len());
    for id in 1..=probes.len() as i64 {
        test.node.stop(ProbeId(id)).await.expect("it stops");
    }
    assert_eq!(kernel_objects(), before, "programs, maps and links of stopped probes are gone");
    test.node.shutdown().await;
    drop(test);
    wait_for(|| kernel_objects().is_empty()).await;
}

/// What this process holds of the kernel's programs, maps, links and tracepoints: open descriptors and mapped rings. The
/// measuring of costs, which comes and goes, is left out.
fn kernel_objects() -> Vec<String> {
    let is_ours = |name: &str| (name.contains("bpf") || name.contains("perf_event")) && !name.contains("bpf-stats");
    let descriptors = std::fs::read_dir("/proc/self/fd").expect("/proc is readable");
    let mut objects: Vec<String> = descriptors
        .filter_map(|entry| Some(std::fs::read_link(entry.ok()?.path()).ok()?.to_string_lossy().into_owned()))
        .filter(|name| is_ours(name))
        .collect();
    let maps = std::fs::read_to_string("/proc/self/maps").expect("/proc is readable");
    objects.extend(maps.lines().filter(|line| line.contains("anon_inode:bpf")).map(str::to_owned));
    objects.sort();
    objects
}

#[tokio::test]
async fn without_probes_there_are_processes_and_plans_and_every_start_is_refused() {
    let node = Node::start(NodeOptions {
        name: "test".into(),
        rows: Arc::new(TestLog::default()),
        ring_bytes_total: RING_BYTES_DEFAULT,
        queue_bytes_max: crate::node::outbox::QUEUE_BYTES_DEFAULT,
        probes_enabled: false,
        cmdline: CmdlineSetting::Off,
        cpu_percent_max: 1.0,
        health: None,
    })
    .await;
    let refused = node.unavailable().expect("probes are off");
    assert_eq!(refused.state, SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE);
    for table in node.live_tables() {
        match table.rows().await {
            Ok(batches) => {
                let rows: usize = batches.iter().map(|rows| rows.num_rows()).sum();
                assert!(rows > 0, "{} is empty", table.name());
                let columns = probepilot_catalog::table::arrow_schema(&table.columns());
                assert_eq!(batches[0].schema(), columns);
                assert!(
                    table.name().name != "processes"
                        || batches[0].column_by_name("cmdline").expect("a column").null_count() == rows
                );
            }
            Err(error) => println!("skipped: needs a readable tracefs or BTF, {error}"),
        }
    }
    node.shutdown().await;
}

#[test]
fn missing_rights_are_named_with_their_remedy() {
    let missing = capability::Missing { capabilities: vec!["cap_bpf"], in_user_namespace: false };
    let error = Unavailable::Rights(missing).to_sql();
    assert_eq!(error.state, SqlState::INSUFFICIENT_PRIVILEGE);
    assert!(error.detail.expect("what is missing").contains("cap_bpf"));
    assert!(error.hint.expect("a remedy").contains("setcap cap_"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_are_all_in_the_windows_that_are_stored() {
    let Some(test) = test_node(RING_BYTES_DEFAULT).await else {
        return;
    };
    let name = unique_name("windows");
    let sql = format!(
        "CREATE PROBE calls AS SELECT comm, count(*) AS events FROM tracepoint.sys_enter_getppid \
         WHERE comm LIKE '%{name}%' GROUP BY comm, time_bucket('1 ms', time)"
    );
    test.start(1, 1, &sql, UNLIMITED).await.expect("it starts");
    let calls = 100_000;
    call_getppid(&name, calls);
    // The last window is made when the probe stops.
    test.node.stop(ProbeId(1)).await.expect("it stops");
    let rows = test.log.rows(TABLE);
    let events: i64 = rows
        .iter()
        .map(|rows| {
            let events = rows.column_by_name("events").expect("selected").as_primitive::<Int64Type>();
            events.iter().flatten().sum::<i64>()
        })
        .sum();
    assert_eq!(events, calls as i64);
    assert!(rows.iter().map(|rows| rows.num_rows()).sum::<usize>() > 1, "windows of 1 ms");
    test.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_killed_threads_leave_under_a_live_query_is_swept_and_counted() {
    let Some(test) = test_node(RING_BYTES_DEFAULT).await else {
        return;
    };
    let name = unique_name("killed");
    // Two parts of a key do not wait with the thread but in a hash, and a killed thread makes no other call.
    let text = format!(
        "CREATE PROBE x AS SELECT x.ret FROM tracepoint.sys_enter_read e JOIN tracepoint.sys_exit_getpgid x \
         ON e.tid = x.tid AND e.pid = x.pid WHERE e.comm = '{name}' AND e.fd = 0"
    );
    let mut rows = test.node.select(&create_probe(&text).query).await.expect("it attaches");
    let directory = tempfile::tempdir().expect("a directory");
    let reader = directory.path().join(&name);
    std::fs::copy("/bin/cat", &reader).expect("cat is there");
    const READERS: u64 = 20;
    let swept = |age| {
        let (swept, waiting) = (std::cell::Cell::new(0), std::cell::Cell::new(0.0));
        test.node.probes.sweep_by(|program| {
            swept.set(swept.get() + program.sweep_older_than(age));
            waiting.set(program.map_fill_percent().unwrap_or_default() * f64::from(STATE_ENTRIES_MAX) / 100.0);
        });
        (swept.get(), waiting.get().round() as u64)
    };
    const LONG: Duration = Duration::from_secs(3600);
    for _round in 0..2 {
        let mut readers: Vec<_> = (0..READERS)
            .map(|_| Command::new(&reader).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("it starts"))
            .collect();
        wait_for(|| swept(LONG) == (0, READERS)).await;
        for reader in &mut readers {
            reader.kill().expect("it is ours");
            reader.wait().expect("it ends");
        }
        assert_eq!(swept(LONG), (0, READERS), "what they left waits");
        assert_eq!(swept(Duration::ZERO), (READERS, 0));
    }
    let down = {
        let node = test.node.clone();
        tokio::spawn(async move { node.shutdown().await })
    };
    assert!(rows.batches.next().await.is_none(), "nothing has paired");
    down.await.expect("it goes down");
    let expected = format!("lost {0} events (unpaired_start {0})", 2 * READERS);
    assert_eq!(*rows.notices.lock(), [expected]);
}
