//! Many programs of one hook as one: the kernel is entered once for all of them.
//!
//! They stand one behind the other in one function, and once more each in a function of its own. A main function calls the
//! first with the hook's context; where runs are to be measured it calls the others, and takes the time before and
//! after each, and once for nothing, which is what taking it costs: every probe's cost is known although they run as one.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::cells::Cell;
use super::error::LoadError;
use super::program;
use super::program_types::Function;
use super::syscall::raw;
use crate::compile::evaluate::FRAME_BYTES_MAX;
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
    // Twice: joined, and each by itself.
    let verified = members.iter().map(|member| member.verified_insns.saturating_mul(2)).fold(0, u32::saturating_add);
    members.len() <= MEMBERS_MAX && maps.len() <= MAPS_MAX && verified <= VERIFIED_INSNS_MAX
}

fn maps_of(insns: &[Insn]) -> impl Iterator<Item = i32> {
    let names_map = |insn: &&Insn| insn.code == LOAD_WIDE && matches!(insn.src, PSEUDO_MAP_FD | PSEUDO_MAP_VALUE);
    insns.iter().filter(names_map).map(|insn| insn.imm)
}

/// Loads them as one program for their hook.
pub fn load(members: &[Arc<Member>], hook: &Hook) -> Result<OwnedFd, LoadError> {
    // A program of one probe has its name.
    let all = format!("all_{}", hook.name);
    let name = match members {
        [only] => &only.name,
        _ => &all,
    };
    let joined = joined(members);
    let mut program = Program { insns: main_insns(members, joined.as_ref()), functions: Vec::new(), lines: Vec::new() };
    program.functions.push(Function { name, insn: 0 });
    if let Some(Joined { insns, starts }) = &joined {
        let start = program.insns.len();
        program.functions.push(Function { name: "joined", insn: start });
        for (member, at) in members.iter().zip(starts) {
            program.quote(member, start + at);
        }
        program.insns.extend(insns);
    }
    for member in members {
        let start = program.insns.len();
        program.functions.push(Function { name: &member.name, insn: start });
        program.quote(member, start);
        program.insns.extend(&member.insns);
    }
    program::load(&program.functions, hook, &program.insns, &program.lines)
}

struct Program<'a> {
    insns: Vec<Insn>,
    functions: Vec<Function<'a>>,
    lines: Vec<SourceLine>,
}

impl Program<'_> {
    /// The SQL of a member whose instructions stand from `start` on.
    fn quote(&mut self, member: &Member, start: usize) {
        self.lines.extend(member.lines.iter().map(|line| SourceLine { insn: line.insn + start, ..line.clone() }));
    }
}

const fn op(code: u8, dst: u8, src: u8, off: i16, imm: i32) -> Insn {
    Insn { code, dst, src, off, imm }
}

const GET_CURRENT_PID_TGID: i32 = 14;
const KTIME_GET_NS: i32 = 5;
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;
const JUMP: u8 = 0x05;
const ATOMIC_ADD: u8 = 0xdb;
const LOAD: u8 = 0x79;
const STORE: u8 = 0x7b;
const MOVE: u8 = 0xbf;
const FRAME: u8 = 10;

/// `return 0`
const LEAVE: [Insn; 2] = [op(0xb7, 0, 0, 0, 0), op(EXIT, 0, 0, 0, 0)];

/// Members one behind the other in one function.
struct Joined {
    insns: Vec<Insn>,
    /// Where each begins.
    starts: Vec<usize>,
}

/// Where one leaves, the next begins. That saves a call and a return for each, and asking for the current task, which the
/// first does for all: a filter that drops takes less time than those.
///
/// `None` for one alone, and for one that is too long to be jumped over.
fn joined(members: &[Arc<Member>]) -> Option<Joined> {
    // Below what the members keep on the stack.
    const CONTEXT_SLOT: i16 = -FRAME_BYTES_MAX - 8;
    const TASK_SLOT: i16 = -FRAME_BYTES_MAX - 16;
    if members.len() < 2 || members.iter().any(|member| i16::try_from(member.insns.len()).is_err()) {
        return None;
    }
    let mut insns = vec![
        op(STORE, FRAME, 1, CONTEXT_SLOT, 0),
        op(CALL, 0, 0, 0, GET_CURRENT_PID_TGID),
        op(STORE, FRAME, 0, TASK_SLOT, 0),
    ];
    let mut starts = Vec::with_capacity(members.len());
    for member in members {
        insns.push(op(LOAD, 1, FRAME, CONTEXT_SLOT, 0));
        starts.push(insns.len());
        for (index, insn) in member.insns.iter().enumerate() {
            let left = member.insns.len() - index - 1;
            insns.push(match *insn {
                Insn { code: EXIT, .. } => op(JUMP, 0, 0, i16::try_from(left).expect("as long as a member"), 0),
                Insn { code: CALL, src: 0, imm: GET_CURRENT_PID_TGID, .. } => op(LOAD, 0, FRAME, TASK_SLOT, 0),
                other => other,
            });
        }
    }
    insns.extend(LEAVE);
    Some(Joined { insns, starts })
}

/// The function that is entered: it calls those behind it, the joined one or each member where they are to be measured.
///
/// It keeps nothing in memory: what it took there the others could not.
fn main_insns(members: &[Arc<Member>], joined: Option<&Joined>) -> Vec<Insn> {
    let Some(first) = members.first() else { return Vec::new() };
    let address = |cell: &Cell, offset: u32| {
        let map = raw(cell.map_fd()).cast_signed();
        [op(LOAD_WIDE, 1, PSEUDO_MAP_VALUE, 0, map), op(0, 0, 0, 0, offset.cast_signed())]
    };
    // R6 is the context.
    let mut insns = vec![op(MOVE, 6, 1, 0, 0)];
    // Where functions are called, and which: the joined one, then the members.
    let mut calls = Vec::new();
    let call = |insns: &mut Vec<Insn>, calls: &mut Vec<(usize, usize)>, function| {
        insns.push(op(MOVE, 1, 6, 0, 0));
        calls.push((insns.len(), function));
        insns.push(op(CALL, 0, 1, 0, 0));
    };
    insns.extend(address(&first.cell, first.cell.measure_offset()));
    insns.push(op(LOAD, 1, 1, 0, 0));
    let plain = match joined {
        Some(_) => 0..1,
        None => 1..members.len() + 1,
    };
    let over = i16::try_from(plain.len() * 2 + LEAVE.len()).expect("as many as `MEMBERS_MAX`");
    insns.push(op(0x55, 1, 0, over, 0));
    for function in plain {
        call(&mut insns, &mut calls, function);
    }
    insns.extend(LEAVE);
    // R8 is what reading the clock takes itself.
    let read_clock = [op(CALL, 0, 0, 0, KTIME_GET_NS), op(MOVE, 7, 0, 0, 0)];
    let since_read = [op(CALL, 0, 0, 0, KTIME_GET_NS), op(0x1f, 0, 7, 0, 0)];
    insns.extend(read_clock);
    insns.extend(since_read);
    insns.push(op(MOVE, 8, 0, 0, 0));
    for (index, member) in members.iter().enumerate() {
        insns.extend(read_clock);
        call(&mut insns, &mut calls, index + 1);
        insns.extend(since_read);
        insns.push(op(0x1f, 0, 8, 0, 0));
        insns.extend(address(&member.cell, member.cell.run_ns_offset()));
        insns.push(op(ATOMIC_ADD, 1, 0, 0, 0));
        insns.extend(address(&member.cell, member.cell.runs_offset()));
        insns.extend([op(0xb7, 2, 0, 0, 1), op(ATOMIC_ADD, 1, 2, 0, 0)]);
    }
    insns.extend(LEAVE);
    let joined_length = joined.map_or(0, |joined| joined.insns.len());
    let mut starts = vec![insns.len()];
    let mut start = insns.len() + joined_length;
    for member in members {
        starts.push(start);
        start += member.insns.len();
    }
    for (at, function) in calls {
        insns[at].imm = i32::try_from(starts[function] - at - 1).expect("a program is below 2³¹ instructions");
    }
    insns
}
