//! The disk fills up: ingest pauses, what is lost is counted, queries go on, and it resumes by itself.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{Numbered, Server, may_attach, numbered_probe, wait_until};

/// A small file system of its own; unmounted when the value goes.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path, mib: u32) -> SmallDisk {
        let options = format!("size={mib}m");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(at).status().unwrap();
        assert!(mounted.success(), "root may mount a tmpfs");
        SmallDisk(at.to_owned())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // The server is gone by then: values go in the reverse order of their making.
        Command::new("umount").arg(&self.0).status().ok();
    }
}

#[test]
fn kernel_a_full_disk_pauses_ingest_counts_what_is_lost_and_is_survived() {
    if !may_attach() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let disk = SmallDisk::mount(directory.path(), 96);
    let server = Server::start(&disk.0, &["--max-disk", "64MiB"]);
    server.psql(&numbered_probe());
    let events = Numbered::start(1_000);
    server.wait_for("SELECT count(*) > 200 FROM numbered", "t");

    let ballast = disk.0.join("ballast");
    let filled = Command::new("dd").args(["if=/dev/zero", "bs=1M"]).arg(format!("of={}", ballast.display())).output();
    assert!(!filled.unwrap().status.success(), "dd ends when the disk is full");
    server.wait_for("SELECT rows_lost > 500 FROM system.probes WHERE name = 'numbered'", "t");
    let paused: u64 = server.psql("SELECT count(*) FROM numbered").parse().unwrap();
    assert!(paused > 200, "queries go on");
    wait_until("the pause to be told", || match server.printed() {
        printed if printed.contains("rows are refused") => Ok(()),
        printed => Err(printed),
    });

    std::fs::remove_file(&ballast).unwrap();
    server.wait_for(&format!("SELECT count(*) > {} FROM numbered", paused + 500), "t");
    let made = events.stop();
    let lost = "SELECT coalesce(sum(last), 0) FROM (SELECT max(count) AS last FROM system.probe_loss \
        WHERE probe = 'numbered' AND kind = 'rows' GROUP BY cause)";
    server.wait_for(&format!("SELECT (SELECT count(*) FROM numbered) + ({lost})"), &made.to_string());
    let causes = server.psql("SELECT DISTINCT cause FROM system.probe_loss WHERE probe = 'numbered' AND kind = 'rows'");
    assert!(causes.contains("disk_full"), "{causes}");
    assert_eq!(server.psql("SELECT count(*) - count(DISTINCT number) FROM numbered"), "0");
    let (status, printed, _) = server.terminate();
    assert!(status.success() && !printed.contains("panicked"), "{printed}");
}
