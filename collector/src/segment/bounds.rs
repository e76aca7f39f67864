//! What the manifest knows of a segment: its size, its times, and bounds of its columns.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float32Type, Float64Type};
use parquet::file::metadata::ParquetMetaData;
use parquet::file::statistics::Statistics;
use probepilot_catalog::manifest::{Bound, ColumnBounds, NewSegment, Table};

/// Columns with bounds in the manifest, the first ones of the table: planning holds them in memory for every segment.
const BOUNDED_COLUMNS_MAX: usize = 16;

/// Notes which columns hold NaN: it sorts above every number, and Parquet leaves it out of its bounds.
#[derive(Debug, Default)]
pub struct NanWatch {
    columns: Vec<bool>,
}

impl NanWatch {
    /// Looks at more rows of the segment.
    pub fn see(&mut self, rows: &RecordBatch) {
        self.columns.resize(rows.num_columns(), false);
        for (seen, column) in self.columns.iter_mut().zip(rows.columns()) {
            *seen = *seen
                || match column.data_type() {
                    DataType::Float32 => column.as_primitive::<Float32Type>().iter().flatten().any(f32::is_nan),
                    DataType::Float64 => column.as_primitive::<Float64Type>().iter().flatten().any(f64::is_nan),
                    _ => false,
                };
        }
    }
}

/// Describes a file that was written, with the times of its earliest and latest row.
pub fn describe(
    table: &Table,
    metadata: &ParquetMetaData,
    nans: &NanWatch,
    path: String,
    [bytes, footer_bytes]: [u64; 2],
    (time_min, time_max): (i64, i64),
    level: u8,
) -> NewSegment {
    let rows = metadata.file_metadata().num_rows().cast_unsigned();
    let columns = table.column_ids.iter().enumerate().take(BOUNDED_COLUMNS_MAX);
    // What Parquet knows of a list is about its elements, and of a decimal about its digits.
    let columns = columns.filter(|(column, _)| {
        let data_type = table.schema.field(*column).data_type();
        !data_type.is_nested() && !data_type.is_decimal()
    });
    let bounds: Vec<ColumnBounds> = columns
        .map(|(column, &column_id)| {
            let holds_nan = nans.columns.get(column).copied().unwrap_or(false);
            column_bounds(metadata, column, column_id, holds_nan)
        })
        .collect();
    NewSegment { id: 0, path, rows, bytes, footer_bytes, time_min, time_max, level, bounds }
}

fn column_bounds(metadata: &ParquetMetaData, column: usize, column_id: i64, holds_nan: bool) -> ColumnBounds {
    let (mut min, mut max) = (Extreme::None, Extreme::None);
    let mut null_count = 0;
    for row_group in metadata.row_groups() {
        let statistics = row_group.column(column).statistics();
        let nulls = statistics.and_then(Statistics::null_count_opt).unwrap_or(0);
        null_count += nulls;
        if nulls == row_group.num_rows().cast_unsigned() {
            continue;
        }
        let (low, high) = statistics.map_or((None, None), bounds_of);
        min = min.with(low, |new, old| new < old);
        max = max.with(high, |new, old| new > old);
    }
    if holds_nan {
        (min, max) = (Extreme::Unknown, Extreme::Unknown);
    }
    ColumnBounds { column_id, min: min.known(), max: max.known(), null_count }
}

/// A bound over row groups: one unknown makes all unknown.
enum Extreme {
    None,
    Known(Bound),
    Unknown,
}

impl Extreme {
    fn with(self, new: Option<Bound>, beats: impl Fn(&Bound, &Bound) -> bool) -> Extreme {
        match (self, new) {
            (Extreme::Unknown, _) | (_, None) => Extreme::Unknown,
            (Extreme::Known(old), Some(new)) if !beats(&new, &old) => Extreme::Known(old),
            (_, Some(new)) => Extreme::Known(new),
        }
    }

    fn known(self) -> Option<Bound> {
        match self {
            Extreme::Known(bound) => Some(bound),
            Extreme::None | Extreme::Unknown => None,
        }
    }
}

fn bounds_of(statistics: &Statistics) -> (Option<Bound>, Option<Bound>) {
    fn both<T: Clone>(min: Option<&T>, max: Option<&T>, bound: impl Fn(T) -> Bound) -> (Option<Bound>, Option<Bound>) {
        (min.cloned().map(&bound), max.cloned().map(&bound))
    }
    match statistics {
        Statistics::Boolean(values) => both(values.min_opt(), values.max_opt(), Bound::Boolean),
        Statistics::Int32(values) => both(values.min_opt(), values.max_opt(), |value| Bound::Int(value.into())),
        Statistics::Int64(values) => both(values.min_opt(), values.max_opt(), Bound::Int),
        Statistics::Float(values) => both(values.min_opt(), values.max_opt(), |value| Bound::Float(value.into())),
        Statistics::Double(values) => both(values.min_opt(), values.max_opt(), Bound::Float),
        Statistics::ByteArray(values) => {
            let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(|text| Bound::Text(text.to_owned()));
            (values.min_bytes_opt().and_then(text), values.max_bytes_opt().and_then(text))
        }
        Statistics::Int96(_) | Statistics::FixedLenByteArray(_) => (None, None),
    }
}
