//! Order and equality of `jsonb`: numbers by their value, what is longer behind what is shorter, and objects last.

use std::cmp::Ordering;

use arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::ScalarUDF;

use super::read::{Value, Written, read};
use super::write::ordered;
use super::{Kind, external};
use crate::functions::by_row::ByRow;

/// The functions that comparisons are.
pub(super) fn all() -> Vec<ScalarUDF> {
    type Holds = fn(Ordering) -> bool;
    let functions: [(&'static str, Holds); 6] = [
        ("jsonb_eq", Ordering::is_eq),
        ("jsonb_ne", Ordering::is_ne),
        ("jsonb_lt", Ordering::is_lt),
        ("jsonb_le", Ordering::is_le),
        ("jsonb_gt", Ordering::is_gt),
        ("jsonb_ge", Ordering::is_ge),
    ];
    let made = functions.into_iter().map(|(name, holds)| {
        ByRow::typed(name, 2..=2, DataType::Boolean, move |_, fields, values| {
            let left = Kind::Jsonb.document(&fields[0], &values[0])?;
            let right = Kind::Jsonb.document(&fields[1], &values[1])?;
            Ok(ScalarValue::Boolean(Some(holds(compare_texts(&left, &right)?))))
        })
        .into_udf()
    });
    made.collect()
}

fn compare_texts(left: &str, right: &str) -> Result<Ordering> {
    if left == right {
        return Ok(Ordering::Equal);
    }
    let (left, right) = (read(left).map_err(external)?, read(right).map_err(external)?);
    Ok(compare_documents(&left, &right))
}

/// Whether values are the same.
pub(super) fn equal(left: &Written, right: &Written) -> bool {
    compare(left, right).is_eq()
}

/// At the top a lone value is an array of one, which comes before other arrays of one; so an empty array comes before it.
fn compare_documents(left: &Written, right: &Written) -> Ordering {
    let lone = |value: &Written| !matches!(value.value, Value::Array(_) | Value::Object(_));
    let length = |value: &Written| match &value.value {
        Value::Array(elements) => elements.len(),
        _ => 1,
    };
    match (&left.value, &right.value) {
        (Value::Array(_), Value::Object(_)) | (Value::Object(_), _) | (_, Value::Object(_)) => compare(left, right),
        _ if lone(left) == lone(right) => compare(left, right),
        _ => length(left).cmp(&length(right)).then(lone(right).cmp(&lone(left))),
    }
}

fn rank(value: &Written) -> u8 {
    match value.value {
        Value::Null => 0,
        Value::String(_) => 1,
        Value::Number => 2,
        Value::Boolean(_) => 3,
        Value::Array(_) => 4,
        Value::Object(_) => 5,
    }
}

fn compare(left: &Written, right: &Written) -> Ordering {
    match (&left.value, &right.value) {
        (Value::String(left), Value::String(right)) => left.cmp(right),
        (Value::Number, Value::Number) => compare_numbers(left.text, right.text),
        (Value::Boolean(left), Value::Boolean(right)) => left.cmp(right),
        (Value::Array(left), Value::Array(right)) => left.len().cmp(&right.len()).then_with(|| {
            let pairs = left.iter().zip(right).map(|(left, right)| compare(left, right));
            pairs.fold(Ordering::Equal, Ordering::then)
        }),
        (Value::Object(left), Value::Object(right)) => {
            let (left, right) = (ordered(left), ordered(right));
            left.len().cmp(&right.len()).then_with(|| {
                let pairs = left.iter().zip(&right);
                let pairs = pairs.map(|((left_key, left), (right_key, right))| {
                    left_key.cmp(right_key).then_with(|| compare(left, right))
                });
                pairs.fold(Ordering::Equal, Ordering::then)
            })
        }
        _ => rank(left).cmp(&rank(right)),
    }
}

/// Numbers without exponents, of any length.
fn compare_numbers(left: &str, right: &str) -> Ordering {
    let parts = |text: &str| {
        let unsigned = text.strip_prefix('-').unwrap_or(text);
        let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
        let (whole, fraction) = (whole.trim_start_matches('0').to_owned(), fraction.trim_end_matches('0').to_owned());
        let negative = text.starts_with('-') && !(whole.is_empty() && fraction.is_empty());
        (negative, whole, fraction)
    };
    let ((left_negative, left_whole, left_fraction), (right_negative, right_whole, right_fraction)) =
        (parts(left), parts(right));
    let size = || {
        let whole = left_whole.len().cmp(&right_whole.len()).then_with(|| left_whole.cmp(&right_whole));
        whole.then_with(|| left_fraction.cmp(&right_fraction))
    };
    match (left_negative, right_negative) {
        (false, false) => size(),
        (true, true) => size().reverse(),
        (left, right) => right.cmp(&left),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // PostgreSQL 16: `SELECT x ORDER BY x`.
    #[test]
    fn values_are_in_the_order_of_postgresql() {
        let sorted = [
            "[]",
            "null",
            "\"b\"",
            "-2.5",
            "-2",
            "0.05",
            "0.5",
            "2",
            "10",
            "false",
            "true",
            "[1]",
            "[2]",
            "[1, 2]",
            "{}",
            "{\"a\": 1}",
            "{\"b\": 0}",
            "{\"a\": 1, \"b\": 2}",
        ];
        for (left_at, left) in sorted.iter().enumerate() {
            for (right_at, right) in sorted.iter().enumerate() {
                assert_eq!(compare_texts(left, right).unwrap(), left_at.cmp(&right_at), "{left} {right}");
            }
        }
        assert!(compare_texts("1.0", "1.00").unwrap().is_eq());
        assert!(compare_texts("-0.0", "0").unwrap().is_eq());
    }
}
