//! The goals' figures, one line each: `cargo xtask bench NAME`, which lists the names.
//!
//! Each line has both numbers, their ratio and the machine. Absolute numbers mean little by themselves; ratios of one run do.

#[path = "../../tests/end_to_end/support/mod.rs"]
#[expect(dead_code, unused_imports, reason = "the figures need less of it than the tests")]
mod support; // Starts the server, runs psql.
mod bpftrace; // A running bpftrace: the peer.
mod create_probe; // G14: from the text of a probe to attached.
mod event_cost; // G1: what an event costs in the kernel, against bpftrace.
mod figures; // Medians, percentiles, the machine.
mod freshness; // G4: from a kernel event to a row in SQL.
mod host_cpu; // G3: the share of the host that collecting takes.
mod lake; // A lake of a few million rows.
mod many_probes; // G16: an event under 100 probes.
mod memory; // G19: memory at rest and under overload.
mod newest; // G7: the newest rows that match, against DuckDB and stock DataFusion.
mod cancel; // From a cancel request to the answer.
mod first_row; // The first of ten million rows.
mod pg_client; // A client that keeps nothing.
mod planning; // G17: planning with 10,000 segments.
mod ring_to_parquet; // G2: rows a second through one core, without loss.
mod wire; // G8: rows a second, beside PostgreSQL.
mod workload; // System calls at a rate, pinned to a CPU.

fn main() {
    if !support::may_attach() {
        std::process::exit(1);
    }
    // `cargo bench` adds `--bench` of its own.
    let names: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    for name in &names {
        match name.as_str() {
            "event-cost" => event_cost::run(),
            "ring-to-parquet" => ring_to_parquet::run(),
            "host-cpu" => host_cpu::run(),
            "freshness" => freshness::run(),
            "create-probe" => create_probe::run(),
            "many-probes" => many_probes::run(),
            "memory" => memory::run(),
            "newest" => newest::run(),
            "wire" => wire::run(),
            "first-row" => first_row::run(),
            "cancel" => cancel::run(),
            "planning" => planning::run(),
            unknown => {
                eprintln!("no figure is called {unknown}: cargo xtask bench lists them");
                std::process::exit(1);
            }
        }
    }
}
