//! Lists as PostgreSQL's arrays.

use std::ops::Range;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, FieldRef};
use bytes::{BufMut, BytesMut};
use probepilot_sql::SqlError;
use probepilot_sql::types::TYPE_KEY;

use super::{Writer, writer};
use crate::functions::zone::Zone;

const JSONB: &str = "jsonb";

/// A writer of `{a,"b c",NULL}`, or nothing when the elements are themselves lists or objects.
pub(super) fn array_writer<'a>(
    field: &'a FieldRef,
    array: &'a dyn Array,
    zone: &'a Zone,
) -> Result<Option<Writer<'a>>, SqlError> {
    if is_json(field) {
        return Ok(None);
    }
    let (element, values, range) = parts(array);
    let nulls = values.logical_nulls();
    let mut write = writer(element, values, zone)?;
    let mut scratch = BytesMut::new();
    Ok(Some(Box::new(move |row, out| {
        out.put_u8(b'{');
        for (place, index) in range(row).enumerate() {
            if place > 0 {
                out.put_u8(b',');
            }
            if nulls.as_ref().is_some_and(|nulls| nulls.is_null(index)) {
                out.put_slice(b"NULL");
            } else {
                scratch.clear();
                write(index, &mut scratch);
                put_element(out, &scratch);
            }
        }
        out.put_u8(b'}');
    })))
}

/// Whether a list is `jsonb` for PostgreSQL: it is called so, or its elements have no arrays.
fn is_json(field: &FieldRef) -> bool {
    let Some(element) = element_of(field.data_type()) else { return true };
    match field.metadata().get(TYPE_KEY) {
        Some(name) => name == JSONB,
        None => {
            let is_object =
                matches!(element.data_type(), DataType::Map(..) | DataType::Struct(_) | DataType::Union(..));
            is_object
                || is_list(element.data_type())
                || element.metadata().get(TYPE_KEY).is_some_and(|name| name == JSONB)
        }
    }
}

/// Whether values of the type are lists.
pub fn is_list(data_type: &DataType) -> bool {
    element_of(data_type).is_some()
}

fn element_of(list: &DataType) -> Option<&FieldRef> {
    match list {
        DataType::List(element)
        | DataType::LargeList(element)
        | DataType::ListView(element)
        | DataType::LargeListView(element)
        | DataType::FixedSizeList(element, _) => Some(element),
        _ => None,
    }
}

/// The elements' field, all elements, and which of them a row has.
pub type Parts<'a> = (&'a FieldRef, &'a dyn Array, Box<dyn Fn(usize) -> Range<usize> + 'a>);

/// The elements of a list array, and which of them a row has.
pub fn parts(array: &dyn Array) -> Parts<'_> {
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
