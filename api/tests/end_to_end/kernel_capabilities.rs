//! An ordinary user: what is missing is said in one line, with the `setcap` that makes it work.

use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::Command;

use crate::support::{Server, may_attach};

/// The user `nobody` of every Linux system.
const NOBODY: u32 = 65_534;

/// The server as an ordinary user who has no capability but what the file gives.
fn serve_as_nobody(binary: &Path, data_dir: &Path) -> Server {
    let mut program = Command::new("setpriv");
    program.args([&format!("--reuid={NOBODY}"), &format!("--regid={NOBODY}"), "--clear-groups", "--"]).arg(binary);
    Server::spawn(program, data_dir, &[])
        .unwrap_or_else(|ended| panic!("the server ended: {}\n{}", ended.status, ended.printed))
}

#[test]
fn kernel_the_printed_setcap_is_what_an_ordinary_user_needs() {
    if !may_attach() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let binary = directory.path().join("probepilot");
    std::fs::copy(env!("CARGO_BIN_EXE_probepilot"), &binary).unwrap();
    let data_dir = directory.path().join("data");
    std::fs::create_dir(&data_dir).unwrap();
    chown(&data_dir, Some(NOBODY), Some(NOBODY)).unwrap();

    // Without: one line says what is missing, and everything else is served.
    let without = serve_as_nobody(&binary, &data_dir);
    let printed = without.printed();
    let lines: Vec<&str> = printed.lines().filter(|line| line.contains("setcap ")).collect();
    let [line] = lines.as_slice() else { panic!("not one line with the setcap in:\n{printed}") };
    let setcap = line[line.find("setcap ").unwrap()..].trim_end_matches(['`', '\'', '"', '.']);
    assert!(setcap.contains(binary.to_str().unwrap()), "{line}");
    assert_eq!(without.psql("SELECT count(*) > 0 FROM system.processes"), "t");
    without.kill();

    // With exactly that line: the starter probes run.
    let path = std::env::var("PATH").unwrap_or_default();
    let given =
        Command::new("sh").arg("-c").arg(setcap).env("PATH", format!("{path}:/usr/sbin:/sbin")).output().unwrap();
    assert!(given.status.success(), "{setcap}: {}", String::from_utf8_lossy(&given.stderr));
    let with = serve_as_nobody(&binary, &data_dir);
    assert!(!with.printed().contains("setcap "), "something is still missing:\n{}", with.printed());
    let mut child = Command::new("/bin/true").spawn().unwrap();
    let pid = child.id();
    child.wait().unwrap();
    with.wait_for(&format!("SELECT filename FROM process_exec WHERE pid = {pid}"), "/bin/true");
    // Another user's process, of which the executable is known all the same.
    assert_eq!(with.psql(&format!("SELECT count(exe) FROM system.processes WHERE pid = {}", std::process::id())), "1");
}
