//! What operators and functions find in a value.

use std::sync::Arc;
use std::sync::LazyLock;

use arrow::array::Array;
use arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::ScalarUDF;
use datafusion::sql::sqlparser::ast::BinaryOperator;
use probepilot_sql::SqlState;
use serde_json::Value;

use super::write::{compact, plain};
use super::{read, refused};
use crate::functions::array_elements;
use crate::functions::by_row::{Body, ByRow, list, number, text, utf8};

/// The functions that operators are, and those of that name.
pub(super) fn all() -> Vec<ScalarUDF> {
    let json =
        |name, min, max, body: Body| ByRow::new(name, min, max, DataType::Utf8, body).of_type("jsonb").into_udf();
    let textual = |name, min, max, body: Body| ByRow::new(name, min, max, DataType::Utf8, body).into_udf();
    let test = |name, body: Body| ByRow::new(name, 2, 2, DataType::Boolean, body).into_udf();
    let mut functions = vec![
        json("json_get", 2, 2, |_, values| found(at(&read(&values[0])?, &values[1]), |value| Some(compact(value)))),
        textual("json_get_text", 2, 2, |_, values| found(at(&read(&values[0])?, &values[1]), plain)),
        json("json_get_path", 2, 2, |_, values| {
            found(along(&read(&values[0])?, &steps(&values[1])?), |value| Some(compact(value)))
        }),
        textual("json_get_path_text", 2, 2, |_, values| found(along(&read(&values[0])?, &steps(&values[1])?), plain)),
        test("json_contains", |_, values| truth(contains(&read(&values[0])?, &read(&values[1])?, true))),
        test("json_has", |_, values| truth(text(&values[1]).is_some_and(|key| has(&values[0], key)))),
        test("json_has_any", |_, values| {
            let keys = steps(&values[1])?;
            truth(keys.iter().any(|key| has(&values[0], key)))
        }),
        test("json_has_all", |_, values| {
            let keys = steps(&values[1])?;
            truth(keys.iter().all(|key| has(&values[0], key)))
        }),
    ];
    for prefix in ["json", "jsonb"] {
        let name = |end: &str| -> &'static str { name_of(prefix, end) };
        functions.extend([
            json(name("extract_path"), 1, 16, |_, values| {
                found(along(&read(&values[0])?, &words(&values[1..])), |value| Some(compact(value)))
            }),
            textual(name("extract_path_text"), 1, 16, |_, values| {
                found(along(&read(&values[0])?, &words(&values[1..])), plain)
            }),
            ByRow::new(name("array_length"), 1, 1, DataType::Int32, |_, values| {
                let length = elements(&values[0], "cannot get array length of a non-array")?.len();
                Ok(ScalarValue::Int32(i32::try_from(length).ok()))
            })
            .into_udf(),
            textual(name("typeof"), 1, 1, |_, values| {
                Ok(utf8(match read(&values[0])? {
                    Value::Null => "null",
                    Value::Bool(_) => "boolean",
                    Value::Number(_) => "number",
                    Value::String(_) => "string",
                    Value::Array(_) => "array",
                    Value::Object(_) => "object",
                }))
            }),
        ]);
    }
    // What a value is made of, as arrays: the rewriter makes rows of them.
    let parts = |name, body: Body| ByRow::new(name, 1, 1, DataType::new_list(DataType::Utf8, true), body).into_udf();
    functions.extend([
        parts("array_of_json_elements", |_, values| {
            shown(elements(&values[0], NO_ARRAY)?.iter(), |value| Some(compact(value)))
        }),
        parts("array_of_json_elements_text", |_, values| shown(elements(&values[0], NO_ARRAY)?.iter(), plain)),
        parts("array_of_json_keys", |_, values| {
            Ok(list(&members(&values[0])?.into_iter().map(|(key, _)| key).collect::<Vec<_>>()))
        }),
        parts("array_of_json_values", |_, values| {
            shown(members(&values[0])?.iter().map(|(_, value)| value), |value| Some(compact(value)))
        }),
        parts("array_of_json_values_text", |_, values| {
            shown(members(&values[0])?.iter().map(|(_, value)| value), plain)
        }),
    ]);
    functions
}

const NO_ARRAY: &str = "cannot extract elements from a non-array";

/// Values as an array of their texts.
fn shown<'a>(values: impl Iterator<Item = &'a Value>, show: impl Fn(&Value) -> Option<String>) -> Result<ScalarValue> {
    let texts: Vec<ScalarValue> = values.map(|value| ScalarValue::Utf8(show(value))).collect();
    Ok(ScalarValue::List(ScalarValue::new_list_nullable(&texts, &DataType::Utf8)))
}

/// The members of an object in the order of jsonb: by the length of their keys, then by bytes.
fn members(value: &ScalarValue) -> Result<Vec<(String, Value)>> {
    match read(value)? {
        Value::Object(members) => {
            let mut members: Vec<(String, Value)> = members.into_iter().collect();
            members.sort_by(|(a, _), (b, _)| (a.len(), a).cmp(&(b.len(), b)));
            Ok(members)
        }
        _ => Err(refused(SqlState::INVALID_PARAMETER_VALUE, "cannot take the members of a non-object")),
    }
}

/// The name of a function for `json` or `jsonb`.
fn name_of(prefix: &str, end: &str) -> &'static str {
    const NAMES: [&str; 8] = [
        "json_extract_path",
        "json_extract_path_text",
        "json_array_length",
        "json_typeof",
        "jsonb_extract_path",
        "jsonb_extract_path_text",
        "jsonb_array_length",
        "jsonb_typeof",
    ];
    let wanted = format!("{prefix}_{end}");
    NAMES.into_iter().find(|name| *name == wanted).expect("the names of both types stand in the list")
}

/// The function that an operator on JSON is, and whether its operands change places.
pub(in crate::functions) fn operator(op: &BinaryOperator) -> Option<(Arc<ScalarUDF>, bool)> {
    static FUNCTIONS: LazyLock<Vec<Arc<ScalarUDF>>> = LazyLock::new(|| all().into_iter().map(Arc::new).collect());
    let (name, swapped) = match op {
        BinaryOperator::Arrow => ("json_get", false),
        BinaryOperator::LongArrow => ("json_get_text", false),
        BinaryOperator::HashArrow => ("json_get_path", false),
        BinaryOperator::HashLongArrow => ("json_get_path_text", false),
        BinaryOperator::AtArrow => ("json_contains", false),
        BinaryOperator::ArrowAt => ("json_contains", true),
        BinaryOperator::Question => ("json_has", false),
        BinaryOperator::QuestionPipe => ("json_has_any", false),
        BinaryOperator::QuestionAnd => ("json_has_all", false),
        _ => return None,
    };
    let function = FUNCTIONS.iter().find(|function| function.name() == name)?;
    Some((Arc::clone(function), swapped))
}

fn truth(value: bool) -> Result<ScalarValue> {
    Ok(ScalarValue::Boolean(Some(value)))
}

/// A part as text, NULL when it is not there.
fn found(part: Option<&Value>, show: impl Fn(&Value) -> Option<String>) -> Result<ScalarValue> {
    Ok(ScalarValue::Utf8(part.and_then(show)))
}

/// The member of an object by its key, or the element of an array by its number from 0, from the end when it is negative.
fn at<'a>(value: &'a Value, key: &ScalarValue) -> Option<&'a Value> {
    match (value, text(key)) {
        (Value::Object(members), Some(key)) => members.get(key),
        (Value::Array(elements), None) => element(elements, number(key)?),
        _ => None,
    }
}

fn element(elements: &[Value], index: i64) -> Option<&Value> {
    let index = if index < 0 { index.checked_add(i64::try_from(elements.len()).ok()?)? } else { index };
    elements.get(usize::try_from(index).ok()?)
}

/// What lies at the end of a path of keys and numbers.
fn along<'a>(mut value: &'a Value, steps: &[String]) -> Option<&'a Value> {
    for step in steps {
        value = match value {
            Value::Object(members) => members.get(step)?,
            Value::Array(elements) => element(elements, step.trim().parse().ok()?)?,
            _ => return None,
        };
    }
    Some(value)
}

/// The texts of an array, or of a literal such as `{a,b}`.
fn steps(value: &ScalarValue) -> Result<Vec<String>> {
    if let Some(literal) = text(value) {
        return match array_elements(literal) {
            Some(elements) => Ok(elements.into_iter().flatten().collect()),
            None => {
                Err(refused(SqlState::INVALID_TEXT_REPRESENTATION, format!("malformed array literal: \"{literal}\"")))
            }
        };
    }
    let ScalarValue::List(array) = value else { return Ok(Vec::new()) };
    let elements = array.value(0);
    let texts = (0..elements.len()).map(|row| ScalarValue::try_from_array(&elements, row));
    Ok(words(&texts.collect::<Result<Vec<_>>>()?))
}

fn words(values: &[ScalarValue]) -> Vec<String> {
    values.iter().map(|value| text(value).map_or_else(|| value.to_string(), str::to_owned)).collect()
}

fn elements(value: &ScalarValue, otherwise: &str) -> Result<Vec<Value>> {
    match read(value)? {
        Value::Array(elements) => Ok(elements),
        _ => Err(refused(SqlState::INVALID_PARAMETER_VALUE, otherwise)),
    }
}

/// Whether a key of an object, or a text in an array, is there.
fn has(value: &ScalarValue, key: &str) -> bool {
    match read(value) {
        Ok(Value::Object(members)) => members.contains_key(key),
        Ok(Value::Array(elements)) => elements.iter().any(|element| element.as_str() == Some(key)),
        Ok(Value::String(text)) => text == key,
        _ => false,
    }
}

/// Whether all of `part` is in `whole`: members by their keys, elements anywhere. At the top an array contains a lone value.
fn contains(whole: &Value, part: &Value, top: bool) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => {
            part.iter().all(|(key, part)| whole.get(key).is_some_and(|whole| contains(whole, part, false)))
        }
        (Value::Array(whole), Value::Array(part)) => {
            part.iter().all(|part| whole.iter().any(|whole| contains(whole, part, false)))
        }
        (Value::Array(whole), part) if top && !part.is_object() => whole.contains(part),
        (Value::Number(whole), Value::Number(part)) => whole == part || whole.as_f64() == part.as_f64(),
        (whole, part) => whole == part,
    }
}
