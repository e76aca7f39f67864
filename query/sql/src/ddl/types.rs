//! Types of columns as statements write them.

use datafusion::sql::sqlparser::ast::{ArrayElemTypeDef, CharacterLength, DataType, ExactNumberInfo, TimezoneInfo};

use crate::types::{NUMERIC_DIGITS_MAX, SqlType, VARCHAR_CHARACTERS_MAX};
use crate::{SqlError, SqlState};

/// Digits after the point of a timestamp's seconds: what clients are told.
const TIMESTAMP_DIGITS: u64 = 6;

/// The stored type: 42704 for a type that nobody knows, 0A000 for one that is not stored.
pub(super) fn stored(written: &DataType) -> Result<SqlType, SqlError> {
    Ok(match written {
        DataType::Bool | DataType::Boolean => SqlType::Boolean,
        DataType::Int2(None) | DataType::SmallInt(None) => SqlType::SmallInt,
        DataType::Int(None) | DataType::Int4(None) | DataType::Integer(None) => SqlType::Integer,
        DataType::Int8(None) | DataType::BigInt(None) => SqlType::BigInt,
        DataType::Float4 | DataType::Real => SqlType::Real,
        DataType::Float8 | DataType::DoublePrecision => SqlType::DoublePrecision,
        DataType::Double(ExactNumberInfo::None) | DataType::Float(ExactNumberInfo::None) => SqlType::DoublePrecision,
        DataType::Float(ExactNumberInfo::Precision(bits)) if *bits <= 24 => SqlType::Real,
        DataType::Float(ExactNumberInfo::Precision(bits)) if *bits <= 53 => SqlType::DoublePrecision,
        DataType::Text => SqlType::Text,
        DataType::Varchar(length) | DataType::CharacterVarying(length) | DataType::CharVarying(length) => {
            SqlType::Varchar(characters(length.as_ref())?)
        }
        DataType::Bytea => SqlType::Bytea,
        DataType::Date => SqlType::Date,
        DataType::Timestamp(digits, zone) if digits.is_none_or(|digits| digits >= TIMESTAMP_DIGITS) => match zone {
            TimezoneInfo::None | TimezoneInfo::WithoutTimeZone => SqlType::Timestamp,
            TimezoneInfo::WithTimeZone | TimezoneInfo::Tz => SqlType::Timestamptz,
        },
        DataType::JSON => SqlType::Json,
        DataType::JSONB => SqlType::Jsonb,
        DataType::Uuid => SqlType::Uuid,
        DataType::Numeric(digits) | DataType::Decimal(digits) | DataType::Dec(digits) => numeric(digits)?,
        DataType::Array(ArrayElemTypeDef::SquareBracket(element, _)) => {
            stored(element)?.array().ok_or_else(|| refused(written))?
        }
        DataType::Custom(name, modifiers) if modifiers.is_empty() => {
            let last = name.0.last().and_then(|part| part.as_ident()).map(crate::names::folded).unwrap_or_default();
            custom(&last).ok_or_else(|| match last.as_str() {
                "serial" | "bigserial" | "smallserial" | "serial4" | "serial8" => {
                    SqlError::unsupported(format!("{last} is not supported"))
                        .hint("Tables have no sequences. Write the number in the INSERT, or keep a uuid.")
                }
                "xml" | "money" | "point" | "macaddr" | "tsvector" | "timetz" | "name" | "oid" | "bpchar" => {
                    refused(written)
                }
                _ => SqlError::new(SqlState::UNDEFINED_OBJECT, format!("type \"{last}\" does not exist")),
            })?
        }
        other => return Err(refused(other)),
    })
}

fn refused(written: &DataType) -> SqlError {
    let name = written.to_string().to_lowercase();
    let hint = match written {
        DataType::Interval { .. } => {
            "Keep seconds or nanoseconds in a bigint, and name the unit in the column's comment."
        }
        DataType::Char(_) | DataType::Character(_) => "Use text or varchar.",
        _ => "Keep its text in a column of type text.",
    };
    SqlError::unsupported(format!("columns of type {name} are not supported")).hint(hint)
}

/// PostgreSQL's own names, which sqlparser takes for names of anybody's types.
fn custom(name: &str) -> Option<SqlType> {
    Some(match name {
        "inet" | "cidr" => SqlType::Inet,
        "text" => SqlType::Text,
        "varchar" => SqlType::Varchar(None),
        "bool" => SqlType::Boolean,
        "int2" => SqlType::SmallInt,
        "int4" => SqlType::Integer,
        "int8" => SqlType::BigInt,
        "float4" => SqlType::Real,
        "float8" => SqlType::DoublePrecision,
        "bytea" => SqlType::Bytea,
        "date" => SqlType::Date,
        "timestamp" => SqlType::Timestamp,
        "timestamptz" => SqlType::Timestamptz,
        "json" => SqlType::Json,
        "jsonb" => SqlType::Jsonb,
        "uuid" => SqlType::Uuid,
        _ => return None,
    })
}

fn characters(length: Option<&CharacterLength>) -> Result<Option<u32>, SqlError> {
    let Some(CharacterLength::IntegerLength { length, .. }) = length else { return Ok(None) };
    let invalid =
        |why: &str| SqlError::new(SqlState::INVALID_PARAMETER_VALUE, format!("length for type varchar {why}"));
    match u32::try_from(*length) {
        Ok(0) => Err(invalid("must be at least 1")),
        Ok(length) if length <= VARCHAR_CHARACTERS_MAX => Ok(Some(length)),
        _ => Err(invalid(&format!("cannot exceed {VARCHAR_CHARACTERS_MAX}"))),
    }
}

fn numeric(digits: &ExactNumberInfo) -> Result<SqlType, SqlError> {
    let (precision, scale) = match digits {
        ExactNumberInfo::None => {
            return Err(SqlError::unsupported("numeric without its digits is not supported")
                .hint("Say how many there are, and how many after the point: numeric(38,9)."));
        }
        ExactNumberInfo::Precision(precision) => (*precision, 0),
        ExactNumberInfo::PrecisionAndScale(precision, scale) => (*precision, *scale),
    };
    let precision = u8::try_from(precision).ok().filter(|precision| (1..=NUMERIC_DIGITS_MAX).contains(precision));
    let precision = precision.ok_or_else(|| {
        let message = format!("NUMERIC precision must be between 1 and {NUMERIC_DIGITS_MAX}");
        SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message)
    })?;
    match u8::try_from(scale) {
        Ok(scale) if scale <= precision => Ok(SqlType::Numeric(precision, scale)),
        _ => {
            let message = format!("NUMERIC scale {scale} must be between 0 and precision {precision}");
            Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message))
        }
    }
}
