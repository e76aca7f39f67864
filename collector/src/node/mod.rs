//! Probes on this node: from records in the rings to batches in the log.

pub mod clock; // The host's clocks.
pub mod procfs; // What `/proc` says of a process.
pub mod cmdline; // Command lines without secrets.
pub mod container; // The container in a cgroup's path.
pub mod cgroups; // From cgroup id to container.
pub mod processes; // The processes of this host, kept after their end.
pub mod process_table; // `system.processes`.
