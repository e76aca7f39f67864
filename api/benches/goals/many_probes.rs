//! G16: what an event costs under 100 probes on its hook, against one.
//!
//! No event passes a filter, so that only programs are paid.

use std::time::Duration;

use crate::figures::{median, show};
use crate::support::Server;
use crate::workload::{EVENT_CPU, burst_costs, pin};

const PROBES: usize = 100;
const GOAL: f64 = 10.0;
const BURSTS: usize = 60;
const CALLS: u32 = 10_000;

pub fn run() {
    let server = Server::with_probes("").expect("the rights were asked for");
    pin(EVENT_CPU);
    let cost = || median(&burst_costs(BURSTS, CALLS, Duration::from_millis(1)));
    let bare = cost();
    create(&server, 0..1);
    let one = cost() - bare;
    create(&server, 1..PROBES);
    let many = cost() - bare;
    show(
        &format!("G16 cost of an event, {PROBES} probes on its hook against one"),
        &format!("one +{one:.0} ns, {PROBES} +{many:.0} ns; ratio {:.1}; goal {GOAL}", many / one),
    );
}

fn create(server: &Server, numbers: std::ops::Range<usize>) {
    for number in numbers {
        server.psql(&format!(
            "CREATE PROBE many_{number} AS SELECT time, pid, comm FROM tp_btf.sys_enter WHERE id = 110 AND pid = 1"
        ));
    }
}
