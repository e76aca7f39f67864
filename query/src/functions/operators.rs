//! Operators on times, intervals, JSON, arrays and addresses that mean in PostgreSQL what the planner does not know.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::functions_nested::array_has::array_has_any_udf;
use datafusion::logical_expr::expr::{Cast, ScalarFunction};
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{Expr, ExprSchemable, ScalarUDF};
use datafusion::sql::sqlparser::ast::BinaryOperator;
use probepilot_sql::SqlType;

use super::by_row::text;
use super::{inet, interval, json, moment, written};

/// Reads text beside a time as a time, and makes calls of operators that are functions here.
#[derive(Debug)]
pub(crate) struct Operators {
    timestamptz_in: Arc<ScalarUDF>,
    interval_times: Arc<ScalarUDF>,
    network_sub: Arc<ScalarUDF>,
}

impl Operators {
    /// The planner of operators.
    pub(crate) fn new() -> Operators {
        Operators {
            timestamptz_in: Arc::new(moment::timestamptz_in()),
            interval_times: Arc::new(interval::interval_times()),
            network_sub: Arc::new(inet::network_sub()),
        }
    }
}

fn is_date(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Date32 | DataType::Date64)
}

fn is_interval(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Interval(_) | DataType::Duration(_))
}

impl ExprPlanner for Operators {
    fn plan_binary_op(&self, mut expr: RawBinaryExpr, schema: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
        use BinaryOperator as Op;
        let (Ok(left), Ok(right)) = (expr.left.get_type(schema), expr.right.get_type(schema)) else {
            return Ok(PlannerResult::Original(expr));
        };
        let compares = matches!(expr.op, Op::Eq | Op::NotEq | Op::Lt | Op::LtEq | Op::Gt | Op::GtEq);
        let same_type = compares || expr.op == Op::Minus;
        if same_type && let Some(time) = self.as_time(&expr.left, &right) {
            expr.left = time;
        } else if same_type && let Some(time) = self.as_time(&expr.right, &left) {
            expr.right = time;
        } else if compares
            && is_interval(&right)
            && let Some(interval) = as_interval(&expr.left)
        {
            expr.left = interval;
        } else if compares
            && is_interval(&left)
            && let Some(interval) = as_interval(&expr.right)
        {
            expr.right = interval;
        }
        let call = |function: &Arc<ScalarUDF>, args| {
            Ok(PlannerResult::Planned(Expr::ScalarFunction(ScalarFunction::new_udf(Arc::clone(function), args))))
        };
        if let Some(function) = json::operator(&expr.op, &expr.left, &expr.right, schema)? {
            return call(&function, vec![expr.left, expr.right]);
        }
        match expr.op {
            // A date and an interval are a time.
            Op::Plus | Op::Minus if is_date(&left) && is_interval(&right) => {
                expr.left = as_timestamp(expr.left);
            }
            Op::Plus if is_interval(&left) && is_date(&right) => {
                expr.right = as_timestamp(expr.right);
            }
            Op::Multiply if is_interval(&left) && right.is_numeric() => {
                return call(&self.interval_times, vec![expr.left, expr.right]);
            }
            Op::Multiply if is_interval(&right) && left.is_numeric() => {
                return call(&self.interval_times, vec![expr.right, expr.left]);
            }
            Op::Divide if is_interval(&left) && right.is_numeric() => {
                let divides = Expr::Literal(ScalarValue::Boolean(Some(true)), None);
                return call(&self.interval_times, vec![expr.left, expr.right, divides]);
            }
            Op::PGOverlap if matches!(left, DataType::List(_)) => {
                return call(&array_has_any_udf(), vec![expr.left, expr.right]);
            }
            Op::PGBitwiseShiftLeft if is_inet(&expr.left, schema)? => {
                return call(&self.network_sub, vec![expr.left, expr.right]);
            }
            Op::PGBitwiseShiftRight if is_inet(&expr.left, schema)? => {
                return call(&self.network_sub, vec![expr.right, expr.left]);
            }
            _ => {}
        }
        Ok(PlannerResult::Original(expr))
    }
}

/// Whether an expression is an address, which has the type of a text here.
fn is_inet(expr: &Expr, schema: &DFSchema) -> Result<bool> {
    let (_, field) = expr.to_field(schema)?;
    Ok(SqlType::of_field(&field) == Some(SqlType::Inet))
}

/// A text literal that is an interval.
pub(crate) fn as_interval(literal: &Expr) -> Option<Expr> {
    let Expr::Literal(value, _) = literal else { return None };
    let interval = written::interval(text(value)?)?;
    Some(Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(interval)), None))
}

fn as_timestamp(expr: Expr) -> Expr {
    let timestamp = DataType::Timestamp(arrow::datatypes::TimeUnit::Nanosecond, None);
    Expr::Cast(Cast::new(Box::new(expr), timestamp))
}

impl Operators {
    /// A text literal beside a time, as a time of its type; `None` when it is none, or of a form that is told as wrong later.
    fn as_time(&self, literal: &Expr, other: &DataType) -> Option<Expr> {
        let Expr::Literal(value, _) = literal else { return None };
        let text = text(value)?;
        let DataType::Timestamp(_, zone) = other else { return None };
        let (local, written_zone) = written::time(text)?;
        let time = |time, zone| Some(Expr::Literal(ScalarValue::TimestampNanosecond(Some(time), zone), None));
        match (zone, written_zone) {
            // A zone behind a time without zone is not looked at.
            (None, _) => time(local, None),
            (Some(zone), Some(written)) => time(written.unix_ns(local)?, Some(Arc::clone(zone))),
            (Some(_), None) => {
                let args = vec![literal.clone()];
                Some(Expr::ScalarFunction(ScalarFunction::new_udf(Arc::clone(&self.timestamptz_in), args)))
            }
        }
    }
}
