//! The server's process: start, what it printed, stop.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long a server may take to open its doors: it replays its log and loads its probes first.
const START_MAX: Duration = Duration::from_secs(60);

/// How long a server may take to drain and commit.
const STOP_MAX: Duration = Duration::from_secs(60);

/// A running server. It is killed when the value goes, whatever became of the test.
pub struct Server {
    child: Child,
    data_dir: PathBuf,
    printed: Arc<Printed>,
    /// The directory, when it is the server's own.
    _owned: Option<TempDir>,
}

/// A server that ended instead of opening its doors.
#[derive(Debug)]
pub struct Ended {
    /// Its exit status.
    pub status: ExitStatus,
    /// All it printed, both streams.
    pub printed: String,
}

impl Server {
    /// A server on an empty directory of its own that loads no probe.
    pub fn without_probes() -> Server {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut server = Server::start(directory.path(), &["--no-probes"]);
        server._owned = Some(directory);
        server
    }

    /// A server on an empty directory of its own with the starter probes, and `setup` run in psql.
    ///
    /// `None`, with the reason printed, when this process may not attach programs.
    pub fn with_probes(setup: &str) -> Option<Server> {
        if !super::may_attach() {
            return None;
        }
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut server = Server::start(directory.path(), &[]);
        server._owned = Some(directory);
        if !setup.is_empty() {
            server.psql(setup);
        }
        Some(server)
    }

    /// A server on `data_dir`, which stays when the server goes.
    pub fn start(data_dir: &Path, arguments: &[&str]) -> Server {
        Server::try_start(data_dir, arguments)
            .unwrap_or_else(|ended| panic!("the server ended: {}\n{}", ended.status, ended.printed))
    }

    /// As [`Server::start`]; the error is a server that ended by itself.
    pub fn try_start(data_dir: &Path, arguments: &[&str]) -> Result<Server, Ended> {
        Server::spawn(Command::new(env!("CARGO_BIN_EXE_probepilot")), data_dir, arguments)
    }

    /// Runs `program`, which is the server or starts it, with arguments for free ports added to `arguments`.
    pub fn spawn(mut program: Command, data_dir: &Path, arguments: &[&str]) -> Result<Server, Ended> {
        program.arg("serve").arg("--data-dir").arg(data_dir);
        for door in ["--pg-listen", "--http-listen", "--grpc-listen"] {
            program.args([door, "127.0.0.1:0"]);
        }
        // Tests flood their probes; those of budgets set their own, which comes later and wins.
        program.env("PROBEPILOT_PROBE_CPU_MAX_PERCENT", "100");
        program.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = program.spawn().expect("the server's binary was built with this test");
        let printed = Arc::new(Printed::default());
        printed.collect(child.stdout.take().expect("stdout is piped"));
        printed.collect(child.stderr.take().expect("stderr is piped"));
        let mut server = Server { child, data_dir: data_dir.to_owned(), printed, _owned: None };
        match server.printed.wait_for_doors() {
            true => Ok(server),
            false => {
                let status = server.wait_for_end();
                Err(Ended { status, printed: server.printed() })
            }
        }
    }

    /// The directory it serves.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// The file psql takes an account's first password from.
    pub fn passfile(&self, account: &str) -> PathBuf {
        self.data_dir.join(format!("{account}.pgpass"))
    }

    /// An account's first password.
    pub fn password(&self, account: &str) -> String {
        let line = std::fs::read_to_string(self.passfile(account)).expect("the first start wrote it");
        line.trim().rsplit(':').next().expect("a line of five parts").to_owned()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// All it printed so far, both streams.
    pub fn printed(&self) -> String {
        self.printed.state.lock().expect("no holder panics").lines.join("\n")
    }

    /// The address a door printed at start: `postgres`, `http`.
    pub fn address(&self, door: &str) -> SocketAddr {
        self.printed.address(door).unwrap_or_else(|| panic!("no address of the {door} door in:\n{}", self.printed()))
    }

    /// Ends it at once, as a crash would, and takes it off the process table.
    pub fn kill(mut self) {
        self.child.kill().expect("it is our child");
        self.child.wait().expect("it is our child");
    }

    /// Asks it to stop and waits for that; the directory is given back when it was the server's own.
    pub fn terminate(mut self) -> (ExitStatus, String, Option<TempDir>) {
        self.signal(libc::SIGTERM);
        let status = self.wait_for_end();
        (status, self.printed(), self._owned.take())
    }

    /// Sends a signal to it.
    pub fn signal(&self, signal: i32) {
        let pid = i32::try_from(self.child.id()).expect("process ids are positive 32-bit numbers");
        // SAFETY: kill takes two numbers and touches no memory of ours; the child is not yet waited for, so the id is its.
        let sent = unsafe { libc::kill(pid, signal) };
        assert_eq!(sent, 0, "the server takes signal {signal}");
    }

    /// Waits for it to end by itself.
    pub fn wait_for_end(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                self.printed.wait_for_streams();
                return status;
            }
            assert!(start.elapsed() < STOP_MAX, "the server still runs after {STOP_MAX:?}:\n{}", self.printed());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let running = self.child.try_wait().is_ok_and(|status| status.is_none());
        if running {
            self.child.kill().ok();
            self.child.wait().ok();
        }
        if std::thread::panicking() {
            eprintln!("the server printed:\n{}", self.printed());
        }
    }
}

/// The lines of both streams as they come.
#[derive(Default)]
struct Printed {
    state: Mutex<PrintedState>,
    changed: Condvar,
}

#[derive(Default)]
struct PrintedState {
    lines: Vec<String>,
    streams: usize,
    streams_ended: usize,
}

impl Printed {
    fn collect(self: &Arc<Self>, stream: impl Read + Send + 'static) {
        self.state.lock().expect("no holder panics").streams += 1;
        let printed = Arc::clone(self);
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                printed.state.lock().expect("no holder panics").lines.push(line);
                printed.changed.notify_all();
            }
            printed.state.lock().expect("no holder panics").streams_ended += 1;
            printed.changed.notify_all();
        });
    }

    /// The first address on the line that begins with the door's name.
    fn address(&self, door: &str) -> Option<SocketAddr> {
        let state = self.state.lock().expect("no holder panics");
        let line = state.lines.iter().find(|line| line.split_whitespace().next() == Some(door))?;
        line.split(|letter: char| letter.is_whitespace() || letter == '/').find_map(|word| word.parse().ok())
    }

    /// Waits until the doors are open and the probes attached; `false` when the process ended its output before that.
    fn wait_for_doors(&self) -> bool {
        let start = Instant::now();
        loop {
            let state = self.state.lock().expect("no holder panics");
            // The last thing it says at start: what became of the probes.
            if state.lines.iter().any(|line| line.split_whitespace().next() == Some("probes")) {
                return true;
            }
            if state.streams == state.streams_ended {
                return false;
            }
            assert!(start.elapsed() < START_MAX, "no open doors after {START_MAX:?}:\n{}", state.lines.join("\n"));
            drop(self.changed.wait_timeout(state, Duration::from_millis(100)).expect("no holder panics"));
        }
    }

    /// Waits for the last lines of a process that has ended; a grandchild may hold a stream open, so not for ever.
    fn wait_for_streams(&self) {
        let start = Instant::now();
        let mut state = self.state.lock().expect("no holder panics");
        while state.streams > state.streams_ended && start.elapsed() < Duration::from_secs(2) {
            state = self.changed.wait_timeout(state, Duration::from_millis(100)).expect("no holder panics").0;
        }
    }
}
