//! `test`: installs what the tests need, runs every one of them, and ends with the runner's summary.

use anyhow::Result;

use crate::{command, requirements, tidy};

/// Runs the tests that match `filters`, or all of them.
pub fn run(filters: &[&str]) -> Result<()> {
    let python = requirements::install()?;
    println!("{}", requirements::kernel_rights());

    // Before the others, so that the last lines are the runner's summary.
    if filters.is_empty() && has_doc_tests()? {
        command::run(command::cargo().args(["test", "--doc", "--workspace", "--quiet"]))?;
    }
    let mut tests = command::cargo();
    tests.args(["nextest", "run", "--workspace"]).env("PROBEPILOT_TEST_PYTHON", python);
    if std::env::var_os("CI").is_some() {
        tests.args(["--profile", "ci"]);
    }
    command::run(tests.args(filters))
}

/// Says whether any doc comment holds code to run. Starting rustdoc for every crate to find none takes minutes.
fn has_doc_tests() -> Result<bool> {
    for file in tidy::tracked_files(".rs")? {
        let text = std::fs::read_to_string(crate::root().join(&file))?;
        let mut fenced = false;
        for line in text.lines().map(str::trim_start) {
            let doc = line.strip_prefix("///").or_else(|| line.strip_prefix("//!")).map(str::trim);
            let Some(language) = doc.and_then(|doc| doc.strip_prefix("```")) else { continue };
            fenced = !fenced;
            if fenced && matches!(language, "" | "rust" | "no_run" | "should_panic" | "compile_fail") {
                return Ok(true);
            }
        }
    }
    Ok(false)
}
