//! What EXPLAIN says: which part runs where, the record, the program and its costs.

mod pair; // The lines of a pair.
pub(crate) mod windows; // Of a query that aggregates.

use crate::compile::layout::{Cell, Layout};
use crate::compile::leaf::Leaf;
use crate::compile::pair::Pair;
use crate::compile::program::taxes_system_calls;
use crate::compile::read::helper;
use crate::compile::split::{Carried, Split};
use crate::compile::{CompiledProbe, OutputColumn};
use crate::kernel::{Hook, Rate, Sampling};
use crate::object::{Insn, MapRef};

/// What runs where, in a line, for the notice of CREATE PROBE.
pub(crate) fn summary(split: &Split, pair: Option<&Pair>, columns: &[OutputColumn]) -> String {
    let mut parts = events(split, pair);
    let after: Vec<&str> = columns
        .iter()
        .zip(&split.in_kernel)
        .filter(|(_, in_kernel)| !**in_kernel)
        .map(|(column, _)| column.name.as_str())
        .filter(|name| !["time", "node", "upid"].contains(name))
        .collect();
    if !after.is_empty() {
        parts.push(format!("{} computed after the kernel", after.join(", ")));
    }
    if parts.is_empty() { "all in kernel".to_owned() } else { parts.join("; ") }
}

/// Where events are paired and filtered.
fn events(split: &Split, pair: Option<&Pair>) -> Vec<String> {
    let mut parts: Vec<String> =
        pair.iter().map(|pair| format!("paired in {}", pair::place(pair.state.kind))).collect();
    if !split.kernel_filters.is_empty() || pair.is_some_and(|pair| !pair.start.kernel_filters.is_empty()) {
        parts.push("filter in kernel".to_owned());
    }
    parts.extend(split.after_filters.iter().map(|filter| format!("{} after it", filter.text)));
    parts
}

/// The lines of EXPLAIN.
pub(crate) fn lines(probe: &CompiledProbe, verbose: bool) -> Vec<String> {
    let hook = &probe.object.hook;
    let split = probe.split.as_ref();
    let mut lines = match &probe.pair {
        Some(pair) => pair::lines(pair, probe),
        None => hook_lines("Hook", hook),
    };
    for filter in &split.kernel_filters {
        lines.push(format!("Filter in kernel: {}", filter.text));
    }
    for filter in &split.after_filters {
        lines.push(format!("Filter after kernel: {}", filter.text));
    }
    if let Some(parts) = &probe.windows {
        lines.extend(windows::lines(probe, parts));
    }
    let outputs = if probe.windows.is_some() { &[] } else { probe.columns.as_slice() };
    for ((column, planned), in_kernel) in outputs.iter().zip(&split.outputs).zip(&split.in_kernel) {
        let place = if *in_kernel { "in kernel" } else { "after kernel" };
        lines.push(format!("Column {}: {}, {place}: {}", column.name, column.sql_type.sql(), planned.text));
    }
    match probe.object.companions.first() {
        _ if probe.pair.is_some() => {}
        Some(companion) => lines.push(format!(
            "User memory: what cannot be read at entry is read again at {}; still unreadable it is NULL and counted",
            companion.hook
        )),
        None if split.leaves.iter().any(Leaf::may_fault) => {
            lines.push("User memory: what cannot be read is NULL and counted as unreadable".to_owned());
        }
        None => {}
    }
    if probe.windows.is_none() {
        lines.push(record_line(probe));
    }
    let programs: Vec<_> = std::iter::once(&probe.object).chain(&probe.object.companions).collect();
    let mut called: Vec<&str> = Vec::new();
    for helper in programs.iter().flat_map(|program| helpers(&program.insns)) {
        if !called.contains(&helper) {
            called.push(helper);
        }
    }
    for (index, program) in programs.iter().enumerate() {
        let place = if programs.len() == 1 { String::new() } else { format!(" at {}", program.hook) };
        let rest = format!(", at most {} bytes of stack, helpers {}", probe.stack_bytes, called.join(", "));
        let rest = if index + 1 == programs.len() { rest } else { String::new() };
        lines.push(format!("Program{place}: {} instructions{rest}", program.insns.len()));
    }
    let mut sets: Vec<_> = Vec::new();
    for set in programs.iter().flat_map(|program| &program.sets) {
        if !sets.contains(&set) {
            sets.push(set);
            let (entries, key_bytes) = (set.keys.len(), set.key_bytes);
            lines.push(format!(
                "List: a map of {entries} entries, looked up in kernel; keys of {key_bytes} bytes, {} bytes together",
                entries as u64 * u64::from(key_bytes)
            ));
        }
    }
    lines.extend(probe.notices.iter().map(|notice| format!("Notice: {notice}")));
    if verbose {
        lines.extend(record_cells(probe));
        lines.extend(listing(probe));
    }
    lines
}

fn hook_lines(role: &str, hook: &Hook) -> Vec<String> {
    let mut lines = vec![format!("{role}: {hook}, context {}", hook.context.as_str())];
    if taxes_system_calls(hook) {
        lines.push("  Cost: every system call of the host pays some 40 to 90 ns while it is attached".to_owned());
    }
    if let Some(sampling) = hook.sampling {
        lines.push(format!("  {}", samples(sampling)));
    }
    lines
}

fn samples(sampling: Sampling) -> String {
    let each = "of each CPU that runs when it is attached";
    match sampling.rate {
        Rate::Hertz(hertz) => format!("Samples: {hertz} a second {each}; an idle one has pid 0"),
        Rate::Period(period) if sampling.event.is_clock => {
            format!("Samples: one for every {period} ns {each}; an idle one has pid 0")
        }
        Rate::Period(period) => format!("Samples: one for every {period} {} {each}", sampling.event.name),
    }
}

fn record_line(probe: &CompiledProbe) -> String {
    let layout = probe.layout.as_ref();
    if layout.in_scratch() {
        let cut = if layout.last_string.is_some() { "at most " } else { "" };
        let (bytes, scratch) = (layout.bytes, layout.scratch_bytes);
        format!("Record: {cut}{bytes} bytes, built in {scratch} bytes of memory per CPU, then copied to the ring")
    } else {
        format!("Record: {} bytes, built in the ring", layout.bytes)
    }
}

/// The layout, a line a column.
pub(crate) fn record_cells(probe: &CompiledProbe) -> Vec<String> {
    let mut lines = cells(&probe.split, &probe.layout);
    if let Some(pair) = &probe.pair {
        lines.push(format!("Kept: {} bytes", pair.value.bytes));
        lines.extend(cells(&pair.start, &pair.layout));
    }
    lines
}

fn cells(split: &Split, layout: &Layout) -> Vec<String> {
    let cells = split.record.iter().zip(&layout.cells);
    cells
        .map(|(column, cell)| {
            let place = match cell {
                Cell::Integer { offset, bytes } => format!("{offset}: integer of {bytes} bytes"),
                Cell::Boolean { offset } => format!("{offset}: boolean"),
                Cell::Text { offset, length, keep } => format!("{offset}: text, {keep} of {length} bytes kept"),
                Cell::Sized { offset, bytes_max } => format!("{offset}: up to {bytes_max} bytes and their number"),
                Cell::Bytes { offset, length } => format!("{offset}: {length} bytes"),
                Cell::Time => "8: clock as time".to_owned(),
                Cell::Nsecs => "8: clock".to_owned(),
                Cell::Mark(_) => "4: marks".to_owned(),
            };
            let value = if matches!(column.carried, Carried::Value(_)) { ", computed" } else { "" };
            format!("  {} at {place}{value}", column.name)
        })
        .collect()
}

/// Helpers the program calls, each once, in order of first use.
pub(crate) fn helpers(insns: &[Insn]) -> Vec<&'static str> {
    let mut names = Vec::new();
    for insn in insns.iter().filter(|insn| insn.code == 0x85) {
        let name = helper::name(insn.imm);
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// The program, with the SQL before the instructions made for it.
fn listing(probe: &CompiledProbe) -> Vec<String> {
    let mut lines = Vec::new();
    let mut index = 0;
    while index < probe.object.insns.len() {
        if let Some(line) = probe.object.lines.iter().find(|line| line.insn == index) {
            lines.push(format!("; {}:{} {}", line.line, line.column, line.text));
        }
        let insn = probe.object.insns[index];
        let map = probe.object.map_uses.iter().find(|(place, _)| *place == index).map(|(_, map)| *map);
        let high = probe.object.insns.get(index + 1).map_or(0, |next| next.imm);
        lines.push(format!("{index:4}: {}", instruction(insn, high, map)));
        index += if insn.code == 0x18 { 2 } else { 1 };
    }
    lines
}

fn instruction(insn: Insn, high: i32, map: Option<MapRef>) -> String {
    let Insn { code, dst, src, off, imm } = insn;
    let source = if code & 0x08 == 0 { imm.to_string() } else { format!("r{src}") };
    let width = match code & 0x18 {
        0x00 => "u32",
        0x08 => "u16",
        0x10 => "u8",
        _ => "u64",
    };
    match (code & 0x07, code) {
        (_, 0x18) => match map {
            Some(map) => format!("r{dst} = map {map:?}"),
            None => format!("r{dst} = {}", i64::from(high) << 32 | i64::from(imm as u32)),
        },
        (_, 0x85) => format!("call {}", helper::name(imm)),
        (_, 0x95) => "exit".to_owned(),
        (_, 0x05) => format!("goto {off:+}"),
        (_, 0x87) => format!("r{dst} = -r{dst}"),
        (0x01, _) => format!("r{dst} = *({width} *)(r{src} {off:+})"),
        (0x02, _) => format!("*({width} *)(r{dst} {off:+}) = {imm}"),
        (0x03, 0xdb) if imm == 0xe1 => format!("r{src} = xchg(u64 *)(r{dst} {off:+})"),
        (0x03, 0xdb) => format!("r{src} = fetch_add(u64 *)(r{dst} {off:+})"),
        (0x03, _) => format!("*({width} *)(r{dst} {off:+}) = r{src}"),
        (0x05, _) => {
            let condition = match code & 0xf0 {
                0x10 => "==",
                0x20 => "> (unsigned)",
                0x30 => ">= (unsigned)",
                0x50 => "!=",
                0x60 => ">",
                0x70 => ">=",
                0xa0 => "< (unsigned)",
                0xb0 => "<= (unsigned)",
                0xc0 => "<",
                _ => "<=",
            };
            format!("if r{dst} {condition} {source} goto {off:+}")
        }
        _ => {
            let operator = match code & 0xf0 {
                0x00 => "+=",
                0x10 => "-=",
                0x20 => "*=",
                0x30 => "/=",
                0x40 => "|=",
                0x50 => "&=",
                0x60 => "<<=",
                0x70 => ">>=",
                0x90 => "%=",
                0xa0 => "^=",
                0xb0 => "=",
                _ => ">>= (signed)",
            };
            format!("r{dst} {operator} {source}")
        }
    }
}
