//! `increase`, `rate` and `delta` of samples: what a counter or a gauge did between a group's first and last sample.
//!
//! Nothing is extrapolated: a bucket's increase is that between its own samples, and its rate is per second between the first
//! and the last of them. A counter that fell was reset: what it shows then was counted since.

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::Accumulator;

use super::{Aggregate, no_such, time_type};

/// All three.
pub(super) fn all() -> Vec<Aggregate> {
    let aggregate = |name, coerce, accumulator| Aggregate {
        name,
        signature: Aggregate::signature(),
        coerce,
        returns: |_| DataType::Float64,
        sql_type: None,
        state: |_| {
            let list = |element| DataType::new_list(element, true);
            vec![("times", list(DataType::Int64)), ("values", list(DataType::Float64))]
        },
        accumulator,
        ordered_set: false,
    };
    vec![
        aggregate("increase", |types| coerce("increase", types), |_, _| Ok(Box::new(Samples::new(increase)))),
        aggregate("rate", |types| coerce("rate", types), |_, _| Ok(Box::new(Samples::new(rate)))),
        aggregate("delta", |types| coerce("delta", types), |_, _| Ok(Box::new(Samples::new(delta)))),
    ]
}

fn coerce(name: &str, types: &[DataType]) -> Result<Vec<DataType>> {
    let refused = || no_such(name, types, &format!("{name} takes a number and its time: {name}(value, time)."));
    let [value, time] = types else { return Err(refused()) };
    let time = time_type(time).filter(|time| matches!(time, DataType::Timestamp(..))).ok_or_else(refused)?;
    if value.is_numeric() || value.is_null() { Ok(vec![DataType::Float64, time]) } else { Err(refused()) }
}

/// A sample: Unix nanoseconds, value.
type Sample = (i64, f64);

/// What a counter grew by; after a reset it began at nothing.
fn increase(samples: &[Sample]) -> Option<f64> {
    let steps = samples.windows(2).map(|pair| {
        let (before, after) = (pair[0].1, pair[1].1);
        if after < before { after } else { after - before }
    });
    (samples.len() > 1).then(|| steps.sum())
}

/// Its increase per second.
fn rate(samples: &[Sample]) -> Option<f64> {
    let (first, last) = (samples.first()?.0, samples.last()?.0);
    let seconds = (i128::from(last) - i128::from(first)) as f64 / 1e9;
    increase(samples).filter(|_| seconds > 0.0).map(|increase| increase / seconds)
}

/// How much a gauge changed.
fn delta(samples: &[Sample]) -> Option<f64> {
    let (first, last) = (samples.first()?.1, samples.last()?.1);
    (samples.len() > 1).then_some(last - first)
}

/// The samples of a group, 16 bytes each, which the statement's memory bounds (53200): they may come in any order.
#[derive(Debug)]
struct Samples {
    samples: Vec<Sample>,
    result: fn(&[Sample]) -> Option<f64>,
}

impl Samples {
    fn new(result: fn(&[Sample]) -> Option<f64>) -> Samples {
        Samples { samples: Vec::new(), result }
    }

    fn take(&mut self, times: &Int64Array, values: &Float64Array) {
        let rows = (0..times.len()).filter(|row| times.is_valid(*row) && values.is_valid(*row));
        self.samples.extend(rows.map(|row| (times.value(row), values.value(row))));
    }
}

impl Accumulator for Samples {
    fn update_batch(&mut self, columns: &[ArrayRef]) -> Result<()> {
        let times = cast(&columns[1], &DataType::Int64)?;
        self.take(times.as_primitive::<Int64Type>(), columns[0].as_primitive::<Float64Type>());
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let (times, values) = (states[0].as_list::<i32>(), states[1].as_list::<i32>());
        for row in (0..times.len()).filter(|row| times.is_valid(*row) && values.is_valid(*row)) {
            self.take(times.value(row).as_primitive::<Int64Type>(), values.value(row).as_primitive::<Float64Type>());
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.samples.sort_by_key(|sample| sample.0);
        Ok(ScalarValue::Float64((self.result)(&self.samples)))
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let list =
            |values: Vec<ScalarValue>, element| ScalarValue::List(ScalarValue::new_list_nullable(&values, &element));
        let times = self.samples.iter().map(|sample| ScalarValue::Int64(Some(sample.0))).collect();
        let values = self.samples.iter().map(|sample| ScalarValue::Float64(Some(sample.1))).collect();
        Ok(vec![list(times, DataType::Int64), list(values, DataType::Float64)])
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.samples.capacity() * size_of::<Sample>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    #[test]
    fn a_counter_that_fell_began_at_nothing() {
        let samples = [(0, 10.0), (SECOND, 15.0), (2 * SECOND, 3.0), (4 * SECOND, 7.0)];
        assert_eq!(increase(&samples), Some(5.0 + 3.0 + 4.0));
        assert_eq!(rate(&samples), Some(12.0 / 4.0));
        assert_eq!(delta(&samples), Some(-3.0));
    }

    #[test]
    fn one_sample_says_nothing_of_change() {
        for result in [increase, rate, delta] {
            assert_eq!(result(&[]), None);
            assert_eq!(result(&[(0, 10.0)]), None);
        }
        assert_eq!(rate(&[(0, 1.0), (0, 2.0)]), None);
    }
}
