//! Bounds of segments and runs as the planner's pruning reads them.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, UInt64Array};
use arrow::datatypes::{DataType, SchemaRef, TimeUnit};
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::{Column, ScalarValue};
use datafusion::physical_plan::PhysicalExpr;
use datafusion_pruning::PruningPredicateBuilder;
use probepilot_catalog::manifest::{Bound, Segment, Table};
use probepilot_catalog::table::time_column;

use crate::tail::Run;

/// Values of an `IN` list that pruning looks at; longer lists do not prune.
const IN_LIST_MAX: usize = 100;

/// Says for each container whether it may hold rows that match.
///
/// A predicate that pruning does not understand keeps all of them.
pub(super) fn keep(
    predicate: Option<&Arc<dyn PhysicalExpr>>,
    schema: &SchemaRef,
    statistics: &dyn PruningStatistics,
) -> Vec<bool> {
    let all = || vec![true; statistics.num_containers()];
    let Some(predicate) = predicate else { return all() };
    if statistics.num_containers() == 0 {
        return Vec::new();
    }
    let builder =
        PruningPredicateBuilder::new().with_file_schema(Arc::clone(schema)).with_max_in_list_size(IN_LIST_MAX);
    match builder.build(Arc::clone(predicate)) {
        Some(pruning) => pruning.prune(statistics).unwrap_or_else(|_| all()),
        None => all(),
    }
}

/// A table's segments, in the given order.
pub(super) struct SegmentBounds<'a> {
    pub table: &'a Table,
    pub segments: &'a [Segment],
}

impl SegmentBounds<'_> {
    fn bounds(&self, column: &Column, pick: fn(&Segment, i64) -> Option<Bound>) -> Option<ArrayRef> {
        let index = self.table.schema.index_of(&column.name).ok()?;
        let data_type = self.table.schema.field(index).data_type();
        let id = self.table.column_ids.get(index)?;
        array_of(data_type, self.segments.iter().map(|segment| pick(segment, *id)))
    }

    fn is_time(&self, column: &Column) -> bool {
        time_column(&self.table.schema).is_some_and(|index| self.table.schema.field(index).name() == &column.name)
    }

    fn times(&self, pick: fn(&Segment) -> i64) -> Option<ArrayRef> {
        let field = self.table.schema.field(time_column(&self.table.schema)?);
        array_of(field.data_type(), self.segments.iter().map(|segment| Some(Bound::Int(pick(segment)))))
    }
}

fn array_of(data_type: &DataType, bounds: impl Iterator<Item = Option<Bound>>) -> Option<ArrayRef> {
    let null = ScalarValue::try_from(data_type).ok()?;
    ScalarValue::iter_to_array(
        bounds.map(|bound| bound.and_then(|bound| scalar(&bound, data_type)).unwrap_or_else(|| null.clone())),
    )
    .ok()
}

/// A bound as a value of the column's type; `None` when the manifest holds another type's.
pub(super) fn scalar(bound: &Bound, data_type: &DataType) -> Option<ScalarValue> {
    Some(match (bound, data_type) {
        (Bound::Boolean(value), DataType::Boolean) => ScalarValue::Boolean(Some(*value)),
        (Bound::Int(value), DataType::Int16) => ScalarValue::Int16(Some(i16::try_from(*value).ok()?)),
        (Bound::Int(value), DataType::Int32) => ScalarValue::Int32(Some(i32::try_from(*value).ok()?)),
        (Bound::Int(value), DataType::Int64) => ScalarValue::Int64(Some(*value)),
        (Bound::Int(value), DataType::Date32) => ScalarValue::Date32(Some(i32::try_from(*value).ok()?)),
        (Bound::Int(value), DataType::Timestamp(TimeUnit::Nanosecond, zone)) => {
            ScalarValue::TimestampNanosecond(Some(*value), zone.clone())
        }
        (Bound::Float(value), DataType::Float32) => ScalarValue::Float32(Some(*value as f32)),
        (Bound::Float(value), DataType::Float64) => ScalarValue::Float64(Some(*value)),
        (Bound::Text(value), DataType::Utf8View) => ScalarValue::Utf8View(Some(value.clone())),
        _ => return None,
    })
}

impl PruningStatistics for SegmentBounds<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        if self.is_time(column) {
            return self.times(|segment| segment.time_min);
        }
        self.bounds(column, |segment, id| segment.column_bounds(id)?.min.clone())
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        if self.is_time(column) {
            return self.times(|segment| segment.time_max);
        }
        self.bounds(column, |segment, id| segment.column_bounds(id)?.max.clone())
    }

    fn num_containers(&self) -> usize {
        self.segments.len()
    }

    fn null_counts(&self, column: &Column) -> Option<ArrayRef> {
        if self.is_time(column) {
            return Some(Arc::new(UInt64Array::from(vec![0; self.segments.len()])));
        }
        let index = self.table.schema.index_of(&column.name).ok()?;
        let id = *self.table.column_ids.get(index)?;
        let counts = self.segments.iter().map(|segment| segment.column_bounds(id).map(|bounds| bounds.null_count));
        Some(Arc::new(UInt64Array::from_iter(counts)))
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        Some(Arc::new(UInt64Array::from_iter_values(self.segments.iter().map(|segment| segment.rows))))
    }

    fn contained(&self, _column: &Column, _values: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
    }
}

/// The tail's runs: only their time is known.
pub(super) struct RunBounds<'a> {
    pub schema: &'a SchemaRef,
    pub runs: &'a [Arc<Run>],
}

impl RunBounds<'_> {
    fn times(&self, column: &Column, pick: fn((i64, i64)) -> i64) -> Option<ArrayRef> {
        let field = self.schema.field(time_column(self.schema)?);
        if &column.name != field.name() {
            return None;
        }
        array_of(field.data_type(), self.runs.iter().map(|run| run.time_bounds().map(|both| Bound::Int(pick(both)))))
    }
}

impl PruningStatistics for RunBounds<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.times(column, |(min, _)| min)
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.times(column, |(_, max)| max)
    }

    fn num_containers(&self) -> usize {
        self.runs.len()
    }

    fn null_counts(&self, _column: &Column) -> Option<ArrayRef> {
        None
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        Some(Arc::new(UInt64Array::from_iter_values(self.runs.iter().map(|run| run.rows().num_rows() as u64))))
    }

    fn contained(&self, _column: &Column, _values: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
    }
}
