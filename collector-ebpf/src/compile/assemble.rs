//! The assembler: instructions with labels in, a finished instruction list out.
//!
//! The verifier refuses code that can never be reached, and expressions with constants produce some, so the assembler
//! drops it; emitters need not care.

use datafusion::sql::sqlparser::tokenizer::Span;

use crate::object::{Insn, MapRef, MemberSet, PSEUDO_MAP_FD, PSEUDO_MAP_VALUE, Patch};

/// A register of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Register(pub u8);

/// Result of helpers and expressions.
pub const R0: Register = Register(0);
/// First argument; free between calls.
pub const R1: Register = Register(1);
/// Second argument; free between calls.
pub const R2: Register = Register(2);
/// Third argument; free between calls.
pub const R3: Register = Register(3);
/// Fourth argument; free between calls.
pub const R4: Register = Register(4);
/// Fifth argument; free between calls.
pub const R5: Register = Register(5);
/// The hook's context, for the whole program.
pub const CONTEXT: Register = Register(6);
/// The record under construction.
pub const RECORD: Register = Register(7);
/// `bpf_get_current_pid_tgid()`, for the whole program.
pub const PID_TGID: Register = Register(8);
/// The record's null bitmap.
pub const NULLS: Register = Register(9);
/// The frame: slots lie below it.
pub const FRAME: Register = Register(10);

/// Arithmetic on 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the instruction set's own names")]
pub enum Alu {
    Add = 0x00,
    Sub = 0x10,
    Mul = 0x20,
    Div = 0x30,
    Or = 0x40,
    And = 0x50,
    ShiftLeft = 0x60,
    ShiftRight = 0x70,
    Mod = 0x90,
    Xor = 0xa0,
    Mov = 0xb0,
    ShiftRightSigned = 0xc0,
}

/// Conditions of a jump, on 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the instruction set's own names")]
pub enum Condition {
    Equal = 0x10,
    GreaterUnsigned = 0x20,
    GreaterEqualUnsigned = 0x30,
    NotEqual = 0x50,
    Greater = 0x60,
    GreaterEqual = 0x70,
    LessUnsigned = 0xa0,
    LessEqualUnsigned = 0xb0,
    Less = 0xc0,
    LessEqual = 0xd0,
}

/// Bytes of a load or store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "one, two, four, eight bytes")]
pub enum Width {
    One,
    Two,
    Four,
    Eight,
}

impl Width {
    /// The width of so many bytes.
    pub fn of_bytes(bytes: u8) -> Option<Width> {
        Some(match bytes {
            1 => Width::One,
            2 => Width::Two,
            4 => Width::Four,
            8 => Width::Eight,
            _ => return None,
        })
    }

    /// Bytes.
    pub fn bytes(self) -> u8 {
        match self {
            Width::One => 1,
            Width::Two => 2,
            Width::Four => 4,
            Width::Eight => 8,
        }
    }

    fn code(self) -> u8 {
        match self {
            Width::Four => 0x00,
            Width::Two => 0x08,
            Width::One => 0x10,
            Width::Eight => 0x18,
        }
    }
}

/// A place in the program that jumps name before it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Label(usize);

#[derive(Clone, Debug)]
enum Item {
    Plain(Insn),
    /// The loader sets its immediate.
    Patched(Insn, Patch),
    Jump {
        insn: Insn,
        to: Label,
    },
    /// Two instruction places.
    Wide {
        first: Insn,
        high: i32,
        map: Option<MapRef>,
    },
}

/// A finished program.
#[derive(Clone, Debug)]
pub struct Assembled {
    /// The instructions.
    pub insns: Vec<Insn>,
    /// Which wide loads take which map.
    pub map_uses: Vec<(usize, MapRef)>,
    /// Which instructions' immediates the loader sets.
    pub patches: Vec<(usize, Patch)>,
    /// From which instruction on which piece of the statement is meant; rises.
    pub spans: Vec<(usize, Span)>,
    /// What [`MapRef::Set`] names.
    pub sets: Vec<MemberSet>,
}

/// Collects instructions.
#[derive(Debug, Default)]
pub struct Assembler {
    items: Vec<(Item, Span)>,
    /// For each label the index of the item it stands before.
    labels: Vec<Option<usize>>,
    span: Option<Span>,
    sets: Vec<MemberSet>,
}

impl Assembler {
    /// An empty program.
    pub fn new() -> Assembler {
        Assembler::default()
    }

    /// What follows is made for this piece of the statement.
    pub fn at(&mut self, span: Span) {
        self.span = Some(span);
    }

    /// A label to be placed later.
    pub fn label(&mut self) -> Label {
        self.labels.push(None);
        Label(self.labels.len() - 1)
    }

    /// The label stands here.
    pub fn place(&mut self, label: Label) {
        debug_assert!(self.labels[label.0].is_none(), "a label is placed once");
        self.labels[label.0] = Some(self.items.len());
    }

    fn push(&mut self, item: Item) {
        self.items.push((item, self.span.unwrap_or_else(Span::empty)));
    }

    fn plain(&mut self, code: u8, dst: Register, src: Register, off: i16, imm: i32) {
        self.push(Item::Plain(Insn { code, dst: dst.0, src: src.0, off, imm }));
    }

    /// `dst = dst op src`
    pub fn alu(&mut self, op: Alu, dst: Register, src: Register) {
        self.plain(0x07 | 0x08 | op as u8, dst, src, 0, 0);
    }

    /// `dst = dst op value`, the value sign-extended from 32 bits
    pub fn alu_imm(&mut self, op: Alu, dst: Register, value: i32) {
        self.plain(0x07 | op as u8, dst, R0, 0, value);
    }

    /// `dst = src`
    pub fn mov(&mut self, dst: Register, src: Register) {
        self.alu(Alu::Mov, dst, src);
    }

    /// `dst = -dst`
    pub fn negate(&mut self, dst: Register) {
        self.plain(0x87, dst, R0, 0, 0);
    }

    /// `dst = value`, one place when it fits in 32 bits, else two
    pub fn load_number(&mut self, dst: Register, value: i64) {
        match i32::try_from(value) {
            Ok(value) => self.alu_imm(Alu::Mov, dst, value),
            Err(_) => {
                let first = Insn { code: 0x18, dst: dst.0, src: 0, off: 0, imm: value as i32 };
                self.push(Item::Wide { first, high: (value >> 32) as i32, map: None });
            }
        }
    }

    /// `dst = value`, set by the loader
    pub fn load_patched(&mut self, dst: Register, patch: Patch) {
        self.push(Item::Patched(Insn { code: 0x07 | Alu::Mov as u8, dst: dst.0, src: 0, off: 0, imm: 0 }, patch));
    }

    /// `dst = map`, filled in by the loader; the value's address for [`MapRef::Bucket`], [`MapRef::Keep`],
    /// [`MapRef::Gate`] and [`MapRef::Zeros`]
    pub fn load_map(&mut self, dst: Register, map: MapRef) {
        let by_address = matches!(map, MapRef::Bucket | MapRef::Keep | MapRef::Gate | MapRef::Zeros);
        let src = if by_address { PSEUDO_MAP_VALUE } else { PSEUDO_MAP_FD };
        let first = Insn { code: 0x18, dst: dst.0, src, off: 0, imm: 0 };
        self.push(Item::Wide { first, high: 0, map: Some(map) });
    }

    /// The map of a set; lists with the same members are one.
    pub fn set(&mut self, set: MemberSet) -> MapRef {
        let index = self.sets.iter().position(|known| *known == set).unwrap_or_else(|| {
            self.sets.push(set);
            self.sets.len() - 1
        });
        // More than `SETS_MAX` are refused when the program is whole.
        MapRef::Set(u16::try_from(index).unwrap_or(u16::MAX))
    }

    /// `dst = *(width *)(base + offset)`, zero-extended
    pub fn load(&mut self, width: Width, dst: Register, base: Register, offset: i16) {
        self.plain(0x61 | width.code(), dst, base, offset, 0);
    }

    /// `*(width *)(base + offset) = src`
    pub fn store(&mut self, width: Width, base: Register, offset: i16, src: Register) {
        self.plain(0x63 | width.code(), base, src, offset, 0);
    }

    /// `*(width *)(base + offset) = value`
    pub fn store_imm(&mut self, width: Width, base: Register, offset: i16, value: i32) {
        self.plain(0x62 | width.code(), base, R0, offset, value);
    }

    /// Adds `src` to memory atomically and leaves the old value in `src`.
    pub fn fetch_add(&mut self, base: Register, offset: i16, src: Register) {
        self.plain(0xdb, base, src, offset, 0x01);
    }

    /// Exchanges `src` with memory atomically.
    pub fn exchange(&mut self, base: Register, offset: i16, src: Register) {
        self.plain(0xdb, base, src, offset, 0xe1);
    }

    /// Calls a helper of the kernel.
    pub fn call(&mut self, helper: i32) {
        self.plain(0x85, R0, R0, 0, helper);
    }

    /// Ends the program; R0 is the result.
    pub fn exit(&mut self) {
        self.plain(0x95, R0, R0, 0, 0);
    }

    /// Jumps.
    pub fn jump(&mut self, to: Label) {
        self.push(Item::Jump { insn: Insn { code: 0x05, dst: 0, src: 0, off: 0, imm: 0 }, to });
    }

    /// Jumps when `left condition right`.
    pub fn jump_if(&mut self, condition: Condition, left: Register, right: Register, to: Label) {
        let insn = Insn { code: 0x05 | 0x08 | condition as u8, dst: left.0, src: right.0, off: 0, imm: 0 };
        self.push(Item::Jump { insn, to });
    }

    /// Jumps when `left condition value`, the value sign-extended from 32 bits.
    pub fn jump_if_imm(&mut self, condition: Condition, left: Register, value: i32, to: Label) {
        let insn = Insn { code: 0x05 | condition as u8, dst: left.0, src: 0, off: 0, imm: value };
        self.push(Item::Jump { insn, to });
    }

    /// Drops what cannot be reached, resolves labels.
    ///
    /// `None` when a jump is longer than 32,767 instructions.
    pub fn finish(mut self) -> Option<Assembled> {
        self.turn_jumps_over_jumps();
        let mut kept = self.reachable();
        // A jump to the place behind it is no jump; dropping one may make another such.
        loop {
            let next_kept: Vec<usize> = next_kept(&kept);
            let useless = (0..self.items.len()).find(|&index| {
                kept[index]
                    && matches!(&self.items[index].0, Item::Jump { insn, to } if insn.code == 0x05
                        && next_kept[self.target(*to)] == next_kept[index + 1])
            });
            match useless {
                Some(index) => kept[index] = false,
                None => break,
            }
        }
        let mut places = Vec::with_capacity(self.items.len() + 1);
        let mut place = 0;
        for (index, (item, _)) in self.items.iter().enumerate() {
            places.push(place);
            place += match item {
                _ if !kept[index] => 0,
                Item::Wide { .. } => 2,
                Item::Plain(_) | Item::Patched(..) | Item::Jump { .. } => 1,
            };
        }
        places.push(place);
        let mut assembled = Assembled {
            insns: Vec::with_capacity(place),
            map_uses: Vec::new(),
            patches: Vec::new(),
            spans: Vec::new(),
            sets: std::mem::take(&mut self.sets),
        };
        for (index, (item, span)) in self.items.iter().enumerate().filter(|(index, _)| kept[*index]) {
            if assembled.spans.last().is_none_or(|(_, last)| last != span) {
                assembled.spans.push((assembled.insns.len(), *span));
            }
            match item {
                Item::Plain(insn) => assembled.insns.push(*insn),
                Item::Patched(insn, patch) => {
                    assembled.patches.push((assembled.insns.len(), *patch));
                    assembled.insns.push(*insn);
                }
                Item::Jump { insn, to } => {
                    let distance = places[self.target(*to)] as i64 - places[index] as i64 - 1;
                    assembled.insns.push(Insn { off: i16::try_from(distance).ok()?, ..*insn });
                }
                Item::Wide { first, high, map } => {
                    if let Some(map) = map {
                        assembled.map_uses.push((assembled.insns.len(), *map));
                    }
                    assembled.insns.push(*first);
                    assembled.insns.push(Insn { code: 0, dst: 0, src: 0, off: 0, imm: *high });
                }
            }
        }
        Some(assembled)
    }

    /// `if a == b goto next; goto far; next:` becomes `if a != b goto far; next:`.
    fn turn_jumps_over_jumps(&mut self) {
        let mut targets: Vec<usize> = self.labels.iter().flatten().copied().collect();
        targets.sort_unstable();
        for index in 1..self.items.len() {
            let Item::Jump { insn: second, to: far } = self.items[index].0 else { continue };
            let Item::Jump { insn: first, to: next } = self.items[index - 1].0 else { continue };
            let over = self.labels[next.0] == Some(index + 1) && targets.binary_search(&index).is_err();
            let Some(opposite) = opposite(first.code).filter(|_| second.code == 0x05 && over) else { continue };
            self.items[index - 1].0 = Item::Jump { insn: Insn { code: opposite, ..first }, to: far };
            self.items[index].0 = Item::Jump { insn: second, to: next };
        }
    }

    fn target(&self, label: Label) -> usize {
        self.labels[label.0].expect("every label that is jumped to is placed")
    }

    fn reachable(&self) -> Vec<bool> {
        let mut reached = vec![false; self.items.len()];
        let mut open = vec![0];
        while let Some(index) = open.pop() {
            if index >= self.items.len() || std::mem::replace(&mut reached[index], true) {
                continue;
            }
            match &self.items[index].0 {
                Item::Plain(insn) if insn.code == 0x95 => {}
                Item::Jump { insn, to } => {
                    open.push(self.target(*to));
                    if insn.code != 0x05 {
                        open.push(index + 1);
                    }
                }
                Item::Plain(_) | Item::Patched(..) | Item::Wide { .. } => open.push(index + 1),
            }
        }
        reached
    }
}

/// The conditional jump that is taken when this one is not; `None` for other jumps.
fn opposite(code: u8) -> Option<u8> {
    let condition = match code & 0xf0 {
        0x10 => 0x50,
        0x50 => 0x10,
        0x20 => 0xb0,
        0xb0 => 0x20,
        0x30 => 0xa0,
        0xa0 => 0x30,
        0x60 => 0xd0,
        0xd0 => 0x60,
        0x70 => 0xc0,
        0xc0 => 0x70,
        _ => return None,
    };
    Some(code & 0x0f | condition)
}

/// For each index the first kept item at or behind it.
fn next_kept(kept: &[bool]) -> Vec<usize> {
    let mut next = vec![kept.len(); kept.len() + 1];
    for index in (0..kept.len()).rev() {
        next[index] = if kept[index] { index } else { next[index + 1] };
    }
    next
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unreachable_code_and_empty_jumps_go_away() {
        let mut assembler = Assembler::new();
        let (end, dead) = (assembler.label(), assembler.label());
        assembler.load_number(R0, 1);
        assembler.jump(end);
        assembler.place(dead);
        assembler.load_number(R0, 2);
        assembler.place(end);
        assembler.exit();
        let assembled = assembler.finish().expect("short");
        assert_eq!(assembled.insns.len(), 2);
    }

    #[test]
    fn a_jump_over_a_jump_is_turned_round() {
        let mut assembler = Assembler::new();
        let (next, far) = (assembler.label(), assembler.label());
        assembler.load_number(R0, 1);
        assembler.jump_if_imm(Condition::Less, R0, 5, next);
        assembler.jump(far);
        assembler.place(next);
        assembler.load_number(R0, 2);
        assembler.place(far);
        assembler.exit();
        let insns = assembler.finish().expect("short").insns;
        assert_eq!(insns.len(), 4);
        assert_eq!((insns[1].code, insns[1].off), (0x05 | Condition::GreaterEqual as u8, 1));
    }

    #[test]
    fn jumps_count_wide_loads_as_two() {
        let mut assembler = Assembler::new();
        let end = assembler.label();
        assembler.load_number(R0, 0);
        assembler.jump_if_imm(Condition::Equal, R0, 0, end);
        assembler.load_number(R1, i64::MAX);
        assembler.place(end);
        assembler.exit();
        let assembled = assembler.finish().expect("short");
        assert_eq!(assembled.insns[1].off, 2);
        assert_eq!(assembled.insns.len(), 5);
    }
}
