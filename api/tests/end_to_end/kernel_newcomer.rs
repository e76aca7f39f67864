//! What the README shows a newcomer in psql, line by line.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::support::Server;

/// Starts a program that ends at once, and returns its process id.
fn run_true() -> u32 {
    let mut child = Command::new("/bin/true").spawn().unwrap();
    let pid = child.id();
    child.wait().unwrap();
    pid
}

#[test]
fn kernel_a_probe_from_its_creation_to_its_end() {
    let Some(server) = Server::with_probes("") else { return };
    let tables = server.psql("\\dt");
    for probe in ["process_exec", "process_exit", "signal", "oom_kill", "tcp_flow", "block_latency"] {
        assert!(tables.contains(&format!("public|{probe}|table|")), "{probe} is not in:\n{tables}");
    }
    let processes = server.psql("SELECT pid, comm, exe, container_id FROM system.processes LIMIT 5");
    assert_eq!(processes.lines().count(), 5, "{processes}");

    server.psql(
        "CREATE PROBE etc_reads AS SELECT time, pid, comm, user_string(filename) AS path \
         FROM tracepoint.sys_enter_openat WHERE user_string(filename) LIKE '/etc/%'",
    );
    let mut cat = Command::new("/bin/cat").arg("/etc/hostname").stdout(Stdio::null()).spawn().unwrap();
    let pid = cat.id();
    cat.wait().unwrap();
    server.wait_for(
        &format!(
            "SELECT comm, path, count(*) FROM etc_reads WHERE pid = {pid} AND path = '/etc/hostname' GROUP BY 1, 2"
        ),
        "cat|/etc/hostname|1",
    );
    assert_eq!(server.psql("SELECT count(*) FROM etc_reads WHERE path NOT LIKE '/etc/%'"), "0");
    assert!(server.psql("SHOW PROBES").lines().any(|line| line.starts_with("etc_reads|running|")));
    let explained = server.psql("EXPLAIN PROBE etc_reads");
    assert!(explained.contains("sys_enter_openat") && explained.contains("kernel"), "{explained}");
    let described = server.psql("\\d etc_reads");
    for column in
        ["time|timestamp with time zone|", "node|text|", "upid|bigint|", "pid|integer|", "comm|text|", "path|text|"]
    {
        assert!(described.lines().any(|line| line.starts_with(column)), "{column} is not in:\n{described}");
    }
    let complaint = server.psql_error("CREATE PROBE etc_reads AS SELECT pid FROM tracepoint.sched_process_exec");
    assert!(complaint.contains("42P07"), "{complaint}");
    server.psql("DROP PROBE etc_reads WITH DATA");
    let complaint = server.psql_error("SELECT * FROM etc_reads");
    assert!(complaint.contains("42P01"), "{complaint}");
}

#[test]
fn kernel_a_select_on_a_hook_ends_after_its_limit_and_leaves_nothing() {
    let Some(server) = Server::with_probes("") else { return };
    let mut psql = server.psql_command();
    let psql = psql.args(["-c", "SELECT comm, filename FROM tracepoint.sched_process_exec LIMIT 3"]);
    let mut psql = psql.stdout(Stdio::piped()).spawn().unwrap();
    // Events go on until it has its three; psql itself is none of them, it began before.
    while psql.try_wait().unwrap().is_none() {
        run_true();
    }
    let output = psql.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 3);
    assert_eq!(server.psql("SELECT count(*) FROM system.probes WHERE origin <> 'builtin'"), "0");
}

#[test]
fn kernel_a_live_copy_sends_each_row_as_it_comes_and_ends_when_it_is_cancelled() {
    let Some(server) = Server::with_probes("") else { return };
    // Into a pipe psql writes whole buffers; stdbuf makes that lines, as on a terminal.
    let mut psql = Command::new("stdbuf")
        .args(["-oL", "psql", "-X", "-q", &server.url(), "-c"])
        .arg("COPY (SELECT pid, filename FROM tracepoint.sched_process_exec) TO STDOUT")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut rows = BufReader::new(psql.stdout.take().unwrap()).lines();
    let reader = std::thread::spawn(move || {
        let first = rows.next().unwrap().unwrap();
        (first, rows)
    });
    // The first one says that it is attached; what is started after it must be the next ones.
    while !reader.is_finished() {
        run_true();
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let (first, mut rows) = reader.join().unwrap();
    assert!(first.contains('\t'), "{first}");
    let pid = run_true();
    let came = rows.by_ref().map_while(Result::ok).any(|row| row == format!("{pid}\t/bin/true"));
    assert!(came, "the row of process {pid} did not come while the statement ran");

    let id = i32::try_from(psql.id()).unwrap();
    // SAFETY: kill takes two numbers and touches no memory of ours; the child is not yet waited for, so the id is its.
    unsafe { libc::kill(id, libc::SIGINT) };
    let ended = psql.wait_with_output().unwrap();
    assert!(!ended.status.success());
    let complaint = String::from_utf8_lossy(&ended.stderr);
    assert!(complaint.contains("canceling statement due to user request"), "{complaint}");
}
