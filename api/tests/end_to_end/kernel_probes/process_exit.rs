//! The probe `process_exit`: makes its event happen and finds exactly that row through psql.

use std::process::Command;

use crate::support::Server;

#[test]
fn kernel_process_exit_shows_the_code_a_process_ended_with() {
    let Some(server) = Server::with_probes("") else { return };
    let mut child = Command::new("/bin/sh").args(["-c", "exit 7"]).spawn().unwrap();
    let pid = child.id();
    child.wait().unwrap();
    server.wait_for(
        &format!("SELECT exit_code, comm, ppid FROM process_exit WHERE pid = {pid}"),
        &format!("7|sh|{}", std::process::id()),
    );
}

#[test]
fn kernel_process_exit_counts_a_thousand_short_lives_exactly() {
    let Some(server) = Server::with_probes("") else { return };
    // A name of our own, so that nobody else's processes are counted.
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("pp_short_life");
    std::os::unix::fs::symlink("/bin/true", &program).unwrap();
    for _ in 0..1_000 {
        Command::new(&program).status().unwrap();
    }
    server
        .wait_for("SELECT count(*), count(DISTINCT upid) FROM process_exit WHERE comm = 'pp_short_life'", "1000|1000");
    let execs = "SELECT count(*), count(DISTINCT upid) FROM process_exec WHERE comm = 'pp_short_life'";
    assert_eq!(server.psql(execs), "1000|1000");
}
