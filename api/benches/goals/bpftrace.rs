//! A running bpftrace: the peer.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::workload::READER_CPU;

/// Its name and version, when it is installed.
pub fn version() -> Option<String> {
    let output = Command::new("bpftrace").arg("--version").output().ok()?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// A bpftrace on the readers' CPU, with a buffer large enough for a burst; it goes with the value.
pub struct Bpftrace {
    process: Child,
    lines: Option<JoinHandle<u64>>,
}

impl Bpftrace {
    /// Starts a program and waits until it must be attached: its output is buffered, so its word cannot be waited for, and
    /// attaching takes half a second.
    pub fn start(program: &str) -> Bpftrace {
        let mut process = Command::new("taskset")
            .args(["-c", READER_CPU, "bpftrace", "-B", "full", "-e"])
            .arg(format!("BEGIN {{ printf(\"attached\\n\"); }} {program}"))
            .env("BPFTRACE_PERF_RB_PAGES", "4096")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("bpftrace is installed");
        let mut output = process.stdout.take().expect("stdout is piped");
        let lines = std::thread::spawn(move || {
            let (mut lines, mut buffer) = (0, vec![0; 1 << 16]);
            while let Ok(read @ 1..) = output.read(&mut buffer) {
                lines += buffer[..read].iter().filter(|byte| **byte == b'\n').count() as u64;
            }
            lines
        });
        std::thread::sleep(Duration::from_secs(3));
        Bpftrace { process, lines: Some(lines) }
    }

    /// Its process: taskset has become bpftrace.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Ends it and returns the events it printed: all lines but those of its own.
    pub fn stop(&mut self) -> u64 {
        std::thread::sleep(Duration::from_millis(500));
        let pid = i32::try_from(self.process.id()).expect("process ids are positive 32-bit numbers");
        // SAFETY: kill takes two numbers and touches no memory of ours; the child is not yet waited for, so the id is its.
        unsafe { libc::kill(pid, libc::SIGINT) };
        self.process.wait().expect("it is our child");
        let lines = self.lines.take().map_or(0, |lines| lines.join().expect("it only counts"));
        // "Attaching 2 probes...", "attached", and blank lines at the end.
        lines.saturating_sub(4)
    }
}

impl Drop for Bpftrace {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}
