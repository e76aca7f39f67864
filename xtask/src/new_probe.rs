//! `new-probe`: a probe's SQL file and its kernel test, from templates.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use crate::tidy::{PROBE_GOLDENS, PROBE_TESTS, PROBES};

const SQL: &str = include_str!("../templates/probe.sql");
const TEST: &str = include_str!("../templates/kernel_test.template");

/// PostgreSQL's bound on names, bytes.
const NAME_BYTES_MAX: usize = 63;

/// Writes both files and shows what is left to do. Nothing that exists is changed, but for the list of test modules.
pub fn run(name: &str) -> Result<()> {
    check_name(name)?;
    let root = crate::root();
    let sql = Path::new(PROBES).join(format!("{name}.sql"));
    let test = Path::new(PROBE_TESTS).join(format!("{name}.rs"));
    for path in [&sql, &test] {
        ensure!(!root.join(path).exists(), "{} exists already", path.display());
    }
    let list = Path::new(PROBE_TESTS).with_extension("rs");
    let modules =
        std::fs::read_to_string(root.join(&list)).with_context(|| format!("cannot read {}", list.display()))?;
    let modules = with_module(&modules, name).with_context(|| format!("{}", list.display()))?;

    write(&root, &sql, &SQL.replace("NAME", name))?;
    write(&root, &test, &TEST.replace("NAME", name))?;
    write(&root, &list, &modules)?;
    println!(
        "Next:\n  1. Write the query in {} and what makes its event happen in {}.\n  \
         2. Try it without loading: cargo run -- explain {}\n  \
         3. Write its golden, {PROBE_GOLDENS}/…/{name}.*: UPDATE_GOLDEN=1 cargo xtask test -p probepilot-collector-ebpf, and read it.\n  \
         4. cargo xtask test {name}, as root",
        sql.display(),
        test.display(),
        sql.display()
    );
    Ok(())
}

fn check_name(name: &str) -> Result<()> {
    let starts_well = name.starts_with(|first: char| first.is_ascii_lowercase());
    let letters = name.chars().all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_');
    if !starts_well || !letters || name.len() > NAME_BYTES_MAX {
        bail!(
            "a probe's name is a table's: lower case letters, digits and _, a letter first, at most {NAME_BYTES_MAX}; not {name:?}"
        );
    }
    Ok(())
}

/// The list with `mod name;` after the last `mod` of a probe.
fn with_module(list: &str, name: &str) -> Result<String> {
    let line = format!("mod {name};");
    ensure!(!list.lines().any(|has| has.starts_with(&line)), "`{line}` is there already");
    let mut lines: Vec<&str> = list.lines().collect();
    let last =
        lines.iter().rposition(|has| has.starts_with("mod ")).context("there is no `mod` line to add one after")?;
    lines.insert(last + 1, &line);
    Ok(lines.join("\n") + "\n")
}

fn write(root: &Path, path: &Path, text: &str) -> Result<()> {
    std::fs::write(root.join(path), text).with_context(|| format!("cannot write {}", path.display()))?;
    println!("wrote {}", path.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_is_added_after_the_last_one() {
        let list = "//! Probes.\n\nmod signal;\nmod oom_kill; // Two.\n\nuse x;\n";
        let expected = "//! Probes.\n\nmod signal;\nmod oom_kill; // Two.\nmod dns;\n\nuse x;\n";
        assert_eq!(with_module(list, "dns").unwrap(), expected);
        assert!(with_module(list, "signal").is_err());
    }

    #[test]
    fn names_are_those_of_tables() {
        assert!(check_name("tcp_retransmit2").is_ok());
        for wrong in ["", "Tcp", "2tcp", "../etc", "tcp-x", &"a".repeat(NAME_BYTES_MAX + 1)] {
            assert!(check_name(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_templates_hold_the_name_where_it_is_needed() {
        assert!(SQL.replace("NAME", "dns").contains("CREATE PROBE dns AS"));
        assert!(TEST.replace("NAME", "dns").contains("fn kernel_dns_shows"));
    }
}
