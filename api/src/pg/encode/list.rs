//! Lists as PostgreSQL arrays, in both forms.

use std::ops::Range;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, FieldRef};
use bytes::{BufMut, BytesMut};
use probepilot_sql::SqlError;

use super::datetime::Zone;
use super::oids::{self, WireType};
use super::{ColumnWriter, Writer, binary, text};

/// A writer of `{a,"b c",NULL}`, or nothing when the elements are themselves lists or objects.
pub(super) fn text_writer<'a>(
    field: &'a FieldRef,
    array: &'a dyn Array,
    zone: &'a Zone,
) -> Result<Option<Writer<'a>>, SqlError> {
    if WireType::of_field(field).oid == oids::JSONB {
        return Ok(None);
    }
    let (element, values, range) = parts(array);
    let mut elements = ColumnWriter { nulls: values.logical_nulls(), write: text::writer(element, values, zone)? };
    let mut scratch = BytesMut::new();
    Ok(Some(Box::new(move |row, out| {
        out.put_u8(b'{');
        for (place, index) in range(row).enumerate() {
            if place > 0 {
                out.put_u8(b',');
            }
            if elements.is_null(index) {
                out.put_slice(b"NULL");
            } else {
                scratch.clear();
                elements.value(index, &mut scratch);
                put_element(out, &scratch);
            }
        }
        out.put_u8(b'}');
    })))
}

/// A writer of PostgreSQL's binary arrays with elements of type `element_oid`.
pub(super) fn binary_writer<'a>(
    array: &'a dyn Array,
    element_oid: u32,
    zone: &'a Zone,
) -> Result<Writer<'a>, SqlError> {
    if !is_list(array.data_type()) {
        return Err(SqlError::unsupported(format!("values of type {} are no array", array.data_type())));
    }
    let (element, values, range) = parts(array);
    let nulls = values.logical_nulls();
    let mut elements = ColumnWriter { nulls, write: binary::writer(element, values, element_oid, zone)? };
    Ok(Box::new(move |row, out| {
        let range = range(row);
        out.put_i32(i32::from(!range.is_empty())); // Dimensions: an empty array has none.
        out.put_i32(i32::from(range.clone().any(|index| elements.is_null(index))));
        out.put_u32(element_oid);
        if !range.is_empty() {
            out.put_i32(i32::try_from(range.len()).expect("an array of a batch is below 2 Gi elements"));
            out.put_i32(1); // The first index.
        }
        for index in range {
            elements.with_length(index, out);
        }
    }))
}

fn is_list(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::List(_)
            | DataType::LargeList(_)
            | DataType::ListView(_)
            | DataType::LargeListView(_)
            | DataType::FixedSizeList(..)
    )
}

type Parts<'a> = (&'a FieldRef, &'a dyn Array, Box<dyn Fn(usize) -> Range<usize> + 'a>);

/// The elements of a list array, and which of them a row has.
fn parts(array: &dyn Array) -> Parts<'_> {
    macro_rules! offsets {
        ($list:expr, $element:expr) => {{
            let list = $list;
            let offsets = list.value_offsets();
            ($element, list.values().as_ref(), Box::new(move |row| offsets[row] as usize..offsets[row + 1] as usize))
        }};
    }
    macro_rules! views {
        ($list:expr, $element:expr) => {{
            let list = $list;
            let (offsets, sizes) = (list.value_offsets(), list.value_sizes());
            let range = move |row: usize| offsets[row] as usize..(offsets[row] + sizes[row]) as usize;
            ($element, list.values().as_ref(), Box::new(range))
        }};
    }
    match array.data_type() {
        DataType::List(element) => offsets!(array.as_list::<i32>(), element),
        DataType::LargeList(element) => offsets!(array.as_list::<i64>(), element),
        DataType::ListView(element) => views!(array.as_list_view::<i32>(), element),
        DataType::LargeListView(element) => views!(array.as_list_view::<i64>(), element),
        DataType::FixedSizeList(element, size) => {
            let (list, size) = (array.as_fixed_size_list(), *size as usize);
            (element, list.values().as_ref(), Box::new(move |row| row * size..(row + 1) * size))
        }
        other => unreachable!("only lists come here, not {other}"),
    }
}

/// Appends an element, quoted where PostgreSQL quotes it.
fn put_element(out: &mut BytesMut, element: &[u8]) {
    let plain = !element.is_empty()
        && !element.eq_ignore_ascii_case(b"null")
        && !element.iter().any(|byte| matches!(byte, b'{' | b'}' | b',' | b'"' | b'\\') || byte.is_ascii_whitespace());
    if plain {
        return out.put_slice(element);
    }
    out.put_u8(b'"');
    for byte in element {
        if matches!(byte, b'"' | b'\\') {
            out.put_u8(b'\\');
        }
        out.put_u8(*byte);
    }
    out.put_u8(b'"');
}
