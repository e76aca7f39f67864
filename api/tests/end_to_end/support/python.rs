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

    /// The one with the drivers of PostgreSQL: `PROBEPILOT_PG_CLIENTS_PYTHON`, or what the tests' set-up makes.
    pub fn with_drivers() -> Option<Python> {
        let given = std::env::var_os("PROBEPILOT_PG_CLIENTS_PYTHON").map(PathBuf::from);
        let home = PathBuf::from(std::env::var_os("HOME").unwrap_or_default());
        let python = given.unwrap_or_else(|| home.join(".cache/probepilot/pg-clients-venv/bin/python"));
        if python.exists() {
            return Some(Python(python));
        }
        println!("skipped: needs {}", python.display());
        None
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
