//! The one door for developers: `cargo xtask test | ci | tidy | fuzz | bench NAME | new-probe NAME`.

mod command; // Runs other programs.
mod requirements; // What the tests need besides Rust, and how it is installed.
mod test; // `test`: installs what is missing and runs every test.
mod tidy; // `tidy`: rules of the tree that no compiler checks.
mod new_probe; // `new-probe`: a probe's SQL file and its test, from templates.
mod fuzz; // `fuzz`: random input for the readers of text and bytes.
mod bench; // `bench`: the goals' figures.
mod ci; // `ci`: formatting, lints, tidy, tests.

use std::path::PathBuf;
use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask COMMAND

  test [FILTER…]    installs what the tests need and runs them; a filter goes to cargo-nextest as it is
  ci                what a change must pass: formatting, lints, tidy, every test
  tidy              dependency table, duplicate crates, forgotten files, leftover marks, long files
  fuzz [TARGET|all] [SECONDS]
                    random input for one reader: statements, btf, formats; each for a minute
  bench NAME|all    one of the goals' figures: event-cost, ring-to-parquet, freshness
  new-probe NAME    creates probes/NAME.sql and its test from templates";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["test", filters @ ..] => test::run(filters),
        ["ci"] => ci::run(),
        ["tidy"] => tidy::run(),
        ["fuzz", arguments @ ..] => fuzz::run(arguments),
        ["bench", name] => bench::run(name),
        ["new-probe", name] => new_probe::run(name),
        ["help" | "--help" | "-h"] => {
            println!("{USAGE}");
            Ok(())
        }
        _ => Err(anyhow::anyhow!("{USAGE}")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The root of the tree. Cargo says at run time where this crate is: a binary that a shared cache kept was built elsewhere.
fn root() -> PathBuf {
    let here = std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    here.parent().expect("xtask stands directly below the root").to_path_buf()
}
