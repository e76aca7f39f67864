//! The parts of a pair's programs that its ends do not share with other queries: key, match, keep, give back.

use probepilot_sql::SqlError;

use super::Pair;
use super::value::{EMPTY, IN_USE, PENDING};
use crate::compile::assemble::{
    Alu, Assembler, CONTEXT, Condition, FRAME, Label, NULLS, R0, R1, R2, R3, R4, RECORD, Register, Width,
};
use crate::compile::emit::Emitter;
use crate::compile::evaluate::Frame;
use crate::compile::expression::{Expression, Node};
use crate::compile::read::{SavedAt, helper};
use crate::object::{Counter, MapRef, ScratchEntry, StateKind};

/// Flags of an update: only a key that is not there, only one that is.
const NEW_ONLY: i64 = 1;
const KNOWN_ONLY: i64 = 2;

/// Flag of task storage: made when it is not there.
const CREATE: i64 = 1;

/// `-EEXIST`
const EXISTS: i32 = -17;

/// Frame and labels of a pair's program.
pub struct PairParts {
    /// The frame's copy of the key.
    key: i16,
    /// The frame slot that says whether the key is known, when it can be NULL.
    key_known: Option<i16>,
    /// The frame slot of the address of what the start kept.
    saved: i16,
    /// An end that its own filter does not want: what waits for it is given back.
    drop: Label,
    drop_failed: Label,
    /// An end without a start.
    missing: Label,
    /// A start that will never meet its end.
    lost: Label,
    nested: Label,
    map_full: Label,
    /// The way out of the program.
    out: Label,
}

impl PairParts {
    /// For a key of so many values.
    pub fn new(assembler: &mut Assembler, frame: &mut Frame, keys: usize, out: Label) -> PairParts {
        PairParts {
            key: frame.take_bytes(keys.max(1) as i16 * 8),
            key_known: None,
            saved: frame.take(),
            drop: assembler.label(),
            drop_failed: assembler.label(),
            missing: assembler.label(),
            lost: assembler.label(),
            nested: assembler.label(),
            map_full: assembler.label(),
            out,
        }
    }
}

impl<'a> Emitter<'a> {
    /// At an end, before its own filter: the key; from here on an event that is not wanted gives its start back.
    pub(in crate::compile) fn expect_start(&mut self, pair: &'a Pair) {
        self.key_of(&pair.end_keys);
        self.labels.exit = self.pair.drop;
        self.labels.filter_failed = self.pair.drop_failed;
    }

    /// At an end, behind its own filter: fetches what the start kept. It is nobody else's from here on.
    pub(in crate::compile) fn fetch_start(&mut self, pair: &'a Pair) {
        let (missing, saved) = (self.pair.missing, self.pair.saved);
        self.need_key(missing);
        self.find_state(pair, false, missing);
        match pair.state.kind {
            StateKind::TaskStorage | StateKind::PerCpu => {
                self.assembler.load(Width::Eight, R1, R0, 0);
                self.assembler.jump_if_imm(Condition::NotEqual, R1, PENDING, missing);
                self.assembler.store_imm(Width::Eight, R0, 0, IN_USE);
                self.assembler.store(Width::Eight, FRAME, saved, R0);
            }
            StateKind::Hash => {
                // Copied before it is deleted: what is deleted may be another key's at once.
                self.assembler.store(Width::Eight, FRAME, saved, R0);
                self.find_entry(MapRef::Scratch, ScratchEntry::Fetched as i32, missing);
                self.assembler.load(Width::Eight, R3, FRAME, saved);
                self.assembler.store(Width::Eight, FRAME, saved, R0);
                self.assembler.mov(R1, R0);
                self.assembler.load_number(R2, i64::from(pair.value.bytes));
                self.assembler.call(helper::PROBE_READ_KERNEL);
                self.delete_state();
                // Somebody else was faster.
                self.assembler.jump_if_imm(Condition::NotEqual, R0, 0, missing);
            }
        }
        self.count(Counter::Paired);
        self.sources.set_saved(SavedAt { slot: saved, value: &pair.value });
        self.labels.exit = self.assembler.label();
        self.labels.filter_failed = self.assembler.label();
    }

    /// At the start, behind the filter: keeps what the end will need.
    pub(in crate::compile) fn keep(&mut self, pair: &'a Pair) -> Result<(), SqlError> {
        self.count(Counter::Starts);
        self.key_of(&pair.start_keys);
        self.need_key(self.pair.lost);
        if pair.state.kind == StateKind::Hash {
            self.record()?;
            self.assembler.store_imm(Width::Eight, RECORD, 0, PENDING);
            self.insert();
            return Ok(());
        }
        if !self.layout.in_scratch() {
            self.find_state(pair, true, self.pair.map_full);
            self.assembler.mov(RECORD, R0);
            self.occupy(RECORD);
            self.record()?;
            self.assembler.store_imm(Width::Eight, RECORD, 0, PENDING);
        } else {
            self.record()?;
            self.find_state(pair, true, self.pair.map_full);
            // The bitmap of NULLs is in the record already.
            self.assembler.mov(NULLS, R0);
            self.occupy(NULLS);
            self.assembler.mov(R1, NULLS);
            self.assembler.alu_imm(Alu::Add, R1, 8);
            self.assembler.load_number(R2, i64::from(pair.value.bytes) - 8);
            self.assembler.mov(R3, RECORD);
            self.assembler.alu_imm(Alu::Add, R3, 8);
            self.assembler.call(helper::PROBE_READ_KERNEL);
            self.assembler.store_imm(Width::Eight, NULLS, 0, PENDING);
        }
        self.assembler.jump(self.pair.out);
        Ok(())
    }

    /// The whole program at the event after which no end can come.
    pub(in crate::compile) fn discard(&mut self, pair: &'a Pair) {
        let out = self.pair.out;
        if let Some(offset) = pair.state.discard.as_ref().and_then(|discard| discard.key_offset) {
            self.assembler.load(Width::Eight, R1, CONTEXT, offset as i16);
            self.assembler.store(Width::Eight, FRAME, self.pair.key, R1);
        }
        self.give_back(pair, out);
        self.find_counters();
        self.count(Counter::UnpairedStart);
        self.count(Counter::Events);
        self.assembler.jump(out);
    }

    /// The ways out of a start.
    pub(in crate::compile) fn start_ends(&mut self) {
        for (label, counter) in [
            (self.pair.lost, Counter::UnpairedStart),
            (self.pair.nested, Counter::Nested),
            (self.pair.map_full, Counter::MapFull),
        ] {
            self.assembler.place(label);
            self.count(counter);
            self.count(Counter::Events);
            self.assembler.jump(self.pair.out);
        }
    }

    /// The ways out of an end. The last one falls through to the program's.
    pub(in crate::compile) fn end_ends(&mut self, pair: &'a Pair) {
        let out = self.pair.out;
        self.assembler.place(self.pair.missing);
        if pair.counts_unpaired_end {
            self.count(Counter::UnpairedEnd);
            self.count(Counter::Events);
        }
        self.assembler.jump(out);
        self.assembler.place(self.pair.drop_failed);
        self.count(Counter::ExpressionError);
        self.assembler.place(self.pair.drop);
        self.need_key(out);
        self.give_back(pair, out);
        self.count(Counter::Paired);
        self.assembler.jump(out);
        // Behind the match: the place is given back for the next start.
        self.assembler.place(self.labels.exit);
        if pair.state.kind != StateKind::Hash {
            self.assembler.load(Width::Eight, R1, FRAME, self.pair.saved);
            self.assembler.store_imm(Width::Eight, R1, 0, EMPTY);
        }
        self.assembler.jump(out);
    }

    /// The key in the frame.
    fn key_of(&mut self, keys: &'a [Expression]) {
        let leaves = &self.split.leaves;
        let plain = |key: &Expression| matches!(key.node, Node::Leaf(leaf) if !leaves[leaf.0].nullable());
        let known = (!keys.iter().all(plain)).then(|| self.frame.take());
        if let Some(known) = known {
            self.assembler.store_imm(Width::Eight, FRAME, known, 0);
            for index in 0..keys.len() as i16 {
                self.assembler.store_imm(Width::Eight, FRAME, self.pair.key + index * 8, 0);
            }
        }
        let null = self.assembler.label();
        for (key, index) in keys.iter().zip(0_i16..) {
            self.fetch_all(key);
            // A key that fails is none.
            self.evaluator(null).value(key, null);
            self.assembler.store(Width::Eight, FRAME, self.pair.key + index * 8, R0);
        }
        if let Some(known) = known {
            self.assembler.store_imm(Width::Eight, FRAME, known, 1);
        }
        self.assembler.place(null);
        self.pair.key_known = known;
    }

    /// NULL is equal to nothing.
    fn need_key(&mut self, unknown: Label) {
        if let Some(known) = self.pair.key_known {
            self.assembler.load(Width::Eight, R1, FRAME, known);
            self.assembler.jump_if_imm(Condition::Equal, R1, 0, unknown);
        }
    }

    /// R0 = what is kept for the key, or room for it.
    fn find_state(&mut self, pair: &Pair, create: bool, missing: Label) {
        match pair.state.kind {
            StateKind::TaskStorage => {
                self.assembler.call(helper::GET_CURRENT_TASK_BTF);
                self.assembler.mov(R2, R0);
                self.assembler.load_map(R1, MapRef::State);
                self.assembler.load_number(R3, 0);
                self.assembler.load_number(R4, if create { CREATE } else { 0 });
                self.assembler.call(helper::TASK_STORAGE_GET);
                self.assembler.jump_if_imm(Condition::Equal, R0, 0, missing);
            }
            StateKind::PerCpu => self.find_entry(MapRef::State, 0, missing),
            StateKind::Hash => {
                self.state_and_key();
                self.assembler.call(helper::MAP_LOOKUP);
                self.assembler.jump_if_imm(Condition::Equal, R0, 0, missing);
            }
        }
    }

    /// Drops the start that waits under the key; on to `none` when none does.
    fn give_back(&mut self, pair: &Pair, none: Label) {
        match pair.state.kind {
            StateKind::TaskStorage | StateKind::PerCpu => {
                self.find_state(pair, false, none);
                self.assembler.load(Width::Eight, R1, R0, 0);
                self.assembler.jump_if_imm(Condition::NotEqual, R1, PENDING, none);
                self.assembler.store_imm(Width::Eight, R0, 0, EMPTY);
            }
            StateKind::Hash => {
                self.delete_state();
                self.assembler.jump_if_imm(Condition::NotEqual, R0, 0, none);
            }
        }
    }

    /// R1 = the map, R2 = the key's address.
    fn state_and_key(&mut self) {
        self.assembler.load_map(R1, MapRef::State);
        self.assembler.mov(R2, FRAME);
        self.assembler.alu_imm(Alu::Add, R2, i32::from(self.pair.key));
    }

    /// R0 = 0 when it was there and was ours to delete.
    fn delete_state(&mut self) {
        self.state_and_key();
        self.assembler.call(helper::MAP_DELETE);
    }

    /// Takes the place at `base`; a start that waits there gives way to the newer one.
    fn occupy(&mut self, base: Register) {
        let free = self.assembler.label();
        self.assembler.load(Width::Eight, R1, base, 0);
        self.assembler.jump_if_imm(Condition::Equal, R1, EMPTY, free);
        self.assembler.jump_if_imm(Condition::Equal, R1, IN_USE, self.pair.nested);
        self.count(Counter::UnpairedStart);
        self.count(Counter::Events);
        self.assembler.place(free);
        self.assembler.store_imm(Width::Eight, base, 0, IN_USE);
    }

    /// Puts the record into the hash; a start that waits under this key gives way to the newer one.
    fn insert(&mut self) {
        let (replace, out, lost) = (self.assembler.label(), self.pair.out, self.pair.lost);
        self.update(NEW_ONLY);
        self.assembler.jump_if_imm(Condition::Equal, R0, 0, out);
        self.assembler.load_number(R1, i64::from(EXISTS));
        self.assembler.jump_if(Condition::Equal, R0, R1, replace);
        self.assembler.jump(self.pair.map_full);
        self.assembler.place(replace);
        // One of the two is lost, the older one or, when the key is too busy, ours.
        self.update(KNOWN_ONLY);
        self.assembler.jump_if_imm(Condition::Equal, R0, 0, lost);
        self.update(NEW_ONLY);
        self.assembler.jump_if_imm(Condition::Equal, R0, 0, out);
        self.assembler.jump(lost);
    }

    fn update(&mut self, flags: i64) {
        self.state_and_key();
        self.assembler.mov(R3, RECORD);
        self.assembler.load_number(R4, flags);
        self.assembler.call(helper::MAP_UPDATE);
    }
}
