//! Random and broken text: the compiler answers whatever is written, and never panics.

use std::fmt::Write;

use proptest::prelude::*;

use super::{CompileOptions, compile, facts, fixture_kernel};
use crate::decode::ClockOffset;
use crate::kernel::Kernel;
use crate::windows::Window;
use probepilot_sql::statement::{ProbeQuery, Statement};

use datafusion::sql::sqlparser::ast;

/// Parses and compiles what may be nonsense; what compiles must explain itself and decode nothing to no rows.
fn try_compile(kernel: &Kernel, sql: &str, stored: bool) -> bool {
    let query = match probepilot_sql::parse_one(sql) {
        Ok(Statement::Sql(statement)) => match *statement {
            ast::Statement::Query(query) => ProbeQuery { text: sql.into(), query, comments: Vec::new() },
            _ => return false,
        },
        _ => return false,
    };
    let options =
        CompileOptions { name: "test".into(), node: "here".into(), excluded_tgid: Some(1), stored, weighted: false };
    match compile(&query, kernel, &facts(), &options) {
        Ok(probe) => {
            assert!(!probe.explain(true).is_empty());
            match probe.window_decoder() {
                None => assert_eq!(probe.decoder().finish(&ClockOffset::now()).unwrap().num_rows(), 0),
                Some(mut decoder) => {
                    let window = Window { start_unix_ns: 0, width_ns: 1, complete: true, keep: 0 };
                    assert!(decoder.finish(window, &ClockOffset::now()).unwrap().rows.num_rows() <= 1);
                }
            }
            true
        }
        Err(error) => {
            assert!(!error.message.is_empty() && error.state.0 != "XX000", "{sql}: {error:?}");
            false
        }
    }
}

const WORDS: &[&str] = &[
    "pid",
    "comm",
    "filename",
    "args.filename",
    "args",
    "flags",
    "time",
    "nsecs",
    "cgroup_id",
    "user_string(filename)",
    "user_string(filename, 10)",
    "user_string(pid)",
    "user_string(1)",
    "exe(pid)",
    "inet(comm)",
    "upper(comm)",
    "'x'",
    "'%'",
    "0",
    "1",
    "-1",
    "9223372036854775807",
    "99999999999999999999",
    "1.5",
    "NULL",
    "true",
    "=",
    "<>",
    "<",
    "+",
    "-",
    "*",
    "/",
    "%",
    "||",
    "->",
    ".",
    "(",
    ")",
    ",",
    "AND",
    "OR",
    "NOT",
    "IS NULL",
    "IS TRUE",
    "LIKE",
    "ILIKE",
    "IN",
    "BETWEEN",
    "CASE",
    "WHEN",
    "THEN",
    "ELSE",
    "END",
    "CAST(",
    "AS bigint)",
    "::text",
    "::int",
    "interval '1 day'",
    "coalesce(",
    "count(*)",
    "now()",
    "random()",
    "AS",
    "x",
    "*",
    "EXISTS",
    "ARRAY[1]",
    "[1]",
    "$1",
    "sum(pid) OVER ()",
];

fn words(most: usize) -> impl Strategy<Value = String> {
    proptest::collection::vec(proptest::sample::select(WORDS), 1..most).prop_map(|words| words.join(" "))
}

#[test]
fn no_text_makes_the_compiler_panic() {
    let kernel = fixture_kernel();
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 3_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let strategy = (words(8), proptest::option::of(words(8)), any::<bool>());
    runner
        .run(&strategy, |(items, filter, stored)| {
            let mut sql = format!("SELECT {items} FROM tracepoint.sys_enter_openat");
            if let Some(filter) = filter {
                write!(sql, " WHERE {filter}").unwrap();
            }
            try_compile(&kernel, &sql, stored);
            Ok(())
        })
        .unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn a_long_filter_is_run_or_refused() {
    let kernel = fixture_kernel();
    let (mut either, mut all) = (String::from("pid = 0"), String::from("pid <> 0"));
    let mut list = String::from("0");
    for number in 1..2_000 {
        write!(all, " AND tid <> {number}").unwrap();
        write!(list, ", {number}").unwrap();
    }
    let from = "SELECT pid FROM tracepoint.sys_enter_openat WHERE";
    assert!(try_compile(&kernel, &format!("{from} {all}"), true));
    assert!(try_compile(&kernel, &format!("{from} pid IN ({list})"), true));
    for number in 1..200 {
        write!(either, " OR tid + {number} = {number}").unwrap();
    }
    assert!(try_compile(&kernel, &format!("{from} {either}"), true));
    for number in 200..300 {
        write!(either, " OR tid + {number} = {number}").unwrap();
    }
    assert!(!try_compile(&kernel, &format!("{from} {either}"), true));
}
