//! Programs by hand, for tests of the loader that need no compiler.

use std::sync::Arc;

use probepilot_collector_ebpf::kernel::{Hook, HookKind};
use probepilot_collector_ebpf::object::{Counter, Insn, MapRef, PSEUDO_MAP_FD, Patch, ProgramObject, SourceLine};

/// The system call our programs look at: cheap, and nobody else in a test makes it.
pub const SYSCALL: i64 = libc::SYS_getppid;

/// A program by hand: for our own process's system call, a record of 24 bytes (probe, 0, pid and tid, number of the call).
pub fn program(hook: &Arc<Hook>, name: &str) -> ProgramObject {
    let own = std::process::id().cast_signed();
    let op = |code, dst, src, off, imm| Insn { code, dst, src, off, imm };
    let mut insns = Vec::new();
    let mut map_uses = Vec::new();
    let mut exits = Vec::new();
    let mut full = Vec::new();
    let counted = |insns: &mut Vec<Insn>, counter: Counter| {
        insns.push(op(0x79, 1, 9, counter.offset(), 0));
        insns.push(op(0x07, 1, 0, 0, 1));
        insns.push(op(0x7b, 9, 1, counter.offset(), 0));
    };
    insns.push(op(0xbf, 6, 1, 0, 0)); // r6 = context
    insns.push(op(0x85, 0, 0, 0, 14)); // r0 = pid and tid
    insns.push(op(0xbf, 8, 0, 0, 0));
    insns.push(op(0x77, 0, 0, 0, 32));
    exits.push(insns.len());
    insns.push(op(0x55, 0, 0, 0, own)); // not ours
    if hook.kind == HookKind::BtfTracepoint {
        insns.push(op(0x79, 7, 6, 8, 0)); // r7 = argument 1, the call's number
        exits.push(insns.len());
        insns.push(op(0x55, 7, 0, 0, SYSCALL as i32));
    } else {
        insns.push(op(0x61, 7, 6, 8, 0)); // r7 = the record's __syscall_nr
    }
    insns.push(op(0x7b, 10, 7, -16, 0));
    insns.push(op(0x62, 10, 0, -4, 0)); // key 0
    insns.push(op(0xbf, 2, 10, 0, 0));
    insns.push(op(0x07, 2, 0, 0, -4));
    map_uses.push((insns.len(), MapRef::Counters));
    insns.extend([op(0x18, 1, PSEUDO_MAP_FD, 0, 0), op(0, 0, 0, 0, 0)]);
    insns.push(op(0x85, 0, 0, 0, 1));
    exits.push(insns.len());
    insns.push(op(0x15, 0, 0, 0, 0));
    insns.push(op(0xbf, 9, 0, 0, 0)); // r9 = counters
    counted(&mut insns, Counter::Events);
    insns.push(op(0x85, 0, 0, 0, 8)); // r0 = CPU
    insns.push(op(0x63, 10, 0, -4, 0));
    insns.push(op(0xbf, 2, 10, 0, 0));
    insns.push(op(0x07, 2, 0, 0, -4));
    map_uses.push((insns.len(), MapRef::Rings));
    insns.extend([op(0x18, 1, PSEUDO_MAP_FD, 0, 0), op(0, 0, 0, 0, 0)]);
    insns.push(op(0x85, 0, 0, 0, 1));
    full.push(insns.len());
    insns.push(op(0x15, 0, 0, 0, 0));
    insns.push(op(0xbf, 1, 0, 0, 0));
    insns.push(op(0xb7, 2, 0, 0, 24));
    insns.push(op(0xb7, 3, 0, 0, 0));
    insns.push(op(0x85, 0, 0, 0, 131)); // reserve
    full.push(insns.len());
    insns.push(op(0x15, 0, 0, 0, 0));
    let patch = insns.len();
    insns.push(op(0xb4, 1, 0, 0, 0)); // w1 = probe
    insns.push(op(0x7b, 0, 1, 0, 0));
    insns.push(op(0x7b, 0, 8, 8, 0));
    insns.push(op(0x79, 1, 10, -16, 0));
    insns.push(op(0x7b, 0, 1, 16, 0));
    insns.push(op(0xbf, 1, 0, 0, 0));
    insns.push(op(0xb7, 2, 0, 0, 0));
    insns.push(op(0x85, 0, 0, 0, 132)); // submit
    counted(&mut insns, Counter::Rows);
    exits.push(insns.len());
    insns.push(op(0x05, 0, 0, 0, 0));
    let full_at = insns.len();
    counted(&mut insns, Counter::RingFull);
    let exit_at = insns.len();
    insns.extend([op(0xb7, 0, 0, 0, 0), op(0x95, 0, 0, 0, 0)]);
    for (from, to) in exits.into_iter().map(|from| (from, exit_at)).chain(full.into_iter().map(|from| (from, full_at)))
    {
        insns[from].off = i16::try_from(to - from - 1).unwrap();
    }
    let lines = vec![
        SourceLine { insn: 0, text: "WHERE pid = own".into(), line: 2, column: 1 },
        SourceLine { insn: patch, text: "SELECT pid, id".into(), line: 1, column: 8 },
    ];
    ProgramObject {
        name: name.into(),
        hook: hook.clone(),
        insns,
        map_uses,
        patches: vec![(patch, Patch::ProbeId)],
        scratch_bytes: 0,
        windows: None,
        sets: Vec::new(),
        lines,
        state: None,
        companions: Vec::new(),
    }
}

/// A program by hand that counts its runs for this thread, and in each reads memory of the process that is not there.
#[allow(dead_code, reason = "not every test that makes programs by hand needs one that faults")]
pub fn faulting_program(hook: &Arc<Hook>) -> ProgramObject {
    let op = |code, dst, src, off, imm| Insn { code, dst, src, off, imm };
    let counter = Counter::Events.offset();
    // SAFETY: no arguments, no effect.
    let own = unsafe { libc::gettid() };
    let insns = vec![
        op(0x85, 0, 0, 0, 14),   // w0 = tid
        op(0x56, 0, 0, 15, own), // not ours: leave
        op(0x62, 10, 0, -4, 0),  // key 0
        op(0xbf, 2, 10, 0, 0),
        op(0x07, 2, 0, 0, -4),
        op(0x18, 1, PSEUDO_MAP_FD, 0, 0),
        op(0, 0, 0, 0, 0),
        op(0x85, 0, 0, 0, 1),
        op(0x15, 0, 0, 8, 0), // no counters: leave
        op(0x79, 1, 0, counter, 0),
        op(0x07, 1, 0, 0, 1),
        op(0x7b, 0, 1, counter, 0),
        op(0xbf, 1, 10, 0, 0),
        op(0x07, 1, 0, 0, -16),
        op(0xb7, 2, 0, 0, 8),
        op(0xb7, 3, 0, 0, 8),   // nothing lies there
        op(0x85, 0, 0, 0, 112), // probe_read_user
        op(0xb7, 0, 0, 0, 0),
        op(0x95, 0, 0, 0, 0),
    ];
    ProgramObject {
        insns,
        map_uses: vec![(5, MapRef::Counters)],
        patches: Vec::new(),
        lines: Vec::new(),
        ..program(hook, "faulting")
    }
}
