//! From a cancel request to the client's 57014, with all processors taken by the statements that are cancelled.

use std::time::{Duration, Instant};

use crate::figures::{median, percentile, show};
use crate::pg_client::{self, Format};
use crate::support::Server;
use crate::wire::{ours, socket};

const GOAL_MS: f64 = 100.0;
const RUNS: usize = 40;

const STATEMENTS: [(&str, &str); 5] = [
    ("rows on their way", "SELECT * FROM generate_series(1, 1000000000)"),
    (
        "a join by comparing",
        "SELECT count(*) FROM generate_series(1, 3000000) a(x) JOIN generate_series(1, 3000000) b(y) ON a.x * 7 < b.y - 20999990",
    ),
    ("all pairs", "SELECT sum(x + y) FROM generate_series(1, 3000000) a(x), generate_series(1, 3000000) b(y)"),
    ("a sort", "SELECT * FROM generate_series(1, 50000000) a(x) ORDER BY x * 7919 % 1000003"),
    ("groups", "SELECT x, count(*) FROM generate_series(1, 50000000) a(x) GROUP BY x"),
];

pub fn run() {
    let server = Server::without_probes();
    let (folder, port) = socket(&server);
    for (name, statement) in STATEMENTS {
        let mut times = Vec::new();
        for run in 0..RUNS {
            let mut client = ours(&server);
            let request = client.cancel_packet();
            // Not always at the same place.
            let after = Duration::from_millis(100 + 17 * (run as u64 % 10));
            let (sent, ended) = std::thread::scope(|scope| {
                let running = scope.spawn(move || {
                    let answer = client.extended(statement, Format::Text);
                    (answer, Instant::now())
                });
                std::thread::sleep(after);
                let sent = Instant::now();
                pg_client::cancel(folder, port, &request);
                let (answer, ended) = running.join().expect("the client reads");
                assert_eq!(answer.error.as_deref(), Some("57014"), "{name}: {answer:?}");
                (sent, ended)
            });
            times.push((ended - sent).as_secs_f64() * 1e3);
        }
        let found = format!(
            "p50 {:.1} ms, p99 {:.1} ms, goal {GOAL_MS} ms; ratio {:.2}",
            median(&times),
            percentile(&times, 99.0),
            percentile(&times, 99.0) / GOAL_MS
        );
        show(&format!("cancel, {name}"), &found);
    }
}
