//! The host's clocks, and how one is told in the other.

use std::time::{SystemTime, UNIX_EPOCH};

/// Unix time now, nanoseconds.
pub fn unix_now_ns() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as i64)
}

/// The kernel's monotonic clock now, nanoseconds: what records carry.
pub fn monotonic_now_ns() -> u64 {
    read(libc::CLOCK_MONOTONIC) as u64
}

/// When this host was booted, Unix nanoseconds, by the wall clock as it goes now.
pub fn boot_unix_ns() -> i64 {
    unix_now_ns() - read(libc::CLOCK_BOOTTIME)
}

/// The unit of `/proc`'s times: ticks in a second.
pub fn clock_ticks_per_second() -> u64 {
    // SAFETY: sysconf has no memory arguments.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    u64::try_from(ticks).ok().filter(|&ticks| ticks > 0).unwrap_or(100)
}

fn read(clock: libc::clockid_t) -> i64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a timespec of ours that lives for the call.
    let result = unsafe { libc::clock_gettime(clock, &raw mut time) };
    assert_eq!(result, 0, "every Linux we run on has the clock {clock}");
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}
