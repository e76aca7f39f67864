//! Until when a query runs: an upper bound on `time` ends it.

use datafusion::common::ScalarValue;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};
use probepilot_sql::SqlError;

use crate::compile::names::{Content, Scope};
use crate::compile::position;
use crate::compile::split::Planned;

/// The earliest upper bound on `time` among the conjuncts, Unix nanoseconds.
pub fn until(conjuncts: &[Planned], scope: &Scope<'_>) -> Option<i64> {
    conjuncts.iter().filter_map(|conjunct| bound(&conjunct.expr, scope)).filter_map(Bound::upper).min()
}

/// Takes the bounds on `time` out of the conjuncts: no event is compared with them, as the window's ends do that.
///
/// # Errors
/// A query begins when it is attached: a lower bound after that is refused, and an upper one before it.
pub fn take(conjuncts: Vec<Planned>, scope: &Scope<'_>) -> Result<(Vec<Planned>, Option<i64>), SqlError> {
    let until_unix_ns = until(&conjuncts, scope);
    let now_ns = crate::clock::unix_now_ns();
    let mut others = Vec::new();
    for conjunct in conjuncts {
        match bound(&conjunct.expr, scope) {
            None => others.push(conjunct),
            Some(Bound::Upper(unix_ns)) if unix_ns > now_ns => {}
            Some(Bound::Upper(_)) => {
                return Err(SqlError::unsupported("a query on a hook has no past, and the bound on time is over")
                    .hint("Write a moment to come, as in time < now() + interval '5 s'.")
                    .at(position::of_span(scope.text, conjunct.span)));
            }
            Some(Bound::Lower(unix_ns)) if unix_ns <= now_ns => {}
            Some(Bound::Lower(_)) => {
                return Err(SqlError::unsupported("a query on a hook begins at once")
                    .hint("Leave the lower bound on time out.")
                    .at(position::of_span(scope.text, conjunct.span)));
            }
        }
    }
    Ok((others, until_unix_ns))
}

enum Bound {
    /// Events before it.
    Upper(i64),
    /// Events from it on.
    Lower(i64),
}

impl Bound {
    fn upper(self) -> Option<i64> {
        match self {
            Bound::Upper(unix_ns) => Some(unix_ns),
            Bound::Lower(_) => None,
        }
    }
}

fn bound(expr: &Expr, scope: &Scope<'_>) -> Option<Bound> {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = expr else { return None };
    let (unix_ns, is_upper) = match (is_time(left, scope), moment(right), moment(left), is_time(right, scope)) {
        (true, Some(moment), _, _) => (moment, matches!(op, Operator::Lt | Operator::LtEq)),
        (_, _, Some(moment), true) => (moment, matches!(op, Operator::Gt | Operator::GtEq)),
        _ => return None,
    };
    if !matches!(op, Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq) {
        return None;
    }
    Some(if is_upper { Bound::Upper(unix_ns) } else { Bound::Lower(unix_ns) })
}

fn is_time(expr: &Expr, scope: &Scope<'_>) -> bool {
    match expr {
        Expr::Column(name) => {
            scope.columns.iter().any(|column| column.name == name.name && column.content == Content::Time)
        }
        Expr::Cast(cast) => is_time(&cast.expr, scope),
        _ => false,
    }
}

fn moment(expr: &Expr) -> Option<i64> {
    match expr {
        Expr::Literal(ScalarValue::TimestampNanosecond(moment, _), _) => *moment,
        Expr::Literal(ScalarValue::TimestampMicrosecond(Some(moment), _), _) => moment.checked_mul(1_000),
        Expr::Literal(ScalarValue::TimestampMillisecond(Some(moment), _), _) => moment.checked_mul(1_000_000),
        Expr::Literal(ScalarValue::TimestampSecond(Some(moment), _), _) => moment.checked_mul(1_000_000_000),
        _ => None,
    }
}
