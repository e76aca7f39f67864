//! Probes on this node: from records in the rings to batches in the log.

pub mod clock; // The host's clocks.
pub mod procfs; // What `/proc` says of a process.
pub mod cmdline; // Command lines without secrets.
pub mod container; // The container in a cgroup's path.
pub mod cgroups; // From cgroup id to container.
pub mod processes; // The processes of this host, kept after their end.
pub mod process_table; // `system.processes`.
pub mod record; // The header of a record.
pub mod loss; // Rows and values lost, by cause.
pub mod conform; // A probe's rows in its table's schema.
pub mod outbox; // The queue to the log.
pub mod live_queue; // The queue to a live query's client.
pub mod slot; // One program's place in the drain.
pub mod drain; // The thread that empties rings.
pub mod windows; // Windows of programs that aggregate.
pub mod engine; // Programs, rings and their drain.
pub mod feed; // The events that keep the table of processes.
pub mod health_tables; // `system.probe_health` and `system.probe_loss`.
pub mod budget; // Shares of events that keep probes within their budgets.
pub mod health; // Counters, rates and costs, each second.
pub mod lifecycle; // Probes started, replaced, stopped.
pub mod live; // A plain SELECT on a hook.
pub mod hook_tables; // `system.hooks` and `system.hook_columns`.
pub mod measure; // What a query costs, counted without rows.
pub mod local; // The node that everybody holds.

#[cfg(test)]
mod test_log; // A log in memory.
#[cfg(test)]
mod test_node; // A node on this kernel.

pub use health::HealthTables;
pub use health_tables::table_definitions;
pub use local::{Node, NodeOptions};
