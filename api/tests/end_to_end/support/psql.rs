//! psql against a server.

use std::process::{Command, Output, Stdio};

use super::{Server, wait_until};

impl Server {
    /// The URL with which `admin` comes in by TCP: the address as printed, the password from the file as written.
    pub fn url(&self) -> String {
        let passfile = self.passfile("admin");
        format!("postgresql://admin@{}/probepilot?passfile={}", self.address("postgres"), passfile.display())
    }

    /// psql as `admin`, unaligned and without headings, that stops at the first error.
    pub fn psql_command(&self) -> Command {
        let mut command = Command::new("psql");
        command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"]).arg(self.url()).stdin(Stdio::null());
        command
    }

    /// Runs statements and returns what they printed, without the last newline. An error fails the test.
    pub fn psql(&self, sql: &str) -> String {
        let output = self.run(sql);
        assert!(output.status.success(), "psql -c {sql:?} failed:\n{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    /// Runs statements that must fail and returns psql's complaint.
    pub fn psql_error(&self, sql: &str) -> String {
        let output = self.run(&format!("\\set VERBOSITY verbose\n{sql}"));
        assert!(
            !output.status.success(),
            "{sql:?} should fail and printed:\n{}",
            String::from_utf8_lossy(&output.stdout)
        );
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    /// Asks until psql answers exactly `expected`: rows take a few milliseconds from the kernel.
    pub fn wait_for(&self, sql: &str, expected: &str) {
        wait_until(&format!("{sql:?} to answer {expected:?}"), || match self.psql(sql) {
            answer if answer == expected => Ok(()),
            answer => Err(format!("{answer:?}")),
        });
    }

    fn run(&self, sql: &str) -> Output {
        let mut psql = self.psql_command();
        let mut child = psql
            .args(["-f", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("psql is installed (cargo xtask test does it)");
        let mut input = child.stdin.take().expect("stdin is piped");
        std::io::Write::write_all(&mut input, sql.as_bytes()).expect("psql reads its input");
        drop(input);
        child.wait_with_output().expect("psql ends")
    }
}
