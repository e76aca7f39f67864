//! What a newcomer sees: addresses, the disk cap, psql lines that work as they are pasted, passwords only the owner reads.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::support::{Server, is_root};

/// The psql lines as printed, each from its `psql` on.
fn psql_lines(printed: &str) -> Vec<String> {
    printed.lines().filter_map(|line| line.find("psql ").map(|start| line[start..].trim().to_owned())).collect()
}

/// Pastes a line into a shell, with a question added, as the only user of the terminal would type it.
fn paste(line: &str, sql: &str) -> String {
    let output =
        Command::new("sh").arg("-c").arg(format!("{line} -X -A -t -c '{sql}'")).output().expect("there is a shell");
    assert!(output.status.success(), "{line}\n{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

#[test]
fn the_printed_psql_lines_work_as_they_are_pasted() {
    let server = Server::without_probes();
    let printed = server.printed();
    let lines = psql_lines(&printed);
    let tcp = lines
        .iter()
        .find(|line| line.contains("passfile="))
        .unwrap_or_else(|| panic!("no line for TCP in:\n{printed}"));
    assert_eq!(paste(tcp, "SELECT current_user"), "admin");
    let socket = lines
        .iter()
        .find(|line| !line.contains("passfile="))
        .unwrap_or_else(|| panic!("no line for the socket in:\n{printed}"));
    if is_root() {
        assert_eq!(paste(socket, "SELECT current_user"), "admin");
    }
}

#[test]
fn the_disk_cap_is_printed() {
    let printed = Server::without_probes().printed();
    let words: Vec<&str> = printed.lines().filter(|line| line.contains("disk")).collect();
    assert!(words.iter().any(|line| line.contains("iB") || line.contains("GB")), "no disk cap in:\n{printed}");
}

#[test]
fn passwords_are_readable_by_the_owner_only_and_stay() {
    let directory = tempfile::tempdir().unwrap();
    let first = Server::start(directory.path(), &["--no-probes"]);
    for account in ["admin", "grafana"] {
        let path = directory.path().join(format!("{account}.pgpass"));
        let mode =
            std::fs::metadata(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", path.display());
    }
    let secrets = std::fs::metadata(directory.path().join("control.sqlite")).unwrap().permissions().mode();
    assert_eq!(secrets & 0o077, 0, "the file of accounts is the owner's alone");
    let before = std::fs::read_to_string(directory.path().join("admin.pgpass")).unwrap();
    first.kill();
    let second = Server::start(directory.path(), &["--no-probes"]);
    assert_eq!(std::fs::read_to_string(directory.path().join("admin.pgpass")).unwrap(), before);
    assert_eq!(second.psql("SELECT 1"), "1");
}

#[test]
fn processes_are_there_before_the_first_event() {
    let server = Server::without_probes();
    let pid = std::process::id();
    let comm = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap();
    assert_eq!(server.psql(&format!("SELECT comm FROM system.processes WHERE pid = {pid}")), comm.trim());
}

#[test]
fn a_list_of_hooks_ends_with_its_reader() {
    if !crate::support::is_root() {
        println!("skipped: needs root, to read the kernel's hooks");
        return;
    }
    let mut listing = std::process::Command::new(env!("CARGO_BIN_EXE_probepilot"))
        .args(["hooks", "-v", "*"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    // Far more is written than a pipe holds, and nobody reads it.
    drop(listing.stdout.take());
    let output = listing.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}
