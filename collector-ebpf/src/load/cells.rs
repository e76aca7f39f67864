//! Cells: memory in which a probe's programs and we tell each other things without a system call.
//!
//! A program names the address of its cell, so it needs no lookup, and the cells of many probes are one map: the kernel lets
//! a program, and so all probes that are fused into one, have 64 maps.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::error::LoadError;
use super::map::{Map, MapKind, MapSpec};
use super::mapping::Mapping;
use super::program::Runs;
use crate::object::{BUCKET_BYTES, MapRef};

/// Bytes of a cell: a cache line that programs write for each row, and one that they mostly read.
const CELL_BYTES: usize = 128;

/// Cells of a map, the first of which belongs to all: one page.
const CELLS: usize = 32;

const BUCKET_AT: usize = 0;
const KEEP_AT: usize = BUCKET_BYTES as usize;
const RUNS_AT: usize = KEEP_AT + 8;
const RUN_NS_AT: usize = RUNS_AT + 8;
const GATE_AT: usize = RUN_NS_AT + 8;

/// In the first cell: whether runs are to be measured.
const MEASURE_AT: usize = 0;

/// All maps of cells.
#[derive(Debug, Default)]
pub struct Cells(Mutex<Pages>);

#[derive(Debug, Default)]
struct Pages {
    /// A map goes with the last of its cells.
    pages: Vec<Weak<Page>>,
    /// How many want runs to be measured.
    measuring: u64,
}

#[derive(Debug)]
struct Page {
    map: Map,
    mapping: Mapping,
    /// Numbers of cells that nobody has.
    free: Mutex<Vec<usize>>,
}

/// What is all zero when a probe gets it, and free when the probe drops it.
#[derive(Debug)]
pub struct Cell {
    page: Arc<Page>,
    number: usize,
}

impl Cells {
    /// A cell for a probe.
    pub fn take(&self) -> Result<Cell, LoadError> {
        let Pages { pages, measuring } = &mut *lock(&self.0);
        pages.retain(|page| page.strong_count() > 0);
        if let Some(cell) = pages.iter().filter_map(Weak::upgrade).find_map(|page| Page::take(&page)) {
            return Ok(cell);
        }
        let page = Arc::new(Page::new()?);
        page.mapping.word(MEASURE_AT).store(*measuring, Ordering::Relaxed);
        pages.push(Arc::downgrade(&page));
        Ok(Page::take(&page).expect("a new page has free cells"))
    }

    /// From now on one more, or one less, wants runs to be measured.
    pub fn measure(&self, begin: bool) {
        let Pages { pages, measuring } = &mut *lock(&self.0);
        *measuring = if begin { *measuring + 1 } else { measuring.saturating_sub(1) };
        for page in pages.iter().filter_map(Weak::upgrade) {
            page.mapping.word(MEASURE_AT).store(*measuring, Ordering::Relaxed);
        }
    }
}

impl Page {
    fn new() -> Result<Page, LoadError> {
        let kind = MapKind::Array;
        let value_bytes = (CELLS * CELL_BYTES) as u32;
        let spec = MapSpec { kind, name: "cells", key_bytes: kind.key_bytes(), value_bytes, entries: 1, inner: None };
        let map = Map::create_mappable(&spec)?;
        let mapping = Mapping::new(map.as_fd(), CELLS * CELL_BYTES, 0, libc::PROT_READ | libc::PROT_WRITE)
            .map_err(|source| LoadError::Refused { what: "share memory with us".to_owned(), source })?;
        Ok(Page { map, mapping, free: Mutex::new((1..CELLS).rev().collect()) })
    }

    fn take(page: &Arc<Page>) -> Option<Cell> {
        let number = lock(&page.free).pop()?;
        let cell = Cell { page: Arc::clone(page), number };
        (0..CELL_BYTES).step_by(8).for_each(|at| cell.word(at).store(0, Ordering::Relaxed));
        Some(cell)
    }
}

impl Cell {
    fn word(&self, at: usize) -> &AtomicU64 {
        self.page.mapping.word(self.number * CELL_BYTES + at)
    }

    /// The map it is in, as programs name it.
    pub fn map_fd(&self) -> BorrowedFd<'_> {
        self.page.map.as_fd()
    }

    /// Where in the map's value a program finds what it names; `None` for what is not in a cell.
    pub fn offset(&self, map: MapRef) -> Option<u32> {
        match map {
            MapRef::Bucket => Some(self.at(BUCKET_AT)),
            MapRef::Keep => Some(self.at(KEEP_AT)),
            MapRef::Gate => Some(self.at(GATE_AT)),
            _ => None,
        }
    }

    /// Where the word is that says whether runs are to be measured: not 0 then. It is the same for all cells of a map.
    pub fn measure_offset(&self) -> u32 {
        MEASURE_AT as u32
    }

    /// Where measured runs are counted.
    pub fn runs_offset(&self) -> u32 {
        self.at(RUNS_AT)
    }

    /// Where their time is added up, in nanoseconds.
    pub fn run_ns_offset(&self) -> u32 {
        self.at(RUN_NS_AT)
    }

    fn at(&self, at: usize) -> u32 {
        (self.number * CELL_BYTES + at) as u32
    }

    /// Says how many of 2³² events are let through.
    pub fn keep(&self, keep: u32) {
        self.word(KEEP_AT).store(u64::from(keep), Ordering::Relaxed);
    }

    /// From now on the program of this number counts, of those that ask. `settled`: no other has an event under way.
    pub fn give_turn(&self, number: u32, settled: bool) {
        let settled = if settled { number } else { 0 };
        self.word(GATE_AT).store(u64::from(settled) << 32 | u64::from(number), Ordering::SeqCst);
    }

    /// The runs that were measured.
    pub fn runs(&self) -> Runs {
        Runs {
            count: self.word(RUNS_AT).load(Ordering::Relaxed),
            time_ns: self.word(RUN_NS_AT).load(Ordering::Relaxed),
        }
    }
}

impl Drop for Cell {
    fn drop(&mut self) {
        lock(&self.page.free).push(self.number);
    }
}

/// A panic leaves lists of numbers as good as they were.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
