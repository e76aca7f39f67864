//! Which table names are hooks of the kernel, and which statements read them.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{ObjectName, Query, TableFactor, Visit, Visitor};

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

/// Hooks that are functions in FROM, as what they sample is said by arguments: `profile(99)`. As tables their names are free.
pub const FUNCTIONS: [&str; 2] = ["profile", "perf"];

/// Says whether `name` is that of a hook which takes arguments.
pub fn is_function(name: &ObjectName) -> bool {
    match name.0.as_slice() {
        [only] => only.as_ident().is_some_and(|name| FUNCTIONS.contains(&folded(name).as_str())),
        _ => false,
    }
}

/// Says whether what stands in FROM is a hook.
pub fn is_hook_factor(factor: &TableFactor) -> bool {
    match factor {
        TableFactor::Table { name, args: None, .. } => is_hook(name),
        TableFactor::Table { name, args: Some(_), .. } => is_function(name),
        _ => false,
    }
}

/// Says whether any relation of the query is a hook, at any depth.
pub fn mentions_hook(query: &Query) -> bool {
    struct Search;
    impl Visitor for Search {
        type Break = ();

        fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
            if is_hook_factor(factor) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        }
    }
    query.visit(&mut Search).is_break()
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::ast::Statement as Sql;

    use super::mentions_hook;
    use crate::statement::Statement;

    #[track_caller]
    fn check(sql: &str, expected: bool) {
        let Statement::Sql(statement) = crate::parse_one(sql).unwrap() else { panic!("{sql} is no plain SQL") };
        let Sql::Query(query) = *statement else { panic!("{sql} is no query") };
        assert_eq!(mentions_hook(&query), expected, "{sql}");
    }

    #[test]
    fn functions_are_hooks_and_tables_of_the_same_name_are_not() {
        check("SELECT 1 FROM tracepoint.sched_switch", true);
        check("SELECT 1 FROM profile(99)", true);
        check("SELECT 1 FROM (SELECT 2 FROM t, LATERAL (SELECT 1 FROM PERF('page-faults', 1) p) x) y", true);
        check("SELECT 1 WHERE EXISTS (SELECT 1 FROM profile())", true);
        check("SELECT 1 FROM profile", false);
        check("SELECT profile(99) FROM perf", false);
        check("SELECT 1 FROM generate_series(1, 2) profile", false);
        check("SELECT 1 FROM public.profile", false);
    }
}
