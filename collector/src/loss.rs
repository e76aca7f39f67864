//! Rows that were taken and could not be kept, by cause.

use std::sync::atomic::{AtomicU64, Ordering};

/// Why rows of the log did not reach a segment, or did not reach the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// Refused: subscribers are too far behind.
    TailFull,
    /// Refused: the disk is full, or nearly.
    DiskFull,
    /// The entry in the log is damaged. Entries whose header is damaged too count one row each, at least.
    LogDamaged,
    /// Their table was dropped before they were stored.
    TableDropped,
    /// They do not fit their table, or Parquet.
    NotEncodable,
}

impl Cause {
    /// Every cause.
    pub const ALL: [Cause; 5] =
        [Cause::TailFull, Cause::DiskFull, Cause::LogDamaged, Cause::TableDropped, Cause::NotEncodable];

    /// The word in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Cause::TailFull => "log_full",
            Cause::DiskFull => "disk_full",
            Cause::LogDamaged => "log_damaged",
            Cause::TableDropped => "table_dropped",
            Cause::NotEncodable => "not_encodable",
        }
    }
}

/// Rows by cause since the start.
#[derive(Debug, Default)]
pub struct Losses {
    rows: [AtomicU64; Cause::ALL.len()],
}

impl Losses {
    /// Counts rows.
    pub fn count(&self, cause: Cause, rows: u64) {
        self.rows[cause as usize].fetch_add(rows, Ordering::Relaxed);
    }

    /// Rows of a cause.
    pub fn rows(&self, cause: Cause) -> u64 {
        self.rows[cause as usize].load(Ordering::Relaxed)
    }
}
