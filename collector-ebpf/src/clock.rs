//! The host's clocks.

/// Unix time now, nanoseconds.
pub fn unix_now_ns() -> i64 {
    now_ns(libc::CLOCK_REALTIME)
}

/// The kernel's monotonic clock now, nanoseconds: what records carry.
pub fn monotonic_now_ns() -> i64 {
    now_ns(libc::CLOCK_MONOTONIC)
}

/// Time since this host was booted, suspension included, nanoseconds.
pub fn boottime_now_ns() -> i64 {
    now_ns(libc::CLOCK_BOOTTIME)
}

fn now_ns(clock: libc::clockid_t) -> i64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid place for the result.
    let result = unsafe { libc::clock_gettime(clock, &raw mut time) };
    assert_eq!(result, 0, "every kernel with eBPF has the clock {clock}");
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}
