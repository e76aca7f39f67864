//! The probe `io_latency`: reads and writes whose number and bytes the test knows, found through psql.

use std::io::{Read, Write};

use crate::support::Server;

/// A name that no other thread of the machine has.
const THREAD: &str = "pp-io-latency";

const CALLS: usize = 500;

#[test]
fn kernel_io_latency_counts_calls_and_bytes() {
    let Some(server) = Server::with_probes("ALTER PROBE io_latency ENABLE") else { return };
    let (mut reader, mut writer) = std::io::pipe().unwrap();
    let work = move || {
        for _ in 0..CALLS {
            writer.write_all(&[1; 100]).unwrap();
            reader.read_exact(&mut [0; 50]).unwrap();
            // SAFETY: there is no such descriptor, so nothing is touched.
            unsafe { libc::read(-1, std::ptr::null_mut(), 0) };
        }
    };
    std::thread::Builder::new().name(THREAD.to_owned()).spawn(work).unwrap().join().unwrap();
    let ours = format!("FROM io_latency WHERE comm = '{THREAD}'");
    server.wait_for(
        &format!("SELECT syscall, sum(events), sum(errors), sum(bytes) {ours} GROUP BY 1 ORDER BY 1"),
        &format!("read|{}|{CALLS}|{}\nwrite|{CALLS}|0|{}", 2 * CALLS, 50 * CALLS, 100 * CALLS),
    );
    let latencies =
        format!("SELECT bool_and(latency_p50_ns > 0 AND latency_p50_ns * 16 <= latency_max_ns * 17) {ours}");
    assert_eq!(server.psql(&latencies), "t");
}
