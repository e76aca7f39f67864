//! Names of functions as their programmers wrote them: linkers know Rust's and C++'s in an encoded form.

use std::fmt::{self, Write};

/// Bytes of a name; a longer one is cut. It also bounds the work: a short encoded name may stand for an endless one.
pub const NAME_BYTES_MAX: usize = 255;

/// What a linker's name says: the path without hash of a Rust function, the qualified name without parameters of a C++ one.
/// Any other name is as it is.
pub fn readable(name: &str) -> String {
    rust(name).or_else(|| cpp(name)).unwrap_or_else(|| {
        let mut text = Bounded::default();
        let _cut = text.write_str(name);
        text.0
    })
}

fn rust(name: &str) -> Option<String> {
    let found = rustc_demangle::try_demangle(name).ok()?;
    let mut text = Bounded::default();
    // The alternate form leaves the hash out. It fails where the text is full, which is enough of it.
    let _cut = write!(text, "{found:#}");
    text.some()
}

fn cpp(name: &str) -> Option<String> {
    // Copies that the compiler made of a function say so behind a dot.
    let encoded = name.split('.').next().filter(|name| name.starts_with("_Z"))?;
    let found = cpp_demangle::Symbol::new(encoded).ok()?;
    let options = cpp_demangle::DemangleOptions::new().no_params().no_return_type();
    let mut text = Bounded::default();
    let _cut = found.structured_demangle(&mut text, &options);
    text.some()
}

/// Text that takes no more when it is full.
#[derive(Default)]
struct Bounded(String);

impl Bounded {
    fn some(self) -> Option<String> {
        (!self.0.is_empty()).then_some(self.0)
    }
}

impl Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = NAME_BYTES_MAX - self.0.len();
        let end = text.floor_char_boundary(room.min(text.len()));
        self.0.push_str(&text[..end]);
        if end < text.len() { Err(fmt::Error) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_as_they_were_written() {
        for (linker, written) in [
            ("getppid", "getppid"),
            ("_ZN4core3fmt5Write9write_fmt17h0123456789abcdefE", "core::fmt::Write::write_fmt"),
            ("_RNvNtCs1234_7mycrate3foo3bar", "mycrate::foo::bar"),
            ("_ZNSt6vectorIiSaIiEE9push_backEOi", "std::vector<int, std::allocator<int> >::push_back"),
            ("_ZN3app5Cache3getERKSs.constprop.0", "app::Cache::get"),
            ("_ZN7rocksdb2DB4OpenERKNS_7OptionsE", "rocksdb::DB::Open"),
            ("_Zwrong", "_Zwrong"),
            ("main.main", "main.main"),
            ("_", "_"),
        ] {
            assert_eq!(readable(linker), written, "{linker}");
        }
    }

    #[test]
    fn a_name_that_would_grow_without_end_is_cut() {
        // Each argument is made of two of the one before it.
        let twice: String =
            (0..40).fold("1aI1bE".to_owned(), |inner, _| format!("1aI{inner}{inner}E").chars().take(3_000).collect());
        for name in
            [format!("_Z1fI{twice}Ev"), "x".repeat(4_000), "ä".repeat(300), format!("_ZN{}E", "1a".repeat(2_000))]
        {
            assert!(readable(&name).len() <= NAME_BYTES_MAX);
        }
        let substituted = format!("_Z1fI1aIiiES0_IS0_S0_E{}Evv", "S1_".repeat(3));
        assert!(readable(&substituted).len() <= NAME_BYTES_MAX);
    }
}
