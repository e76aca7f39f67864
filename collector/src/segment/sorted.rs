//! Batches of the log to rows of the table's schema, sorted by time and cut by the hour.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, new_null_array};
use arrow::compute::{cast, interleave_record_batch};
use arrow::datatypes::{SchemaRef, TimestampNanosecondType};
use arrow::error::ArrowError;
use probepilot_catalog::table::time_column;

/// An hour in nanoseconds.
pub const HOUR_NS: i64 = 3_600_000_000_000;

const DAY_NS: i64 = 24 * HOUR_NS;

/// Files a table gets of one cut. Rows spread over more hours are cut by the day, over more days not at all.
const PARTS_MAX: usize = 48;

/// So many rows are brought in order at once, if those before them left few behind: what is worked on stays in the cache.
const BLOCK_ROWS: usize = 8_192;

/// Rows in the order of time, as batches that follow each other; never empty, nor is one of them.
pub type Part = Vec<RecordBatch>;

/// All rows in the schema, sorted by time (rows of equal time stay in the order of the log), in parts of an hour. Rows
/// without a time stay together, in the order of the log.
///
/// Rows that come in order, as those of one CPU do, are not copied. Others are copied once.
pub fn sorted_by_hour(schema: &SchemaRef, batches: &[RecordBatch]) -> Result<Vec<Part>, ArrowError> {
    let batches = batches.iter().filter(|batch| batch.num_rows() > 0).map(|batch| conform(schema, batch));
    let batches: Vec<RecordBatch> = batches.collect::<Result<_, _>>()?;
    if batches.is_empty() {
        return Ok(Vec::new());
    }
    let Some(time) = time_column(schema) else { return Ok(vec![batches]) };
    let sorted = if are_sorted(&batches, time) { batches } else { sort(&batches, time)? };
    let parts = [HOUR_NS, DAY_NS].into_iter().find_map(|span_ns| parts(&sorted, time, span_ns));
    Ok(parts.unwrap_or_else(|| vec![sorted]))
}

fn times(batch: &RecordBatch, time: usize) -> &[i64] {
    batch.column(time).as_primitive::<TimestampNanosecondType>().values()
}

fn are_sorted(batches: &[RecordBatch], time: usize) -> bool {
    batches.iter().flat_map(|batch| times(batch, time)).is_sorted()
}

/// Where a row is: its time, its batch, and its place there. In this order rows of equal time stay as they were.
type Position = (i64, u32, u32);

/// The rows of batches that are not empty, in order of time.
///
/// Each batch is about in order and about later than the one before it: it was drained from the rings of a few CPUs. So rows go
/// out as soon as no later batch has an earlier one, and what is sorted at once is little.
fn sort(batches: &[RecordBatch], time: usize) -> Result<Vec<RecordBatch>, ArrowError> {
    // The earliest time of all batches behind each.
    let mut later_min = vec![i64::MAX; batches.len()];
    for at in (1..batches.len()).rev() {
        let earliest = times(&batches[at], time).iter().copied().min().unwrap_or(i64::MAX);
        later_min[at - 1] = later_min[at].min(earliest);
    }
    let mut sorted = Vec::with_capacity(batches.len());
    let mut waiting: Vec<Position> = Vec::new();
    let mut left_behind = 0;
    for (at, batch) in batches.iter().enumerate() {
        let rows = times(batch, time).iter().enumerate();
        waiting.extend(rows.map(|(row, &time)| (time, index(at), index(row))));
        let is_last = at + 1 == batches.len();
        // Sorting costs what waits: it is done when at least half of that is new, however far apart the times lie.
        if !is_last && waiting.len() < BLOCK_ROWS + 2 * left_behind {
            continue;
        }
        // Stable because it takes sorted stretches as they are.
        waiting.sort();
        let ready =
            if is_last { waiting.len() } else { waiting.partition_point(|&(time, _, _)| time <= later_min[at]) };
        if ready > 0 {
            sorted.push(gather(batches, &waiting[..ready])?);
        }
        waiting.drain(..ready);
        left_behind = waiting.len();
    }
    Ok(sorted)
}

fn index(at: usize) -> u32 {
    u32::try_from(at).expect("a cut has less than four billion rows")
}

/// The rows at these positions, at least one; a slice when they follow each other in one batch.
fn gather(batches: &[RecordBatch], positions: &[Position]) -> Result<RecordBatch, ArrowError> {
    let (_, first_batch, first_row) = positions[0];
    let mut in_place = positions.iter().zip(first_row..);
    if in_place.all(|(&(_, batch, row), expected)| (batch, row) == (first_batch, expected)) {
        return Ok(batches[first_batch as usize].slice(first_row as usize, positions.len()));
    }
    let oldest = positions.iter().map(|&(_, batch, _)| batch).min().unwrap_or(first_batch);
    let newest = positions.iter().map(|&(_, batch, _)| batch).max().unwrap_or(first_batch);
    let from: Vec<&RecordBatch> = batches[oldest as usize..=newest as usize].iter().collect();
    let places: Vec<(usize, usize)> =
        positions.iter().map(|&(_, batch, row)| ((batch - oldest) as usize, row as usize)).collect();
    interleave_record_batch(&from, &places)
}

/// Sorted rows cut at each full span of time; `None` when those are too many parts.
fn parts(sorted: &[RecordBatch], time: usize, span_ns: i64) -> Option<Vec<Part>> {
    let mut parts: Vec<Part> = Vec::new();
    let mut part_end = i64::MIN;
    for batch in sorted {
        let times = times(batch, time);
        let mut from = 0;
        while from < times.len() {
            if parts.is_empty() || times[from] >= part_end {
                if parts.len() == PARTS_MAX {
                    return None;
                }
                part_end = times[from].div_euclid(span_ns).saturating_add(1).saturating_mul(span_ns);
                parts.push(Part::new());
            }
            // The last moment that there is belongs to the part before the end that there is not.
            let length = times[from..].partition_point(|&time| time < part_end).max(1);
            parts.last_mut().expect("one was begun").push(batch.slice(from, length));
            from += length;
        }
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

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, StringViewArray, TimestampNanosecondArray};
    use arrow::compute::concat_batches;
    use arrow::datatypes::Int64Type;
    use probepilot_catalog::table::{Column, arrow_schema};
    use probepilot_sql::SqlType;

    use super::*;

    fn schema() -> SchemaRef {
        arrow_schema(&[
            Column::new("time", SqlType::Timestamptz, false, "when"),
            Column::new("n", SqlType::BigInt, false, "which"),
            Column::new("text", SqlType::Text, false, "words"),
        ])
    }

    /// Rows at these times, numbered from `first` on.
    fn batch(first: i64, times: &[i64]) -> RecordBatch {
        let numbers: Vec<i64> = (first..).take(times.len()).collect();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(TimestampNanosecondArray::from(times.to_vec()).with_timezone("UTC")),
            Arc::new(Int64Array::from(numbers.clone())),
            Arc::new(StringViewArray::from_iter_values(numbers.iter().map(|n| format!("a text of its own, {n}")))),
        ];
        RecordBatch::try_new(schema(), columns).expect("three columns of one length")
    }

    /// Numbers that look random, the same each time.
    fn random(seed: u64) -> impl FnMut(u64) -> u64 {
        let mut state = seed;
        move |below| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        }
    }

    /// Times, numbers and texts of all parts, in order.
    fn rows(parts: &[Part]) -> Vec<(i64, i64, String)> {
        let batches: Vec<&RecordBatch> = parts.iter().flatten().collect();
        let all = concat_batches(&schema(), batches).expect("one schema");
        let numbers = all.column(1).as_primitive::<Int64Type>().values();
        let texts = all.column(2).as_string_view();
        times(&all, 0).iter().zip(numbers).zip(texts).map(|((t, n), text)| (*t, *n, text.unwrap().into())).collect()
    }

    /// As many batches as it takes, each time up to `late` behind the row's number, in steps that make many rows alike.
    fn check_against_one_sort(seed: u64, count: usize, rows_max: u64, late: u64) {
        let mut random = random(seed);
        let (mut batches, mut first) = (Vec::new(), 0);
        for _ in 0..count {
            let times: Vec<i64> = (first..)
                .take(random(rows_max) as usize)
                .map(|n| (n - random(late) as i64) / 4 * HOUR_NS / 9_999)
                .collect();
            batches.push(batch(first, &times));
            first += times.len() as i64;
        }
        let parts = sorted_by_hour(&schema(), &batches).expect("they fit");
        let found = rows(&parts);
        let mut expected = rows(&[batches]);
        expected.sort_by_key(|row| row.0);
        assert_eq!(found, expected, "seed {seed}");
        assert!(parts.iter().flatten().all(|batch| batch.num_rows() > 0));
        let mut hours: Vec<i64> = parts.iter().map(|part| times(&part[0], 0)[0].div_euclid(HOUR_NS)).collect();
        let of_part = |part: &Part| times(part.last().unwrap(), 0).last().unwrap().div_euclid(HOUR_NS);
        assert_eq!(hours, parts.iter().map(of_part).collect::<Vec<_>>());
        hours.dedup();
        assert_eq!(hours.len(), parts.len());
    }

    #[test]
    fn rows_of_any_order_come_as_one_stable_sort_has_them() {
        for seed in 0..40 {
            check_against_one_sort(seed, 30, 40, 1 + seed * 7); // Little of it, about in order.
        }
        check_against_one_sort(100, 40, 3_000, 5_000); // Several blocks, each late by some batches.
        check_against_one_sort(101, 40, 3_000, 60_000); // In no order at all.
        check_against_one_sort(102, 3, 30_000, 2); // Batches larger than a block.
    }

    #[test]
    fn what_is_in_order_is_not_copied() {
        let batches = [batch(0, &[1, 2, 2]), batch(3, &[]), batch(3, &[2, 5])];
        let parts = sorted_by_hour(&schema(), &batches).expect("they fit");
        assert_eq!(parts.len(), 1);
        let kept = |at: usize| times(&parts[0][at], 0).as_ptr();
        assert_eq!((kept(0), kept(1)), (times(&batches[0], 0).as_ptr(), times(&batches[2], 0).as_ptr()));
    }

    #[test]
    fn rows_of_many_hours_are_cut_by_the_day_and_of_many_days_not_at_all() {
        let at = |step: i64, count: i64| (0..count).map(|n| n * step).collect::<Vec<_>>();
        for (step_ns, count, parts) in [(HOUR_NS, 48, 48), (HOUR_NS, 49, 3), (DAY_NS, 49, 1)] {
            let found = sorted_by_hour(&schema(), &[batch(0, &at(step_ns, count))]).expect("they fit");
            assert_eq!(found.len(), parts, "{count} steps of {step_ns} ns");
        }
        assert!(sorted_by_hour(&schema(), &[batch(0, &[])]).expect("they fit").is_empty());
    }
}
