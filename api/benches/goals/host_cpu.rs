//! G3: the share of the host that collecting takes at a fixed rate of events, beside bpftrace with the same probe.
//!
//! Counted is the CPU time of whoever collects, until the rows are in Parquet files, and what the events' own thread uses more than
//! without a probe: programs run on its account. Rounds of bare, ours, theirs follow each other.

use std::time::Duration;

use crate::bpftrace::{self, Bpftrace};
use crate::figures::{median, process_cpu_ns, show};
use crate::support::Server;
use crate::workload::paced;

const GOAL_PERCENT: f64 = 2.0;
const ROUNDS: usize = 5;
const TIME: Duration = Duration::from_secs(8);

/// The kind of events: no process group has such a number.
const WHICH: u32 = 1;

const OURS: &str = "CREATE PROBE host_cpu WITH (max_rows_per_second = 100000000) AS \
     SELECT time, pid, tid, comm, who AS number FROM tracepoint.sys_enter_getpriority WHERE which = 1";
const THEIRS: &str = r#"tracepoint:syscalls:sys_enter_getpriority /args->which == 1/ { printf("%llu %d %d %s %d\n", nsecs, pid, tid, comm, args->who); }"#;

pub fn run() {
    let server = Server::with_probes("").expect("the rights were asked for");
    let version = bpftrace::version();
    for rate in [50_000, 200_000] {
        let (mut ours, mut theirs, mut lost) = (Vec::new(), Vec::new(), 0);
        for _ in 0..ROUNDS {
            let (_, bare) = paced(WHICH, rate, TIME);
            server.psql(OURS);
            let before = process_cpu_ns(server.pid());
            let (made, with) = paced(WHICH, rate, TIME);
            // Storing comes once a minute; here each round pays for its own rows.
            server.psql("CHECKPOINT");
            ours.push(percent(process_cpu_ns(server.pid()) - before, with, bare));
            std::thread::sleep(Duration::from_millis(100));
            let rows: u64 = server.psql("SELECT count(*) FROM host_cpu").parse().expect("a count");
            lost += made - rows;
            server.psql("DROP PROBE host_cpu WITH DATA");
            if version.is_some() {
                let mut peer = Bpftrace::start(THEIRS);
                let before = process_cpu_ns(peer.pid());
                let (_, with) = paced(WHICH, rate, TIME);
                theirs.push(percent(process_cpu_ns(peer.pid()) - before, with, bare));
                peer.stop();
            }
        }
        let (ours, theirs) = (median(&ours), median(&theirs));
        let peer = version.as_ref().map_or("bpftrace is not installed".to_owned(), |version| {
            format!("{version} {theirs:.1} %; ratio {:.2}", ours / theirs)
        });
        show(
            &format!("G3 host CPU while collecting {rate} events/s, 5 columns"),
            &format!("{ours:.1} % of all CPUs, {lost} rows lost; goal {GOAL_PERCENT} %; {peer} (medians of {ROUNDS})"),
        );
    }
}

/// CPU time of the collecting side and of the source beyond `bare`, in percent of all CPUs.
fn percent(collector_ns: u64, source_ns: u64, bare_ns: u64) -> f64 {
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) as f64;
    let spent = collector_ns as f64 + source_ns as f64 - bare_ns as f64;
    spent / (TIME.as_nanos() as f64 * cpus) * 100.0
}
