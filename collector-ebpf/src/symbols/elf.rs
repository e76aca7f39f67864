//! The functions of an ELF file: where each begins, and its name, which stays in the file until somebody asks.
//!
//! The file is not held open meanwhile: that would keep a container's file system, or the room of a file that was removed.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, PoisonError};

use super::demangle::readable;

/// Functions of one file that are kept; of a larger one the first.
const FUNCTIONS_MAX: usize = 1_000_000;

/// Headers of sections and of segments that are looked at.
const HEADERS_MAX: u16 = 4_096;

/// Bytes of a linker's name; a longer one is cut, and cannot be made readable then.
const NAME_BYTES_MAX: usize = 4_096;

/// Names of one file that are kept.
const NAMES_MAX: usize = 16_384;

/// Symbols read at once.
const SYMBOLS_AT_ONCE: usize = 4_096;

const SYMBOL_BYTES: usize = 24;

/// A part of the file that is mapped: addresses in the file's own counting are those of its symbols.
#[derive(Clone, Copy, Debug)]
struct Segment {
    offset: u64,
    address: u64,
    bytes: u64,
}

#[derive(Clone, Copy, Debug)]
struct Function {
    start: u64,
    bytes: u32,
    /// Where its name begins in the names.
    name: u32,
}

/// A table of names.
#[derive(Clone, Copy, Debug)]
struct Names {
    offset: u64,
    bytes: u64,
}

/// The functions of a file, by address.
#[derive(Debug)]
pub struct Functions {
    segments: Vec<Segment>,
    functions: Vec<Function>,
    names: Names,
    known: Mutex<HashMap<u32, Arc<str>>>,
}

impl Functions {
    /// Reads a 64-bit ELF file's functions: all of them where it has their table, else those that others may call.
    ///
    /// # Errors
    /// When it is none, ends early, or has no table.
    pub fn read(file: &File) -> io::Result<Functions> {
        const MAGIC: [u8; 6] = [0x7f, b'E', b'L', b'F', 2, 1];
        const LOADED: u32 = 1;
        const ALL: u32 = 2;
        const DYNAMIC: u32 = 11;
        let malformed = || io::Error::from(io::ErrorKind::InvalidData);
        let head: [u8; 64] = read_at(file, 0)?;
        if head[..6] != MAGIC {
            return Err(malformed());
        }
        let mut segments = Vec::new();
        for index in 0..u16_at(&head, 56).min(HEADERS_MAX) {
            let header: [u8; 56] = read_at(file, entry(u64_at(&head, 32), u16_at(&head, 54), index.into())?)?;
            if u32_at(&header, 0) == LOADED {
                let [offset, address, bytes] = [8, 16, 32].map(|at| u64_at(&header, at));
                segments.push(Segment { offset, address, bytes });
            }
        }
        let section = |index: u32| read_at::<64>(file, entry(u64_at(&head, 40), u16_at(&head, 58), index)?);
        let mut table = None;
        for index in 0..u16_at(&head, 60).min(HEADERS_MAX) {
            let header = section(index.into())?;
            match u32_at(&header, 4) {
                ALL => table = Some(header),
                DYNAMIC if table.is_none() => table = Some(header),
                _ => {}
            }
        }
        let table = table.ok_or_else(malformed)?;
        let strings = section(u32_at(&table, 40))?;
        let names = Names { offset: u64_at(&strings, 24), bytes: u64_at(&strings, 32) };
        let mut functions = functions(file, u64_at(&table, 24), u64_at(&table, 32))?;
        // Of several at one place the longest.
        functions.sort_by_key(|function| (function.start, std::cmp::Reverse(function.bytes)));
        functions.dedup_by_key(|function| function.start);
        functions.shrink_to_fit();
        Ok(Functions { segments, functions, names, known: Mutex::default() })
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.functions.len()
    }

    /// The name, as its programmer wrote it, of the function at so many bytes from the file's start; `open` gives the file when it was not asked for before.
    pub fn name(&self, offset: u64, open: impl FnOnce() -> Option<File>) -> Option<Arc<str>> {
        let within = |segment: &&Segment| offset.checked_sub(segment.offset).is_some_and(|bytes| bytes < segment.bytes);
        let segment = self.segments.iter().find(within)?;
        let address = segment.address.checked_add(offset - segment.offset)?;
        let behind = self.functions.partition_point(|function| function.start <= address);
        let function = self.functions.get(behind.checked_sub(1)?)?;
        // Written by hand some do not say how long they are: they reach to the next.
        if function.bytes > 0 && address - function.start >= u64::from(function.bytes) {
            return None;
        }
        if let Some(known) = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&function.name) {
            return Some(Arc::clone(known));
        }
        let name: Arc<str> = readable(&self.read_name(&open()?, function.name)?).into();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= NAMES_MAX {
            known.clear();
        }
        known.insert(function.name, Arc::clone(&name));
        Some(name)
    }

    fn read_name(&self, file: &File, at: u32) -> Option<String> {
        let left = self.names.bytes.checked_sub(at.into())?.min(NAME_BYTES_MAX as u64);
        let mut bytes = vec![0; usize::try_from(left).ok()?];
        file.read_exact_at(&mut bytes, self.names.offset.checked_add(at.into())?).ok()?;
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        Some(String::from_utf8_lossy(&bytes[..end]).into_owned()).filter(|name| !name.is_empty())
    }
}

fn functions(file: &File, offset: u64, bytes: u64) -> io::Result<Vec<Function>> {
    const FUNCTION: u8 = 2;
    const CHOSEN_AT_START: u8 = 10;
    let mut found = Vec::new();
    let mut left = usize::try_from(bytes / SYMBOL_BYTES as u64).unwrap_or(usize::MAX);
    let mut at = offset;
    let mut chunk = vec![0; SYMBOLS_AT_ONCE * SYMBOL_BYTES];
    while left > 0 && found.len() < FUNCTIONS_MAX {
        let wanted = left.min(SYMBOLS_AT_ONCE);
        let bytes = &mut chunk[..wanted * SYMBOL_BYTES];
        file.read_exact_at(bytes, at)?;
        for symbol in bytes.chunks_exact(SYMBOL_BYTES) {
            let start = u64_at(symbol, 8);
            if matches!(symbol[4] & 0xf, FUNCTION | CHOSEN_AT_START) && start > 0 {
                let bytes = u32::try_from(u64_at(symbol, 16)).unwrap_or(u32::MAX);
                found.push(Function { start, bytes, name: u32_at(symbol, 0) });
            }
        }
        left -= wanted;
        at = at.saturating_add((wanted * SYMBOL_BYTES) as u64);
    }
    Ok(found)
}

/// Where the header of this number lies.
fn entry(start: u64, bytes: u16, index: u32) -> io::Result<u64> {
    let malformed = || io::Error::from(io::ErrorKind::InvalidData);
    u64::from(bytes).checked_mul(index.into()).and_then(|behind| start.checked_add(behind)).ok_or_else(malformed)
}

fn read_at<const BYTES: usize>(file: &File, offset: u64) -> io::Result<[u8; BYTES]> {
    let mut bytes = [0; BYTES];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes[at..at + 2].try_into().expect("two bytes"))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write;

    use super::Functions;

    #[test]
    fn what_is_no_elf_file_or_a_broken_one_is_refused() {
        let own = std::env::current_exe().unwrap();
        let mut head = vec![0; 4096];
        std::os::unix::fs::FileExt::read_exact_at(&File::open(&own).unwrap(), &mut head, 0).unwrap();
        let check = |bytes: &[u8]| {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(bytes).unwrap();
            assert!(Functions::read(&file).is_err(), "{} bytes", bytes.len());
        };
        check(b"");
        check(b"#!/bin/sh\n");
        // Its tables lie behind its end.
        check(&head);
        for at in 16..64 {
            let mut broken = head.clone();
            broken[at] = 0xff;
            check(&broken);
        }
        assert!(Functions::read(&File::open(&own).unwrap()).unwrap().len() > 1_000);
    }
}
