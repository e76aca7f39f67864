//! Functions of probe SQL beyond DataFusion's own: what reads memory, names of numbers, facts of processes.

pub mod memory; // Strings behind pointers: for the kernel.
pub mod enumeration; // Enumerations as text.
pub mod syscalls; // System calls by number.
pub mod names; // Signals, errors, system calls, TCP states by name.
pub mod stack; // Stacks and names of functions.
pub mod address; // Network addresses as text.
pub mod process; // Executable, command line, container of a process.
pub mod system; // Constants of the host.
pub mod aggregates; // Aggregates over the events of a hook.

use std::sync::Arc;

use datafusion::logical_expr::ScalarUDF;

pub use process::ProcessFacts;

/// All of them.
pub fn all(facts: &Arc<dyn ProcessFacts>) -> Vec<ScalarUDF> {
    let mut functions = memory::all();
    functions.extend(stack::all());
    functions.push(enumeration::label());
    functions.extend(names::all());
    functions.push(address::inet());
    functions.push(system::page_bytes());
    functions.extend(process::all(facts));
    functions
}
