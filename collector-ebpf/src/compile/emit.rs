//! The program: own process out, filter, rate, record, ring.
//!
//! R6 context, R7 record, R8 pid and tid, R9 null bitmap. Every way out leaves R0 = 0.

use std::collections::HashMap;

use datafusion::sql::sqlparser::tokenizer::Span;
use probepilot_sql::{SqlError, SqlState};

use super::assemble::{
    Alu, Assembled, Assembler, CONTEXT, Condition, FRAME, Label, NULLS, PID_TGID, R0, R1, R2, R3, R4, RECORD, Register,
    Width,
};
use super::evaluate::{Evaluator, FRAME_BYTES_MAX, Frame, Leaves, chunk};
use super::expression::{Expression, LeafId};
use super::layout::{Cell, Layout, NSECS_OFFSET, NULLS_OFFSET, PROBE_ID_OFFSET};
use super::leaf::{COMM_BYTES, Leaf, TaskFact};
use super::position;
use super::read::{ReadOutcome, Sources, TaskOffsets, comm_to, helper};
use super::split::{Carried, Split};
use crate::object::{Counter, MapRef, PENDING_BYTES, Patch};

/// Nanoseconds of the window in which rows are counted against the limit.
const WINDOW_NS: i64 = 1_000_000_000;

/// Which part of a query on a system call the program is.
///
/// A string of the process's memory cannot be read at entry while its page is not there (a few of a hundred opens). The
/// call itself brings the page in, so the entry keeps the call's arguments, and the program at the return goes
/// through the query with them again. Time is the entry's; the processor is the return's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    Whole,
    /// At entry: what cannot be read is left to the return.
    Entry {
        /// Bytes of the context that are the call's.
        context_bytes: u16,
    },
    /// At the return: what was left to it.
    Return {
        /// The same.
        context_bytes: u16,
    },
}

/// What the program is besides the query.
#[derive(Clone, Copy, Debug)]
pub struct Settings<'a> {
    /// The whole statement.
    pub text: &'a str,
    /// The hook in FROM: what belongs to no single expression is made for it.
    pub hook_span: Span,
    /// Events of this process are not seen.
    pub excluded_tgid: Option<u32>,
    /// Counts rows against a limit that the loader sets.
    pub rate_limited: bool,
    /// Members of the current task.
    pub task: TaskOffsets,
    /// Which part.
    pub part: Part,
}

/// A program and what it costs.
#[derive(Clone, Debug)]
pub struct Emitted {
    /// The program.
    pub assembled: Assembled,
    /// Bytes of the frame in use at once.
    pub stack_bytes: u16,
}

/// Emits the program.
pub fn emit(split: &Split, layout: &Layout, settings: Settings<'_>) -> Result<Emitted, SqlError> {
    let string_offsets: HashMap<LeafId, u16> = (0..split.leaves.len())
        .map(LeafId)
        .filter(|leaf| split.leaves[leaf.0].is_read())
        .filter_map(|leaf| Some((leaf, layout.string_offset(leaf, split)?)))
        .collect();
    let mut assembler = Assembler::new();
    let labels = Labels {
        exit: assembler.label(),
        filter_failed: assembler.label(),
        ring_full: assembler.label(),
        rate_limited: assembler.label(),
        postpone: assembler.label(),
    };
    let mut frame = Frame::default();
    let (counters, key) = (frame.take(), frame.take());
    let call = match settings.part {
        Part::Whole => 0,
        Part::Entry { .. } | Part::Return { .. } => frame.take_bytes(PENDING_BYTES as i16),
    };
    let emitter = Emitter {
        split,
        layout,
        settings,
        assembler,
        frame,
        sources: Sources::new(&split.leaves, settings.task, string_offsets),
        labels,
        counters,
        key,
        call,
        clock_slot: None,
    };
    emitter.program()
}

struct Labels {
    exit: Label,
    filter_failed: Label,
    ring_full: Label,
    rate_limited: Label,
    postpone: Label,
}

struct Emitter<'a> {
    split: &'a Split,
    layout: &'a Layout,
    settings: Settings<'a>,
    assembler: Assembler,
    frame: Frame,
    sources: Sources<'a>,
    labels: Labels,
    /// The frame slot of the counters' address.
    counters: i16,
    /// The frame slot of a map's key.
    key: i16,
    /// The frame's copy of a call that waits for its return: the clock, then the context from its eighth byte on.
    call: i16,
    /// The frame slot of the clock, when only the record's head needs it.
    clock_slot: Option<i16>,
}

impl Emitter<'_> {
    fn program(mut self) -> Result<Emitted, SqlError> {
        self.assembler.at(self.settings.hook_span);
        self.assembler.mov(CONTEXT, R1);
        self.current_task();
        if let Part::Return { context_bytes } = self.settings.part {
            self.take_call(context_bytes);
        }
        let filters = &self.split.kernel_filters;
        let reads = |condition: &Expression| {
            let mut reads = false;
            condition.for_each_leaf(&mut |leaf| reads |= self.split.leaves[leaf.0].is_read());
            reads
        };
        let filter_reads = filters.iter().any(|filter| reads(&filter.condition));
        let counts_early = filter_reads || filters.iter().any(|filter| filter.condition.can_fail());
        if counts_early {
            self.find_counters();
        }
        if filter_reads {
            self.find_scratch();
        }
        for filter in filters {
            self.assembler.at(filter.span);
            self.filter(&filter.condition);
            self.check_frame(filter.span)?;
        }
        self.assembler.at(self.settings.hook_span);
        if !counts_early {
            self.find_counters();
        }
        if self.layout.in_scratch() && !filter_reads {
            self.find_scratch();
        }
        if self.settings.part != Part::Whole {
            // Before anything is counted: the event may be left to the return.
            for leaf in (0..self.split.leaves.len()).map(LeafId) {
                if self.split.leaves[leaf.0].may_fault() {
                    self.fetch(leaf);
                }
            }
        }
        self.count(Counter::Events);
        if self.settings.rate_limited {
            self.rate();
        }
        if !self.layout.in_scratch() {
            self.reserve();
        }
        self.record()?;
        self.assembler.at(self.settings.hook_span);
        self.send();
        self.ends();
        let (text, span) = (self.settings.text, self.settings.hook_span);
        let stack_bytes = self.frame.bytes_most() as u16;
        let assembled = self.assembler.finish().ok_or_else(|| {
            SqlError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, "the probe's program is too long")
                .hint("Split the probe in two.")
                .at(position::of_span(text, span))
        })?;
        Ok(Emitted { assembled, stack_bytes })
    }

    fn check_frame(&self, span: Span) -> Result<(), SqlError> {
        if !self.frame.overflowed() {
            return Ok(());
        }
        Err(SqlError::new(
            SqlState::PROGRAM_LIMIT_EXCEEDED,
            format!("the expression needs more than the {FRAME_BYTES_MAX} bytes of a program's stack"),
        )
        .hint("Make it less deep, or select its parts.")
        .at(position::of_span(self.settings.text, span)))
    }

    fn current_task(&mut self) {
        let named = |fact| self.split.leaves.contains(&Leaf::Task(fact));
        let paired = self.settings.part != Part::Whole;
        let needed = paired || self.settings.excluded_tgid.is_some() || named(TaskFact::Pid) || named(TaskFact::Tid);
        if needed {
            self.assembler.call(helper::GET_CURRENT_PID_TGID);
            self.assembler.mov(PID_TGID, R0);
        }
        if let Some(tgid) = self.settings.excluded_tgid {
            self.assembler.alu_imm(Alu::ShiftRight, R0, 32);
            self.assembler.jump_if_imm(Condition::Equal, R0, tgid as i32, self.labels.exit);
        }
    }

    /// Takes the call that waits for this return, and leaves when none does.
    fn take_call(&mut self, context_bytes: u16) {
        self.assembler.store(Width::Eight, FRAME, self.key, PID_TGID);
        self.lookup(MapRef::Pending, self.labels.exit);
        for offset in (0..context_bytes as i16).step_by(8) {
            self.assembler.load(Width::Eight, R1, R0, offset);
            self.assembler.store(Width::Eight, FRAME, self.call + offset, R1);
        }
        self.assembler.load_map(R1, MapRef::Pending);
        self.assembler.mov(R2, FRAME);
        self.assembler.alu_imm(Alu::Add, R2, i32::from(self.key));
        self.assembler.call(helper::MAP_DELETE);
        // The copy stands where the context does: fields keep their offsets, and the clock is in the head.
        self.assembler.mov(CONTEXT, FRAME);
        self.assembler.alu_imm(Alu::Add, CONTEXT, i32::from(self.call));
        if let Some(leaf) = self.clock_leaf() {
            self.sources.set_slot(leaf, self.call);
        }
    }

    /// Keeps the call for its return.
    fn postpone(&mut self, context_bytes: u16) {
        self.assembler.call(helper::KTIME_GET_NS);
        self.assembler.store(Width::Eight, FRAME, self.call, R0);
        for offset in (8..PENDING_BYTES as i16).step_by(8) {
            if offset < context_bytes as i16 {
                self.assembler.load(Width::Eight, R1, CONTEXT, offset);
                self.assembler.store(Width::Eight, FRAME, self.call + offset, R1);
            } else {
                self.assembler.store_imm(Width::Eight, FRAME, self.call + offset, 0);
            }
        }
        self.assembler.store(Width::Eight, FRAME, self.key, PID_TGID);
        self.assembler.load_map(R1, MapRef::Pending);
        self.assembler.mov(R2, FRAME);
        self.assembler.alu_imm(Alu::Add, R2, i32::from(self.key));
        self.assembler.mov(R3, FRAME);
        self.assembler.alu_imm(Alu::Add, R3, i32::from(self.call));
        self.assembler.load_number(R4, 0);
        self.assembler.call(helper::MAP_UPDATE);
        self.assembler.jump_if_imm(Condition::Equal, R0, 0, self.labels.exit);
        self.count(Counter::Unreadable);
        self.assembler.jump(self.labels.exit);
    }

    /// R0 = the value of key 0; leaves when there is none, which cannot be for arrays.
    fn find_first(&mut self, map: MapRef) {
        self.assembler.store_imm(Width::Four, FRAME, self.key, 0);
        self.lookup(map, self.labels.exit);
    }

    fn lookup(&mut self, map: MapRef, missing: Label) {
        self.assembler.load_map(R1, map);
        self.assembler.mov(R2, FRAME);
        self.assembler.alu_imm(Alu::Add, R2, i32::from(self.key));
        self.assembler.call(helper::MAP_LOOKUP);
        self.assembler.jump_if_imm(Condition::Equal, R0, 0, missing);
    }

    fn find_counters(&mut self) {
        self.find_first(MapRef::Counters);
        self.assembler.store(Width::Eight, FRAME, self.counters, R0);
    }

    /// The program cannot interrupt itself on one CPU (the kernel drops nested runs of a tracepoint's program), so
    /// its scratch memory is its own.
    fn find_scratch(&mut self) {
        self.find_first(MapRef::Scratch);
        self.assembler.mov(RECORD, R0);
    }

    /// Adds one. Uses R1 and R2.
    fn count(&mut self, counter: Counter) {
        self.assembler.load(Width::Eight, R1, FRAME, self.counters);
        self.assembler.load(Width::Eight, R2, R1, counter.offset());
        self.assembler.alu_imm(Alu::Add, R2, 1);
        self.assembler.store(Width::Eight, R1, counter.offset(), R2);
    }

    /// Calls the helpers that the expression's leaves need.
    fn fetch_all(&mut self, expression: &Expression) {
        let mut leaves = Vec::new();
        expression.for_each_leaf(&mut |leaf| leaves.push(leaf));
        for leaf in leaves {
            self.fetch(leaf);
        }
    }

    fn fetch(&mut self, leaf: LeafId) {
        if let Some(outcome) = self.sources.fetch(&mut self.assembler, &mut self.frame, leaf) {
            let again = self.split.leaves[leaf.0].may_fault() && matches!(self.settings.part, Part::Entry { .. });
            self.count_outcome(outcome, again);
        }
    }

    fn count_outcome(&mut self, outcome: ReadOutcome, again: bool) {
        let (readable, done) = (self.assembler.label(), self.assembler.label());
        self.assembler.jump_if_imm(Condition::GreaterEqual, R0, 0, readable);
        if again {
            self.assembler.jump(self.labels.postpone);
        } else {
            self.count(Counter::Unreadable);
            self.assembler.jump(done);
        }
        self.assembler.place(readable);
        if let Some(cut) = outcome.cut {
            self.assembler.jump_if_imm(Condition::Less, R0, i32::from(cut), done);
            self.count(Counter::Truncated);
        }
        self.assembler.place(done);
    }

    fn filter(&mut self, condition: &Expression) {
        self.fetch_all(condition);
        let yes = self.assembler.label();
        let (exit, error) = (self.labels.exit, self.labels.filter_failed);
        self.evaluator(error).branch(condition, yes, exit, exit);
        self.assembler.place(yes);
    }

    fn evaluator(&mut self, error: Label) -> Evaluator<'_, Sources<'_>> {
        Evaluator { assembler: &mut self.assembler, frame: &mut self.frame, leaves: &self.sources, error }
    }

    /// Lets through at most so many rows in a window of a second; the loader sets how many.
    ///
    /// The window's number and the rows in it are shared by all CPUs. Two CPUs that open a window at once may let
    /// through a few rows more; what is shed is counted exactly.
    fn rate(&mut self) {
        let nsecs = self.clock();
        let (same_window, pass) = (self.assembler.label(), self.assembler.label());
        let assembler = &mut self.assembler;
        assembler.load_patched(R3, Patch::RowsPerSecondMax);
        assembler.jump_if_imm(Condition::Equal, R3, 0, pass);
        assembler.load_map(R1, MapRef::Bucket);
        assembler.load(Width::Eight, R2, FRAME, nsecs);
        assembler.load_number(R4, WINDOW_NS);
        assembler.alu(Alu::Div, R2, R4);
        assembler.load(Width::Eight, R4, R1, 0);
        assembler.jump_if(Condition::LessEqualUnsigned, R2, R4, same_window);
        assembler.mov(R4, R2);
        assembler.exchange(R1, 0, R4);
        assembler.jump_if(Condition::LessEqualUnsigned, R2, R4, same_window);
        assembler.store_imm(Width::Eight, R1, 8, 0);
        assembler.place(same_window);
        assembler.load_number(R4, 1);
        assembler.fetch_add(R1, 8, R4);
        assembler.jump_if(Condition::GreaterEqualUnsigned, R4, R3, self.labels.rate_limited);
        assembler.place(pass);
    }

    fn clock_leaf(&self) -> Option<LeafId> {
        self.split.leaves.iter().position(|leaf| *leaf == Leaf::Task(TaskFact::Nsecs)).map(LeafId)
    }

    /// The frame slot of the clock, read once.
    fn clock(&mut self) -> i16 {
        if let Part::Return { .. } = self.settings.part {
            return self.call;
        }
        if let Some(leaf) = self.clock_leaf() {
            self.fetch(leaf);
            return self.sources.slot(leaf).expect("the clock was just read");
        }
        if let Some(slot) = self.clock_slot {
            return slot;
        }
        self.assembler.call(helper::KTIME_GET_NS);
        let slot = self.frame.take();
        self.assembler.store(Width::Eight, FRAME, slot, R0);
        self.clock_slot = Some(slot);
        slot
    }

    /// R0 = this CPU's ring.
    fn find_ring(&mut self) {
        self.assembler.call(helper::GET_SMP_PROCESSOR_ID);
        self.assembler.store(Width::Four, FRAME, self.key, R0);
        self.lookup(MapRef::Rings, self.labels.ring_full);
    }

    fn reserve(&mut self) {
        self.find_ring();
        self.assembler.mov(R1, R0);
        self.assembler.load_number(R2, i64::from(self.layout.bytes));
        self.assembler.load_number(R3, 0);
        self.assembler.call(helper::RINGBUF_RESERVE);
        self.assembler.jump_if_imm(Condition::Equal, R0, 0, self.labels.ring_full);
        self.assembler.mov(RECORD, R0);
    }

    fn record(&mut self) -> Result<(), SqlError> {
        self.assembler.load_patched(R1, Patch::ProbeId);
        self.assembler.store(Width::Four, RECORD, PROBE_ID_OFFSET, R1);
        self.assembler.store_imm(Width::Four, RECORD, PROBE_ID_OFFSET + 4, 0);
        if self.layout.clock {
            let nsecs = self.clock();
            self.assembler.load(Width::Eight, R1, FRAME, nsecs);
            self.assembler.store(Width::Eight, RECORD, NSECS_OFFSET, R1);
        } else {
            self.assembler.store_imm(Width::Eight, RECORD, NSECS_OFFSET, 0);
        }
        self.assembler.load_number(NULLS, 0);
        for (index, (column, cell)) in self.split.record.iter().zip(&self.layout.cells).enumerate() {
            self.assembler.at(column.span);
            let (null, done) = (self.assembler.label(), self.assembler.label());
            match &column.carried {
                Carried::Time => {}
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
        Ok(())
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
            Cell::Text { .. } | Cell::Sized { .. } | Cell::Bytes { .. } | Cell::Time | Cell::Nsecs => {
                unreachable!("numbers are stored in cells of numbers")
            }
        };
        self.assembler.store(width, RECORD, offset as i16, R0);
    }

    fn leaf(&mut self, leaf: LeafId, cell: Cell, null: Label) {
        match &self.split.leaves[leaf.0] {
            // The header has it.
            Leaf::Task(TaskFact::Nsecs) => {}
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
            Leaf::KernelBytes { .. } | Leaf::UserBytes { .. } | Leaf::String { .. } => {
                self.fetch(leaf);
                let status = self.sources.slot(leaf).expect("the string was just read");
                self.assembler.load(Width::Eight, R1, FRAME, status);
                self.assembler.jump_if_imm(Condition::Less, R1, 0, null);
            }
        }
    }

    /// Copies bytes into the record by aligned words. Uses R1.
    fn copy(&mut self, from: Register, from_offset: i16, to_offset: u16, length: u16) {
        let mut done = 0;
        while done < length {
            let width = chunk(from_offset + done as i16, 8, usize::from(length - done));
            self.assembler.load(width, R1, from, from_offset + done as i16);
            self.assembler.store(width, RECORD, (to_offset + done) as i16, R1);
            done += u16::from(width.bytes());
        }
    }

    fn send(&mut self) {
        if self.layout.in_scratch() {
            self.find_ring();
            self.assembler.mov(R1, R0);
            self.assembler.mov(R2, RECORD);
            self.length();
            self.assembler.load_number(R4, 0);
            self.assembler.call(helper::RINGBUF_OUTPUT);
            self.assembler.jump_if_imm(Condition::NotEqual, R0, 0, self.labels.ring_full);
        } else {
            self.assembler.mov(R1, RECORD);
            self.assembler.load_number(R2, 0);
            self.assembler.call(helper::RINGBUF_SUBMIT);
        }
        self.count(Counter::Rows);
        self.assembler.jump(self.labels.exit);
    }

    /// R3 = the record's bytes: it ends with its last string.
    fn length(&mut self) {
        let last = self.layout.last_string.and_then(|index| match self.split.record[index].carried {
            Carried::Leaf(leaf) => Some((leaf, self.layout.cells[index].offset())),
            Carried::Value(_) | Carried::Time => None,
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

    fn ends(&mut self) {
        if let Part::Entry { context_bytes } = self.settings.part {
            self.assembler.place(self.labels.postpone);
            self.postpone(context_bytes);
        }
        for (label, counter) in [
            (self.labels.filter_failed, Counter::ExpressionError),
            (self.labels.rate_limited, Counter::RateLimited),
            (self.labels.ring_full, Counter::RingFull),
        ] {
            self.assembler.place(label);
            self.count(counter);
            self.assembler.jump(self.labels.exit);
        }
        self.assembler.place(self.labels.exit);
        self.assembler.load_number(R0, 0);
        self.assembler.exit();
    }
}
