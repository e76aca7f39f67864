//! The tests' Python: DuckDB with its extensions, an S3 server, PostgreSQL drivers.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// The interpreter that `cargo xtask test` prepared.
pub struct Python(PathBuf);

impl Python {
    /// `None`, with the reason printed, when it is missing.
    pub fn find() -> Option<Python> {
        probepilot_catalog::testing::python().map(Python)
    }

    /// Runs a script and returns what it printed, without the last newline. An error fails the test.
    pub fn run(&self, script: &str, arguments: &[&str]) -> String {
        let output = self.command(script, arguments).output().expect("the interpreter starts");
        assert!(output.status.success(), "the script failed:\n{script}\n{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    /// Starts a script that goes on; its output can be read.
    pub fn spawn(&self, script: &str, arguments: &[&str]) -> Child {
        self.command(script, arguments).stdout(Stdio::piped()).spawn().expect("the interpreter starts")
    }

    fn command(&self, script: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.0);
        command.arg("-c").arg(script).args(arguments).stdin(Stdio::null());
        command
    }
}
