//! `time_bucket_gapfill`: rows for the buckets of a range that have none.
//!
//! A rule puts a node over the aggregate that groups by it; the node's operator makes a row for each bucket and each value of
//! the other keys. Aggregates of such rows are NULL, unless `locf` or `interpolate` stands around them.

mod node; // The node in a logical plan.
mod range; // From when to when.
mod rule; // Where the node is put.
mod planner; // The node's operator, with its range computed.
mod operator; // The operator.
mod series; // The rows of one series.

pub(crate) use planner::GapFillPlanner;
pub(crate) use rule::GapFillRule;

/// Rows that one statement may make for empty buckets. Above it the statement fails (54000).
const ROWS_MADE_MAX: usize = 1_000_000;

/// How a column is filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Fill {
    /// The value of the row before; with `skip_nulls` the last one that is not NULL, for rows that are there too.
    Last { skip_nulls: bool },
    /// On the line between the row before and the row behind.
    Line,
}
