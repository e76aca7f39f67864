//! The gate of a program that aggregates: of two versions at different hooks, one counts.
//!
//! States of groups have no times by which somebody could tell later whose an event is. So both versions ask one word whose
//! turn it is, and who writes it moves the probe from one hook to the other at once.
//!
//! Two hooks may be at the same place of the kernel, and then one event passes both. When the word changes between the
//! two, the version before has counted the event already. The one that follows knows by what the other has counted on this
//! CPU: more than when it looked last, at the event before this one. It looks until nothing is under way in the other.

use super::assemble::{Alu, Condition, FRAME, R0, R1, R2, R3, R4, Width};
use super::emit::{Emitter, Part};
use crate::object::{Counter, MapRef, Patch};

impl Emitter<'_> {
    /// Goes on when it is this version's turn. What is under way already, the ends of pairs and the returns of calls, goes
    /// on in the version in which it began.
    pub(super) fn gate(&mut self) {
        let counts = matches!(self.settings.part, Part::Whole | Part::Start(_) | Part::Entry { .. });
        if self.settings.windows.is_none() || !self.settings.sample.budget || !counts {
            return;
        }
        let exit = self.labels.exit;
        let (alone, go) = (self.assembler.label(), self.assembler.label());
        let counted = self.frame.take();
        self.assembler.load_patched(R1, Patch::SharesPlace);
        self.assembler.jump_if_imm(Condition::Equal, R1, 0, alone);
        self.load_turn(4);
        self.assembler.jump_if(Condition::Equal, R1, R2, go);
        self.find_entry(MapRef::CountersBefore, 0, exit);
        self.assembler.load(Width::Eight, R1, R0, Counter::Aggregated.offset());
        self.assembler.load(Width::Eight, R2, R0, Counter::Starts.offset());
        self.assembler.alu(Alu::Add, R1, R2);
        // Zero is for a CPU at which nobody has looked.
        self.assembler.alu_imm(Alu::Add, R1, 1);
        self.assembler.store(Width::Eight, FRAME, counted, R1);
        self.find_entry(MapRef::Counters, 0, exit);
        self.assembler.load(Width::Eight, R4, R0, Counter::Looked.offset());
        self.assembler.load(Width::Eight, R3, FRAME, counted);
        self.assembler.store(Width::Eight, R0, Counter::Looked.offset(), R3);
        self.ask_gate();
        self.assembler.jump_if_imm(Condition::Equal, R4, 0, go);
        self.assembler.jump_if(Condition::NotEqual, R3, R4, exit);
        self.assembler.jump(go);
        self.assembler.place(alone);
        self.ask_gate();
        self.assembler.place(go);
    }

    /// Leaves when it is another version's turn. Uses R1 and R2.
    fn ask_gate(&mut self) {
        self.load_turn(0);
        self.assembler.jump_if(Condition::NotEqual, R1, R2, self.labels.exit);
    }

    /// R1 = the number at this place of the gate's word, R2 = ours.
    fn load_turn(&mut self, offset: i16) {
        self.assembler.load_map(R1, MapRef::Gate);
        self.assembler.load(Width::Four, R1, R1, offset);
        self.assembler.load_patched(R2, Patch::ProbeId);
    }
}
