//! `time_bucket` and `epoch_ns`.

use std::sync::Arc;

use arrow::array::{Array, AsArray, Int64Array, TimestampNanosecondArray};
use arrow::compute::{cast, kernels::cast::CastOptions};
use arrow::datatypes::{DataType, IntervalMonthDayNanoType, TimeUnit, TimestampNanosecondType};
use chrono::{DateTime, Datelike, NaiveDate};
use datafusion::common::{DataFusionError, Result, ScalarValue, exec_datafusion_err, exec_err};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};
use probepilot_sql::{SqlError, SqlState};

/// Both functions.
pub(super) fn all() -> Vec<ScalarUDF> {
    vec![ScalarUDF::new_from_impl(TimeBucket::new()), ScalarUDF::new_from_impl(EpochNs::new())]
}

const DAY_NS: i64 = 86_400_000_000_000;

/// Buckets begin at this time when the call gives none: Monday 2000-01-03, so that weeks begin on Mondays.
const ORIGIN_NS: i64 = 946_857_600_000_000_000;

/// Buckets of months begin here: 2000-01-01.
const MONTHS_ORIGIN_NS: i64 = 946_684_800_000_000_000;

fn invalid(message: impl Into<String>) -> DataFusionError {
    DataFusionError::External(Box::new(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message)))
}

/// A bucket's width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Width {
    Nanoseconds(i64),
    Months(i64),
}

impl Width {
    fn of(value: &ScalarValue) -> Result<Option<Width>> {
        let interval = match value {
            ScalarValue::IntervalMonthDayNano(None) => return Ok(None),
            ScalarValue::IntervalMonthDayNano(Some(interval)) => *interval,
            other => match other.cast_to(&DataType::Interval(arrow::datatypes::IntervalUnit::MonthDayNano))? {
                ScalarValue::IntervalMonthDayNano(Some(interval)) => interval,
                _ => return Ok(None),
            },
        };
        let (months, days, nanoseconds) = IntervalMonthDayNanoType::to_parts(interval);
        let fixed = i64::from(days).checked_mul(DAY_NS).and_then(|days| days.checked_add(nanoseconds));
        match (months, fixed) {
            (0, Some(width)) if width > 0 => Ok(Some(Width::Nanoseconds(width))),
            (months, Some(0)) if months > 0 => Ok(Some(Width::Months(i64::from(months)))),
            (0, _) => Err(invalid("period must be greater than 0")),
            _ => Err(invalid("month intervals cannot have day or time component")),
        }
    }

    /// The begin of the bucket that holds `time`; `None` when it does not fit in 64 bits.
    fn begin(self, time: i64, origin: Option<i64>) -> Option<i64> {
        match self {
            Width::Nanoseconds(width) => {
                let origin = i128::from(origin.unwrap_or(ORIGIN_NS));
                let width = i128::from(width);
                let buckets = (i128::from(time) - origin).div_euclid(width);
                i64::try_from(origin + buckets * width).ok()
            }
            Width::Months(width) => {
                let month = |ns: i64| {
                    let date = DateTime::from_timestamp_nanos(ns).date_naive();
                    i64::from(date.year()) * 12 + i64::from(date.month0())
                };
                let origin = month(origin.unwrap_or(MONTHS_ORIGIN_NS));
                let begin = origin + (month(time) - origin).div_euclid(width) * width;
                let year = i32::try_from(begin.div_euclid(12)).ok()?;
                let date = NaiveDate::from_ymd_opt(year, begin.rem_euclid(12) as u32 + 1, 1)?;
                date.and_hms_opt(0, 0, 0)?.and_utc().timestamp_nanos_opt()
            }
        }
    }
}

/// `time_bucket(width, time [, origin])`: the begin of the bucket, as TimescaleDB counts them.
#[derive(Debug, PartialEq, Eq, Hash)]
struct TimeBucket {
    signature: Signature,
}

impl TimeBucket {
    fn new() -> TimeBucket {
        let arities = vec![TypeSignature::Any(2), TypeSignature::Any(3)];
        TimeBucket { signature: Signature::one_of(arities, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for TimeBucket {
    fn name(&self) -> &str {
        "time_bucket"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        Ok(match &arguments[1] {
            DataType::Timestamp(_, zone) => DataType::Timestamp(TimeUnit::Nanosecond, zone.clone()),
            DataType::Date32 | DataType::Date64 => DataType::Timestamp(TimeUnit::Nanosecond, None),
            _ => DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into())),
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let zone = match args.return_field.data_type() {
            DataType::Timestamp(_, zone) => zone.clone(),
            other => return exec_err!("time_bucket cannot give {other}"),
        };
        let nanoseconds = DataType::Timestamp(TimeUnit::Nanosecond, zone.clone());
        let ColumnarValue::Scalar(width) = &args.args[0] else {
            return Err(invalid("the bucket width must be a constant"));
        };
        let origin = match args.args.get(2) {
            None => None,
            Some(ColumnarValue::Scalar(origin)) => match origin.cast_to(&nanoseconds)? {
                ScalarValue::TimestampNanosecond(origin, _) => Some(origin),
                other => return exec_err!("{other} is not a time"),
            },
            Some(ColumnarValue::Array(_)) => return Err(invalid("the origin must be a constant")),
        };
        let width = Width::of(width)?;
        let (Some(width), false) = (width, origin == Some(None)) else {
            return Ok(ColumnarValue::Scalar(ScalarValue::TimestampNanosecond(None, zone)));
        };
        let origin = origin.flatten();
        let begin = |time: i64| width.begin(time, origin).ok_or_else(|| exec_datafusion_err!("timestamp out of range"));
        match &args.args[1] {
            ColumnarValue::Scalar(time) => match time.cast_to(&nanoseconds)? {
                ScalarValue::TimestampNanosecond(time, zone) => {
                    let begin = time.map(begin).transpose()?;
                    Ok(ColumnarValue::Scalar(ScalarValue::TimestampNanosecond(begin, zone)))
                }
                other => exec_err!("{other} is not a time"),
            },
            ColumnarValue::Array(times) => {
                let times = cast(times, &nanoseconds)?;
                let times = times.as_primitive::<TimestampNanosecondType>();
                let begins: TimestampNanosecondArray = times.try_unary(begin)?;
                Ok(ColumnarValue::Array(Arc::new(begins.with_timezone_opt(zone))))
            }
        }
    }
}

/// `epoch_ns(time)`: Unix nanoseconds, which the wire's microseconds cannot carry.
#[derive(Debug, PartialEq, Eq, Hash)]
struct EpochNs {
    signature: Signature,
}

impl EpochNs {
    fn new() -> EpochNs {
        EpochNs { signature: Signature::any(1, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for EpochNs {
    fn name(&self) -> &str {
        "epoch_ns"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Int64)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [times] = ColumnarValue::values_to_arrays(&args.args)?
            .try_into()
            .map_err(|_| exec_datafusion_err!("epoch_ns takes one argument"))?;
        let options = CastOptions { safe: false, ..CastOptions::default() };
        let zoned = DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()));
        let times = arrow::compute::cast_with_options(&times, &zoned, &options)?;
        let numbers: Int64Array = times.as_primitive::<TimestampNanosecondType>().unary(|time| time);
        debug_assert_eq!(numbers.len(), times.len());
        Ok(ColumnarValue::Array(Arc::new(numbers)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(width: &str, time: &str, origin: Option<&str>, expected: &str) {
        let ns = |text: &str| DateTime::parse_from_rfc3339(text).unwrap().timestamp_nanos_opt().unwrap();
        let width = Width::of(&ScalarValue::Utf8(Some(width.into()))).unwrap().unwrap();
        let begin = width.begin(ns(time), origin.map(ns)).unwrap();
        assert_eq!(DateTime::from_timestamp_nanos(begin).to_rfc3339(), expected);
    }

    // Expected values: TimescaleDB's documented behaviour of time_bucket.
    #[test]
    fn buckets_begin_where_timescaledb_begins_them() {
        check("5 minutes", "2026-03-01T10:07:59Z", None, "2026-03-01T10:05:00+00:00");
        check("300.000s", "2026-03-01T10:07:59Z", None, "2026-03-01T10:05:00+00:00");
        check("1 week", "2026-03-01T10:07:59Z", None, "2026-02-23T00:00:00+00:00");
        check("1 month", "2026-03-31T10:07:59Z", None, "2026-03-01T00:00:00+00:00");
        check("1 day", "1969-12-31T23:59:59Z", None, "1969-12-31T00:00:00+00:00");
        check("1 hour", "2026-03-01T10:07:59Z", Some("2026-03-01T00:30:00Z"), "2026-03-01T09:30:00+00:00");
    }

    #[test]
    fn a_width_of_nothing_is_refused() {
        assert!(Width::of(&ScalarValue::Utf8(Some("0 seconds".into()))).is_err());
        assert!(Width::of(&ScalarValue::Utf8(Some("1 month 1 day".into()))).is_err());
    }
}
