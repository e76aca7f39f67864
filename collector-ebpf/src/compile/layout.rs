//! The record: bytes in the ring, the same in the program that writes them and the decoder that reads them.
//!
//! ```text
//! 0   u32  probe id          written by the loader's patch
//! 4   u32  marks             what was cut and could not be read; zero when no column tells of it
//! 8   u64  nsecs             monotonic clock; zero when the query names neither time nor nsecs
//! 16  u64  nulls             bit i: column i of the record is NULL
//! 24       columns           widest first; then fixed bytes; then strings, the longest last
//! ```
//!
//! A record whose last string is longer than [`STRING_IN_PLACE_MAX`], or whose strings are read before its place in the
//! ring is taken (for the filter, or because the read may have to be tried again), is built in scratch memory and ends with its last string; every other is built in the ring and has a fixed size.

use arrow::datatypes::DataType;
use datafusion::sql::sqlparser::tokenizer::Span;
use probepilot_sql::SqlError;

use super::expression::{Expression, Kind, LeafId};
use super::leaf::{LENGTH_BYTES, Leaf, TaskFact};
use super::marks::{Mark, Marks};
use super::split::{Carried, Split};

/// Offset of the probe's id.
pub const PROBE_ID_OFFSET: i16 = 0;
/// Offset of the word of marks.
pub const MARKS_OFFSET: i16 = 4;
/// Offset of the clock.
pub const NSECS_OFFSET: i16 = 8;
/// Offset of the null bitmap.
pub const NULLS_OFFSET: i16 = 16;
/// Bytes before the columns.
pub const HEADER_BYTES: u16 = 24;

/// Columns that can be NULL in one record: the bits of one word.
pub const COLUMNS_MAX: usize = 64;

/// The longest string that is read straight into the ring.
pub const STRING_IN_PLACE_MAX: u16 = 64;

/// Bytes of a record; a per-CPU map's value and a stack of instructions' offsets stay within 15 bits.
pub const RECORD_BYTES_MAX: u16 = 24 * 1024;

/// How a column lies in the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cell {
    /// An integer of 2, 4 or 8 bytes.
    Integer {
        /// Where.
        offset: u16,
        /// 2, 4 or 8.
        bytes: u8,
    },
    /// A byte, 0 or 1.
    Boolean {
        /// Where.
        offset: u16,
    },
    /// Text up to its first NUL, or to the end of the place.
    Text {
        /// Where.
        offset: u16,
        /// Bytes of the place.
        length: u16,
        /// Bytes of it that are the value at most: what is behind them only tells that the string was cut.
        keep: u16,
    },
    /// A word with the number of bytes, then the bytes.
    Sized {
        /// Where the word lies.
        offset: u16,
        /// Bytes behind the word at most.
        bytes_max: u16,
    },
    /// All bytes of the place.
    Bytes {
        /// Where.
        offset: u16,
        /// Bytes of the place.
        length: u16,
    },
    /// The header's clock, as event time.
    Time,
    /// The header's clock.
    Nsecs,
    /// What the header's word of marks says.
    Mark(Mark),
}

impl Cell {
    /// Where it lies.
    pub fn offset(self) -> u16 {
        match self {
            Cell::Integer { offset, .. }
            | Cell::Boolean { offset }
            | Cell::Text { offset, .. }
            | Cell::Sized { offset, .. }
            | Cell::Bytes { offset, .. } => offset,
            Cell::Time | Cell::Nsecs => NSECS_OFFSET as u16,
            Cell::Mark(_) => MARKS_OFFSET as u16,
        }
    }
}

/// Where everything lies.
#[derive(Clone, Debug, PartialEq)]
pub struct Layout {
    /// For each column of the record its place.
    pub cells: Vec<Cell>,
    /// Bytes of a whole record.
    pub bytes: u16,
    /// The column that ends the record early; only in scratch memory.
    pub last_string: Option<usize>,
    /// Places of strings that only the filter looks at, behind the record.
    pub filter_strings: Vec<(LeafId, u16)>,
    /// Bytes of scratch memory; 0 when the record is built in the ring.
    pub scratch_bytes: u16,
    /// Whether the record needs the clock.
    pub clock: bool,
    /// What the bits of the word of marks stand for.
    pub marks: Marks,
}

impl Layout {
    /// Bytes of the key when the record is a group's.
    pub fn key_bytes(&self) -> u16 {
        self.bytes - KEY_OFFSET
    }

    /// Whether the record is built in scratch memory.
    pub fn in_scratch(&self) -> bool {
        self.scratch_bytes > 0
    }

    /// Where a string that is read lies in the record or behind it.
    pub fn string_offset(&self, leaf: LeafId, split: &Split) -> Option<u16> {
        let in_record = split.record.iter().position(|column| column.carried == Carried::Leaf(leaf));
        match in_record {
            Some(index) => Some(self.cells[index].offset()),
            None => self.filter_strings.iter().find(|(known, _)| *known == leaf).map(|(_, offset)| *offset),
        }
    }
}

enum Shape {
    Number(u8),
    Boolean,
    Fixed { length: u16, text: bool },
    String { length: u16 },
    Sized { length: u16 },
    Header(Cell),
}

/// Bytes of a group's key: two whole stacks and some more. Before Linux 5.11 the kernel's hashes take 512.
pub const KEY_BYTES_MAX: u16 = 4096;

/// A longer key is built in scratch memory: a program's stack has 512 bytes for everything.
const KEY_IN_FRAME_MAX: u16 = 160;

/// Where the key of a group begins in its record: what is before it says when and for whom, and not which.
pub const KEY_OFFSET: u16 = NULLS_OFFSET as u16;

/// Lays the record out; in scratch memory when `read_early`: strings are read before it is known whether there is a row.
pub fn layout(split: &Split, read_early: bool) -> Result<Layout, Refused> {
    arrange(split, read_early, None)
}

/// Lays the key of a group out, as a record whose part from [`KEY_OFFSET`] on is the key. What only the aggregates' inputs
/// look at lies behind it.
pub fn key_layout(split: &Split, inputs: &[&Expression], read_early: bool) -> Result<Layout, Refused> {
    let layout = arrange(split, read_early, Some(inputs))?;
    if layout.key_bytes() > KEY_BYTES_MAX {
        let longest = split.record.iter().zip(&layout.cells).max_by_key(|(_, cell)| cell.offset());
        let span = longest.map_or(Span::empty(), |(column, _)| column.span);
        let message =
            format!("the keys of a group take {} bytes, and at most {KEY_BYTES_MAX} can be", layout.key_bytes());
        return Err(Refused { message, span });
    }
    Ok(layout)
}

fn arrange(split: &Split, read_early: bool, inputs: Option<&[&Expression]>) -> Result<Layout, Refused> {
    let is_key = inputs.is_some();
    // Of a mark it is in the header whether it is NULL.
    let mut columns = split.record.iter().filter(|column| !matches!(column.carried, Carried::Mark(_)));
    if let Some(column) = columns.nth(COLUMNS_MAX) {
        let message = format!("a record holds at most {COLUMNS_MAX} columns");
        return Err(Refused { message, span: column.span });
    }
    let mut shapes: Vec<Shape> = split.record.iter().map(|column| shape(column, &split.leaves)).collect();
    if is_key {
        if let Some(index) = shapes.iter().position(|shape| matches!(shape, Shape::Header(Cell::Time))) {
            let message = "the time of an event is no key, and nothing but min and max can be made of it".to_owned();
            return Err(Refused { message, span: split.record[index].span });
        }
        for shape in shapes.iter_mut().filter(|shape| matches!(shape, Shape::Header(_))) {
            *shape = Shape::Number(8);
        }
    }
    let mut order: Vec<usize> = (0..shapes.len()).collect();
    order.sort_by_key(|&index| match &shapes[index] {
        Shape::Header(_) => (0, 0),
        Shape::Number(bytes) => (1, 8 - u16::from(*bytes)),
        Shape::Boolean => (2, 0),
        Shape::Fixed { .. } => (3, 0),
        Shape::String { length } | Shape::Sized { length } => (4, *length),
    });
    let mut cells = vec![Cell::Time; shapes.len()];
    let mut next: u32 = u32::from(HEADER_BYTES);
    for &index in &order {
        let (align, length) = match &shapes[index] {
            Shape::Header(_) => (1, 0),
            Shape::Number(bytes) => (u32::from(*bytes), u32::from(*bytes)),
            Shape::Boolean => (1, 1),
            // Whole words, so that they are copied and compared by words.
            Shape::Fixed { length, .. } | Shape::String { length } | Shape::Sized { length } => (8, u32::from(*length)),
        };
        next = next.next_multiple_of(align);
        if next + length > u32::from(RECORD_BYTES_MAX) {
            let message = format!("a record holds at most {RECORD_BYTES_MAX} bytes");
            return Err(Refused { message, span: split.record[index].span });
        }
        let offset = next as u16;
        cells[index] = match shapes[index] {
            Shape::Header(cell) => cell,
            Shape::Number(bytes) => Cell::Integer { offset, bytes },
            Shape::Boolean => Cell::Boolean { offset },
            Shape::Fixed { length, text: true } => Cell::Text { offset, length, keep: length },
            Shape::Fixed { length, text: false } => Cell::Bytes { offset, length },
            Shape::String { length } => Cell::Text { offset, length, keep: length - 2 },
            Shape::Sized { length } => Cell::Sized { offset, bytes_max: length - LENGTH_BYTES - 2 },
        };
        next += length;
    }
    let bytes = next.next_multiple_of(8) as u16;
    let longest =
        order.last().copied().filter(|&index| matches!(shapes[index], Shape::String { .. } | Shape::Sized { .. }));
    let longest_bytes = longest.map_or(0, |index| match shapes[index] {
        Shape::String { length } | Shape::Sized { length } => length,
        _ => 0,
    });
    let read_by_filter = filter_reads(split, inputs.unwrap_or_default());
    let in_scratch = read_early
        || longest_bytes > STRING_IN_PLACE_MAX + 2
        || !read_by_filter.is_empty()
        || (is_key && bytes > KEY_IN_FRAME_MAX);
    let mut scratch = u32::from(bytes);
    let mut filter_strings = Vec::new();
    for leaf in read_by_filter {
        if split.record.iter().any(|column| column.carried == Carried::Leaf(leaf)) {
            continue;
        }
        filter_strings.push((leaf, scratch as u16));
        scratch = (scratch + u32::from(split.leaves[leaf.0].bytes())).next_multiple_of(8);
        if scratch > u32::from(RECORD_BYTES_MAX) {
            let message = format!("the filter's strings need more than {RECORD_BYTES_MAX} bytes");
            let span = split.kernel_filters.first().map_or(Span::empty(), |filter| filter.span);
            return Err(Refused { message, span });
        }
    }
    Ok(Layout {
        clock: cells.iter().any(|cell| matches!(cell, Cell::Time | Cell::Nsecs)),
        cells,
        bytes,
        last_string: longest.filter(|_| in_scratch),
        marks: split.marks.clone(),
        filter_strings,
        scratch_bytes: if in_scratch { scratch as u16 } else { 0 },
    })
}

/// Why there is no layout.
#[derive(Debug)]
pub struct Refused {
    /// What is too large.
    pub message: String,
    /// For what.
    pub span: Span,
}

impl Refused {
    /// As a user sees it.
    pub fn to_sql(&self, text: &str) -> SqlError {
        SqlError::new(probepilot_sql::SqlState::PROGRAM_LIMIT_EXCEEDED, self.message.clone())
            .at(super::position::of_span(text, self.span))
    }
}

/// Strings that the filter, aggregates' inputs and expressions of the select list look at, each once.
fn filter_reads(split: &Split, inputs: &[&Expression]) -> Vec<LeafId> {
    let mut reads = Vec::new();
    // Expressions of the select list may test strings that are no column of their own.
    let carried = split.record.iter().filter_map(|column| match &column.carried {
        Carried::Value(value) => Some(value),
        Carried::Leaf(_) | Carried::Time | Carried::Mark(_) => None,
    });
    let conditions = split.kernel_filters.iter().map(|filter| &filter.condition);
    for expression in conditions.chain(inputs.iter().copied()).chain(carried) {
        expression.for_each_leaf(&mut |leaf| {
            if split.leaves[leaf.0].is_read() && !reads.contains(&leaf) {
                reads.push(leaf);
            }
        });
    }
    reads
}

fn shape(column: &super::split::RecordColumn, leaves: &[Leaf]) -> Shape {
    let number = |data_type: &DataType| match data_type {
        DataType::Int16 => Shape::Number(2),
        DataType::Int32 => Shape::Number(4),
        DataType::Boolean => Shape::Boolean,
        _ => Shape::Number(8),
    };
    match &column.carried {
        Carried::Time => Shape::Header(Cell::Time),
        Carried::Mark(mark) => Shape::Header(Cell::Mark(*mark)),
        Carried::Value(value) => {
            if value.kind == Kind::Boolean {
                Shape::Boolean
            } else {
                number(&column.data_type)
            }
        }
        Carried::Leaf(leaf) => match &leaves[leaf.0] {
            Leaf::Task(TaskFact::Nsecs) => Shape::Header(Cell::Nsecs),
            leaf @ Leaf::Saved(_) if leaf.is_number() => number(&column.data_type),
            Leaf::Task(TaskFact::Comm) => Shape::Fixed { length: super::leaf::COMM_BYTES, text: true },
            Leaf::Task(_) | Leaf::Number { .. } => number(&column.data_type),
            leaf @ (Leaf::ContextBytes { .. } | Leaf::KernelBytes { .. }) => {
                Shape::Fixed { length: leaf.bytes(), text: super::lower::is_text(&column.data_type) }
            }
            leaf @ Leaf::String { .. } => Shape::String { length: leaf.bytes() },
            leaf @ (Leaf::UserBytes { .. } | Leaf::Stack { .. }) => Shape::Sized { length: leaf.bytes() },
            Leaf::Saved(saved) => match saved.as_ref() {
                string @ Leaf::String { .. } => Shape::String { length: string.bytes() },
                bytes @ Leaf::UserBytes { .. } => Shape::Sized { length: bytes.bytes() },
                bytes => Shape::Fixed { length: bytes.bytes(), text: super::lower::is_text(&column.data_type) },
            },
        },
    }
}
