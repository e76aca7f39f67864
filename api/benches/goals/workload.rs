//! System calls at a rate, pinned to a CPU.

use std::time::{Duration, Instant};

use crate::figures::{monotonic_ns, thread_cpu_ns};

/// The CPU the events are made on.
pub const EVENT_CPU: usize = 0;

/// The CPU whoever reads them runs on.
pub const READER_CPU: &str = "1";

/// Pins the calling thread.
pub fn pin(cpu: usize) {
    // SAFETY: a zeroed cpu_set_t is an empty set; CPU_SET stays within it, and sched_setaffinity only reads it.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set);
    }
}

/// Mean time of a `getppid` in each of `bursts` bursts of `calls`, nanoseconds; between bursts the readers catch up.
pub fn burst_costs(bursts: usize, calls: u32, pause: Duration) -> Vec<f64> {
    (0..bursts)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..calls {
                // SAFETY: getppid takes nothing and cannot fail. Through syscall, so that no library remembers the answer.
                unsafe { libc::syscall(libc::SYS_getppid) };
            }
            let cost = start.elapsed().as_nanos() as f64 / f64::from(calls);
            std::thread::sleep(pause);
            cost
        })
        .collect()
}

/// `getpriority(which, number)` with rising numbers at `per_second` for `time`; returns how many were made.
///
/// Open loop: events that are late are made at once, so a slow reader never slows the source.
pub fn numbered(which: u32, per_second: u64, time: Duration) -> u64 {
    let start = monotonic_ns();
    let (mut made, end_ns) = (0_u64, time.as_nanos() as i64);
    loop {
        let passed = monotonic_ns() - start;
        if passed >= end_ns {
            return made;
        }
        let due = (passed as u128 * u128::from(per_second) / 1_000_000_000) as u64;
        while made < due {
            // SAFETY: getpriority takes two numbers and touches no memory; no process has such a number.
            unsafe { libc::syscall(libc::SYS_getpriority, which, FIRST + made) };
            made += 1;
        }
        // Above this rate the events of a sleep would come as one burst.
        if per_second <= 20_000 {
            std::thread::sleep(Duration::from_micros(50));
        }
    }
}

/// As [`numbered`], in groups of a millisecond's worth with sleep between them; returns also the CPU time the thread used,
/// nanoseconds.
pub fn paced(which: u32, per_second: u64, time: Duration) -> (u64, u64) {
    let (start, used) = (Instant::now(), thread_cpu_ns());
    let mut made = 0;
    while start.elapsed() < time {
        let due = start.elapsed().as_micros() as u64 * per_second / 1_000_000;
        while made < due {
            // SAFETY: getpriority takes two numbers and touches no memory; no process has such a number.
            unsafe { libc::syscall(libc::SYS_getpriority, which, FIRST + made) };
            made += 1;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    (made, thread_cpu_ns() - used)
}

/// The first number: no process is numbered so high.
pub const FIRST: u64 = 1_000_000_000;
