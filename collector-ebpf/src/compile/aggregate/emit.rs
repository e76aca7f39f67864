//! The end of a program that aggregates: the group's key, its state on this CPU, and what the event adds to it.
//!
//! The window is found anew by every run, and the kernel lets nobody who exchanged it go on before all runs that found
//! the old one have ended. So an event is in exactly one window. A group's state is made of zeros first and looked up
//! again: another CPU may have made it meanwhile.

use probepilot_sql::SqlError;

use super::plan::{Cells, KernelInput, WindowPlan};
use crate::compile::assemble::{Alu, Condition, FRAME, Label, NULLS, R0, R1, R2, R3, R4, R5, RECORD, Register, Width};
use crate::compile::emit::Emitter;
use crate::compile::layout::KEY_OFFSET;
use crate::compile::read::helper;
use crate::object::{Counter, MapRef};
use probepilot_sql::buckets::{BUCKETS, EXACT_BELOW, FINE_BITS};

/// The group's state on this CPU. The key's null bits are in the key by then.
const STATE: Register = NULLS;

/// `BPF_NOEXIST`: only who comes first makes the state.
const NO_EXIST: i64 = 1;

impl Emitter<'_> {
    /// Adds the event to its group.
    pub(in crate::compile) fn aggregate(&mut self, plan: &WindowPlan) -> Result<(), SqlError> {
        if !self.layout.in_scratch() {
            let offset = self.frame.take_bytes(self.layout.bytes as i16);
            self.assembler.mov(RECORD, FRAME);
            self.assembler.alu_imm(Alu::Add, RECORD, i32::from(offset));
            self.clear_key();
        }
        self.record()?;
        for input in &plan.inputs {
            self.assembler.at(input.span);
            for expression in [&input.condition, &input.value].into_iter().flatten() {
                self.fetch_all(expression);
            }
        }
        self.assembler.at(self.settings.hook_span);
        self.find_group(plan.value_bytes as i32);
        self.add_one(0);
        for input in plan.inputs.iter().filter(|input| input.value.is_some() || input.condition.is_some()) {
            self.assembler.at(input.span);
            self.input(input);
            self.check_frame(input.span)?;
        }
        self.assembler.at(self.settings.hook_span);
        self.count(Counter::Aggregated);
        self.assembler.jump(self.labels.exit);
        self.check_frame(self.settings.hook_span)
    }

    /// Makes the key zero: bytes between and behind its values tell groups apart too.
    pub(in crate::compile) fn clear_key(&mut self) {
        for offset in (KEY_OFFSET..self.layout.bytes).step_by(8) {
            self.assembler.store_imm(Width::Eight, RECORD, offset as i16, 0);
        }
    }

    /// STATE = the group's state, or the one that all groups share which found no room.
    fn find_group(&mut self, value_bytes: i32) {
        let found = self.assembler.label();
        let window = self.frame.take();
        self.find_window(window);
        self.look_up_group(window, found);
        self.assembler.load(Width::Eight, R1, FRAME, window);
        self.key_address();
        self.assembler.load_map(R3, MapRef::Zeros);
        self.assembler.load_number(R4, NO_EXIST);
        self.assembler.call(helper::MAP_UPDATE);
        self.look_up_group(window, found);
        // The key stays as it is: inputs may look at its strings.
        self.assembler.load(Width::Eight, R1, FRAME, window);
        self.assembler.load_map(R2, MapRef::Zeros);
        self.assembler.alu_imm(Alu::Add, R2, value_bytes);
        self.assembler.call(helper::MAP_LOOKUP);
        self.assembler.jump_if_imm(Condition::NotEqual, R0, 0, found);
        self.assembler.jump(self.labels.map_full);
        self.assembler.place(found);
        self.assembler.mov(STATE, R0);
    }

    /// The frame slot has the window that is open.
    fn find_window(&mut self, slot: i16) {
        self.assembler.store_imm(Width::Four, FRAME, self.key, 0);
        self.assembler.load_map(R1, MapRef::Windows);
        self.assembler.mov(R2, FRAME);
        self.assembler.alu_imm(Alu::Add, R2, i32::from(self.key));
        self.assembler.call(helper::MAP_LOOKUP);
        self.assembler.jump_if_imm(Condition::Equal, R0, 0, self.labels.map_full);
        self.assembler.store(Width::Eight, FRAME, slot, R0);
    }

    /// R0 = the state under the key, and on to `found` when there is one.
    fn look_up_group(&mut self, window: i16, found: Label) {
        self.assembler.load(Width::Eight, R1, FRAME, window);
        self.key_address();
        self.assembler.call(helper::MAP_LOOKUP);
        self.assembler.jump_if_imm(Condition::NotEqual, R0, 0, found);
    }

    fn key_address(&mut self) {
        self.assembler.mov(R2, RECORD);
        self.assembler.alu_imm(Alu::Add, R2, i32::from(KEY_OFFSET));
    }

    fn input(&mut self, input: &KernelInput) {
        let (failed, done) = (self.assembler.label(), self.assembler.label());
        if let Some(condition) = &input.condition {
            let holds = self.assembler.label();
            self.evaluator(failed).branch(condition, holds, done, done);
            self.assembler.place(holds);
        }
        if let Some(value) = &input.value {
            self.evaluator(failed).value(value, done);
        }
        self.cells(&input.cells, failed);
        self.assembler.jump(done);
        self.assembler.place(failed);
        self.count(Counter::ExpressionError);
        self.assembler.place(done);
    }

    /// Adds R0 to the cells. Values that have no bucket go to `failed`, behind everything else.
    fn cells(&mut self, cells: &Cells, failed: Label) {
        if let Some(offset) = cells.count {
            self.add_one(offset as i16);
        }
        if let Some(offset) = cells.sum {
            self.sum(offset as i16);
        }
        if let Some(offset) = cells.squares {
            self.squares(offset as i16);
        }
        if let Some(offset) = cells.greatest {
            self.keep_greatest(offset as i16, i64::MIN);
        }
        if let Some(offset) = cells.least {
            self.keep_greatest(offset as i16, i64::MAX);
        }
        if let Some(offset) = cells.buckets {
            self.bucket(offset, failed);
        }
    }

    /// Uses R1.
    fn add_one(&mut self, offset: i16) {
        self.assembler.load(Width::Eight, R1, STATE, offset);
        self.assembler.alu_imm(Alu::Add, R1, 1);
        self.assembler.store(Width::Eight, STATE, offset, R1);
    }

    /// Adds R0, sign-extended to 128 bits. Uses R1 to R3.
    fn sum(&mut self, offset: i16) {
        self.assembler.mov(R2, R0);
        self.assembler.mov(R3, R0);
        self.assembler.alu_imm(Alu::ShiftRightSigned, R3, 63);
        self.add_wide(offset);
    }

    /// Adds the 128 bits of R2 (low) and R3 (high). R1 is the high word then, R3 what was added to it.
    fn add_wide(&mut self, offset: i16) {
        let no_carry = self.assembler.label();
        let assembler = &mut self.assembler;
        assembler.load(Width::Eight, R1, STATE, offset);
        assembler.alu(Alu::Add, R1, R2);
        assembler.store(Width::Eight, STATE, offset, R1);
        assembler.jump_if(Condition::GreaterEqualUnsigned, R1, R2, no_carry);
        assembler.alu_imm(Alu::Add, R3, 1);
        assembler.place(no_carry);
        assembler.load(Width::Eight, R1, STATE, offset + 8);
        assembler.alu(Alu::Add, R1, R3);
        assembler.store(Width::Eight, STATE, offset + 8, R1);
    }

    /// Adds the square of R0, made of products of its halves. Uses R1 to R5.
    fn squares(&mut self, offset: i16) {
        let (positive, no_carry) = (self.assembler.label(), self.assembler.label());
        let assembler = &mut self.assembler;
        assembler.mov(R1, R0);
        assembler.jump_if_imm(Condition::GreaterEqual, R1, 0, positive);
        assembler.negate(R1);
        assembler.place(positive);
        // |x| = R3 · 2³² + R2
        assembler.mov(R2, R1);
        assembler.alu_imm(Alu::ShiftLeft, R2, 32);
        assembler.alu_imm(Alu::ShiftRight, R2, 32);
        assembler.mov(R3, R1);
        assembler.alu_imm(Alu::ShiftRight, R3, 32);
        assembler.mov(R4, R2);
        assembler.alu(Alu::Mul, R4, R3);
        assembler.alu(Alu::Mul, R2, R2);
        assembler.alu(Alu::Mul, R3, R3);
        // Twice the mixed product lies 33 bits up, across both words.
        assembler.mov(R5, R4);
        assembler.alu_imm(Alu::ShiftLeft, R5, 33);
        assembler.alu_imm(Alu::ShiftRight, R4, 31);
        assembler.alu(Alu::Add, R3, R4);
        assembler.alu(Alu::Add, R2, R5);
        assembler.jump_if(Condition::GreaterEqualUnsigned, R2, R5, no_carry);
        assembler.alu_imm(Alu::Add, R3, 1);
        assembler.place(no_carry);
        self.add_wide(offset);
        // What was added to the second word is below 2⁶³, so the word is less than it only after a carry.
        let fits = self.assembler.label();
        self.assembler.jump_if(Condition::GreaterEqualUnsigned, R1, R3, fits);
        self.add_one(offset + 16);
        self.assembler.place(fits);
    }

    /// Keeps the greatest R0 XOR `flip`, unsigned: zero, which a state begins with, is no more than any. Uses R1, R2.
    fn keep_greatest(&mut self, offset: i16, flip: i64) {
        let smaller = self.assembler.label();
        let assembler = &mut self.assembler;
        assembler.load_number(R1, flip);
        assembler.alu(Alu::Xor, R1, R0);
        assembler.load(Width::Eight, R2, STATE, offset);
        assembler.jump_if(Condition::LessEqualUnsigned, R1, R2, smaller);
        assembler.store(Width::Eight, STATE, offset, R1);
        assembler.place(smaller);
    }

    /// Counts R0 in its bucket. Uses R1 to R3.
    fn bucket(&mut self, offset: u16, below_zero: Label) {
        let found = self.assembler.label();
        let assembler = &mut self.assembler;
        assembler.jump_if_imm(Condition::Less, R0, 0, below_zero);
        assembler.mov(R3, R0);
        assembler.jump_if_imm(Condition::Less, R0, EXACT_BELOW as i32, found);
        // R2 = the place of the highest bit.
        assembler.mov(R1, R0);
        assembler.load_number(R2, 0);
        for bits in [32, 16, 8, 4, 2, 1] {
            let below = assembler.label();
            assembler.load_number(R3, 1 << bits);
            assembler.jump_if(Condition::LessUnsigned, R1, R3, below);
            assembler.alu_imm(Alu::ShiftRight, R1, bits);
            assembler.alu_imm(Alu::Add, R2, bits);
            assembler.place(below);
        }
        assembler.alu_imm(Alu::Sub, R2, FINE_BITS as i32);
        assembler.mov(R3, R0);
        assembler.alu(Alu::ShiftRight, R3, R2);
        assembler.alu_imm(Alu::ShiftLeft, R2, FINE_BITS as i32);
        assembler.alu(Alu::Add, R3, R2);
        assembler.place(found);
        // The verifier does not follow the arithmetic: the mask tells it the bound.
        assembler.alu_imm(Alu::And, R3, BUCKETS as i32 - 1);
        assembler.alu_imm(Alu::ShiftLeft, R3, 3);
        assembler.mov(R1, STATE);
        assembler.alu(Alu::Add, R1, R3);
        assembler.load(Width::Eight, R2, R1, offset as i16);
        assembler.alu_imm(Alu::Add, R2, 1);
        assembler.store(Width::Eight, R1, offset as i16, R2);
    }
}
