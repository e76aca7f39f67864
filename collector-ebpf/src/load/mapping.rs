//! Memory that we share with the kernel.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// A shared mapping, unmapped when dropped.
#[derive(Debug)]
pub struct Mapping {
    address: NonNull<u8>,
    bytes: usize,
}

// SAFETY: a mapping belongs to the process, not to a thread.
unsafe impl Send for Mapping {}
// SAFETY: through a shared reference only atomics are reachable, and the address, for which its user answers.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `bytes` of what `fd` holds from `offset` on.
    pub fn new(fd: BorrowedFd, bytes: usize, offset: usize, protection: i32) -> io::Result<Mapping> {
        // SAFETY: the kernel chooses a free address; nothing is overlaid.
        let address = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                protection,
                libc::MAP_SHARED,
                fd.as_raw_fd(),
                libc::off_t::try_from(offset).expect("a page"),
            )
        };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Mapping { address: NonNull::new(address.cast()).expect("the kernel maps nothing at 0"), bytes })
    }

    /// Its first byte.
    pub fn address(&self) -> NonNull<u8> {
        self.address
    }

    /// The position that a ring's page begins with.
    pub fn position(&self, order: Ordering) -> usize {
        // SAFETY: a position is the first word of its page, aligned, and only accessed atomically.
        unsafe { self.address.cast::<AtomicUsize>().as_ref() }.load(order)
    }

    /// The word that begins `at` bytes in, a multiple of eight.
    pub fn word(&self, at: usize) -> &AtomicU64 {
        assert!(at.is_multiple_of(8) && at + 8 <= self.bytes, "a word of the mapping");
        // SAFETY: it is aligned and within the mapping, and words are only accessed atomically.
        unsafe { self.address.add(at).cast::<AtomicU64>().as_ref() }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: we mapped exactly this, and nothing refers to it any more.
        unsafe { libc::munmap(self.address.as_ptr().cast(), self.bytes) };
    }
}
