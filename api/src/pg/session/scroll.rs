//! Rows that a cursor with SCROLL has passed, kept so that it can go back, and the memory that all cursors may take for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::{RecordBatch, UInt64Array};
use arrow::compute::take_record_batch;
use probepilot_sql::cursor::{ALL_ROWS, Motion};
use probepilot_sql::{SqlError, SqlState};

/// One cursor keeps rows of at most so many bytes; the FETCH that would keep more fails (53400).
pub const CURSOR_BYTES_MAX: usize = 64 << 20;
/// All cursors of the door together keep at most so many; the FETCH that would keep more fails (53400).
pub const CURSORS_BYTES_MAX: usize = 256 << 20;
/// Rows that are turned round at once.
const REVERSED_ROWS: u64 = 1_024;

/// The memory that the cursors of a door have taken.
#[derive(Debug, Default)]
pub struct CursorMemory(AtomicUsize);

/// Rows from the first one on.
pub struct Kept {
    memory: Arc<CursorMemory>,
    batches: Vec<RecordBatch>,
    /// For each batch, the number of rows up to its end.
    ends: Vec<u64>,
    bytes: usize,
}

impl Kept {
    /// No rows yet.
    pub fn new(memory: Arc<CursorMemory>) -> Kept {
        Kept { memory, batches: Vec::new(), ends: Vec::new(), bytes: 0 }
    }

    /// How many rows there are.
    pub fn rows(&self) -> u64 {
        self.ends.last().copied().unwrap_or(0)
    }

    /// Adds rows; 53400 when they do not fit.
    pub fn push(&mut self, batch: RecordBatch) -> Result<(), SqlError> {
        let bytes = batch.get_array_memory_size();
        let full = |what: &str, bytes_max: usize| {
            let message = format!("the rows that {what} would keep to go back are more than {} MiB", bytes_max >> 20);
            Err(SqlError::new(SqlState::CONFIGURATION_LIMIT_EXCEEDED, message)
                .hint("Declare the cursor with NO SCROLL, or select fewer rows."))
        };
        if self.bytes + bytes > CURSOR_BYTES_MAX {
            return full("this cursor", CURSOR_BYTES_MAX);
        }
        // What did not fit is given back when this is dropped, as `bytes` counts it already.
        self.bytes += bytes;
        if self.memory.0.fetch_add(bytes, Ordering::Relaxed) + bytes > CURSORS_BYTES_MAX {
            return full("all cursors", CURSORS_BYTES_MAX);
        }
        self.ends.push(self.rows() + batch.num_rows() as u64);
        self.batches.push(batch);
        Ok(())
    }

    /// The batch with the row of this number, counted from 0, and where in the batch it is.
    pub fn find(&self, row: u64) -> Option<(RecordBatch, usize)> {
        let place = self.ends.partition_point(|end| *end <= row);
        let batch = self.batches.get(place)?;
        let begin = self.ends[place] - batch.num_rows() as u64;
        Some((batch.clone(), usize::try_from(row - begin).expect("a batch has fewer rows than memory bytes")))
    }

    /// Up to `rows` rows backwards from the one of this number, as far as its batch goes.
    pub fn reversed(&self, row: u64, rows: u64) -> Result<Option<RecordBatch>, SqlError> {
        let Some((batch, last)) = self.find(row) else { return Ok(None) };
        let last = last as u64;
        let count = rows.min(last + 1).min(REVERSED_ROWS);
        let indices: UInt64Array = (last + 1 - count..=last).rev().map(Some).collect();
        let reversed = take_record_batch(&batch, &indices);
        reversed.map(Some).map_err(|error| SqlError::internal("rows cannot be turned round", error))
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.memory.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Where a cursor is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The number of the current row, counted from 1; 0 before the first. Behind the end, that of the last row.
    pub row: u64,
    /// Behind the last row.
    pub at_end: bool,
}

/// What a cursor does for a FETCH, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Goes so many rows on; `None` for all that are left.
    Forward(Option<u64>),
    /// Goes so many rows back; `None` for all.
    Backward(Option<u64>),
    /// Goes before this row, or behind the end when there is none.
    Before(u64),
    /// Sends the current row again, if it is on one.
    Again,
    /// Counts the current row and sends nothing.
    Stay,
    /// Sends nothing.
    Nothing,
}

impl Step {
    /// What is left of it after so many rows.
    pub fn less(self, rows: u64) -> Step {
        match self {
            Step::Forward(Some(wanted)) => Step::Forward(Some(wanted - rows)),
            Step::Backward(Some(wanted)) => Step::Backward(Some(wanted - rows)),
            step => step,
        }
    }

    /// Whether nothing is left of it.
    pub fn is_done(self) -> bool {
        matches!(self, Step::Forward(Some(0)) | Step::Backward(Some(0)) | Step::Again | Step::Stay | Step::Nothing)
    }

    /// Whether it needs rows that were passed.
    pub fn goes_back(self, place: Place) -> bool {
        match self {
            Step::Forward(_) | Step::Stay | Step::Nothing => false,
            Step::Backward(_) => true,
            Step::Before(row) => row <= place.row,
            Step::Again => place.row > 0 && !place.at_end,
        }
    }
}

/// What a motion is from a place: two steps that pass rows over, and one that sends them.
pub fn steps(motion: Motion, place: Place) -> [Step; 3] {
    let count = |rows: i64| (rows != ALL_ROWS).then_some(rows.unsigned_abs());
    let forward = |rows: i64| [Step::Nothing, Step::Nothing, Step::Forward(count(rows))];
    let backward = |rows: i64| [Step::Nothing, Step::Nothing, Step::Backward(count(rows))];
    let others = |rows: i64| Some(rows.unsigned_abs() - 1);
    match motion {
        Motion::Forward(0) | Motion::Backward(0) | Motion::Relative(0) => [Step::Nothing, Step::Nothing, Step::Again],
        Motion::Forward(rows) if rows > 0 => forward(rows),
        Motion::Forward(rows) => backward(rows),
        Motion::Backward(rows) if rows > 0 => backward(rows),
        Motion::Backward(rows) => forward(rows),
        Motion::Relative(rows) if rows > 0 => [Step::Nothing, Step::Forward(others(rows)), Step::Forward(Some(1))],
        Motion::Relative(rows) => [Step::Nothing, Step::Backward(others(rows)), Step::Backward(Some(1))],
        Motion::Absolute(0) if place == Place::default() => [Step::Nothing; 3],
        Motion::Absolute(0) => [Step::Nothing, Step::Before(1), Step::Nothing],
        Motion::Absolute(row) if row > 0 => [Step::Nothing, Step::Before(row.unsigned_abs()), Step::Forward(Some(1))],
        Motion::Absolute(row) => [Step::Forward(None), Step::Backward(others(row)), Step::Backward(Some(1))],
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{AsArray, Int64Array};
    use arrow::datatypes::{DataType, Field, Int64Type, Schema};

    use super::*;

    fn batch(values: std::ops::Range<i64>) -> RecordBatch {
        let schema = Schema::new(vec![Field::new("n", DataType::Int64, false)]);
        RecordBatch::try_new(Arc::new(schema), vec![Arc::new(Int64Array::from_iter_values(values))]).unwrap()
    }

    #[test]
    fn rows_are_found_by_number_and_turned_round_by_batch() {
        let mut kept = Kept::new(Arc::default());
        kept.push(batch(0..3)).unwrap();
        kept.push(batch(3..10)).unwrap();
        assert_eq!(kept.rows(), 10);
        let at = |row| kept.find(row).map(|(batch, place)| batch.column(0).as_primitive::<Int64Type>().value(place));
        assert_eq!((at(0), at(2), at(3), at(9), at(10)), (Some(0), Some(2), Some(3), Some(9), None));
        let back = |row, rows| {
            let batch = kept.reversed(row, rows).unwrap();
            batch.map(|batch| batch.column(0).as_primitive::<Int64Type>().values().to_vec())
        };
        assert_eq!(back(9, 3), Some(vec![9, 8, 7]));
        assert_eq!(back(4, 9), Some(vec![4, 3]));
        assert_eq!(back(2, u64::MAX), Some(vec![2, 1, 0]));
    }

    #[test]
    fn memory_is_given_back_and_what_does_not_fit_is_refused() {
        let memory = Arc::new(CursorMemory::default());
        let million = batch(0..1_000_000);
        let bytes = million.get_array_memory_size();
        let mut kept = Kept::new(Arc::clone(&memory));
        for _ in 0..CURSOR_BYTES_MAX / bytes {
            kept.push(million.clone()).unwrap();
        }
        assert_eq!(kept.push(million.clone()).unwrap_err().state, SqlState::CONFIGURATION_LIMIT_EXCEEDED);
        let others: Vec<Kept> = (0..CURSORS_BYTES_MAX / CURSOR_BYTES_MAX)
            .map_while(|_| {
                let mut other = Kept::new(Arc::clone(&memory));
                (0..CURSOR_BYTES_MAX / bytes).try_for_each(|_| other.push(million.clone())).is_ok().then_some(other)
            })
            .collect();
        assert!(others.len() < CURSORS_BYTES_MAX / CURSOR_BYTES_MAX, "all cursors together have a bound");
        drop((kept, others));
        assert_eq!(memory.0.load(Ordering::Relaxed), 0);
    }
}
