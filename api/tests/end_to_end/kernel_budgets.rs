//! Budgets: a probe that takes too much sees fewer of its events and says so; one whose time is over is disabled.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::support::{Server, wait_until};

/// Calls getppid from two threads until the work is done; says how often.
fn flood(work: impl FnOnce()) -> u64 {
    let (stop, calls) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    for _ in 0..100 {
                        // SAFETY: no arguments, no effect.
                        unsafe { libc::syscall(libc::SYS_getppid) };
                    }
                    calls.fetch_add(100, Ordering::Relaxed);
                    std::thread::sleep(Duration::from_micros(200));
                }
            });
        }
        // Also when the work fails: the threads must end.
        let worked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        stop.store(true, Ordering::Relaxed);
        if let Err(panic) = worked {
            std::panic::resume_unwind(panic);
        }
    });
    calls.into_inner()
}

fn state(server: &Server, probe: &str) -> String {
    server.psql(&format!("SELECT state, coalesce(reason, '') FROM system.probes WHERE name = '{probe}'"))
}

fn wait_for_state(server: &Server, probe: &str, wanted: &str) {
    wait_until(wanted, || {
        let state = state(server, probe);
        if state.starts_with(wanted) { Ok(()) } else { Err(state) }
    });
}

#[test]
fn kernel_a_probe_over_its_budget_sees_fewer_events_and_says_how_many_each_stands_for() {
    let Some(server) = Server::with_probes("") else { return };
    let pid = std::process::id();
    server.psql(&format!(
        "CREATE PROBE dear WITH (max_cpu_percent = 0.05, max_rows_per_second = 10000000) AS \
         SELECT pid FROM tracepoint.sys_enter_getppid WHERE pid = {pid}"
    ));
    let described = server.psql("\\d dear");
    assert!(described.contains("sample_weight|double precision"), "{described}");
    let made = flood(|| {
        wait_for_state(&server, "dear", "degraded|it would take more than 0.05 % of a core");
        std::thread::sleep(Duration::from_secs(1));
    });
    let counted = "SELECT (SELECT count(*) FROM dear) + max(count) FROM system.probe_loss \
                   WHERE probe = 'dear' AND cause = 'budget'";
    wait_until("rows and what was left out to be all events", || {
        let counted: u64 = server.psql(counted).parse().expect("a count");
        // Others' calls are left out too before the filter is asked whose they are.
        if (made..made + made / 10).contains(&counted) { Ok(()) } else { Err(format!("{counted} of {made}")) }
    });
    let weights = server.psql("SELECT min(sample_weight) = 1, max(sample_weight) > 1.2 FROM dear");
    assert_eq!(weights, "t|t");
    let estimate: f64 = server.psql("SELECT sum(sample_weight) FROM dear").parse().expect("a number");
    assert!((estimate / made as f64 - 1.0).abs() < 0.3, "{estimate} of {made}");
    wait_for_state(&server, "dear", "running|");
}

#[test]
fn kernel_windows_of_a_probe_over_its_budget_end_when_its_share_changes() {
    let Some(server) = Server::with_probes("") else { return };
    let pid = std::process::id();
    server.psql(&format!(
        "CREATE PROBE dear WITH (max_cpu_percent = 0.05) AS SELECT time_bucket('1 hour', time) AS time, pid, \
         count(*) AS events FROM tracepoint.sys_enter_getppid WHERE pid = {pid} GROUP BY 1, pid"
    ));
    let made = flood(|| {
        wait_for_state(&server, "dear", "degraded|");
        std::thread::sleep(Duration::from_secs(1));
    });
    server.psql("ALTER PROBE dear DISABLE");
    server.wait_for("SELECT count(*) > 1 AND NOT bool_or(complete) FROM dear", "t");
    let estimate: f64 = server.psql("SELECT sum(events * sample_weight) FROM dear").parse().expect("a number");
    assert!((estimate / made as f64 - 1.0).abs() < 0.3, "{estimate} of {made}");
}

#[test]
fn kernel_the_dearest_probe_gives_way_to_the_hosts_budget() {
    if !crate::support::may_attach() {
        return;
    }
    let directory = tempfile::tempdir().expect("a temporary directory");
    let server = Server::start(directory.path(), &["--probe-cpu-max-percent", "0.05"]);
    let pid = std::process::id();
    server.psql(&format!(
        "CREATE PROBE dear WITH (max_rows_per_second = 10000000) AS \
         SELECT pid FROM tracepoint.sys_enter_getppid WHERE pid = {pid}"
    ));
    server.psql(&format!("CREATE PROBE cheap AS SELECT pid FROM tracepoint.sys_enter_getsid WHERE pid = {pid}"));
    flood(|| wait_for_state(&server, "dear", "degraded|"));
    assert_eq!(state(&server, "cheap"), "running|");
    let notice = "SELECT count FROM system.probe_loss WHERE probe = 'dear' AND cause = 'budget'";
    wait_until("what was left out to be told", || {
        if server.psql(notice).is_empty() { Err("nothing".to_owned()) } else { Ok(()) }
    });
}

#[test]
fn kernel_a_probe_whose_time_is_over_is_disabled_and_can_be_enabled_again() {
    let Some(server) = Server::with_probes("") else { return };
    server.psql("CREATE PROBE brief WITH (run_for = '2 seconds') AS SELECT pid FROM tracepoint.sys_enter_getsid");
    assert_eq!(state(&server, "brief"), "running|");
    wait_for_state(&server, "brief", "disabled|");
    server.psql("ALTER PROBE brief ENABLE");
    assert_eq!(state(&server, "brief"), "running|");
    server.psql("ALTER PROBE brief SET (run_for = '1 hour')");
    std::thread::sleep(Duration::from_millis(3_500));
    assert_eq!(state(&server, "brief"), "running|");
}
