//! The probe `oom_kill`: makes its event happen and finds exactly that row through psql.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::Server;

/// What the victim may have: less than it asks for at once, more than it needs to start.
const LIMIT_BYTES: u64 = 16 << 20;

/// A cgroup with a memory limit; removed when the value goes.
struct SmallGroup(PathBuf);

impl SmallGroup {
    /// Under version 1 or 2 of cgroups; `None`, with the reason printed, when memory cannot be limited here.
    fn create() -> Option<SmallGroup> {
        let name = format!("pp_test_{}", std::process::id());
        for (root, limit) in [("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")] {
            let path = Path::new(root).join(&name);
            if Path::new(root).join("cgroup.procs").exists() && std::fs::create_dir(&path).is_ok() {
                let group = SmallGroup(path);
                if std::fs::write(group.0.join(limit), LIMIT_BYTES.to_string()).is_ok() {
                    // Without swap the limit is one; where there is no such file there is no swap.
                    std::fs::write(group.0.join("memory.swap.max"), "0").ok();
                    return Some(group);
                }
            }
        }
        println!("skipped: needs a cgroup whose memory can be limited");
        None
    }
}

impl Drop for SmallGroup {
    fn drop(&mut self) {
        std::fs::remove_dir(&self.0).ok();
    }
}

#[test]
fn kernel_oom_kill_shows_the_victim() {
    let Some(server) = Server::with_probes("") else { return };
    let Some(group) = SmallGroup::create() else { return };
    let procs = group.0.join("cgroup.procs");
    let mut command = Command::new("/usr/bin/tail");
    command.arg("/dev/zero");
    // SAFETY: between fork and exec only a file is opened and written, with memory that exists already.
    unsafe { command.pre_exec(move || std::fs::write(&procs, "0")) };
    let mut victim = command.spawn().unwrap();
    let pid = victim.id();
    let status = victim.wait().unwrap();
    assert_eq!(
        std::os::unix::process::ExitStatusExt::signal(&status),
        Some(libc::SIGKILL),
        "it was not killed: {status}"
    );
    server.wait_for(
        &format!("SELECT target_pid, target_comm FROM oom_kill WHERE target_pid = {pid}"),
        &format!("{pid}|tail"),
    );
}
