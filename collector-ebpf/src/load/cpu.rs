//! The CPUs a host has or may get.

use std::fs;
use std::io;

/// CPUs listed at most: what the largest Linux can have.
const CPUS_MAX: u32 = 8_192;

/// Numbers of all CPUs that may ever run here: the kernel keeps a slot for each.
pub fn possible() -> io::Result<Vec<u32>> {
    const PATH: &str = "/sys/devices/system/cpu/possible";
    let text = fs::read_to_string(PATH)?;
    parse(&text).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("{PATH} says {:?}", text.trim())))
}

/// The first CPU that runs now.
pub fn first_online() -> u32 {
    online().ok().and_then(|cpus| cpus.first().copied()).unwrap_or(0)
}

/// All CPUs that run now.
pub fn online() -> io::Result<Vec<u32>> {
    aya::util::online_cpus().map_err(|(_, error)| error)
}

/// `0-3,8` → 0, 1, 2, 3, 8.
fn parse(text: &str) -> Option<Vec<u32>> {
    let mut cpus = Vec::new();
    for part in text.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        if last >= CPUS_MAX {
            return None;
        }
        cpus.extend(first..=last);
    }
    Some(cpus).filter(|cpus| !cpus.is_empty())
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn lists_of_cpus_are_ranges_and_numbers() {
        assert_eq!(parse("0-1\n"), Some(vec![0, 1]));
        assert_eq!(parse("0-2,5,7-8"), Some(vec![0, 1, 2, 5, 7, 8]));
        assert_eq!(parse("0"), Some(vec![0]));
        for bad in ["", "x", "0-", "0-99999999", "-1"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
