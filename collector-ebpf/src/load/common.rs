//! What programs have in common that one reader reads.

use std::io;
use std::sync::Arc;

use super::cells::Cells;
use super::post::Posts;
use super::rings::RingMap;

/// The rings that programs write, the memory they share with us, and the posts at which they sit together; clones are the
/// same.
#[derive(Clone, Debug)]
pub struct Common {
    pub(super) rings: RingMap,
    pub(super) cells: Arc<Cells>,
    pub(super) posts: Arc<Posts>,
}

/// While it lives, runs are measured, which costs each two readings of the clock.
#[derive(Debug)]
pub struct Measuring(Arc<Cells>);

impl Common {
    pub(super) fn new(rings: RingMap) -> Common {
        Common { rings, cells: Arc::default(), posts: Arc::default() }
    }

    /// Bytes of one ring: a power of two.
    pub fn ring_bytes(&self) -> usize {
        self.rings.ring_bytes()
    }

    /// Waits until every program that runs now has ended, on all CPUs: some 10 ms, so never on an async worker.
    ///
    /// # Errors
    /// When the kernel refuses; then nothing is known.
    pub fn wait_for_programs(&self) -> io::Result<()> {
        self.rings.wait_for_programs()
    }

    /// Has every run measured from now on; see [`super::LoadedProbe::runs`]. It needs no right of its own.
    pub fn measure_runs(&self) -> Measuring {
        self.cells.measure(true);
        Measuring(Arc::clone(&self.cells))
    }
}

impl Drop for Measuring {
    fn drop(&mut self) {
        self.0.measure(false);
    }
}
