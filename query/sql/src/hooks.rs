//! Which table names are hooks of the kernel, and which statements read them.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{ObjectName, Query, visit_relations};

use crate::names::folded;

/// The schemas whose tables are hooks. Their names are reserved (42939).
pub const SCHEMAS: [&str; 12] = [
    "tracepoint",
    "tp_btf",
    "raw_tracepoint",
    "fentry",
    "fexit",
    "kprobe",
    "kretprobe",
    "lsm",
    "iter",
    "uprobe",
    "uretprobe",
    "usdt",
];

/// Says whether `name` is a hook: `tracepoint.sys_enter_openat`, `tracepoint.sched.sched_process_exec`.
pub fn is_hook(name: &ObjectName) -> bool {
    name.0.len() >= 2 && name.0[0].as_ident().is_some_and(|schema| SCHEMAS.contains(&folded(schema).as_str()))
}

/// Says whether any relation of the query is a hook, at any depth.
pub fn mentions_hook(query: &Query) -> bool {
    visit_relations(query, |name| if is_hook(name) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        .is_break()
}
