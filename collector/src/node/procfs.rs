//! Facts of processes as `/proc` has them: the seed of our table, and the answer when the table has none.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::node::cmdline::CMDLINE_BYTES_MAX;

/// Bytes of one file of `/proc/PID` that are read; the files we read are shorter.
const FILE_BYTES_MAX: u64 = 16 * 1024;

/// What `/proc/PID` says about a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcFacts {
    /// The thread group's id.
    pub pid: i32,
    /// The parent's, 0 for the first process and kernel threads' root.
    pub ppid: i32,
    /// When it was started, clock ticks since boot.
    pub start_ticks: u64,
    /// At most 15 bytes, invalid UTF-8 replaced.
    pub comm: String,
    /// The executable; `None` for a kernel thread, or without the right to see it.
    pub exe: Option<String>,
    /// Arguments, each ended by NUL; empty for a kernel thread.
    pub arguments: Vec<u8>,
    /// Real user: what a program in the kernel sees as the current task's.
    pub uid: u32,
    /// Real group.
    pub gid: u32,
    /// The text of `/proc/PID/cgroup`.
    pub cgroup_lines: String,
}

/// A mounted `/proc`.
#[derive(Clone, Debug)]
pub struct Procfs {
    root: PathBuf,
}

impl Procfs {
    /// The `/proc` of this host.
    pub fn of_host() -> Procfs {
        Procfs { root: "/proc".into() }
    }

    /// A `/proc` mounted elsewhere.
    pub fn at(root: impl Into<PathBuf>) -> Procfs {
        Procfs { root: root.into() }
    }

    /// Everything about one process. Not found when it is gone, or when `pid` is a thread and not a process.
    pub fn facts(&self, pid: i32) -> io::Result<ProcFacts> {
        let directory = self.root.join(pid.to_string());
        let stat = read_text(&directory.join("stat"))?;
        let (comm, ppid, start_ticks) = parse_stat(&stat).ok_or_else(|| invalid("stat", pid))?;
        let status = read_text(&directory.join("status"))?;
        let id = |name| status_number(&status, name);
        if id("Tgid:") != Some(pid as u32) {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(ProcFacts {
            pid,
            ppid,
            start_ticks,
            comm: comm.to_owned(),
            exe: self.exe(pid),
            arguments: self.arguments(pid),
            uid: id("Uid:").ok_or_else(|| invalid("status", pid))?,
            gid: id("Gid:").ok_or_else(|| invalid("status", pid))?,
            cgroup_lines: read_text(&directory.join("cgroup")).unwrap_or_default(),
        })
    }

    /// The name and start of a process: the cheap part of [`Procfs::facts`].
    pub fn comm_and_start(&self, pid: i32) -> io::Result<(String, u64)> {
        let stat = read_text(&self.root.join(pid.to_string()).join("stat"))?;
        let (comm, _, start_ticks) = parse_stat(&stat).ok_or_else(|| invalid("stat", pid))?;
        Ok((comm.to_owned(), start_ticks))
    }

    /// The executable's path, without the mark of a deleted file.
    pub fn exe(&self, pid: i32) -> Option<String> {
        let link = fs::read_link(self.root.join(pid.to_string()).join("exe")).ok()?;
        let path = link.to_string_lossy();
        Some(path.strip_suffix(" (deleted)").unwrap_or(&path).to_owned())
    }

    /// The arguments, each ended by NUL; empty when there are none or the process is gone.
    pub fn arguments(&self, pid: i32) -> Vec<u8> {
        let mut arguments = Vec::new();
        // The process may end at any moment, and what was read so far is then all there is.
        // One byte more than is shown tells that there were more.
        let _ = fs::File::open(self.root.join(pid.to_string()).join("cmdline"))
            .and_then(|file| file.take(CMDLINE_BYTES_MAX as u64 + 1).read_to_end(&mut arguments));
        arguments
    }

    /// The text of `/proc/PID/cgroup`.
    pub fn cgroup_lines(&self, pid: i32) -> io::Result<String> {
        read_text(&self.root.join(pid.to_string()).join("cgroup"))
    }

    /// Every process now.
    pub fn pids(&self) -> io::Result<Vec<i32>> {
        let entries = fs::read_dir(&self.root)?;
        Ok(entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect())
    }

    /// The id of this boot, the same until the host starts anew.
    pub fn boot_id(&self) -> io::Result<u128> {
        let text = read_text(&self.root.join("sys/kernel/random/boot_id"))?;
        let hex: String = text.chars().filter(char::is_ascii_hexdigit).collect();
        u128::from_str_radix(&hex, 16).map_err(io::Error::other)
    }

    /// Where cgroup version 2 is mounted, on hosts with both versions too.
    pub fn cgroup2_mount(&self) -> io::Result<Option<PathBuf>> {
        let mounts = read_text(&self.root.join("self/mounts"))?;
        Ok(mounts.lines().find_map(|line| {
            let mut words = line.split(' ');
            let (_, point, kind) = (words.next()?, words.next()?, words.next()?);
            (kind == "cgroup2").then(|| PathBuf::from(point))
        }))
    }
}

fn read_text(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::with_capacity(1024);
    fs::File::open(path)?.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn invalid(file: &str, pid: i32) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("/proc/{pid}/{file} has an unknown form"))
}

/// Name, parent and start of a `stat` line. The name stands in brackets and may itself hold brackets and spaces.
fn parse_stat(line: &str) -> Option<(&str, i32, u64)> {
    let (before, after) = line.rsplit_once(')')?;
    let comm = before.split_once('(')?.1;
    let mut fields = after.split_ascii_whitespace();
    let ppid = fields.nth(1)?.parse().ok()?;
    // Fields 3 (state) and 4 (ppid) are taken; the start is field 22.
    let start_ticks = fields.nth(17)?.parse().ok()?;
    Some((comm, ppid, start_ticks))
}

/// The first number of a line: of `Uid:` and `Gid:` the real one.
fn status_number(status: &str, name: &str) -> Option<u32> {
    status.lines().find_map(|line| line.strip_prefix(name))?.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_line_with_brackets_in_the_name_is_read() {
        let fields = "S 7 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 4242 0 0";
        assert_eq!(parse_stat(&format!("12 (a) b (c)) {fields}")), Some(("a) b (c)", 7, 4242)));
        assert_eq!(parse_stat("12 (a) S"), None);
        assert_eq!(parse_stat(""), None);
    }

    #[test]
    fn our_own_process_is_found() {
        let pid = std::process::id() as i32;
        let procfs = Procfs::of_host();
        let facts = procfs.facts(pid).expect("we are alive");
        assert_eq!(facts.exe, std::env::current_exe().ok().map(|path| path.to_string_lossy().into_owned()));
        // SAFETY: getuid has no arguments and cannot fail.
        assert_eq!(facts.uid, unsafe { libc::getuid() });
        assert!(facts.start_ticks > 0);
        assert!(facts.arguments.ends_with(b"\0"));
        assert!(procfs.pids().expect("/proc is readable").contains(&pid));
        assert_eq!(procfs.comm_and_start(pid).expect("we are alive"), (facts.comm, facts.start_ticks));
    }

    #[test]
    fn a_pid_that_is_not_there_is_not_found() {
        let error = Procfs::of_host().facts(i32::MAX).expect_err("no such pid");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
