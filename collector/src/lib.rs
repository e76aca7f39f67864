//! The write path: probes on a node, their rows in the log, segments of the lake.

pub mod node; // Probes on this node: rings to batches.
pub mod log; // Batches in one order, durable.
pub mod source; // Rows that can be made again, for tests and benches.
