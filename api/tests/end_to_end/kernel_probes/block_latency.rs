//! The probe `block_latency`: requests whose number, size and device the test knows, found through psql.

use crate::support::{LoopDevice, Server};

const REQUESTS: u64 = 300;
const BYTES: u64 = 8192;

#[test]
fn kernel_block_latency_counts_every_request_of_a_device() {
    let Some(server) = Server::with_probes("") else { return };
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let Some(device) = LoopDevice::create(&directory.path().join("device"), 2 * REQUESTS * BYTES) else { return };
    assert!(device.write(REQUESTS, BYTES).wait().unwrap().success());
    let ours = format!("FROM block_latency WHERE device_major = 7 AND device_minor = {}", device.minor());
    server.wait_for(
        &format!("SELECT sum(events), sum(bytes), sum(errors), bool_or(other) {ours} AND operation = 'write'"),
        &format!("{REQUESTS}|{}|0|f", REQUESTS * BYTES),
    );
    let counts = format!(
        "SELECT bool_and(latency_p50_ns > 0 AND latency_p50_ns <= latency_p99_ns AND latency_mean_ns <= latency_max_ns
             AND latency_p99_ns * 16 <= latency_max_ns * 17 AND latency_histogram_ns LIKE '[[%]]') {ours}"
    );
    assert_eq!(server.psql(&counts), "t");
}
