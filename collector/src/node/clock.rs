//! The host's clocks, and how one is told in the other.

use probepilot_collector_ebpf::clock;

pub use probepilot_collector_ebpf::clock::unix_now_ns;

/// The kernel's monotonic clock now, nanoseconds: what records carry.
pub fn monotonic_now_ns() -> u64 {
    clock::monotonic_now_ns().cast_unsigned()
}

/// When this host was booted, Unix nanoseconds, by the wall clock as it goes now.
pub fn boot_unix_ns() -> i64 {
    unix_now_ns() - clock::boottime_now_ns()
}

/// The unit of `/proc`'s times: ticks in a second.
pub fn clock_ticks_per_second() -> u64 {
    // SAFETY: sysconf has no memory arguments.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    u64::try_from(ticks).ok().filter(|&ticks| ticks > 0).unwrap_or(100)
}
