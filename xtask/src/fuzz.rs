//! `fuzz`: random input for the readers that take text and bytes from others, grown by the branches it reaches.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::command;

/// How long a target runs when nothing is said, seconds.
const SECONDS: u32 = 60;

/// One input may take so long, seconds; a debug build on a busy machine needs the room.
const INPUT_SECONDS_MAX: u32 = 20;

/// One process may take so much memory, MiB.
const MEMORY_MIB_MAX: u32 = 2_048;

/// What is fuzzed: `fuzz/targets/NAME.rs`.
struct Target {
    name: &'static str,
    /// Files and directories of inputs that are good, from the root of the tree.
    seeds: &'static [&'static str],
    /// A file of words, from the root of the tree.
    words: Option<&'static str>,
}

const TARGETS: [Target; 5] = [
    Target {
        name: "statements",
        seeds: &["fuzz/seeds/statements", "collector-ebpf/probes", "sql-examples"],
        words: Some("fuzz/statements.dict"),
    },
    Target { name: "btf", seeds: &["fuzz/seeds/btf", "collector-ebpf/tests/fixture/vmlinux.btf"], words: None },
    Target {
        name: "formats",
        seeds: &["fuzz/seeds/formats", "collector-ebpf/tests/fixture/events"],
        words: Some("fuzz/formats.dict"),
    },
    Target { name: "startup", seeds: &["fuzz/seeds/startup"], words: Some("fuzz/startup.dict") },
    Target { name: "messages", seeds: &["fuzz/seeds/messages"], words: None },
];

/// `[TARGET] [SECONDS]`: builds the targets and runs one, or each in turn. What makes one fail is in `fuzz/artifacts`.
pub fn run(arguments: &[&str]) -> Result<()> {
    let (names, seconds) = match arguments {
        [] => (Vec::new(), SECONDS),
        [name] => (vec![*name], SECONDS),
        [name, seconds] => (vec![*name], seconds.parse().context("the seconds are not a number")?),
        _ => bail!("usage: cargo xtask fuzz [TARGET|all] [SECONDS]"),
    };
    let all = names.is_empty() || names == ["all"];
    let targets: Vec<&Target> = TARGETS.iter().filter(|target| all || names.contains(&target.name)).collect();
    if targets.is_empty() {
        let known: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
        bail!("no target is called {}; there are: {}", names[0], known.join(", "));
    }
    for target in targets {
        let binary = build(target)?;
        command::run(&mut command_of(target, &binary, seconds)?)?;
    }
    Ok(())
}

/// Builds the target, with counters in what is fuzzed. All dependencies are those of any other build.
fn build(target: &Target) -> Result<PathBuf> {
    let binary = format!("fuzz-{}", target.name);
    let mut build = command::cargo();
    // The features of the whole workspace and its tests, so that no dependency is built again.
    build.args(["build", "--workspace", "--features", "probepilot-fuzz/libfuzzer", "--example", &binary]);
    build.env("RUSTC_WORKSPACE_WRAPPER", crate::root().join("fuzz/rustc.sh"));
    command::run(&mut build)?;
    let metadata = command::output(command::cargo().args(["metadata", "--format-version", "1", "--no-deps"]))?;
    let metadata: serde_json::Value =
        serde_json::from_str(&metadata).context("cargo metadata printed something else than JSON")?;
    let directory = metadata["target_directory"].as_str().context("cargo metadata has no target directory")?;
    Ok(PathBuf::from(directory).join("debug/examples").join(binary))
}

fn command_of(target: &Target, binary: &Path, seconds: u32) -> Result<Command> {
    let root = crate::root();
    let corpus = root.join("fuzz/corpus").join(target.name);
    let artifacts = root.join("fuzz/artifacts").join(target.name);
    for directory in [&corpus, &artifacts] {
        std::fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    }
    let mut fuzzer = Command::new(binary);
    fuzzer.current_dir(&root);
    fuzzer.arg(format!("-max_total_time={seconds}"));
    fuzzer.arg(format!("-timeout={INPUT_SECONDS_MAX}"));
    fuzzer.arg(format!("-rss_limit_mb={MEMORY_MIB_MAX}"));
    fuzzer.arg(format!("-artifact_prefix={}/", artifacts.display()));
    fuzzer.args(["-print_final_stats=1", "-use_value_profile=1"]);
    fuzzer.args(target.words.map(|words| format!("-dict={words}")));
    let (directories, files): (Vec<&str>, Vec<&str>) = target.seeds.iter().partition(|seeds| root.join(seeds).is_dir());
    if !files.is_empty() {
        fuzzer.arg(format!("-seed_inputs={}", files.join(",")));
    }
    // New inputs go to the first directory, which is not tracked.
    fuzzer.arg(corpus).args(directories);
    Ok(fuzzer)
}
