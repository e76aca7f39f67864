//! Values in PostgreSQL's binary form: chosen by the type the client was told, read from whatever Arrow type carries it.

use std::net::IpAddr;

use arrow::array::{Array, AsArray};
use arrow::datatypes::*;
use bytes::{BufMut, BytesMut};
use probepilot_query::functions::output::{self, Interval, Writer};
use probepilot_query::functions::zone::Zone;
use probepilot_sql::SqlError;

use super::list;
use super::numeric::put_numeric_binary;
use super::oids::{self, type_name};

/// Days from 1970-01-01 to 2000-01-01, where PostgreSQL's binary forms count from.
pub(crate) const POSTGRES_EPOCH_DAYS: i32 = 10_957;
/// The same in microseconds.
pub(crate) const POSTGRES_EPOCH_US: i64 = POSTGRES_EPOCH_DAYS as i64 * 86_400_000_000;

/// A writer of the binary form of type `oid`.
///
/// Fails with 0A000 when the Arrow type cannot carry that type.
pub(super) fn writer<'a>(
    field: &'a FieldRef,
    array: &'a dyn Array,
    oid: u32,
    zone: &'a Zone,
) -> Result<Writer<'a>, SqlError> {
    let data_type = array.data_type();
    if matches!(data_type, DataType::Null) {
        return Ok(Box::new(|_, _| {}));
    }
    if matches!(data_type, DataType::Dictionary(..) | DataType::RunEndEncoded(..)) {
        let (values, index) = output::indirect(array)?;
        let mut inner = writer(field, values, oid, zone)?;
        return Ok(Box::new(move |row, out| inner(index(row), out)));
    }
    if let Some(element) = oids::element_of(oid) {
        return list::writer(array, element, zone);
    }
    let refused = || {
        SqlError::unsupported(format!("column \"{}\" of type {} has no binary form", field.name(), type_name(oid)))
            .hint("Ask for it as text.")
    };
    Ok(match oid {
        oids::BOOL => {
            let array = array.as_boolean_opt().ok_or_else(refused)?;
            Box::new(move |row, out| out.put_u8(u8::from(array.value(row))))
        }
        oids::INT2 => integer(array, |out, value| out.put_i16(value as i16)).ok_or_else(refused)?,
        oids::INT4 => integer(array, |out, value| out.put_i32(value as i32)).ok_or_else(refused)?,
        oids::INT8 => integer(array, |out, value| out.put_i64(value)).ok_or_else(refused)?,
        oids::OID | 24 | 28 | 2205 | 2206 | 4089 | 4096 => {
            integer(array, |out, value| out.put_u32(value as u32)).ok_or_else(refused)?
        }
        oids::FLOAT4 => match data_type {
            DataType::Float16 => {
                let array = array.as_primitive::<Float16Type>();
                Box::new(move |row, out| out.put_f32(array.value(row).to_f32()))
            }
            DataType::Float32 => {
                let array = array.as_primitive::<Float32Type>();
                Box::new(move |row, out| out.put_f32(array.value(row)))
            }
            _ => return Err(refused()),
        },
        oids::FLOAT8 => {
            let array = array.as_primitive_opt::<Float64Type>().ok_or_else(refused)?;
            Box::new(move |row, out| out.put_f64(array.value(row)))
        }
        oids::NUMERIC => {
            let mut digits = output::writer(field, array, zone)?;
            let mut scratch = BytesMut::new();
            Box::new(move |row, out| {
                scratch.clear();
                digits(row, &mut scratch);
                put_numeric_binary(out, std::str::from_utf8(&scratch).expect("digits are ASCII"));
            })
        }
        oids::DATE => match data_type {
            DataType::Date32 => {
                let array = array.as_primitive::<Date32Type>();
                Box::new(move |row, out| out.put_i32(array.value(row).saturating_sub(POSTGRES_EPOCH_DAYS)))
            }
            DataType::Date64 => {
                let array = array.as_primitive::<Date64Type>();
                Box::new(move |row, out| {
                    out.put_i32(array.value(row).div_euclid(86_400_000) as i32 - POSTGRES_EPOCH_DAYS);
                })
            }
            _ => return Err(refused()),
        },
        oids::TIME if matches!(data_type, DataType::Time32(_) | DataType::Time64(_)) => {
            let time_us = output::microseconds_of(array);
            Box::new(move |row, out| out.put_i64(time_us(row)))
        }
        oids::TIMESTAMP | oids::TIMESTAMPTZ if matches!(data_type, DataType::Timestamp(..)) => {
            let timestamp_us = output::microseconds_of(array);
            Box::new(move |row, out| out.put_i64(timestamp_us(row).saturating_sub(POSTGRES_EPOCH_US)))
        }
        oids::INTERVAL if matches!(data_type, DataType::Interval(_) | DataType::Duration(_)) => {
            let interval = output::interval(array);
            Box::new(move |row, out| put_interval(out, interval(row)))
        }
        oids::BYTEA => bytes(array).ok_or_else(refused)?,
        oids::UUID if matches!(data_type, DataType::FixedSizeBinary(16)) => bytes(array).ok_or_else(refused)?,
        oids::INET => {
            let mut characters = output::writer(field, array, zone)?;
            let mut scratch = BytesMut::new();
            Box::new(move |row, out| {
                scratch.clear();
                characters(row, &mut scratch);
                put_inet(out, &scratch);
            })
        }
        oids::JSONB => {
            let mut json = output::writer(field, array, zone)?;
            Box::new(move |row, out| {
                out.put_u8(1); // The version of the binary form.
                json(row, out);
            })
        }
        // Everything that is characters: text, varchar, name, "char", json, node trees.
        oids::TEXT | oids::VARCHAR | oids::NAME | oids::CHAR | oids::JSON | 194 | 705 | 1042 => {
            output::writer(field, array, zone)?
        }
        _ => return Err(refused()),
    })
}

/// A writer for any integer array; values of stored unsigned columns keep their bits.
fn integer<'a>(array: &'a dyn Array, put: impl Fn(&mut BytesMut, i64) + 'a) -> Option<Writer<'a>> {
    macro_rules! read {
        ($arrow:ty) => {{
            let array = array.as_primitive::<$arrow>();
            Box::new(move |row, out| put(out, array.value(row) as i64))
        }};
    }
    Some(match array.data_type() {
        DataType::Int8 => read!(Int8Type),
        DataType::Int16 => read!(Int16Type),
        DataType::Int32 => read!(Int32Type),
        DataType::Int64 => read!(Int64Type),
        DataType::UInt8 => read!(UInt8Type),
        DataType::UInt16 => read!(UInt16Type),
        DataType::UInt32 => read!(UInt32Type),
        DataType::UInt64 => read!(UInt64Type),
        _ => return None,
    })
}

fn bytes(array: &dyn Array) -> Option<Writer<'_>> {
    macro_rules! slices {
        ($array:expr) => {{
            let array = $array;
            Box::new(move |row, out: &mut BytesMut| out.put_slice(array.value(row)))
        }};
    }
    Some(match array.data_type() {
        DataType::Binary => slices!(array.as_binary::<i32>()),
        DataType::LargeBinary => slices!(array.as_binary::<i64>()),
        DataType::BinaryView => slices!(array.as_binary_view()),
        DataType::FixedSizeBinary(_) => slices!(array.as_fixed_size_binary()),
        _ => return None,
    })
}

/// Appends an address: family, prefix length, flag, length, bytes. A text that is no address becomes the unspecified
/// one, so that the client can still read the row.
fn put_inet(out: &mut BytesMut, characters: &[u8]) {
    let characters = String::from_utf8_lossy(characters);
    let (address, prefix) = characters.split_once('/').map_or((&*characters, None), |(a, p)| (a, Some(p)));
    let address: IpAddr = address.parse().unwrap_or(IpAddr::from([0, 0, 0, 0]));
    let prefix = prefix.and_then(|prefix| prefix.parse::<u8>().ok());
    match address {
        IpAddr::V4(address) => {
            out.put_slice(&[2, prefix.unwrap_or(32), 0, 4]);
            out.put_slice(&address.octets());
        }
        IpAddr::V6(address) => {
            out.put_slice(&[3, prefix.unwrap_or(128), 0, 16]);
            out.put_slice(&address.octets());
        }
    }
}

fn put_interval(out: &mut BytesMut, interval: Interval) {
    let Interval { months, days, us } = interval;
    out.put_i64(us);
    out.put_i32(days);
    out.put_i32(months);
}
