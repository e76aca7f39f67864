//! The probe `security_exec`: makes its events happen and finds exactly those rows through psql.

use std::fs::{self, Permissions};
use std::io::Write;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::support::Server;

/// `nobody`, who has no rights of root.
const NOBODY: u32 = 65_534;

#[test]
fn kernel_security_exec_shows_programs_that_give_rights() {
    let Some(server) = Server::with_probes("") else { return };
    let directory = tempfile::tempdir().unwrap();
    // The directory of a temporary directory is its owner's alone.
    fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
    let program = directory.path().join("give-rights");
    fs::copy("/bin/true", &program).unwrap();
    let start = |mode: u32| {
        fs::set_permissions(&program, Permissions::from_mode(mode)).unwrap();
        let mut child = Command::new(&program).uid(NOBODY).gid(NOBODY).spawn().unwrap();
        assert!(child.wait().unwrap().success());
        child.id()
    };
    let (gives, gives_not) = (start(0o4755), start(0o755));
    let columns = "filename, uid, effective_uid, effective_gid, gains_rights, nameless";
    server.wait_for(
        &format!("SELECT pid, {columns} FROM security_exec WHERE pid IN ({gives}, {gives_not})"),
        &format!("{gives}|{}|{NOBODY}|0|{NOBODY}|t|f", program.display()),
    );
}

#[test]
fn kernel_security_exec_shows_programs_without_a_name() {
    let Some(server) = Server::with_probes("") else { return };
    // SAFETY: the name ends with a zero and lives through the call.
    let descriptor = unsafe { libc::memfd_create(c"nameless".as_ptr(), 0) };
    assert!(descriptor >= 0, "{}", std::io::Error::last_os_error());
    // SAFETY: the descriptor was just made, and nobody else has it.
    let mut file = unsafe { fs::File::from_raw_fd(descriptor) };
    file.write_all(&fs::read("/bin/true").unwrap()).unwrap();
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let mut child = Command::new(&path).spawn().unwrap();
    assert!(child.wait().unwrap().success());
    server.wait_for(
        &format!("SELECT filename, gains_rights, nameless FROM security_exec WHERE pid = {}", child.id()),
        &format!("{path}|f|t"),
    );
}
