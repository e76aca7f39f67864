//! Batches of the log to rows of the table's schema, sorted by time and cut by the hour.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt32Array, new_null_array};
use arrow::compute::{cast, concat_batches, sort_to_indices, take_record_batch};
use arrow::datatypes::{SchemaRef, TimestampNanosecondType};
use arrow::error::ArrowError;
use probepilot_catalog::table::time_column;

/// An hour in nanoseconds.
pub const HOUR_NS: i64 = 3_600_000_000_000;

const DAY_NS: i64 = 24 * HOUR_NS;

/// Files a table gets of one cut. Rows spread over more hours are cut by the day, over more days not at all.
const PARTS_MAX: usize = 48;

/// All rows in the schema, sorted by time (rows of equal time stay in the order of the log), in parts of an hour. Rows
/// without a time stay together, in the order of the log.
pub fn sorted_by_hour(schema: &SchemaRef, batches: &[RecordBatch]) -> Result<Vec<RecordBatch>, ArrowError> {
    let batches: Vec<RecordBatch> = batches.iter().map(|batch| conform(schema, batch)).collect::<Result<_, _>>()?;
    let rows = concat_batches(schema, &batches)?;
    let Some(time) = time_column(schema) else { return Ok(vec![rows]) };
    let rows = sort(rows, time)?;
    let times = rows.column(time).as_primitive::<TimestampNanosecondType>().values();
    for span in [HOUR_NS, DAY_NS] {
        if let Some(parts) = parts(times, span) {
            return Ok(parts.into_iter().map(|(from, length)| rows.slice(from, length)).collect());
        }
    }
    Ok(vec![rows])
}

fn sort(rows: RecordBatch, time: usize) -> Result<RecordBatch, ArrowError> {
    let times = rows.column(time);
    if times.as_primitive::<TimestampNanosecondType>().values().is_sorted() {
        return Ok(rows);
    }
    // Sorting positions with their times keeps equal times in order without a second key.
    let values = times.as_primitive::<TimestampNanosecondType>().values();
    let mut order: Vec<(i64, u32)> = match u32::try_from(values.len()) {
        Ok(length) => values.iter().copied().zip(0..length).collect(),
        Err(_) => return take_record_batch(&rows, &sort_to_indices(times, None, None)?),
    };
    order.sort_unstable();
    let positions: Vec<u32> = order.into_iter().map(|(_, position)| position).collect();
    take_record_batch(&rows, &UInt32Array::from(positions))
}

/// Where each span of sorted times begins and how many it has; `None` when there are too many.
fn parts(times: &[i64], span_ns: i64) -> Option<Vec<(usize, usize)>> {
    let mut parts = Vec::new();
    let mut from = 0;
    while from < times.len() {
        if parts.len() == PARTS_MAX {
            return None;
        }
        let end = times[from].div_euclid(span_ns).saturating_add(1).saturating_mul(span_ns);
        let length = times[from..].partition_point(|&time| time < end).max(1);
        parts.push((from, length));
        from += length;
    }
    Some(parts)
}

/// The batch's columns by name, in the schema's order and types; columns added since are NULL.
pub fn conform(schema: &SchemaRef, batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let same_types = batch.num_columns() == schema.fields().len()
        && schema
            .fields()
            .iter()
            .zip(batch.schema_ref().fields())
            .all(|(wanted, given)| wanted.name() == given.name() && wanted.data_type() == given.data_type());
    if same_types {
        return RecordBatch::try_new(schema.clone(), batch.columns().to_vec());
    }
    let columns: Vec<ArrayRef> = schema
        .fields()
        .iter()
        .map(|field| match batch.column_by_name(field.name()) {
            Some(column) if column.data_type() == field.data_type() => Ok(Arc::clone(column)),
            Some(column) => cast(column, field.data_type()),
            None => Ok(new_null_array(field.data_type(), batch.num_rows())),
        })
        .collect::<Result<_, _>>()?;
    RecordBatch::try_new(schema.clone(), columns)
}
