//! A table as one provider: pruned segments ∪ tail, at the statement's snapshot.

mod pin; // The snapshot of a statement: tail first, then manifest.
mod prune; // Bounds of segments and runs as the planner's pruning reads them.
mod statistics; // What the planner is told about segments.
mod layout; // Which segments a scan reads, and in which partition.
mod segments; // Parquet files as a scan.
mod reader; // Errors of segments name the file.
mod damaged; // Which segment it was.
mod tail_source; // Rows of the tail as a scan.
mod newest; // Newest rows first, piece by piece.
mod union; // Segments and tail under one node.
mod provider; // The provider.
mod live; // Tables whose rows are made when they are read.

pub use damaged::find_damaged;
pub use live::LiveProvider;
pub(crate) use newest::OrderBelowFilters;
pub use pin::Pin;
pub use provider::StoredTable;
pub use reader::SegmentError;
pub use segments::{STORE_URL, store_url};
