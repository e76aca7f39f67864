//! Values of parameters from the wire, as text and binary, in the types that the statement wants.

use std::sync::Arc;

use arrow::array::timezone::Tz;
use arrow::compute::kernels::cast_utils::{
    Parser, parse_interval_month_day_nano, string_to_datetime, string_to_time_nanoseconds,
};
use arrow::datatypes::{DataType, Date32Type, IntervalMonthDayNano};
use datafusion::scalar::ScalarValue;
use probepilot_sql::{SqlError, SqlState};

use crate::pg::encode::oids::{self, type_name};
use crate::pg::encode::{POSTGRES_EPOCH_DAYS, POSTGRES_EPOCH_US, Zone};

/// Digits after the point that a `numeric` parameter keeps.
const NUMERIC_SCALE: usize = 10;

/// Reads a value that the client declared as type `oid`, for a parameter of `wanted` type.
///
/// 22P02 or, for dates and times, 22007 for text that is no such value, 22003 for a number out of range, 08P01 for binary that is malformed.
pub fn read(
    value: Option<&[u8]>,
    format: i16,
    oid: u32,
    wanted: Option<&DataType>,
    zone: &Zone,
) -> Result<ScalarValue, SqlError> {
    let declared = oids::parameter_type(oid);
    let target = wanted.or(declared.as_ref()).unwrap_or(&DataType::Utf8);
    let Some(value) = value else {
        return ScalarValue::try_from(target).map_err(|error| SqlError::internal("NULL of a type", error));
    };
    let scalar = match format {
        0 => {
            let text = std::str::from_utf8(value).map_err(|error| {
                SqlError::new(SqlState("22021"), "invalid byte sequence for encoding \"UTF8\"").caused_by(error)
            })?;
            from_text(text, oid, zone)?
        }
        1 => from_binary(value, oid)?,
        code => {
            return Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, format!("unsupported format code: {code}")));
        }
    };
    if scalar.data_type() == *target {
        return Ok(scalar);
    }
    scalar.cast_to(target).map_err(|error| {
        let message = format!("the value of type {} does not fit where it is used", type_name(oid));
        SqlError::new(SqlState::INVALID_TEXT_REPRESENTATION, message).caused_by(error)
    })
}

fn invalid(text: &str, oid: u32) -> SqlError {
    let state = match oid {
        oids::DATE | oids::TIME | oids::TIMESTAMP | oids::TIMESTAMPTZ | oids::INTERVAL => SqlState("22007"),
        _ => SqlState::INVALID_TEXT_REPRESENTATION,
    };
    SqlError::new(state, format!("invalid input syntax for type {}: \"{text}\"", type_name(oid)))
}

fn from_text(text: &str, oid: u32, zone: &Zone) -> Result<ScalarValue, SqlError> {
    macro_rules! integer {
        ($variant:ident, $type:ty) => {
            ScalarValue::$variant(Some(text.trim().parse::<$type>().map_err(|error| match error.kind() {
                std::num::IntErrorKind::PosOverflow | std::num::IntErrorKind::NegOverflow => {
                    let kind = type_name(oid);
                    SqlError::new(SqlState("22003"), format!("value \"{text}\" is out of range for type {kind}"))
                }
                _ => invalid(text, oid),
            })?))
        };
    }
    if let Some(element) = oids::element_of(oid) {
        let elements = array_elements(text).ok_or_else(|| {
            let message = format!("malformed array literal: \"{text}\"");
            SqlError::new(SqlState::INVALID_TEXT_REPRESENTATION, message)
        })?;
        let element_type = oids::parameter_type(element).unwrap_or(DataType::Utf8);
        let values = elements
            .iter()
            .map(|item| read(item.as_deref().map(str::as_bytes), 0, element, Some(&element_type), zone))
            .collect::<Result<Vec<_>, _>>()?;
        return Ok(ScalarValue::List(ScalarValue::new_list_nullable(&values, &element_type)));
    }
    let bad = |_| invalid(text, oid);
    Ok(match oid {
        oids::BOOL => ScalarValue::Boolean(Some(boolean(text).ok_or_else(|| invalid(text, oid))?)),
        oids::INT2 => integer!(Int16, i16),
        oids::INT4 => integer!(Int32, i32),
        oids::INT8 | oids::OID => integer!(Int64, i64),
        oids::FLOAT4 => ScalarValue::Float32(Some(text.trim().parse().map_err(|_| invalid(text, oid))?)),
        oids::FLOAT8 => ScalarValue::Float64(Some(text.trim().parse().map_err(|_| invalid(text, oid))?)),
        oids::NUMERIC => numeric(text.trim()).ok_or_else(|| invalid(text, oid))?,
        oids::BYTEA => ScalarValue::Binary(Some(match text.strip_prefix("\\x") {
            Some(digits) => unhex(digits).ok_or_else(|| invalid(text, oid))?,
            None => text.as_bytes().to_vec(),
        })),
        oids::DATE => ScalarValue::Date32(Some(Date32Type::parse(text.trim()).ok_or_else(|| invalid(text, oid))?)),
        oids::TIME => ScalarValue::Time64Nanosecond(Some(string_to_time_nanoseconds(text.trim()).map_err(bad)?)),
        oids::TIMESTAMP => ScalarValue::TimestampNanosecond(
            Some(moment(text, &Zone::UTC.tz()).ok_or_else(|| invalid(text, oid))?),
            None,
        ),
        oids::TIMESTAMPTZ => {
            let moment = moment(text, &zone.tz()).ok_or_else(|| invalid(text, oid))?;
            ScalarValue::TimestampNanosecond(Some(moment), Some("UTC".into()))
        }
        oids::INTERVAL => {
            ScalarValue::IntervalMonthDayNano(Some(parse_interval_month_day_nano(text.trim()).map_err(bad)?))
        }
        _ => ScalarValue::Utf8(Some(text.to_owned())),
    })
}

/// Unix nanoseconds of a date and time; text without an offset is in `zone`.
fn moment(text: &str, zone: &Tz) -> Option<i64> {
    string_to_datetime(zone, text.trim()).ok()?.timestamp_nanos_opt()
}

/// PostgreSQL's words for true and false, and their beginnings.
fn boolean(text: &str) -> Option<bool> {
    let text = text.trim().to_ascii_lowercase();
    let begins = |word: &str| !text.is_empty() && word.starts_with(&text);
    if text == "1" || begins("true") || begins("yes") || text == "on" {
        return Some(true);
    }
    (text == "0" || begins("false") || begins("no") || text == "off" || text == "of").then_some(false)
}

/// A decimal with [`NUMERIC_SCALE`] digits after the point; more are cut.
fn numeric(text: &str) -> Option<ScalarValue> {
    let (negative, digits) = match text.strip_prefix(['-', '+']) {
        Some(rest) => (text.starts_with('-'), rest),
        None => (false, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let digit = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !digit(whole) || !digit(fraction) || whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let fraction = &fraction[..fraction.len().min(NUMERIC_SCALE)];
    let value: i128 = format!("{whole}{fraction:0<NUMERIC_SCALE$}").parse().ok()?;
    if value >= 10_i128.pow(38) {
        return None;
    }
    Some(ScalarValue::Decimal128(Some(if negative { -value } else { value }), 38, NUMERIC_SCALE as i8))
}

fn unhex(digits: &str) -> Option<Vec<u8>> {
    let digits = digits.as_bytes();
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|value| value as u8);
    digits.chunks(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

/// The elements of `{a,"b c",NULL}`; nested arrays are not read.
fn array_elements(text: &str) -> Option<Vec<Option<String>>> {
    let inner = text.trim().strip_prefix('{')?.strip_suffix('}')?;
    let mut elements = Vec::new();
    let mut characters = inner.chars().peekable();
    if inner.trim().is_empty() {
        return Some(elements);
    }
    loop {
        while characters.next_if(|character| character.is_whitespace()).is_some() {}
        let quoted = characters.next_if_eq(&'"').is_some();
        let mut element = String::new();
        let mut escaped = false;
        loop {
            match characters.peek() {
                None if quoted => return None,
                None | Some(',') if !quoted => break,
                Some('{' | '}') if !quoted => return None,
                _ => {}
            }
            match characters.next()? {
                '"' if quoted => break,
                '\\' => {
                    escaped = true;
                    element.push(characters.next()?);
                }
                other => element.push(other),
            }
        }
        if !quoted {
            element.truncate(element.trim_end().len());
        }
        let null = !quoted && !escaped && element.eq_ignore_ascii_case("null");
        if !quoted && element.is_empty() {
            return None;
        }
        elements.push((!null).then_some(element));
        while characters.next_if(|character| character.is_whitespace()).is_some() {}
        match characters.next() {
            None => return Some(elements),
            Some(',') => {}
            Some(_) => return None,
        }
    }
}

fn from_binary(value: &[u8], oid: u32) -> Result<ScalarValue, SqlError> {
    let malformed = || {
        let message = format!("incorrect binary data format for type {}", type_name(oid));
        SqlError::new(SqlState("22P03"), message)
    };
    macro_rules! number {
        ($type:ty) => {
            <$type>::from_be_bytes(value.try_into().map_err(|_| malformed())?)
        };
    }
    if let Some(element) = oids::element_of(oid) {
        return array_from_binary(value, element).ok_or_else(malformed)?;
    }
    let text = |value: &[u8]| String::from_utf8(value.to_vec()).map_err(|_| malformed());
    Ok(match oid {
        oids::BOOL => ScalarValue::Boolean(Some(number!(u8) != 0)),
        oids::INT2 => ScalarValue::Int16(Some(number!(i16))),
        oids::INT4 => ScalarValue::Int32(Some(number!(i32))),
        oids::INT8 => ScalarValue::Int64(Some(number!(i64))),
        oids::OID => ScalarValue::Int64(Some(i64::from(number!(u32)))),
        oids::FLOAT4 => ScalarValue::Float32(Some(number!(f32))),
        oids::FLOAT8 => ScalarValue::Float64(Some(number!(f64))),
        oids::NUMERIC => numeric(&numeric_text(value).ok_or_else(malformed)?).ok_or_else(malformed)?,
        oids::BYTEA => ScalarValue::Binary(Some(value.to_vec())),
        oids::DATE => ScalarValue::Date32(Some(number!(i32).saturating_add(POSTGRES_EPOCH_DAYS))),
        oids::TIME => ScalarValue::Time64Nanosecond(Some(number!(i64).saturating_mul(1_000))),
        oids::TIMESTAMP => ScalarValue::TimestampNanosecond(Some(nanoseconds(number!(i64))), None),
        oids::TIMESTAMPTZ => ScalarValue::TimestampNanosecond(Some(nanoseconds(number!(i64))), Some("UTC".into())),
        oids::INTERVAL if value.len() == 16 => {
            let part = |at: usize| i32::from_be_bytes(value[at..at + 4].try_into().expect("four bytes"));
            let us = i64::from_be_bytes(value[..8].try_into().expect("eight bytes"));
            ScalarValue::IntervalMonthDayNano(Some(IntervalMonthDayNano::new(
                part(12),
                part(8),
                us.saturating_mul(1_000),
            )))
        }
        oids::INTERVAL => return Err(malformed()),
        oids::UUID => {
            let bytes: [u8; 16] = value.try_into().map_err(|_| malformed())?;
            ScalarValue::Utf8(Some(uuid::Uuid::from_bytes(bytes).to_string()))
        }
        oids::JSONB => match value.split_first() {
            Some((1, json)) => ScalarValue::Utf8(Some(text(json)?)),
            _ => return Err(malformed()),
        },
        oids::INET => return Err(SqlError::unsupported("binary parameters of type inet are not supported")),
        _ => ScalarValue::Utf8(Some(text(value)?)),
    })
}

/// Unix nanoseconds of PostgreSQL's microseconds since 2000; its infinities become the ends of our range.
fn nanoseconds(us: i64) -> i64 {
    us.saturating_add(POSTGRES_EPOCH_US).saturating_mul(1_000)
}

/// The digits of a binary `numeric`; `None` when it is malformed or not a number.
fn numeric_text(value: &[u8]) -> Option<String> {
    let word = |index: usize| Some(i16::from_be_bytes(value.get(index * 2..index * 2 + 2)?.try_into().ok()?));
    let (count, weight, sign, scale) = (word(0)?, word(1)?, word(2)?, word(3)?);
    if value.len() != 8 + usize::try_from(count).ok()? * 2
        || !matches!(sign, 0 | 0x4000)
        || !(0..=16_383).contains(&scale)
    {
        return None;
    }
    // Nothing larger fits our decimals anyway.
    if !(-10..=10).contains(&weight) {
        return (count == 0).then(|| "0".to_owned());
    }
    let group = |place: i16| -> Option<i16> {
        let index = weight - place;
        if (0..count).contains(&index) { word(4 + usize::try_from(index).ok()?) } else { Some(0) }
    };
    let mut text = if sign == 0x4000 { "-".to_owned() } else { String::new() };
    text.push('0');
    for place in (0..=weight.max(0)).rev() {
        text.push_str(&format!("{:04}", group(place)?));
    }
    text.push('.');
    for place in 1..=(scale + 3) / 4 {
        text.push_str(&format!("{:04}", group(-place)?));
    }
    Some(text)
}

fn array_from_binary(value: &[u8], element: u32) -> Option<Result<ScalarValue, SqlError>> {
    let mut rest = value;
    let mut word = || -> Option<i32> {
        let (head, tail) = rest.split_first_chunk::<4>()?;
        rest = tail;
        Some(i32::from_be_bytes(*head))
    };
    let (dimensions, _has_null, sent) = (word()?, word()?, word()? as u32);
    let element_type = oids::parameter_type(element)?;
    let count = match dimensions {
        0 => 0,
        1 => {
            let count = word()?;
            word()?; // The first index.
            usize::try_from(count).ok()?
        }
        _ => return Some(Err(SqlError::unsupported("parameters of more than one dimension are not supported"))),
    };
    let mut values = Vec::new();
    for _ in 0..count {
        let (head, tail) = rest.split_first_chunk::<4>()?;
        rest = tail;
        let value = match i32::from_be_bytes(*head) {
            -1 => None,
            length => {
                let (value, tail) = rest.split_at_checked(usize::try_from(length).ok()?)?;
                rest = tail;
                Some(value)
            }
        };
        match read(value, 1, sent, Some(&element_type), &Zone::UTC) {
            Ok(value) => values.push(value),
            Err(error) => return Some(Err(error)),
        }
    }
    rest.is_empty().then(|| Ok(ScalarValue::List(Arc::clone(&ScalarValue::new_list_nullable(&values, &element_type)))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn array_text_is_read_as_postgresql_does() {
        let check = |text, expected: Option<Vec<Option<&str>>>| {
            let expected = expected.map(|items| items.into_iter().map(|item| item.map(str::to_owned)).collect());
            assert_eq!(array_elements(text), expected, "{text}");
        };
        check("{}", Some(vec![]));
        check("{a,b}", Some(vec![Some("a"), Some("b")]));
        check("{ a , \"b, \\\"c\" ,NULL,\"NULL\"}", Some(vec![Some("a"), Some("b, \"c"), None, Some("NULL")]));
        check("{a,}", None);
        check("a", None);
        check("{\"a}", None);
    }

    #[test]
    fn numerics_come_in_text_and_binary() {
        let value = |text| numeric(text).map(|value| value.to_string());
        assert_eq!(value("12.5").as_deref(), Some("12.5000000000"));
        assert_eq!(value("-0.00000000019").as_deref(), Some("-0.0000000001"));
        assert_eq!(value("1e5"), None);
        let mut binary = bytes::BytesMut::new();
        for text in ["0", "12.5", "-12345678.0001", "0.00010203", "99990000"] {
            binary.clear();
            crate::pg::encode::put_numeric_binary(&mut binary, text);
            let read = numeric_text(&binary).and_then(|text| numeric(&text)).expect(text);
            assert_eq!(read, numeric(text).expect(text), "{text}");
        }
    }

    #[test]
    fn wrong_values_have_postgresqls_codes() {
        let check = |value: &[u8], format, oid, state| {
            let error = read(Some(value), format, oid, None, &Zone::UTC).unwrap_err();
            assert_eq!(error.state.0, state, "{error}");
        };
        check(b"abc", 0, oids::INT4, "22P02");
        check(b"99999999999", 0, oids::INT4, "22003");
        check(b"\0", 1, oids::INT4, "22P03");
        check(b"maybe", 0, oids::BOOL, "22P02");
        check(b"noon", 0, oids::TIMESTAMPTZ, "22007");
        check(b"\xff", 0, oids::TEXT, "22021");
        check(b"x", 7, oids::TEXT, "22023");
    }

    #[test]
    fn a_timestamp_without_offset_is_in_the_sessions_zone() {
        let zone = Zone::find("Europe/Berlin").unwrap();
        let read = |text: &str| read(Some(text.as_bytes()), 0, oids::TIMESTAMPTZ, None, &zone).unwrap();
        assert_eq!(read("2026-07-01 12:00:00"), read("2026-07-01T10:00:00Z"));
    }
}
