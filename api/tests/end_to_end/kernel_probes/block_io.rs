//! The probe `block_io`: makes its event happen and finds exactly that row through psql.

use std::process::{Command, Stdio};

use crate::support::Server;

/// Bytes of the one request: a size that nothing else on the machine writes by chance.
const BYTES: u64 = 13 * 4096;

#[test]
fn kernel_block_io_shows_a_request_past_the_page_cache() {
    let Some(server) = Server::with_probes("ALTER PROBE block_io ENABLE") else { return };
    // Beside the build's output: a temporary directory may be memory.
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = directory.path().join("direct");
    let status = Command::new("/bin/dd")
        .args(["if=/dev/zero", &format!("of={}", path.display()), &format!("bs={BYTES}"), "count=1", "oflag=direct"])
        .stderr(Stdio::null())
        .status()
        .unwrap();
    if !status.success() {
        println!("skipped: needs a file system that writes past the page cache");
        return;
    }
    // Completed in an interrupt: nobody is blamed for it.
    server.wait_for(
        &format!(
            "SELECT DISTINCT operation, error, pid IS NULL, latency_ns > 0, issued_by <> '' FROM block_io
             WHERE bytes = {BYTES} AND operation = 'write'"
        ),
        "write||t|t|t",
    );
}
