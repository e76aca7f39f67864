//! Lists as PostgreSQL's arrays, in binary.

use arrow::array::Array;
use bytes::BufMut;
use probepilot_query::functions::output::{Writer, is_list, parts};
use probepilot_query::functions::zone::Zone;
use probepilot_sql::SqlError;

use super::{ColumnWriter, binary};

/// A writer of PostgreSQL's binary arrays with elements of type `element_oid`.
pub(super) fn writer<'a>(array: &'a dyn Array, element_oid: u32, zone: &'a Zone) -> Result<Writer<'a>, SqlError> {
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
