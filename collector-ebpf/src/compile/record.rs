//! The record's bytes: what a program writes of a layout.

use probepilot_sql::SqlError;

use super::assemble::{Alu, CONTEXT, Condition, FRAME, Label, NULLS, R0, R1, R3, RECORD, Register, Width};
use super::emit::{Emitter, Part};
use super::evaluate::{Leaves, chunk};
use super::expression::{Expression, LeafId};
use super::layout::{Cell, MARKS_OFFSET, NSECS_OFFSET, NULLS_OFFSET, PROBE_ID_OFFSET};
use super::leaf::{COMM_BYTES, Leaf, TaskFact};
use super::read::comm_to;
use super::split::Carried;
use crate::object::{Counter, Patch};

impl Emitter<'_> {
    /// Writes head and columns behind R7. Of what a start keeps the first word is not the record's.
    pub(super) fn record(&mut self) -> Result<(), SqlError> {
        // A group has no moment: its key begins behind the head.
        if self.settings.windows.is_none() {
            self.head();
        }
        self.assembler.load_number(NULLS, 0);
        for (index, (column, cell)) in self.split.record.iter().zip(&self.layout.cells).enumerate() {
            self.assembler.at(column.span);
            let (null, done) = (self.assembler.label(), self.assembler.label());
            match &column.carried {
                Carried::Time => {}
                // The header has it.
                Carried::Mark(_) => continue,
                Carried::Leaf(leaf) => self.leaf(*leaf, *cell, null),
                Carried::Value(value) => self.expression(value, *cell, null),
            }
            self.assembler.jump(done);
            self.assembler.place(null);
            self.assembler.load_number(R1, 1_i64 << index);
            self.assembler.alu(Alu::Or, NULLS, R1);
            self.assembler.place(done);
            self.check_frame(column.span)?;
        }
        self.assembler.store(Width::Eight, RECORD, NULLS_OFFSET, NULLS);
        if let Some(marks) = self.marks {
            // Now that everything is read.
            self.assembler.load(Width::Eight, R1, FRAME, marks);
            self.assembler.store(Width::Four, RECORD, MARKS_OFFSET, R1);
        }
        Ok(())
    }

    fn head(&mut self) {
        if !matches!(self.settings.part, Part::Start(_)) {
            self.assembler.load_patched(R1, Patch::ProbeId);
            self.assembler.store(Width::Four, RECORD, PROBE_ID_OFFSET, R1);
            if self.marks.is_none() {
                self.assembler.store_imm(Width::Four, RECORD, MARKS_OFFSET, 0);
            }
        }
        if self.layout.clock {
            let nsecs = self.clock();
            self.assembler.load(Width::Eight, R1, FRAME, nsecs);
            self.assembler.store(Width::Eight, RECORD, NSECS_OFFSET, R1);
        } else {
            self.assembler.store_imm(Width::Eight, RECORD, NSECS_OFFSET, 0);
        }
    }

    fn expression(&mut self, value: &Expression, cell: Cell, null: Label) {
        self.fetch_all(value);
        let (error, done) = (self.assembler.label(), self.assembler.label());
        self.evaluator(error).value(value, null);
        self.store_number(cell);
        self.assembler.jump(done);
        if value.can_fail() {
            self.assembler.place(error);
            self.count(Counter::ExpressionError);
            self.assembler.jump(null);
        }
        self.assembler.place(done);
    }

    fn store_number(&mut self, cell: Cell) {
        let (offset, width) = match cell {
            Cell::Integer { offset, bytes } => {
                (offset, Width::of_bytes(bytes).expect("cells have two, four or eight bytes"))
            }
            Cell::Boolean { offset } => (offset, Width::One),
            Cell::Text { .. } | Cell::Sized { .. } | Cell::Bytes { .. } | Cell::Time | Cell::Nsecs | Cell::Mark(_) => {
                unreachable!("numbers are stored in cells of numbers")
            }
        };
        self.assembler.store(width, RECORD, offset as i16, R0);
    }

    fn leaf(&mut self, leaf: LeafId, cell: Cell, null: Label) {
        match &self.split.leaves[leaf.0] {
            // The header has it.
            Leaf::Task(TaskFact::Nsecs) if cell == Cell::Nsecs => {}
            Leaf::Task(TaskFact::Comm) => match self.sources.comm() {
                Some(offset) => self.copy(FRAME, offset, cell.offset(), COMM_BYTES),
                None => comm_to(&mut self.assembler, RECORD, cell.offset() as i16),
            },
            Leaf::Task(_) | Leaf::Number { .. } => {
                self.fetch(leaf);
                self.sources.number(&mut self.assembler, leaf, null);
                self.store_number(cell);
            }
            Leaf::ContextBytes { offset, length } => {
                self.copy(CONTEXT, *offset as i16, cell.offset(), *length);
            }
            saved @ Leaf::Saved(_) if saved.is_number() => {
                self.sources.number(&mut self.assembler, leaf, null);
                self.store_number(cell);
            }
            Leaf::KernelBytes { .. }
            | Leaf::UserBytes { .. }
            | Leaf::String { .. }
            | Leaf::Stack { .. }
            | Leaf::Saved(_) => {
                self.fetch(leaf);
                let status = self.sources.slot(leaf).expect("the string was just read");
                self.assembler.load(Width::Eight, R1, FRAME, status);
                self.assembler.jump_if_imm(Condition::Less, R1, 0, null);
            }
        }
    }

    /// Copies bytes into the record by aligned words; a group's key may lie in the frame, where stores are aligned too. Uses
    /// R1.
    fn copy(&mut self, from: Register, from_offset: i16, to_offset: u16, length: u16) {
        let mut done = 0;
        while done < length {
            let left = usize::from(length - done);
            let mut width = chunk(from_offset + done as i16, 8, left);
            if self.settings.windows.is_some() {
                width = chunk((to_offset + done) as i16, width.bytes(), left);
            }
            self.assembler.load(width, R1, from, from_offset + done as i16);
            self.assembler.store(width, RECORD, (to_offset + done) as i16, R1);
            done += u16::from(width.bytes());
        }
    }

    /// R3 = the record's bytes: it ends with its last string.
    pub(super) fn length(&mut self) {
        let last = self.layout.last_string.and_then(|index| match self.split.record[index].carried {
            Carried::Leaf(leaf) => Some((leaf, self.layout.cells[index].offset())),
            Carried::Value(_) | Carried::Time | Carried::Mark(_) => None,
        });
        let Some((leaf, offset)) = last else {
            return self.assembler.load_number(R3, i64::from(self.layout.bytes));
        };
        let most = self.split.leaves[leaf.0].bytes();
        let (readable, bounded) = (self.assembler.label(), self.assembler.label());
        self.assembler.load(Width::Eight, R3, FRAME, self.sources.slot(leaf).expect("the string was read"));
        self.assembler.jump_if_imm(Condition::GreaterEqual, R3, 0, readable);
        self.assembler.load_number(R3, 0);
        self.assembler.place(readable);
        self.assembler.jump_if_imm(Condition::LessEqualUnsigned, R3, i32::from(most), bounded);
        self.assembler.load_number(R3, i64::from(most));
        self.assembler.place(bounded);
        self.assembler.alu_imm(Alu::Add, R3, i32::from(offset));
    }
}
