//! Expressions to instructions: jump code for truth values, a stack of frame slots for numbers.
//!
//! A number is left in R0. Truth is never made a number unless a column asks for it: `branch` has a target for true,
//! for false and for NULL. Errors (division by zero, a cast that does not fit) leave by a target of their own and make
//! the whole expression NULL.

use std::collections::BTreeSet;

use super::assemble::{Alu, Assembler, Condition, FRAME, Label, R0, R1, R2, R3, Register, Width};
use super::expression::{Arithmetic, Bits, COMPARED_MAX, Comparison, Expression, Kind, LeafId, Node, StringTest};
use super::read::helper;
use crate::object::MemberSet;

/// Bytes of a program's frame: the machine's limit of 512, less the least that the kernel counts for the frame of the
/// function which calls it, less two words of the function in which programs of one hook are joined.
pub const FRAME_BYTES_MAX: i16 = 464;

/// The right side of AND and OR is emitted twice (for a left side that is NULL) up to this size; a larger one once, with
/// a frame slot.
const DUPLICATED_SIZE_MAX: usize = 4;

/// The frame: slots of eight bytes below R10, taken and given back.
#[derive(Debug, Default)]
pub struct Frame {
    used: i16,
    most: i16,
}

impl Frame {
    /// The offset of a fresh slot of eight bytes.
    pub fn take(&mut self) -> i16 {
        self.take_bytes(8)
    }

    /// The offset of fresh bytes, a multiple of eight.
    pub fn take_bytes(&mut self, bytes: i16) -> i16 {
        // Beyond the limit the offset no longer matters: the program is refused by `overflowed` before it is used.
        self.used = self.used.saturating_add(bytes).min(FRAME_BYTES_MAX * 8);
        self.most = self.most.max(self.used);
        -self.used
    }

    /// Gives back the slot taken last.
    pub fn give_back(&mut self) {
        self.give_back_bytes(8);
    }

    /// Gives back the bytes taken last.
    pub fn give_back_bytes(&mut self, bytes: i16) {
        self.used -= bytes;
    }

    /// The most bytes that were in use at once.
    pub fn bytes_most(&self) -> i16 {
        self.most
    }

    /// Whether the program needs more than the machine has.
    pub fn overflowed(&self) -> bool {
        self.most > FRAME_BYTES_MAX
    }
}

/// Where the bytes of a string lie while the program runs.
#[derive(Clone, Copy, Debug)]
pub struct BytesAt {
    /// From where.
    pub base: Register,
    /// How far.
    pub offset: i16,
    /// Alignment of the first byte.
    pub align: u8,
    /// Bytes that may be looked at.
    pub length: u16,
    /// The frame slot of the read's result: negative means NULL.
    pub status: Option<i16>,
}

/// How the evaluator reads leaves.
pub trait Leaves {
    /// Leaves the number in R0, sign-extended; jumps to `null` when there is none. May use R0 to R5.
    fn number(&self, assembler: &mut Assembler, leaf: LeafId, null: Label);
    /// Where a string's bytes lie.
    fn bytes(&self, leaf: LeafId) -> BytesAt;
}

/// Emits expressions.
pub struct Evaluator<'a, L> {
    /// Instructions go here.
    pub assembler: &'a mut Assembler,
    /// Intermediate values lie here.
    pub frame: &'a mut Frame,
    /// How leaves are read.
    pub leaves: &'a L,
    /// Where errors go.
    pub error: Label,
}

impl<L: Leaves> Evaluator<'_, L> {
    /// Leaves the value in R0, or jumps to `null` or to the error target.
    pub fn value(&mut self, expression: &Expression, null: Label) {
        match &expression.node {
            Node::Null => self.assembler.jump(null),
            Node::Literal(value) => self.assembler.load_number(R0, *value),
            Node::Leaf(leaf) => self.leaves.number(self.assembler, *leaf, null),
            Node::Arithmetic(operation, left, right) => {
                let Kind::Integer(bits) = expression.kind else { unreachable!("arithmetic is on integers") };
                self.arithmetic(*operation, bits, left, right, null);
            }
            Node::Negate(inner) => {
                self.value(inner, null);
                self.assembler.negate(R0);
                self.wrap(expression.kind, R0);
            }
            Node::Case(branches, otherwise) => {
                let end = self.assembler.label();
                for (condition, value) in branches {
                    let (then, next) = (self.assembler.label(), self.assembler.label());
                    self.branch(condition, then, next, next);
                    self.assembler.place(then);
                    self.value(value, null);
                    self.assembler.jump(end);
                    self.assembler.place(next);
                }
                self.value(otherwise, null);
                self.assembler.place(end);
            }
            Node::Coalesce(values) => {
                let end = self.assembler.label();
                for value in values {
                    let next = self.assembler.label();
                    self.value(value, next);
                    self.assembler.jump(end);
                    self.assembler.place(next);
                }
                self.assembler.jump(null);
                self.assembler.place(end);
            }
            Node::Cast(inner, or_null) => self.cast(inner, expression.kind, *or_null, null),
            Node::Compare(..)
            | Node::And(..)
            | Node::Or(..)
            | Node::Not(_)
            | Node::IsNull(_)
            | Node::Is(..)
            | Node::BytesIsNull(_)
            | Node::Test(..)
            | Node::In(..) => {
                let (yes, no, end) = (self.assembler.label(), self.assembler.label(), self.assembler.label());
                self.branch(expression, yes, no, null);
                self.assembler.place(yes);
                self.assembler.load_number(R0, 1);
                self.assembler.jump(end);
                self.assembler.place(no);
                self.assembler.load_number(R0, 0);
                self.assembler.place(end);
            }
        }
    }

    /// Jumps to `yes`, `no`, `null` or the error target; never falls through.
    pub fn branch(&mut self, expression: &Expression, yes: Label, no: Label, null: Label) {
        match &expression.node {
            Node::Null => self.assembler.jump(null),
            Node::Literal(value) => self.assembler.jump(if *value != 0 { yes } else { no }),
            Node::And(left, right) | Node::Or(left, right) if right.size() > DUPLICATED_SIZE_MAX => {
                self.branch_once(matches!(expression.node, Node::And(..)), left, right, yes, no, null);
            }
            Node::And(left, right) => {
                let (left_true, left_null, right_not_false) =
                    (self.assembler.label(), self.assembler.label(), self.assembler.label());
                self.branch(left, left_true, no, left_null);
                self.assembler.place(left_null);
                self.branch(right, right_not_false, no, right_not_false);
                self.assembler.place(right_not_false);
                self.assembler.jump(null);
                self.assembler.place(left_true);
                self.branch(right, yes, no, null);
            }
            Node::Or(left, right) => {
                let (left_false, left_null, right_not_true) =
                    (self.assembler.label(), self.assembler.label(), self.assembler.label());
                self.branch(left, yes, left_false, left_null);
                self.assembler.place(left_null);
                self.branch(right, yes, right_not_true, right_not_true);
                self.assembler.place(right_not_true);
                self.assembler.jump(null);
                self.assembler.place(left_false);
                self.branch(right, yes, no, null);
            }
            Node::Not(inner) => self.branch(inner, no, yes, null),
            Node::IsNull(inner) => {
                if inner.kind == Kind::Boolean {
                    self.branch(inner, no, no, yes);
                } else {
                    self.value(inner, yes);
                    self.assembler.jump(no);
                }
            }
            Node::Is(true, inner) => self.branch(inner, yes, no, no),
            Node::Is(false, inner) => self.branch(inner, no, yes, no),
            Node::BytesIsNull(leaf) => {
                if let Some(status) = self.leaves.bytes(*leaf).status {
                    self.assembler.load(Width::Eight, R1, FRAME, status);
                    self.assembler.jump_if_imm(Condition::Less, R1, 0, yes);
                }
                self.assembler.jump(no);
            }
            Node::Test(leaf, test) => self.test(*leaf, test, yes, no, null),
            Node::Compare(comparison, left, right) => self.compare(*comparison, left, right, yes, no, null),
            Node::In(inner, values, has_null) => {
                self.value(inner, null);
                if values.len() > COMPARED_MAX {
                    self.number_is_member(values, yes);
                } else {
                    for value in values {
                        self.jump_if_number(Condition::Equal, *value, yes);
                    }
                }
                self.assembler.jump(if *has_null { null } else { no });
            }
            Node::Leaf(_)
            | Node::Arithmetic(..)
            | Node::Negate(_)
            | Node::Case(..)
            | Node::Coalesce(_)
            | Node::Cast(..) => {
                self.value(expression, null);
                self.assembler.jump_if_imm(Condition::NotEqual, R0, 0, yes);
                self.assembler.jump(no);
            }
        }
    }

    /// AND or OR whose right side is emitted once: a frame slot keeps whether the left side was NULL.
    fn branch_once(&mut self, both: bool, left: &Expression, right: &Expression, yes: Label, no: Label, null: Label) {
        let slot = self.frame.take();
        let (left_known, left_null, right_side, decided, open) = (
            self.assembler.label(),
            self.assembler.label(),
            self.assembler.label(),
            self.assembler.label(),
            self.assembler.label(),
        );
        if both {
            self.branch(left, left_known, no, left_null);
        } else {
            self.branch(left, yes, left_known, left_null);
        }
        self.assembler.place(left_known);
        self.assembler.store_imm(Width::Eight, FRAME, slot, 0);
        self.assembler.jump(right_side);
        self.assembler.place(left_null);
        self.assembler.store_imm(Width::Eight, FRAME, slot, 1);
        self.assembler.place(right_side);
        if both {
            self.branch(right, decided, no, open);
        } else {
            self.branch(right, yes, decided, open);
        }
        self.assembler.place(open);
        self.assembler.jump(null);
        self.assembler.place(decided);
        self.assembler.load(Width::Eight, R1, FRAME, slot);
        self.assembler.jump_if_imm(Condition::NotEqual, R1, 0, null);
        self.assembler.jump(if both { yes } else { no });
        self.frame.give_back();
    }

    /// Jumps when R0 compares so with the number. Uses R1.
    fn jump_if_number(&mut self, condition: Condition, number: i64, to: Label) {
        // Machines disagree about the sign of an immediate in a test for equality (the kernel extends it), so a
        // negative number is compared in a register there.
        let for_equality = matches!(condition, Condition::Equal | Condition::NotEqual);
        match i32::try_from(number) {
            Ok(immediate) if immediate >= 0 || !for_equality => {
                self.assembler.jump_if_imm(condition, R0, immediate, to);
            }
            _ => {
                self.assembler.load_number(R1, number);
                self.assembler.jump_if(condition, R0, R1, to);
            }
        }
    }

    /// Leaves the left value in R1 and the right one in R0.
    fn both(&mut self, left: &Expression, right: &Expression, null: Label) {
        if right.can_fail() {
            return self.both_evaluated(left, right, null);
        }
        self.value(left, null);
        if let Node::Literal(value) = right.node {
            self.assembler.mov(R1, R0);
            self.assembler.load_number(R0, value);
            return;
        }
        let slot = self.frame.take();
        self.assembler.store(Width::Eight, FRAME, slot, R0);
        self.value(right, null);
        self.assembler.load(Width::Eight, R1, FRAME, slot);
        self.frame.give_back();
    }

    /// As `both`, when the right side can fail: it is evaluated even if the left one is NULL, since a failure is the
    /// whole expression's and a NULL may not be.
    fn both_evaluated(&mut self, left: &Expression, right: &Expression, null: Label) {
        let (slot, left_is_null) = (self.frame.take(), self.frame.take());
        let (missing, right_side) = (self.assembler.label(), self.assembler.label());
        self.value(left, missing);
        self.assembler.store(Width::Eight, FRAME, slot, R0);
        self.assembler.load_number(R0, 0);
        self.assembler.store(Width::Eight, FRAME, left_is_null, R0);
        self.assembler.jump(right_side);
        self.assembler.place(missing);
        self.assembler.load_number(R0, 1);
        self.assembler.store(Width::Eight, FRAME, slot, R0);
        self.assembler.store(Width::Eight, FRAME, left_is_null, R0);
        self.assembler.place(right_side);
        self.value(right, null);
        self.assembler.load(Width::Eight, R1, FRAME, left_is_null);
        self.assembler.jump_if_imm(Condition::NotEqual, R1, 0, null);
        self.assembler.load(Width::Eight, R1, FRAME, slot);
        self.frame.give_back();
        self.frame.give_back();
    }

    fn compare(
        &mut self,
        comparison: Comparison,
        left: &Expression,
        right: &Expression,
        yes: Label,
        no: Label,
        null: Label,
    ) {
        let condition = match comparison {
            Comparison::Equal => Condition::Equal,
            Comparison::NotEqual => Condition::NotEqual,
            Comparison::Less => Condition::Less,
            Comparison::LessEqual => Condition::LessEqual,
            Comparison::Greater => Condition::Greater,
            Comparison::GreaterEqual => Condition::GreaterEqual,
        };
        if let Node::Literal(value) = right.node {
            self.value(left, null);
            self.jump_if_number(condition, value, yes);
        } else {
            self.both(left, right, null);
            self.assembler.jump_if(condition, R1, R0, yes);
        }
        self.assembler.jump(no);
    }

    fn arithmetic(&mut self, operation: Arithmetic, bits: Bits, left: &Expression, right: &Expression, null: Label) {
        self.both(left, right, null);
        let simple = match operation {
            Arithmetic::Add => Alu::Add,
            Arithmetic::Subtract => Alu::Sub,
            Arithmetic::Multiply => Alu::Mul,
            Arithmetic::And => Alu::And,
            Arithmetic::Or => Alu::Or,
            Arithmetic::Xor => Alu::Xor,
            Arithmetic::ShiftLeft | Arithmetic::ShiftRight => {
                let bits_most = match bits {
                    Bits::B16 => 15,
                    Bits::B32 => 31,
                    Bits::B64 => 63,
                };
                self.assembler.alu_imm(Alu::And, R0, bits_most);
                if operation == Arithmetic::ShiftLeft { Alu::ShiftLeft } else { Alu::ShiftRightSigned }
            }
            Arithmetic::Divide => return self.divide(bits),
            Arithmetic::Remainder => return self.remainder(),
        };
        self.assembler.alu(simple, R1, R0);
        self.assembler.mov(R0, R1);
        self.wrap(Kind::Integer(bits), R0);
    }

    /// R0 = R1 / R0, truncated to zero. The machine divides unsigned before version 4 of its instructions.
    fn divide(&mut self, bits: Bits) {
        let (not_minus_one, end) = (self.assembler.label(), self.assembler.label());
        self.assembler.jump_if_imm(Condition::Equal, R0, 0, self.error);
        self.assembler.load_number(R2, -1);
        self.assembler.jump_if(Condition::NotEqual, R0, R2, not_minus_one);
        self.assembler.load_number(R2, bits.min());
        self.assembler.jump_if(Condition::Equal, R1, R2, self.error);
        self.assembler.place(not_minus_one);
        // R2's sign is the quotient's.
        self.assembler.mov(R2, R1);
        self.assembler.alu(Alu::Xor, R2, R0);
        self.absolute(R1);
        self.absolute(R0);
        self.assembler.alu(Alu::Div, R1, R0);
        self.assembler.mov(R0, R1);
        self.assembler.jump_if_imm(Condition::GreaterEqual, R2, 0, end);
        self.assembler.negate(R0);
        self.assembler.place(end);
    }

    /// R0 = R1 % R0 with the sign of R1.
    fn remainder(&mut self) {
        let end = self.assembler.label();
        self.assembler.jump_if_imm(Condition::Equal, R0, 0, self.error);
        self.assembler.mov(R2, R1);
        self.absolute(R1);
        self.absolute(R0);
        self.assembler.alu(Alu::Mod, R1, R0);
        self.assembler.mov(R0, R1);
        self.assembler.jump_if_imm(Condition::GreaterEqual, R2, 0, end);
        self.assembler.negate(R0);
        self.assembler.place(end);
    }

    fn absolute(&mut self, register: Register) {
        let positive = self.assembler.label();
        self.assembler.jump_if_imm(Condition::GreaterEqual, register, 0, positive);
        self.assembler.negate(register);
        self.assembler.place(positive);
    }

    fn wrap(&mut self, kind: Kind, register: Register) {
        let shift = match kind {
            Kind::Integer(Bits::B16) => 48,
            Kind::Integer(Bits::B32) => 32,
            Kind::Integer(Bits::B64) | Kind::Boolean => return,
        };
        self.assembler.alu_imm(Alu::ShiftLeft, register, shift);
        self.assembler.alu_imm(Alu::ShiftRightSigned, register, shift);
    }

    fn cast(&mut self, inner: &Expression, to: Kind, or_null: bool, null: Label) {
        self.value(inner, null);
        match (inner.kind, to) {
            (Kind::Integer(from), Kind::Integer(to)) if to < from => {
                let misfit = if or_null { null } else { self.error };
                self.jump_if_number(Condition::Less, to.min(), misfit);
                self.jump_if_number(Condition::Greater, to.max(), misfit);
            }
            (Kind::Integer(_), Kind::Boolean) => {
                let end = self.assembler.label();
                self.assembler.jump_if_imm(Condition::Equal, R0, 0, end);
                self.assembler.load_number(R0, 1);
                self.assembler.place(end);
            }
            (Kind::Integer(_) | Kind::Boolean, Kind::Integer(_)) | (Kind::Boolean, Kind::Boolean) => {}
        }
    }

    fn test(&mut self, leaf: LeafId, test: &StringTest, yes: Label, no: Label, null: Label) {
        let at = self.leaves.bytes(leaf);
        if let Some(status) = at.status {
            self.assembler.load(Width::Eight, R1, FRAME, status);
            self.assembler.jump_if_imm(Condition::Less, R1, 0, null);
        }
        let length = usize::from(at.length);
        let wanted = match test {
            StringTest::OneOf(members) => return self.string_is_member(at, members, yes, no),
            StringTest::StartsWith(bytes) if bytes.len() > length => return self.assembler.jump(no),
            StringTest::Equals(bytes) if bytes.len() > length => return self.assembler.jump(no),
            StringTest::StartsWith(bytes) => bytes.clone(),
            // A string that fills its place has no NUL behind it.
            StringTest::Equals(bytes) if bytes.len() == length => bytes.clone(),
            StringTest::Equals(bytes) => bytes.iter().copied().chain([0]).collect(),
        };
        let mut start = 0;
        while start < wanted.len() {
            let width = chunk(at.offset + start as i16, at.align, wanted.len() - start);
            let end = start + usize::from(width.bytes());
            let mut word = [0; 8];
            word[..end - start].copy_from_slice(&wanted[start..end]);
            self.assembler.load(width, R0, at.base, at.offset + start as i16);
            self.jump_if_number(Condition::NotEqual, i64::from_le_bytes(word), no);
            start = end;
        }
        self.assembler.jump(yes);
    }

    /// Jumps when R0 is one of the numbers.
    fn number_is_member(&mut self, numbers: &[i64], yes: Label) {
        let keys = numbers.iter().map(|number| number.to_le_bytes().to_vec()).collect();
        let key = self.frame.take();
        self.assembler.store(Width::Eight, FRAME, key, R0);
        self.look_up(MemberSet { key_bytes: 8, keys }, key, yes);
        self.frame.give_back();
    }

    /// Jumps to `yes` when the string is one of the members, else to `no`.
    ///
    /// The key is the string up to its NUL with zeros behind it, since what lies there in the string's place is of no
    /// meaning. It has room for one byte more than the longest member: what does not fit is cut, and equals none.
    fn string_is_member(&mut self, at: BytesAt, members: &[Vec<u8>], yes: Label, no: Label) {
        let length = usize::from(at.length);
        let fitting: BTreeSet<&[u8]> = members.iter().map(Vec::as_slice).filter(|text| text.len() <= length).collect();
        let Some(longest) = fitting.iter().map(|text| text.len()).max() else {
            return self.assembler.jump(no);
        };
        let key_bytes = (longest + 2).next_multiple_of(8);
        let keys = fitting.into_iter().map(|text| {
            let mut key = text.to_vec();
            key.resize(key_bytes, 0);
            key
        });
        let set = MemberSet { key_bytes: key_bytes as u32, keys: keys.collect() };
        let key = self.frame.take_bytes(key_bytes as i16);
        for offset in (0..key_bytes as i16).step_by(8) {
            self.assembler.store_imm(Width::Eight, FRAME, key + offset, 0);
        }
        self.assembler.mov(R1, FRAME);
        self.assembler.alu_imm(Alu::Add, R1, i32::from(key));
        // A string that fills its place has no NUL behind it: the helper writes one in any case.
        self.assembler.load_number(R2, key_bytes.min(length + 1) as i64);
        self.assembler.mov(R3, at.base);
        self.assembler.alu_imm(Alu::Add, R3, i32::from(at.offset));
        self.assembler.call(helper::PROBE_READ_KERNEL_STR);
        self.assembler.jump_if_imm(Condition::Less, R0, 0, no);
        self.look_up(set, key, yes);
        self.frame.give_back_bytes(key_bytes as i16);
        self.assembler.jump(no);
    }

    /// Jumps when the key in the frame is in the set. Uses R0 to R5.
    fn look_up(&mut self, set: MemberSet, key: i16, yes: Label) {
        let map = self.assembler.set(set);
        self.assembler.load_map(R1, map);
        self.assembler.mov(R2, FRAME);
        self.assembler.alu_imm(Alu::Add, R2, i32::from(key));
        self.assembler.call(helper::MAP_LOOKUP);
        self.assembler.jump_if_imm(Condition::NotEqual, R0, 0, yes);
    }
}

/// The widest aligned load at the offset that takes no more than `left` bytes.
///
/// `align` is the alignment of offset zero.
pub fn chunk(offset: i16, align: u8, left: usize) -> Width {
    [Width::Eight, Width::Four, Width::Two]
        .into_iter()
        .find(|width| {
            let bytes = width.bytes();
            bytes <= align && usize::from(bytes) <= left && offset.rem_euclid(i16::from(bytes)) == 0
        })
        .unwrap_or(Width::One)
}
