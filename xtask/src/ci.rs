//! `ci`: what a change must pass before it lands; `.ci/run` does the same.

use anyhow::Result;

use crate::command::{self, cargo};

/// Formatting, lints, tidy, every test.
pub fn run() -> Result<()> {
    run_cargo(&["fmt", "--all", "--check"])?;
    run_cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])?;
    crate::tidy::run()?;
    crate::test::run(&[])
}

fn run_cargo(arguments: &[&str]) -> Result<()> {
    command::run(cargo().args(arguments))
}
