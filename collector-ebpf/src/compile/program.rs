//! What can be loaded of a query: its programs, and where a system call that could not be read goes on.

use std::sync::Arc;

use probepilot_sql::SqlError;

use super::CompileOptions;
use super::emit::{self, Emitted, Part, Settings};
use super::layout::Layout;
use super::leaf::{Leaf, TaskFact};
use super::pair::{self, Pair};
use super::position;
use super::read::TaskOffsets;
use super::split::Split;
use crate::kernel::{BtfKind, Hook, HookContext, HookKind, Kernel, Place};
use crate::object::{PENDING_BYTES, ProgramObject, SourceLine};

/// The programs of a query, and the largest stack: one; two where a call's return goes on with what could not be read at
/// its entry; or those of a pair. Which part each is, `settings` does not say yet.
pub(super) fn programs(
    pair: Option<&Pair>,
    returns: Option<(Arc<Hook>, u16)>,
    (split, layout): (&Split, &Layout),
    (kernel, hook): (&Kernel, Arc<Hook>),
    options: &CompileOptions,
    settings: Settings<'_>,
) -> Result<(ProgramObject, u16), SqlError> {
    if let Some(pair) = pair {
        return pair::programs::programs(pair, (split, layout), (kernel, hook), options, settings);
    }
    let text = settings.text;
    let Some((return_hook, context_bytes)) = returns else {
        let emitted = emit::emit(split, layout, settings)?;
        return Ok((object(&emitted, hook, layout, options, text), emitted.stack_bytes));
    };
    let entry = emit::emit(split, layout, Settings { part: Part::Entry { context_bytes }, ..settings })?;
    let returned = emit::emit(split, layout, Settings { part: Part::Return { context_bytes }, ..settings })?;
    let mut program = object(&entry, hook, layout, options, text);
    program.companions.push(object(&returned, return_hook, layout, options, text));
    Ok((program, entry.stack_bytes.max(returned.stack_bytes)))
}

/// The program with the SQL behind its instructions.
pub(super) fn object(
    emitted: &Emitted,
    hook: Arc<Hook>,
    layout: &Layout,
    options: &CompileOptions,
    text: &str,
) -> ProgramObject {
    let Emitted { assembled, .. } = emitted;
    let lines = assembled
        .spans
        .iter()
        .filter_map(|(insn, span)| {
            Some(SourceLine {
                insn: *insn,
                text: position::line(text, *span)?.trim_end().to_owned(),
                line: u32::try_from(span.start.line).ok()?,
                column: u32::try_from(span.start.column).ok()?,
            })
        })
        .collect();
    ProgramObject {
        name: options.name.clone(),
        hook,
        insns: assembled.insns.clone(),
        map_uses: assembled.map_uses.clone(),
        patches: assembled.patches.clone(),
        scratch_bytes: u32::from(layout.scratch_bytes),
        windows: None,
        sets: assembled.sets.clone(),
        lines,
        state: None,
        companions: Vec::new(),
    }
}

/// System calls after which the memory they were given is gone, or that do not return.
pub(super) const WITHOUT_RETURN: [&str; 5] = ["execve", "execveat", "exit", "exit_group", "rt_sigreturn"];

/// Where strings that could not be read at a system call's entry are read again, and the bytes of the entry's context;
/// `None` where nothing is to be read again or there is no such place.
pub(super) fn return_hook(kernel: &Kernel, hook: &Hook, split: &Split) -> Option<(Arc<Hook>, u16)> {
    let call = hook.name.strip_prefix("sys_enter_").filter(|call| !WITHOUT_RETURN.contains(call))?;
    if !taxes_system_calls(hook) || !split.leaves.iter().any(Leaf::may_fault) {
        return None;
    }
    // At the return there is the stack of the return.
    if split.leaves.iter().any(|leaf| matches!(leaf, Leaf::Stack { .. })) {
        return None;
    }
    let mut context_bytes = 8;
    for field in &hook.fields {
        let Place::ContextOffset { offset } = field.place else { return None };
        // Numbers of calls take four bytes, arguments a slot of eight; both end in the slot they start in.
        context_bytes = context_bytes.max(offset / 8 * 8 + 8);
    }
    if u32::from(context_bytes) > PENDING_BYTES {
        return None;
    }
    let returns = kernel.hook(&["tracepoint", "syscalls", &format!("sys_exit_{call}")]).ok()?;
    Some((returns, context_bytes))
}

/// Whether the hook sees every system call to find one: it costs all of them something.
pub(crate) fn taxes_system_calls(hook: &Hook) -> bool {
    hook.kind == HookKind::Tracepoint && hook.group == "syscalls"
}

/// The process that a program on this hook does not see.
pub(super) fn excluded(options: &CompileOptions, hook: &Hook) -> Option<u32> {
    // Elsewhere the current task says nothing about whose event it is.
    options.excluded_tgid.filter(|_| hook.context == HookContext::Task)
}

/// Offsets within the current task, when the program follows it.
pub(super) fn task_offsets(kernel: &Kernel, split: &Split) -> Result<TaskOffsets, SqlError> {
    let needed =
        [TaskFact::Ppid, TaskFact::StartBoottime].into_iter().any(|fact| split.leaves.contains(&Leaf::Task(fact)));
    if !needed {
        return Ok(TaskOffsets::default());
    }
    let btf = kernel.btf();
    let task = btf.find(BtfKind::Struct, "task_struct");
    let offset = |names: &[&str]| {
        names
            .iter()
            .find_map(|name| btf.member(task?, name))
            .and_then(|member| i16::try_from(member.bit_offset / 8).ok())
            .ok_or_else(|| {
                SqlError::unsupported(format!("this kernel's types have no task_struct.{}", names[0]))
                    .hint("The columns ppid and upid need a kernel built with BTF.")
            })
    };
    Ok(TaskOffsets {
        real_parent: offset(&["real_parent"])?,
        tgid: offset(&["tgid"])?,
        group_leader: offset(&["group_leader"])?,
        // Called so before Linux 5.5.
        start_boottime: offset(&["start_boottime", "real_start_time"])?,
    })
}
