//! What the start of a pair keeps: the leaves that the end needs, laid out as a record is.
//!
//! ```text
//! 0   u64  EMPTY, PENDING or IN_USE
//! 8   u64  nsecs             the start's monotonic clock; zero when nobody needs it
//! 16  u64  nulls             bit i: leaf i is NULL
//! 24       leaves
//! ```

use arrow::datatypes::DataType;
use datafusion::sql::sqlparser::tokenizer::Span;

use super::state::State;
use crate::compile::assemble::Width;
use crate::compile::expression::LeafId;
use crate::compile::layout::{Cell, Layout, NSECS_OFFSET};
use crate::compile::leaf::{Leaf, Space, StringAt, TaskFact};
use crate::compile::names::{Content, Scope, Side};
use crate::compile::program::WITHOUT_RETURN;
use crate::compile::split::{Carried, RecordColumn, Split};
use crate::object::StateKind;

/// Nothing is kept: memory is zero when it is new.
pub const EMPTY: i32 = 0;
/// A start waits for its end.
pub const PENDING: i32 = 1;
/// One of the programs is at it.
pub const IN_USE: i32 = 2;

/// Where a kept leaf lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SavedCell {
    /// Bytes from the value's start.
    pub offset: u16,
    /// Of a number; it is signed.
    pub width: Width,
    /// Its bit among the nulls, when it can be NULL.
    pub null_bit: Option<u8>,
    /// Where the pointer lies from which a string that could not be read may be read again.
    pub again: Option<u16>,
}

/// Where everything that is kept lies.
#[derive(Clone, Debug)]
pub struct Value {
    cells: Vec<(Leaf, SavedCell)>,
    /// Bytes of a value.
    pub bytes: u16,
}

impl Value {
    /// The leaves of the start's record.
    pub fn new(start: &Split, layout: &Layout, again: bool) -> Value {
        let offset_of = |leaf: &Leaf| {
            let column = start.record.iter().position(|column| match column.carried {
                Carried::Leaf(id) => start.leaves[id.0] == *leaf,
                Carried::Value(_) | Carried::Time | Carried::Mark(_) => false,
            })?;
            Some(layout.cells[column].offset())
        };
        let mut cells = Vec::new();
        for (index, (column, cell)) in start.record.iter().zip(&layout.cells).enumerate() {
            let Carried::Leaf(id) = column.carried else { continue };
            let leaf = start.leaves[id.0].clone();
            let (offset, width) = match cell {
                Cell::Integer { offset, bytes } => {
                    (*offset, Width::of_bytes(*bytes).expect("cells have two, four or eight bytes"))
                }
                Cell::Time | Cell::Nsecs => (NSECS_OFFSET as u16, Width::Eight),
                other => (other.offset(), Width::One),
            };
            let null_bit = leaf.nullable().then_some(index as u8);
            let again = pointer_of(&leaf).filter(|_| again).and_then(|pointer| offset_of(&pointer));
            cells.push((leaf, SavedCell { offset, width, null_bit, again }));
        }
        Value { cells, bytes: layout.bytes }
    }

    /// Where the start's leaf lies; `None` when it is not kept.
    pub fn cell(&self, leaf: &Leaf) -> Option<SavedCell> {
        self.cells.iter().find(|(known, _)| known == leaf).map(|(_, cell)| *cell)
    }
}

/// The columns that the start keeps: the leaves of its side that the end names.
///
/// With `again` the pointers of strings of the process's memory as well.
pub fn record(
    scope: &Scope<'_>,
    end_leaves: &[Leaf],
    start_leaves: &mut Vec<Leaf>,
    again: bool,
    span: Span,
) -> Vec<RecordColumn> {
    let mut wanted: Vec<Leaf> = Vec::new();
    for leaf in end_leaves {
        let (Side::Start, leaf) = leaf.sided() else { continue };
        wanted.push(leaf.clone());
        wanted.extend(pointer_of(leaf).filter(|_| again));
    }
    let mut record: Vec<RecordColumn> = Vec::new();
    for leaf in wanted {
        let id = start_leaves.iter().position(|known| *known == leaf).unwrap_or_else(|| {
            start_leaves.push(leaf.clone());
            start_leaves.len() - 1
        });
        let carried = Carried::Leaf(LeafId(id));
        if record.iter().any(|column| column.carried == carried) {
            continue;
        }
        let name = name_of(scope, &leaf).unwrap_or_else(|| format!("#{}", record.len()));
        record.push(RecordColumn { name, data_type: type_of(&leaf), nullable: leaf.nullable(), carried, span });
    }
    record
}

/// Whether strings of the process's memory that could not be read at the start may be read at the end: the call has
/// brought the page in, and the memory is still the same process's.
pub fn can_be_read_again(scope: &Scope<'_>, state: &State) -> bool {
    let call = |side, prefix: &str| {
        let hook = scope.hook(side);
        hook.name.strip_prefix(prefix).filter(|_| hook.group == "syscalls").map(str::to_owned)
    };
    let (start, end) = (call(Side::Start, "sys_enter_"), call(Side::End, "sys_exit_"));
    state.kind == StateKind::TaskStorage
        && start.is_some_and(|call| Some(&call) == end.as_ref() && !WITHOUT_RETURN.contains(&call.as_str()))
}

/// The pointer behind which a string of the process's memory lies.
fn pointer_of(leaf: &Leaf) -> Option<Leaf> {
    match leaf {
        Leaf::String { at: StringAt::Pointer(place), space: Space::User, .. } => {
            Some(Leaf::Number { place: place.clone(), width: Width::Eight, signed: false, bits: None })
        }
        _ => None,
    }
}

/// What the user calls it.
fn name_of(scope: &Scope<'_>, leaf: &Leaf) -> Option<String> {
    let saved = Content::Leaf(leaf.clone().of(Side::Start));
    scope.columns.iter().find(|column| column.content == saved).map(|column| column.name.clone())
}

/// The narrowest type that holds all its values.
fn type_of(leaf: &Leaf) -> DataType {
    match leaf {
        Leaf::Number { width: Width::One, .. } | Leaf::Number { width: Width::Two, signed: true, .. } => {
            DataType::Int16
        }
        Leaf::Number { width: Width::Two, .. } | Leaf::Number { width: Width::Four, signed: true, .. } => {
            DataType::Int32
        }
        Leaf::Task(TaskFact::Pid | TaskFact::Tid | TaskFact::Ppid | TaskFact::Cpu) => DataType::Int32,
        Leaf::Task(TaskFact::Comm) | Leaf::String { .. } => DataType::Utf8View,
        Leaf::ContextBytes { length, .. } | Leaf::KernelBytes { length, .. } => {
            DataType::FixedSizeBinary(i32::from(*length))
        }
        Leaf::UserBytes { .. } | Leaf::Stack { .. } => DataType::BinaryView,
        Leaf::Number { .. } | Leaf::Task(_) => DataType::Int64,
        Leaf::Saved(leaf) => type_of(leaf),
    }
}
