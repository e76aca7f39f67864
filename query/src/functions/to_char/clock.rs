//! What a template shows of a time or an interval.

use arrow::datatypes::IntervalMonthDayNano;
use chrono::{Datelike, NaiveDate, Timelike};

use crate::functions::zone::{Zone, naive};

/// A time on a wall clock, or an interval's parts.
#[derive(Clone, Debug)]
pub(super) struct Clock {
    /// Astronomical: 0 is 1 BC. Of an interval its whole years.
    pub(super) year: i64,
    pub(super) month: i64,
    pub(super) day: i64,
    /// Of an interval all hours of its time part.
    pub(super) hour: i64,
    pub(super) minute: i64,
    pub(super) second: i64,
    pub(super) microsecond: i64,
    /// The date; `None` of an interval.
    pub(super) date: Option<NaiveDate>,
    /// Short name and seconds east of UTC, of a time with zone.
    pub(super) zone: Option<(String, i64)>,
}

impl Clock {
    /// A time; with a zone it is a moment that the zone's clock shows.
    pub(super) fn of_time(ns: i64, zone: Option<&Zone>) -> Clock {
        let local = zone.and_then(|zone| zone.local_ns(ns)).unwrap_or(ns);
        let time = naive(local);
        Clock {
            year: i64::from(time.year()),
            month: i64::from(time.month()),
            day: i64::from(time.day()),
            hour: i64::from(time.hour()),
            minute: i64::from(time.minute()),
            second: i64::from(time.second()),
            microsecond: i64::from(time.nanosecond() / 1_000),
            date: Some(time.date()),
            zone: zone.map(|zone| (zone.abbreviation(ns), i64::from(zone.offset_seconds(ns)))),
        }
    }

    /// An interval: each part has its sign.
    pub(super) fn of_interval(interval: IntervalMonthDayNano) -> Clock {
        let microseconds = interval.nanoseconds / 1_000;
        let seconds = microseconds / 1_000_000;
        Clock {
            year: i64::from(interval.months / 12),
            month: i64::from(interval.months % 12),
            day: i64::from(interval.days),
            hour: seconds / 3_600,
            minute: seconds / 60 % 60,
            second: seconds % 60,
            microsecond: microseconds % 1_000_000,
            date: None,
            zone: None,
        }
    }

    /// The year as it is written, 1 before 1 and so on.
    pub(super) fn written_year(&self, year: i64) -> i64 {
        if self.date.is_some() && year <= 0 { 1 - year } else { year }
    }

    /// Days of the year, from 1; of an interval all its days, with months of 30.
    pub(super) fn day_of_year(&self) -> i64 {
        self.date.map_or(self.year * 360 + self.month * 30 + self.day, |date| i64::from(date.ordinal()))
    }

    /// Days since 4714-11-24 BC, as astronomers count them.
    pub(super) fn julian_day(&self) -> i64 {
        self.date.map_or(0, |date| i64::from(date.num_days_from_ce()) + 1_721_425)
    }
}
