//! What operators and functions find in a value.

use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::ScalarUDF;
use probepilot_sql::SqlState;

use super::compare::equal;
use super::read::{Value, Written, read};
use super::write::{ordered, pretty};
use super::{Kind, external, refused, steps};
use crate::functions::by_row::{ByRow, number, text};

/// Steps of a path in a call at most.
const STEPS_MAX: usize = 100;

/// The functions that operators are, and those that PostgreSQL names.
pub(super) fn all() -> Vec<ScalarUDF> {
    let mut functions = vec![
        textual("json_get", 2..=2, |fields, values| {
            with(own(fields), fields, values, |whole, kind| at(whole, &values[1], kind).map(as_it_is))
        })
        .of_type_by(|fields| Some(own(fields).name())),
        textual("json_get_text", 2..=2, |fields, values| {
            with(own(fields), fields, values, |whole, kind| at(whole, &values[1], kind)?.plain())
        }),
        textual("json_get_path", 2..=2, |fields, values| {
            let steps = steps(&values[1])?;
            with(own(fields), fields, values, |whole, _| along(whole, &steps).map(as_it_is))
        })
        .of_type_by(|fields| Some(own(fields).name())),
        textual("json_get_path_text", 2..=2, |fields, values| {
            let steps = steps(&values[1])?;
            with(own(fields), fields, values, |whole, _| along(whole, &steps)?.plain())
        }),
        test("jsonb_contains", |fields, values| contained(&fields[0], &values[0], &fields[1], &values[1])),
        test("jsonb_contained", |fields, values| contained(&fields[1], &values[1], &fields[0], &values[0])),
        test("jsonb_exists", |fields, values| has(fields, values, |has| text(&values[1]).is_some_and(has))),
        test("jsonb_exists_any", |fields, values| {
            let keys = steps(&values[1])?;
            has(fields, values, |has| keys.iter().flatten().any(|key| has(key)))
        }),
        test("jsonb_exists_all", |fields, values| {
            let keys = steps(&values[1])?;
            has(fields, values, |has| keys.iter().flatten().all(|key| has(key)))
        }),
        textual("jsonb_pretty", 1..=1, |fields, values| {
            with(Kind::Jsonb, fields, values, |whole, _| Some(pretty(whole)))
        }),
    ];
    for kind in [Kind::Json, Kind::Jsonb] {
        functions.extend(of_kind(kind));
        functions.extend(parts(kind));
    }
    functions.into_iter().map(ByRow::into_udf).collect()
}

fn textual(
    name: &'static str,
    arguments: std::ops::RangeInclusive<usize>,
    body: impl Fn(&[FieldRef], &[ScalarValue]) -> Result<ScalarValue> + Send + Sync + 'static,
) -> ByRow {
    ByRow::typed(name, arguments, DataType::Utf8, move |_, fields, values| body(fields, values))
}

fn test(name: &'static str, body: fn(&[FieldRef], &[ScalarValue]) -> Result<ScalarValue>) -> ByRow {
    ByRow::typed(name, 2..=2, DataType::Boolean, move |_, fields, values| body(fields, values))
}

fn of_kind(kind: Kind) -> Vec<ByRow> {
    let words = |values: &[ScalarValue]| -> Vec<Option<String>> {
        values.iter().map(|value| Some(text(value).map_or_else(|| value.to_string(), str::to_owned))).collect()
    };
    vec![
        textual(kind.pick("json_extract_path", "jsonb_extract_path"), 1..=STEPS_MAX, move |fields, values| {
            let steps = words(&values[1..]);
            with(kind, fields, values, |whole, _| along(whole, &steps).map(as_it_is))
        })
        .of_type(kind.name()),
        textual(
            kind.pick("json_extract_path_text", "jsonb_extract_path_text"),
            1..=STEPS_MAX,
            move |fields, values| {
                let steps = words(&values[1..]);
                with(kind, fields, values, |whole, _| along(whole, &steps)?.plain())
            },
        ),
        ByRow::typed(
            kind.pick("json_array_length", "jsonb_array_length"),
            1..=1,
            DataType::Int32,
            move |_, fields, values| {
                let document = kind.document(&fields[0], &values[0])?;
                match &read(&document).map_err(external)?.value {
                    Value::Array(elements) => Ok(ScalarValue::Int32(i32::try_from(elements.len()).ok())),
                    Value::Object(_) => {
                        Err(refused(SqlState::INVALID_PARAMETER_VALUE, "cannot get array length of a non-array"))
                    }
                    _ => Err(refused(SqlState::INVALID_PARAMETER_VALUE, "cannot get array length of a scalar")),
                }
            },
        ),
        textual(kind.pick("json_typeof", "jsonb_typeof"), 1..=1, move |fields, values| {
            with(kind, fields, values, |whole, _| {
                let name = match whole.value {
                    Value::Null => "null",
                    Value::Boolean(_) => "boolean",
                    Value::Number => "number",
                    Value::String(_) => "string",
                    Value::Array(_) => "array",
                    Value::Object(_) => "object",
                };
                Some(name.to_owned())
            })
        }),
    ]
}

/// What a value is made of, as arrays: the rewriter makes rows of them.
fn parts(kind: Kind) -> Vec<ByRow> {
    type Show = fn(&str, &Written) -> Option<String>;
    let elements: [(&'static str, Show); 2] = [
        (kind.pick("array_of_json_elements", "array_of_jsonb_elements"), |_, value| Some(as_it_is(value))),
        (kind.pick("array_of_json_elements_text", "array_of_jsonb_elements_text"), |_, value| value.plain()),
    ];
    let members: [(&'static str, Show); 3] = [
        (kind.pick("array_of_json_keys", "array_of_jsonb_keys"), |key, _| Some(key.to_owned())),
        (kind.pick("array_of_json_values", "array_of_jsonb_values"), |_, value| Some(as_it_is(value))),
        (kind.pick("array_of_json_values_text", "array_of_jsonb_values_text"), |_, value| value.plain()),
    ];
    let texts = || DataType::new_list(DataType::Utf8, true);
    let elements = elements.into_iter().map(|(name, show)| {
        ByRow::typed(name, 1..=1, texts(), move |_, fields, values| {
            let document = kind.document(&fields[0], &values[0])?;
            match &read(&document).map_err(external)?.value {
                Value::Array(elements) => Ok(shown(elements.iter().map(|value| show("", value)))),
                Value::Object(_) => Err(refused(
                    SqlState::INVALID_PARAMETER_VALUE,
                    kind.pick("cannot deconstruct an object as an array", "cannot extract elements from an object"),
                )),
                _ => Err(refused(
                    SqlState::INVALID_PARAMETER_VALUE,
                    kind.pick("cannot deconstruct a scalar", "cannot extract elements from a scalar"),
                )),
            }
        })
    });
    let members = members.into_iter().map(|(name, show)| {
        ByRow::typed(name, 1..=1, texts(), move |_, fields, values| {
            let document = kind.document(&fields[0], &values[0])?;
            match &read(&document).map_err(external)?.value {
                Value::Object(members) => Ok(shown(members.iter().map(|(key, value)| show(key, value)))),
                Value::Array(_) => {
                    Err(refused(SqlState::INVALID_PARAMETER_VALUE, "cannot take the members of an array"))
                }
                _ => Err(refused(SqlState::INVALID_PARAMETER_VALUE, "cannot take the members of a scalar")),
            }
        })
    });
    elements.chain(members).collect()
}

fn shown(texts: impl Iterator<Item = Option<String>>) -> ScalarValue {
    let texts: Vec<ScalarValue> = texts.map(ScalarValue::Utf8).collect();
    ScalarValue::List(ScalarValue::new_list_nullable(&texts, &DataType::Utf8))
}

/// The type of the first argument; what is neither is read as `jsonb`.
fn own(fields: &[FieldRef]) -> Kind {
    Kind::of_field(&fields[0]).unwrap_or(Kind::Jsonb)
}

/// Reads the first argument, and gives the text that is found in it.
fn with(
    kind: Kind,
    fields: &[FieldRef],
    values: &[ScalarValue],
    find: impl FnOnce(&Written, Kind) -> Option<String>,
) -> Result<ScalarValue> {
    let document = kind.document(&fields[0], &values[0])?;
    Ok(ScalarValue::Utf8(find(&read(&document).map_err(external)?, kind)))
}

fn as_it_is(written: &Written) -> String {
    written.text.to_owned()
}

/// The member of an object by its key, or the element of an array by its number from 0, from the end when it is negative.
/// A lone value of `jsonb` is its own element.
fn at<'w, 'a>(value: &'w Written<'a>, key: &ScalarValue, kind: Kind) -> Option<&'w Written<'a>> {
    match (&value.value, text(key)) {
        (Value::Object(_), Some(key)) => value.member(key),
        (Value::Array(elements), None) => element(elements, number(key)?),
        (Value::Object(_) | Value::Array(_), _) => None,
        (_, None) if kind == Kind::Jsonb => matches!(number(key)?, 0 | -1).then_some(value),
        _ => None,
    }
}

fn element<'w, 'a>(elements: &'w [Written<'a>], index: i64) -> Option<&'w Written<'a>> {
    let index = if index < 0 { index.checked_add(i64::try_from(elements.len()).ok()?)? } else { index };
    elements.get(usize::try_from(index).ok()?)
}

/// What lies at the end of a path of keys and numbers.
fn along<'w, 'a>(mut value: &'w Written<'a>, steps: &[Option<String>]) -> Option<&'w Written<'a>> {
    for step in steps {
        let step = step.as_deref()?;
        value = match &value.value {
            Value::Object(_) => value.member(step)?,
            Value::Array(elements) => element(elements, step.trim().parse().ok()?)?,
            _ => return None,
        };
    }
    Some(value)
}

/// Whether keys of an object, or texts in an array, are there.
fn has(
    fields: &[FieldRef],
    values: &[ScalarValue],
    test: impl FnOnce(&dyn Fn(&str) -> bool) -> bool,
) -> Result<ScalarValue> {
    let document = Kind::Jsonb.document(&fields[0], &values[0])?;
    let whole = read(&document).map_err(external)?;
    let is = |value: &Written, key: &str| matches!(&value.value, Value::String(text) if text == key);
    let there = |key: &str| match &whole.value {
        Value::Object(_) => whole.member(key).is_some(),
        Value::Array(elements) => elements.iter().any(|element| is(element, key)),
        _ => is(&whole, key),
    };
    Ok(ScalarValue::Boolean(Some(test(&there))))
}

fn contained(
    whole_field: &FieldRef,
    whole: &ScalarValue,
    part_field: &FieldRef,
    part: &ScalarValue,
) -> Result<ScalarValue> {
    let (whole, part) = (Kind::Jsonb.document(whole_field, whole)?, Kind::Jsonb.document(part_field, part)?);
    let (whole, part) = (read(&whole).map_err(external)?, read(&part).map_err(external)?);
    Ok(ScalarValue::Boolean(Some(contains(&whole, &part, true))))
}

/// Whether all of `part` is in `whole`: members by their keys, elements anywhere. At the top an array contains a lone value.
fn contains(whole: &Written, part: &Written, top: bool) -> bool {
    match (&whole.value, &part.value) {
        (Value::Object(_), Value::Object(part)) => ordered(part)
            .into_iter()
            .all(|(key, part)| whole.member(key).is_some_and(|whole| contains(whole, part, false))),
        (Value::Array(whole), Value::Array(part)) => {
            part.iter().all(|part| whole.iter().any(|whole| contains(whole, part, false)))
        }
        (Value::Array(_), Value::Object(_)) => false,
        (Value::Array(elements), _) if top => elements.iter().any(|element| equal(element, part)),
        _ => equal(whole, part),
    }
}
