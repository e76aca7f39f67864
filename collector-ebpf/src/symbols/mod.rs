//! Names of functions by address: the kernel's, and those of processes.
//!
//! Looked up after the kernel, where rows are made. Answers come from tables that are kept; each has a bound, and what cannot
//! be named is written as where it is.

mod demangle; // Rust's and C++'s names.
mod elf; // Functions of an ELF file.
mod kernel; // The kernel's functions.
mod process; // What is mapped where in a process.

use std::fmt::Write;

pub use kernel::name as kernel_name;

/// Parts the frames of a folded stack; in a name it becomes a comma.
const SEPARATOR: char = ';';

/// What stands for the outermost frames of a stack that was cut.
const CUT: &str = "…";

/// The stack of the kernel as text: functions from the outermost to the innermost. `cut`: further ones are missing.
pub fn kernel_stack(addresses: &[u64], cut: bool) -> String {
    let names = kernel::table();
    fold(addresses, cut, |address, text| match names.as_deref().and_then(|names| names.name(address)) {
        Some(name) => push(text, name),
        // A module or a program that came since.
        None => match kernel_name(address) {
            Some(name) => push(text, &name),
            None => push_address(text, address),
        },
    })
}

/// As [`kernel_stack`], of a process that runs, or ran a moment ago.
pub fn user_stack(pid: i32, addresses: &[u64], cut: bool) -> String {
    let process = process::of(pid, addresses);
    fold(addresses, cut, |address, text| match process.as_deref().and_then(|process| process.find(address)) {
        Some(place) => match place.function() {
            Some(name) => push(text, &name),
            None => {
                push(text, place.file());
                let _infallible = write!(text, "+{:#x}", place.offset);
            }
        },
        None => push_address(text, address),
    })
}

/// All but the innermost address are those that functions return to, and the call is before: it may be a function's last
/// instruction.
fn fold(addresses: &[u64], cut: bool, mut name: impl FnMut(u64, &mut String)) -> String {
    let mut text = String::with_capacity(addresses.len() * 24);
    if cut {
        text.push_str(CUT);
    }
    for (index, address) in addresses.iter().enumerate().rev() {
        if !text.is_empty() {
            text.push(SEPARATOR);
        }
        name(address.saturating_sub(u64::from(index > 0)), &mut text);
    }
    text
}

fn push(text: &mut String, name: &str) {
    text.extend(name.chars().map(|c| if c == SEPARATOR || c.is_control() { ',' } else { c }));
}

fn push_address(text: &mut String, address: u64) {
    let _infallible = write!(text, "{address:#x}");
}

#[cfg(test)]
mod tests {
    use super::{fold, kernel_name, push, push_address, user_stack};

    #[test]
    fn frames_go_from_the_outermost_and_returns_count_for_the_call_before() {
        let name = |address: u64, text: &mut String| push_address(text, address);
        assert_eq!(fold(&[0x10, 0x20, 0x30], false, name), "0x2f;0x1f;0x10");
        assert_eq!(fold(&[0x10], true, name), "…;0x10");
        assert_eq!(fold(&[], false, name), "");
        let mut text = String::new();
        push(&mut text, "a;b\nc");
        assert_eq!(text, "a,b,c");
    }

    #[unsafe(no_mangle)]
    #[inline(never)]
    extern "C" fn probepilot_symbols_here() -> u64 {
        std::hint::black_box(7)
    }

    #[test]
    fn our_own_functions_and_a_librarys_have_names() {
        let pid = std::process::id().cast_signed();
        assert_eq!(probepilot_symbols_here(), 7);
        let own = probepilot_symbols_here as extern "C" fn() -> u64 as usize as u64;
        assert_eq!(user_stack(pid, &[own + 1], false), "probepilot_symbols_here");
        // SAFETY: looks a name up.
        let library = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"getppid".as_ptr()) } as u64;
        assert_eq!(user_stack(pid, &[library, own + 2], true), "…;probepilot_symbols_here;getppid");
        assert_eq!(user_stack(pid, &[8], false), "0x8");
        let local = 5_u64;
        let on_stack = std::ptr::from_ref(&local) as u64;
        assert_eq!(user_stack(pid, &[on_stack], false), format!("{on_stack:#x}"), "nothing is run there");
    }

    #[test]
    fn a_process_that_is_not_there_has_addresses() {
        assert_eq!(user_stack(i32::MAX, &[0x1000, 0x2001], false), "0x2000;0x1000");
        assert_eq!(user_stack(0, &[0x1000], false), "0x1000");
    }

    #[test]
    fn the_kernels_functions_have_names() {
        let text = std::fs::read_to_string("/proc/kallsyms").unwrap_or_default();
        let lines = text.lines().filter(|line| line.ends_with(" T ksys_read") || line.ends_with(" T ksys_write"));
        let known: Vec<(u64, &str)> = lines
            .filter_map(|line| Some((u64::from_str_radix(&line[..16], 16).ok()?, &line[19..])))
            .filter(|(address, _)| *address > 0)
            .collect();
        if known.is_empty() {
            return println!("skipped: needs the addresses of /proc/kallsyms");
        }
        for (address, name) in known {
            assert_eq!(kernel_name(address).as_deref(), Some(name));
            assert_eq!(kernel_name(address + 3).as_deref(), Some(name));
        }
        assert_eq!(kernel_name(0x1000), None);
        assert_eq!(kernel_name(u64::MAX), None);
    }
}
