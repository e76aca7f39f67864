//! Rows on the Postgres wire: one writer per column and batch, so that a type is looked at once per batch.

pub mod oids; // Which PostgreSQL type a column has on the wire.
mod binary; // Values in PostgreSQL's binary form.
mod numeric; // The same of numerics.
mod list; // The same of arrays.

use std::ops::Range;

use arrow::array::{Array, RecordBatch};
use arrow::buffer::NullBuffer;
use arrow::datatypes::FieldRef;
use bytes::{BufMut, BytesMut};
use probepilot_query::functions::output::{self, Writer};
pub use probepilot_query::functions::zone::Zone;
use probepilot_sql::SqlError;

pub(crate) use binary::{POSTGRES_EPOCH_DAYS, POSTGRES_EPOCH_US};
#[cfg(test)]
pub(crate) use numeric::put_numeric_binary;
pub use oids::WireType;

/// How a value is written, as a client asks for it per column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// As `psql` shows it.
    Text,
    /// As the type's `send` function gives it.
    Binary,
}

impl Format {
    /// The code on the wire.
    pub fn code(self) -> i16 {
        match self {
            Format::Text => 0,
            Format::Binary => 1,
        }
    }
}

/// A column of a result, as the client was told of it.
#[derive(Clone, Debug)]
pub struct WireColumn {
    /// Name, Arrow type and metadata.
    pub field: FieldRef,
    /// The type on the wire.
    pub wire: WireType,
    /// How its values are written.
    pub format: Format,
}

/// One column of a batch, ready to be written row by row.
pub struct ColumnWriter<'a> {
    nulls: Option<NullBuffer>,
    write: Writer<'a>,
}

impl<'a> ColumnWriter<'a> {
    fn new(column: &'a WireColumn, array: &'a dyn Array, zone: &'a Zone) -> Result<ColumnWriter<'a>, SqlError> {
        let write = match column.format {
            Format::Text => output::writer(&column.field, array, zone)?,
            Format::Binary => binary::writer(&column.field, array, column.wire.oid, zone)?,
        };
        Ok(ColumnWriter { nulls: array.logical_nulls(), write })
    }

    /// Whether the row's value is NULL.
    pub fn is_null(&self, row: usize) -> bool {
        self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row))
    }

    /// Appends the row's value, which must not be NULL, without its length.
    pub fn value(&mut self, row: usize, out: &mut BytesMut) {
        (self.write)(row, out);
    }

    /// Appends the row's value with its length in front, -1 for NULL.
    pub fn with_length(&mut self, row: usize, out: &mut BytesMut) {
        if self.is_null(row) {
            out.put_i32(-1);
        } else {
            with_length(out, |out| (self.write)(row, out));
        }
    }
}

/// Writers for all columns of a batch.
///
/// Fails with 0A000 when a column cannot be written in its format; nothing is written then.
pub fn column_writers<'a>(
    columns: &'a [WireColumn],
    batch: &'a RecordBatch,
    zone: &'a Zone,
) -> Result<Vec<ColumnWriter<'a>>, SqlError> {
    debug_assert_eq!(columns.len(), batch.num_columns(), "a batch has the columns that were described");
    columns.iter().zip(batch.columns()).map(|(column, array)| ColumnWriter::new(column, array.as_ref(), zone)).collect()
}

/// Appends `DataRow` messages for the rows until `out` holds `bytes_max`, and says how many rows that were: at least
/// one when the range has one.
pub fn data_rows(
    columns: &[WireColumn],
    batch: &RecordBatch,
    rows: Range<usize>,
    zone: &Zone,
    bytes_max: usize,
    out: &mut BytesMut,
) -> Result<usize, SqlError> {
    let mut writers = column_writers(columns, batch, zone)?;
    let Range { start: first, end } = rows;
    for row in first..end {
        out.put_u8(b'D');
        with_message_length(out, |out| {
            out.put_i16(i16::try_from(writers.len()).expect("the plan has at most 1,664 columns"));
            for writer in &mut writers {
                writer.with_length(row, out);
            }
        });
        if out.len() >= bytes_max {
            return Ok(row + 1 - first);
        }
    }
    Ok(end.saturating_sub(first))
}

/// Appends what `write` appends, with its length before it.
pub(super) fn with_length(out: &mut BytesMut, write: impl FnOnce(&mut BytesMut)) {
    let start = out.len();
    out.put_i32(0);
    write(out);
    let length = i32::try_from(out.len() - start - 4).expect("a value of a batch is below 2 GiB");
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

/// Appends a message's body after its length, which counts itself.
pub fn with_message_length(out: &mut BytesMut, write: impl FnOnce(&mut BytesMut)) {
    let start = out.len();
    out.put_i32(0);
    write(out);
    let length = i32::try_from(out.len() - start).expect("a message is below 2 GiB");
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

#[cfg(test)]
mod tests;
