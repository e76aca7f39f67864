//! Windows: programs add events to the states of groups in one of two hashes, and we read the other.
//!
//! Exchanging them returns when no program runs any more that found the old one: the kernel waits for that whenever an
//! array of maps is changed. So what is read stands still, and nothing is lost or read twice.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use super::cells::Cell;
use super::cpu;
use super::error::LoadError;
use super::map::{Map, MapKind, MapSpec};
use crate::compile::aggregate::plan::keys_default;
use crate::compile::sample::Keep;
use crate::object::{Counter, WindowMaps, other_key};

/// Entries taken at once. The kernel gives whole buckets of its hash, which may hold a few entries each; when one does
/// not fit, more are taken at once.
const BATCH_ENTRIES: u32 = 256;

/// Entries taken at once at most: no bucket of a hash holds so many.
const BATCH_ENTRIES_MAX: u32 = 1 << 16;

/// What is missing in the windows.
const LOSSES: [Counter; 4] = [Counter::Nested, Counter::UnpairedStart, Counter::UnpairedEnd, Counter::MapFull];

/// The maps of a program that aggregates.
#[derive(Debug)]
pub struct Maps {
    shared: Arc<Shared>,
    zeros: Map,
}

#[derive(Debug)]
struct Shared {
    /// An array of maps with the open one.
    open: Map,
    hashes: [Map; 2],
    key_bytes: usize,
    /// Words of a state on one CPU.
    state_words: usize,
    /// Groups that a window has room for.
    keys_max: u32,
    cpus: usize,
}

/// Closes and reads windows.
#[derive(Debug)]
pub struct WindowReader {
    shared: Arc<Shared>,
    /// Which of the hashes is open.
    open: usize,
    /// What thins the program out.
    cell: Arc<Cell>,
    counters: Arc<Map>,
}

impl Maps {
    /// Makes them; the first window is open.
    pub fn create(spec: &WindowMaps) -> Result<Maps, LoadError> {
        let refused = |what: &str| {
            let what = what.to_owned();
            move |source| LoadError::Refused { what, source }
        };
        let cpus = cpu::possible().map_err(refused("say which CPUs there are"))?.len();
        let WindowMaps { key_bytes, value_bytes, keys_max } = *spec;
        let keys_max = keys_max.unwrap_or_else(|| keys_default(key_bytes, value_bytes, cpus));
        // One more for the state of all groups that find no room.
        let kind = MapKind::PerCpuHash;
        let spec = MapSpec { kind, name: "window", key_bytes, value_bytes, entries: keys_max + 1, inner: None };
        let hashes = [Map::create(&spec)?, Map::create(&spec)?];
        let kind = MapKind::ArrayOfMaps;
        let inner = Some(hashes[0].as_fd());
        let key_bytes_of_array = kind.key_bytes();
        let spec = MapSpec { kind, name: "windows", key_bytes: key_bytes_of_array, value_bytes: 4, entries: 1, inner };
        let open = Map::create(&spec)?;
        let kind = MapKind::Array;
        let bytes = value_bytes + key_bytes;
        let spec =
            MapSpec { kind, name: "zeros", key_bytes: kind.key_bytes(), value_bytes: bytes, entries: 1, inner: None };
        let zeros = Map::create(&spec)?;
        let entry = [vec![0; value_bytes as usize], other_key(key_bytes as usize)].concat();
        zeros.put(&0_u32.to_ne_bytes(), &entry).map_err(refused("fill a map"))?;
        let state_words = value_bytes as usize / 8;
        let shared = Arc::new(Shared { open, hashes, key_bytes: key_bytes as usize, state_words, keys_max, cpus });
        for hash in &shared.hashes {
            shared.put_other(hash).map_err(refused("put a state into a map"))?;
        }
        shared.open.put_held(0, shared.hashes[0].as_fd()).map_err(refused("open a window"))?;
        Ok(Maps { shared, zeros })
    }

    /// The array with the open window, as programs name it.
    pub fn open_fd(&self) -> BorrowedFd<'_> {
        self.shared.open.as_fd()
    }

    /// The zeros that a state is made of.
    pub fn zeros_fd(&self) -> BorrowedFd<'_> {
        self.zeros.as_fd()
    }

    /// All of them.
    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        [&self.shared.open, &self.shared.hashes[0], &self.shared.hashes[1], &self.zeros].into_iter().map(AsFd::as_fd)
    }

    /// Reads them from the first window on.
    pub fn reader(&self, cell: Arc<Cell>, counters: Arc<Map>) -> WindowReader {
        WindowReader { shared: Arc::clone(&self.shared), open: 0, cell, counters }
    }
}

impl Shared {
    /// The state of the groups that find no room, with nothing in it.
    fn put_other(&self, hash: &Map) -> io::Result<()> {
        let zeros = vec![0; self.state_words * 8 * self.cpus];
        hash.put(&other_key(self.key_bytes), &zeros)
    }
}

impl WindowReader {
    /// From now on so many of 2³² events are let through, 0 for all; see [`super::LoadedProbe::thin`]. Close the window at
    /// once, so that all events of one stand for as many.
    pub fn thin(&self, keep: Keep) {
        self.cell.keep(keep);
    }

    /// Events that the program lost since it was loaded, for whatever reason but a sample or a budget.
    ///
    /// # Errors
    /// When the kernel has no memory for the answer.
    pub fn lost(&self) -> io::Result<u64> {
        let sums = self.counters.per_cpu_sums::<{ Counter::ALL.len() }>()?;
        Ok(LOSSES.iter().map(|counter| sums[*counter as usize]).sum())
    }

    /// Groups that a window has room for.
    pub fn keys_max(&self) -> u32 {
        self.shared.keys_max
    }

    /// Closes the open window and opens another. When it returns, the closed one stands still; read it with
    /// [`WindowReader::take_closed`] before the next call. Waits for the kernel: some 10 ms.
    ///
    /// # Errors
    /// When the kernel does not take it; the window stays open.
    pub fn close(&mut self) -> io::Result<()> {
        self.shared.open.put_held(0, self.shared.hashes[1 - self.open].as_fd())?;
        self.open = 1 - self.open;
        Ok(())
    }

    /// Takes the groups out of the window closed last: the key, and the words of its states, CPU by CPU.
    ///
    /// # Errors
    /// When the kernel does not give them.
    pub fn take_closed(&mut self, on_group: impl FnMut(&[u8], &[u64])) -> io::Result<()> {
        self.take(1 - self.open, on_group)
    }

    /// Takes the groups out of the open window, after the program was detached.
    ///
    /// # Errors
    /// When the kernel does not give them.
    pub fn take_open(&mut self, on_group: impl FnMut(&[u8], &[u64])) -> io::Result<()> {
        self.take(self.open, on_group)
    }

    fn take(&mut self, which: usize, mut on_group: impl FnMut(&[u8], &[u64])) -> io::Result<()> {
        let Shared { hashes, key_bytes, state_words, cpus, .. } = self.shared.as_ref();
        let words = state_words * cpus;
        let (mut entries, mut from) = (BATCH_ENTRIES, None);
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        loop {
            keys.resize(entries as usize * key_bytes, 0);
            values.resize(entries as usize * words, 0);
            let (count, next) = match hashes[which].take_batch(from, entries, &mut keys, &mut values) {
                Ok(taken) => taken,
                Err(error) if error.raw_os_error() == Some(libc::ENOSPC) && entries < BATCH_ENTRIES_MAX => {
                    entries *= 2;
                    continue;
                }
                Err(error) => return Err(error),
            };
            let taken = keys.chunks_exact(*key_bytes).zip(values.chunks_exact(words));
            taken.take(count as usize).for_each(|(key, states)| on_group(key, states));
            match next {
                Some(next) => from = Some(next),
                None => break,
            }
        }
        self.shared.put_other(&hashes[which])
    }
}
