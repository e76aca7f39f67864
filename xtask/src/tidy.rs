//! `tidy`: rules of the tree that no compiler checks.

mod dependencies; // Who may depend on whom, and one copy of what must be one.
mod reached; // Source files, goldens and probes that nothing reaches.
mod text; // Leftover marks, long files, first lines.

pub use reached::{PROBE_GOLDENS, PROBE_TESTS, PROBES};

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use crate::command;

/// What the rules found.
#[derive(Default)]
struct Findings {
    /// Each fails the run.
    errors: Vec<String>,
    /// Shown, no more.
    warnings: Vec<String>,
}

impl Findings {
    fn error(&mut self, text: impl Into<String>) {
        self.errors.push(text.into());
    }

    fn warn(&mut self, text: impl Into<String>) {
        self.warnings.push(text.into());
    }
}

/// Applies every rule and shows all findings at once.
pub fn run() -> Result<()> {
    let mut findings = Findings::default();
    let tree = Tree::read()?;
    dependencies::check(&mut findings)?;
    reached::check(&tree, &mut findings);
    text::check(&tree, &mut findings);
    for warning in &findings.warnings {
        println!("tidy: warning: {warning}");
    }
    for error in &findings.errors {
        println!("tidy: {error}");
    }
    match findings.errors.len() {
        0 => {
            println!("tidy: {} files in order", tree.files.len());
            Ok(())
        }
        1 => bail!("tidy found 1 thing to put right"),
        count => bail!("tidy found {count} things to put right"),
    }
}

/// The tracked files with their text; files that are not text have none.
struct Tree {
    files: Vec<File>,
}

struct File {
    /// From the root of the tree.
    path: PathBuf,
    text: String,
}

impl Tree {
    fn read() -> Result<Tree> {
        let mut files = Vec::new();
        for path in tracked_files("")? {
            let bytes = std::fs::read(crate::root().join(&path))?;
            files.push(File { path, text: String::from_utf8(bytes).unwrap_or_default() });
        }
        Ok(Tree { files })
    }

    fn with_extension<'a>(&'a self, extension: &'a str) -> impl Iterator<Item = &'a File> {
        self.files.iter().filter(move |file| file.path.extension().is_some_and(|has| has == extension))
    }

    fn get(&self, path: &Path) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }
}

/// The files of the tree whose names end so: those that git tracks or would, and that exist.
pub fn tracked_files(ending: &str) -> Result<Vec<PathBuf>> {
    let root = crate::root();
    let listed = command::output(
        Command::new("git").args(["ls-files", "--cached", "--others", "--exclude-standard", "-z"]).current_dir(&root),
    )?;
    let mut files: Vec<PathBuf> = listed
        .split('\0')
        .filter(|path| !path.is_empty() && path.ends_with(ending))
        .map(PathBuf::from)
        .filter(|path| root.join(path).is_file())
        .collect();
    files.sort();
    files.dedup();
    Ok(files)
}
