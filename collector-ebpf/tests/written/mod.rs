//! Statements as tests write them, compiled for the running kernel.
#![allow(dead_code, reason = "not every test needs all of it")]

use std::sync::Arc;

use datafusion::sql::sqlparser::ast;
use probepilot_collector_ebpf::compile::{CompileOptions, CompiledProbe, compile};
use probepilot_collector_ebpf::functions::ProcessFacts;
use probepilot_collector_ebpf::functions::process::NoFacts;
use probepilot_collector_ebpf::kernel::Kernel;
use probepilot_sql::statement::{ProbeQuery, Statement};

/// The query of `CREATE PROBE` or of a `SELECT`, and whether it is stored: the former's are.
pub fn query(sql: &str) -> (ProbeQuery, bool) {
    match probepilot_sql::parse_one(sql).unwrap() {
        Statement::CreateProbe(probe) => (probe.query, true),
        Statement::Sql(statement) => match *statement {
            ast::Statement::Query(query) => (ProbeQuery { text: sql.into(), query, comments: Vec::new() }, false),
            other => panic!("{other} is no query"),
        },
        other => panic!("{other:?} is no query"),
    }
}

/// No process is left out, and no row says how many events it stands for.
pub fn options(stored: bool) -> CompileOptions {
    CompileOptions { name: "written".into(), node: "here".into(), excluded_tgid: None, stored, weighted: false }
}

/// Processes of which nothing is known.
pub fn no_facts() -> Arc<dyn ProcessFacts> {
    Arc::new(NoFacts)
}

/// The statement's program.
#[track_caller]
pub fn compiled(kernel: &Kernel, sql: &str) -> CompiledProbe {
    compiled_as(kernel, sql, query(sql).1)
}

/// The same, stored or not whatever the statement is.
#[track_caller]
pub fn compiled_as(kernel: &Kernel, sql: &str, stored: bool) -> CompiledProbe {
    compile(&query(sql).0, kernel, &no_facts(), &options(stored))
        .unwrap_or_else(|error| panic!("{sql}: {error} {:?}", error.hint))
}
