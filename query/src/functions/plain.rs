//! Small functions of PostgreSQL, and its names for functions that the engine calls otherwise.

use arrow::datatypes::{DataType, TimeUnit};
use chrono::NaiveDate;
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::functions_aggregate::bool_and_or::bool_and_udaf;
use datafusion::functions_aggregate::variance::var_samp_udaf;
use datafusion::logical_expr::{AggregateUDF, ScalarUDF};
use probepilot_sql::types::TYPE_KEY;
use probepilot_sql::{SqlError, SqlState};

use super::aggregates::sql_name;
use super::by_row::{ByRow, number, utf8};

/// Functions over a value.
pub(super) fn all() -> Vec<ScalarUDF> {
    let time = DataType::Timestamp(TimeUnit::Nanosecond, None);
    let mut functions: Vec<ScalarUDF> = vec![
        ByRow::new("num_nulls", 1, ARGUMENTS_MAX, DataType::Int32, |_, values| counted(values, true)).with_nulls(),
        ByRow::new("num_nonnulls", 1, ARGUMENTS_MAX, DataType::Int32, |_, values| counted(values, false)).with_nulls(),
        ByRow::typed("pg_typeof", 1..=1, DataType::Utf8, |_, fields, _| {
            let name = fields[0].metadata().get(TYPE_KEY).cloned();
            Ok(utf8(name.unwrap_or_else(|| sql_name(fields[0].data_type()))))
        })
        .with_nulls(),
        ByRow::new("width_bucket", 4, 4, DataType::Int32, width_bucket),
        ByRow::new("make_timestamp", 6, 6, time, make_timestamp),
    ]
    .into_iter()
    .map(ByRow::into_udf)
    .collect();
    let uuid = datafusion::functions::string::uuid();
    functions.push(ScalarUDF::clone(&uuid).with_aliases(["gen_random_uuid"]));
    let series = datafusion::functions_nested::range::gen_series_udf();
    functions.push(ScalarUDF::clone(&series).with_aliases(["array_of_generate_series"]));
    functions
}

/// Functions over many.
pub(super) fn aggregates() -> Vec<AggregateUDF> {
    vec![
        AggregateUDF::clone(&var_samp_udaf()).with_aliases(["variance"]),
        AggregateUDF::clone(&bool_and_udaf()).with_aliases(["every"]),
    ]
}

/// Arguments of `num_nulls` at most.
const ARGUMENTS_MAX: usize = 100;

fn counted(values: &[ScalarValue], null: bool) -> Result<ScalarValue> {
    let count = values.iter().filter(|value| value.is_null() == null).count();
    Ok(ScalarValue::Int32(i32::try_from(count).ok()))
}

fn refused(state: &'static str, message: &str) -> DataFusionError {
    DataFusionError::External(Box::new(SqlError::new(SqlState(state), message)))
}

fn double(value: &ScalarValue) -> Result<f64> {
    match value.cast_to(&DataType::Float64)? {
        ScalarValue::Float64(Some(number)) => Ok(number),
        _ => Err(refused("22023", "a number is wanted")),
    }
}

/// `width_bucket(value, low, high, count)`: which of `count` buckets of one width; 0 below, `count + 1` from `high` on.
fn width_bucket(_: &crate::engine::statement::Statement, values: &[ScalarValue]) -> Result<ScalarValue> {
    let (value, low, high) = (double(&values[0])?, double(&values[1])?, double(&values[2])?);
    let count =
        number(&values[3]).and_then(|count| i32::try_from(count).ok()).filter(|count| (1..i32::MAX).contains(count));
    let count = count.ok_or_else(|| refused("2201G", "count must be greater than zero"))?;
    if low == high || !low.is_finite() || !high.is_finite() || value.is_nan() {
        return Err(refused("2201G", "lower bound cannot equal upper bound"));
    }
    // Bounds in falling order count from the upper one down.
    let share = (value - low) / (high - low);
    let bucket = if share < 0.0 {
        0
    } else if share >= 1.0 {
        count + 1
    } else {
        ((share * f64::from(count)) as i32).min(count - 1) + 1
    };
    Ok(ScalarValue::Int32(Some(bucket)))
}

/// `make_timestamp(year, month, day, hour, minute, second)`
fn make_timestamp(_: &crate::engine::statement::Statement, values: &[ScalarValue]) -> Result<ScalarValue> {
    let part = |index: usize| number(&values[index]);
    let seconds = double(&values[5])?;
    let made = || {
        let small = |index| part(index).and_then(|part| u32::try_from(part).ok());
        let date = NaiveDate::from_ymd_opt(i32::try_from(part(0)?).ok()?, small(1)?, small(2)?)?;
        let minute = date.and_hms_opt(small(3)?, small(4)?, 0)?.and_utc().timestamp_nanos_opt()?;
        let within = (0.0..60.0).contains(&seconds).then(|| (seconds * 1e6).round() as i64 * 1_000)?;
        minute.checked_add(within)
    };
    match made() {
        Some(time) => Ok(ScalarValue::TimestampNanosecond(Some(time), None)),
        None => Err(refused("22008", "date field value out of range")),
    }
}
