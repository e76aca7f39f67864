//! The probe `process_fork`: makes its event happen and finds exactly that row through psql.

use std::process::Command;

use crate::support::Server;

#[test]
fn kernel_process_fork_shows_parent_and_child() {
    let Some(server) = Server::with_probes("ALTER PROBE process_fork ENABLE") else { return };
    let mut child = Command::new("/bin/true").spawn().unwrap();
    let child_pid = child.id();
    child.wait().unwrap();
    let us = std::process::id();
    server.wait_for(
        &format!("SELECT pid, child_pid FROM process_fork WHERE child_pid = {child_pid}"),
        &format!("{us}|{child_pid}"),
    );
}
