//! The processes of this host and what we know of them, for a while after they ended too.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::node::cgroups::Cgroups;
use crate::node::clock::{boot_unix_ns, clock_ticks_per_second, unix_now_ns};
use crate::node::cmdline::CmdlineSetting;
use crate::node::container::container_id_of_lines;
use crate::node::procfs::{ProcFacts, Procfs};

/// Processes kept, alive or ended. When full the ones that ended first go; a new one is not kept when all are alive,
/// and `/proc` answers for it.
pub const PROCESSES_MAX: usize = 65_536;

/// Ended processes kept; the one that ended first goes.
pub const EXITED_MAX: usize = 16_384;

/// How long an ended process is kept.
pub const EXITED_KEPT: Duration = Duration::from_secs(60);

/// Ids that are remembered as unknown, so that `/proc` is not asked again; when full all are forgotten.
pub const UNKNOWN_MAX: usize = 4096;

/// How long an id stays unknown: it may come again.
pub const UNKNOWN_KEPT: Duration = Duration::from_secs(1);

/// Processes read from `/proc` in a second because somebody asked; above it the answer is NULL. A read takes some 50 µs,
/// so this is at most five percent of a core.
pub const READS_PER_SECOND_MAX: u32 = 1000;

/// The least time between two walks of `/proc`.
pub const REFRESH_INTERVAL: Duration = Duration::from_secs(1);

/// A process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// The thread group's id in the host's namespace.
    pub pid: i32,
    /// The parent's when it was last seen.
    pub ppid: i32,
    /// When it was started, clock ticks since boot: with boot and pid what tells it from any other process.
    pub start_ticks: u64,
    /// The name of its first thread.
    pub comm: Arc<str>,
    /// Path of the executable.
    pub exe: Option<Arc<str>>,
    /// Arguments, as the setting shows them.
    pub cmdline: Option<Arc<str>>,
    /// Real user when it was last seen.
    pub uid: u32,
    /// Real group when it was last seen.
    pub gid: u32,
    /// Its cgroup in the unified hierarchy.
    pub cgroup_id: Option<u64>,
    /// Its container.
    pub container_id: Option<Arc<str>>,
    /// When it ended, Unix nanoseconds.
    pub exited_unix_ns: Option<i64>,
}

/// A process has become another program.
#[derive(Clone, Debug)]
pub struct ExecEvent {
    /// The process.
    pub pid: i32,
    /// Its parent.
    pub ppid: i32,
    /// When the process was started, nanoseconds since boot.
    pub start_boottime_ns: u64,
    /// Its new name.
    pub comm: Arc<str>,
    /// The file as it was given to the kernel: perhaps relative, perhaps a script.
    pub filename: Option<Arc<str>>,
    /// The arguments the kernel saw, each ended by NUL; `None` when they were not captured.
    pub arguments: Option<Vec<u8>>,
    /// Real user.
    pub uid: u32,
    /// Real group.
    pub gid: u32,
    /// Its cgroup.
    pub cgroup_id: u64,
}

/// A process has made another one.
#[derive(Clone, Copy, Debug)]
pub struct ForkEvent {
    /// The parent.
    pub ppid: i32,
    /// The new process.
    pub pid: i32,
    /// When it was started, nanoseconds since boot.
    pub start_boottime_ns: u64,
}

/// A process has ended.
#[derive(Clone, Copy, Debug)]
pub struct ExitEvent {
    /// The process.
    pub pid: i32,
    /// When it was started, nanoseconds since boot.
    pub start_boottime_ns: u64,
    /// When it ended, Unix nanoseconds.
    pub unix_ns: i64,
}

/// The table of processes. Cheap to ask from any thread; never waits for more than one process's files in `/proc`.
pub struct Processes {
    procfs: Procfs,
    cgroups: Cgroups,
    boot_id: u128,
    /// The unit of a process's start in `/proc`.
    tick_ns: u64,
    /// When this host was booted, read once so that a process's start is the same whenever it is shown.
    boot_unix_ns: i64,
    cmdline: CmdlineSetting,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    processes: HashMap<i32, Process>,
    /// (pid, start) in the order they ended; one that is no longer in the map is passed over.
    exited: VecDeque<(i32, u64)>,
    unknown: HashMap<i32, Instant>,
    reads: Reads,
    refreshed: Option<Instant>,
}

/// Reads of `/proc` in the second that runs.
#[derive(Default)]
struct Reads {
    second: Option<Instant>,
    count: u32,
}

impl Processes {
    /// The processes of this host, seeded from `/proc`.
    pub fn of_host(cmdline: CmdlineSetting) -> Processes {
        Processes::new(Procfs::of_host(), cmdline)
    }

    /// The processes of a mounted `/proc`, seeded from it.
    pub fn new(procfs: Procfs, cmdline: CmdlineSetting) -> Processes {
        let cgroups = Cgroups::new(procfs.cgroup2_mount().ok().flatten().as_deref());
        let processes = Processes {
            // Without the file every boot looks alike, and an id still tells processes of one boot apart.
            boot_id: procfs.boot_id().unwrap_or(0),
            tick_ns: 1_000_000_000 / clock_ticks_per_second(),
            boot_unix_ns: boot_unix_ns(),
            cgroups,
            procfs,
            cmdline,
            state: Mutex::default(),
        };
        processes.refresh();
        processes
    }

    /// The process with this id, or the last one that had it. On a miss `/proc` is asked once, within
    /// [`READS_PER_SECOND_MAX`].
    pub fn get(&self, pid: i32) -> Option<Process> {
        let now = Instant::now();
        {
            let mut state = self.state.lock();
            if let Some(process) = state.processes.get(&pid) {
                return Some(process.clone());
            }
            let is_unknown = state.unknown.get(&pid).is_some_and(|since| now - *since < UNKNOWN_KEPT);
            if pid <= 0 || is_unknown || !state.reads.take(now) {
                return None;
            }
        }
        match self.procfs.facts(pid) {
            Ok(facts) => {
                let process = self.process(facts);
                let mut state = self.state.lock();
                // An event may have told us meanwhile; what the kernel said is newer.
                if let Some(told) = state.processes.get(&pid) {
                    return Some(told.clone());
                }
                state.insert(process.clone());
                Some(process)
            }
            Err(_) => {
                let mut state = self.state.lock();
                if state.unknown.len() >= UNKNOWN_MAX {
                    state.unknown.clear();
                }
                state.unknown.insert(pid, now);
                None
            }
        }
    }

    /// One fact of the process with this id, without copying the rest.
    pub fn fact<T>(&self, pid: i32, read: impl Fn(&Process) -> Option<T>) -> Option<T> {
        if let Some(process) = self.state.lock().processes.get(&pid) {
            return read(process);
        }
        read(&self.get(pid)?)
    }

    /// The container of a cgroup.
    pub fn container(&self, cgroup_id: u64) -> Option<Arc<str>> {
        self.cgroups.container(cgroup_id)
    }

    /// A number that no other process of this or any other boot has: a hash of boot, pid and start, not negative.
    ///
    /// The start counts in clock ticks, because `/proc` tells no more; an id does not come again within one.
    pub fn upid(&self, pid: i32, start_boottime_ns: u64) -> i64 {
        self.upid_of_ticks(pid, self.ticks(start_boottime_ns))
    }

    fn upid_of_ticks(&self, pid: i32, start_ticks: u64) -> i64 {
        let words = [self.boot_id as u64, (self.boot_id >> 64) as u64, pid as u64, start_ticks];
        (words.into_iter().fold(0, |hash, word| mix(hash ^ word)) >> 1) as i64
    }

    fn ticks(&self, boottime_ns: u64) -> u64 {
        boottime_ns / self.tick_ns
    }

    /// A process has become another program. Its executable is looked up while it lives.
    pub fn on_exec(&self, event: ExecEvent) {
        let ExecEvent { pid, ppid, start_boottime_ns, comm, filename, arguments, uid, gid, cgroup_id } = event;
        // When the process is gone already, the name it was called by is the best there is.
        let exe = self.procfs.exe(pid).map(Arc::from).or(filename);
        let arguments = arguments.unwrap_or_else(|| self.procfs.arguments(pid));
        let mut state = self.state.lock();
        let inherited = state.processes.get(&pid).filter(|known| known.cgroup_id == Some(cgroup_id));
        let container_id = match inherited {
            Some(known) => known.container_id.clone(),
            None => self.cgroups.container(cgroup_id),
        };
        state.insert(Process {
            pid,
            ppid,
            start_ticks: self.ticks(start_boottime_ns),
            comm,
            exe,
            cmdline: self.cmdline.text(&arguments),
            uid,
            gid,
            cgroup_id: Some(cgroup_id),
            container_id,
            exited_unix_ns: None,
        });
    }

    /// A process has made another one, which is like it until it becomes another program.
    pub fn on_fork(&self, event: ForkEvent) {
        let ForkEvent { ppid, pid, start_boottime_ns } = event;
        let start_ticks = self.ticks(start_boottime_ns);
        let mut state = self.state.lock();
        if state.processes.get(&pid).is_some_and(|known| known.start_ticks == start_ticks) {
            return; // Its own exec was told first, from another CPU.
        }
        let Some(parent) = state.processes.get(&ppid) else {
            return;
        };
        let child = Process { pid, ppid, start_ticks, exited_unix_ns: None, ..parent.clone() };
        state.insert(child);
    }

    /// A process has ended; what is known of it is kept for [`EXITED_KEPT`].
    pub fn on_exit(&self, event: ExitEvent) {
        let start_ticks = self.ticks(event.start_boottime_ns);
        let mut state = self.state.lock();
        state.exit(event.pid, start_ticks, event.unix_ns);
        state.forget_exited(event.unix_ns);
    }

    /// Brings the table in line with `/proc`: what came without our being told, and what ended.
    ///
    /// Walks `/proc` at most once in [`REFRESH_INTERVAL`].
    pub fn refresh(&self) {
        let now = Instant::now();
        let known: HashMap<i32, u64> = {
            let mut state = self.state.lock();
            if state.refreshed.is_some_and(|refreshed| now - refreshed < REFRESH_INTERVAL) {
                return;
            }
            state.refreshed = Some(now);
            let alive = state.processes.values().filter(|process| process.exited_unix_ns.is_none());
            alive.map(|process| (process.pid, process.start_ticks)).collect()
        };
        let Ok(pids) = self.procfs.pids() else {
            return;
        };
        for &pid in &pids {
            let Ok((comm, start_ticks)) = self.procfs.comm_and_start(pid) else {
                continue;
            };
            if known.get(&pid) == Some(&start_ticks) {
                self.state.lock().rename(pid, start_ticks, &comm);
            } else if let Ok(facts) = self.procfs.facts(pid) {
                let process = self.process(facts);
                self.state.lock().insert_if_new(process);
            }
        }
        let present: HashSet<i32> = pids.into_iter().collect();
        let unix_ns = unix_now_ns();
        let mut state = self.state.lock();
        // Only what was known before the walk: a process that came since is in nobody's list.
        for (pid, start_ticks) in known.into_iter().filter(|(pid, _)| !present.contains(pid)) {
            state.exit(pid, start_ticks, unix_ns);
        }
        state.forget_exited(unix_ns);
    }

    /// Every process kept, with its [`Processes::upid`] and start in Unix nanoseconds, by pid.
    pub fn list(&self) -> Vec<(Process, i64, i64)> {
        let mut processes: Vec<Process> = self.state.lock().processes.values().cloned().collect();
        processes.sort_unstable_by_key(|process| process.pid);
        processes
            .into_iter()
            .map(|process| {
                let upid = self.upid_of_ticks(process.pid, process.start_ticks);
                let started_unix_ns = self.boot_unix_ns + (process.start_ticks * self.tick_ns) as i64;
                (process, upid, started_unix_ns)
            })
            .collect()
    }

    fn process(&self, facts: ProcFacts) -> Process {
        let ProcFacts { pid, ppid, start_ticks, comm, exe, arguments, uid, gid, cgroup_lines } = facts;
        Process {
            pid,
            ppid,
            start_ticks,
            comm: comm.into(),
            exe: exe.map(Arc::from),
            cmdline: self.cmdline.text(&arguments),
            uid,
            gid,
            cgroup_id: self.cgroups.id_of_lines(&cgroup_lines),
            container_id: container_id_of_lines(&cgroup_lines).map(Arc::from),
            exited_unix_ns: None,
        }
    }
}

impl State {
    fn insert(&mut self, process: Process) {
        self.unknown.remove(&process.pid);
        if self.processes.len() >= PROCESSES_MAX && !self.processes.contains_key(&process.pid) {
            while self.processes.len() >= PROCESSES_MAX {
                if !self.forget_first_exited() {
                    return;
                }
            }
        }
        self.processes.insert(process.pid, process);
    }

    fn insert_if_new(&mut self, process: Process) {
        let known = self.processes.get(&process.pid);
        // What ended while `/proc` was walked is not brought back to life.
        if known.is_none_or(|known| known.start_ticks != process.start_ticks) {
            self.insert(process);
        }
    }

    fn rename(&mut self, pid: i32, start_ticks: u64, comm: &str) {
        if let Some(process) = self.processes.get_mut(&pid)
            && process.start_ticks == start_ticks
            && &*process.comm != comm
        {
            process.comm = comm.into();
        }
    }

    fn exit(&mut self, pid: i32, start_ticks: u64, unix_ns: i64) {
        let Some(process) = self.processes.get_mut(&pid) else {
            return;
        };
        if process.start_ticks != start_ticks || process.exited_unix_ns.is_some() {
            return;
        }
        process.exited_unix_ns = Some(unix_ns);
        self.exited.push_back((pid, start_ticks));
        while self.exited.len() > EXITED_MAX {
            self.forget_first_exited();
        }
    }

    fn forget_exited(&mut self, unix_ns: i64) {
        let kept_ns = EXITED_KEPT.as_nanos() as i64;
        while let Some(&(pid, start_ticks)) = self.exited.front() {
            let process = self.processes.get(&pid).filter(|process| process.start_ticks == start_ticks);
            let exited = process.and_then(|process| process.exited_unix_ns);
            if exited.is_some_and(|exited_unix_ns| unix_ns - exited_unix_ns < kept_ns) {
                return;
            }
            self.forget_first_exited();
        }
    }

    /// Forgets the process that ended first; false when none has ended.
    fn forget_first_exited(&mut self) -> bool {
        let Some((pid, start_ticks)) = self.exited.pop_front() else {
            return false;
        };
        let is_same = |process: &Process| process.start_ticks == start_ticks && process.exited_unix_ns.is_some();
        if self.processes.get(&pid).is_some_and(is_same) {
            self.processes.remove(&pid);
        }
        true
    }
}

impl Reads {
    /// Takes one read from this second's; false when none is left.
    fn take(&mut self, now: Instant) -> bool {
        if self.second.is_none_or(|second| now - second >= Duration::from_secs(1)) {
            *self = Reads { second: Some(now), count: 0 };
        }
        self.count += 1;
        self.count <= READS_PER_SECOND_MAX
    }
}

/// The finishing step of splitmix64: a one-to-one mapping in which every bit of the input reaches every bit of the output.
fn mix(word: u64) -> u64 {
    let word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests;
