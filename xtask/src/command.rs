//! Runs other programs: their line is shown first, and a failure says which one it was.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// How the variables begin by which cargo tells a program about its own crate.
const OF_THIS_CRATE: [&str; 2] = ["CARGO_MANIFEST_", "CARGO_PKG_"];

/// The cargo that runs us, so that one toolchain does everything.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(crate::root());
    // What cargo told us about this crate is not for those it builds: build scripts that look there would run again, and with
    // them all that depends on them is compiled anew.
    let ours = std::env::vars_os().map(|(name, _)| name);
    for name in ours.filter(|name| OF_THIS_CRATE.iter().any(|part| name.to_string_lossy().starts_with(part))) {
        command.env_remove(name);
    }
    command
}

/// Runs with our own output and input; an exit code other than 0 is an error.
pub fn run(command: &mut Command) -> Result<()> {
    let line = line(command);
    println!("$ {line}");
    let status = command.status().with_context(|| format!("cannot start `{line}`"))?;
    if !status.success() {
        bail!("`{line}` failed: {status}");
    }
    Ok(())
}

/// Runs quietly and returns what it printed; its complaints become part of the error.
pub fn output(command: &mut Command) -> Result<String> {
    let line = line(command);
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot start `{line}`"))?;
    if !output.status.success() {
        bail!("`{line}` failed: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr).trim_end());
    }
    String::from_utf8(output.stdout).with_context(|| format!("`{line}` printed something that is not text"))
}

/// Says whether the program can be started and exits with 0.
pub fn succeeds(program: &str, arguments: &[&str]) -> bool {
    Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// The command as one would type it.
fn line(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|argument| argument.to_string_lossy().into_owned()));
    words.join(" ")
}
