//! Bounds in the text encodings that DuckLake documents for its statistics.

use chrono::{DateTime, NaiveDate, NaiveDateTime};
use probepilot_sql::SqlType;

use crate::manifest::Bound;

/// Days and times count from here.
const UNIX_EPOCH: NaiveDate = NaiveDate::from_ymd_opt(1970, 1, 1).expect("1 January 1970 is a date");

/// Which end of a range a bound is: cutting a text makes it smaller, which only a lower bound may be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Lower,
    Upper,
}

/// A bound's text, or `None` when it cannot be told: then other programs read the file without it.
pub(super) fn encode(sql_type: SqlType, bound: &Bound, end: End) -> Option<String> {
    match (sql_type, bound) {
        (SqlType::Boolean, Bound::Boolean(value)) => Some(if *value { "1" } else { "0" }.to_owned()),
        (SqlType::SmallInt | SqlType::Integer | SqlType::BigInt, Bound::Int(value)) => Some(value.to_string()),
        (SqlType::Date, Bound::Int(days)) => {
            let date = UNIX_EPOCH.checked_add_signed(chrono::TimeDelta::try_days(*days)?)?;
            Some(date.format("%Y-%m-%d").to_string())
        }
        (SqlType::Timestamp | SqlType::Timestamptz, Bound::Int(nanoseconds)) => {
            Some(DateTime::from_timestamp_nanos(*nanoseconds).format("%Y-%m-%d %H:%M:%S%.9f").to_string())
        }
        (SqlType::Real | SqlType::DoublePrecision, Bound::Float(value)) if !value.is_nan() => Some(value.to_string()),
        // PostgreSQL's text cannot hold a NUL character.
        (SqlType::Text | SqlType::Inet | SqlType::Uuid | SqlType::Varchar(_), Bound::Text(text)) => {
            match (text.find('\0'), end) {
                (None, _) => Some(text.clone()),
                (Some(at), End::Lower) => Some(text[..at].to_owned()),
                (Some(_), End::Upper) => None,
            }
        }
        _ => None,
    }
}

/// The bound a text stands for; `None` when it is not of this type.
pub(super) fn decode(sql_type: SqlType, text: &str) -> Option<Bound> {
    match sql_type {
        SqlType::Boolean => match text {
            "1" | "true" => Some(Bound::Boolean(true)),
            "0" | "false" => Some(Bound::Boolean(false)),
            _ => None,
        },
        SqlType::SmallInt | SqlType::Integer | SqlType::BigInt => text.parse().ok().map(Bound::Int),
        SqlType::Date => {
            let date = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?;
            Some(Bound::Int((date - UNIX_EPOCH).num_days()))
        }
        SqlType::Timestamp | SqlType::Timestamptz => {
            let time = NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f").ok()?;
            time.and_utc().timestamp_nanos_opt().map(Bound::Int)
        }
        SqlType::Real | SqlType::DoublePrecision => {
            text.parse::<f64>().ok().filter(|value| !value.is_nan()).map(Bound::Float)
        }
        SqlType::Text | SqlType::Inet | SqlType::Uuid | SqlType::Varchar(_) => Some(Bound::Text(text.to_owned())),
        SqlType::Bytea | SqlType::Json | SqlType::Jsonb | SqlType::Numeric(..) | SqlType::Array(_) => None,
    }
}

/// Whether DuckLake must take a column for one that may hold NaN: we do not count them, and NaN sorts above all.
pub(super) fn may_hold_nan(sql_type: SqlType) -> Option<bool> {
    matches!(sql_type, SqlType::Real | SqlType::DoublePrecision).then_some(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(sql_type: SqlType, bound: Bound, expected: &str) {
        let text = encode(sql_type, &bound, End::Upper);
        assert_eq!(text.as_deref(), Some(expected));
        assert_eq!(decode(sql_type, expected), Some(bound));
    }

    #[test]
    fn bounds_have_the_documented_text() {
        check(SqlType::Boolean, Bound::Boolean(true), "1");
        check(SqlType::Boolean, Bound::Boolean(false), "0");
        check(SqlType::SmallInt, Bound::Int(-7), "-7");
        check(SqlType::BigInt, Bound::Int(i64::MIN), "-9223372036854775808");
        check(SqlType::Date, Bound::Int(-1), "1969-12-31");
        check(SqlType::Timestamptz, Bound::Int(-1), "1969-12-31 23:59:59.999999999");
        check(SqlType::Timestamp, Bound::Int(1_700_000_000_000_000_001), "2023-11-14 22:13:20.000000001");
        check(SqlType::Timestamptz, Bound::Int(i64::MAX), "2262-04-11 23:47:16.854775807");
        check(SqlType::DoublePrecision, Bound::Float(0.1), "0.1");
        check(SqlType::Real, Bound::Float(f64::NEG_INFINITY), "-inf");
        check(SqlType::Text, Bound::Text("naïve".into()), "naïve");
        check(SqlType::Inet, Bound::Text("10.0.0.1".into()), "10.0.0.1");
    }

    #[test]
    fn a_text_with_a_nul_is_cut_below_and_unknown_above() {
        let bound = Bound::Text("a\0b".into());
        assert_eq!(encode(SqlType::Text, &bound, End::Lower).as_deref(), Some("a"));
        assert_eq!(encode(SqlType::Text, &bound, End::Upper), None);
    }

    #[test]
    fn what_is_not_of_the_type_is_no_bound() {
        assert_eq!(encode(SqlType::DoublePrecision, &Bound::Float(f64::NAN), End::Upper), None);
        assert_eq!(encode(SqlType::BigInt, &Bound::Text("1".into()), End::Upper), None);
        assert_eq!(encode(SqlType::Date, &Bound::Int(i64::MAX), End::Upper), None);
        assert_eq!(decode(SqlType::BigInt, "one"), None);
        assert_eq!(decode(SqlType::DoublePrecision, "nan"), None);
        assert_eq!(decode(SqlType::Bytea, "00"), None);
    }
}
