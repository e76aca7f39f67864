//! From when to when gaps are filled: the call's `start` and `finish`, or what WHERE asks of the time.

use std::fmt;

use arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::expr::Cast;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{BinaryExpr, Expr, LogicalPlan, Operator};

/// Which end of the range a bound is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum End {
    /// The least time in it.
    Start,
    /// The first time behind it.
    Finish,
}

/// One end of the range; of several at an end the narrowest counts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Bound {
    pub(super) end: End,
    /// A time, the same for all rows.
    pub(super) expr: Expr,
    /// What is added to it: 1 where `time > x` excludes or `time <= x` includes the time itself.
    pub(super) add_ns: i64,
}

impl Bound {
    /// A bound by an expression that is cast to the type of the time column.
    pub(super) fn new(end: End, expr: Expr, add_ns: i64, time_type: &DataType) -> Bound {
        let expr = Expr::Cast(Cast::new(Box::new(expr), time_type.clone()));
        Bound { end, expr, add_ns }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = match self.end {
            End::Start => "from",
            End::Finish => "to",
        };
        write!(f, "{end} {}", self.expr)
    }
}

/// What the filters right below a plan's aggregate ask of `time`.
pub(super) fn of_filters(mut input: &LogicalPlan, time: &Expr, time_type: &DataType) -> Vec<Bound> {
    let mut bounds = Vec::new();
    while let LogicalPlan::Filter(filter) = input {
        for condition in split_conjunction(&filter.predicate) {
            of_condition(condition, time, time_type, &mut bounds);
        }
        input = &filter.input;
    }
    bounds
}

fn of_condition(condition: &Expr, time: &Expr, time_type: &DataType, bounds: &mut Vec<Bound>) {
    let mut push = |end, expr: &Expr, add_ns| {
        if is_constant(expr) {
            bounds.push(Bound::new(end, expr.clone(), add_ns, time_type));
        }
    };
    match condition {
        Expr::Between(between) if !between.negated && is_time(&between.expr, time) => {
            push(End::Start, &between.low, 0);
            push(End::Finish, &between.high, 1);
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let (op, other) = if is_time(left, time) {
                (*op, right)
            } else if is_time(right, time) {
                let Some(op) = op.swap() else { return };
                (op, left)
            } else {
                return;
            };
            match op {
                Operator::GtEq => push(End::Start, other, 0),
                Operator::Gt => push(End::Start, other, 1),
                Operator::Lt => push(End::Finish, other, 0),
                Operator::LtEq => push(End::Finish, other, 1),
                _ => {}
            }
        }
        _ => {}
    }
}

/// The time itself, cast or not.
fn is_time(expr: &Expr, time: &Expr) -> bool {
    match expr {
        Expr::Cast(cast) => is_time(&cast.expr, time),
        other => other == time,
    }
}

/// Whether it has the same value for all rows; a parameter has.
fn is_constant(expr: &Expr) -> bool {
    let mut constant = true;
    let visited: Result<TreeNodeRecursion> = expr.apply(|part| {
        let varies = matches!(
            part,
            Expr::Column(_)
                | Expr::OuterReferenceColumn(..)
                | Expr::ScalarSubquery(_)
                | Expr::Exists(_)
                | Expr::InSubquery(_)
                | Expr::AggregateFunction(_)
                | Expr::WindowFunction(_)
        );
        constant &= !varies;
        Ok(if varies { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    visited.is_ok() && constant
}
