//! The rows of one series after another: those that are there, and one for each bucket without.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, TimestampNanosecondArray, UInt32Array,
    new_null_array,
};
use arrow::compute::{cast, partition, take};
use arrow::datatypes::{DataType, Float64Type, Int64Type, SchemaRef, TimeUnit, TimestampNanosecondType};
use datafusion::common::Result;

use super::planner::too_many;
use super::{Fill, ROWS_MADE_MAX};

/// What is where in a row, and which buckets there are.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) schema: SchemaRef,
    pub(super) time: usize,
    pub(super) keys: Vec<usize>,
    pub(super) fills: Vec<(usize, Fill)>,
    /// The begin of each bucket, in order.
    pub(super) grid: Arc<[i64]>,
}

/// Where a filled value comes from.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Value {
    Null,
    Of(u32),
    /// Between two rows, at a time.
    Between(u32, u32, i64),
}

/// A row of the result.
#[derive(Clone, Copy, Debug)]
struct Row {
    /// The group it is; `None` for a bucket without one.
    group: Option<u32>,
    /// The bucket's begin.
    time: Option<i64>,
    /// A group with the same keys.
    like: u32,
}

/// All series of a result, as batches.
pub(super) struct Series {
    layout: Arc<Layout>,
    rows: RecordBatch,
    times: TimestampNanosecondArray,
    /// Groups of each series that is still to come, last first.
    left: Vec<Range<usize>>,
    made: usize,
    rows_max: usize,
    next: Vec<Row>,
    /// Beside each row of `next`, one for each filled column.
    values: Vec<Vec<Value>>,
    done: bool,
}

impl Series {
    /// The series of groups that are in the order of their keys and times.
    pub(super) fn new(layout: Arc<Layout>, rows: RecordBatch, rows_max: usize) -> Result<Series> {
        let mut left = match layout.keys.is_empty() {
            // Without keys there is one series, even without a group.
            true => std::iter::once(0..rows.num_rows()).collect(),
            false if rows.num_rows() == 0 => Vec::new(),
            false => {
                let keys: Vec<ArrayRef> = layout.keys.iter().map(|key| Arc::clone(rows.column(*key))).collect();
                partition(&keys)?.ranges()
            }
        };
        left.reverse();
        let zone = match rows.column(layout.time).data_type() {
            DataType::Timestamp(_, zone) => zone.clone(),
            _ => None,
        };
        let times = cast(rows.column(layout.time), &DataType::Timestamp(TimeUnit::Nanosecond, zone))?;
        let times = times.as_primitive::<TimestampNanosecondType>().clone();
        let values = vec![Vec::new(); layout.fills.len()];
        Ok(Series { layout, rows, times, left, made: 0, rows_max, next: Vec::new(), values, done: false })
    }

    /// Lays out the rows of one series behind those that wait.
    fn lay_out(&mut self, groups: Range<usize>) -> Result<()> {
        let first = self.next.len();
        let like = groups.start as u32;
        let mut grid = self.layout.grid.iter().copied().peekable();
        for group in groups {
            let time = self.times.is_valid(group).then(|| self.times.value(group));
            // NULL is behind all times.
            while let Some(begin) = grid.next_if(|begin| time.is_none_or(|time| *begin < time)) {
                self.next.push(Row { group: None, time: Some(begin), like });
            }
            grid.next_if(|begin| Some(*begin) == time);
            self.next.push(Row { group: Some(group as u32), time, like });
        }
        self.next.extend(grid.map(|begin| Row { group: None, time: Some(begin), like }));
        self.made += self.next[first..].iter().filter(|row| row.group.is_none()).count();
        if self.made > ROWS_MADE_MAX {
            return Err(too_many());
        }
        for (index, (column, fill)) in self.layout.fills.iter().enumerate() {
            let column = self.rows.column(*column);
            let is_null = |group: u32| column.is_null(group as usize);
            let values = match fill {
                Fill::Last { skip_nulls } => last(&self.next[first..], *skip_nulls, is_null),
                Fill::Line => line(&self.next[first..], is_null),
            };
            self.values[index].extend(values);
        }
        Ok(())
    }

    /// The rows that wait, as a batch.
    fn batch(&mut self) -> Result<RecordBatch> {
        let rows = std::mem::take(&mut self.next);
        let groups: UInt32Array = rows.iter().map(|row| row.group).collect();
        let like: UInt32Array = rows.iter().map(|row| Some(row.like)).collect();
        let times: TimestampNanosecondArray = rows.iter().map(|row| row.time).collect();
        let mut columns = Vec::with_capacity(self.rows.num_columns());
        for (index, column) in self.rows.columns().iter().enumerate() {
            let fill = self.layout.fills.iter().position(|(filled, _)| *filled == index);
            columns.push(if index == self.layout.time {
                let zone = match column.data_type() {
                    DataType::Timestamp(_, zone) => zone.clone(),
                    _ => None,
                };
                cast(&times.clone().with_timezone_opt(zone), column.data_type())?
            } else if column.is_empty() {
                new_null_array(column.data_type(), rows.len())
            } else if self.layout.keys.contains(&index) {
                take(column, &like, None)?
            } else if let Some(fill) = fill {
                filled(column, &self.times, &std::mem::take(&mut self.values[fill]))?
            } else {
                take(column, &groups, None)?
            });
        }
        self.values.iter_mut().for_each(Vec::clear);
        Ok(RecordBatch::try_new(Arc::clone(&self.layout.schema), columns)?)
    }
}

impl Iterator for Series {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Result<RecordBatch>> {
        if self.done {
            return None;
        }
        while self.next.len() < self.rows_max
            && let Some(groups) = self.left.pop()
        {
            if let Err(error) = self.lay_out(groups) {
                self.done = true;
                return Some(Err(error));
            }
        }
        self.done = self.left.is_empty();
        (!self.next.is_empty()).then(|| self.batch())
    }
}

/// The value of the row before.
fn last(rows: &[Row], skip_nulls: bool, is_null: impl Fn(u32) -> bool) -> Vec<Value> {
    let mut last = Value::Null;
    let value = |row: &Row| {
        if let Some(group) = row.group
            && !(skip_nulls && is_null(group))
        {
            last = Value::Of(group);
        }
        last
    };
    rows.iter().map(value).collect()
}

/// The value on the line between the group before and the group behind; NULL where one is missing or is NULL itself.
fn line(rows: &[Row], is_null: impl Fn(u32) -> bool) -> Vec<Value> {
    let mut behind = None;
    let mut behinds: Vec<Option<u32>> = rows
        .iter()
        .rev()
        .map(|row| {
            behind = row.group.or(behind);
            behind
        })
        .collect();
    behinds.reverse();
    let mut before = None;
    let value = |(row, behind): (&Row, Option<u32>)| {
        if let Some(group) = row.group {
            before = Some(group);
            return Value::Of(group);
        }
        match (before, behind, row.time) {
            (Some(before), Some(behind), Some(time)) if !is_null(before) && !is_null(behind) => {
                Value::Between(before, behind, time)
            }
            _ => Value::Null,
        }
    };
    rows.iter().zip(behinds).map(value).collect()
}

/// A column of values that were carried forward or lie on a line.
fn filled(column: &ArrayRef, times: &TimestampNanosecondArray, values: &[Value]) -> Result<ArrayRef> {
    if !values.iter().any(|value| matches!(value, Value::Between(..))) {
        let rows: UInt32Array =
            values.iter().map(|value| if let Value::Of(row) = value { Some(*row) } else { None }).collect();
        return Ok(take(column, &rows, None)?);
    }
    // Integers stay exact: what is cut is a fraction.
    let array: ArrayRef = if column.data_type().is_integer() {
        let numbers = cast(column, &DataType::Int64)?;
        let numbers = numbers.as_primitive::<Int64Type>();
        let at = |row: u32| numbers.is_valid(row as usize).then(|| i128::from(numbers.value(row as usize)));
        Arc::new(
            values
                .iter()
                .map(|value| match value {
                    Value::Null => None,
                    Value::Of(row) => at(*row).and_then(|value| i64::try_from(value).ok()),
                    Value::Between(before, behind, time) => {
                        let (since, until) = distances(times, *before, *behind, *time);
                        let (low, high) = (at(*before)?, at(*behind)?);
                        i64::try_from((low * until + high * since) / (since + until)).ok()
                    }
                })
                .collect::<Int64Array>(),
        )
    } else {
        let numbers = cast(column, &DataType::Float64)?;
        let numbers = numbers.as_primitive::<Float64Type>();
        let at = |row: u32| numbers.is_valid(row as usize).then(|| numbers.value(row as usize));
        Arc::new(
            values
                .iter()
                .map(|value| match value {
                    Value::Null => None,
                    Value::Of(row) => at(*row),
                    Value::Between(before, behind, time) => {
                        let (since, until) = distances(times, *before, *behind, *time);
                        let share = since as f64 / (since + until) as f64;
                        let (low, high) = (at(*before)?, at(*behind)?);
                        Some(low + (high - low) * share)
                    }
                })
                .collect::<Float64Array>(),
        )
    };
    Ok(cast(&array, column.data_type())?)
}

/// How far a time is from the group before and from the one behind.
fn distances(times: &TimestampNanosecondArray, before: u32, behind: u32, time: i64) -> (i128, i128) {
    let at = |row: u32| i128::from(times.value(row as usize));
    (i128::from(time) - at(before), at(behind) - i128::from(time))
}
