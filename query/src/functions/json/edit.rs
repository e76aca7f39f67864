//! `jsonb` with parts put in and taken out: `||`, `-`, `#-`, `jsonb_set`, `jsonb_insert`.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::ScalarUDF;
use probepilot_sql::{SqlError, SqlState};

use super::read::{Value, Written, read};
use super::write::quote;
use super::{Kind, external, refused, steps};
use crate::functions::by_row::{ByRow, number, text, utf8};

/// The functions that operators are, and those that PostgreSQL names.
pub(super) fn all() -> Vec<ScalarUDF> {
    let functions = [
        edit("jsonb_concat", 2..=2, |fields, values| {
            let (left, right) = (document(fields, values, 0)?, document(fields, values, 1)?);
            Ok(concat(&read(&left).map_err(external)?, &read(&right).map_err(external)?))
        }),
        edit("jsonb_delete", 2..=2, |fields, values| {
            let whole = document(fields, values, 0)?;
            let whole = read(&whole).map_err(external)?;
            match &values[1] {
                ScalarValue::List(_) => without_keys(&whole, &steps(&values[1])?),
                index if index.data_type().is_integer() => without_element(&whole, number(index).unwrap_or_default()),
                key => without_keys(&whole, &[text(key).map(str::to_owned)]),
            }
        }),
        edit("jsonb_delete_path", 2..=2, |fields, values| {
            let (whole, steps) = (document(fields, values, 0)?, steps(&values[1])?);
            let whole = read(&whole).map_err(external)?;
            change(&whole, &steps, &Change::Delete, "cannot delete path in scalar")
        }),
        edit("jsonb_set", 3..=4, |fields, values| {
            let (whole, steps, new) = (document(fields, values, 0)?, steps(&values[1])?, document(fields, values, 2)?);
            let create = values.get(3).is_none_or(is_true);
            let whole = read(&whole).map_err(external)?;
            change(&whole, &steps, &Change::Set { new: &new, create }, "cannot set path in scalar")
        }),
        edit("jsonb_insert", 3..=4, |fields, values| {
            let (whole, steps, new) = (document(fields, values, 0)?, steps(&values[1])?, document(fields, values, 2)?);
            let after = values.get(3).is_some_and(is_true);
            let whole = read(&whole).map_err(external)?;
            change(&whole, &steps, &Change::Insert { new: &new, after }, "cannot set path in scalar")
        }),
    ];
    functions.into_iter().map(ByRow::into_udf).collect()
}

fn edit(
    name: &'static str,
    arguments: RangeInclusive<usize>,
    body: fn(&[FieldRef], &[ScalarValue]) -> Result<String>,
) -> ByRow {
    ByRow::typed(name, arguments, DataType::Utf8, move |_, fields, values| Ok(utf8(body(fields, values)?)))
        .of_type(Kind::Jsonb.name())
}

fn document<'v>(fields: &[FieldRef], values: &'v [ScalarValue], index: usize) -> Result<std::borrow::Cow<'v, str>> {
    Kind::Jsonb.document(&fields[index], &values[index])
}

fn is_true(value: &ScalarValue) -> bool {
    matches!(value, ScalarValue::Boolean(Some(true)))
}

/// The members of an object in the order of jsonb, as texts.
type Members = BTreeMap<(usize, String), String>;

fn members(members: &[(String, Written)]) -> Members {
    members.iter().map(|(key, value)| (place(key), value.text.to_owned())).collect()
}

fn place(key: &str) -> (usize, String) {
    (key.len(), key.to_owned())
}

fn object(members: &Members) -> String {
    let mut out = String::from("{");
    for (index, ((_, key), value)) in members.iter().enumerate() {
        out.push_str(if index > 0 { ", " } else { "" });
        quote(key, &mut out);
        out.push_str(": ");
        out.push_str(value);
    }
    out.push('}');
    out
}

fn array(elements: &[String]) -> String {
    format!("[{}]", elements.join(", "))
}

fn texts(elements: &[Written]) -> Vec<String> {
    elements.iter().map(|element| element.text.to_owned()).collect()
}

/// Objects are merged, the right one's members stay; all else are arrays put together, a value beside one as its only element.
fn concat(left: &Written, right: &Written) -> String {
    if let (Value::Object(left), Value::Object(right)) = (&left.value, &right.value) {
        let mut merged = members(left);
        merged.extend(members(right));
        return object(&merged);
    }
    let elements = |value: &Written| match &value.value {
        Value::Array(elements) => texts(elements),
        _ => vec![value.text.to_owned()],
    };
    array(&[elements(left), elements(right)].concat())
}

fn without_keys(whole: &Written, keys: &[Option<String>]) -> Result<String> {
    let is_key = |text: &str| keys.iter().flatten().any(|key| key == text);
    match &whole.value {
        Value::Object(of_object) => {
            let mut kept = members(of_object);
            kept.retain(|(_, key), _| !is_key(key));
            Ok(object(&kept))
        }
        Value::Array(elements) => {
            let kept = elements.iter().filter(|element| !matches!(&element.value, Value::String(text) if is_key(text)));
            Ok(array(&kept.map(|element| element.text.to_owned()).collect::<Vec<_>>()))
        }
        _ => Err(refused(SqlState::INVALID_PARAMETER_VALUE, "cannot delete from scalar")),
    }
}

fn without_element(whole: &Written, index: i64) -> Result<String> {
    match &whole.value {
        Value::Array(elements) => {
            let mut kept = texts(elements);
            if let Some(at) = position(index, kept.len()).filter(|at| *at < kept.len()) {
                kept.remove(at);
            }
            Ok(array(&kept))
        }
        Value::Object(_) => {
            Err(refused(SqlState::INVALID_PARAMETER_VALUE, "cannot delete from object using integer index"))
        }
        _ => Err(refused(SqlState::INVALID_PARAMETER_VALUE, "cannot delete from scalar")),
    }
}

/// An index from the start; `None` before it.
fn position(index: i64, length: usize) -> Option<usize> {
    let length = i64::try_from(length).ok()?;
    let from_start = if index < 0 { index.checked_add(length)? } else { index };
    usize::try_from(from_start).ok()
}

/// What is done at the end of a path.
enum Change<'a> {
    Delete,
    Set { new: &'a str, create: bool },
    Insert { new: &'a str, after: bool },
}

fn change(whole: &Written, steps: &[Option<String>], change: &Change, scalar: &str) -> Result<String> {
    match whole.value {
        Value::Object(_) | Value::Array(_) => changed(whole, steps, 0, change),
        _ => Err(refused(SqlState::INVALID_PARAMETER_VALUE, scalar)),
    }
}

fn changed(value: &Written, steps: &[Option<String>], level: usize, change: &Change) -> Result<String> {
    let Some(step) = steps.get(level) else { return Ok(value.text.to_owned()) };
    let last = level + 1 == steps.len();
    let place_of_step = level + 1;
    if matches!(value.value, Value::Object(_) | Value::Array(_)) && step.is_none() {
        let message = format!("path element at position {place_of_step} is null");
        return Err(refused(SqlState("22004"), message));
    }
    let step = step.as_deref().unwrap_or_default();
    match &value.value {
        Value::Object(of_object) => {
            let mut made = members(of_object);
            match (value.member(step), change) {
                (Some(member), _) if !last => {
                    made.insert(place(step), changed(member, steps, level + 1, change)?);
                }
                (Some(_), Change::Delete) => drop(made.remove(&place(step))),
                (Some(_), Change::Insert { .. }) => {
                    let error = SqlError::new(SqlState::INVALID_PARAMETER_VALUE, "cannot replace existing key");
                    return Err(external(error.hint("Try using the function jsonb_set to replace key value.")));
                }
                (Some(_), Change::Set { new, .. })
                | (None, Change::Set { new, create: true } | Change::Insert { new, .. })
                    if last =>
                {
                    made.insert(place(step), (*new).to_owned());
                }
                _ => {}
            }
            Ok(object(&made))
        }
        Value::Array(elements) => {
            let Ok(index) = step.trim_start().parse::<i32>() else {
                let message = format!("path element at position {place_of_step} is not an integer: \"{step}\"");
                return Err(refused(SqlState::INVALID_TEXT_REPRESENTATION, message));
            };
            let mut made = texts(elements);
            let at = position(i64::from(index), made.len());
            match (at.filter(|at| *at < made.len()), change) {
                (Some(at), _) if !last => made[at] = changed(&elements[at], steps, level + 1, change)?,
                (Some(at), Change::Delete) => drop(made.remove(at)),
                (Some(at), Change::Set { new, .. }) => made[at] = (*new).to_owned(),
                (Some(at), Change::Insert { new, after }) => made.insert(at + usize::from(*after), (*new).to_owned()),
                (None, Change::Set { new, create: true } | Change::Insert { new, .. }) if last => {
                    made.insert(if at.is_none() { 0 } else { made.len() }, (*new).to_owned());
                }
                _ => {}
            }
            Ok(array(&made))
        }
        _ => Ok(value.text.to_owned()),
    }
}
