//! SQL → eBPF: the kernel's hooks as tables, the compiler, the loader.

pub mod kernel; // The hooks of a kernel as tables: names, fields, types, places.
pub mod compile; // A query on a hook → program, record, part after the kernel.
pub mod functions; // Functions of probe SQL beyond DataFusion's own.
pub mod object; // A compiled program before it is loaded.
pub mod load; // Into the kernel and out again: programs, maps, rings, counters.
pub mod capability; // The rights that loading needs.
pub mod clock; // The host's clocks.
pub mod decode; // Records → Arrow.
pub mod after; // The part after the kernel, per batch.
pub mod windows; // States of groups → rows of windows.
pub mod explain; // What EXPLAIN says.
pub mod probes; // The probes that come with us.
pub mod symbols; // Names of functions by address.

mod btf_encoder; // Writes types: our programs' own.
