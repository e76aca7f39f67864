//! The probe `syscall_errors`: makes its event happen and finds exactly that row through psql.

use std::process::{Command, Stdio};

use crate::support::Server;

#[test]
fn kernel_syscall_errors_names_the_call_and_the_error() {
    let Some(server) = Server::with_probes("ALTER PROBE syscall_errors ENABLE") else { return };
    let mut child = Command::new("/bin/cat").arg("/no/such/file").stderr(Stdio::null()).spawn().unwrap();
    let pid = child.id();
    child.wait().unwrap();
    server.wait_for(
        &format!("SELECT DISTINCT syscall, error FROM syscall_errors WHERE pid = {pid} AND comm = 'cat' AND syscall = 'openat' AND error = 'ENOENT'"),
        "openat|ENOENT",
    );
}
