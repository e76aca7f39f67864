//! Segments: rows of the log as sorted Parquet files, committed together with the log position they reach.

pub mod store; // Where files are put, durably.
pub mod layout; // How a file is laid out.
mod bounds; // What a file's statistics say.
mod encode; // Sorted rows to the bytes of a file.
mod sorted; // Batches of the log to sorted rows per hour.
mod cut; // One run: entries to files to a commit.
mod run; // The task that cuts.

pub(crate) use self::bounds::{NanWatch, describe};
pub(crate) use self::encode::segment_path;
pub use self::run::SegmentOptions;
pub(crate) use self::run::{Command, Cutter, run};
pub(crate) use self::sorted::conform;
