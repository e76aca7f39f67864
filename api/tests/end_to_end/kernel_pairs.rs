//! Joins of two hooks through psql: a stored probe, a live query, a call that is killed.

use std::process::{Command, Stdio};

use crate::support::{Server, wait_until};

#[test]
fn kernel_a_call_is_one_row_with_its_path_its_result_and_its_latency() {
    let probe = "CREATE PROBE opens AS SELECT x.pid, x.comm, user_string(e.filename) AS path, x.ret, e.time AS began,
        x.nsecs - e.nsecs AS latency_ns FROM tracepoint.sys_enter_openat e JOIN tracepoint.sys_exit_openat x ON e.tid = x.tid
        WHERE user_string(e.filename) LIKE '/tmp/pp-pair-%' AND x.comm = 'cat'";
    let Some(server) = Server::with_probes(probe) else { return };
    let file = tempfile::Builder::new().prefix("pp-pair-").tempfile_in("/tmp").unwrap();
    let there = file.path().display().to_string();
    let missing = format!("{there}-missing");
    for path in [&there, &there, &missing] {
        Command::new("/bin/cat").arg(path).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
    }
    server.wait_for(
        "SELECT path, count(*), min(ret) >= 0, min(latency_ns) > 0, bool_and(began < time), max(comm) FROM opens GROUP BY 1 ORDER BY 1",
        &format!("{there}|2|t|t|t|cat\n{missing}|1|f|t|t|cat"),
    );
    let explained = server.psql("EXPLAIN PROBE opens");
    for line in [
        "Start: tracepoint.sys_enter_openat",
        "Pair: on e.tid = x.tid, in task storage",
        "Dropped at: tp_btf.sched_process_exit",
    ] {
        assert!(explained.contains(line), "{line} is not in {explained}");
    }
    let refused = server.psql_error(
        "SELECT x.ret FROM tracepoint.sys_enter_openat e LEFT JOIN tracepoint.sys_exit_openat x ON e.tid = x.tid",
    );
    assert!(refused.contains("0A000") || refused.contains("is not supported"), "{refused}");
    let live = server.psql("SELECT x.ret IS NULL, x.nsecs > e.nsecs FROM tracepoint.sys_enter_read e JOIN tracepoint.sys_exit_read x USING (tid) LIMIT 2");
    assert_eq!(live, "f|t\nf|t");
}

#[test]
fn kernel_a_read_that_is_killed_leaves_nothing() {
    let probe =
        "CREATE PROBE reads AS SELECT x.pid, x.ret, x.nsecs - e.nsecs AS latency_ns FROM tracepoint.sys_enter_read e
        JOIN tracepoint.sys_exit_read x ON e.tid = x.tid WHERE e.comm = 'pp-reader' AND e.fd = 0";
    let Some(server) = Server::with_probes(probe) else { return };
    let directory = tempfile::tempdir().unwrap();
    let reader = directory.path().join("pp-reader");
    std::fs::copy("/bin/cat", &reader).unwrap();
    const READERS: usize = 20;
    let mut readers: Vec<_> = (0..READERS)
        .map(|_| Command::new(&reader).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap())
        .collect();
    for reader in &readers {
        let state = format!("/proc/{}/syscall", reader.id());
        // Blocked in read (number 0) of descriptor 0.
        wait_until("the reader to wait", || match std::fs::read_to_string(&state) {
            Ok(call) if call.starts_with("0 0x0 ") => Ok(()),
            other => Err(format!("{other:?}")),
        });
    }
    // Held open: without a writer the reads would end by themselves.
    let _inputs: Vec<_> = readers.iter_mut().map(|reader| reader.stdin.take()).collect();
    for reader in &mut readers {
        reader.kill().unwrap();
        reader.wait().unwrap();
    }
    // The kernel lets the call return before the process ends: each read is a row, or else a counted loss.
    wait_until("rows and losses to be all reads", || {
        let rows: usize = server.psql("SELECT count(*) FROM reads WHERE ret < 0").parse().expect("a count");
        let lost =
            "SELECT coalesce(max(count), 0) FROM system.probe_loss WHERE probe = 'reads' AND cause = 'unpaired_start'";
        let lost: usize = server.psql(lost).parse().expect("a count");
        if rows + lost == READERS { Ok(()) } else { Err(format!("{rows} rows and {lost} lost")) }
    });
}
