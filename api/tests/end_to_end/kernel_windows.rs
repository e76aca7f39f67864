//! Aggregates in the kernel, in psql: windows that are stored, and answers that come at their bound.

use crate::support::Server;

/// Calls `getppid` so many times from this process.
fn call_getppid(times: u64) {
    for _ in 0..times {
        // SAFETY: no arguments, no effect.
        unsafe { libc::syscall(libc::SYS_getppid) };
    }
}

#[test]
fn kernel_stored_windows_add_up_to_the_number_of_events() {
    let Some(server) = Server::with_probes("") else { return };
    let pid = std::process::id();
    server.psql(&format!(
        "CREATE PROBE calls WITH (max_keys = 100) AS \
         SELECT time_bucket('100 ms', time) AS time, comm, count(*) AS events, avg(cpu) AS mean \
         FROM tracepoint.sys_enter_getppid WHERE pid = {pid} GROUP BY 1, comm"
    ));
    let described = server.psql("\\d calls");
    let first: Vec<&str> = described.lines().filter_map(|line| line.split('|').next()).collect();
    let place = first.iter().position(|name| *name == "time").unwrap();
    assert_eq!(
        first[place..place + 8],
        ["time", "node", "window_ns", "complete", "comm", "events", "mean", "other"],
        "{described}"
    );
    for _ in 0..20 {
        call_getppid(5_000);
        std::thread::sleep(std::time::Duration::from_millis(25));
    }
    server.wait_for("SELECT sum(events) FROM calls", "100000");
    assert_eq!(server.psql("SELECT count(*) > 3, bool_and(NOT other) FROM calls"), "t|t");
    let aligned = "SELECT count(*) FROM calls WHERE epoch_ns(time) % 100000000 <> 0 OR window_ns % 100000000 <> 0";
    assert_eq!(server.psql(aligned), "0");
    let explained = server.psql("EXPLAIN PROBE calls");
    assert!(explained.contains("Window: 100 ms") && explained.contains("in kernel, count at"), "{explained}");
    server.psql("DROP PROBE calls WITH DATA");
}

#[test]
fn kernel_replacing_a_probe_that_aggregates_counts_every_event_once() {
    let Some(server) = Server::with_probes("") else { return };
    let pid = std::process::id();
    let probe = |name: &str, filter: &str| {
        format!(
            "PROBE {name} AS SELECT time_bucket('1 s', time) AS time, pid, count(*) AS events \
             FROM tracepoint.sys_enter_getppid WHERE pid = {pid} AND {filter} GROUP BY 1, pid"
        )
    };
    server.psql(&format!("CREATE {}", probe("replaced", "cpu >= 0")));
    std::thread::scope(|scope| {
        let caller = scope.spawn(|| {
            for _ in 0..400 {
                call_getppid(1_000);
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
        });
        let mut version = 1;
        while !caller.is_finished() {
            version += 1;
            server.psql(&format!("CREATE OR REPLACE {}", probe("replaced", &format!("cpu >= -{version}"))));
        }
        assert!(version > 5, "{version} versions");
    });
    server.wait_for("SELECT sum(events) FROM replaced", "400000");
    let moved = probe("replaced", "cpu >= 0").replace("sys_enter_getppid", "sys_exit_getppid");
    // No call is under way: each has been counted where it began, and the next ones are where they return.
    server.psql(&format!("CREATE OR REPLACE {moved}"));
    call_getppid(1_000);
    server.wait_for("SELECT sum(events) FROM replaced", "401000");
    server.psql("DROP PROBE replaced WITH DATA");
}

#[test]
fn kernel_a_bounded_aggregate_is_one_exact_answer() {
    let Some(server) = Server::with_probes("") else { return };
    let pid = std::process::id();
    let query = format!(
        "SELECT pid, count(*), count(*) * 2 AS twice FROM tracepoint.sys_enter_getppid \
         WHERE pid = {pid} AND time < now() + interval '3 s' GROUP BY 1 ORDER BY 2 DESC LIMIT 10"
    );
    for copied in [false, true] {
        let statement = if copied { format!("COPY ({query}) TO STDOUT WITH (FORMAT csv)") } else { query.clone() };
        let answer = std::thread::scope(|scope| {
            let answer = scope.spawn(|| server.psql(&statement));
            // It is attached well before its bound; what is called earlier is not counted.
            std::thread::sleep(std::time::Duration::from_millis(1_500));
            call_getppid(12_345);
            answer.join().unwrap()
        });
        let wanted = format!("{pid}|12345|24690");
        assert_eq!(answer.replace(',', "|"), wanted);
    }
    let refused = server.psql_error("SELECT comm, count(*) FROM tp_btf.sched_switch GROUP BY 1");
    assert!(refused.contains("0A000") && refused.contains("time < now()"), "{refused}");
}
