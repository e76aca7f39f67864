//! The programs of a pair: at the start, at the end, and at the event after which no end can come.

use std::sync::Arc;

use probepilot_sql::SqlError;

use super::Pair;
use crate::compile::CompileOptions;
use crate::compile::emit::{self, Part, Settings};
use crate::compile::layout::Layout;
use crate::compile::program::{excluded, object, task_offsets};
use crate::compile::sample::Sample;
use crate::compile::split::Split;
use crate::kernel::{Hook, HookContext, Kernel};
use crate::object::{ProgramObject, StateMap};

/// Makes them. The start is the one that is attached last: until then nothing is kept. With it comes the largest stack.
///
/// # Errors
/// 54000 when one of them is too large.
pub fn programs(
    pair: &Pair,
    (split, layout): (&Split, &Layout),
    (kernel, end_hook): (&Kernel, Arc<Hook>),
    options: &CompileOptions,
    end: Settings<'_>,
) -> Result<(ProgramObject, u16), SqlError> {
    let text = end.text;
    let start = Settings {
        hook_span: pair.span,
        excluded_tgid: excluded(options, &pair.hook),
        rate_limited: false,
        sample: Sample::default(),
        task: task_offsets(kernel, &pair.start)?,
        part: Part::Start(pair),
        windows: None,
        ..end
    };
    let emitted = emit::emit(&pair.start, &pair.layout, start)?;
    let mut stack_bytes = emitted.stack_bytes;
    let mut program = object(&emitted, Arc::clone(&pair.hook), &pair.layout, options, text);
    // Whose event a pair is, its start says: where that is not known, who is current at the end is a bystander.
    let excluded_tgid = end.excluded_tgid.filter(|_| pair.hook.context == HookContext::Task);
    let emitted = emit::emit(split, layout, Settings { part: Part::End(pair), excluded_tgid, ..end })?;
    stack_bytes = stack_bytes.max(emitted.stack_bytes);
    program.companions.push(object(&emitted, end_hook, layout, options, text));
    if let Some(discard) = &pair.state.discard {
        let settings = Settings { part: Part::Discard(pair), ..start };
        let emitted = emit::emit(&pair.start, &pair.layout, settings)?;
        program.companions.push(object(&emitted, Arc::clone(&discard.hook), &pair.layout, options, text));
    }
    program.state = Some(StateMap {
        kind: pair.state.kind,
        key_bytes: pair.start_keys.len() as u32 * 8,
        value_bytes: u32::from(pair.value.bytes),
        ends: pair.state.discard.is_some(),
    });
    Ok((program, stack_bytes))
}
