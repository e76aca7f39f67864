//! `first(value, time)` and `last(value, time)`: the value at the earliest and at the latest time.

use std::cmp::Ordering;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::Accumulator;
use datafusion::logical_expr::function::AccumulatorArgs;

use super::{Aggregate, no_such, time_type};

/// Both.
pub(super) fn all() -> Vec<Aggregate> {
    [
        ("first", first as fn(&AccumulatorArgs, &[DataType]) -> _, coerce_first as fn(&[DataType]) -> _),
        ("last", last, coerce_last),
    ]
    .map(|(name, accumulator, coerce)| Aggregate {
        name,
        signature: Aggregate::signature(),
        coerce,
        returns: |types| types[0].clone(),
        sql_type: None,
        state: |types| vec![("value", types[0].clone()), ("time", DataType::Int64)],
        accumulator,
        ordered_set: false,
    })
    .into()
}

fn coerce_first(types: &[DataType]) -> Result<Vec<DataType>> {
    coerce("first", types)
}

fn coerce_last(types: &[DataType]) -> Result<Vec<DataType>> {
    coerce("last", types)
}

fn coerce(name: &str, types: &[DataType]) -> Result<Vec<DataType>> {
    let [value, time] = types else {
        return Err(no_such(name, types, &format!("{name} takes a value and its time.")));
    };
    match time_type(time) {
        Some(time) => Ok(vec![value.clone(), time]),
        None => Err(no_such(name, types, "The second argument is a timestamp, a date or an integer.")),
    }
}

fn first(args: &AccumulatorArgs, _types: &[DataType]) -> Result<Box<dyn Accumulator>> {
    Ok(Box::new(Edge {
        value: ScalarValue::try_from(args.return_field.data_type())?,
        time: None,
        wins: Ordering::Less,
    }))
}

fn last(args: &AccumulatorArgs, _types: &[DataType]) -> Result<Box<dyn Accumulator>> {
    let value = ScalarValue::try_from(args.return_field.data_type())?;
    Ok(Box::new(Edge { value, time: None, wins: Ordering::Greater }))
}

/// The value at one end of a group's time. Rows without a time do not count; of rows at the same time the first to come wins.
#[derive(Debug)]
struct Edge {
    value: ScalarValue,
    time: Option<i64>,
    /// How a time compares with the best one so far when it is better.
    wins: Ordering,
}

impl Edge {
    fn take(&mut self, values: &ArrayRef, times: &Int64Array) -> Result<()> {
        let (mut best, mut row_of_best) = (self.time, None);
        for row in (0..times.len()).filter(|row| times.is_valid(*row)) {
            let time = times.value(row);
            if best.is_none_or(|best| time.cmp(&best) == self.wins) {
                (best, row_of_best) = (Some(time), Some(row));
            }
        }
        if let Some(row) = row_of_best {
            let mut value = ScalarValue::try_from_array(values, row)?;
            value.compact();
            (self.value, self.time) = (value, best);
        }
        Ok(())
    }
}

impl Accumulator for Edge {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let times = cast(&values[1], &DataType::Int64)?;
        self.take(&values[0], times.as_primitive::<Int64Type>())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.take(&states[0], states[1].as_primitive::<Int64Type>())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(self.value.clone())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.value.clone(), ScalarValue::Int64(self.time)])
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.value.size()
    }
}
