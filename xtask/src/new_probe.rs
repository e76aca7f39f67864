//! `new-probe`: a probe's SQL file and its kernel test, from templates.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use crate::tidy::{PROBE_GOLDENS, PROBE_TESTS, PROBES};

const SQL: &str = include_str!("../templates/probe.sql");
const TEST: &str = include_str!("../templates/kernel_test.template");

/// The list of shipped probes.
const SHIPPED: &str = "collector-ebpf/src/probes.rs";

/// PostgreSQL's bound on names, bytes.
const NAME_BYTES_MAX: usize = 63;

/// Writes both files and shows what is left to do. Of what exists, only the lists of shipped probes and of tests are changed.
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
    let shipped = std::fs::read_to_string(root.join(SHIPPED)).with_context(|| format!("cannot read {SHIPPED}"))?;
    let shipped = with_shipped(&shipped, name).context(SHIPPED)?;

    write(&root, &sql, &SQL.replace("NAME", name))?;
    write(&root, &test, &TEST.replace("NAME", name))?;
    write(&root, &list, &modules)?;
    write(&root, Path::new(SHIPPED), &shipped)?;
    println!(
        "Next:\n  1. Write the query in {} and what makes its event happen in {}.\n  \
         2. Try it without loading: cargo run -- explain {}\n  \
         3. Write its golden, {PROBE_GOLDENS}/probes/{name}.txt: UPDATE_GOLDEN=1 cargo xtask test -p probepilot-collector-ebpf, and read it.\n  \
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
    with_line_after_last(list, "mod ", &format!("mod {name};"))
}

/// The shipped probes with this one at their end, off.
fn with_shipped(list: &str, name: &str) -> Result<String> {
    with_line_after_last(list, "    builtin!(", &format!("    builtin!(\"{name}\", false),"))
}

fn with_line_after_last(text: &str, start: &str, line: &str) -> Result<String> {
    let mut lines: Vec<&str> = text.lines().collect();
    ensure!(!lines.iter().any(|has| has.starts_with(line)), "`{}` is there already", line.trim());
    let last = lines.iter().rposition(|has| has.starts_with(start));
    lines.insert(last.with_context(|| format!("no line begins with `{start}`"))? + 1, line);
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
    fn a_shipped_probe_is_off_until_someone_says_otherwise() {
        let list = "[\n    builtin!(\"signal\", true),\n];\n";
        assert_eq!(
            with_shipped(list, "dns").unwrap(),
            "[\n    builtin!(\"signal\", true),\n    builtin!(\"dns\", false),\n];\n"
        );
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
