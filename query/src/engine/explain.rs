//! `EXPLAIN` as PostgreSQL shapes it: one column of text, a line per row.

use std::sync::Arc;
use std::time::Instant;

use datafusion::common::Result;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::display::DisplayableExecutionPlan;
use datafusion::physical_plan::execute_stream;
use datafusion::sql::sqlparser::ast::{AnalyzeFormat, AnalyzeFormatKind, Expr, UtilityOption, Value};
use futures::StreamExt;
use probepilot_sql::{SqlError, SqlState};

/// What `EXPLAIN` should do.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Options {
    analyze: bool,
    verbose: bool,
    json: bool,
}

impl Options {
    /// Reads both spellings: words before the statement, options in parentheses.
    pub fn read(
        analyze: bool,
        verbose: bool,
        format: Option<&AnalyzeFormatKind>,
        options: Option<&[UtilityOption]>,
    ) -> std::result::Result<Options, SqlError> {
        let mut read = Options { analyze, verbose, json: false };
        if let Some(AnalyzeFormatKind::Keyword(format) | AnalyzeFormatKind::Assignment(format)) = format {
            read.json = matches!(format, AnalyzeFormat::JSON);
        }
        for option in options.unwrap_or_default() {
            let on = option.arg.as_ref().is_none_or(is_on);
            match option.name.value.to_lowercase().as_str() {
                "analyze" => read.analyze = on,
                "verbose" => read.verbose = on,
                "format" => match option.arg.as_ref().map(|arg| arg.to_string().to_lowercase()).as_deref() {
                    Some("text") => read.json = false,
                    Some("json") => read.json = true,
                    _ => return Err(SqlError::unsupported("EXPLAIN knows the formats text and json")),
                },
                // Nothing of ours has these, and clients ask for them as a matter of course.
                "buffers" | "costs" | "settings" | "summary" | "timing" | "wal" | "generic_plan" => {}
                other => {
                    let message = format!("unrecognized EXPLAIN option \"{other}\"");
                    return Err(SqlError::new(SqlState::SYNTAX_ERROR, message));
                }
            }
        }
        Ok(read)
    }
}

fn is_on(value: &Expr) -> bool {
    match value {
        Expr::Value(value) => match &value.value {
            Value::Boolean(value) => *value,
            other => !matches!(other.to_string().as_str(), "0" | "'off'" | "'false'"),
        },
        other => !other.to_string().eq_ignore_ascii_case("off"),
    }
}

/// The lines of the plan; with `analyze` it is run to the end first and its rows are thrown away.
pub(super) async fn lines(state: &SessionState, plan: &LogicalPlan, options: &Options) -> Result<Vec<String>> {
    let started = Instant::now();
    let optimized = state.optimize(plan)?;
    let physical = state.query_planner().create_physical_plan(&optimized, state).await?;
    let planned = started.elapsed();
    let mut executed = None;
    if options.analyze {
        let started = Instant::now();
        let mut rows = execute_stream(Arc::clone(&physical), state.task_ctx())?;
        while let Some(batch) = rows.next().await {
            batch?;
        }
        executed = Some(started.elapsed());
    }
    let shown = match options.analyze {
        true => DisplayableExecutionPlan::with_metrics(physical.as_ref()),
        false => DisplayableExecutionPlan::new(physical.as_ref()),
    };
    if options.json {
        let plan = serde_json::json!([{ "Plan": { "Logical": optimized.display_indent().to_string().lines().collect::<Vec<_>>(),
            "Physical": shown.indent(options.verbose).to_string().lines().collect::<Vec<_>>() } }]);
        return Ok(vec![plan.to_string()]);
    }
    let mut lines = Vec::new();
    if options.verbose {
        lines.extend(optimized.display_indent_schema().to_string().lines().map(str::to_owned));
    }
    lines.extend(shown.indent(options.verbose).to_string().lines().map(str::to_owned));
    let milliseconds = |time: std::time::Duration| format!("{:.3} ms", time.as_secs_f64() * 1e3);
    if let Some(executed) = executed {
        lines.push(format!("Planning Time: {}", milliseconds(planned)));
        lines.push(format!("Execution Time: {}", milliseconds(executed)));
    }
    Ok(lines)
}
