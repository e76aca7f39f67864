//! The host's clocks.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

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

/// Tells when the wall clock was set, or went on while the host slept: a timer that is never due, and that the kernel
/// cancels then (`TFD_TIMER_CANCEL_ON_SET`, timerfd_create(2)). Its descriptor can be read from that moment on.
#[derive(Debug)]
pub struct Steps(OwnedFd);

impl Steps {
    /// Watches from now on.
    ///
    /// # Errors
    /// When there are too many descriptors.
    pub fn new() -> io::Result<Steps> {
        // SAFETY: takes only numbers.
        let timer = unsafe { libc::timerfd_create(libc::CLOCK_REALTIME, libc::TFD_CLOEXEC | libc::TFD_NONBLOCK) };
        if timer < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: it was just made and nobody else has it.
        let timer = unsafe { OwnedFd::from_raw_fd(timer) };
        let never = libc::timespec { tv_sec: libc::time_t::MAX, tv_nsec: 0 };
        let once = libc::itimerspec { it_interval: libc::timespec { tv_sec: 0, tv_nsec: 0 }, it_value: never };
        let flags = libc::TFD_TIMER_ABSTIME | libc::TFD_TIMER_CANCEL_ON_SET;
        // SAFETY: the time lives through the call, and the old one is not asked for.
        if unsafe { libc::timerfd_settime(timer.as_raw_fd(), flags, &raw const once, std::ptr::null_mut()) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Steps(timer))
    }

    /// Whether there was a step since the last call.
    pub fn take(&self) -> bool {
        let mut due = [0_u8; 8];
        // SAFETY: a timer gives eight bytes at most, and does not block.
        let read = unsafe { libc::read(self.0.as_raw_fd(), due.as_mut_ptr().cast(), due.len()) };
        // Cancelled, it stays armed. Never due, it gives nothing else.
        read < 0 && io::Error::last_os_error().raw_os_error() == Some(libc::ECANCELED)
    }
}

impl AsFd for Steps {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
