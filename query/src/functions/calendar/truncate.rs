//! `date_trunc(unit, time [, zone])`, on the wall clock of the session's zone or of a given one.

use std::sync::Arc;

use arrow::array::{AsArray, IntervalMonthDayNanoArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit};
use chrono::{Datelike, Days, NaiveDate};
use datafusion::common::Result;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};
use probepilot_sql::SqlState;

use super::{constant_text, has_zone, local_type, map_times, moment_type, over, refused};
use crate::functions::aggregates::sql_name;
use crate::functions::zone::{Zone, naive};

/// The function.
pub(super) fn all() -> Vec<ScalarUDF> {
    let signature = Signature::one_of(vec![TypeSignature::Any(2), TypeSignature::Any(3)], Volatility::Stable);
    vec![ScalarUDF::new_from_impl(DateTrunc { signature })]
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct DateTrunc {
    signature: Signature,
}

/// What is kept of a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    /// Units of one length, nanoseconds.
    Nanoseconds(i64),
    Day,
    Week,
    /// This many months.
    Months(i32),
    /// Centuries and millennia, which begin with year 1.
    Years(i32),
}

impl Unit {
    fn read(name: &str, of: &DataType) -> Result<Unit> {
        Ok(match name.trim().to_lowercase().as_str() {
            "microsecond" | "microseconds" | "us" | "usec" => Unit::Nanoseconds(1_000),
            "millisecond" | "milliseconds" | "ms" | "msec" => Unit::Nanoseconds(1_000_000),
            "second" | "seconds" | "sec" | "s" => Unit::Nanoseconds(1_000_000_000),
            "minute" | "minutes" | "min" | "m" => Unit::Nanoseconds(60_000_000_000),
            "hour" | "hours" | "h" | "hr" => Unit::Nanoseconds(3_600_000_000_000),
            "day" | "days" | "d" => Unit::Day,
            "week" | "weeks" | "w" => Unit::Week,
            "month" | "months" | "mon" | "mons" => Unit::Months(1),
            "quarter" | "qtr" => Unit::Months(3),
            "year" | "years" | "y" | "yr" => Unit::Months(12),
            "decade" | "decades" => Unit::Months(120),
            "century" | "centuries" | "c" => Unit::Years(100),
            "millennium" | "millennia" | "mil" => Unit::Years(1_000),
            _ => {
                let message = format!("unit \"{name}\" not recognized for type {}", sql_name(of));
                return Err(refused(SqlState::INVALID_PARAMETER_VALUE, message));
            }
        })
    }

    /// The begin of the unit that holds a time of a wall clock.
    fn begin(self, local: i64) -> Option<i64> {
        if let Unit::Nanoseconds(width) = self {
            return Some(local - local.rem_euclid(width));
        }
        let date = naive(local).date();
        let date = match self {
            Unit::Nanoseconds(_) | Unit::Day => date,
            Unit::Week => date.checked_sub_days(Days::new(u64::from(date.weekday().num_days_from_monday())))?,
            Unit::Months(count) => {
                let month = date.year() * 12 + date.month0().cast_signed();
                let month = month.div_euclid(count) * count;
                NaiveDate::from_ymd_opt(month.div_euclid(12), month.rem_euclid(12).cast_unsigned() + 1, 1)?
            }
            Unit::Years(count) => NaiveDate::from_ymd_opt((date.year() - 1).div_euclid(count) * count + 1, 1, 1)?,
        };
        date.and_hms_opt(0, 0, 0)?.and_utc().timestamp_nanos_opt()
    }

    /// The same of a moment on the clock of a zone.
    fn begin_in(self, moment: i64, zone: &Zone) -> Option<i64> {
        let local = zone.local_ns(moment)?;
        let begin = self.begin(local)?;
        // Units below a day keep the offset of the moment, so that they are right in the hour that comes twice.
        match self {
            Unit::Nanoseconds(_) => moment.checked_sub(local - begin),
            _ => zone.unix_ns(begin),
        }
    }

    /// An interval with what is smaller left out.
    fn of_interval(self, interval: IntervalMonthDayNano) -> Option<IntervalMonthDayNano> {
        let IntervalMonthDayNano { months, days, nanoseconds } = interval;
        Some(match self {
            Unit::Nanoseconds(width) => IntervalMonthDayNano::new(months, days, nanoseconds - nanoseconds % width),
            Unit::Day => IntervalMonthDayNano::new(months, days, 0),
            Unit::Week => return None,
            Unit::Months(count) => IntervalMonthDayNano::new(months - months % count, 0, 0),
            Unit::Years(count) => IntervalMonthDayNano::new(months - months % (count * 12), 0, 0),
        })
    }
}

impl ScalarUDFImpl for DateTrunc {
    fn name(&self) -> &str {
        "date_trunc"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        Ok(match &arguments[1] {
            DataType::Timestamp(_, None) if arguments.len() == 2 => local_type(),
            DataType::Interval(_) | DataType::Duration(_) => DataType::Interval(IntervalUnit::MonthDayNano),
            // A date is a time of the session's zone.
            _ => moment_type(),
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let returned = args.return_field.data_type().clone();
        let null = || Ok(ColumnarValue::Scalar(datafusion::common::ScalarValue::try_from(&returned)?));
        let Some(name) = constant_text(&args.args[0], "the unit of date_trunc")? else { return null() };
        let unit = Unit::read(&name, &args.args[1].data_type())?;
        let session = Zone::of_session(&args.config_options)?;
        let zone = match args.args.get(2) {
            None => session.clone(),
            Some(zone) => match constant_text(zone, "the zone of date_trunc")? {
                Some(zone) => Zone::named(&zone)?,
                None => return null(),
            },
        };
        over(&args.args[1], |times| match &returned {
            DataType::Interval(_) => {
                let intervals = cast(times, &returned)?;
                let cut: IntervalMonthDayNanoArray =
                    intervals.as_primitive::<IntervalMonthDayNanoType>().try_unary(|interval| {
                        unit.of_interval(interval).ok_or_else(|| {
                            let message = "unit \"week\" not supported for type interval".to_owned();
                            refused(SqlState::FEATURE_NOT_SUPPORTED, message)
                        })
                    })?;
                Ok(Arc::new(cut))
            }
            returned if has_zone(returned) => {
                if has_zone(times.data_type()) || matches!(times.data_type(), DataType::Utf8 | DataType::Utf8View) {
                    return map_times(times, &moment_type(), returned, |time| unit.begin_in(time, &zone));
                }
                map_times(times, &local_type(), returned, |local| unit.begin_in(session.unix_ns(local)?, &zone))
            }
            returned => map_times(times, &local_type(), returned, |local| unit.begin(local)),
        })
    }
}
