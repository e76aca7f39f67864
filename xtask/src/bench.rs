//! `bench`: the goals' figures, in release, one line each.

use anyhow::{Result, bail};

use crate::command;

/// The figures' names, with what each measures.
pub const FIGURES: [(&str, &str); 12] = [
    ("event-cost", "G1: what an event costs in the kernel, against bpftrace when it is installed"),
    ("ring-to-parquet", "G2: rows a second from the ring to committed Parquet, on one core, without loss"),
    ("host-cpu", "G3: the share of the host that collecting takes, against bpftrace when it is installed"),
    ("freshness", "G4: from a kernel event to a row in SQL, p50 and p99"),
    ("newest", "G7: the newest rows that match, against DuckDB and stock DataFusion on the same files"),
    ("wire", "G8: rows a second over the Postgres protocol, against PostgreSQL 15"),
    ("first-row", "the first of ten million rows, and memory until the last"),
    ("cancel", "from a cancel request to the client's answer"),
    ("create-probe", "G14: from the text of CREATE PROBE to attached and counting"),
    ("many-probes", "G16: what an event costs under 100 probes on its hook, against one"),
    ("planning", "G17: planning with 10,000 segments in the manifest"),
    ("memory", "G19: memory at rest, and its peak under overload"),
];

/// Builds in release and measures; `all` measures everything. Needs root, two CPUs and an otherwise idle machine.
pub fn run(name: &str) -> Result<()> {
    let names: Vec<&str> = match name {
        "all" => FIGURES.iter().map(|(name, _)| *name).collect(),
        name if FIGURES.iter().any(|(figure, _)| *figure == name) => vec![name],
        _ => bail!("no figure is called {name}; there are:\n{}", list()),
    };
    let mut bench = command::cargo();
    bench.args(["bench", "--package", "probepilot-api", "--bench", "goals", "--"]).args(names);
    command::run(&mut bench)
}

/// The figures, one a line.
pub fn list() -> String {
    let lines: Vec<String> = FIGURES.iter().map(|(name, what)| format!("  {name:16}  {what}")).collect();
    lines.join("\n")
}
