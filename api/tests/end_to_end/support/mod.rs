//! Starts the server, runs psql, makes events happen.

mod server; // The server's process: start, what it printed, stop.
mod client; // A connection to it as `admin`.
mod psql; // psql against a server.
mod rights; // What this test may do here.
mod events; // Numbered events of the kernel, made by this process.
mod python; // The tests' Python.
mod loop_device; // Block devices of the test's own.
mod cgroup; // Cgroups of the test's own.
mod hole; // A network in which an address does not answer.
mod counts; // What the kernel itself counts.

pub use cgroup::Cgroup;
pub use client::{connect, connected};
pub use counts::per_cpu_counts;
pub use events::{FIRST, Numbered, make, numbered_probe};
pub use hole::Hole;
pub use loop_device::LoopDevice;
pub use python::Python;
pub use rights::{is_root, may_attach};
pub use server::Server;

use std::time::{Duration, Instant};

/// How long a test waits for something that should come in milliseconds: the machine may be busy.
pub const WAIT_MAX: Duration = Duration::from_secs(20);

/// Asks again until there is an answer; fails with what was `wanted` after [`WAIT_MAX`].
pub fn wait_until<T>(wanted: &str, mut ask: impl FnMut() -> Result<T, String>) -> T {
    let start = Instant::now();
    loop {
        match ask() {
            Ok(answer) => return answer,
            Err(last) if start.elapsed() > WAIT_MAX => {
                panic!("waited {WAIT_MAX:?} for {wanted}; the last answer was {last}")
            }
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}
