//! Values put together: `to_json`, `json_build_array`, `json_build_object`, and values in other forms.

use arrow::array::Array;
use arrow::datatypes::DataType;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::ScalarUDF;
use probepilot_sql::SqlState;
use serde_json::{Map, Number, Value};

use super::write::{compact, pretty};
use super::{read, refused};
use crate::functions::by_row::{Body, ByRow, text, utf8};

/// Arguments of a call at most.
const ARGUMENTS_MAX: usize = 100;

/// All of them.
pub(super) fn all() -> Vec<ScalarUDF> {
    let build =
        |name, max, body: Body| ByRow::new(name, 0, max, DataType::Utf8, body).of_type("jsonb").with_nulls().into_udf();
    let one = |name, body: Body| ByRow::new(name, 1, 1, DataType::Utf8, body).of_type("jsonb").into_udf();
    let mut functions = vec![
        one("jsonb_pretty", |_, values| Ok(utf8(pretty(&read(&values[0])?)))),
        one("to_json", |_, values| Ok(utf8(compact(&value_of(&values[0])?)))),
        one("to_jsonb", |_, values| Ok(utf8(compact(&value_of(&values[0])?)))),
    ];
    functions.extend(["json_strip_nulls", "jsonb_strip_nulls"].map(|name| {
        one(name, |_, values| {
            let mut value = read(&values[0])?;
            strip_nulls(&mut value);
            Ok(utf8(compact(&value)))
        })
    }));
    functions.extend(["json_build_array", "jsonb_build_array"].map(|name| {
        build(name, ARGUMENTS_MAX, |_, values| {
            let elements = values.iter().map(value_of).collect::<Result<Vec<_>>>()?;
            Ok(utf8(compact(&Value::Array(elements))))
        })
    }));
    functions.push(build("jsonb_build_object", ARGUMENTS_MAX, |_, values| {
        if values.len() % 2 != 0 {
            let message = "argument list must have even number of elements";
            return Err(refused(SqlState::INVALID_PARAMETER_VALUE, message));
        }
        let members = values.chunks(2).map(|pair| Ok((key_of(&pair[0])?, value_of(&pair[1])?)));
        Ok(utf8(compact(&Value::Object(members.collect::<Result<Map<_, _>>>()?))))
    }));
    functions
}

/// A key, which must not be NULL.
pub(super) fn key_of(value: &ScalarValue) -> Result<String> {
    if value.is_null() {
        return Err(refused(SqlState("22004"), "null value not allowed for object key"));
    }
    Ok(text(value).map_or_else(|| value.to_string(), str::to_owned))
}

/// A value of SQL as one of JSON: numbers, booleans, NULL and arrays as such, all else as text.
pub(super) fn value_of(value: &ScalarValue) -> Result<Value> {
    if value.is_null() {
        return Ok(Value::Null);
    }
    Ok(match value {
        ScalarValue::Boolean(Some(value)) => Value::Bool(*value),
        ScalarValue::Float32(_) | ScalarValue::Float64(_) => {
            let ScalarValue::Float64(Some(number)) = value.cast_to(&DataType::Float64)? else { return Ok(Value::Null) };
            match Number::from_f64(number) {
                // 2.0 is printed as 2.
                Some(_) if number.fract() == 0.0 && number.abs() < 1e15 => Value::from(number as i64),
                Some(number) => Value::Number(number),
                None => Value::from(number.to_string()),
            }
        }
        ScalarValue::List(list) => {
            let elements = list.value(0);
            let values = (0..elements.len()).map(|row| value_of(&ScalarValue::try_from_array(&elements, row)?));
            Value::Array(values.collect::<Result<_>>()?)
        }
        integer if integer.data_type().is_integer() => match integer.cast_to(&DataType::Int64) {
            Ok(ScalarValue::Int64(Some(number))) => Value::from(number),
            _ => Value::from(integer.to_string()),
        },
        decimal if decimal.data_type().is_numeric() => match decimal.cast_to(&DataType::Float64)? {
            ScalarValue::Float64(Some(number)) => value_of(&ScalarValue::Float64(Some(number)))?,
            _ => Value::Null,
        },
        other => match text(other) {
            Some(text) => Value::from(text),
            None => {
                let array = other.to_array()?;
                let options = FormatOptions::default().with_timestamp_tz_format(Some("%Y-%m-%dT%H:%M:%S%.f%:z"));
                let options = options.with_timestamp_format(Some("%Y-%m-%dT%H:%M:%S%.f"));
                Value::from(ArrayFormatter::try_new(&array, &options)?.value(0).to_string())
            }
        },
    })
}

fn strip_nulls(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|_, value| !value.is_null());
            members.values_mut().for_each(strip_nulls);
        }
        Value::Array(elements) => elements.iter_mut().for_each(strip_nulls),
        _ => {}
    }
}
