//! Values as text, by the rules of PostgreSQL's output functions: what the Postgres door sends, and what a cast to text gives.

mod number; // Digits of integers and floats.
mod datetime; // Dates, times, intervals.
mod list; // Arrays.
mod cast; // Casts to text as calls.

use std::sync::LazyLock;

use arrow::array::{Array, AsArray, RunArray};
use arrow::datatypes::*;
use arrow::json::writer::{EncoderOptions, make_encoder};
use bytes::{BufMut, BytesMut};
use probepilot_sql::SqlError;

pub use datetime::Interval;
pub use list::{is_list, parts};
use number::{put_float4, put_float8, put_integer, put_unsigned};

use super::zone::Zone;
pub(crate) use cast::{has_own_text, text_of};

/// Appends the value of a row that is not NULL.
pub type Writer<'a> = Box<dyn FnMut(usize, &mut BytesMut) + 'a>;

/// A writer of text for any Arrow array.
pub fn writer<'a>(field: &'a FieldRef, array: &'a dyn Array, zone: &'a Zone) -> Result<Writer<'a>, SqlError> {
    macro_rules! primitive {
        ($arrow:ty, |$out:ident, $value:ident| $put:expr) => {{
            let array = array.as_primitive::<$arrow>();
            Box::new(move |row, $out: &mut BytesMut| {
                let $value = array.value(row);
                $put;
            })
        }};
    }
    macro_rules! slices {
        ($array:expr, |$value:ident| $bytes:expr) => {{
            let array = $array;
            Box::new(move |row, out: &mut BytesMut| {
                let $value = array.value(row);
                out.put_slice($bytes);
            })
        }};
    }
    macro_rules! hex {
        ($array:expr) => {{
            let array = $array;
            Box::new(move |row, out: &mut BytesMut| put_hex(out, array.value(row)))
        }};
    }
    macro_rules! decimal {
        ($arrow:ty) => {{
            let array = array.as_primitive::<$arrow>();
            Box::new(move |row, out: &mut BytesMut| out.put_slice(array.value_as_string(row).as_bytes()))
        }};
    }
    Ok(match array.data_type() {
        DataType::Null => Box::new(|_, _| {}),
        DataType::Boolean => {
            let array = array.as_boolean();
            Box::new(move |row, out| out.put_u8(if array.value(row) { b't' } else { b'f' }))
        }
        DataType::Int8 => primitive!(Int8Type, |out, value| put_integer(out, i64::from(value))),
        DataType::Int16 => primitive!(Int16Type, |out, value| put_integer(out, i64::from(value))),
        DataType::Int32 => primitive!(Int32Type, |out, value| put_integer(out, i64::from(value))),
        DataType::Int64 => primitive!(Int64Type, |out, value| put_integer(out, value)),
        DataType::UInt8 => primitive!(UInt8Type, |out, value| put_unsigned(out, u64::from(value))),
        DataType::UInt16 => primitive!(UInt16Type, |out, value| put_unsigned(out, u64::from(value))),
        DataType::UInt32 => primitive!(UInt32Type, |out, value| put_unsigned(out, u64::from(value))),
        DataType::UInt64 => primitive!(UInt64Type, |out, value| put_unsigned(out, value)),
        DataType::Float16 => primitive!(Float16Type, |out, value| put_float4(out, value.to_f32())),
        DataType::Float32 => primitive!(Float32Type, |out, value| put_float4(out, value)),
        DataType::Float64 => primitive!(Float64Type, |out, value| put_float8(out, value)),
        DataType::Decimal32(..) => decimal!(Decimal32Type),
        DataType::Decimal64(..) => decimal!(Decimal64Type),
        DataType::Decimal128(..) => decimal!(Decimal128Type),
        DataType::Decimal256(..) => decimal!(Decimal256Type),
        DataType::Utf8 => slices!(array.as_string::<i32>(), |value| value.as_bytes()),
        DataType::LargeUtf8 => slices!(array.as_string::<i64>(), |value| value.as_bytes()),
        DataType::Utf8View => slices!(array.as_string_view(), |value| value.as_bytes()),
        DataType::Binary => hex!(array.as_binary::<i32>()),
        DataType::LargeBinary => hex!(array.as_binary::<i64>()),
        DataType::BinaryView => hex!(array.as_binary_view()),
        DataType::FixedSizeBinary(_) => hex!(array.as_fixed_size_binary()),
        DataType::Date32 => primitive!(Date32Type, |out, value| datetime::put_date(out, i64::from(value))),
        DataType::Date64 => {
            primitive!(Date64Type, |out, value| datetime::put_date(out, value.div_euclid(86_400_000)))
        }
        DataType::Time32(_) | DataType::Time64(_) => {
            let time_us = microseconds_of(array);
            Box::new(move |row, out| datetime::put_time(out, time_us(row)))
        }
        DataType::Timestamp(_, zoned) => {
            let zoned = zoned.is_some();
            let timestamp_us = microseconds_of(array);
            let mut offset = zone.cached();
            Box::new(move |row, out| {
                let us = timestamp_us(row);
                let offset = zoned.then(|| offset(us.div_euclid(1_000_000)));
                datetime::put_timestamp(out, us, offset);
            })
        }
        DataType::Interval(_) | DataType::Duration(_) => {
            let interval = interval(array);
            Box::new(move |row, out| interval(row).put(out))
        }
        DataType::List(_)
        | DataType::LargeList(_)
        | DataType::ListView(_)
        | DataType::LargeListView(_)
        | DataType::FixedSizeList(..) => match list::array_writer(field, array, zone)? {
            Some(writer) => writer,
            None => json(field, array)?,
        },
        DataType::Map(..) | DataType::Struct(_) => json(field, array)?,
        DataType::Dictionary(..) | DataType::RunEndEncoded(..) => {
            let (values, index) = indirect(array)?;
            let mut inner = writer(field, values, zone)?;
            Box::new(move |row, out| inner(index(row), out))
        }
        other => return Err(SqlError::unsupported(format!("values of type {other} cannot be sent"))),
    })
}

/// Objects and nested lists as JSON.
pub fn json<'a>(field: &'a FieldRef, array: &'a dyn Array) -> Result<Writer<'a>, SqlError> {
    static OPTIONS: LazyLock<EncoderOptions> = LazyLock::new(|| EncoderOptions::default().with_explicit_nulls(true));
    let mut encoder = make_encoder(field, array, &OPTIONS).map_err(|error| {
        SqlError::unsupported(format!("values of type {} cannot be sent as jsonb", array.data_type())).caused_by(error)
    })?;
    let mut scratch = Vec::new();
    Ok(Box::new(move |row, out| {
        scratch.clear();
        encoder.encode(row, &mut scratch);
        out.put_slice(&scratch);
    }))
}

/// Values, and which of them a row has.
pub type Indirect<'a> = (&'a dyn Array, Box<dyn Fn(usize) -> usize + 'a>);

/// The values behind a dictionary or runs.
pub fn indirect(array: &dyn Array) -> Result<Indirect<'_>, SqlError> {
    macro_rules! runs {
        ($index:ty) => {{
            let runs: &RunArray<$index> =
                array.as_any().downcast_ref().expect("the data type says which run ends the array has");
            (runs.values().as_ref(), Box::new(move |row| runs.get_physical_index(row)) as _)
        }};
    }
    Ok(match array.data_type() {
        DataType::Dictionary(..) => {
            let dictionary = array.as_any_dictionary();
            let values = dictionary.values().as_ref();
            // Without values every row is NULL, and no writer is asked for one.
            let keys = if values.is_empty() { Vec::new() } else { dictionary.normalized_keys() };
            (values, Box::new(move |row| keys[row]))
        }
        DataType::RunEndEncoded(ends, _) => match ends.data_type() {
            DataType::Int16 => runs!(Int16Type),
            DataType::Int32 => runs!(Int32Type),
            _ => runs!(Int64Type),
        },
        other => return Err(SqlError::unsupported(format!("values of type {other} cannot be sent"))),
    })
}

/// Microseconds of a row: since midnight for times, since 1970 for timestamps.
pub fn microseconds_of(array: &dyn Array) -> Box<dyn Fn(usize) -> i64 + '_> {
    macro_rules! read {
        ($arrow:ty, $unit:ident) => {{
            let array = array.as_primitive::<$arrow>();
            Box::new(move |row| datetime::microseconds(i64::from(array.value(row)), TimeUnit::$unit))
        }};
    }
    match array.data_type() {
        DataType::Time32(TimeUnit::Second) => read!(Time32SecondType, Second),
        DataType::Time32(_) => read!(Time32MillisecondType, Millisecond),
        DataType::Time64(TimeUnit::Microsecond) => read!(Time64MicrosecondType, Microsecond),
        DataType::Time64(_) => read!(Time64NanosecondType, Nanosecond),
        DataType::Timestamp(TimeUnit::Second, _) => read!(TimestampSecondType, Second),
        DataType::Timestamp(TimeUnit::Millisecond, _) => read!(TimestampMillisecondType, Millisecond),
        DataType::Timestamp(TimeUnit::Microsecond, _) => read!(TimestampMicrosecondType, Microsecond),
        _ => read!(TimestampNanosecondType, Nanosecond),
    }
}

/// The interval of a row, from intervals and durations.
pub fn interval(array: &dyn Array) -> Box<dyn Fn(usize) -> Interval + '_> {
    macro_rules! duration {
        ($arrow:ty, $unit:expr) => {{
            let array = array.as_primitive::<$arrow>();
            Box::new(move |row| Interval::of_duration(array.value(row), $unit))
        }};
    }
    match array.data_type() {
        DataType::Duration(TimeUnit::Second) => duration!(DurationSecondType, TimeUnit::Second),
        DataType::Duration(TimeUnit::Millisecond) => duration!(DurationMillisecondType, TimeUnit::Millisecond),
        DataType::Duration(TimeUnit::Microsecond) => duration!(DurationMicrosecondType, TimeUnit::Microsecond),
        DataType::Duration(TimeUnit::Nanosecond) => duration!(DurationNanosecondType, TimeUnit::Nanosecond),
        DataType::Interval(IntervalUnit::YearMonth) => {
            let array = array.as_primitive::<IntervalYearMonthType>();
            Box::new(move |row| Interval::of_months(array.value(row)))
        }
        DataType::Interval(IntervalUnit::DayTime) => {
            let array = array.as_primitive::<IntervalDayTimeType>();
            Box::new(move |row| {
                let value = array.value(row);
                Interval::of_days(value.days, value.milliseconds)
            })
        }
        _ => {
            let array = array.as_primitive::<IntervalMonthDayNanoType>();
            Box::new(move |row| array.value(row).into())
        }
    }
}

fn put_hex(out: &mut BytesMut, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.reserve(2 + bytes.len() * 2);
    out.put_slice(b"\\x");
    for byte in bytes {
        out.put_u8(DIGITS[usize::from(byte >> 4)]);
        out.put_u8(DIGITS[usize::from(byte & 15)]);
    }
}
