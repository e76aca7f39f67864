//! What the tests need besides Rust, and how it is installed when it is missing.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::command;

/// The runner. Pinned, so that a new release cannot turn a green tree red.
const NEXTEST: &str = "0.9.143";

/// Packages of the tests' Python, with every version pinned.
const PYTHON_PACKAGES: &str = include_str!("../python-requirements.txt");

/// A Debian package the tests use.
struct Package {
    /// Its name in Debian 12.
    name: &'static str,
    /// A file or program that is there when it is installed, whoever installed it.
    present: fn() -> bool,
    /// What the tests do with it.
    reason: &'static str,
}

const PACKAGES: [Package; 9] = [
    Package {
        name: "postgresql-client-15",
        present: || on_path("psql"),
        reason: "psql, the client that most tests speak through",
    },
    Package {
        name: "postgresql-15",
        present: || on_path("initdb") || Path::new("/usr/lib/postgresql/15/bin/initdb").exists(),
        reason: "private PostgreSQL servers, for the catalog on PostgreSQL",
    },
    Package {
        name: "python3-venv",
        present: || command::succeeds("python3", &["-c", "import venv, ensurepip"]),
        reason: "a Python of our own for DuckDB, an S3 server and PostgreSQL drivers",
    },
    Package { name: "curl", present: || on_path("curl"), reason: "the client of REST" },
    Package { name: "iproute2", present: || on_path("ip"), reason: "network namespaces in which connections fail" },
    Package {
        name: "libcap2-bin",
        present: || on_path("setcap"),
        reason: "the server as an ordinary user with capabilities",
    },
    Package { name: "util-linux", present: || on_path("setpriv"), reason: "programs run as an ordinary user" },
    Package { name: "default-jdk-headless", present: || on_path("javac"), reason: "a client in Java" },
    Package {
        name: "libpostgresql-jdbc-java",
        present: || Path::new("/usr/share/java/postgresql.jar").exists(),
        reason: "JDBC, the driver of clients in Java",
    },
];

/// Installs what is missing, as root; otherwise the error lists the commands to run.
///
/// Returns the Python interpreter that has [`PYTHON_PACKAGES`].
pub fn install() -> Result<PathBuf> {
    println!("The tests need, besides Rust:");
    let mut missing = Vec::new();
    for package in &PACKAGES {
        let present = (package.present)();
        show(package.name, package.reason, present);
        if !present {
            missing.push(package.name);
        }
    }
    let nextest = command::succeeds("cargo-nextest", &["nextest", "--version"]);
    show("cargo-nextest", "the test runner", nextest);
    let python = python_directory()?;
    let python_ready = std::fs::read_to_string(python.join(PYTHON_MARK)).is_ok_and(|had| had == PYTHON_PACKAGES);
    show("Python packages", &format!("in {}", python.display()), python_ready);

    if !missing.is_empty() {
        install_packages(&missing)?;
    }
    if !nextest {
        let version = format!("cargo-nextest@{NEXTEST}");
        command::run(command::cargo().args(["install", "--locked", &version]))?;
    }
    if !python_ready {
        install_python(&python)?;
    }
    Ok(python.join("bin/python"))
}

/// Says in one line whether the kernel tests will run here.
pub fn kernel_rights() -> String {
    if is_root() {
        "The kernel tests run: we are root.".into()
    } else {
        "skipped: needs root: the kernel tests that attach programs (run as root to have them)".into()
    }
}

fn show(name: &str, reason: &str, present: bool) {
    println!("  {} {name}: {reason}", if present { "have   " } else { "missing" });
}

fn install_packages(missing: &[&str]) -> Result<()> {
    let install = format!("apt-get install --yes --no-install-recommends {}", missing.join(" "));
    if !is_root() || !on_path("apt-get") {
        bail!("please install what is missing, then run this again. On Debian 12:\n\n  sudo {install}\n");
    }
    let apt = |arguments: &[&str]| {
        command::run(Command::new("apt-get").args(arguments).env("DEBIAN_FRONTEND", "noninteractive"))
    };
    apt(&["update"])?;
    let mut words = vec!["install", "--yes", "--no-install-recommends"];
    words.extend(missing);
    apt(&words)
}

/// Holds the list that was installed, so that a changed list makes a new environment.
const PYTHON_MARK: &str = "probepilot-requirements.txt";

fn install_python(directory: &Path) -> Result<()> {
    if directory.exists() {
        std::fs::remove_dir_all(directory).with_context(|| format!("cannot remove {}", directory.display()))?;
    }
    command::run(Command::new("python3").args(["-m", "venv"]).arg(directory))?;
    let list = directory.join("wanted.txt");
    std::fs::write(&list, PYTHON_PACKAGES).with_context(|| format!("cannot write {}", list.display()))?;
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--requirement"];
    command::run(Command::new(directory.join("bin/python")).args(pip).arg(&list))?;
    // Last, so that an installation cut short is not taken for a whole one.
    let mark = directory.join(PYTHON_MARK);
    std::fs::rename(&list, &mark).with_context(|| format!("cannot write {}", mark.display()))
}

/// Beside the build cache: `$XDG_CACHE_HOME` or `~/.cache`.
fn python_directory() -> Result<PathBuf> {
    let cache = match std::env::var_os("XDG_CACHE_HOME") {
        Some(cache) if !cache.is_empty() => PathBuf::from(cache),
        _ => PathBuf::from(std::env::var_os("HOME").context("neither XDG_CACHE_HOME nor HOME is set")?).join(".cache"),
    };
    Ok(cache.join("probepilot/python"))
}

fn is_root() -> bool {
    command::output(Command::new("id").arg("-u")).is_ok_and(|user| user.trim() == "0")
}

fn on_path(program: &str) -> bool {
    // Debian keeps some of these where an ordinary user's path does not look.
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin"), PathBuf::from("/sbin")])
        .any(|directory| directory.join(program).is_file())
}
