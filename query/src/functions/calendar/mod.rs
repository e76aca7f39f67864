//! Times on the wall clock of the session's zone, or of a given one: `date_trunc`, `date_part`, `timezone`, `age`.

mod age; // age, justify_hours, justify_days, justify_interval, make_interval.
mod parts; // date_part.
mod truncate; // date_trunc.
mod zones; // timezone: AT TIME ZONE.
mod plus; // A time with zone and an interval.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, TimestampNanosecondArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, TimeUnit, TimestampNanosecondType};
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::logical_expr::{ColumnarValue, ScalarUDF};
use probepilot_sql::{SqlError, SqlState};

pub(crate) use plus::timestamptz_plus;
pub(crate) use zones::timezone;

/// All of them.
pub(super) fn all() -> Vec<ScalarUDF> {
    [age::all(), parts::all(), truncate::all(), zones::all()].into_iter().flatten().collect()
}

fn refused(state: SqlState, message: String) -> DataFusionError {
    DataFusionError::External(Box::new(SqlError::new(state, message)))
}

fn out_of_range() -> DataFusionError {
    refused(SqlState("22008"), "timestamp out of range".to_owned())
}

/// A time with zone, nanoseconds.
fn moment_type() -> DataType {
    DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()))
}

/// A time without zone, nanoseconds.
fn local_type() -> DataType {
    DataType::Timestamp(TimeUnit::Nanosecond, None)
}

fn has_zone(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Timestamp(_, Some(_)))
}

/// Maps the times of an array that was cast to `from` to times of the type `to`.
fn map_times(times: &ArrayRef, from: &DataType, to: &DataType, each: impl Fn(i64) -> Option<i64>) -> Result<ArrayRef> {
    let times = cast(times, from)?;
    let mapped: TimestampNanosecondArray =
        times.as_primitive::<TimestampNanosecondType>().try_unary(|time| each(time).ok_or_else(out_of_range))?;
    let zone = match to {
        DataType::Timestamp(_, zone) => zone.clone(),
        _ => None,
    };
    Ok(Arc::new(mapped.with_timezone_opt(zone)))
}

/// Applies `each` to an argument, be it a column or a constant.
pub(crate) fn over(value: &ColumnarValue, each: impl FnOnce(&ArrayRef) -> Result<ArrayRef>) -> Result<ColumnarValue> {
    match value {
        ColumnarValue::Array(array) => each(array).map(ColumnarValue::Array),
        ColumnarValue::Scalar(value) => {
            let array = each(&value.to_array()?)?;
            debug_assert_eq!(array.len(), 1);
            Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0)?))
        }
    }
}

/// A text that is the same for all rows; `None` for NULL.
fn constant_text(value: &ColumnarValue, what: &str) -> Result<Option<String>> {
    match value {
        ColumnarValue::Scalar(value) => Ok(value.try_as_str().flatten().map(str::to_owned)),
        ColumnarValue::Array(_) => {
            Err(refused(SqlState::FEATURE_NOT_SUPPORTED, format!("{what} must be the same for all rows")))
        }
    }
}
