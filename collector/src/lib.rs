//! The write path: probes on a node, their rows in the log, segments of the lake.

pub mod node; // Probes on this node: rings to batches.
pub mod log; // Batches in one order, durable.
pub mod loss; // Rows that could not be kept, by cause.
pub mod segment; // Rows of the log to committed Parquet.
pub mod merge; // Small segments to large ones.
pub mod space; // Retention, caps, and what nobody needs any more.
pub mod writer; // All of these as one: what takes rows.
pub mod source; // Rows that can be made again, for tests and benches.
