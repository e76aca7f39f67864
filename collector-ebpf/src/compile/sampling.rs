//! Functions in FROM: `profile(hertz)` and `perf('event', period)`, whose arguments say what is sampled and how often.

use datafusion::sql::sqlparser::ast::{self, Expr, Spanned, UnaryOperator, Value};
use datafusion::sql::sqlparser::tokenizer::Span;
use probepilot_sql::{SqlError, SqlState};

use super::clauses::HookClause;
use super::position;
use crate::kernel::{Hook, HookKind, sampling};

/// The hook of a function in FROM.
///
/// # Errors
/// 22023 for arguments that make no sense, 0A000 for those that are no literals.
pub fn hook(clause: &HookClause, arguments: &[Expr], text: &str) -> Result<Hook, SqlError> {
    let at = |error: SqlError, span: Span| error.at(position::of_span(text, span));
    let name = clause.name.last().map_or("", String::as_str);
    if name == HookKind::Profile.schema() {
        let [hertz] = arguments else {
            let message = "profile takes one argument: the samples a second of each CPU";
            return Err(at(wrong(message).hint("Write, for instance, profile(99)."), clause.span));
        };
        let number = integer(hertz).map_err(|error| at(error, hertz.span()))?;
        return sampling::profile(number).map_err(|error| at(error, hertz.span()));
    }
    let [event, period] = arguments else {
        let message = "perf takes two arguments: a software event and how many of it make a sample";
        return Err(at(wrong(message).hint("Write, for instance, perf('page-faults', 100)."), clause.span));
    };
    let event_span = event.span();
    let event = match event {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(name) => Ok(name),
            _ => Err(wrong("the event of perf must be text, such as 'page-faults'")),
        },
        other => Err(no_literal(other)),
    };
    let event = event.and_then(|name| sampling::software_event(name)).map_err(|error| at(error, event_span))?;
    let number = integer(period).map_err(|error| at(error, period.span()))?;
    sampling::perf(event, number).map_err(|error| at(error, period.span()))
}

fn wrong(message: impl Into<String>) -> SqlError {
    SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message)
}

fn no_literal(expression: &Expr) -> SqlError {
    SqlError::unsupported(format!("{expression} is no literal")).hint("What is sampled is settled before a query runs.")
}

fn integer(expression: &Expr) -> Result<i128, SqlError> {
    match expression {
        Expr::Nested(inner) => integer(inner),
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => integer(expr).map(|number| -number),
        Expr::Value(ast::ValueWithSpan { value: Value::Number(digits, _), .. }) => {
            // What is too large for this is too large for everybody.
            digits.parse::<u64>().map(i128::from).map_err(|_| wrong(format!("{digits} is no whole number")))
        }
        Expr::Value(ast::ValueWithSpan { value: Value::Placeholder(_), .. }) => Err(no_literal(expression)),
        Expr::Value(value) => Err(wrong(format!("{value} is no whole number"))),
        other => Err(no_literal(other)),
    }
}
