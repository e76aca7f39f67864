//! Rows of one table, contiguous in the log, and where each entry's rows end.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::{concat_batches, max, min};
use arrow::datatypes::{BinaryViewType, DataType, StringViewType, TimestampNanosecondType};
use tokio::sync::OwnedSemaphorePermit;

/// Where an entry's rows end in a run, and the credit they hold.
#[derive(Clone, Debug)]
struct Piece {
    sequence: u64,
    rows_end: usize,
    /// Shared with the same entry's rows of other tables; held, never read.
    _credit: Option<Arc<OwnedSemaphorePermit>>,
}

/// Rows of consecutive entries of one table, in the log's order.
#[derive(Clone, Debug)]
pub struct Run {
    rows: RecordBatch,
    /// By sequence; never empty.
    pieces: Vec<Piece>,
    time_bounds: Option<(i64, i64)>,
}

impl Run {
    /// The rows of one entry.
    pub(super) fn new(sequence: u64, rows: RecordBatch, credit: Option<Arc<OwnedSemaphorePermit>>) -> Run {
        let pieces = vec![Piece { sequence, rows_end: rows.num_rows(), _credit: credit }];
        let time_bounds = time_bounds(&rows);
        Run { rows, pieces, time_bounds }
    }

    /// Rows that are not in the log yet: they stand behind all that are.
    pub(crate) fn of_transaction(rows: RecordBatch) -> Run {
        Run::new(u64::MAX, rows, None)
    }

    /// Neighbours of the same columns as one, compact in memory; `None` when there is nothing to merge.
    pub(super) fn merge(runs: &[Arc<Run>]) -> Option<Run> {
        let schema = runs.first()?.rows.schema();
        let rows = concat_batches(&schema, runs.iter().map(|run| &run.rows)).ok()?;
        let columns = rows.columns().iter().map(compact).collect();
        let rows = RecordBatch::try_new(schema, columns).ok()?;
        let mut pieces = Vec::with_capacity(runs.iter().map(|run| run.pieces.len()).sum());
        let mut rows_before = 0;
        for run in runs {
            pieces.extend(
                run.pieces.iter().map(|piece| Piece { rows_end: rows_before + piece.rows_end, ..piece.clone() }),
            );
            rows_before += run.rows.num_rows();
        }
        let bounds = runs.iter().map(|run| run.time_bounds);
        let time_bounds = bounds.reduce(|a, b| a.zip(b).map(|(a, b)| (a.0.min(b.0), a.1.max(b.1)))).flatten();
        Some(Run { rows, pieces, time_bounds })
    }

    /// Whether the other's rows may be merged with its own.
    pub(super) fn has_columns_of(&self, other: &Run) -> bool {
        let (own, others) = (self.rows.schema_ref(), other.rows.schema_ref());
        Arc::ptr_eq(own, others) || own.fields() == others.fields()
    }

    /// The rows.
    pub fn rows(&self) -> &RecordBatch {
        &self.rows
    }

    /// Earliest and latest time, Unix nanoseconds; `None` without such a column.
    pub fn time_bounds(&self) -> Option<(i64, i64)> {
        self.time_bounds
    }

    /// The oldest entry's sequence.
    pub fn first_sequence(&self) -> u64 {
        self.pieces[0].sequence
    }

    /// The newest entry's sequence.
    pub fn last_sequence(&self) -> u64 {
        self.pieces[self.pieces.len() - 1].sequence
    }

    /// The rows of entries after `sequence`; `None` when there are none.
    pub fn after(self: &Arc<Run>, sequence: u64) -> Option<Arc<Run>> {
        if sequence < self.first_sequence() {
            return Some(Arc::clone(self));
        }
        let cut = self.pieces.partition_point(|piece| piece.sequence <= sequence);
        if cut == self.pieces.len() {
            return None;
        }
        let offset = self.pieces[cut - 1].rows_end;
        let pieces = self.pieces[cut..].iter();
        let rows = self.rows.slice(offset, self.rows.num_rows() - offset);
        let time_bounds = time_bounds(&rows);
        let pieces = pieces.map(|piece| Piece { rows_end: piece.rows_end - offset, ..piece.clone() }).collect();
        Some(Arc::new(Run { rows, pieces, time_bounds }))
    }
}

fn time_bounds(rows: &RecordBatch) -> Option<(i64, i64)> {
    let times = rows.column(probepilot_catalog::table::time_column(rows.schema_ref())?);
    let times = times.as_primitive_opt::<TimestampNanosecondType>()?;
    Some((min(times)?, max(times)?))
}

/// Joined views keep the buffers of all their parts: copy what they show into one.
fn compact(column: &ArrayRef) -> ArrayRef {
    match column.data_type() {
        DataType::Utf8View => Arc::new(column.as_byte_view::<StringViewType>().gc()),
        DataType::BinaryView => Arc::new(column.as_byte_view::<BinaryViewType>().gc()),
        _ => Arc::clone(column),
    }
}
