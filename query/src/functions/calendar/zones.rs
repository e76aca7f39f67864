//! `timezone(zone, time)`, which is also `time AT TIME ZONE zone`.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, IntervalMonthDayNanoType};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use probepilot_sql::SqlState;

use super::{has_zone, local_type, map_times, moment_type, over, refused};
use crate::functions::zone::Zone;

/// All of them.
pub(super) fn all() -> Vec<ScalarUDF> {
    vec![timezone()]
}

/// The function, for casts between times with and without zone.
pub(crate) fn timezone() -> ScalarUDF {
    ScalarUDF::new_from_impl(TimeZone { signature: Signature::any(2, Volatility::Stable) })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct TimeZone {
    signature: Signature,
}

impl ScalarUDFImpl for TimeZone {
    fn name(&self) -> &str {
        "timezone"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        // A date is a time of the session's zone, and so is a text.
        Ok(match &arguments[1] {
            DataType::Timestamp(_, None) => moment_type(),
            _ => local_type(),
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let returned = args.return_field.data_type().clone();
        let zone = match &args.args[0] {
            ColumnarValue::Scalar(zone) if zone.is_null() => {
                return Ok(ColumnarValue::Scalar(ScalarValue::try_from(&returned)?));
            }
            ColumnarValue::Scalar(zone) => named(zone)?,
            ColumnarValue::Array(zones) => return by_row(zones, &args.args[1], &returned, args.number_rows),
        };
        let session = Zone::of_session(&args.config_options)?;
        over(&args.args[1], |times| convert(times, &zone, &session, &returned))
    }
}

/// A zone by its name, or by how far it is from UTC.
fn named(zone: &ScalarValue) -> Result<Zone> {
    if let Some(name) = zone.try_as_str().flatten() {
        return Zone::named(name);
    }
    let interval = zone.cast_to(&DataType::Interval(arrow::datatypes::IntervalUnit::MonthDayNano))?;
    match interval {
        ScalarValue::IntervalMonthDayNano(Some(interval)) => {
            let (months, days, nanoseconds) = IntervalMonthDayNanoType::to_parts(interval);
            if months != 0 || days != 0 {
                let message = "interval time zone must not include months or days".to_owned();
                return Err(refused(SqlState::INVALID_PARAMETER_VALUE, message));
            }
            let minutes = nanoseconds / 60_000_000_000;
            let sign = if minutes < 0 { '-' } else { '+' };
            Zone::named(&format!("{sign}{:02}:{:02}", minutes.abs() / 60, minutes.abs() % 60))
        }
        _ => Zone::named(""),
    }
}

fn convert(times: &ArrayRef, zone: &Zone, session: &Zone, returned: &DataType) -> Result<ArrayRef> {
    match times.data_type() {
        DataType::Timestamp(_, None) => map_times(times, &local_type(), returned, |local| zone.unix_ns(local)),
        DataType::Date32 | DataType::Date64 => {
            map_times(times, &local_type(), returned, |local| zone.local_ns(session.unix_ns(local)?))
        }
        data_type => {
            debug_assert!(has_zone(data_type) || !matches!(data_type, DataType::Timestamp(..)));
            map_times(times, &moment_type(), returned, |time| zone.local_ns(time))
        }
    }
}

/// A zone of its own for each row.
fn by_row(zones: &ArrayRef, times: &ColumnarValue, returned: &DataType, rows: usize) -> Result<ColumnarValue> {
    let zones = cast(zones, &DataType::Utf8)?;
    let zones = zones.as_string::<i32>();
    let times = times.to_array(rows)?;
    let mut converted = Vec::with_capacity(rows);
    for row in 0..rows {
        converted.push(match zones.is_valid(row) {
            true => {
                let zone = Zone::named(zones.value(row))?;
                ScalarValue::try_from_array(&convert(&times.slice(row, 1), &zone, &Zone::UTC, returned)?, 0)?
            }
            false => ScalarValue::try_from(returned)?,
        });
    }
    match converted.is_empty() {
        true => Ok(ColumnarValue::Array(arrow::array::new_empty_array(returned))),
        false => Ok(ColumnarValue::Array(ScalarValue::iter_to_array(converted)?)),
    }
}
