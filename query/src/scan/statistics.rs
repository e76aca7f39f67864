//! What the planner is told about segments: of each, and of many together.

use arrow::datatypes::DataType;
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, Statistics};
use probepilot_catalog::manifest::{Bound, ColumnBounds, Segment, Table};
use probepilot_catalog::table::time_column;

use super::prune::scalar;

/// Statistics of these segments together, read from the manifest without making anything for each of them. The time bounds and
/// the row count are exact, other bounds are loose.
pub(super) fn of_segments<'a>(table: &Table, segments: impl IntoIterator<Item = &'a Segment>) -> Statistics {
    let mut columns = vec![ColumnTotals::default(); table.column_ids.len()];
    let (mut rows, mut bytes, mut times) = (0, 0, None);
    for segment in segments {
        rows += segment.rows;
        bytes += segment.bytes;
        let (min, max) = times.unwrap_or((segment.time_min, segment.time_max));
        times = Some((segment.time_min.min(min), segment.time_max.max(max)));
        for (id, totals) in table.column_ids.iter().zip(&mut columns) {
            totals.add(segment.column_bounds(*id), segment.rows);
        }
    }
    let time = time_column(&table.schema);
    let columns = table.schema.fields().iter().zip(columns).enumerate().map(|(index, (field, totals))| {
        if Some(index) == time { of_time(field.data_type(), times) } else { totals.told(field.data_type()) }
    });
    Statistics {
        num_rows: Precision::Exact(rows as usize),
        total_byte_size: Precision::Inexact(bytes as usize),
        column_statistics: columns.collect(),
    }
}

/// What the bounds of a column say in all segments so far.
#[derive(Clone, Default)]
struct ColumnTotals<'a> {
    nulls: u64,
    min: Option<&'a Bound>,
    max: Option<&'a Bound>,
    /// Of some segment nothing is known.
    unknown: bool,
}

impl<'a> ColumnTotals<'a> {
    fn add(&mut self, bounds: Option<&'a ColumnBounds>, rows: u64) {
        let Some(bounds) = bounds else {
            self.unknown = true;
            return;
        };
        self.nulls += bounds.null_count;
        match (&bounds.min, &bounds.max) {
            (Some(min), Some(max)) => {
                self.min = Some(self.min.filter(|known| *known <= min).unwrap_or(min));
                self.max = Some(self.max.filter(|known| *known >= max).unwrap_or(max));
            }
            _ => self.unknown |= bounds.null_count < rows,
        }
    }

    fn told(&self, data_type: &DataType) -> ColumnStatistics {
        if self.unknown {
            return ColumnStatistics::new_unknown();
        }
        let loose = |bound: Option<&Bound>| {
            bound.and_then(|bound| scalar(bound, data_type)).map_or(Precision::Absent, Precision::Inexact)
        };
        ColumnStatistics {
            null_count: Precision::Exact(self.nulls as usize),
            min_value: loose(self.min),
            max_value: loose(self.max),
            ..ColumnStatistics::new_unknown()
        }
    }
}

/// Exact statistics of a time column without NULLs.
pub(super) fn of_time(data_type: &DataType, bounds: Option<(i64, i64)>) -> ColumnStatistics {
    let exact = |value| scalar(&Bound::Int(value), data_type).map_or(Precision::Absent, Precision::Exact);
    ColumnStatistics {
        null_count: Precision::Exact(0),
        min_value: bounds.map_or(Precision::Absent, |(min, _): (i64, i64)| exact(min)),
        max_value: bounds.map_or(Precision::Absent, |(_, max)| exact(max)),
        ..ColumnStatistics::new_unknown()
    }
}
