//! The compiler's tests: refusals with their places, goldens of what it decides, and programs that are run.

mod differential; // Random expressions and rows: our instructions against DataFusion.
mod goldens; // Plan split, record layout, costs on the fixture kernel.
mod enumerations; // Text to the user, numbers to the kernel; elements of arrays.
mod marks; // Who has `truncated` and `probe_error`.
mod rows; // Records through decoder and the part after the kernel.
mod parameters; // Types of `$1`.
mod refusals; // What is refused, where, and with which hint.
mod bad_input; // Whatever is written, an answer and never a panic.

use std::path::Path;
use std::sync::Arc;

use datafusion::sql::sqlparser::ast;
use probepilot_sql::SqlError;
use probepilot_sql::statement::{ProbeQuery, Statement};

use super::{CompileOptions, CompiledProbe, compile};
use crate::functions::ProcessFacts;
use crate::functions::process::NoFacts;
use crate::kernel::Kernel;

/// The small kernel under `tests/fixture`.
pub fn fixture_kernel() -> Kernel {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixture");
    let btf = std::fs::read(fixture.join("vmlinux.btf")).unwrap();
    Kernel::from_parts(fixture.join("events"), btf).unwrap()
}

/// A query or a CREATE PROBE as the parser gives it.
pub fn probe_query(sql: &str) -> ProbeQuery {
    match probepilot_sql::parse_one(sql).unwrap() {
        Statement::CreateProbe(probe) => probe.query,
        Statement::Sql(statement) => match *statement {
            ast::Statement::Query(query) => ProbeQuery { text: sql.into(), query, comments: Vec::new() },
            other => panic!("{other} is no query"),
        },
        other => panic!("{other:?} is no query"),
    }
}

pub fn facts() -> Arc<dyn ProcessFacts> {
    Arc::new(NoFacts)
}

pub fn compile_on(kernel: &Kernel, sql: &str, stored: bool) -> Result<CompiledProbe, SqlError> {
    let options =
        CompileOptions { name: "test".into(), node: "here".into(), excluded_tgid: Some(4242), stored, weighted: false };
    compile(&probe_query(sql), kernel, &facts(), &options)
}
