//! Numbered events of the kernel, made by this process: the witness that counts for itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A probe with a row per event of [`Numbered`]: of this process only, as others on the machine may make such events too.
pub fn numbered_probe() -> String {
    format!(
        "CREATE PROBE numbered WITH (max_rows_per_second = 1000000) AS \
         SELECT time, nsecs, pid, who AS number FROM tracepoint.sys_enter_getpriority \
         WHERE which = 0 AND who >= {FIRST} AND pid = {}",
        std::process::id()
    )
}

/// The first number: no process is numbered so high, so that no event has an effect.
pub const FIRST: u64 = 1_000_000_000;

/// A thread that makes numbered events at a steady rate until it is stopped: `getpriority(PRIO_PROCESS, number)`.
pub struct Numbered {
    made: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Numbered {
    /// Starts making `per_second` events a second, in groups of at most a millisecond's worth.
    pub fn start(per_second: u64) -> Numbered {
        Numbered::start_from(0, per_second)
    }

    /// As [`Numbered::start`], with numbers from `first` on.
    pub fn start_from(first: u64, per_second: u64) -> Numbered {
        let made = Arc::new(AtomicU64::new(0));
        let stop = Arc::new(AtomicBool::new(false));
        let (counter, flag) = (Arc::clone(&made), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let start = Instant::now();
            while !flag.load(Ordering::Relaxed) {
                let due = start.elapsed().as_micros() as u64 * per_second / 1_000_000;
                while counter.load(Ordering::Relaxed) < due {
                    make(FIRST + first + counter.load(Ordering::Relaxed));
                    counter.fetch_add(1, Ordering::Relaxed);
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        Numbered { made, stop, thread: Some(thread) }
    }

    /// How many were made so far.
    pub fn made(&self) -> u64 {
        self.made.load(Ordering::Relaxed)
    }

    /// Stops and returns how many were made.
    pub fn stop(mut self) -> u64 {
        self.halt();
        self.made()
    }

    fn halt(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("it only makes system calls");
        }
    }
}

impl Drop for Numbered {
    fn drop(&mut self) {
        self.halt();
    }
}

/// One event, by the calling thread: asks for the priority of a process that does not exist, which changes nothing.
pub fn make(number: u64) {
    let number = libc::id_t::try_from(number).expect("fewer than four billion events are made");
    // SAFETY: getpriority takes two numbers and touches no memory.
    unsafe { libc::getpriority(libc::PRIO_PROCESS, number) };
}
