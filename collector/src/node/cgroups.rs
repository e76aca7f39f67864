//! From the kernel's cgroup id to the container: the id is the inode of a directory of the unified hierarchy.

use std::collections::HashMap;
use std::fs::{self, File};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::node::container::container_id;

/// Cgroups whose container is remembered. Ids are never used again, so when the cache is full it starts anew.
pub const CGROUPS_MAX: usize = 8192;

/// The kind of file handle that holds a kernfs id, from the kernel's `exportfs.h`.
const FILEID_KERNFS: libc::c_int = 0xfe;

/// The unified hierarchy and the containers found in it.
#[derive(Debug, Default)]
pub struct Cgroups {
    mount: Option<(PathBuf, File)>,
    containers: Mutex<HashMap<u64, Option<Arc<str>>>>,
}

/// `struct file_handle` with room for one kernfs id.
#[repr(C)]
struct FileHandle {
    handle_bytes: u32,
    handle_type: libc::c_int,
    id: [u8; 8],
}

impl Cgroups {
    /// The hierarchy mounted at `mount`; without one nothing is found.
    pub fn new(mount: Option<&Path>) -> Cgroups {
        let mount = mount.and_then(|path| Some((path.to_owned(), File::open(path).ok()?)));
        Cgroups { mount, containers: Mutex::default() }
    }

    /// The id of the cgroup in a line `0::/path` of `/proc/PID/cgroup`.
    pub fn id_of_lines(&self, cgroup_lines: &str) -> Option<u64> {
        let (mount, _) = self.mount.as_ref()?;
        let path = cgroup_lines.lines().find_map(|line| line.strip_prefix("0::/"))?;
        fs::metadata(mount.join(path)).ok().map(|directory| directory.ino())
    }

    /// The container of a cgroup. `None` when it belongs to none, when the cgroup is gone, or without the right to open
    /// it by its id (CAP_DAC_READ_SEARCH); either answer is remembered.
    pub fn container(&self, cgroup_id: u64) -> Option<Arc<str>> {
        if let Some(known) = self.containers.lock().get(&cgroup_id) {
            return known.clone();
        }
        let container = self.path(cgroup_id).and_then(|path| container_id(&path).map(Arc::from));
        let mut containers = self.containers.lock();
        if containers.len() >= CGROUPS_MAX {
            containers.clear();
        }
        containers.insert(cgroup_id, container.clone());
        container
    }

    /// The path of a cgroup below the mount, found without walking the tree.
    fn path(&self, cgroup_id: u64) -> Option<String> {
        let (mount, directory) = self.mount.as_ref()?;
        let mut handle = FileHandle { handle_bytes: 8, handle_type: FILEID_KERNFS, id: cgroup_id.to_ne_bytes() };
        // SAFETY: the handle lives for the call and says how many bytes follow its header; the descriptor is open.
        let descriptor = unsafe {
            libc::syscall(
                libc::SYS_open_by_handle_at,
                directory.as_raw_fd(),
                &raw mut handle,
                libc::O_PATH | libc::O_CLOEXEC,
            )
        };
        let descriptor = i32::try_from(descriptor).ok().filter(|&descriptor| descriptor >= 0)?;
        // SAFETY: the kernel just gave us this descriptor, and nobody else has it.
        let opened = unsafe { OwnedFd::from_raw_fd(descriptor) };
        let path = fs::read_link(format!("/proc/self/fd/{}", opened.as_raw_fd())).ok()?;
        Some(path.strip_prefix(mount).ok()?.to_string_lossy().into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::procfs::Procfs;

    #[test]
    fn our_own_cgroup_has_an_id_and_its_container_is_remembered() {
        let procfs = Procfs::of_host();
        let Some(mount) = procfs.cgroup2_mount().expect("/proc is readable") else {
            println!("skipped: needs cgroup version 2");
            return;
        };
        let cgroups = Cgroups::new(Some(&mount));
        let lines = procfs.cgroup_lines(std::process::id() as i32).expect("we are alive");
        let id = cgroups.id_of_lines(&lines).expect("we are in a cgroup");
        let path = lines.lines().find_map(|line| line.strip_prefix("0::")).expect("the unified line");
        assert_eq!(cgroups.container(id).as_deref(), container_id(path));
        assert!(cgroups.containers.lock().contains_key(&id));
    }

    #[test]
    fn a_container_s_cgroup_is_found_by_its_id_alone() {
        let id = "ab".repeat(32);
        let Some(mount) = Procfs::of_host().cgroup2_mount().expect("/proc is readable") else {
            println!("skipped: needs cgroup version 2");
            return;
        };
        let directory = mount.join(format!("libpod-{id}.scope"));
        if fs::create_dir(&directory).is_err() {
            println!("skipped: needs root");
            return;
        }
        let cgroups = Cgroups::new(Some(&mount));
        let cgroup_id = fs::metadata(&directory).expect("it was made").ino();
        let found = cgroups.container(cgroup_id);
        fs::remove_dir(&directory).expect("it is empty");
        assert_eq!(found.as_deref(), Some(id.as_str()));
        assert_eq!(Cgroups::new(Some(&mount)).container(cgroup_id), None, "a cgroup that is gone has no container");
    }

    #[test]
    fn without_a_mount_nothing_is_found() {
        let cgroups = Cgroups::new(None);
        assert_eq!(cgroups.id_of_lines("0::/\n"), None);
        assert_eq!(cgroups.container(1), None);
    }
}
