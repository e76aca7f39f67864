//! The probe `syscall_error_rate`: calls that fail, whose number the test knows, found through psql.

use crate::support::Server;

/// A name that no other thread of the machine has.
const THREAD: &str = "pp-error-rate";

#[test]
fn kernel_syscall_error_rate_counts_failures_by_call_and_error() {
    let Some(server) = Server::with_probes("ALTER PROBE syscall_error_rate ENABLE") else { return };
    let fail = || {
        for _ in 0..700 {
            // SAFETY: there is no such descriptor, so nothing is touched.
            unsafe { libc::syscall(libc::SYS_lseek, -1, 0, 0) };
        }
        for _ in 0..300 {
            std::fs::File::open("/no/such/file").unwrap_err();
        }
    };
    std::thread::Builder::new().name(THREAD.to_owned()).spawn(fail).unwrap().join().unwrap();
    server.wait_for(
        &format!("SELECT syscall, error, sum(events) FROM syscall_error_rate WHERE comm = '{THREAD}' GROUP BY 1, 2 ORDER BY 1"),
        "lseek|EBADF|700\nopenat|ENOENT|300",
    );
}
