//! The probe `block_slow`: a request that has to wait, found through psql.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::support::{LoopDevice, Server};

/// Bytes of the request.
const BYTES: u64 = 13 * 4096;

/// A mounted file system; it is thawed and unmounted with the value.
struct Mount<'a>(&'a Path);

impl Mount<'_> {
    fn freeze(&self, freeze: bool) -> bool {
        let way = if freeze { "--freeze" } else { "--unfreeze" };
        Command::new("fsfreeze").arg(way).arg(self.0).output().is_ok_and(|output| output.status.success())
    }
}

impl Drop for Mount<'_> {
    fn drop(&mut self) {
        self.freeze(false);
        Command::new("umount").arg(self.0).status().ok();
    }
}

fn runs(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

#[test]
fn kernel_block_slow_shows_the_request_that_waited_and_no_other() {
    let Some(server) = Server::with_probes("") else { return };
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let Some(outer) = LoopDevice::create(&directory.path().join("outer"), 32 << 20) else { return };
    let point = directory.path().join("mounted");
    std::fs::create_dir(&point).unwrap();
    let is_mounted = runs(Command::new("mkfs.ext4").args(["-q", outer.path()]))
        && runs(Command::new("mount").arg(outer.path()).arg(&point));
    if !is_mounted {
        println!("skipped: needs mkfs.ext4 and the right to mount");
        return;
    }
    let mount = Mount(&point);
    // A device whose file lies in a file system that can be stopped.
    let Some(inner) = LoopDevice::create(&point.join("inner"), 8 << 20) else { return };
    assert!(inner.write(50, BYTES).wait().unwrap().success());
    assert!(mount.freeze(true), "an ext4 can be frozen");
    let mut writer = inner.write(1, BYTES);
    std::thread::sleep(Duration::from_millis(400));
    assert!(mount.freeze(false));
    assert!(writer.wait().unwrap().success());
    let ours = format!("FROM block_slow WHERE device_major = 7 AND device_minor = {}", inner.minor());
    server.wait_for(
        &format!(
            "SELECT operation, bytes, failed, issued_by <> '', pid IS NULL, latency_ns BETWEEN 100000000 AND 20000000000 {ours} ORDER BY latency_ns DESC"
        ),
        &format!("write|{BYTES}|f|t|t|t"),
    );
}
