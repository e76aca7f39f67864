//! The kernel's functions, from `/proc/kallsyms`: read once, and again when an address has no name, for modules and programs
//! come and go.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Functions that are kept; the kernel's own are some 100,000.
const FUNCTIONS_MAX: usize = 1_000_000;

/// No function is longer: what lies further behind one has no name.
const FUNCTION_BYTES_MAX: u64 = 1 << 20;

/// The table is read again for an address without a name at most so often; it takes some 100 ms.
const AGE_LEAST: Duration = Duration::from_secs(60);

/// And it is when it is so old, as modules may have come to addresses that had other functions.
const AGE_MAX: Duration = Duration::from_secs(3600);

/// Functions by address.
#[derive(Debug)]
pub struct Table {
    /// (address, where its name begins and ends in `names`), by address.
    functions: Vec<(u64, [u32; 2])>,
    names: String,
}

struct Kept {
    table: Arc<Table>,
    read_at: Instant,
}

static KEPT: Mutex<Option<Kept>> = Mutex::new(None);

/// The name of the function at an address; `None` where there is none that the kernel tells us.
pub fn name(address: u64) -> Option<String> {
    let known = table()?.name(address).map(str::to_owned);
    known.or_else(|| newer()?.name(address).map(str::to_owned))
}

/// The functions; `None` when they cannot be read, or the kernel hides their addresses (`kptr_restrict`).
pub fn table() -> Option<Arc<Table>> {
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    if kept.as_ref().is_none_or(|kept| kept.read_at.elapsed() > AGE_MAX) {
        *kept = read().map(|table| Kept { table: Arc::new(table), read_at: Instant::now() });
    }
    kept.as_ref().map(|kept| Arc::clone(&kept.table))
}

/// The functions read again, unless they were a moment ago.
fn newer() -> Option<Arc<Table>> {
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    if kept.as_ref()?.read_at.elapsed() < AGE_LEAST {
        return None;
    }
    *kept = read().map(|table| Kept { table: Arc::new(table), read_at: Instant::now() });
    kept.as_ref().map(|kept| Arc::clone(&kept.table))
}

fn read() -> Option<Table> {
    let file = File::open("/proc/kallsyms")
        .inspect_err(|error| tracing::debug!(%error, "the kernel's functions cannot be read"))
        .ok()?;
    Some(parse(BufReader::with_capacity(1 << 20, file))).filter(|table| !table.functions.is_empty())
}

/// Lines such as `ffffffff81000000 T startup_64`, of a module with its name behind.
fn parse(mut lines: impl BufRead) -> Table {
    let mut table = Table { functions: Vec::new(), names: String::new() };
    let mut line = String::new();
    while table.functions.len() < FUNCTIONS_MAX {
        line.clear();
        match lines.read_line(&mut line) {
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
        let mut words = line.split_ascii_whitespace();
        let (Some(address), Some(kind), Some(name)) = (words.next(), words.next(), words.next()) else { continue };
        let address = u64::from_str_radix(address, 16).unwrap_or(0);
        if address == 0 || !matches!(kind, "t" | "T" | "w" | "W") {
            continue;
        }
        let begin = table.names.len();
        table.names.push_str(name);
        let place = [begin, table.names.len()].map(|at| u32::try_from(at).unwrap_or(u32::MAX));
        table.functions.push((address, place));
    }
    // The first of several names stays.
    table.functions.sort_by_key(|(address, _)| *address);
    table.functions.dedup_by_key(|(address, _)| *address);
    table.functions.shrink_to_fit();
    table
}

impl Table {
    /// The name of the function at an address.
    pub fn name(&self, address: u64) -> Option<&str> {
        let behind = self.functions.partition_point(|(start, _)| *start <= address);
        let (start, [begin, end]) = self.functions.get(behind.checked_sub(1)?)?;
        if address - start > FUNCTION_BYTES_MAX {
            return None;
        }
        self.names.get(*begin as usize..*end as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn a_function_reaches_to_the_next() {
        let table = parse(
            "0000000000000000 A hidden\nffffffff81000100 T second\nffffffff81000000 t first\nffffffff81000000 T alias\n\
             ffffffff81000180 D data\nffffffffc0000000 t in_module\t[module]\nnonsense\n"
                .as_bytes(),
        );
        for (address, expected) in [
            (0xffff_ffff_8100_0000, Some("first")),
            (0xffff_ffff_8100_00ff, Some("first")),
            (0xffff_ffff_8100_0190, Some("second")),
            (0xffff_ffff_c000_0010, Some("in_module")),
            (0xffff_ffff_9000_0000, None),
            (0x1000, None),
        ] {
            assert_eq!(table.name(address), expected, "{address:x}");
        }
    }
}
