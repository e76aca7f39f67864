//! For tests, of this crate and of others: a private PostgreSQL server, and the catalog on both databases.

use std::fs::File;
use std::future::Future;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::{Control, Lake};

/// Debian's place for the server's programs.
const PROGRAMS: &str = "/usr/lib/postgresql/15/bin";

/// How long a server may take to answer, or to end; then the test fails, or the server is killed.
const SERVER_WAIT: Duration = Duration::from_secs(60);

/// Between two looks at a server.
const SERVER_POLL: Duration = Duration::from_millis(20);

/// A PostgreSQL server of this test alone, reached by a socket in its own folder. It ends when it is dropped, and when
/// the test's thread dies.
pub struct Postgres {
    server: Child,
    folder: TempDir,
}

impl Postgres {
    /// Starts a server; `None`, and a line that says so, when PostgreSQL 15 is not installed.
    pub fn start() -> Option<Postgres> {
        Postgres::start_with(&["shared_buffers=16MB"])
    }

    /// The same with settings, each as `name=value`.
    pub fn start_with(settings: &[&str]) -> Option<Postgres> {
        if !Path::new(PROGRAMS).join("initdb").exists() {
            println!("skipped: needs postgresql-15");
            return None;
        }
        let account = server_account();
        let folder = server_folder(account);
        let cluster = folder.path().join("cluster");
        run(Command::new("cp").arg("-a").arg(template(account)).arg(&cluster));
        let log = File::create(folder.path().join("log")).expect("the folder was made a moment ago");
        let server = as_account(account, "postgres")
            .arg("-D")
            .arg(&cluster)
            .arg("-k")
            .arg(folder.path())
            // Nothing of this cluster outlives the test, so nothing is synced.
            .args(["-c", "listen_addresses=", "-c", "fsync=off"])
            .args(settings.iter().flat_map(|setting| ["-c", setting]))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file can be had twice"))
            .stderr(log)
            .spawn()
            .expect("setpriv is part of every Debian");
        let started = Postgres { server, folder };
        started.wait_until_ready();
        Some(started)
    }

    fn wait_until_ready(&self) {
        let begun = Instant::now();
        let asked = || {
            let mut ready = Command::new(Path::new(PROGRAMS).join("pg_isready"));
            ready.arg("-q").arg("-h").arg(self.folder.path()).status().is_ok_and(|status| status.success())
        };
        while !asked() {
            if begun.elapsed() > SERVER_WAIT {
                let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
                panic!("the test's PostgreSQL server does not answer: {log}");
            }
            std::thread::sleep(SERVER_POLL);
        }
    }

    /// For [`Lake::open_postgres`] and [`Control::open_postgres`].
    pub fn url(&self) -> String {
        format!("postgres://postgres@localhost/postgres?host={}", self.folder.path().display())
    }

    /// The folder of the server's socket: libpq's `host`.
    pub fn socket_folder(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // Immediate shutdown: the server ends its children and frees its memory, which a kill would not.
        let _ = Command::new("kill").args(["-QUIT", &self.server.id().to_string()]).status();
        let begun = Instant::now();
        while matches!(self.server.try_wait(), Ok(None)) {
            if begun.elapsed() > SERVER_WAIT {
                let _ = self.server.kill();
            }
            std::thread::sleep(SERVER_POLL);
        }
    }
}

/// PostgreSQL refuses root: then it runs as this user.
fn server_account() -> Option<u32> {
    let me = std::fs::metadata("/proc/self").expect("/proc is mounted").uid();
    let named = |name: &str| {
        let output = Command::new("id").args(["-u", name]).output().ok()?;
        String::from_utf8(output.stdout).ok()?.trim().parse().ok()
    };
    if me != 0 { None } else { Some(named("postgres").or_else(|| named("nobody")).unwrap_or(65_534)) }
}

fn as_account(account: Option<u32>, program: &str) -> Command {
    let mut command = Command::new("setpriv");
    if let Some(id) = account {
        command.args([format!("--reuid={id}"), format!("--regid={id}"), "--clear-groups".to_owned()]);
    }
    command.args(["--pdeathsig", "QUIT"]).arg(Path::new(PROGRAMS).join(program));
    command.env("LC_ALL", "C.UTF-8").current_dir("/");
    command
}

fn server_folder(account: Option<u32>) -> TempDir {
    let folder = tempfile::Builder::new().prefix("pp-postgres-").tempdir().expect("the temporary folder is writable");
    if account.is_some() {
        chown(folder.path(), account, account).expect("root may give a folder away");
    }
    folder
}

/// A cluster as `initdb` makes it, kept for the next tests: copying takes a tenth of making.
fn template(account: Option<u32>) -> PathBuf {
    let name = format!("postgresql-15-cluster-{}", account.map_or_else(|| "own".to_owned(), |id| id.to_string()));
    let cache = cache_folder();
    let template = cache.join(name);
    if !template.exists() {
        let folder = server_folder(account);
        let made = folder.path().join("cluster");
        let mut initdb = as_account(account, "initdb");
        run(initdb.args(["--no-sync", "--auth=trust", "--username=postgres", "--encoding=UTF8"]).arg("-D").arg(&made));
        std::fs::create_dir_all(&cache).expect("the cache folder can be made");
        let copy = tempfile::Builder::new().prefix("cluster-").tempdir_in(&cache).expect("the cache is writable");
        run(Command::new("cp").arg("-a").arg(&made).arg(copy.path()));
        // Whoever renames first wins; all copies are alike.
        if std::fs::rename(copy.path().join("cluster"), &template).is_err() {
            assert!(template.exists(), "the cluster can be moved within the cache");
        }
    }
    template
}

fn cache_folder() -> PathBuf {
    let given = std::env::var_os("XDG_CACHE_HOME").filter(|cache| !cache.is_empty()).map(PathBuf::from);
    let cache = given.or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache")));
    cache.unwrap_or_else(std::env::temp_dir).join("probepilot")
}

fn run(command: &mut Command) {
    let output = command.output().expect("the program is installed");
    assert!(output.status.success(), "{command:?} failed: {}", String::from_utf8_lossy(&output.stderr));
}

/// The Python that has the tests' packages: `PROBEPILOT_TEST_PYTHON`, or the one `cargo xtask test` made. `None`, and a
/// line that says so, when there is none.
pub fn python() -> Option<PathBuf> {
    let given = std::env::var_os("PROBEPILOT_TEST_PYTHON").filter(|path| !path.is_empty()).map(PathBuf::from);
    let python = given.unwrap_or_else(|| cache_folder().join("python/bin/python"));
    if python.exists() {
        return Some(python);
    }
    println!("skipped: needs the Python packages that cargo xtask test installs");
    None
}

/// Where a test's catalog is. What is opened at the same place is the same catalog.
#[derive(Clone, Debug)]
pub enum Place {
    /// In files of this folder.
    Sqlite(PathBuf),
    /// In a server.
    Postgres {
        /// How to reach it.
        url: String,
        /// libpq's `host`.
        socket_folder: PathBuf,
    },
}

impl Place {
    /// Opens the lake.
    pub async fn lake(&self, data_path: &str) -> Lake {
        match self {
            Place::Sqlite(folder) => Lake::open_sqlite(&folder.join("catalog.sqlite"), data_path).await,
            Place::Postgres { url, .. } => Lake::open_postgres(url, "lake", data_path).await,
        }
        .expect("the lake opens")
    }

    /// Opens accounts, probes and settings.
    pub async fn control(&self) -> Control {
        match self {
            Place::Sqlite(folder) => Control::open_sqlite(&folder.join("control.sqlite")).await,
            Place::Postgres { url, .. } => Control::open_postgres(url, "control").await,
        }
        .expect("the control database opens")
    }
}

/// Runs a test's body on SQLite, then on PostgreSQL (when it is installed).
pub fn on_both<Body: Future<Output = ()>>(body: impl Fn(Place) -> Body) {
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(2).enable_all().build().expect("a runtime needs only threads")
    };
    let folder = tempfile::tempdir().expect("the temporary folder is writable");
    runtime().block_on(body(Place::Sqlite(folder.path().to_owned())));
    let Some(postgres) = Postgres::start() else { return };
    let (url, socket_folder) = (postgres.url(), postgres.socket_folder().to_owned());
    runtime().block_on(body(Place::Postgres { url, socket_folder }));
}
