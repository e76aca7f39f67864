//! Dates, times and intervals as PostgreSQL prints them.

use arrow::datatypes::{IntervalMonthDayNano, TimeUnit};
use bytes::{BufMut, BytesMut};

use super::number::{put_integer, put_padded};

const DAY_US: i64 = 86_400_000_000;

/// Microseconds of a count of `unit`; nanoseconds are cut, towards the past.
pub(super) fn microseconds(value: i64, unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => value.saturating_mul(1_000_000),
        TimeUnit::Millisecond => value.saturating_mul(1_000),
        TimeUnit::Microsecond => value,
        TimeUnit::Nanosecond => value.div_euclid(1_000),
    }
}

/// Appends `2026-01-31`, with `BC` left to the caller: whether it is needed is returned.
fn put_day(out: &mut BytesMut, days: i64) -> bool {
    // Years begin in March, so that the leap day is the last one; eras of 400 years have the same number of days.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let before_christ = year <= 0;
    let shown = if before_christ { 1 - year } else { year };
    put_padded(out, u32::try_from(shown).unwrap_or(u32::MAX), 4);
    out.put_u8(b'-');
    put_padded(out, month as u32, 2);
    out.put_u8(b'-');
    put_padded(out, day as u32, 2);
    before_christ
}

/// Appends a date.
pub(super) fn put_date(out: &mut BytesMut, days: i64) {
    if put_day(out, days) {
        out.put_slice(b" BC");
    }
}

/// Appends `04:05:06.789`, without trailing zeros.
pub(super) fn put_time(out: &mut BytesMut, us: i64) {
    let seconds = us / 1_000_000;
    put_padded(out, (seconds / 3600) as u32, 2);
    out.put_u8(b':');
    put_padded(out, (seconds / 60 % 60) as u32, 2);
    out.put_u8(b':');
    put_padded(out, (seconds % 60) as u32, 2);
    put_fraction(out, us % 1_000_000);
}

fn put_fraction(out: &mut BytesMut, us: i64) {
    if us == 0 {
        return;
    }
    let (mut digits, mut width) = (us as u32, 6);
    while digits % 10 == 0 {
        digits /= 10;
        width -= 1;
    }
    out.put_u8(b'.');
    put_padded(out, digits, width);
}

/// Appends a timestamp that is `us` microseconds after 1970 on a wall clock `offset` seconds east of UTC; the offset is
/// printed when there is one.
pub(super) fn put_timestamp(out: &mut BytesMut, us: i64, offset: Option<i32>) {
    let local = us.saturating_add(i64::from(offset.unwrap_or(0)) * 1_000_000);
    let before_christ = put_day(out, local.div_euclid(DAY_US));
    out.put_u8(b' ');
    put_time(out, local.rem_euclid(DAY_US));
    if let Some(offset) = offset {
        out.put_u8(if offset < 0 { b'-' } else { b'+' });
        let seconds = offset.unsigned_abs();
        put_padded(out, seconds / 3600, 2);
        if seconds % 3600 != 0 {
            out.put_u8(b':');
            put_padded(out, seconds / 60 % 60, 2);
        }
        if seconds % 60 != 0 {
            out.put_u8(b':');
            put_padded(out, seconds % 60, 2);
        }
    }
    if before_christ {
        out.put_slice(b" BC");
    }
}

/// An interval in PostgreSQL's three parts.
#[derive(Clone, Copy, Debug)]
pub struct Interval {
    /// Whole months.
    pub months: i32,
    /// Whole days.
    pub days: i32,
    /// The rest, in microseconds.
    pub us: i64,
}

impl From<IntervalMonthDayNano> for Interval {
    fn from(value: IntervalMonthDayNano) -> Interval {
        Interval { months: value.months, days: value.days, us: value.nanoseconds / 1_000 }
    }
}

impl Interval {
    /// An interval of months alone.
    pub(super) fn of_months(months: i32) -> Interval {
        Interval { months, days: 0, us: 0 }
    }

    /// An interval of days and milliseconds.
    pub(super) fn of_days(days: i32, milliseconds: i32) -> Interval {
        Interval { months: 0, days, us: i64::from(milliseconds) * 1_000 }
    }

    /// What PostgreSQL gives for the difference of two timestamps: whole days, then time.
    pub(super) fn of_duration(value: i64, unit: TimeUnit) -> Interval {
        let us = match unit {
            TimeUnit::Nanosecond => value / 1_000,
            unit => microseconds(value, unit),
        };
        Interval { months: 0, days: i32::try_from(us / DAY_US).unwrap_or(i32::MAX), us: us % DAY_US }
    }

    /// Appends `1 year 2 mons -3 days +04:05:06`: a part after a negative one shows its sign.
    pub(super) fn put(self, out: &mut BytesMut) {
        let Interval { months, days, us } = self;
        let start = out.len();
        let mut negative_before = false;
        for (value, unit) in [(months / 12, "year"), (months % 12, "mon"), (days, "day")] {
            if value == 0 {
                continue;
            }
            if out.len() > start {
                out.put_u8(b' ');
            }
            if negative_before && value > 0 {
                out.put_u8(b'+');
            }
            put_integer(out, i64::from(value));
            out.put_u8(b' ');
            out.put_slice(unit.as_bytes());
            if value != 1 {
                out.put_u8(b's');
            }
            negative_before = value < 0;
        }
        if us != 0 || out.len() == start {
            if out.len() > start {
                out.put_u8(b' ');
            }
            if us < 0 {
                out.put_u8(b'-');
            } else if negative_before {
                out.put_u8(b'+');
            }
            put_time(out, us.saturating_abs());
        }
    }
}
