//! Probes on this node: from records in the rings to batches in the log.

pub mod clock; // The host's clocks.
pub mod procfs; // What `/proc` says of a process.
pub mod cmdline; // Command lines without secrets.
pub mod container; // The container in a cgroup's path.
pub mod cgroups; // From cgroup id to container.
pub mod processes; // The processes of this host, kept after their end.
pub mod process_table; // `system.processes`.
pub mod loss; // Rows and values lost, by cause.
pub mod conform; // A probe's rows in its table's schema.
pub mod outbox; // The queue to the log.
pub mod health_tables; // `system.probe_health` and `system.probe_loss`.

#[cfg(test)]
mod test_log; // A log in memory.
