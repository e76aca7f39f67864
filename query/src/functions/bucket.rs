//! Buckets of time, and of integers: `time_bucket` and `time_bucket_gapfill`.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, TimestampNanosecondArray};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Int64Type, IntervalMonthDayNanoType, IntervalUnit, TimeUnit, TimestampNanosecondType,
};
use chrono::{Datelike, NaiveDate};
use datafusion::common::{DataFusionError, Result, ScalarValue, exec_datafusion_err, exec_err};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};
use probepilot_sql::{SqlError, SqlState};

use super::zone::{Zone, naive};

/// Buckets of what is there.
pub(crate) const TIME_BUCKET: &str = "time_bucket";

/// Buckets of a whole range; see [`crate::gapfill`].
pub(crate) const GAPFILL: &str = "time_bucket_gapfill";

/// Both functions.
pub(super) fn all() -> Vec<ScalarUDF> {
    [TIME_BUCKET, GAPFILL].map(|name| ScalarUDF::new_from_impl(TimeBucket::new(name))).into()
}

/// `time_bucket`, for plans that are made here.
pub(crate) fn time_bucket() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::new_from_impl(TimeBucket::new(TIME_BUCKET)))
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

fn interval(value: &ScalarValue) -> Result<Option<(i32, i32, i64)>> {
    let interval = match value {
        ScalarValue::IntervalMonthDayNano(interval) => *interval,
        other => match other.cast_to(&DataType::Interval(IntervalUnit::MonthDayNano))? {
            ScalarValue::IntervalMonthDayNano(interval) => interval,
            _ => None,
        },
    };
    Ok(interval.map(IntervalMonthDayNanoType::to_parts))
}

impl Width {
    fn of(value: &ScalarValue) -> Result<Option<Width>> {
        let Some((months, days, nanoseconds)) = interval(value)? else { return Ok(None) };
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
                let origin = month(origin.unwrap_or(MONTHS_ORIGIN_NS));
                begin_of_month(origin + (month(time) - origin).div_euclid(width) * width)
            }
        }
    }

    /// The time one bucket later.
    fn after(self, time: i64) -> Option<i64> {
        match self {
            Width::Nanoseconds(width) => time.checked_add(width),
            Width::Months(width) => begin_of_month(month(time) + width),
        }
    }
}

/// Months since year 0.
fn month(ns: i64) -> i64 {
    let date = naive(ns).date();
    i64::from(date.year()) * 12 + i64::from(date.month0())
}

fn begin_of_month(month: i64) -> Option<i64> {
    let year = i32::try_from(month.div_euclid(12)).ok()?;
    let date = NaiveDate::from_ymd_opt(year, month.rem_euclid(12) as u32 + 1, 1)?;
    date.and_hms_opt(0, 0, 0)?.and_utc().timestamp_nanos_opt()
}

/// How time is cut into buckets.
#[derive(Clone, Debug)]
pub(crate) struct Buckets {
    width: Width,
    /// On whose wall clock buckets begin; `None` is UTC, or the clock of a time without zone.
    zone: Option<Zone>,
    /// Where one bucket begins, on that clock.
    origin: Option<i64>,
    /// By how much all begin later, nanoseconds and months.
    offset: (i64, i32),
}

impl Buckets {
    /// Reads the arguments behind the time: a text is a zone, an interval an offset, a time the origin. `None` when one that
    /// must be there is NULL.
    pub(crate) fn new(width: &ScalarValue, rest: &[ScalarValue]) -> Result<Option<Buckets>> {
        let Some(width) = Width::of(width)? else { return Ok(None) };
        let mut buckets = Buckets { width, zone: None, origin: None, offset: (0, 0) };
        let mut origin = None;
        for value in rest.iter().filter(|value| !value.is_null()) {
            match value.data_type() {
                DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
                    let text = value.try_as_str().flatten().unwrap_or_default();
                    match Zone::find(text) {
                        Some(zone) => buckets.zone = Some(zone),
                        // An unknown name is told as such; what begins like a date is a time.
                        None if text.trim_start().starts_with(|first: char| first.is_ascii_digit()) => {
                            origin = Some(nanoseconds(value)?);
                        }
                        None => return Zone::named(text).map(|_| None),
                    }
                }
                DataType::Interval(_) | DataType::Duration(_) => {
                    let (months, days, nanoseconds) = interval(value)?.unwrap_or_default();
                    buckets.offset = (i64::from(days) * DAY_NS + nanoseconds, months);
                }
                _ => origin = Some(nanoseconds(value)?),
            }
        }
        if buckets.offset.1 != 0 && matches!(width, Width::Nanoseconds(_)) {
            return Err(invalid("the offset of a bucket without months cannot have months"));
        }
        buckets.origin = origin.and_then(|origin| buckets.local(origin));
        Ok(Some(buckets))
    }

    fn local(&self, time: i64) -> Option<i64> {
        self.zone.as_ref().map_or(Some(time), |zone| zone.local_ns(time))
    }

    fn moment(&self, local: i64) -> Option<i64> {
        self.zone.as_ref().map_or(Some(local), |zone| zone.unix_ns(local))
    }

    fn shifted(&self, local: i64, sign: i32) -> Option<i64> {
        let (nanoseconds, months) = self.offset;
        let moved = local.checked_add(nanoseconds.checked_mul(i64::from(sign))?)?;
        if months == 0 {
            return Some(moved);
        }
        let first = begin_of_month(month(moved) + i64::from(sign * months))?;
        first.checked_add(moved - begin_of_month(month(moved))?)
    }

    /// The begin of the bucket that holds `time`; `None` when it does not fit in 64 bits.
    pub(crate) fn begin(&self, time: i64) -> Option<i64> {
        let local = self.shifted(self.local(time)?, -1)?;
        self.moment(self.shifted(self.width.begin(local, self.origin)?, 1)?)
    }

    /// The begin of the bucket after the one that begins at `time`.
    pub(crate) fn next(&self, time: i64) -> Option<i64> {
        let local = self.shifted(self.local(time)?, -1)?;
        let next = self.moment(self.shifted(self.width.after(local)?, 1)?)?;
        // Where the clock is set back the wall clock's next bucket may be this one again.
        if next > time { Some(next) } else { self.next(time.checked_add(3_600_000_000_000)?) }
    }
}

/// Nanoseconds of a time; text is read as UTC.
fn nanoseconds(value: &ScalarValue) -> Result<i64> {
    let data_type = match value.data_type() {
        DataType::Timestamp(_, zone) => DataType::Timestamp(TimeUnit::Nanosecond, zone),
        DataType::Date32 | DataType::Date64 => DataType::Timestamp(TimeUnit::Nanosecond, None),
        _ => DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into())),
    };
    match value.cast_to(&data_type)? {
        ScalarValue::TimestampNanosecond(Some(time), _) => Ok(time),
        other => exec_err!("{other} is not a time"),
    }
}

/// `time_bucket(width, time [, origin | offset | zone …])`: the begin of the bucket, as TimescaleDB counts them.
#[derive(Debug, PartialEq, Eq, Hash)]
struct TimeBucket {
    name: &'static str,
    signature: Signature,
}

impl TimeBucket {
    fn new(name: &'static str) -> TimeBucket {
        let arities = (2..=5).map(TypeSignature::Any).collect();
        TimeBucket { name, signature: Signature::one_of(arities, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for TimeBucket {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        Ok(match &arguments[1] {
            DataType::Timestamp(_, zone) => DataType::Timestamp(TimeUnit::Nanosecond, zone.clone()),
            DataType::Date32 | DataType::Date64 => DataType::Date32,
            integer if integer.is_integer() && arguments[0].is_integer() => DataType::Int64,
            _ => DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into())),
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let returned = args.return_field.data_type().clone();
        let (settings, time) = (constants(self.name, &args.args)?, &args.args[1]);
        if returned == DataType::Int64 {
            return integers(&settings, time);
        }
        // `time_bucket_gapfill` has its range behind the zone: it does not move buckets.
        let rest = if self.name == GAPFILL { &settings[1..settings.len().min(2)] } else { &settings[1..] };
        let Some(buckets) = Buckets::new(&settings[0], rest)? else {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from(&returned)?));
        };
        let zone = match &returned {
            DataType::Timestamp(_, zone) => zone.clone(),
            _ => None,
        };
        let begin = |time: i64| buckets.begin(time).ok_or_else(|| exec_datafusion_err!("timestamp out of range"));
        let begins = |times: &ArrayRef| -> Result<ArrayRef> {
            let times = cast(times, &DataType::Timestamp(TimeUnit::Nanosecond, zone.clone()))?;
            let begins: TimestampNanosecondArray = times.as_primitive::<TimestampNanosecondType>().try_unary(begin)?;
            Ok(cast(&begins.with_timezone_opt(zone.clone()), &returned)?)
        };
        by_array(time, begins)
    }
}

/// The arguments around the time, which must be constants: width first.
fn constants(name: &str, args: &[ColumnarValue]) -> Result<Vec<ScalarValue>> {
    let others = args.iter().enumerate().filter(|(index, _)| *index != 1);
    others
        .map(|(index, arg)| match arg {
            ColumnarValue::Scalar(value) => Ok(value.clone()),
            ColumnarValue::Array(_) if index == 0 => Err(invalid("the bucket width must be a constant")),
            ColumnarValue::Array(_) => Err(invalid(format!("argument {} of {name} must be a constant", index + 1))),
        })
        .collect()
}

fn by_array(value: &ColumnarValue, each: impl Fn(&ArrayRef) -> Result<ArrayRef>) -> Result<ColumnarValue> {
    match value {
        ColumnarValue::Array(array) => each(array).map(ColumnarValue::Array),
        ColumnarValue::Scalar(value) => {
            let array = each(&value.to_array()?)?;
            Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0)?))
        }
    }
}

/// Buckets of integers: `time_bucket(width, number [, offset])`.
fn integers(settings: &[ScalarValue], value: &ColumnarValue) -> Result<ColumnarValue> {
    let number = |value: &ScalarValue| -> Result<Option<i64>> {
        match value.cast_to(&DataType::Int64)? {
            ScalarValue::Int64(number) => Ok(number),
            _ => Ok(None),
        }
    };
    let offset = settings.get(1).map_or(Ok(Some(0)), number)?.unwrap_or(0);
    let Some(width) = number(&settings[0])? else { return Ok(ColumnarValue::Scalar(ScalarValue::Int64(None))) };
    if width <= 0 {
        return Err(invalid("period must be greater than 0"));
    }
    let begin = |number: i64| {
        let moved = i128::from(number) - i128::from(offset);
        i64::try_from(moved.div_euclid(i128::from(width)) * i128::from(width) + i128::from(offset))
            .map_err(|_| exec_datafusion_err!("bigint out of range"))
    };
    by_array(value, |numbers| {
        let numbers = cast(numbers, &DataType::Int64)?;
        let begins: Int64Array = numbers.as_primitive::<Int64Type>().try_unary(begin)?;
        Ok(Arc::new(begins) as ArrayRef)
    })
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;

    fn ns(text: &str) -> i64 {
        DateTime::parse_from_rfc3339(text).unwrap().timestamp_nanos_opt().unwrap()
    }

    fn text(text: &str) -> ScalarValue {
        ScalarValue::Utf8(Some(text.into()))
    }

    fn moment(time: &str) -> ScalarValue {
        ScalarValue::TimestampNanosecond(Some(ns(time)), Some("UTC".into()))
    }

    fn check(width: &str, time: &str, rest: &[ScalarValue], expected: &str) {
        let buckets = Buckets::new(&text(width), rest).unwrap().unwrap();
        let begin = buckets.begin(ns(time)).unwrap();
        assert_eq!(DateTime::from_timestamp_nanos(begin).to_rfc3339(), expected, "{width} {time} {rest:?}");
    }

    // Expected values: TimescaleDB's documented behaviour of time_bucket.
    #[test]
    fn buckets_begin_where_timescaledb_begins_them() {
        check("5 minutes", "2026-03-01T10:07:59Z", &[], "2026-03-01T10:05:00+00:00");
        check("300.000s", "2026-03-01T10:07:59Z", &[], "2026-03-01T10:05:00+00:00");
        check("1 week", "2026-03-01T10:07:59Z", &[], "2026-02-23T00:00:00+00:00");
        check("1 month", "2026-03-31T10:07:59Z", &[], "2026-03-01T00:00:00+00:00");
        check("1 day", "1969-12-31T23:59:59Z", &[], "1969-12-31T00:00:00+00:00");
        let half_past = moment("2026-03-01T00:30:00Z");
        check("1 hour", "2026-03-01T10:07:59Z", &[half_past], "2026-03-01T09:30:00+00:00");
    }

    #[test]
    fn a_zone_moves_days_and_an_offset_moves_all() {
        let berlin = || text("Europe/Berlin");
        check("1 day", "2026-07-01T21:59:00Z", &[berlin()], "2026-06-30T22:00:00+00:00");
        check("1 day", "2026-07-01T22:01:00Z", &[berlin()], "2026-07-01T22:00:00+00:00");
        check("1 month", "2026-01-31T23:30:00Z", &[berlin()], "2026-01-31T23:00:00+00:00");
        let six_hours =
            ScalarValue::IntervalMonthDayNano(Some(IntervalMonthDayNanoType::make_value(0, 0, 6 * 3_600_000_000_000)));
        check("1 day", "2026-07-01T05:00:00Z", &[six_hours], "2026-06-30T06:00:00+00:00");
        assert!(Buckets::new(&text("1 day"), &[text("Mars/Olympus")]).is_err());
    }

    #[test]
    fn the_next_bucket_begins_when_the_wall_clock_says_so() {
        let buckets = Buckets::new(&text("1 day"), &[text("America/New_York")]).unwrap().unwrap();
        let first = buckets.begin(ns("2026-03-08T12:00:00Z")).unwrap();
        assert_eq!(first, ns("2026-03-08T05:00:00Z"));
        assert_eq!(buckets.next(first), Some(ns("2026-03-09T04:00:00Z")));
    }

    #[test]
    fn a_width_of_nothing_is_refused() {
        assert!(Width::of(&text("0 seconds")).is_err());
        assert!(Width::of(&text("1 month 1 day")).is_err());
    }
}
