//! The data directory: where everything lies, and the lock that keeps a second server out.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

/// The one tenant of the embedded mode, which is the database's name.
pub const DATABASE: &str = "probepilot";

/// The data directory, locked for as long as this value lives.
#[derive(Debug)]
pub struct DataDirectory {
    path: PathBuf,
    /// Holds the lock; the kernel releases it when the process ends, however it ends.
    _lock: File,
}

impl DataDirectory {
    /// Creates the directory when it does not exist, and takes its lock.
    ///
    /// Fails when another server holds it, naming that process.
    pub fn open(path: &Path) -> anyhow::Result<DataDirectory> {
        // Not recursive, or an existing directory's mode would be none of our business; parents get the usual mode.
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
        }
        match DirBuilder::new().mode(0o755).create(path) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(error).with_context(|| format!("cannot create the data directory {}", path.display()));
            }
            _ => {}
        }
        let lock_path = path.join("lock");
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&lock_path)
            .with_context(|| format!("cannot open {}", lock_path.display()))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                lock.read_to_string(&mut holder).unwrap_or_default();
                bail!(
                    "the data directory {} is in use by process {}; stop that server, or give this one another --data-dir",
                    path.display(),
                    holder.trim()
                );
            }
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("cannot lock {}", lock_path.display()));
            }
        }
        lock.set_len(0)?;
        lock.rewind()?;
        writeln!(lock, "{}", std::process::id())?;
        Ok(DataDirectory { path: path.to_owned(), _lock: lock })
    }

    /// The directory itself: the Unix socket and the password files lie here.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Accounts and probes; readable by the owner only.
    pub fn control(&self) -> PathBuf {
        self.path.join("control.sqlite")
    }

    /// The DuckLake manifest.
    pub fn lake_catalog(&self) -> PathBuf {
        self.lake().join("catalog.sqlite")
    }

    /// Where segments lie when no other store is given.
    pub fn lake_data(&self) -> PathBuf {
        self.lake().join("data")
    }

    /// Manifest and segments of the tenant.
    pub fn lake(&self) -> PathBuf {
        self.path.join("lake").join(DATABASE)
    }

    /// The log.
    pub fn log(&self) -> PathBuf {
        self.path.join("log")
    }

    /// Makes the folders below: the log for the owner alone, the lake for a group that attaches it.
    pub fn make_folders(&self) -> anyhow::Result<()> {
        for (path, mode) in [(self.log(), 0o700), (self.lake(), 0o750), (self.lake_data(), 0o750)] {
            let made = DirBuilder::new().recursive(true).mode(mode).create(&path);
            made.with_context(|| format!("cannot create {}", path.display()))?;
        }
        Ok(())
    }

    /// A file with the password of an account, in the form psql's `passfile` wants.
    pub fn passfile(&self, account: &str) -> PathBuf {
        self.path.join(format!("{account}.pgpass"))
    }

    /// Writes an account's password so that only the owner can read it.
    pub fn write_passfile(&self, account: &str, password: &str) -> anyhow::Result<()> {
        let path = self.passfile(account);
        let quoted = password.replace('\\', "\\\\").replace(':', "\\:");
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)
            .with_context(|| format!("cannot write {}", path.display()))?;
        writeln!(file, "*:*:*:{account}:{quoted}").with_context(|| format!("cannot write {}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_second_server_is_kept_out_and_told_by_whom() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("deep/data");
        let first = DataDirectory::open(&path).unwrap();
        let error = DataDirectory::open(&path).unwrap_err().to_string();
        assert!(error.contains(&std::process::id().to_string()), "{error}");
        drop(first);
        DataDirectory::open(&path).unwrap();
    }

    #[test]
    fn the_log_is_the_owners_and_the_lake_a_groups() {
        let parent = tempfile::tempdir().unwrap();
        let directory = DataDirectory::open(parent.path()).unwrap();
        directory.make_folders().unwrap();
        let mode = |path: PathBuf| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(directory.log()), 0o700);
        assert_eq!(mode(directory.lake_data()), 0o750);
    }

    #[test]
    fn only_the_owner_reads_a_password() {
        let parent = tempfile::tempdir().unwrap();
        let directory = DataDirectory::open(parent.path()).unwrap();
        directory.write_passfile("admin", "a:b\\c").unwrap();
        let path = directory.passfile("admin");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_to_string(path).unwrap(), "*:*:*:admin:a\\:b\\\\c\n");
    }
}
