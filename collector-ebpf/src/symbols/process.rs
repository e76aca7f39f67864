//! What is mapped where in a process, from `/proc/PID/maps`, and the functions of those files.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::elf::Functions;

/// Processes whose mappings are kept.
const PROCESSES_MAX: usize = 1_024;

/// Mappings are read again when they are so old: a pid may have come again.
const AGE_MAX: Duration = Duration::from_secs(10);

/// They are read again at most so often when an address is in none of them: a library was loaded.
const AGE_LEAST: Duration = Duration::from_secs(1);

/// Bytes of a process's list of mappings that are read.
const MAPS_BYTES_MAX: u64 = 4 << 20;

/// Files whose functions are kept, and functions of all of them together; when there are more, all are forgotten.
const FILES_MAX: usize = 256;
const FUNCTIONS_MAX: usize = 4_000_000;

/// A file, whatever it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct FileKey {
    inode: u64,
    /// As the list of mappings writes it.
    device: [u32; 2],
}

/// Memory of a process that is run.
#[derive(Debug)]
struct Mapping {
    start: u64,
    end: u64,
    /// Where in the file it begins.
    offset: u64,
    key: FileKey,
    path: String,
}

/// The mappings of a process, by address.
#[derive(Debug)]
pub struct Process {
    pid: i32,
    mappings: Vec<Mapping>,
}

/// Where an address of a process is.
#[derive(Debug)]
pub struct Place<'a> {
    pid: i32,
    mapping: &'a Mapping,
    /// In the file.
    pub offset: u64,
}

struct Kept {
    process: Arc<Process>,
    read_at: Instant,
}

static PROCESSES: LazyLock<Mutex<HashMap<i32, Kept>>> = LazyLock::new(Mutex::default);

/// Functions of files; `None` where a file has none that we can read.
static FILES: LazyLock<Mutex<HashMap<FileKey, Option<Arc<Functions>>>>> = LazyLock::new(Mutex::default);

/// The process as it is, or as it was when it ended a moment ago; `None` when it was never looked at.
pub fn of(pid: i32, addresses: &[u64]) -> Option<Arc<Process>> {
    let mut processes = PROCESSES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(kept) = processes.get(&pid) {
        let age = kept.read_at.elapsed();
        let has_all = || addresses.iter().all(|address| kept.process.find(*address).is_some());
        if age < AGE_LEAST || (age < AGE_MAX && has_all()) {
            return Some(Arc::clone(&kept.process));
        }
    }
    match Process::read(pid) {
        Some(process) => {
            if processes.len() >= PROCESSES_MAX {
                processes.retain(|_, kept| kept.read_at.elapsed() < AGE_MAX);
            }
            if processes.len() >= PROCESSES_MAX {
                processes.clear();
            }
            let process = Arc::new(process);
            processes.insert(pid, Kept { process: Arc::clone(&process), read_at: Instant::now() });
            Some(process)
        }
        None => processes.get(&pid).map(|kept| Arc::clone(&kept.process)),
    }
}

impl Process {
    fn read(pid: i32) -> Option<Process> {
        let mut text = Vec::new();
        File::open(format!("/proc/{pid}/maps")).ok()?.take(MAPS_BYTES_MAX).read_to_end(&mut text).ok()?;
        let mappings: Vec<Mapping> = String::from_utf8_lossy(&text).lines().filter_map(mapping).collect();
        // One that ends has none left.
        (!mappings.is_empty()).then_some(Process { pid, mappings })
    }

    /// Where the address is; `None` where nothing is run.
    pub fn find(&self, address: u64) -> Option<Place<'_>> {
        let behind = self.mappings.partition_point(|mapping| mapping.start <= address);
        let mapping = self.mappings.get(behind.checked_sub(1)?).filter(|mapping| address < mapping.end)?;
        Some(Place { pid: self.pid, mapping, offset: address - mapping.start + mapping.offset })
    }
}

/// `7f01-7f02 r-xp 00001000 fd:01 1234   /usr/lib/libc.so.6`; `None` for memory that is not run or is no file.
fn mapping(line: &str) -> Option<Mapping> {
    let mut rest = line;
    let mut word = || {
        let (word, behind) = rest.trim_start().split_once(' ').unwrap_or((rest.trim_start(), ""));
        rest = behind;
        word
    };
    let hex = |text: &str| u64::from_str_radix(text, 16).ok();
    let (start, end) = word().split_once('-')?;
    let (start, end) = (hex(start)?, hex(end)?);
    if word().as_bytes().get(2) != Some(&b'x') {
        return None;
    }
    let offset = hex(word())?;
    let (major, minor) = word().split_once(':')?;
    let device = [u32::from_str_radix(major, 16).ok()?, u32::from_str_radix(minor, 16).ok()?];
    let inode = word().parse().ok()?;
    let path = rest.trim_start();
    let path = path.strip_suffix(" (deleted)").unwrap_or(path).to_owned();
    (!path.is_empty()).then_some(Mapping { start, end, offset, key: FileKey { inode, device }, path })
}

impl Place<'_> {
    /// The file's name without its directories; `[vdso]` is what the kernel maps itself.
    pub fn file(&self) -> &str {
        Path::new(&self.mapping.path).file_name().and_then(|name| name.to_str()).unwrap_or(&self.mapping.path)
    }

    /// The function's name.
    pub fn function(&self) -> Option<Arc<str>> {
        self.functions()?.name(self.offset, || self.open())
    }

    /// The file that is mapped. The process may see other directories than we do; and another file may have its name by now.
    fn open(&self) -> Option<File> {
        let Mapping { key, path, .. } = self.mapping;
        let place = format!("/proc/{}/root{path}", self.pid);
        // A pipe of that name must not hold us up.
        let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(place).ok()?;
        file.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.ino() == key.inode).then_some(file)
    }

    fn functions(&self) -> Option<Arc<Functions>> {
        let key = &self.mapping.key;
        if key.inode == 0 {
            return None;
        }
        if let Some(known) = FILES.lock().unwrap_or_else(PoisonError::into_inner).get(key) {
            return known.clone();
        }
        // Without the lock: a large file takes a while.
        let functions = Functions::read(&self.open()?).ok().map(Arc::new);
        let mut files = FILES.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = files.values().flatten().map(|functions| functions.len()).sum::<usize>();
        if files.len() >= FILES_MAX || kept + functions.as_ref().map_or(0, |functions| functions.len()) > FUNCTIONS_MAX
        {
            files.clear();
        }
        files.insert(*key, functions.clone());
        functions
    }
}

#[cfg(test)]
mod tests {
    use super::mapping;

    #[test]
    fn only_files_that_are_run_are_places() {
        let line = "7f5ad-7f6bc r-xp 00026000 fd:01 54321                     /usr/lib/my lib.so (deleted)";
        let found = mapping(line).unwrap();
        assert_eq!((found.start, found.end, found.offset), (0x7f5ad, 0x7f6bc, 0x26000));
        assert_eq!((found.key.inode, found.key.device, found.path.as_str()), (54321, [0xfd, 1], "/usr/lib/my lib.so"));
        assert_eq!(mapping("7ffd0-7ffd2 r-xp 00000000 00:00 0    [vdso]").unwrap().path, "[vdso]");
        for none in [
            "7f5ad-7f6bc rw-p 00026000 fd:01 54321   /usr/lib/libc.so.6",
            "7f5ad-7f6bc rwxp 00000000 00:00 0 ",
            "7f5ad r-xp 0 0:0 0 /x",
            "x-y r-xp 0 0:0 0 /x",
            "",
        ] {
            assert!(mapping(none).is_none(), "{none}");
        }
    }
}
