//! Block devices of the test's own, so that it knows every request.

use std::path::Path;
use std::process::{Command, Stdio};

/// A file as a block device; it goes with the value.
pub struct LoopDevice(String);

impl LoopDevice {
    /// A device of so many bytes on a new file; `None`, with the reason printed, where that is not possible.
    pub fn create(file: &Path, bytes: u64) -> Option<LoopDevice> {
        std::fs::File::create(file).unwrap().set_len(bytes).unwrap();
        let output = Command::new("losetup").args(["--find", "--show"]).arg(file).output();
        match output {
            Ok(output) if output.status.success() => {
                Some(LoopDevice(String::from_utf8_lossy(&output.stdout).trim().to_owned()))
            }
            other => {
                println!("skipped: needs losetup and a loop device ({other:?})");
                None
            }
        }
    }

    /// `/dev/loop3`
    pub fn path(&self) -> &str {
        &self.0
    }

    /// Its minor number; the major one of all of them is 7.
    pub fn minor(&self) -> u32 {
        self.0.trim_start_matches("/dev/loop").parse().expect("loop devices are numbered")
    }

    /// Starts writing so many blocks of so many bytes past the page cache, one after the other.
    pub fn write(&self, blocks: u64, block_bytes: u64) -> std::process::Child {
        let arguments = [
            "if=/dev/zero".to_owned(),
            format!("of={}", self.0),
            format!("bs={block_bytes}"),
            format!("count={blocks}"),
            "oflag=direct".to_owned(),
        ];
        Command::new("dd").args(arguments).stderr(Stdio::null()).spawn().unwrap()
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        Command::new("losetup").args(["--detach", &self.0]).status().ok();
    }
}
