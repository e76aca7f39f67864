//! `histogram(value)` as probes have it, and `histogram(value, min, max, buckets)` as TimescaleDB has it.

use std::collections::BTreeMap;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Float64Type, Int32Type, Int64Type};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::Accumulator;
use datafusion::logical_expr::function::AccumulatorArgs;
use probepilot_sql::buckets;

use super::{Aggregate, constant, invalid, no_such};

const NAME: &str = "histogram";

const HINT: &str = "Write histogram(integer) or histogram(value, min, max, buckets).";

/// Buckets that a call may ask for.
const BUCKETS_MAX: i64 = 10_000;

/// The function in both forms.
pub(super) fn all() -> Vec<Aggregate> {
    vec![Aggregate {
        name: NAME,
        signature: Aggregate::signature(),
        coerce,
        returns: |types| match types.len() {
            1 => DataType::Utf8View,
            _ => DataType::new_list(DataType::Int32, true),
        },
        sql_type: None,
        state: |_| {
            let list = |element| DataType::new_list(element, true);
            vec![("buckets", list(DataType::Int32)), ("counts", list(DataType::Int64))]
        },
        accumulator,
        ordered_set: false,
    }]
}

fn coerce(types: &[DataType]) -> Result<Vec<DataType>> {
    match types {
        [value] if value.is_integer() || value.is_null() => Ok(vec![DataType::Int64]),
        [_, _, _, buckets]
            if types.iter().all(|data_type| data_type.is_numeric() || data_type.is_null()) && buckets.is_integer() =>
        {
            Ok(vec![DataType::Float64, DataType::Float64, DataType::Float64, DataType::Int64])
        }
        _ => Err(no_such(NAME, types, HINT)),
    }
}

/// How values are put into buckets.
#[derive(Clone, Copy, Debug)]
enum Shape {
    /// Those of probes.
    Logarithmic,
    /// `number` buckets of one width from `min` to `max`, one for what is below, and one for what is not.
    Even { min: f64, max: f64, number: i32 },
}

fn accumulator(args: &AccumulatorArgs, types: &[DataType]) -> Result<Box<dyn Accumulator>> {
    if args.exprs.len() == 1 {
        return Ok(Box::new(Histogram { shape: Shape::Logarithmic, counts: BTreeMap::new() }));
    }
    let bound = |index, name: &str| match constant(args, index, &types[index]) {
        Some(ScalarValue::Float64(Some(bound))) if bound.is_finite() => Ok(bound),
        _ => Err(invalid(format!("the {name} of a histogram must be a constant number"), HINT)),
    };
    let (min, max) = (bound(1, "lower bound")?, bound(2, "upper bound")?);
    if min >= max {
        return Err(invalid("lower bound cannot exceed upper bound", HINT));
    }
    let number = match constant(args, 3, &types[3]) {
        Some(ScalarValue::Int64(Some(number))) if (1..=BUCKETS_MAX).contains(&number) => number as i32,
        _ => {
            let message = format!("the number of buckets must be a constant from 1 to {BUCKETS_MAX}");
            return Err(invalid(message, HINT));
        }
    };
    Ok(Box::new(Histogram { shape: Shape::Even { min, max, number }, counts: BTreeMap::new() }))
}

/// How many values fell into each bucket. Without bounds there are at most as many buckets as in the kernel.
#[derive(Debug)]
struct Histogram {
    shape: Shape,
    counts: BTreeMap<i32, i64>,
}

impl Histogram {
    fn add(&mut self, bucket: i32, count: i64) {
        *self.counts.entry(bucket).or_default() += count;
    }
}

/// The bucket of a value: 0 below `min`, `number + 1` from `max` on.
fn even(value: f64, min: f64, max: f64, number: i32) -> i32 {
    if value < min {
        return 0;
    }
    if value >= max || value.is_nan() {
        return number + 1;
    }
    // Rounding must not lift a value that is below the upper bound over it.
    let place = (value - min) / (max - min) * f64::from(number);
    (place as i32).min(number - 1) + 1
}

impl Accumulator for Histogram {
    fn update_batch(&mut self, columns: &[ArrayRef]) -> Result<()> {
        match self.shape {
            Shape::Logarithmic => {
                // Values below zero have no bucket, in the kernel too.
                for bucket in columns[0].as_primitive::<Int64Type>().iter().flatten().filter_map(buckets::bucket) {
                    self.add(bucket as i32, 1);
                }
            }
            Shape::Even { min, max, number } => {
                for value in columns[0].as_primitive::<Float64Type>().iter().flatten() {
                    self.add(even(value, min, max, number), 1);
                }
            }
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let (buckets, counts) = (states[0].as_list::<i32>(), states[1].as_list::<i32>());
        for row in (0..buckets.len()).filter(|row| buckets.is_valid(*row) && counts.is_valid(*row)) {
            let (buckets, counts) = (buckets.value(row), counts.value(row));
            let counts = counts.as_primitive::<Int64Type>();
            for (bucket, count) in buckets.as_primitive::<Int32Type>().values().iter().zip(counts.values()) {
                self.add(*bucket, *count);
            }
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let none = self.counts.is_empty();
        match self.shape {
            Shape::Logarithmic => {
                let mut counts = vec![0; buckets::BUCKETS];
                for (bucket, count) in &self.counts {
                    counts[*bucket as usize] = count.cast_unsigned();
                }
                Ok(ScalarValue::Utf8View((!none).then(|| buckets::json(&counts))))
            }
            Shape::Even { .. } if none => ScalarValue::try_from(DataType::new_list(DataType::Int32, true)),
            Shape::Even { number, .. } => {
                let counts = (0..number + 2).map(|bucket| {
                    let count = self.counts.get(&bucket).copied().unwrap_or(0);
                    ScalarValue::Int32(Some(i32::try_from(count).unwrap_or(i32::MAX)))
                });
                let counts: Vec<ScalarValue> = counts.collect();
                Ok(ScalarValue::List(ScalarValue::new_list_nullable(&counts, &DataType::Int32)))
            }
        }
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let list =
            |values: Vec<ScalarValue>, element| ScalarValue::List(ScalarValue::new_list_nullable(&values, &element));
        let buckets = self.counts.keys().map(|bucket| ScalarValue::Int32(Some(*bucket))).collect();
        let counts = self.counts.values().map(|count| ScalarValue::Int64(Some(*count))).collect();
        Ok(vec![list(buckets, DataType::Int32), list(counts, DataType::Int64)])
    }

    fn size(&self) -> usize {
        // A tree's entries have as much again for its nodes.
        size_of_val(self) + self.counts.len() * 2 * size_of::<(i32, i64)>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_belong_to_the_bucket_they_begin() {
        let buckets = [-0.1, 0.0, 1.9, 2.0, 9.999_999_999_999_999, 10.0, f64::NAN];
        assert_eq!(buckets.map(|value| even(value, 0.0, 10.0, 5)), [0, 1, 1, 2, 5, 6, 6]);
    }
}
