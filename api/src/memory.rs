//! How `--memory` is shared out: every queue and pool has its part, so that none takes another's.

use anyhow::ensure;

use crate::size::Size;

/// What the rest takes: connections, catalogs, plans, the cache of footers (64 MiB), programs in user space.
const BASE_BYTES: u64 = 128 << 20;

/// What the shares must have together.
const SHARED_BYTES_MIN: u64 = 64 << 20;

/// Memory at most when nobody says how much; on a small machine it is half of what that has.
const DEFAULT_BYTES_MAX: u64 = 2 << 30;

/// The tail's share at most when nobody says how much: a minute of 60,000 rows a second.
const TAIL_BYTES_MAX: u64 = 512 << 20;

/// Larger ones bring nothing more, bytes.
const QUEUE_BYTES_MAX: u64 = 64 << 20;
const CUT_BYTES_MAX: u64 = 64 << 20;
const MERGE_BYTES_MAX: u64 = 256 << 20;

/// Memory of the server's parts, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// The kernel's ring buffers.
    pub rings: u64,
    /// Rows that no segment holds yet, for queries.
    pub tail: u64,
    /// Running queries; above it they spill, as much again.
    pub queries: u64,
    /// Each of three queues: to the log, in it, and between it and its readers.
    pub queue: u64,
    /// Rows of which a segment is cut. Six times as much is held at most: rows of three, and one being sorted and encoded.
    pub cut: u64,
    /// A merge of segments.
    pub merge: u64,
}

impl Memory {
    /// Shares `total` out, or what is the default on this machine; what is asked for by name is taken first.
    ///
    /// # Errors
    /// When nothing would be left for the rest.
    pub fn share(total: Option<u64>, tail: Option<u64>, rings: u64) -> anyhow::Result<Memory> {
        let total = total.unwrap_or_else(|| DEFAULT_BYTES_MAX.min(machine_bytes() / 2));
        let needed = BASE_BYTES + rings + tail.unwrap_or(0) + SHARED_BYTES_MIN;
        ensure!(
            total >= needed,
            "--memory {} is too little: with {} for ring buffers{} at least {} are needed",
            Size(total),
            Size(rings),
            tail.map_or_else(String::new, |tail| format!(" and {} for the tail", Size(tail))),
            Size(needed),
        );
        let shared = total - BASE_BYTES - rings;
        let tail = tail.unwrap_or_else(|| TAIL_BYTES_MAX.min(shared / 4));
        // Three quarters when the tail has its share; 95 hundredths of them are given away.
        let left = (shared - tail) / 3 * 4;
        Ok(Memory {
            rings,
            tail,
            queries: left / 3,
            queue: QUEUE_BYTES_MAX.min(left / 32),
            cut: CUT_BYTES_MAX.min(left / 40),
            merge: MERGE_BYTES_MAX.min(left / 8),
        })
    }

    /// What all parts may hold at once.
    #[cfg(test)]
    fn bytes_total(&self) -> u64 {
        let Memory { rings, tail, queries, queue, cut, merge } = *self;
        BASE_BYTES + rings + tail + queries + 3 * queue + 6 * cut + merge
    }
}

/// The memory of this machine.
fn machine_bytes() -> u64 {
    // SAFETY: both ask for a number.
    let (pages, page) = unsafe { (libc::sysconf(libc::_SC_PHYS_PAGES), libc::sysconf(libc::_SC_PAGESIZE)) };
    u64::try_from(pages).unwrap_or(0).saturating_mul(u64::try_from(page).unwrap_or(0)).max(1 << 30)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RINGS: u64 = 64 << 20;

    #[test]
    fn the_parts_are_never_more_than_the_whole() {
        for total in [256 << 20, 512_000_000, 1 << 30, 2 << 30, 64 << 30] {
            let memory = Memory::share(Some(total), None, RINGS).unwrap();
            assert!(memory.bytes_total() <= total, "{total}: {memory:?}");
            assert!(memory.queue >= 1 << 20 && memory.cut >= 1 << 20, "{total}: {memory:?}");
        }
        let large_tail = Memory::share(Some(2 << 30), Some(1 << 30), RINGS).unwrap();
        assert!(large_tail.tail == 1 << 30 && large_tail.bytes_total() <= 2 << 30, "{large_tail:?}");
    }

    #[test]
    fn the_default_leaves_half_of_the_machine() {
        let memory = Memory::share(None, None, RINGS).unwrap();
        assert!(memory.bytes_total() <= DEFAULT_BYTES_MAX.min(machine_bytes() / 2), "{memory:?}");
    }

    #[test]
    fn too_little_is_refused_with_what_is_needed() {
        let error = Memory::share(Some(100 << 20), None, RINGS).unwrap_err().to_string();
        assert_eq!(error, "--memory 100 MiB is too little: with 64 MiB for ring buffers at least 256 MiB are needed");
        let error = Memory::share(Some(1 << 30), Some(1 << 30), RINGS).unwrap_err().to_string();
        assert!(error.contains("64 MiB for ring buffers and 1 GiB for the tail"), "{error}");
    }
}
