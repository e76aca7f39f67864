//! The probe `io_slow`: makes its event happen and finds exactly that row through psql.

use std::io::{Read, Write};
use std::time::Duration;

use crate::support::Server;

#[test]
fn kernel_io_slow_shows_a_read_that_had_to_wait() {
    let Some(server) = Server::with_probes("ALTER PROBE io_slow ENABLE") else { return };
    let (mut reader, mut writer) = std::io::pipe().unwrap();
    let waiting = std::thread::spawn(move || {
        let mut bytes = [0; 7];
        reader.read_exact(&mut bytes).unwrap();
        // SAFETY: the call takes nothing.
        unsafe { libc::gettid() }
    });
    // The reader is in its call by then; what it waits for is this sleep.
    std::thread::sleep(Duration::from_millis(300));
    writer.write_all(b"waiting").unwrap();
    let thread = waiting.join().unwrap();
    server.wait_for(
        &format!(
            "SELECT syscall, bytes, error, fd > 2, latency_ns BETWEEN 10000000 AND 20000000000 FROM io_slow
             WHERE tid = {thread} AND bytes = 7"
        ),
        "read|7||t|t",
    );
}
