//! The columns `truncated` and `probe_error`: what became of the strings and bytes that a row's values were made of.
//!
//! A program notes in a word what it counts as unreadable and as truncated, where it counts it: marks and counters agree.
//! Bit 0 says that something was cut; every other bit stands for a column of the result that needs memory which could not
//! be read.

use arrow::datatypes::DataType;
use datafusion::common::Column as ColumnName;
use datafusion::logical_expr::Expr;
use datafusion::sql::sqlparser::ast::SelectItem;
use datafusion::sql::sqlparser::tokenizer::Span;
use probepilot_sql::{SqlError, SqlState, SqlType};

use super::assemble::{Alu, Condition, FRAME, R0, R1, Width};
use super::emit::{Emitter, Part};
use super::expression::{Expression, LeafId, Node};
use super::leaf::{Leaf, StringAt};
use super::names::{Column, Content, Scope, Side};
use super::read::ReadOutcome;
use super::split::{Carried, Planned, RecordColumn, Split};
use super::{Item, OutputColumn, UNNAMED, position};
use crate::object::Counter;

/// The bit of what was cut.
const CUT: u32 = 1;

/// Columns with a bit of their own; those behind them share the last bit.
const COLUMNS_MAX: usize = 31;

/// A column that is made of the word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// Whether something was cut.
    Truncated,
    /// What could not be read.
    ProbeError,
}

impl Mark {
    /// Both, in the order in which they stand in a table.
    pub const ALL: [Mark; 2] = [Mark::Truncated, Mark::ProbeError];

    /// The mark that users call so.
    pub fn of_name(name: &str) -> Option<Mark> {
        Mark::ALL.into_iter().find(|mark| mark.name() == name)
    }

    /// The column's name.
    pub fn name(self) -> &'static str {
        match self {
            Mark::Truncated => "truncated",
            Mark::ProbeError => "probe_error",
        }
    }

    /// Its type.
    pub fn data_type(self) -> DataType {
        match self {
            Mark::Truncated => DataType::Boolean,
            Mark::ProbeError => DataType::Utf8View,
        }
    }

    /// Whether it can be NULL in a row that was just made.
    pub fn nullable(self) -> bool {
        self == Mark::ProbeError
    }

    /// What it means.
    pub fn comment(self) -> &'static str {
        match self {
            Mark::Truncated => "whether a string or bytes of this row were longer than what was read of them",
            Mark::ProbeError => "which columns needed memory that could not be read; NULL when all was read",
        }
    }

    fn column(self) -> OutputColumn {
        let sql_type = match self {
            Mark::Truncated => SqlType::Boolean,
            Mark::ProbeError => SqlType::Text,
        };
        // A table keeps the column when a later version of its probe aggregates: then there is nothing to fill it with.
        OutputColumn {
            name: self.name().to_owned(),
            sql_type,
            nullable: true,
            comment: Some(self.comment().to_owned()),
        }
    }

    fn in_record(self, span: Span) -> RecordColumn {
        RecordColumn {
            name: self.name().to_owned(),
            data_type: self.data_type(),
            nullable: self.nullable(),
            carried: Carried::Mark(self),
            span,
        }
    }
}

/// What the bits of the word stand for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Marks {
    /// Leaves that are noted, with the bit that says that they could not be read.
    leaves: Vec<(LeafId, u32)>,
    /// For each bit from the second on the columns it stands for.
    names: Vec<String>,
}

impl Marks {
    /// Whether nothing is noted.
    pub fn is_empty(&self) -> bool {
        self.leaves.is_empty()
    }

    /// The bit of a leaf that could not be read; `None` when no column of the result needs the leaf.
    pub fn unreadable(&self, leaf: LeafId) -> Option<u32> {
        self.leaves.iter().find(|(known, _)| *known == leaf).map(|(_, bit)| *bit)
    }

    /// The bit of a leaf that was cut; `None` as for [`Marks::unreadable`].
    pub fn cut(&self, leaf: LeafId) -> Option<u32> {
        self.unreadable(leaf).map(|_| CUT)
    }

    /// For each bit from the second on the columns it stands for.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// What the outputs read. A leaf that several of them need goes by the name of the first.
    fn of_outputs(split: &Split, columns: &[OutputColumn]) -> Marks {
        let mut marks = Marks::default();
        for (planned, column) in split.outputs.iter().zip(columns) {
            let mut leaves = reads(split, planned);
            leaves.retain(|leaf| marks.unreadable(*leaf).is_none());
            if leaves.is_empty() {
                continue;
            }
            let name = if column.name == UNNAMED { &planned.text } else { &column.name };
            if marks.names.len() < COLUMNS_MAX {
                marks.names.push(name.clone());
            } else if let Some(last) = marks.names.last_mut() {
                *last = format!("{last} or {name}");
            }
            let bit = CUT << marks.names.len();
            marks.leaves.extend(leaves.into_iter().map(|leaf| (leaf, bit)));
        }
        marks
    }
}

impl Scope<'_> {
    /// The column of a mark, which is now known. Of a pair there is one row, whichever hook is named before it.
    pub(super) fn mark_column(&mut self, mark: Mark, span: Span) -> String {
        let name = mark.name().to_owned();
        if !self.columns.iter().any(|column| column.name == name) {
            self.columns.push(Column {
                name: name.clone(),
                side: Side::End,
                data_type: mark.data_type(),
                content: Content::Mark(mark),
                comment: mark.comment().to_owned(),
                span,
                labels: None,
            });
        }
        name
    }
}

impl Emitter<'_> {
    /// Counts what became of a read, and notes it; what is read `again` later is counted then.
    pub(super) fn count_outcome(&mut self, outcome: ReadOutcome, leaf: LeafId, again: bool) {
        if let Part::Start(pair) = self.settings.part
            && pair.value.cell(&self.split.leaves[leaf.0]).is_some()
        {
            // It is counted where it becomes a value of a row.
            return;
        }
        let (readable, done) = (self.assembler.label(), self.assembler.label());
        self.assembler.jump_if_imm(Condition::GreaterEqual, R0, 0, readable);
        if again {
            self.assembler.jump(self.labels.postpone);
        } else {
            self.count(Counter::Unreadable);
            self.note(self.split.marks.unreadable(leaf));
            self.assembler.jump(done);
        }
        self.assembler.place(readable);
        if let Some(cut) = outcome.cut {
            self.assembler.jump_if_imm(Condition::Less, R0, i32::from(cut), done);
            self.count(Counter::Truncated);
            self.note(self.split.marks.cut(leaf));
        }
        self.assembler.place(done);
    }

    /// Notes what was just counted, where a column tells of it. Uses R1.
    fn note(&mut self, bit: Option<u32>) {
        let (Some(slot), Some(bit)) = (self.marks, bit) else { return };
        self.assembler.load(Width::Eight, R1, FRAME, slot);
        self.assembler.alu_imm(Alu::Or, R1, bit.cast_signed());
        self.assembler.store(Width::Eight, FRAME, slot, R1);
    }
}

/// Whether a word says that something was cut.
pub fn is_cut(word: u32) -> bool {
    word & CUT != 0
}

/// Whether a word says that something could not be read.
pub fn is_unreadable(word: u32) -> bool {
    word & !CUT != 0
}

/// What a word says that could not be read.
pub fn probe_error(word: u32, names: &[String]) -> String {
    let mut text = String::new();
    for (_, name) in names.iter().enumerate().filter(|(index, _)| word >> (index + 1) & 1 == 1) {
        if !text.is_empty() {
            text.push_str(", ");
        }
        text.push_str(name);
        text.push_str(": unreadable");
    }
    text
}

/// Adds the columns at the end of a result, and says what is to be noted for those it has.
///
/// Each is added where it can tell something, to stored rows and to `SELECT *`; whoever selects it himself has it
/// where he wrote it.
pub fn complete(split: &mut Split, columns: &mut Vec<OutputColumn>, items: &[SelectItem], stored: bool, span: Span) {
    let marks = Marks::of_outputs(split, columns);
    let is_star = |item: &SelectItem| matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..));
    for mark in Mark::ALL {
        let tells = marks.leaves.iter().any(|(leaf, _)| can_tell(mark, split.leaves[leaf.0].sided().1));
        let is_selected = columns.iter().any(|column| column.name == mark.name());
        if !tells || is_selected || !(stored || items.iter().any(is_star)) {
            continue;
        }
        if !split.record.iter().any(|column| column.carried == Carried::Mark(mark)) {
            split.record.push(mark.in_record(span));
        }
        let expr = Expr::Column(ColumnName::new_unqualified(mark.name()));
        split.outputs.push(Planned { expr, span, text: mark.name().to_owned() });
        split.in_kernel.push(true);
        columns.push(mark.column());
    }
    let is_mark = |column: &RecordColumn| matches!(column.carried, Carried::Mark(_));
    if split.record.iter().any(is_mark) {
        split.marks = marks;
    }
    // Behind those that have a bit among the nulls.
    split.record.sort_by_key(is_mark);
}

/// Refuses another column of such a name in a table.
pub(super) fn refuse_own(items: &[Item], columns: &[Column], text: &str) -> Result<(), SqlError> {
    for item in items {
        let Some(mark) = Mark::of_name(&item.name) else { continue };
        let is_mark = matches!(&item.planned.expr, Expr::Column(column)
            if columns.iter().any(|known| known.name == column.name && known.content == Content::Mark(mark)));
        if !is_mark {
            return Err(SqlError::new(
                SqlState::RESERVED_NAME,
                format!("column \"{}\" is filled by the node itself", mark.name()),
            )
            .hint("Give it another name with AS.")
            .at(position::of_span(text, item.planned.span)));
        }
    }
    Ok(())
}

/// Refuses a query that aggregates and names one: a window is made of many rows.
pub(super) fn refuse_in_windows(columns: &[Column], text: &str) -> Result<(), SqlError> {
    match columns.iter().find(|column| matches!(column.content, Content::Mark(_))) {
        None => Ok(()),
        Some(column) => Err(SqlError::unsupported(format!(
            "column \"{}\" tells of one row, and cannot stand in a query that aggregates",
            column.name
        ))
        .hint("system.probe_loss counts what was unreadable and truncated.")
        .at(position::of_span(text, column.span))),
    }
}

/// Whether the leaf can be the reason for the mark.
fn can_tell(mark: Mark, leaf: &Leaf) -> bool {
    match (mark, leaf) {
        (Mark::Truncated, Leaf::String { .. } | Leaf::Stack { .. }) => true,
        (Mark::Truncated, Leaf::UserBytes { length, bytes_max, .. }) => {
            !matches!(&length.value, Expression { node: Node::Literal(bytes), .. } if *bytes <= i64::from(*bytes_max))
        }
        // It lies in the event itself.
        (Mark::ProbeError, Leaf::String { at: StringAt::DataLoc { .. }, .. }) => false,
        (Mark::ProbeError, leaf) => leaf.is_read(),
        (Mark::Truncated, _) => false,
    }
}

/// The strings and bytes behind pointers that an output is made of, each once.
fn reads(split: &Split, output: &Planned) -> Vec<LeafId> {
    let mut leaves = Vec::new();
    let mut add = |leaf: LeafId| {
        if split.leaves[leaf.0].is_read() && !leaves.contains(&leaf) {
            leaves.push(leaf);
        }
    };
    let named = output.expr.column_refs();
    for column in split.record.iter().filter(|column| named.iter().any(|name| name.name == column.name)) {
        match &column.carried {
            Carried::Leaf(leaf) => add(*leaf),
            Carried::Value(value) => value.for_each_leaf(&mut add),
            Carried::Time | Carried::Mark(_) => {}
        }
    }
    leaves
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(word: u32, cut: bool, expected: &str) {
        let names = ["path".to_owned(), "target".to_owned()];
        assert_eq!((is_cut(word), is_unreadable(word)), (cut, !expected.is_empty()));
        assert_eq!(probe_error(word, &names), expected);
    }

    #[test]
    fn a_word_names_what_could_not_be_read() {
        check(0b000, false, "");
        check(0b001, true, "");
        check(0b010, false, "path: unreadable");
        check(0b101, true, "target: unreadable");
        check(0b110, false, "path: unreadable, target: unreadable");
    }
}
