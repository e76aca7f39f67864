//! The program: own process out, filter, rate, record, ring.
//!
//! R6 context, R7 record, R8 pid and tid, R9 null bitmap. Every way out leaves R0 = 0.

use std::collections::HashMap;

use datafusion::sql::sqlparser::tokenizer::Span;
use probepilot_sql::{SqlError, SqlState};

use super::aggregate::plan::WindowPlan;
use super::assemble::{
    Alu, Assembled, Assembler, CONTEXT, Condition, FRAME, Label, PID_TGID, R0, R1, R2, R3, R4, RECORD, Width,
};
use super::evaluate::{Evaluator, FRAME_BYTES_MAX, Frame};
use super::expression::{Expression, LeafId};
use super::layout::Layout;
use super::leaf::{Leaf, Space, TaskFact};
use super::pair::{Pair, PairParts};
use super::position;
use super::read::{Sources, TaskOffsets, helper};
use super::sample::Sample;
use super::sink::Sink;
use super::split::{KernelFilter, Split};
use crate::object::{Counter, MapRef, PENDING_BYTES, Patch, SETS_MAX, ScratchEntry};

/// Nanoseconds of the window in which rows are counted against the limit.
const WINDOW_NS: i64 = 1_000_000_000;

/// Which part of a query the program is.
///
/// A query on a system call may have two. A string of the process's memory cannot be read at entry while its page is not there (a few of a hundred opens). The
/// call itself brings the page in, so the entry keeps the call's arguments, and the program at the return goes
/// through the query with them again. Time is the entry's; the processor is the return's.
#[derive(Clone, Copy, Debug)]
pub enum Part<'a> {
    /// All of it.
    Whole,
    /// The start of a pair.
    Start(&'a Pair),
    /// Its end, which makes the row.
    End(&'a Pair),
    /// The event after which a start will never meet its end.
    Discard(&'a Pair),
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

impl<'a> Part<'a> {
    /// Whether a call that could not be read is kept for its return.
    fn is_of_call(&self) -> bool {
        matches!(self, Part::Entry { .. } | Part::Return { .. })
    }

    /// The pair whose part it is.
    fn pair(&self) -> Option<&'a Pair> {
        match self {
            Part::Start(pair) | Part::End(pair) | Part::Discard(pair) => Some(pair),
            Part::Whole | Part::Entry { .. } | Part::Return { .. } => None,
        }
    }
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
    /// Which events are left out.
    pub sample: Sample,
    /// Members of the current task.
    pub task: TaskOffsets,
    /// Which part.
    pub part: Part<'a>,
    /// What becomes of events instead of records.
    pub windows: Option<&'a WindowPlan>,
    /// What becomes of records.
    pub sink: Sink,
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
        sampled: assembler.label(),
        budget: assembler.label(),
        postpone: assembler.label(),
        map_full: assembler.label(),
    };
    let mut frame = Frame::default();
    let (counters, key) = (frame.take(), frame.take());
    let call = if settings.part.is_of_call() { frame.take_bytes(PENDING_BYTES as i16) } else { 0 };
    let marks = (!split.marks.is_empty()).then(|| frame.take());
    let keys = settings.part.pair().map_or(0, |pair| pair.start_keys.len());
    let pair = PairParts::new(&mut assembler, &mut frame, keys, labels.exit);
    let mut sources = Sources::new(&split.leaves, settings.task, string_offsets);
    if let Part::Start(_) = settings.part {
        sources.keep();
    }
    let emitter = Emitter {
        split,
        layout,
        settings,
        assembler,
        frame,
        sources,
        out: labels.exit,
        labels,
        counters,
        key,
        call,
        marks,
        clock_slot: None,
        pair,
    };
    emitter.program()
}

pub(super) struct Labels {
    /// Nothing becomes of the event.
    pub(super) exit: Label,
    pub(super) filter_failed: Label,
    ring_full: Label,
    rate_limited: Label,
    pub(super) sampled: Label,
    pub(super) budget: Label,
    pub(super) postpone: Label,
    pub(super) map_full: Label,
}

/// Emits one program.
pub(super) struct Emitter<'a> {
    pub(super) split: &'a Split,
    pub(super) layout: &'a Layout,
    pub(super) settings: Settings<'a>,
    pub(super) assembler: Assembler,
    pub(super) frame: Frame,
    pub(super) sources: Sources<'a>,
    pub(super) labels: Labels,
    /// The frame slot of the counters' address.
    pub(super) counters: i16,
    /// The program's end.
    out: Label,
    /// The frame slot of a map's key.
    pub(super) key: i16,
    /// The frame's copy of a call that waits for its return: the clock, then the context from its eighth byte on.
    call: i16,
    /// The frame slot of the word of marks, when a column tells of it.
    pub(super) marks: Option<i16>,
    /// The frame slot of the clock, when only the record's head needs it.
    clock_slot: Option<i16>,
    pub(super) pair: PairParts,
}

impl<'a> Emitter<'a> {
    fn program(mut self) -> Result<Emitted, SqlError> {
        let (split, part) = (self.split, self.settings.part);
        self.assembler.at(self.settings.hook_span);
        self.assembler.mov(CONTEXT, R1);
        if let Part::Discard(pair) = part {
            self.discard(pair);
            return self.finish();
        }
        self.gate();
        if let Some(marks) = self.marks {
            self.assembler.store_imm(Width::Eight, FRAME, marks, 0);
        }
        self.current_task();
        if let Part::Return { context_bytes } = part {
            self.take_call(context_bytes);
        }
        if matches!(part, Part::Whole | Part::Entry { .. }) {
            self.sample();
        }
        if let Part::End(pair) = part {
            // What holds at both ends: where it does not, there is nothing to look for.
            self.filters(&pair.shared, |_| true)?;
        }
        let reads = |condition: &Expression| names_leaf(condition, |leaf| split.leaves[leaf.0].is_read());
        let filter_reads = split.kernel_filters.iter().any(|filter| reads(&filter.condition));
        let can_fail = split.kernel_filters.iter().any(|filter| filter.condition.can_fail());
        let counts_early = filter_reads || can_fail || part.pair().is_some();
        if counts_early {
            self.find_counters();
        }
        if filter_reads {
            self.find_scratch();
        }
        let waits = |leaf: LeafId| matches!(split.leaves[leaf.0], Leaf::Saved(_));
        if let Part::End(pair) = part {
            self.expect_start(pair);
            self.filters(&split.kernel_filters, |filter| !names_leaf(&filter.condition, waits))?;
            self.fetch_start(pair);
            self.filters(&split.kernel_filters, |filter| names_leaf(&filter.condition, waits))?;
        } else {
            self.filters(&split.kernel_filters, |_| true)?;
        }
        if !counts_early {
            self.find_counters();
        }
        if self.layout.in_scratch() && !filter_reads {
            self.find_scratch();
        }
        if let Part::Start(pair) = part {
            self.keep(pair)?;
            return self.finish();
        }
        if part.is_of_call() {
            // Before anything is counted: the event may be left to the return.
            for leaf in (0..split.leaves.len()).map(LeafId) {
                if split.leaves[leaf.0].may_fault() {
                    self.fetch(leaf);
                }
            }
        }
        if let Part::End(_) = part {
            // Not earlier: who leaves one end out must leave the other out too.
            self.sample();
        }
        self.count(Counter::Events);
        if let Some(plan) = self.settings.windows {
            self.aggregate(plan)?;
        } else {
            if self.settings.rate_limited {
                self.rate();
            }
            if !self.layout.in_scratch() {
                self.reserve();
            }
            self.record()?;
            self.assembler.at(self.settings.hook_span);
            self.send();
        }
        self.finish()
    }

    /// The ways out, and the program.
    fn finish(mut self) -> Result<Emitted, SqlError> {
        self.ends();
        let (text, span) = (self.settings.text, self.settings.hook_span);
        self.check_frame(span)?;
        let stack_bytes = self.frame.bytes_most() as u16;
        let assembled = self.assembler.finish().ok_or_else(|| {
            SqlError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, "the probe's program is too long")
                .hint("Split the probe in two.")
                .at(position::of_span(text, span))
        })?;
        if assembled.sets.len() > SETS_MAX {
            let message = format!("a probe looks members up in at most {SETS_MAX} lists");
            return Err(SqlError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, message)
                .hint("Split the probe in two.")
                .at(position::of_span(text, span)));
        }
        Ok(Emitted { assembled, stack_bytes })
    }

    /// Those filters that are wanted now.
    fn filters(&mut self, filters: &[KernelFilter], wanted: impl Fn(&KernelFilter) -> bool) -> Result<(), SqlError> {
        for filter in filters.iter().filter(|filter| wanted(filter)) {
            self.assembler.at(filter.span);
            self.filter(&filter.condition);
            self.check_frame(filter.span)?;
        }
        self.assembler.at(self.settings.hook_span);
        Ok(())
    }

    pub(super) fn check_frame(&self, span: Span) -> Result<(), SqlError> {
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
        let needed = self.settings.part.is_of_call()
            || self.settings.excluded_tgid.is_some()
            || self.split.leaves.iter().any(|leaf| matches!(leaf, Leaf::Stack { space: Space::User, .. }))
            || named(TaskFact::Pid)
            || named(TaskFact::Tid);
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

    /// R0 = the value of an array's entry; leaves for `missing` when there is none, which cannot be.
    pub(super) fn find_entry(&mut self, map: MapRef, index: i32, missing: Label) {
        self.assembler.store_imm(Width::Four, FRAME, self.key, index);
        self.lookup(map, missing);
    }

    fn lookup(&mut self, map: MapRef, missing: Label) {
        self.assembler.load_map(R1, map);
        self.assembler.mov(R2, FRAME);
        self.assembler.alu_imm(Alu::Add, R2, i32::from(self.key));
        self.assembler.call(helper::MAP_LOOKUP);
        self.assembler.jump_if_imm(Condition::Equal, R0, 0, missing);
    }

    pub(super) fn find_counters(&mut self) {
        self.find_entry(MapRef::Counters, 0, self.labels.exit);
        self.assembler.store(Width::Eight, FRAME, self.counters, R0);
    }

    /// The program cannot interrupt itself on one CPU (the kernel drops nested runs of a tracepoint's program), so
    /// its scratch memory is its own.
    fn find_scratch(&mut self) {
        let entry = if let Part::Start(_) = self.settings.part { ScratchEntry::Start } else { ScratchEntry::Record };
        self.find_entry(MapRef::Scratch, entry as i32, self.labels.exit);
        self.assembler.mov(RECORD, R0);
        if self.settings.windows.is_some() {
            self.clear_key();
        }
    }

    /// Adds one. Uses R1 and R2.
    pub(super) fn count(&mut self, counter: Counter) {
        self.assembler.load(Width::Eight, R1, FRAME, self.counters);
        self.assembler.load(Width::Eight, R2, R1, counter.offset());
        self.assembler.alu_imm(Alu::Add, R2, 1);
        self.assembler.store(Width::Eight, R1, counter.offset(), R2);
    }

    /// Calls the helpers that the expression's leaves need.
    pub(super) fn fetch_all(&mut self, expression: &Expression) {
        let mut leaves = Vec::new();
        expression.for_each_leaf(&mut |leaf| leaves.push(leaf));
        for leaf in leaves {
            self.fetch(leaf);
        }
    }

    pub(super) fn fetch(&mut self, leaf: LeafId) {
        if let Some(outcome) = self.sources.fetch(&mut self.assembler, &mut self.frame, leaf) {
            let again = self.split.leaves[leaf.0].may_fault() && matches!(self.settings.part, Part::Entry { .. });
            self.count_outcome(outcome, leaf, again);
        }
    }

    fn filter(&mut self, condition: &Expression) {
        self.fetch_all(condition);
        let yes = self.assembler.label();
        let (exit, error) = (self.labels.exit, self.labels.filter_failed);
        self.evaluator(error).branch(condition, yes, exit, exit);
        self.assembler.place(yes);
    }

    pub(super) fn evaluator(&mut self, error: Label) -> Evaluator<'_, Sources<'a>> {
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
    pub(super) fn clock(&mut self) -> i16 {
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

    fn send(&mut self) {
        if self.settings.sink == Sink::Count {
            self.count_bytes();
        } else if self.layout.in_scratch() {
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

    fn ends(&mut self) {
        if let Part::Entry { context_bytes } = self.settings.part {
            self.assembler.place(self.labels.postpone);
            self.postpone(context_bytes);
        }
        for (label, counter) in [
            (self.labels.filter_failed, Counter::ExpressionError),
            (self.labels.rate_limited, Counter::RateLimited),
            (self.labels.ring_full, Counter::RingFull),
            (self.labels.map_full, Counter::MapFull),
        ] {
            self.assembler.place(label);
            self.count(counter);
            self.assembler.jump(self.labels.exit);
        }
        if !self.settings.sample.is_everything() {
            for (label, counter) in [(self.labels.sampled, Counter::Sampled), (self.labels.budget, Counter::Budget)] {
                self.assembler.place(label);
                // The way here may not have passed them.
                self.find_counters();
                self.count(Counter::Events);
                self.count(counter);
                self.assembler.jump(self.labels.exit);
            }
        }
        match self.settings.part {
            Part::Start(_) => self.start_ends(),
            Part::End(pair) => self.end_ends(pair),
            Part::Whole | Part::Entry { .. } | Part::Return { .. } | Part::Discard(_) => {}
        }
        self.assembler.place(self.out);
        self.assembler.load_number(R0, 0);
        self.assembler.exit();
    }
}

/// Whether the expression names such a leaf.
fn names_leaf(expression: &Expression, is_such: impl Fn(LeafId) -> bool) -> bool {
    let mut names = false;
    expression.for_each_leaf(&mut |leaf| names |= is_such(leaf));
    names
}
