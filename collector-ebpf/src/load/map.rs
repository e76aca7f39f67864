//! Maps of our programs.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use aya::maps::{MapData, PerCpuArray};

use super::error::LoadError;
use super::program::load_btf;
use super::syscall::{Command, bpf, bpf_fd, object_name, raw};
use crate::btf_encoder::BtfEncoder;

/// Kinds of maps we make, by the kernel's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum MapKind {
    Hash = 1,
    Array = 2,
    ProgramArray = 3,
    PerCpuHash = 5,
    PerCpuArray = 6,
    /// Keys of eight bytes.
    LruHash = 9,
    ArrayOfMaps = 12,
    Ring = 27,
    /// Made by [`Map::of_tasks`].
    TaskStorage = 29,
}

impl MapKind {
    /// Bytes of a key, where the kind says it.
    pub fn key_bytes(self) -> u32 {
        match self {
            MapKind::Ring => 0,
            MapKind::LruHash | MapKind::Hash | MapKind::PerCpuHash => 8,
            MapKind::Array
            | MapKind::ProgramArray
            | MapKind::PerCpuArray
            | MapKind::ArrayOfMaps
            | MapKind::TaskStorage => 4,
        }
    }
}

/// What to make.
pub struct MapSpec<'a> {
    pub kind: MapKind,
    /// What people see in bpftool; `pp_` stands before it.
    pub name: &'a str,
    pub key_bytes: u32,
    /// Bytes; 0 for a ring.
    pub value_bytes: u32,
    /// Entries; bytes for a ring.
    pub entries: u32,
    /// For an array of maps, one like those it will hold.
    pub inner: Option<BorrowedFd<'a>>,
}

/// A map, freed by the kernel when no descriptor and no program holds it.
#[derive(Debug)]
pub struct Map {
    fd: OwnedFd,
}

impl Map {
    /// Makes it.
    pub fn create(spec: &MapSpec) -> Result<Map, LoadError> {
        Map::create_typed(spec, None, 0)
    }

    /// Makes an array whose values we can map into our memory.
    pub fn create_mappable(spec: &MapSpec) -> Result<Map, LoadError> {
        const MAPPABLE: u32 = 1 << 10;
        Map::create_typed(spec, None, MAPPABLE)
    }

    /// Makes storage in tasks: a value for each, made when a program asks for it, freed with the task.
    ///
    /// The kernel wants to know the types of such a map.
    pub fn of_tasks(name: &str, value_bytes: u32) -> Result<Map, LoadError> {
        /// Memory for an entry is taken when it is made.
        const NO_PREALLOCATION: u32 = 1;
        let mut encoder = BtfEncoder::new();
        let (key, word) = (encoder.int("int", 4, true), encoder.int("word", 8, false));
        let value = encoder.array(word, key, value_bytes / 8);
        let refused = |source| LoadError::Refused { what: "take the types of a map".to_owned(), source };
        let btf = load_btf(&encoder.finish()).map_err(refused)?;
        let kind = MapKind::TaskStorage;
        let spec = MapSpec { kind, name, key_bytes: kind.key_bytes(), value_bytes, entries: 0, inner: None };
        Map::create_typed(&spec, Some((btf.as_fd(), key, value)), NO_PREALLOCATION)
    }

    fn create_typed(spec: &MapSpec, types: Option<(BorrowedFd<'_>, u32, u32)>, flags: u32) -> Result<Map, LoadError> {
        #[repr(C)]
        struct Attributes {
            kind: u32,
            key_bytes: u32,
            value_bytes: u32,
            entries: u32,
            flags: u32,
            inner: u32,
            numa_node: u32,
            name: [u8; 16],
            interface: u32,
            btf: u32,
            key_type: u32,
            value_type: u32,
        }
        let (btf, key_type, value_type) = types.map_or((0, 0, 0), |(btf, key, value)| (raw(btf), key, value));
        let mut attributes = Attributes {
            kind: spec.kind as u32,
            key_bytes: spec.key_bytes,
            value_bytes: spec.value_bytes,
            entries: spec.entries,
            flags,
            inner: spec.inner.map_or(0, raw),
            numa_node: 0,
            name: object_name(&format!("pp_{}", spec.name)),
            interface: 0,
            btf,
            key_type,
            value_type,
        };
        // SAFETY: the attributes hold no addresses.
        let mut created = unsafe { bpf_fd(Command::MapCreate, &mut attributes) };
        if created.as_ref().is_err_and(|error| error.raw_os_error() == Some(libc::EPERM)) && raise_locked_memory() {
            // SAFETY: as above.
            created = unsafe { bpf_fd(Command::MapCreate, &mut attributes) };
        }
        let what = match spec.kind {
            MapKind::Ring => "a ring buffer",
            _ => "a map",
        };
        created.map(|fd| Map { fd }).map_err(|source| LoadError::Refused { what: format!("make {what}"), source })
    }

    /// Puts a map into an array of maps, or a program into an array of programs. For a map it returns when no CPU runs a
    /// program that began before.
    pub fn put_held(&self, key: u32, held: BorrowedFd) -> io::Result<()> {
        self.put(&key.to_ne_bytes(), &raw(held).to_ne_bytes())
    }

    /// Puts a value under a key. Both have the map's sizes; a per-CPU map takes the values of all possible CPUs.
    pub fn put(&self, key: &[u8], value: &[u8]) -> io::Result<()> {
        let mut attributes = ElementAttributes {
            map: raw(self.fd.as_fd()),
            padding: 0,
            key: key.as_ptr() as u64,
            value: value.as_ptr() as u64,
            flags: 0,
        };
        // SAFETY: key and value live through the call; the caller gives them the map's sizes.
        unsafe { bpf(Command::MapUpdate, &mut attributes) }.map(|_| ())
    }

    /// Takes entries out, at most as many as `keys` and `values` have room for; how many, and the place to go on from.
    ///
    /// `None` behind the number: these were the last.
    pub fn take_batch(
        &self,
        from: Option<u64>,
        entries_max: u32,
        keys: &mut [u8],
        values: &mut [u64],
    ) -> io::Result<(u32, Option<u64>)> {
        #[repr(C)]
        struct Attributes {
            from: u64,
            to: u64,
            keys: u64,
            values: u64,
            count: u32,
            map: u32,
            element_flags: u64,
            flags: u64,
        }
        let mut next = 0_u64;
        let mut attributes = Attributes {
            from: from.as_ref().map_or(0, |from| std::ptr::from_ref(from) as u64),
            to: std::ptr::from_mut(&mut next) as u64,
            keys: keys.as_mut_ptr() as u64,
            values: values.as_mut_ptr() as u64,
            count: entries_max,
            map: raw(self.fd.as_fd()),
            element_flags: 0,
            flags: 0,
        };
        // SAFETY: all places live through the call, and the caller makes keys and values long enough for `entries_max`.
        match unsafe { bpf(Command::MapLookupAndDeleteBatch, &mut attributes) } {
            Ok(_) => Ok((attributes.count, Some(next))),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok((attributes.count, None)),
            Err(error) => Err(error),
        }
    }

    /// The `WORDS` 64-bit words of entry 0 of a per-CPU array, each summed over the CPUs.
    pub fn per_cpu_sums<const WORDS: usize>(&self) -> io::Result<[u64; WORDS]> {
        let data = MapData::from_fd(self.fd.try_clone()?).map_err(io::Error::other)?;
        let array: PerCpuArray<_, [u64; WORDS]> =
            aya::maps::Map::PerCpuArray(data).try_into().map_err(io::Error::other)?;
        let mut sums = [0; WORDS];
        for words in array.get(&0, 0).map_err(io::Error::other)?.iter() {
            sums.iter_mut().zip(words).for_each(|(sum, word)| *sum += word);
        }
        Ok(sums)
    }

    /// The key behind `key`, or the first one; `None` when there is none.
    pub fn next_key(&self, key: Option<&[u8]>, next: &mut [u8]) -> io::Result<bool> {
        let mut attributes = ElementAttributes {
            map: raw(self.fd.as_fd()),
            padding: 0,
            key: key.map_or(0, |key| key.as_ptr() as u64),
            value: next.as_mut_ptr() as u64,
            flags: 0,
        };
        // SAFETY: both keys live through the call; the caller gives them the map's size.
        found(unsafe { bpf(Command::MapNextKey, &mut attributes) })
    }

    /// Copies the value of a key; false when it is not there.
    pub fn look_up(&self, key: &[u8], value: &mut [u8]) -> io::Result<bool> {
        let mut attributes = ElementAttributes {
            map: raw(self.fd.as_fd()),
            padding: 0,
            key: key.as_ptr() as u64,
            value: value.as_mut_ptr() as u64,
            flags: 0,
        };
        // SAFETY: key and value live through the call; the caller gives them the map's sizes.
        found(unsafe { bpf(Command::MapLookup, &mut attributes) })
    }

    /// Deletes a key; false when it is not there any more.
    pub fn delete(&self, key: &[u8]) -> io::Result<bool> {
        let mut attributes =
            ElementAttributes { map: raw(self.fd.as_fd()), padding: 0, key: key.as_ptr() as u64, value: 0, flags: 0 };
        // SAFETY: the key lives through the call; the caller gives it the map's size.
        found(unsafe { bpf(Command::MapDelete, &mut attributes) })
    }
}

impl AsFd for Map {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// That a key is not there is no error.
fn found(result: io::Result<i32>) -> io::Result<bool> {
    match result {
        Ok(_) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

#[repr(C)]
struct ElementAttributes {
    map: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// Kernels before 5.11 count maps as locked memory, of which a process may have 64 KiB. Says whether it was raised.
fn raise_locked_memory() -> bool {
    let unlimited = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: the limit lives through the call.
    unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const unlimited) == 0 }
}
