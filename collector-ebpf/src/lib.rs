//! SQL → eBPF: the kernel's hooks as tables, the compiler, the loader.

pub mod kernel; // The hooks of a kernel as tables: names, fields, types, places.
pub mod object; // A compiled program before it is loaded.

#[cfg(test)]
mod btf_encoder; // Writes types: the fixture kernel's.
