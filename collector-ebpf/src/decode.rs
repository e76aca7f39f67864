//! Records to rows: bytes of the ring straight into columns, nothing allocated per row.
//!
//! Columns are gathered in memory that stays the decoder's, and copied once into Arrow buffers of just their size: rows
//! in the tail hold no spare memory, and a thousand small batches a second touch no new pages.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryViewArray, BooleanArray, FixedSizeBinaryArray, Int16Array, Int32Array, Int64Array, RecordBatch,
    RecordBatchOptions, StringViewArray, TimestampNanosecondArray, make_view,
};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, SchemaRef};

use crate::after::{AfterCounts, AfterPart};
use crate::clock;
use crate::compile::layout::{Cell, HEADER_BYTES, Layout, MARKS_OFFSET, NULLS_OFFSET};
use crate::compile::marks::{self, Mark};

/// Room that columns start with, rows. They grow with the batches that come.
const ROWS_AT_FIRST: usize = 256;

/// Memory that a column keeps between batches, bytes; more came with a burst and goes with it.
const KEPT_BYTES_MAX: usize = 1 << 20;

/// Why a record is none.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// It ends before its last column.
    #[error("a record of {bytes} bytes is shorter than the {least} its layout needs")]
    Short {
        /// What came.
        bytes: usize,
        /// What is needed.
        least: usize,
    },
}

/// From the kernel's monotonic clock to Unix time. Take a fresh one for each batch: the wall clock is adjusted, is set, and goes
/// on while the host sleeps. Records from before such a step take the one from before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockOffset {
    /// Unix time minus monotonic time, nanoseconds.
    pub unix_minus_monotonic_ns: i64,
}

impl ClockOffset {
    /// The offset now.
    pub fn now() -> ClockOffset {
        let before = clock::monotonic_now_ns();
        let unix = clock::unix_now_ns();
        let after = clock::monotonic_now_ns();
        ClockOffset { unix_minus_monotonic_ns: unix - (before + (after - before) / 2) }
    }
}

/// Collects a probe's records and makes batches of them.
///
/// Rows pushed and not finished are the caller's to bound: one batch is at most what was drained at once.
#[derive(Debug)]
pub struct RecordDecoder {
    layout: Arc<Layout>,
    after: Arc<AfterPart>,
    columns: Vec<Column>,
    rows: usize,
    bytes_least: usize,
    counts: AfterCounts,
}

#[derive(Debug)]
struct Column {
    cell: Cell,
    /// Which rows are not NULL; empty as long as none is.
    validity: Vec<bool>,
    values: Values,
}

#[derive(Debug)]
enum Values {
    Int16(Vec<i16>),
    Int32(Vec<i32>),
    Int64(Vec<i64>),
    Boolean(Vec<bool>),
    Text(Views),
    BytesView(Views),
    BytesFixed { bytes: Vec<u8>, width: i32 },
    Time(Vec<i64>),
}

/// Values of any length: short ones in their view, longer ones in `bytes`.
#[derive(Debug, Default)]
struct Views {
    views: Vec<u128>,
    bytes: Vec<u8>,
}

impl RecordDecoder {
    /// A decoder for records of this layout, whose rows go on through this part.
    pub(crate) fn new(layout: Arc<Layout>, after: Arc<AfterPart>) -> RecordDecoder {
        let schema = after.record_schema();
        let columns = layout
            .cells
            .iter()
            .zip(schema.fields())
            .map(|(cell, field)| Column {
                cell: *cell,
                validity: Vec::new(),
                values: Values::new(*cell, field.data_type()),
            })
            .collect();
        let least = match layout.last_string {
            Some(last) => layout.cells[last].offset(),
            None => layout.bytes,
        };
        let bytes_least = usize::from(least.max(HEADER_BYTES));
        RecordDecoder { layout, after, columns, rows: 0, bytes_least, counts: AfterCounts::default() }
    }

    /// Takes one record.
    pub fn push(&mut self, record: &[u8]) -> Result<(), RecordError> {
        if record.len() < self.bytes_least {
            return Err(RecordError::Short { bytes: record.len(), least: self.bytes_least });
        }
        let nulls = u64::from_le_bytes(array(record, NULLS_OFFSET as usize));
        for (index, column) in self.columns.iter_mut().enumerate() {
            let null = match column.cell {
                Cell::Mark(mark) => column.values.push_mark(mark, record, self.layout.marks.names()),
                cell => {
                    let null = nulls >> index & 1 == 1;
                    column.values.push(cell, record, null);
                    null
                }
            };
            if null || !column.validity.is_empty() {
                column.note(null, self.rows);
            }
        }
        self.rows += 1;
        Ok(())
    }

    /// Rows taken and not finished.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Whether its rows should wait until the processes' own events were heard: they name `exe` or `cmdline`.
    pub fn asks_for_processes(&self) -> bool {
        self.after.asks_for_processes()
    }

    /// The schema of finished batches.
    pub fn schema(&self) -> SchemaRef {
        self.after.output_schema()
    }

    /// What the part after the kernel dropped and could not evaluate, since the decoder was made.
    pub fn counts(&self) -> AfterCounts {
        self.counts
    }

    /// The rows taken, through the part after the kernel. The decoder is empty then.
    ///
    /// # Errors
    /// Only faults of ours: what fails for a row is NULL there and counted.
    pub fn finish(&mut self, clock: &ClockOffset) -> datafusion::error::Result<RecordBatch> {
        let batch = self.records(clock)?;
        self.after.run(&batch, &mut self.counts)
    }

    /// The records taken, as they are, before the part after the kernel. The decoder is empty then.
    pub(crate) fn records(&mut self, clock: &ClockOffset) -> datafusion::error::Result<RecordBatch> {
        let rows = std::mem::take(&mut self.rows);
        let arrays: Vec<ArrayRef> = self.columns.iter_mut().map(|column| column.finish(*clock)).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(self.after.record_schema(), arrays, &options)?)
    }

    /// A decoder of the same probe with nothing in it.
    pub fn fresh(&self) -> RecordDecoder {
        RecordDecoder::new(Arc::clone(&self.layout), Arc::clone(&self.after))
    }
}

fn array<const BYTES: usize>(record: &[u8], offset: usize) -> [u8; BYTES] {
    record[offset..offset + BYTES].try_into().expect("the slice has just this length")
}

impl Values {
    fn new(cell: Cell, data_type: &DataType) -> Values {
        match (cell, data_type) {
            (Cell::Time, _) => Values::Time(Vec::with_capacity(ROWS_AT_FIRST)),
            (Cell::Boolean { .. } | Cell::Mark(Mark::Truncated), _) => {
                Values::Boolean(Vec::with_capacity(ROWS_AT_FIRST))
            }
            (Cell::Text { .. } | Cell::Mark(Mark::ProbeError), _) => Values::Text(Views::default()),
            (Cell::Bytes { .. }, DataType::FixedSizeBinary(width)) => {
                Values::BytesFixed { bytes: Vec::new(), width: *width }
            }
            (Cell::Bytes { .. } | Cell::Sized { .. }, _) => Values::BytesView(Views::default()),
            (Cell::Integer { .. }, DataType::Timestamp(..)) => Values::Time(Vec::with_capacity(ROWS_AT_FIRST)),
            (Cell::Integer { .. }, DataType::Int16) => Values::Int16(Vec::with_capacity(ROWS_AT_FIRST)),
            (Cell::Integer { .. }, DataType::Int32) => Values::Int32(Vec::with_capacity(ROWS_AT_FIRST)),
            (Cell::Integer { .. } | Cell::Nsecs, _) => Values::Int64(Vec::with_capacity(ROWS_AT_FIRST)),
        }
    }

    /// Takes what the record's word of marks says, and says whether it is NULL. Text is made where something could not
    /// be read, which is seldom.
    fn push_mark(&mut self, mark: Mark, record: &[u8], names: &[String]) -> bool {
        let word = u32::from_le_bytes(array(record, MARKS_OFFSET as usize));
        match (self, mark) {
            (Values::Boolean(values), Mark::Truncated) => {
                values.push(marks::is_cut(word));
                false
            }
            (Values::Text(values), Mark::ProbeError) if marks::is_unreadable(word) => {
                values.push(marks::probe_error(word, names).as_bytes());
                false
            }
            (values, _) => {
                values.push(Cell::Mark(mark), record, true);
                true
            }
        }
    }

    fn push(&mut self, cell: Cell, record: &[u8], null: bool) {
        let offset = usize::from(cell.offset());
        // The bytes of a NULL are not written by the program: what lies there is old.
        match self {
            Values::Int16(values) => {
                values.push(if null { 0 } else { i16::from_le_bytes(array(record, offset)) });
            }
            Values::Int32(values) => {
                values.push(if null { 0 } else { i32::from_le_bytes(array(record, offset)) });
            }
            Values::Int64(values) => {
                values.push(if null { 0 } else { i64::from_le_bytes(array(record, offset)) });
            }
            Values::Boolean(values) => values.push(!null && record[offset] != 0),
            Values::Text(values) => match cell {
                _ if null => values.push(&[]),
                Cell::Text { length, keep, .. } => {
                    let end = record.len().min(offset + usize::from(length));
                    append_text(values, &record[offset..end], usize::from(keep));
                }
                _ => values.push(&[]),
            },
            Values::BytesView(values) => match cell {
                Cell::Bytes { length, .. } if !null => values.push(&record[offset..offset + usize::from(length)]),
                Cell::Sized { bytes_max, .. } if !null => {
                    values.push(sized(record, offset, usize::from(bytes_max)));
                }
                _ => values.push(&[]),
            },
            Values::BytesFixed { bytes, width } => {
                let width = *width as usize;
                if null {
                    bytes.resize(bytes.len() + width, 0);
                } else {
                    bytes.extend_from_slice(&record[offset..offset + width]);
                }
            }
            Values::Time(values) => {
                values.push(if null { 0 } else { i64::from_le_bytes(array(record, offset)) });
            }
        }
    }
}

/// The bytes behind the word that says how many they are; fewer when the record ends before.
fn sized(record: &[u8], offset: usize, bytes_max: usize) -> &[u8] {
    let Some((length, bytes)) = record[offset..].split_first_chunk() else { return &[] };
    let length = usize::try_from(u64::from_le_bytes(*length)).unwrap_or(bytes_max);
    &bytes[..length.min(bytes_max).min(bytes.len())]
}

/// Text ends at its first NUL; invalid bytes are replaced; a character that was cut in two is left out.
fn append_text(values: &mut Views, place: &[u8], keep: usize) {
    let end = place.iter().position(|byte| *byte == 0).unwrap_or(place.len());
    let bytes = &place[..end.min(keep)];
    match std::str::from_utf8(bytes) {
        Ok(_) => values.push(bytes),
        Err(error) if end > keep && error.error_len().is_none() => values.push(&bytes[..error.valid_up_to()]),
        Err(_) => values.push(String::from_utf8_lossy(bytes).as_bytes()),
    }
}

impl Views {
    fn push(&mut self, value: &[u8]) {
        let offset = u32::try_from(self.bytes.len()).expect("a batch of records has less than 4 GiB");
        self.views.push(make_view(value, 0, offset));
        if value.len() > VIEW_BYTES_MAX {
            self.bytes.extend_from_slice(value);
        }
    }

    /// The views, and the buffer they refer to; empty afterwards.
    fn take(&mut self) -> (ScalarBuffer<u128>, Vec<Buffer>) {
        let buffers = if self.bytes.is_empty() { Vec::new() } else { vec![Buffer::from(taken(&mut self.bytes))] };
        (taken(&mut self.views).into(), buffers)
    }
}

/// Longer values lie beside their view.
const VIEW_BYTES_MAX: usize = 12;

impl Column {
    /// Notes whether the row is NULL that comes behind so many others.
    fn note(&mut self, null: bool, rows_before: usize) {
        self.validity.resize(rows_before, true);
        self.validity.push(!null);
    }

    fn finish(&mut self, clock: ClockOffset) -> ArrayRef {
        let has_nulls = !self.validity.is_empty();
        let nulls = has_nulls.then(|| NullBuffer::new(BooleanBuffer::from(self.validity.as_slice())));
        self.validity.clear();
        match &mut self.values {
            Values::Int16(values) => Arc::new(Int16Array::new(taken(values).into(), nulls)),
            Values::Int32(values) => Arc::new(Int32Array::new(taken(values).into(), nulls)),
            Values::Int64(values) => Arc::new(Int64Array::new(taken(values).into(), nulls)),
            Values::Boolean(values) => Arc::new(BooleanArray::new(taken(values).into(), nulls)),
            Values::Text(values) => {
                let (views, buffers) = values.take();
                // SAFETY: `push` made each view for the one buffer, and `append_text` passes valid UTF-8 only.
                Arc::new(unsafe { StringViewArray::new_unchecked(views, buffers, nulls) })
            }
            Values::BytesView(values) => {
                let (views, buffers) = values.take();
                // SAFETY: `push` made each view for the one buffer.
                Arc::new(unsafe { BinaryViewArray::new_unchecked(views, buffers, nulls) })
            }
            Values::BytesFixed { bytes, width } => {
                Arc::new(FixedSizeBinaryArray::new(*width, Buffer::from(taken(bytes)), nulls))
            }
            Values::Time(values) => {
                let mut times = taken(values);
                for time in &mut times {
                    *time = time.wrapping_add(clock.unix_minus_monotonic_ns);
                }
                Arc::new(TimestampNanosecondArray::new(times.into(), nulls).with_timezone("UTC"))
            }
        }
    }
}

/// A copy of the values without spare memory; the room stays for the next batch.
fn taken<T: Copy>(values: &mut Vec<T>) -> Vec<T> {
    let copy = values.as_slice().to_vec();
    values.clear();
    values.shrink_to(KEPT_BYTES_MAX / size_of::<T>());
    copy
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(place: &[u8], keep: usize, expected: &str) {
        let mut values = Views::default();
        append_text(&mut values, place, keep);
        let (views, buffers) = values.take();
        assert_eq!(StringViewArray::try_new(views, buffers, None).expect("valid text").value(0), expected);
    }

    #[test]
    fn text_ends_at_nul_and_is_valid_utf8() {
        check(b"bash\0old", 8, "bash");
        check(b"0123456789", 8, "01234567");
        check(b"longer than a view can hold\0", 64, "longer than a view can hold");
        check("aä".as_bytes(), 2, "a");
        check(b"a\xffb\0", 4, "a\u{fffd}b");
        check(b"a\xc3\0\0", 4, "a\u{fffd}");
    }

    #[test]
    fn bytes_are_as_many_as_the_word_before_them_says() {
        let record = [&[0xee], 3_u64.to_le_bytes().as_slice(), b"a\0cd"].concat();
        assert_eq!(sized(&record, 1, 8), b"a\0c");
        assert_eq!(sized(&record, 1, 2), b"a\0");
        assert_eq!(sized(&record[..11], 1, 8), b"a\0");
        assert_eq!(sized(&record[..4], 1, 8), b"");
    }

    #[test]
    fn clocks_run_together() {
        let offset = ClockOffset::now();
        let unix = clock::unix_now_ns();
        let converted = clock::monotonic_now_ns() + offset.unix_minus_monotonic_ns;
        assert!((converted - unix).abs() < 1_000_000_000, "{converted} {unix}");
    }
}
