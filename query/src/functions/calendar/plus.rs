//! `timestamptz_plus(time, interval, zone)`: months and days on the wall clock of the zone, then the time that goes by.

use std::sync::Arc;

use arrow::array::{AsArray, TimestampNanosecondArray};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit, TimestampNanosecondType,
};
use chrono::{Days, Months, NaiveDateTime};
use datafusion::common::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

use super::{constant_text, moment_type, out_of_range};
use crate::functions::zone::{Zone, naive};

/// The function; with a fourth argument it takes the interval away. Users write `+` and `-`.
pub(crate) fn timestamptz_plus() -> ScalarUDF {
    ScalarUDF::new_from_impl(Plus { signature: Signature::variadic_any(Volatility::Immutable) })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Plus {
    signature: Signature,
}

impl ScalarUDFImpl for Plus {
    fn name(&self) -> &str {
        "timestamptz_plus"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(moment_type())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let zone = Zone::named(&constant_text(&args.args[2], "the zone")?.unwrap_or_default())?;
        let takes_away = args.args.len() == 4;
        let arrays = ColumnarValue::values_to_arrays(&args.args[..2])?;
        let times = cast(&arrays[0], &moment_type())?;
        let intervals = cast(&arrays[1], &DataType::Interval(IntervalUnit::MonthDayNano))?;
        let times = times.as_primitive::<TimestampNanosecondType>().iter();
        let sums = times.zip(intervals.as_primitive::<IntervalMonthDayNanoType>()).map(|pair| {
            let (Some(time), Some(interval)) = pair else { return Ok(None) };
            plus(time, interval, takes_away, &zone).map(Some).ok_or_else(out_of_range)
        });
        let sums: TimestampNanosecondArray = sums.collect::<Result<Vec<_>>>()?.into();
        Ok(ColumnarValue::Array(Arc::new(sums.with_timezone("UTC"))))
    }
}

fn plus(time: i64, interval: IntervalMonthDayNano, takes_away: bool, zone: &Zone) -> Option<i64> {
    let IntervalMonthDayNano { months, days, nanoseconds } = interval;
    let (months, days, nanoseconds) = if takes_away {
        (months.checked_neg()?, days.checked_neg()?, nanoseconds.checked_neg()?)
    } else {
        (months, days, nanoseconds)
    };
    if months == 0 && days == 0 {
        return time.checked_add(nanoseconds);
    }
    let local = on_calendar(naive(zone.local_ns(time)?), months, days)?;
    zone.unix_ns(local.and_utc().timestamp_nanos_opt()?)?.checked_add(nanoseconds)
}

/// The same time of another day; the last day of a month that is too short.
fn on_calendar(local: NaiveDateTime, months: i32, days: i32) -> Option<NaiveDateTime> {
    let by_months = Months::new(months.unsigned_abs());
    let local = if months < 0 { local.checked_sub_months(by_months)? } else { local.checked_add_months(by_months)? };
    let by_days = Days::new(u64::from(days.unsigned_abs()));
    if days < 0 { local.checked_sub_days(by_days) } else { local.checked_add_days(by_days) }
}
