//! Texts as values of a type: what PostgreSQL's input functions read, with their errors.

use std::net::IpAddr;

use arrow::array::timezone::Tz;
use arrow::compute::kernels::cast_utils::{Parser, string_to_datetime};
use arrow::datatypes::Date32Type;
use datafusion::common::ScalarValue;
use probepilot_sql::{SqlError, SqlState, SqlType};
use uuid::Uuid;

use crate::functions::{array_elements, json};

/// The value that `text` stands for; times without an offset are in `zone`.
///
/// 22P02, or 22007 for dates and times, for what is no such value; 22003 for a number that does not fit, 22001 for a text
/// that is too long.
pub(super) fn value(text: &str, sql_type: SqlType, zone: Tz) -> Result<ScalarValue, SqlError> {
    let invalid = || invalid(text, sql_type);
    let word = text.trim();
    Ok(match sql_type {
        SqlType::Boolean => ScalarValue::Boolean(Some(boolean(word).ok_or_else(invalid)?)),
        SqlType::SmallInt => ScalarValue::Int16(Some(integer(text, sql_type)?)),
        SqlType::Integer => ScalarValue::Int32(Some(integer(text, sql_type)?)),
        SqlType::BigInt => ScalarValue::Int64(Some(integer(text, sql_type)?)),
        SqlType::Real => ScalarValue::Float32(Some(word.parse().map_err(|_| invalid())?)),
        SqlType::DoublePrecision => ScalarValue::Float64(Some(word.parse().map_err(|_| invalid())?)),
        SqlType::Numeric(precision, scale) => {
            let (digits, exponent) = decimal(word).ok_or_else(invalid)?;
            let value = scaled(digits, exponent + i64::from(scale)).ok_or_else(|| overflow(precision, scale))?;
            fits(value, precision, scale)?;
            ScalarValue::Decimal128(Some(value), precision, scale.cast_signed())
        }
        SqlType::Text | SqlType::Json => {
            if sql_type == SqlType::Json {
                json::check(text)?;
            }
            ScalarValue::Utf8View(Some(text.to_owned()))
        }
        SqlType::Varchar(limit) => {
            within(text, limit)?;
            ScalarValue::Utf8View(Some(text.to_owned()))
        }
        SqlType::Jsonb => ScalarValue::Utf8View(Some(json::normal(text)?)),
        SqlType::Uuid => {
            let uuid = Uuid::parse_str(word).map_err(|_| invalid())?;
            ScalarValue::Utf8View(Some(uuid.hyphenated().to_string()))
        }
        SqlType::Inet => ScalarValue::Utf8View(Some(address(word).ok_or_else(invalid)?)),
        SqlType::Bytea => ScalarValue::BinaryView(Some(match text.strip_prefix("\\x") {
            Some(digits) => hexadecimal(digits).ok_or_else(invalid)?,
            None => text.as_bytes().to_vec(),
        })),
        SqlType::Date => ScalarValue::Date32(Some(Date32Type::parse(word).ok_or_else(invalid)?)),
        SqlType::Timestamp => {
            let utc: Tz = "UTC".parse().expect("UTC is a zone");
            ScalarValue::TimestampNanosecond(Some(moment(word, &utc).ok_or_else(invalid)?), None)
        }
        SqlType::Timestamptz => {
            ScalarValue::TimestampNanosecond(Some(moment(word, &zone).ok_or_else(invalid)?), Some("UTC".into()))
        }
        SqlType::Array(element) => {
            let elements = array_elements(text).ok_or_else(|| {
                let error = SqlError::new(
                    SqlState::INVALID_TEXT_REPRESENTATION,
                    format!("malformed array literal: \"{text}\""),
                );
                if word.starts_with('{') { error } else { error.detail("Array value must start with \"{\".") }
            })?;
            let null = || {
                ScalarValue::try_from(&element.arrow()).map_err(|error| SqlError::internal("a type has no NULL", error))
            };
            let values = elements.iter().map(|element_text| match element_text {
                Some(text) => value(text, *element, zone),
                None => null(),
            });
            let values = values.collect::<Result<Vec<_>, _>>()?;
            ScalarValue::List(ScalarValue::new_list_nullable(&values, &element.arrow()))
        }
    })
}

fn invalid(text: &str, sql_type: SqlType) -> SqlError {
    let state = match sql_type {
        SqlType::Date | SqlType::Timestamp | SqlType::Timestamptz => SqlState::INVALID_DATETIME_FORMAT,
        _ => SqlState::INVALID_TEXT_REPRESENTATION,
    };
    SqlError::new(state, format!("invalid input syntax for type {}: \"{text}\"", sql_type.sql()))
}

fn integer<T: TryFrom<i64> + std::str::FromStr<Err = std::num::ParseIntError>>(
    text: &str,
    sql_type: SqlType,
) -> Result<T, SqlError> {
    text.trim().parse::<T>().map_err(|error| match error.kind() {
        std::num::IntErrorKind::PosOverflow | std::num::IntErrorKind::NegOverflow => {
            let message = format!("value \"{text}\" is out of range for type {}", sql_type.sql());
            SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, message)
        }
        _ => invalid(text, sql_type),
    })
}

/// A number that is written without quotes for a column of integers: halves round away from zero, as numerics do.
pub(super) fn rounded(number: &str, sql_type: SqlType) -> Result<ScalarValue, SqlError> {
    let (digits, exponent) = decimal(number).ok_or_else(|| invalid(number, sql_type))?;
    let whole = scaled(digits, exponent).and_then(|whole| i64::try_from(whole).ok());
    let out_of_range = || out_of_range(sql_type);
    let whole = whole.ok_or_else(out_of_range)?;
    Ok(match sql_type {
        SqlType::SmallInt => ScalarValue::Int16(Some(i16::try_from(whole).map_err(|_| out_of_range())?)),
        SqlType::Integer => ScalarValue::Int32(Some(i32::try_from(whole).map_err(|_| out_of_range())?)),
        _ => ScalarValue::Int64(Some(whole)),
    })
}

/// 22003 for a number outside its type.
pub(super) fn out_of_range(sql_type: SqlType) -> SqlError {
    SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, format!("{} out of range", sql_type.sql()))
}

/// PostgreSQL's words for true and false, and their beginnings.
fn boolean(word: &str) -> Option<bool> {
    let word = word.to_ascii_lowercase();
    let begins = |full: &str| !word.is_empty() && full.starts_with(&word);
    if word == "1" || word == "on" || begins("true") || begins("yes") {
        return Some(true);
    }
    (word == "0" || word == "of" || word == "off" || begins("false") || begins("no")).then_some(false)
}

/// The digits of a number, and by what power of ten they are multiplied.
fn decimal(text: &str) -> Option<(i128, i64)> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (negative, digits) = match mantissa.strip_prefix(['-', '+']) {
        Some(rest) => (mantissa.starts_with('-'), rest),
        None => (false, mantissa),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all = format!("{whole}{fraction}");
    if all.is_empty() || !all.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let significant = all.trim_start_matches('0');
    // More digits than a number holds are cut: they are behind every point that a column keeps, or too many before it.
    let (kept, cut) = significant.split_at(significant.len().min(DIGITS_MAX));
    let value = if kept.is_empty() { 0 } else { kept.parse::<i128>().ok()? };
    let exponent = i64::from(exponent) - fraction.len() as i64 + cut.len() as i64;
    Some((if negative { -value } else { value }, exponent))
}

/// Digits that 128 bits hold.
const DIGITS_MAX: usize = 38;

/// `digits` times ten to the `exponent`, halves away from zero; `None` for what is too large.
fn scaled(digits: i128, exponent: i64) -> Option<i128> {
    if digits == 0 {
        return Some(0);
    }
    if exponent >= 0 {
        let factor = 10_i128.checked_pow(u32::try_from(exponent).ok()?)?;
        return digits.checked_mul(factor);
    }
    let Some(divisor) = u32::try_from(-exponent).ok().and_then(|power| 10_i128.checked_pow(power)) else {
        return Some(0);
    };
    let half = divisor / 2 * digits.signum();
    Some(digits.checked_add(half)? / divisor)
}

/// 22003 for more digits than a column keeps.
pub(super) fn fits(value: i128, precision: u8, scale: u8) -> Result<(), SqlError> {
    match 10_i128.checked_pow(precision.into()) {
        Some(limit) if value.abs() >= limit => Err(overflow(precision, scale)),
        _ => Ok(()),
    }
}

pub(super) fn overflow(precision: u8, scale: u8) -> SqlError {
    SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "numeric field overflow").detail(format!(
        "A field with precision {precision}, scale {scale} must round to an absolute value less than 10^{}.",
        precision - scale
    ))
}

/// 22001 for a text of more characters than its column takes.
pub(super) fn within(text: &str, limit: Option<u32>) -> Result<(), SqlError> {
    match limit {
        Some(limit) if text.chars().count() > limit as usize => Err(SqlError::new(
            SqlState::STRING_DATA_RIGHT_TRUNCATION,
            format!("value too long for type character varying({limit})"),
        )),
        _ => Ok(()),
    }
}

/// An address, with the bits of its network when they are fewer than all.
fn address(word: &str) -> Option<String> {
    let (address, bits) = match word.split_once('/') {
        Some((address, bits)) => (address, Some(bits.parse::<u8>().ok()?)),
        None => (word, None),
    };
    let address: IpAddr = address.parse().ok()?;
    let all = if address.is_ipv4() { 32 } else { 128 };
    match bits {
        Some(bits) if bits > all => None,
        Some(bits) if bits < all => Some(format!("{address}/{bits}")),
        _ => Some(address.to_string()),
    }
}

fn hexadecimal(digits: &str) -> Option<Vec<u8>> {
    let digits = digits.as_bytes();
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|value| value as u8);
    digits.chunks(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

fn moment(word: &str, zone: &Tz) -> Option<i64> {
    string_to_datetime(zone, word).ok()?.timestamp_nanos_opt()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, sql_type: &str) -> Result<ScalarValue, SqlError> {
        let sql_type = SqlType::from_sql(sql_type).unwrap();
        value(text, sql_type, "+02:00".parse().unwrap())
    }

    #[track_caller]
    fn check(text: &str, sql_type: &str, expected: &str) {
        let array = read(text, sql_type).unwrap().to_array().unwrap();
        assert_eq!(arrow::util::display::array_value_to_string(&array, 0).unwrap(), expected);
    }

    #[test]
    fn texts_are_read_as_postgresql_reads_them() {
        check(" 7 ", "integer", "7");
        check("yes", "boolean", "true");
        check("1e3", "numeric(20,0)", "1000");
        check("-2.5", "numeric(20,0)", "-3");
        check("12345678901234567890", "numeric(20,0)", "12345678901234567890");
        check("0.005", "numeric(5,2)", "0.01");
        check("2026-01-01 00:00:00", "timestamp with time zone", "2025-12-31T22:00:00Z");
        check("2026-01-01 00:00:00+00", "timestamp with time zone", "2026-01-01T00:00:00Z");
        check("2026-01-01 00:00:00", "timestamp without time zone", "2026-01-01T00:00:00");
        check("{1,NULL,-3}", "bigint[]", "[1, , -3]");
        check("{a,\"b c\"}", "text[]", "[a, b c]");
        check("::FFFF", "inet", "::ffff");
        check("10.0.0.0/8", "inet", "10.0.0.0/8");
        check("A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11", "uuid", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11");
        check("{\"b\":1,\"a\":[1,2]}", "jsonb", "{\"a\": [1, 2], \"b\": 1}");
        check("{\"b\":1}", "json", "{\"b\":1}");
    }

    #[test]
    fn what_is_no_value_has_postgresqls_code() {
        for (text, sql_type, state) in [
            ("abc", "integer", "22P02"),
            ("99999999999", "integer", "22003"),
            ("maybe", "boolean", "22P02"),
            ("soon", "timestamp with time zone", "22007"),
            ("1000", "numeric(3,0)", "22003"),
            ("999.5", "numeric(3,0)", "22003"),
            ("1e99999", "numeric(3,0)", "22003"),
            ("abcdef", "character varying(5)", "22001"),
            ("{1", "integer[]", "22P02"),
            ("{a}", "integer[]", "22P02"),
            ("{", "jsonb", "22P02"),
            ("10.0.0.256", "inet", "22P02"),
            ("\\xf", "bytea", "22P02"),
        ] {
            assert_eq!(read(text, sql_type).unwrap_err().state.0, state, "{text} as {sql_type}");
        }
        let error = read("abc", "integer").unwrap_err();
        assert_eq!(error.message, "invalid input syntax for type integer: \"abc\"");
    }
}
