//! Values put together: `to_json`, `json_build_array`, `json_build_object`, and values in other forms.

use arrow::array::Array;
use arrow::datatypes::{DataType, Field, FieldRef};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::ScalarUDF;
use probepilot_sql::{SqlError, SqlState};

use super::read::read;
use super::write::{normal, quote, without_nulls};
use super::{Kind, external, refused, steps};
use crate::functions::by_row::{ByRow, text, utf8};

/// Arguments of a call at most.
const ARGUMENTS_MAX: usize = 100;

/// All of them.
pub(super) fn all() -> Vec<ScalarUDF> {
    [Kind::Json, Kind::Jsonb].into_iter().flat_map(of_kind).map(ByRow::into_udf).collect()
}

fn of_kind(kind: Kind) -> [ByRow; 5] {
    let made = |name, arguments, body: fn(Kind, &[FieldRef], &[ScalarValue]) -> Result<String>| {
        ByRow::typed(name, arguments, DataType::Utf8, move |_, fields, values| {
            let text = body(kind, fields, values)?;
            match kind {
                Kind::Json => Ok(utf8(text)),
                Kind::Jsonb => Ok(utf8(normal(&text).map_err(external)?)),
            }
        })
        .of_type(kind.name())
    };
    [
        made(kind.pick("to_json", "to_jsonb"), 1..=1, |_, fields, values| value(&fields[0], &values[0])),
        made(kind.pick("json_strip_nulls", "jsonb_strip_nulls"), 1..=1, |kind, fields, values| {
            let document = kind.document(&fields[0], &values[0])?;
            let mut out = String::new();
            without_nulls(&read(&document).map_err(external)?, &mut out);
            Ok(out)
        }),
        made(kind.pick("json_build_array", "jsonb_build_array"), 0..=ARGUMENTS_MAX, |_, fields, values| {
            let elements = fields.iter().zip(values).map(|(field, element)| value(field, element));
            Ok(format!("[{}]", elements.collect::<Result<Vec<_>>>()?.join(", ")))
        })
        .with_nulls(),
        made(kind.pick("json_build_object", "jsonb_build_object"), 0..=ARGUMENTS_MAX, |kind, fields, values| {
            if values.len() % 2 != 0 {
                let message = "argument list must have even number of elements";
                let error = SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message);
                let name = kind.pick("json_build_object()", "jsonb_build_object()");
                return Err(external(
                    error.hint(format!("The arguments of {name} must consist of alternating keys and values.")),
                ));
            }
            let mut members = Vec::with_capacity(values.len() / 2);
            for (index, pair) in values.chunks(2).enumerate() {
                if pair[0].is_null() {
                    return Err(match kind {
                        Kind::Json => null_key(),
                        Kind::Jsonb => {
                            let message = format!("argument {}: key must not be null", index * 2 + 1);
                            refused(SqlState::INVALID_PARAMETER_VALUE, message)
                        }
                    });
                }
                let member = value(&fields[index * 2 + 1], &pair[1])?;
                members.push(format!("{} : {member}", key(&fields[index * 2], &pair[0])?));
            }
            Ok(format!("{{{}}}", members.join(", ")))
        })
        .with_nulls(),
        made(kind.pick("json_object", "jsonb_object"), 1..=2, |_, _, values| of_texts(values)),
    ]
}

pub(super) fn null_key() -> datafusion::common::DataFusionError {
    refused(SqlState("22004"), "null value not allowed for object key")
}

/// A key in quotes, which must not be NULL.
pub(super) fn key(field: &Field, key: &ScalarValue) -> Result<String> {
    if key.is_null() {
        return Err(null_key());
    }
    let shown = match text(key) {
        Some(text) => text.to_owned(),
        None => {
            let shown = value(field, key)?;
            shown.strip_prefix('"').and_then(|shown| shown.strip_suffix('"')).map_or(shown.clone(), str::to_owned)
        }
    };
    Ok(quoted(&shown))
}

fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    quote(text, &mut out);
    out
}

/// `{key,value,key,value}`, or keys and values apart.
fn of_texts(values: &[ScalarValue]) -> Result<String> {
    let wrong = |message: &str| refused(SqlState("2202E"), message);
    let first = steps(&values[0])?;
    let pairs: Vec<(Option<String>, Option<String>)> = match values.get(1) {
        Some(second) => {
            let second = steps(second)?;
            if first.len() != second.len() {
                return Err(wrong("mismatched array dimensions"));
            }
            first.into_iter().zip(second).collect()
        }
        None if first.len() % 2 != 0 => return Err(wrong("array must have even number of elements")),
        None => first.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect(),
    };
    let members = pairs.into_iter().map(|(key, value)| {
        let key = key.ok_or_else(null_key)?;
        Ok(format!("{} : {}", quoted(&key), value.map_or_else(|| "null".to_owned(), |value| quoted(&value))))
    });
    Ok(format!("{{{}}}", members.collect::<Result<Vec<_>>>()?.join(", ")))
}

/// A value of SQL as one of `json`: numbers, booleans, NULL, arrays and JSON as such, all else as text.
pub(super) fn value(field: &Field, value: &ScalarValue) -> Result<String> {
    if value.is_null() {
        return Ok("null".to_owned());
    }
    if Kind::of_field(field).is_some() {
        return Ok(text(value).unwrap_or("null").to_owned());
    }
    Ok(match value {
        ScalarValue::Boolean(Some(value)) => value.to_string(),
        ScalarValue::Float32(Some(number)) => float(f64::from(*number), &number.to_string(), &format!("{number:e}")),
        ScalarValue::Float64(Some(number)) => float(*number, &number.to_string(), &format!("{number:e}")),
        ScalarValue::List(list) => {
            let DataType::List(element) = field.data_type() else { return Ok("[]".to_owned()) };
            let elements = list.value(0);
            let values =
                (0..elements.len()).map(|row| self::value(element, &ScalarValue::try_from_array(&elements, row)?));
            format!("[{}]", values.collect::<Result<Vec<_>>>()?.join(","))
        }
        ScalarValue::Struct(row) => {
            let members = row.fields().iter().zip(row.columns()).map(|(field, column)| {
                let member = self::value(field, &ScalarValue::try_from_array(column, 0)?)?;
                Ok(format!("{}:{member}", quoted(field.name())))
            });
            format!("{{{}}}", members.collect::<Result<Vec<_>>>()?.join(","))
        }
        number if number.data_type().is_numeric() => number.to_array()?.as_ref().shown()?,
        other => match text(other) {
            Some(text) => quoted(text),
            None => quoted(&trimmed(&other.to_array()?.as_ref().shown()?)),
        },
    })
}

/// The first value of an array as text, times as ISO 8601 has them.
trait Shown {
    fn shown(&self) -> Result<String>;
}

impl Shown for dyn Array {
    fn shown(&self) -> Result<String> {
        let options = FormatOptions::default()
            .with_timestamp_tz_format(Some("%Y-%m-%dT%H:%M:%S%.6f%:z"))
            .with_timestamp_format(Some("%Y-%m-%dT%H:%M:%S%.6f"));
        Ok(ArrayFormatter::try_new(self, &options)?.value(0).to_string())
    }
}

/// A time without the zeros at the end of its seconds.
fn trimmed(time: &str) -> String {
    let Some((seconds, rest)) = time.split_once('.').filter(|(seconds, _)| seconds.contains('T')) else {
        return time.to_owned();
    };
    let end = rest.find(|character: char| !character.is_ascii_digit()).unwrap_or(rest.len());
    let (fraction, zone) = (rest[..end].trim_end_matches('0'), &rest[end..]);
    if fraction.is_empty() { format!("{seconds}{zone}") } else { format!("{seconds}.{fraction}{zone}") }
}

/// A number as `float8` is printed: its shortest form, with an exponent where it is very small or large.
fn float(number: f64, plain: &str, scientific: &str) -> String {
    if !number.is_finite() {
        let name = if number.is_nan() { "NaN" } else { "Infinity" };
        return format!("\"{}{name}\"", if number < 0.0 { "-" } else { "" });
    }
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if (-4..15).contains(&exponent) {
        return plain.to_owned();
    }
    format!("{mantissa}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
}
