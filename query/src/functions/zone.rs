//! Wall clocks of zones, with PostgreSQL's rules for times that a change of the clock leaves out or repeats.

use std::str::FromStr;

use arrow::array::timezone::Tz;
use chrono::{DateTime, LocalResult, NaiveDateTime, Offset, TimeDelta, TimeZone};
use chrono_tz::OffsetName;
use datafusion::common::config::ConfigOptions;
use datafusion::common::{DataFusionError, Result};
use probepilot_sql::{SqlError, SqlState};

/// A zone by its name or its offset.
#[derive(Clone, Debug)]
pub struct Zone {
    /// `None` is UTC, which needs no look-up.
    tz: Option<Tz>,
    /// The zone among those with a name, for its short names.
    iana: Option<chrono_tz::Tz>,
}

impl Zone {
    /// Coordinated universal time.
    pub const UTC: Zone = Zone { tz: None, iana: None };

    /// The zone of a name such as `Europe/Berlin`, `UTC` or `+02:00`, as the setting `TimeZone` takes it.
    pub(crate) fn named(name: &str) -> Result<Zone> {
        Zone::find(name).ok_or_else(|| {
            let error =
                SqlError::new(SqlState::INVALID_PARAMETER_VALUE, format!("time zone \"{name}\" not recognized"));
            DataFusionError::External(Box::new(error))
        })
    }

    /// The same, if it is one.
    pub fn find(name: &str) -> Option<Zone> {
        let name = name.trim();
        if ["utc", "gmt", "etc/utc", "etc/gmt", "zulu", "z"].contains(&name.to_ascii_lowercase().as_str()) {
            return Some(Zone::UTC);
        }
        Tz::from_str(name).ok().map(|tz| Zone { tz: Some(tz), iana: chrono_tz::Tz::from_str(name).ok() })
    }

    /// The zone of the session that plans or runs a statement with these options.
    pub(crate) fn of_session(options: &ConfigOptions) -> Result<Zone> {
        Zone::named(options.execution.time_zone.as_deref().unwrap_or("UTC"))
    }

    /// Whether it is UTC by its name.
    pub(crate) fn is_utc(&self) -> bool {
        self.tz.is_none()
    }

    /// Seconds east of UTC at a moment.
    pub(crate) fn offset_seconds(&self, unix_ns: i64) -> i32 {
        match &self.tz {
            None => 0,
            Some(tz) => tz.offset_from_utc_datetime(&naive(unix_ns)).fix().local_minus_utc(),
        }
    }

    /// Seconds east of UTC by seconds since 1970; remembers the last quarter of an hour: since 1972 no offset changes within one.
    pub fn cached(&self) -> impl FnMut(i64) -> i32 + '_ {
        let offset_seconds = |unix_seconds: i64| self.offset_seconds(unix_seconds.saturating_mul(1_000_000_000));
        let mut known = (i64::MIN, 0);
        move |unix_seconds| {
            let quarter = unix_seconds.div_euclid(900);
            if unix_seconds < 63_072_000 {
                return offset_seconds(unix_seconds);
            }
            if known.0 != quarter {
                known = (quarter, offset_seconds(unix_seconds));
            }
            known.1
        }
    }

    /// The Arrow zone, for reading text.
    pub fn tz(&self) -> Tz {
        self.tz.unwrap_or_else(|| Tz::from_str("+00:00").expect("a fixed offset is a zone"))
    }

    /// The short name of its time at a moment, such as `CEST`; an offset where it has none.
    pub(crate) fn abbreviation(&self, unix_ns: i64) -> String {
        let moment = naive(unix_ns);
        if let Some(zone) = self.iana {
            let offset = zone.offset_from_utc_datetime(&moment);
            if let Some(name) = offset.abbreviation() {
                return name.to_owned();
            }
        }
        match &self.tz {
            None => "UTC".to_owned(),
            Some(tz) => {
                let name = tz.offset_from_utc_datetime(&moment).to_string();
                name.strip_suffix(":00").map_or(name.clone(), str::to_owned)
            }
        }
    }

    /// What a wall clock shows at a moment: nanoseconds as if it were UTC.
    pub(crate) fn local_ns(&self, unix_ns: i64) -> Option<i64> {
        unix_ns.checked_add(i64::from(self.offset_seconds(unix_ns)) * 1_000_000_000)
    }

    /// The moment at which a wall clock shows a time. Of two it is the later, which is standard time; a time that was left out
    /// is read by the offset before the change.
    pub(crate) fn unix_ns(&self, local_ns: i64) -> Option<i64> {
        let Some(tz) = &self.tz else { return Some(local_ns) };
        let local = naive(local_ns);
        let offset = match tz.offset_from_local_datetime(&local) {
            LocalResult::Single(offset) | LocalResult::Ambiguous(_, offset) => offset,
            LocalResult::None => tz.offset_from_utc_datetime(&(local - TimeDelta::days(1))),
        };
        local_ns.checked_sub(i64::from(offset.fix().local_minus_utc()) * 1_000_000_000)
    }
}

/// Date and time of a count of nanoseconds since 1970.
pub(crate) fn naive(ns: i64) -> NaiveDateTime {
    DateTime::from_timestamp_nanos(ns).naive_utc()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ns(text: &str) -> i64 {
        DateTime::parse_from_rfc3339(text).unwrap().timestamp_nanos_opt().unwrap()
    }

    // Expected values: PostgreSQL 16, `timestamp '…' AT TIME ZONE 'America/New_York'`.
    #[test]
    fn times_that_a_change_of_the_clock_repeats_or_leaves_out_are_read_as_postgresql_reads_them() {
        let zone = Zone::named("America/New_York").unwrap();
        for (local, moment) in [
            ("2026-11-01T01:30:00Z", "2026-11-01T06:30:00Z"),
            ("2026-03-08T02:30:00Z", "2026-03-08T07:30:00Z"),
            ("2026-07-01T00:00:00Z", "2026-07-01T04:00:00Z"),
        ] {
            assert_eq!(zone.unix_ns(ns(local)), Some(ns(moment)), "{local}");
        }
        assert_eq!(zone.local_ns(ns("2026-07-01T04:00:00Z")), Some(ns("2026-07-01T00:00:00Z")));
        assert!(Zone::named("Mars/Olympus").is_err());
    }
}
