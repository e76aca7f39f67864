//! What EXPLAIN says about a pair: both hooks, where the start waits and why, and which filter runs where.

use super::hook_lines;
use crate::compile::CompiledProbe;
use crate::compile::pair::Pair;
use crate::compile::split::KernelFilter;
use crate::object::{STATE_ENTRIES_MAX, StateKind};

/// Where starts wait, in words.
pub(super) fn place(kind: StateKind) -> &'static str {
    match kind {
        StateKind::TaskStorage => "task storage",
        StateKind::PerCpu => "an entry per CPU",
        StateKind::Hash => "a hash",
    }
}

/// The lines before the end's own.
pub(super) fn lines(pair: &Pair, probe: &CompiledProbe) -> Vec<String> {
    let mut lines = hook_lines("Start", &pair.hook);
    if let Some(end) = probe.object.companions.first() {
        lines.extend(hook_lines("End", &end.hook));
    }
    let bytes = pair.value.bytes;
    let size = match pair.state.kind {
        StateKind::TaskStorage => format!("{bytes} bytes a thread"),
        StateKind::PerCpu => format!("{bytes} bytes a CPU"),
        StateKind::Hash => {
            let all = u64::from(STATE_ENTRIES_MAX) * (u64::from(bytes) + pair.start_keys.len() as u64 * 8);
            format!("{bytes} bytes a start, at most {STATE_ENTRIES_MAX} starts, {all} bytes")
        }
    };
    lines.push(format!("Pair: on {}, in {}: {size}", pair.key_texts.join(" AND "), place(pair.state.kind)));
    lines.push(format!("  Why: {}", pair.state.reason));
    if let Some(discard) = &pair.state.discard {
        lines.push(format!("  Dropped at: {}", discard.hook));
    }
    if !pair.counts_unpaired_end {
        lines.push("  An end without a start is not counted: its start may have been filtered out".to_owned());
    }
    let at_both = |text: &str| pair.shared.iter().any(|shared| shared.text == text);
    for filter in &pair.start.kernel_filters {
        let place = if at_both(&filter.text) { "at both ends" } else { "at the start" };
        lines.push(format!("Filter in kernel {place}: {}", filter.text));
    }
    let at_end = |filter: &&KernelFilter| pair.start.kernel_filters.iter().all(|start| start.text != filter.text);
    for filter in pair.shared.iter().filter(at_end) {
        lines.push(format!("Ends a pair where: {}", filter.text));
    }
    lines
}
