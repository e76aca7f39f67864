//! Functions that do not exist are found before planning, so that the error has its code and place.

use std::ops::ControlFlow;

use datafusion::execution::session_state::SessionState;
use datafusion::sql::sqlparser::ast::{Expr, Statement, visit_expressions};
use datafusion::sql::sqlparser::tokenizer::Span;
use probepilot_sql::names::folded;
use probepilot_sql::{SqlError, SqlState};

/// Names the planner itself knows.
const OF_THE_PLANNER: [&str; 4] = ["unnest", "grouping", "array", "row"];

/// A name that is nowhere: where it stands, and what is similar.
#[derive(Debug)]
pub struct UnknownFunction {
    /// The function's name.
    pub name: String,
    /// Where it stands.
    pub span: Span,
}

/// Finds the first function that is not known.
pub fn check_functions(statement: &Statement, state: &SessionState) -> Result<(), UnknownFunction> {
    let known = |name: &str| {
        state.scalar_functions().contains_key(name)
            || state.aggregate_functions().contains_key(name)
            || state.window_functions().contains_key(name)
            || state.higher_order_functions().contains_key(name)
            || OF_THE_PLANNER.contains(&name)
    };
    let found = visit_expressions(statement, |expr| {
        let Expr::Function(function) = expr else { return ControlFlow::Continue(()) };
        let Some(name) = function.name.0.last().and_then(|part| part.as_ident()) else {
            return ControlFlow::Continue(());
        };
        let folded = folded(name);
        if known(&folded) {
            return ControlFlow::Continue(());
        }
        ControlFlow::Break(UnknownFunction { name: folded, span: name.span })
    });
    match found {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(unknown) => Err(unknown),
    }
}

/// Where a function is first called.
pub fn span_of_call(statement: &Statement, name: &str) -> Option<Span> {
    let found = visit_expressions(statement, |expr| match expr {
        Expr::Function(function) => match function.name.0.last().and_then(|part| part.as_ident()) {
            Some(called) if folded(called) == name => ControlFlow::Break(called.span),
            _ => ControlFlow::Continue(()),
        },
        _ => ControlFlow::Continue(()),
    });
    found.break_value()
}

impl UnknownFunction {
    /// As the user is told.
    pub fn error(&self) -> SqlError {
        SqlError::new(SqlState::UNDEFINED_FUNCTION, format!("function {} does not exist", self.name))
    }
}
