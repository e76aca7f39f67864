//! The write path: probes on a node, their rows in the log, segments of the lake.

pub mod node; // Probes on this node: rings to batches.
