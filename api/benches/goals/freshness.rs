//! G4: from a kernel event to a row in SQL: a query each millisecond, and a live COPY.
//!
//! Events are made at a fixed rate by another thread; the clock is the kernel's own, read by the program when the event
//! happens and by us when the row is in our hands. A row that never came would be counted as lost beside the figure.

use std::time::Duration;

use futures::StreamExt;
use tokio_postgres::Client;

use crate::figures::{monotonic_ns, percentile, show};
use crate::support::{Server, connect};
use crate::workload::{FIRST, numbered};

const GOAL_MS: f64 = 10.0;
const TIME: Duration = Duration::from_secs(15);
const SAMPLES_PER_SECOND: u64 = 1_000;

pub fn run() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    for background in [0, 50_000] {
        runtime.block_on(by_query(background));
        runtime.block_on(by_copy(background));
    }
}

/// Rows of a stored probe, asked for each millisecond.
async fn by_query(background: u64) {
    let (server, client) = start(background).await;
    server.psql(
        "CREATE PROBE fresh WITH (max_rows_per_second = 1000000) AS \
         SELECT time, nsecs, who AS number FROM tracepoint.sys_enter_getpriority WHERE which = 1",
    );
    let query = client.prepare("SELECT nsecs, number FROM fresh WHERE number > $1").await.expect("it is prepared");
    let sources = Sources::start(background);
    let (mut latencies, mut last) = (Vec::new(), FIRST as i32 - 1); // `who` is an integer of 32 bits.
    let mut tick = tokio::time::interval(Duration::from_millis(1));
    let mut quiet = 0;
    // A second without rows after the source has ended is the end.
    while quiet < 1_000 {
        tick.tick().await;
        let rows = client.query(&query, &[&last]).await.expect("the query runs");
        let now = monotonic_ns();
        quiet = if rows.is_empty() && sources.ended() { quiet + 1 } else { 0 };
        for row in rows {
            latencies.push((now - row.get::<_, i64>(0)) as f64 / 1e6);
            last = last.max(row.get(1));
        }
    }
    report("a query each millisecond", background, &latencies, sources.stop());
}

/// Rows of a live COPY as they come.
async fn by_copy(background: u64) {
    let (_server, client) = start(background).await;
    let copy = "COPY (SELECT nsecs, who FROM tracepoint.sys_enter_getpriority WHERE which = 1) TO STDOUT";
    let stream = client.copy_out(copy).await.expect("it streams");
    tokio::pin!(stream);
    let sources = Sources::start(background);
    let mut latencies = Vec::new();
    loop {
        match tokio::time::timeout(Duration::from_secs(1), stream.next()).await {
            Ok(Some(chunk)) => {
                let now = monotonic_ns();
                let chunk = chunk.expect("the stream goes on");
                for line in chunk.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                    let nsecs =
                        std::str::from_utf8(line).ok().and_then(|line| line.split('\t').next()?.parse::<i64>().ok());
                    latencies.push((now - nsecs.expect("the first column is a number")) as f64 / 1e6);
                }
            }
            Ok(None) => break,
            Err(_) if sources.ended() => break,
            Err(_) => {}
        }
    }
    report("a live COPY", background, &latencies, sources.stop());
}

async fn start(background: u64) -> (Server, Client) {
    let server = Server::with_probes("").expect("the rights were asked for");
    if background > 0 {
        server.psql(
            "CREATE PROBE background WITH (max_rows_per_second = 1000000) AS \
             SELECT time, pid, comm, who AS number FROM tracepoint.sys_enter_getpriority WHERE which = 2",
        );
    }
    let client = connect(&server).await;
    (server, client)
}

/// The threads that make the events.
struct Sources {
    sampled: std::thread::JoinHandle<u64>,
    background: Option<std::thread::JoinHandle<u64>>,
}

impl Sources {
    fn start(background: u64) -> Sources {
        Sources {
            sampled: std::thread::spawn(|| numbered(1, SAMPLES_PER_SECOND, TIME)),
            background: (background > 0).then(|| std::thread::spawn(move || numbered(2, background, TIME))),
        }
    }

    fn ended(&self) -> bool {
        self.sampled.is_finished()
    }

    fn stop(self) -> u64 {
        if let Some(background) = self.background {
            background.join().expect("it only makes system calls");
        }
        self.sampled.join().expect("it only makes system calls")
    }
}

fn report(reader: &str, background: u64, latencies: &[f64], made: u64) {
    let p99 = percentile(latencies, 99.0);
    show(
        &format!("G4 event to row, {reader}, {SAMPLES_PER_SECOND} events/s beside {background}/s"),
        &format!(
            "p50 {:.2} ms, p99 {p99:.2} ms, {} of {made} events seen; goal p99 {GOAL_MS} ms; ratio {:.2}",
            percentile(latencies, 50.0),
            latencies.len(),
            p99 / GOAL_MS
        ),
    );
}
