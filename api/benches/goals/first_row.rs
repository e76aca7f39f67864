//! The first row of a SELECT of ten million stored rows, and what the server's memory grows by until the last one.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::figures::{median, percentile, show};
use crate::pg_client::{Format, PgClient};
use crate::support::Server;
use crate::wire::{done, ours};

const ROWS: u64 = 10_000_000;
const INSERT_ROWS: u64 = 500_000;
const RUNS: usize = 20;
const GOAL_MS: f64 = 100.0;
const GOAL_MIB: u64 = 64;

pub fn run() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    make(&Server::start(directory.path(), &["--no-probes"]));
    for (name, format) in
        [("simple protocol", None), ("extended, text", Some(Format::Text)), ("binary", Some(Format::Binary))]
    {
        // Memory that was used before would hide what is used now.
        let server = Server::start(directory.path(), &["--no-probes"]);
        let mut client = ours(&server);
        done(&mut client, "SELECT count(*) FROM ten_million WHERE id < 10");
        let before = resident_bytes(server.pid());
        let (grown, first) = watched(&server, before, || all(&mut client, format));
        let mut times = vec![first];
        times.extend((1..RUNS).map(|_| all(&mut client, format)));
        let found = format!(
            "{:.1} ms (the first {first:.1}, max {:.1}), goal {GOAL_MS} ms; memory grew by {} MiB, goal {GOAL_MIB} MiB",
            median(&times),
            percentile(&times, 100.0),
            grown >> 20
        );
        show(&format!("first of {ROWS} rows, {name}"), &found);
    }
}

fn make(server: &Server) {
    let mut client = ours(server);
    done(&mut client, "CREATE TABLE ten_million (time timestamptz, id bigint, host text)");
    for from in (0..ROWS).step_by(INSERT_ROWS as usize) {
        let last = from + INSERT_ROWS - 1;
        done(
            &mut client,
            &format!(
                "INSERT INTO ten_million SELECT '2026-01-01'::timestamptz + n * interval '1 ms', n, 'host-' || n % 200 \
                 FROM generate_series({from}::bigint, {last}::bigint) AS s(n)"
            ),
        );
    }
    done(&mut client, "CHECKPOINT");
}

/// Takes all rows; milliseconds to the first.
fn all(client: &mut PgClient, format: Option<Format>) -> f64 {
    const QUERY: &str = "SELECT * FROM ten_million";
    let answer = match format {
        None => client.simple(QUERY),
        Some(format) => client.extended(QUERY, format),
    };
    assert_eq!(answer.rows, ROWS, "{answer:?}");
    answer.first_row.expect("there are rows").as_secs_f64() * 1e3
}

/// Does something, and says by how much the server was larger at most.
fn watched<T: Send>(server: &Server, before: u64, work: impl FnOnce() -> T + Send) -> (u64, T) {
    let (most, done) = (AtomicU64::new(before), AtomicBool::new(false));
    let result = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                most.fetch_max(resident_bytes(server.pid()), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        let result = work();
        done.store(true, Ordering::Relaxed);
        result
    });
    (most.into_inner() - before, result)
}

/// What the server itself has in memory, without pages of files.
fn resident_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the server runs");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("every process has it");
    let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kibibytes << 10
}
