//! Cgroups of the test's own, so that it knows all that happens in them.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// A cgroup (version 2); it goes with the value, when its processes are gone.
pub struct Cgroup(PathBuf);

impl Cgroup {
    /// A new one; `None`, with the reason printed, where that is not possible.
    pub fn create(name: &str) -> Option<Cgroup> {
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        let mount = mounts.lines().find_map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            (words[2] == "cgroup2").then(|| PathBuf::from(words[1]))
        });
        let path = mount.map(|mount| mount.join(format!("pp-test-{name}-{}", std::process::id())));
        match path.map(|path| (std::fs::create_dir(&path), path)) {
            Some((Ok(()), path)) => Some(Cgroup(path)),
            other => {
                println!("skipped: needs a hierarchy of cgroups of version 2 to write to ({other:?})");
                None
            }
        }
    }

    /// Its id: the number of its directory.
    pub fn id(&self) -> u64 {
        std::fs::metadata(&self.0).unwrap().ino()
    }

    /// Moves a process into it.
    pub fn take(&self, pid: u32) {
        std::fs::write(self.0.join("cgroup.procs"), pid.to_string()).unwrap();
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        std::fs::remove_dir(&self.0).ok();
    }
}
