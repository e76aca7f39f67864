//! The probe `process_exec`: makes its event happen and finds exactly that row through psql.

use std::process::Command;

use crate::support::Server;

#[test]
fn kernel_process_exec_shows_the_program_that_was_started() {
    let Some(server) = Server::with_probes("") else { return };
    // It lives a moment: a command line is read from /proc, where that of a process which has ended is gone.
    let script = ["-c", "sleep 1", "first", "--password=hunter2"];
    let mut child = Command::new("/bin/sh").args(script).spawn().unwrap();
    let pid = child.id();
    let us = std::process::id();
    server.wait_for(
        &format!("SELECT filename, ppid, comm, cmdline LIKE '/bin/sh -c %first%' FROM process_exec WHERE pid = {pid}"),
        &format!("/bin/sh|{us}|sh|t"),
    );
    child.wait().unwrap();
    let cmdline = server.psql(&format!("SELECT cmdline FROM process_exec WHERE pid = {pid}"));
    assert!(!cmdline.contains("hunter2"), "a secret of the command line is shown: {cmdline}");
}
