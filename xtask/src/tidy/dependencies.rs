//! Who may depend on whom, and one copy of what must be one.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use serde_json::Value;

use super::Findings;
use crate::command;

/// What each crate may use of ours, tests included. The same table stands in `ARCHITECTURE.md`.
const MAY_USE: [(&str, &[&str]); 8] = [
    ("probepilot-sql", &[]),
    ("probepilot-catalog", &["probepilot-sql"]),
    ("probepilot-collector-ebpf", &["probepilot-sql"]),
    ("probepilot-collector", &["probepilot-sql", "probepilot-catalog", "probepilot-collector-ebpf"]),
    ("probepilot-query", &["probepilot-sql", "probepilot-catalog"]),
    (
        "probepilot-api",
        &[
            "probepilot-sql",
            "probepilot-catalog",
            "probepilot-collector-ebpf",
            "probepilot-collector",
            "probepilot-query",
        ],
    ),
    ("xtask", &[]),
    ("probepilot-fuzz", &["probepilot-sql", "probepilot-collector-ebpf", "probepilot-api"]),
];

/// Crates that one of ours hides from the others.
const NAMED_ONLY_BY: [(&str, &str); 6] = [
    ("aya", "probepilot-collector-ebpf"),
    ("sqlx", "probepilot-catalog"),
    ("pgwire", "probepilot-api"),
    ("axum", "probepilot-api"),
    ("tonic", "probepilot-api"),
    ("arrow-flight", "probepilot-api"),
];

/// Two copies of these are two sets of types that do not fit, or two libraries that corrupt one file.
fn must_be_one(name: &str) -> bool {
    name == "arrow"
        || name.starts_with("arrow-")
        || matches!(name, "parquet" | "object_store" | "libsqlite3-sys" | "datafusion")
}

pub(super) fn check(findings: &mut Findings) -> Result<()> {
    let text = command::output(command::cargo().args(["metadata", "--format-version", "1", "--locked"]))?;
    let metadata: Value = serde_json::from_str(&text).context("cargo metadata printed something else than JSON")?;
    let packages = metadata["packages"].as_array().context("cargo metadata has no packages")?;
    let members: BTreeSet<&str> =
        metadata["workspace_members"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();

    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for package in packages {
        let (Some(name), Some(version)) = (package["name"].as_str(), package["version"].as_str()) else { continue };
        if must_be_one(name) {
            versions.entry(name).or_default().insert(version);
        }
        if package["id"].as_str().is_some_and(|id| members.contains(id)) {
            let uses = package["dependencies"].as_array().into_iter().flatten();
            let uses: BTreeSet<&str> = uses.filter_map(|used| used["name"].as_str()).collect();
            check_member(name, &uses, findings);
        }
    }
    for (name, versions) in versions {
        if versions.len() > 1 {
            let versions: Vec<&str> = versions.into_iter().collect();
            findings.error(format!("Cargo.lock: {} copies of {name}: {}", versions.len(), versions.join(", ")));
        }
    }
    Ok(())
}

fn check_member(name: &str, uses: &BTreeSet<&str>, findings: &mut Findings) {
    let Some((_, allowed)) = MAY_USE.iter().find(|(member, _)| *member == name) else {
        findings.error(format!("{name}: not in the dependency table of xtask/src/tidy/dependencies.rs"));
        return;
    };
    for used in uses {
        // A crate may ask for itself, to switch a feature on in its own tests.
        let ours = *used != name && MAY_USE.iter().any(|(member, _)| member == used);
        if ours && !allowed.contains(used) {
            findings.error(format!("{name}: must not depend on {used}"));
        }
        if let Some((_, owner)) = NAMED_ONLY_BY.iter().find(|(hidden, _)| hidden == used)
            && *owner != name
        {
            findings.error(format!("{name}: only {owner} names {used}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, uses: &[&str]) -> Vec<String> {
        let mut findings = Findings::default();
        check_member(name, &uses.iter().copied().collect(), &mut findings);
        findings.errors
    }

    #[test]
    fn query_may_not_name_the_collector() {
        assert_eq!(check("probepilot-query", &["probepilot-sql", "probepilot-catalog", "arrow"]), Vec::<String>::new());
        assert_eq!(
            check("probepilot-query", &["probepilot-collector"]),
            ["probepilot-query: must not depend on probepilot-collector"]
        );
    }

    #[test]
    fn a_hidden_crate_is_named_by_its_owner_alone() {
        assert_eq!(check("probepilot-catalog", &["sqlx"]), Vec::<String>::new());
        assert_eq!(check("probepilot-api", &["sqlx"]), ["probepilot-api: only probepilot-catalog names sqlx"]);
    }

    #[test]
    fn a_crate_may_ask_for_itself() {
        assert_eq!(check("probepilot-catalog", &["probepilot-catalog"]), Vec::<String>::new());
    }

    #[test]
    fn a_new_crate_must_enter_the_table() {
        assert_eq!(check("probepilot-new", &[]).len(), 1);
    }
}
