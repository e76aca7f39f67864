//! The probe `file_open`: makes its event happen and finds exactly that row through psql.

use std::process::Command;

use crate::support::Server;

#[test]
fn kernel_file_open_shows_the_path_as_it_was_asked_for() {
    let Some(server) = Server::with_probes("ALTER PROBE file_open ENABLE") else { return };
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("opened here.txt");
    std::fs::write(&path, "x").unwrap();
    let mut child = Command::new("/bin/cat").arg(&path).stdout(std::process::Stdio::null()).spawn().unwrap();
    let pid = child.id();
    child.wait().unwrap();
    let path = path.to_str().unwrap();
    server.wait_for(
        &format!("SELECT comm, path FROM file_open WHERE pid = {pid} AND path = '{path}'"),
        &format!("cat|{path}"),
    );
}
