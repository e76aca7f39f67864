//! What a window keeps for each group, in the kernel and after it.
//!
//! The state of a group on one CPU is a row of 64-bit words, all zero at first: the number of events, then the cells of
//! each input. The CPUs' states are added up when the window is closed.
//!
//! ```text
//! count     1 word     events that counted for the input
//! sum       2 words    128 bits, low word first
//! squares   3 words    192 bits, low word first: more than 2⁶⁴ squares need
//! greatest  1 word     value XOR the least integer, so that zero is less than all
//! least     1 word     value XOR the greatest integer, so that the least value is the greatest word
//! buckets   512 words  see `crate::windows::buckets`
//! ```

use arrow::compute::SortOptions;
use arrow::datatypes::DataType;
use datafusion::sql::sqlparser::tokenizer::Span;

use crate::compile::expression::Expression;
use crate::compile::sample::Keep;
use probepilot_sql::buckets::BUCKETS;

/// Bytes of the number of events, which every state begins with.
const EVENTS_BYTES: u16 = 8;

/// Bytes of a group's state on one CPU: what the kernel's per-CPU maps hold at most.
pub const VALUE_BYTES_MAX: u32 = 32 * 1024;

/// Groups of a window when the probe does not say, as far as [`MAP_BYTES_DEFAULT`] lets it have them.
pub const KEYS_DEFAULT: u32 = 10_240;

/// Memory of a probe's two maps, bytes, that bounds [`KEYS_DEFAULT`].
pub const MAP_BYTES_DEFAULT: u64 = 64 << 20;

/// Fewer groups are not made by [`MAP_BYTES_DEFAULT`].
const KEYS_LEAST: u32 = 64;

/// The most groups that a probe may ask for.
pub const KEYS_MAX: u32 = 1 << 20;

/// How long a window is, and from where windows are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// Nanoseconds, at least one millisecond.
    pub width_ns: i64,
    /// Unix time at which one begins, nanoseconds.
    pub origin_ns: i64,
}

impl Bucket {
    /// The beginning of the window that holds this moment; both Unix nanoseconds.
    pub fn begin(&self, unix_ns: i64) -> i64 {
        unix_ns - (unix_ns - self.origin_ns).rem_euclid(self.width_ns)
    }
}

/// What is computed over a group's events.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Function {
    /// Events whose condition holds.
    Count,
    /// Different values.
    CountDistinct,
    /// Wraps at 64 bits as DataFusion's.
    Sum,
    /// The least value.
    Min,
    /// The greatest value.
    Max,
    /// The mean, in double precision.
    Mean,
    /// Variance, or its root.
    Variance {
        /// Of a sample: divided by one less than the number of values.
        sample: bool,
        /// The standard deviation.
        root: bool,
    },
    /// The value below which this share of the values lies.
    Percentile(f64),
    /// The buckets themselves, as JSON.
    Histogram,
    /// So many of the most frequent values with their numbers, as JSON.
    TopK(usize),
}

/// Where the words of an input lie in a group's state; bytes from its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the cells are described above")]
pub struct Cells {
    pub count: Option<u16>,
    pub sum: Option<u16>,
    pub squares: Option<u16>,
    pub greatest: Option<u16>,
    pub least: Option<u16>,
    pub buckets: Option<u16>,
}

impl Cells {
    /// Marks what the function needs; places are given later.
    pub fn need(&mut self, function: Function) {
        let wanted = Some(0);
        self.count = wanted;
        match function {
            Function::Count | Function::CountDistinct | Function::TopK(_) => {}
            Function::Sum | Function::Mean => self.sum = wanted,
            Function::Min => self.least = wanted,
            Function::Max => self.greatest = wanted,
            Function::Variance { .. } => (self.sum, self.squares) = (wanted, wanted),
            Function::Percentile(_) | Function::Histogram => self.buckets = wanted,
        }
    }

    /// Gives every cell that is needed its place from `next` on.
    fn place(&mut self, next: &mut u32) {
        let cells = [
            (&mut self.count, 1),
            (&mut self.sum, 2),
            (&mut self.squares, 3),
            (&mut self.greatest, 1),
            (&mut self.least, 1),
            (&mut self.buckets, BUCKETS as u32),
        ];
        for (cell, words) in cells {
            if cell.is_some() {
                // Beyond what fits the place does not matter: the query is refused.
                *cell = Some(u16::try_from(*next).unwrap_or(0));
                *next += words * 8;
            }
        }
    }
}

/// What the kernel adds to a group's state for each event.
#[derive(Clone, Debug, PartialEq)]
pub struct KernelInput {
    /// The number; `None` when only the event counts.
    pub value: Option<Expression>,
    /// What must be true.
    pub condition: Option<Expression>,
    /// Where it is added.
    pub cells: Cells,
    /// Where the user wrote it.
    pub span: Span,
}

/// Places the cells of all inputs; the bytes of a state.
pub fn place(inputs: &mut [KernelInput]) -> u32 {
    let mut next = u32::from(EVENTS_BYTES);
    for input in inputs {
        if input.value.is_none() && input.condition.is_none() {
            // The number of events is this count.
            input.cells = Cells { count: Some(0), ..Cells::default() };
        } else {
            input.cells.place(&mut next);
        }
    }
    next
}

/// Where an aggregate's numbers come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The kernel's input of this index.
    Kernel(usize),
    /// Outputs of the key's part after the kernel: the argument, and what must be true.
    After {
        /// The argument.
        value: Option<usize>,
        /// What must be true.
        condition: Option<usize>,
    },
}

/// An aggregate of the query.
#[derive(Clone, Debug, PartialEq)]
pub struct Aggregate {
    /// What it computes.
    pub function: Function,
    /// Of what.
    pub source: Source,
    /// The type of its result.
    pub data_type: DataType,
    /// What the user wrote.
    pub text: String,
}

/// How events become rows of windows.
#[derive(Clone, Debug)]
pub struct WindowPlan {
    /// `None`: one window, as long as the query.
    pub bucket: Option<Bucket>,
    /// What the kernel adds up.
    pub inputs: Vec<KernelInput>,
    /// Bytes of a group's state on one CPU.
    pub value_bytes: u32,
    /// Expressions of GROUP BY: the first outputs of the key's part after the kernel.
    pub groups: usize,
    /// The aggregates.
    pub aggregates: Vec<Aggregate>,
    /// How the rows of a window are ordered: by the last outputs of the last part, which are no columns.
    pub sort: Vec<SortOptions>,
    /// Rows of a window.
    pub limit: Option<u64>,
    /// What the query's own `TABLESAMPLE` keeps; 0 for all.
    pub keep: Keep,
}

/// Groups that fit into [`MAP_BYTES_DEFAULT`] on a host with so many CPUs.
pub fn keys_default(key_bytes: u32, value_bytes: u32, cpus: usize) -> u32 {
    let fitting = MAP_BYTES_DEFAULT / map_bytes(key_bytes, value_bytes, 1, cpus).max(1);
    u32::try_from(fitting).unwrap_or(u32::MAX).clamp(KEYS_LEAST, KEYS_DEFAULT)
}

/// What the two maps of a query take: an entry has its key, a state for each CPU, and some 64 bytes of the kernel's own.
pub fn map_bytes(key_bytes: u32, value_bytes: u32, keys_max: u32, cpus: usize) -> u64 {
    let entry = u64::from(key_bytes) + 64 + u64::from(value_bytes) * cpus as u64;
    2 * u64::from(keys_max) * entry
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_begin_at_multiples_of_their_width_also_before_the_origin() {
        let bucket = Bucket { width_ns: 10, origin_ns: 3 };
        assert_eq!([-8, -7, 2, 3, 12, 13].map(|time| bucket.begin(time)), [-17, -7, -7, 3, 3, 13]);
    }

    #[test]
    fn the_default_number_of_keys_is_bounded_by_memory() {
        assert_eq!(keys_default(8, 16, 2), KEYS_DEFAULT);
        assert_eq!(keys_default(40, 4104, 4), 2_031);
        assert_eq!(keys_default(40, 32_768, 512), KEYS_LEAST);
    }
}
