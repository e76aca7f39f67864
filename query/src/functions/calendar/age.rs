//! `age(later, earlier)` in years, months and days; intervals put together and evened out.

use arrow::datatypes::{DataType, IntervalMonthDayNano, IntervalUnit, TimeUnit};
use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, Timelike};
use datafusion::common::{Result, ScalarValue, exec_datafusion_err};
use datafusion::logical_expr::ScalarUDF;

use super::moment_type;
use crate::engine::session::unix_ns;
use crate::engine::statement::Statement;
use crate::functions::by_row::{ByRow, number};
use crate::functions::zone::{Zone, naive};

const DAY_NS: i64 = 86_400_000_000_000;

const INTERVAL: DataType = DataType::Interval(IntervalUnit::MonthDayNano);

/// All of them.
pub(super) fn all() -> Vec<ScalarUDF> {
    let justify = |name, body| ByRow::new(name, 1, 1, INTERVAL, body);
    let functions = vec![
        ByRow::new("age", 1, 2, INTERVAL, age),
        justify("justify_hours", |_, values| justified(&values[0], days_of_hours)),
        justify("justify_days", |_, values| justified(&values[0], months_of_days)),
        justify("justify_interval", |_, values| {
            justified(&values[0], |interval| even_signs(months_of_days(days_of_hours(interval)?)?))
        }),
        ByRow::new("make_interval", 0, 7, INTERVAL, make_interval),
        ByRow::new("clock_timestamp", 0, 0, moment_type(), |_, _| {
            Ok(ScalarValue::TimestampNanosecond(Some(unix_ns()), Some("UTC".into())))
        })
        .volatile(),
        ByRow::new("isfinite", 1, 1, DataType::Boolean, |_, _| Ok(ScalarValue::Boolean(Some(true)))),
    ];
    functions.into_iter().map(ByRow::into_udf).collect()
}

fn out_of_range() -> datafusion::error::DataFusionError {
    exec_datafusion_err!("interval out of range")
}

/// A wall clock's time: of a moment that of the session's zone.
fn local(statement: &Statement, value: &ScalarValue) -> Result<NaiveDateTime> {
    let zone = match value.data_type() {
        DataType::Timestamp(_, Some(_)) => Zone::named(&statement.session().settings.lock().known("TimeZone"))?,
        _ => Zone::UTC,
    };
    let zoned = match value.data_type() {
        DataType::Timestamp(_, zone) => DataType::Timestamp(TimeUnit::Nanosecond, zone),
        _ => DataType::Timestamp(TimeUnit::Nanosecond, None),
    };
    match value.cast_to(&zoned)? {
        ScalarValue::TimestampNanosecond(Some(time), _) => Ok(naive(zone.local_ns(time).ok_or_else(out_of_range)?)),
        other => Err(exec_datafusion_err!("age does not take {}", other.data_type())),
    }
}

/// `age(later, earlier)`; `age(time)` is the age at the last midnight.
fn age(statement: &Statement, values: &[ScalarValue]) -> Result<ScalarValue> {
    let (later, earlier) = match values {
        [earlier] => {
            let now = DateTime::from_timestamp_nanos(unix_ns()).naive_utc();
            let today = ScalarValue::TimestampNanosecond(now.and_utc().timestamp_nanos_opt(), Some("UTC".into()));
            let midnight = local(statement, &today)?.date().and_time(NaiveTime::MIN);
            (midnight, local(statement, earlier)?)
        }
        [later, earlier, ..] => (local(statement, later)?, local(statement, earlier)?),
        [] => return ScalarValue::try_from(&INTERVAL),
    };
    Ok(ScalarValue::IntervalMonthDayNano(Some(between(later, earlier).ok_or_else(out_of_range)?)))
}

/// Years, months, days and time from one to the other: whole months first, and days as the month of the earlier has them.
fn between(later: NaiveDateTime, earlier: NaiveDateTime) -> Option<IntervalMonthDayNano> {
    if later < earlier {
        let IntervalMonthDayNano { months, days, nanoseconds } = between(earlier, later)?;
        return Some(IntervalMonthDayNano::new(-months, -days, -nanoseconds));
    }
    let months_of = |time: NaiveDateTime| time.year() * 12 + time.month0().cast_signed();
    let of_day = |time: NaiveDateTime| {
        i64::from(time.num_seconds_from_midnight()) * 1_000_000_000 + i64::from(time.nanosecond())
    };
    let mut months = months_of(later) - months_of(earlier);
    let mut days = later.day().cast_signed() - earlier.day().cast_signed();
    let mut nanoseconds = of_day(later) - of_day(earlier);
    if nanoseconds < 0 {
        nanoseconds += DAY_NS;
        days -= 1;
    }
    if days < 0 {
        days += days_in_month(earlier)?;
        months -= 1;
    }
    Some(IntervalMonthDayNano::new(months, days, nanoseconds))
}

fn days_in_month(time: NaiveDateTime) -> Option<i32> {
    let first = NaiveDate::from_ymd_opt(time.year(), time.month(), 1)?;
    let next = first.checked_add_months(chrono::Months::new(1))?;
    i32::try_from((next - first).max(TimeDelta::zero()).num_days()).ok()
}

fn justified(
    value: &ScalarValue,
    each: impl Fn(IntervalMonthDayNano) -> Option<IntervalMonthDayNano>,
) -> Result<ScalarValue> {
    match value.cast_to(&INTERVAL)? {
        ScalarValue::IntervalMonthDayNano(Some(interval)) => {
            Ok(ScalarValue::IntervalMonthDayNano(Some(each(interval).ok_or_else(out_of_range)?)))
        }
        other => Ok(other),
    }
}

/// 24 hours are a day; both get the same sign.
fn days_of_hours(interval: IntervalMonthDayNano) -> Option<IntervalMonthDayNano> {
    let IntervalMonthDayNano { months, mut days, mut nanoseconds } = interval;
    days = days.checked_add(i32::try_from(nanoseconds / DAY_NS).ok()?)?;
    nanoseconds %= DAY_NS;
    if days > 0 && nanoseconds < 0 {
        (days, nanoseconds) = (days - 1, nanoseconds + DAY_NS);
    } else if days < 0 && nanoseconds > 0 {
        (days, nanoseconds) = (days + 1, nanoseconds - DAY_NS);
    }
    Some(IntervalMonthDayNano::new(months, days, nanoseconds))
}

/// 30 days are a month; both get the same sign.
fn months_of_days(interval: IntervalMonthDayNano) -> Option<IntervalMonthDayNano> {
    let IntervalMonthDayNano { mut months, mut days, nanoseconds } = interval;
    months = months.checked_add(days / 30)?;
    days %= 30;
    if months > 0 && days < 0 {
        (months, days) = (months - 1, days + 30);
    } else if months < 0 && days > 0 {
        (months, days) = (months + 1, days - 30);
    }
    Some(IntervalMonthDayNano::new(months, days, nanoseconds))
}

/// The smaller parts get the sign of the larger.
fn even_signs(interval: IntervalMonthDayNano) -> Option<IntervalMonthDayNano> {
    let IntervalMonthDayNano { mut months, mut days, mut nanoseconds } = interval;
    if days > 0 && nanoseconds < 0 || days == 0 && months > 0 && nanoseconds < 0 {
        (days, nanoseconds) = (days - 1, nanoseconds + DAY_NS);
    } else if days < 0 && nanoseconds > 0 || days == 0 && months < 0 && nanoseconds > 0 {
        (days, nanoseconds) = (days + 1, nanoseconds - DAY_NS);
    }
    if months > 0 && days < 0 {
        (months, days) = (months - 1, days + 30);
    } else if months < 0 && days > 0 {
        (months, days) = (months + 1, days - 30);
    }
    Some(IntervalMonthDayNano::new(months, days, nanoseconds))
}

/// `make_interval(years, months, weeks, days, hours, mins, secs)`
fn make_interval(_statement: &Statement, values: &[ScalarValue]) -> Result<ScalarValue> {
    let mut parts = [0_i64; 6];
    for (part, value) in parts.iter_mut().zip(values) {
        *part = number(value).ok_or_else(|| exec_datafusion_err!("make_interval does not take {value}"))?;
    }
    let seconds = match values.get(6).map(|seconds| seconds.cast_to(&DataType::Float64)).transpose()? {
        Some(ScalarValue::Float64(Some(seconds))) if seconds.is_finite() => seconds,
        _ => 0.0,
    };
    let [years, months, weeks, days, hours, minutes] = parts;
    let made = || {
        let months = years.checked_mul(12)?.checked_add(months)?;
        let days = weeks.checked_mul(7)?.checked_add(days)?;
        let whole = hours.checked_mul(3_600)?.checked_add(minutes.checked_mul(60)?)?.checked_mul(1_000_000_000)?;
        let nanoseconds = whole.checked_add((seconds * 1e6).round() as i64 * 1_000)?;
        Some(IntervalMonthDayNano::new(i32::try_from(months).ok()?, i32::try_from(days).ok()?, nanoseconds))
    };
    Ok(ScalarValue::IntervalMonthDayNano(Some(made().ok_or_else(out_of_range)?)))
}
