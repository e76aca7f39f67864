//! Sorted rows to the bytes of a Parquet file.

use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::TimestampNanosecondType;
use bytes::Bytes;
use chrono::DateTime;
use parquet::arrow::ArrowWriter;
use parquet::errors::ParquetError;
use probepilot_catalog::manifest::{NewSegment, Table};
use probepilot_catalog::table::time_column;
use uuid::Uuid;

use super::bounds::{NanWatch, describe};
use super::layout::{ZSTD_LEVEL_CUT, fitted, layout};

/// A file that is not stored yet.
pub struct Encoded {
    /// What the manifest will know of it.
    pub segment: NewSegment,
    /// The file.
    pub bytes: Bytes,
}

/// Encodes batches that are sorted by time, each in itself and behind the one before it, and have the table's schema; there is
/// at least one row.
pub fn encode(table: &Table, part: &[RecordBatch]) -> Result<Encoded, ParquetError> {
    let layout = layout(table, ZSTD_LEVEL_CUT)?;
    let schema = layout.schema;
    let mut nans = NanWatch::default();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new_with_options(&mut bytes, Arc::clone(&schema), layout.options)?;
    for rows in part {
        let rows = fitted(rows, &schema)?;
        nans.see(&rows);
        writer.write(&rows)?;
    }
    let metadata = writer.close()?;
    let bytes = Bytes::from(bytes);
    // Rows without a time are as old as their file.
    let times = match time_column(&table.schema) {
        Some(time) => {
            let times =
                |rows: &RecordBatch| rows.column(time).as_primitive::<TimestampNanosecondType>().values().clone();
            let first = part.first().and_then(|rows| times(rows).first().copied());
            first.zip(part.last().and_then(|rows| times(rows).last().copied()))
        }
        None => Some(now_unix_ns()).map(|now| (now, now)),
    };
    let times = times.ok_or_else(|| ParquetError::General("a segment without rows".into()))?;
    let path = segment_path(table, times.0);
    let length = bytes.len() as u64;
    let segment = describe(table, &metadata, &nans, path, [length, footer_bytes(&bytes)], times, 0);
    Ok(Encoded { segment, bytes })
}

fn now_unix_ns() -> i64 {
    chrono::Utc::now().timestamp_nanos_opt().unwrap_or(i64::MAX)
}

/// Bytes of the footer: the number before the last four bytes.
fn footer_bytes(file: &[u8]) -> u64 {
    let tail = file.len().checked_sub(8).and_then(|at| file.get(at..at + 4));
    let tail: [u8; 4] =
        tail.and_then(|tail| tail.try_into().ok()).expect("a finished file ends with its footer's size");
    u32::from_le_bytes(tail).into()
}

/// A path for a file of `table` that was never used before: what a failed attempt leaves behind is in nobody's way.
pub fn segment_path(table: &Table, time_min_unix_ns: i64) -> String {
    let hour = DateTime::from_timestamp_nanos(time_min_unix_ns).format("%Y-%m-%d/%H");
    format!("{}{hour}-{}.parquet", table.path, Uuid::now_v7().simple())
}

#[cfg(test)]
mod tests {
    use arrow::array::Float64Array;
    use arrow::compute::concat_batches;
    use arrow::datatypes::Float64Type;
    use probepilot_catalog::manifest::{Bound, TableSettings};
    use probepilot_catalog::table::{TableId, arrow_schema};

    use super::*;
    use crate::segment::sorted::sorted_by_hour;
    use crate::source::Source;

    fn table() -> Table {
        let definition = Source::table("t");
        Table {
            id: TableId(1),
            schema: arrow_schema(&definition.columns),
            column_ids: vec![1, 2, 3, 4],
            path: "main/t/".into(),
            settings: TableSettings::default(),
            segments: Arc::default(),
            definition,
        }
    }

    #[test]
    fn rows_of_any_order_become_sorted_hours_with_bounds_that_hold() {
        let table = table();
        for seed in 0..20 {
            let source = Source { step_ns: 977_000_000, ..Source::new(seed) };
            let batches: Vec<RecordBatch> =
                (0..10).map(|part| source.rows((part * 7 + seed) % 10 * 1_000, 999)).collect();
            let parts = sorted_by_hour(&table.schema, &batches).expect("the rows fit");
            assert_eq!(parts.iter().flatten().map(RecordBatch::num_rows).sum::<usize>(), 9_990);
            for batches in parts {
                let part = concat_batches(&table.schema, &batches).expect("one schema");
                let times = part.column(0).as_primitive::<TimestampNanosecondType>().values().clone();
                assert!(times.is_sorted());
                let encoded = encode(&table, &batches).expect("the rows can be encoded");
                let segment = encoded.segment;
                assert_eq!((segment.time_min, segment.time_max), (times[0], times[times.len() - 1]));
                assert_eq!(
                    segment.time_min.div_euclid(3_600_000_000_000),
                    segment.time_max.div_euclid(3_600_000_000_000)
                );
                let texts = part.column(2).as_string_view();
                let (min, max) = (&segment.bounds[2].min, &segment.bounds[2].max);
                assert_eq!(min, &texts.iter().flatten().min().map(|text| Bound::Text(text.into())));
                assert_eq!(max, &texts.iter().flatten().max().map(|text| Bound::Text(text.into())));
                assert_eq!(segment.bytes as usize, encoded.bytes.len());
            }
        }
    }

    #[test]
    fn a_column_with_nan_has_no_bounds_and_one_of_nulls_only_counts_them() {
        let table = table();
        let rows = Source::new(1).rows(0, 3);
        for (values, bounds) in [
            (vec![Some(1.5), None, Some(-2.0)], (Some(Bound::Float(-2.0)), Some(Bound::Float(1.5)), 1)),
            (vec![Some(1.5), Some(f64::NAN), None], (None, None, 1)),
            (vec![None, None, None], (None, None, 3)),
        ] {
            let mut columns = rows.columns().to_vec();
            columns[3] = Arc::new(Float64Array::from(values));
            let rows = RecordBatch::try_new(rows.schema(), columns).expect("the types are the same");
            let parts = sorted_by_hour(&table.schema, &[rows]).expect("the rows fit");
            let found: Vec<_> = parts
                .iter()
                .map(|part| encode(&table, part).expect("the rows can be encoded").segment.bounds[3].clone())
                .collect();
            let nulls: u64 = found.iter().map(|bounds| bounds.null_count).sum();
            let min = found.iter().filter_map(|bounds| bounds.min.clone()).reduce(|a, b| if b < a { b } else { a });
            let max = found.iter().filter_map(|bounds| bounds.max.clone()).reduce(|a, b| if b > a { b } else { a });
            if bounds.0.is_some() {
                assert_eq!((min, max, nulls), bounds);
            } else {
                assert_eq!(nulls, bounds.2);
                let with_nan = parts
                    .iter()
                    .position(|part| part[0].column(3).as_primitive::<Float64Type>().iter().flatten().any(f64::is_nan));
                assert!(with_nan.is_none_or(|part| found[part].min.is_none() && found[part].max.is_none()));
            }
        }
    }
}
