//! Literals of times, intervals and arrays in the forms that the planner reads; what is written as a clause as a call.

use arrow::datatypes::IntervalMonthDayNano;
use datafusion::sql::sqlparser::ast::{
    Array, ArrayElemTypeDef, BinaryOperator, DataType, Expr, Interval, TimezoneInfo, TypedString, UnaryOperator, Value,
    ValueWithSpan,
};

use super::postgres::{call, cast};
use crate::functions::moment::TIMESTAMPTZ_IN;
use crate::functions::regex::SUBSTRING;
use crate::functions::written;

/// Rewrites one expression; what is none of these stays.
pub(super) fn rewrite(expr: Expr) -> Expr {
    match expr {
        Expr::AtTimeZone { timestamp, time_zone } => call("timezone", vec![*time_zone, *timestamp]),
        Expr::TypedString(TypedString { data_type, value, uses_odbc_syntax }) => {
            match text(&value).and_then(|text| literal(text, &data_type)) {
                Some(literal) => literal,
                None => Expr::TypedString(TypedString { data_type, value, uses_odbc_syntax }),
            }
        }
        Expr::Cast { expr, data_type, kind, array, format } => {
            match constant(&expr).and_then(|text| literal(text, &data_type)) {
                Some(literal) => literal,
                None => Expr::Cast { expr, data_type, kind, array, format },
            }
        }
        Expr::Substring { expr, substring_from: Some(pattern), substring_for: None, .. }
            if constant(&pattern).is_some() =>
        {
            call(SUBSTRING, vec![*expr, *pattern])
        }
        Expr::Interval(interval) => Expr::Interval(plain_interval(interval)),
        // The planner would put the sign before the first part alone.
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => match *expr {
            Expr::Interval(interval) => match constant(&interval.value).and_then(written::interval) {
                Some(read) => {
                    let IntervalMonthDayNano { months, days, nanoseconds } = read;
                    Expr::Interval(plain(&IntervalMonthDayNano::new(-months, -days, -nanoseconds)))
                }
                None => Expr::UnaryOp { op: UnaryOperator::Minus, expr: Box::new(Expr::Interval(interval)) },
            },
            other => Expr::UnaryOp { op: UnaryOperator::Minus, expr: Box::new(other) },
        },
        // A text beside a time is read as a time by the operator, which a range is not.
        Expr::Between { expr, negated: false, low, high }
            if is_name(&expr) && (constant(&low).is_some() || constant(&high).is_some()) =>
        {
            let compared = |op, bound| Expr::BinaryOp { left: expr.clone(), op, right: bound };
            Expr::Nested(Box::new(Expr::BinaryOp {
                left: Box::new(compared(BinaryOperator::GtEq, low)),
                op: BinaryOperator::And,
                right: Box::new(compared(BinaryOperator::LtEq, high)),
            }))
        }
        other => other,
    }
}

fn is_name(expr: &Expr) -> bool {
    matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_))
}

fn text(value: &ValueWithSpan) -> Option<&str> {
    match &value.value {
        Value::SingleQuotedString(text) => Some(text),
        _ => None,
    }
}

fn constant(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Value(value) => text(value),
        Expr::Nested(inner) => constant(inner),
        _ => None,
    }
}

/// A text that is read as a type of time; `None` for other types, and for texts that are told as wrong by the planner.
fn literal(text: &str, data_type: &DataType) -> Option<Expr> {
    match data_type {
        DataType::Array(ArrayElemTypeDef::SquareBracket(..)) => {
            let elements = crate::functions::array_elements(text)?.into_iter();
            let elem = elements.map(|element| element.map_or(Expr::Value(Value::Null.into()), string)).collect();
            Some(cast(Expr::Array(Array { elem, named: true }), data_type.clone()))
        }
        DataType::Interval { .. } => {
            let interval = written::interval(text)?;
            Some(Expr::Interval(plain(&interval)))
        }
        DataType::Timestamp(..) | DataType::Custom(..) if is_moment(data_type) => {
            written::time(text)?;
            Some(call(TIMESTAMPTZ_IN, vec![string(text.to_owned())]))
        }
        DataType::Timestamp(_, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => {
            let (local, _) = written::time(text)?;
            let time = crate::functions::zone::naive(local).format("%Y-%m-%d %H:%M:%S%.9f").to_string();
            let value = Value::SingleQuotedString(time).into();
            let data_type = DataType::Timestamp(None, TimezoneInfo::None);
            Some(Expr::TypedString(TypedString { data_type, value, uses_odbc_syntax: false }))
        }
        _ => None,
    }
}

fn is_moment(data_type: &DataType) -> bool {
    match data_type {
        DataType::Timestamp(_, zone) => matches!(zone, TimezoneInfo::Tz | TimezoneInfo::WithTimeZone),
        DataType::Custom(name, _) => super::postgres::last(name) == "timestamptz",
        _ => false,
    }
}

fn string(text: String) -> Expr {
    Expr::Value(Value::SingleQuotedString(text).into())
}

/// An interval in the one form that the planner reads without loss.
fn plain(interval: &IntervalMonthDayNano) -> Interval {
    let IntervalMonthDayNano { months, days, nanoseconds } = interval;
    Interval {
        value: Box::new(string(format!("{months} months {days} days {nanoseconds} nanoseconds"))),
        leading_field: None,
        leading_precision: None,
        last_field: None,
        fractional_seconds_precision: None,
    }
}

fn plain_interval(interval: Interval) -> Interval {
    let is_plain = interval.leading_field.is_none() && interval.last_field.is_none();
    match constant(&interval.value).filter(|_| is_plain).and_then(written::interval) {
        Some(read) => plain(&read),
        None => interval,
    }
}
