//! `date_part(field, time)`, which is also `extract(field FROM time)`: of the wall clock of the session's zone.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Date32Type, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit, TimestampNanosecondType,
};
use chrono::{Datelike, NaiveDateTime, Timelike};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use probepilot_sql::SqlState;

use super::{constant_text, has_zone, local_type, moment_type, over, refused};
use crate::functions::aggregates::sql_name;
use crate::functions::zone::{Zone, naive};

/// The function.
pub(super) fn all() -> Vec<ScalarUDF> {
    vec![ScalarUDF::new_from_impl(DatePart { signature: Signature::any(2, Volatility::Stable) })]
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct DatePart {
    signature: Signature,
}

impl ScalarUDFImpl for DatePart {
    fn name(&self) -> &str {
        "date_part"
    }

    fn aliases(&self) -> &[String] {
        static ALIASES: std::sync::LazyLock<Vec<String>> = std::sync::LazyLock::new(|| vec!["datepart".to_owned()]);
        &ALIASES
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let Some(field) = constant_text(&args.args[0], "the field of date_part")? else {
            return Ok(ColumnarValue::Scalar(ScalarValue::Float64(None)));
        };
        let field = field.trim().to_lowercase();
        let zone = Zone::of_session(&args.config_options)?;
        over(&args.args[1], |values| {
            let unknown = || {
                let message = format!("unit \"{field}\" not recognized for type {}", sql_name(values.data_type()));
                refused(SqlState::INVALID_PARAMETER_VALUE, message)
            };
            let mut shown = Vec::with_capacity(values.len());
            match values.data_type() {
                DataType::Interval(_) | DataType::Duration(_) => {
                    let intervals = cast(values, &DataType::Interval(IntervalUnit::MonthDayNano))?;
                    for interval in intervals.as_primitive::<IntervalMonthDayNanoType>() {
                        shown.push(match interval {
                            Some(interval) => Some(of_interval(&field, interval).ok_or_else(unknown)?),
                            None => None,
                        });
                    }
                }
                data_type if has_zone(data_type) => {
                    let times = cast(values, &moment_type())?;
                    for time in times.as_primitive::<TimestampNanosecondType>() {
                        let Some(time) = time else {
                            shown.push(None);
                            continue;
                        };
                        let offset = f64::from(zone.offset_seconds(time));
                        let local = zone.local_ns(time).unwrap_or(time);
                        shown.push(Some(match field.as_str() {
                            "epoch" => seconds(time),
                            "timezone" => offset,
                            "timezone_hour" => (offset / 3_600.0).trunc(),
                            "timezone_minute" => (offset / 60.0).trunc() % 60.0,
                            field => of_time(field, naive(local)).ok_or_else(unknown)?,
                        }));
                    }
                }
                DataType::Time32(_) | DataType::Time64(_) => {
                    let times = cast(values, &DataType::Time64(arrow::datatypes::TimeUnit::Nanosecond))?;
                    for time in times.as_primitive::<arrow::datatypes::Time64NanosecondType>() {
                        let Some(time) = time else {
                            shown.push(None);
                            continue;
                        };
                        let known =
                            ["hour", "minute", "second", "milliseconds", "microseconds"].contains(&field.as_str());
                        let part = if field == "epoch" { Some(seconds(time)) } else { of_time(&field, naive(time)) };
                        shown.push(Some(part.filter(|_| known || field == "epoch").ok_or_else(unknown)?));
                    }
                }
                data_type => {
                    let days_only = matches!(data_type, DataType::Date32 | DataType::Date64);
                    if days_only && cast(values, &DataType::Date32)?.as_primitive::<Date32Type>().is_empty() {
                        return Ok(Arc::new(Float64Array::from(shown)) as ArrayRef);
                    }
                    let times = cast(values, &local_type())?;
                    for time in times.as_primitive::<TimestampNanosecondType>() {
                        shown.push(match time {
                            Some(time) if field == "epoch" => Some(seconds(time)),
                            Some(time) => Some(of_time(&field, naive(time)).ok_or_else(unknown)?),
                            None => None,
                        });
                    }
                }
            }
            Ok(Arc::new(Float64Array::from(shown)) as ArrayRef)
        })
    }
}

/// Seconds of nanoseconds, to the microsecond as PostgreSQL has them.
fn seconds(ns: i64) -> f64 {
    ns.div_euclid(1_000) as f64 / 1e6
}

fn of_time(field: &str, time: NaiveDateTime) -> Option<f64> {
    let year = f64::from(time.year());
    let within_minute = f64::from(time.second() * 1_000_000 + time.nanosecond() / 1_000);
    // There is no year 0.
    let written_year = if time.year() <= 0 { year - 1.0 } else { year };
    let since = |years: f64| {
        if year > 0.0 { ((year + years - 1.0) / years).floor() } else { -((years - year) / years).floor() }
    };
    Some(match field {
        "microsecond" | "microseconds" | "us" | "usec" => within_minute,
        "millisecond" | "milliseconds" | "ms" | "msec" => within_minute / 1e3,
        "second" | "seconds" | "sec" | "s" => within_minute / 1e6,
        "minute" | "minutes" | "min" | "m" => f64::from(time.minute()),
        "hour" | "hours" | "h" | "hr" => f64::from(time.hour()),
        "day" | "days" | "d" => f64::from(time.day()),
        "month" | "months" | "mon" => f64::from(time.month()),
        "quarter" | "qtr" => f64::from(time.month0() / 3 + 1),
        "year" | "years" | "y" | "yr" => written_year,
        "decade" | "decades" => (year / 10.0).floor(),
        "century" | "centuries" | "c" => since(100.0),
        "millennium" | "millennia" | "mil" => since(1_000.0),
        "week" | "weeks" | "w" => f64::from(time.iso_week().week()),
        "isoyear" => f64::from(time.iso_week().year()),
        "dow" => f64::from(time.weekday().num_days_from_sunday()),
        "isodow" => f64::from(time.weekday().number_from_monday()),
        "doy" => f64::from(time.ordinal()),
        "julian" | "j" => {
            let day = f64::from(time.num_days_from_ce()) + 1_721_425.0;
            day + (f64::from(time.num_seconds_from_midnight()) + f64::from(time.nanosecond()) / 1e9) / 86_400.0
        }
        _ => return None,
    })
}

fn of_interval(field: &str, interval: IntervalMonthDayNano) -> Option<f64> {
    let IntervalMonthDayNano { months, days, nanoseconds } = interval;
    let microseconds = nanoseconds / 1_000;
    let (years, rest) = (f64::from(months / 12), f64::from(months % 12));
    let within_minute = (microseconds % 60_000_000) as f64;
    Some(match field {
        "microsecond" | "microseconds" | "us" | "usec" => within_minute,
        "millisecond" | "milliseconds" | "ms" | "msec" => within_minute / 1e3,
        "second" | "seconds" | "sec" | "s" => within_minute / 1e6,
        "minute" | "minutes" | "min" | "m" => (microseconds / 60_000_000 % 60) as f64,
        "hour" | "hours" | "h" | "hr" => (microseconds / 3_600_000_000) as f64,
        "day" | "days" | "d" => f64::from(days),
        "month" | "months" | "mon" => rest,
        "quarter" | "qtr" => (rest / 3.0).trunc() + 1.0,
        "year" | "years" | "y" | "yr" => years,
        "decade" | "decades" => (years / 10.0).trunc(),
        "century" | "centuries" | "c" => (years / 100.0).trunc(),
        "millennium" | "millennia" | "mil" => (years / 1_000.0).trunc(),
        // A year has 365.25 days, a month 30.
        "epoch" => {
            let whole_days = years * 365.25 + rest * 30.0 + f64::from(days);
            whole_days * 86_400.0 + microseconds as f64 / 1e6
        }
        _ => return None,
    })
}
