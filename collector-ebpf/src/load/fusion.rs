//! Many programs of one hook as one: the kernel is entered once for all of them.
//!
//! Each becomes a function, and a main one calls them one after the other with the hook's context. Where runs are to be
//! measured it takes the time before and after each, and once for nothing, which is what taking it costs: every probe's cost is
//! known although they run as one.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::cells::Cell;
use super::error::LoadError;
use super::program;
use super::program_types::Function;
use super::syscall::raw;
use crate::kernel::Hook;
use crate::object::{Insn, LOAD_WIDE, PSEUDO_MAP_FD, PSEUDO_MAP_VALUE, SourceLine};

/// A program with everything filled in.
#[derive(Debug)]
pub struct Member {
    /// What people recognise it by.
    pub name: String,
    /// Its instructions; it leaves by an exit, never by a jump into another program.
    pub insns: Vec<Insn>,
    /// The SQL behind them.
    pub lines: Vec<SourceLine>,
    /// Instructions that the verifier looked at when it was alone.
    pub verified_insns: u32,
    /// Where its runs are counted.
    pub cell: Arc<Cell>,
    /// Holds the maps that the instructions name.
    #[expect(dead_code, reason = "maps are held for the instructions that name them")]
    pub maps: Arc<super::Maps>,
}

/// Programs that are fused at most: the kernel takes 256 functions.
const MEMBERS_MAX: usize = 128;

/// Maps that fused programs name at most when one more joins them: the kernel takes 64, and a program that takes the
/// place of another may need more than that one did.
const MAPS_MAX: usize = 56;

/// Instructions that the verifier looks at in fused programs when one more joins them: the kernel takes 1,000,000.
const VERIFIED_INSNS_MAX: u32 = 600_000;

/// Says whether these can be fused with one more to come later in the place of any.
pub fn fits(members: &[Arc<Member>]) -> bool {
    let maps: BTreeSet<i32> = members.iter().flat_map(|member| maps_of(&member.insns)).collect();
    // Twice: measured and not.
    let verified = members.iter().map(|member| member.verified_insns.saturating_mul(2)).fold(0, u32::saturating_add);
    members.len() <= MEMBERS_MAX && maps.len() <= MAPS_MAX && verified <= VERIFIED_INSNS_MAX
}

fn maps_of(insns: &[Insn]) -> impl Iterator<Item = i32> {
    let names_map = |insn: &&Insn| insn.code == LOAD_WIDE && matches!(insn.src, PSEUDO_MAP_FD | PSEUDO_MAP_VALUE);
    insns.iter().filter(names_map).map(|insn| insn.imm)
}

/// Loads them as one program for their hook.
pub fn load(members: &[Arc<Member>], hook: &Hook) -> Result<OwnedFd, LoadError> {
    let mut insns = main_insns(members);
    // A program of one probe has its name.
    let name = match members {
        [only] => only.name.clone(),
        _ => format!("all_{}", hook.name),
    };
    let mut functions = vec![Function { name: &name, insn: 0 }];
    let mut lines = Vec::new();
    for member in members {
        let start = insns.len();
        functions.push(Function { name: &member.name, insn: start });
        lines.extend(member.lines.iter().map(|line| SourceLine { insn: line.insn + start, ..line.clone() }));
        insns.extend(&member.insns);
    }
    program::load(&functions, hook, &insns, &lines)
}

/// The function that calls all others, which stand behind it in their order.
///
/// It keeps nothing in memory: what it took there the others could not.
fn main_insns(members: &[Arc<Member>]) -> Vec<Insn> {
    const KTIME_GET_NS: i32 = 5;
    const ATOMIC_ADD: u8 = 0xdb;
    let op = |code, dst, src, off, imm| Insn { code, dst, src, off, imm };
    let Some(first) = members.first() else { return Vec::new() };
    let address = |cell: &Cell, offset: u32| {
        let map = raw(cell.map_fd()).cast_signed();
        [op(LOAD_WIDE, 1, PSEUDO_MAP_VALUE, 0, map), op(0, 0, 0, 0, offset.cast_signed())]
    };
    // R6 is the context.
    let mut insns = vec![op(0xbf, 6, 1, 0, 0)];
    insns.extend(address(&first.cell, first.cell.measure_offset()));
    insns.push(op(0x79, 1, 1, 0, 0));
    let plain = members.len() * 2 + 2;
    insns.push(op(0x55, 1, 0, i16::try_from(plain).expect("as many as `MEMBERS_MAX`"), 0));
    let mut calls = Vec::with_capacity(members.len() * 2);
    let call = |insns: &mut Vec<Insn>, calls: &mut Vec<(usize, usize)>, index| {
        insns.push(op(0xbf, 1, 6, 0, 0));
        calls.push((insns.len(), index));
        insns.push(op(0x85, 0, 1, 0, 0));
    };
    let leave = [op(0xb7, 0, 0, 0, 0), op(0x95, 0, 0, 0, 0)];
    for index in 0..members.len() {
        call(&mut insns, &mut calls, index);
    }
    insns.extend(leave);
    // R8 is what reading the clock takes itself.
    let read_clock = [op(0x85, 0, 0, 0, KTIME_GET_NS), op(0xbf, 7, 0, 0, 0)];
    let since_read = [op(0x85, 0, 0, 0, KTIME_GET_NS), op(0x1f, 0, 7, 0, 0)];
    insns.extend(read_clock);
    insns.extend(since_read);
    insns.push(op(0xbf, 8, 0, 0, 0));
    for (index, member) in members.iter().enumerate() {
        insns.extend(read_clock);
        call(&mut insns, &mut calls, index);
        insns.extend(since_read);
        insns.push(op(0x1f, 0, 8, 0, 0));
        insns.extend(address(&member.cell, member.cell.run_ns_offset()));
        insns.push(op(ATOMIC_ADD, 1, 0, 0, 0));
        insns.extend(address(&member.cell, member.cell.runs_offset()));
        insns.extend([op(0xb7, 2, 0, 0, 1), op(ATOMIC_ADD, 1, 2, 0, 0)]);
    }
    insns.extend(leave);
    let mut starts = Vec::with_capacity(members.len());
    let mut start = insns.len();
    for member in members {
        starts.push(start);
        start += member.insns.len();
    }
    for (at, index) in calls {
        insns[at].imm = i32::try_from(starts[index] - at - 1).expect("a program is below 2³¹ instructions");
    }
    insns
}
