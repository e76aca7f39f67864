//! `approx_percentile(value, share)`: a value that is at most 0.4 % off the one of that rank, in little memory.
//!
//! The call and its types are those of probes, where the kernel's buckets are coarser (6.25 %).

use std::collections::BTreeMap;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int32Type, Int64Type};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::Accumulator;
use datafusion::logical_expr::function::AccumulatorArgs;

use super::shares::shares;
use super::{Aggregate, no_such};

const NAME: &str = "approx_percentile";

const HINT: &str = "The 99th percentile is approx_percentile(value, 0.99).";

/// Bits of a double that are not part of its bucket: sign, exponent and the seven highest bits of the fraction are. So there
/// are at most 2^19 buckets, and integers below 256 have one each.
const FINE_BITS: u32 = 45;

/// The function.
pub(super) fn all() -> Vec<Aggregate> {
    vec![Aggregate {
        name: NAME,
        signature: Aggregate::signature(),
        coerce,
        returns: |types| if types[0].is_integer() { DataType::Int64 } else { DataType::Float64 },
        sql_type: None,
        state: |_| {
            let list = |element| DataType::new_list(element, true);
            vec![
                ("buckets", list(DataType::Int32)),
                ("counts", list(DataType::Int64)),
                ("min", DataType::Float64),
                ("max", DataType::Float64),
            ]
        },
        accumulator,
        ordered_set: false,
    }]
}

fn coerce(types: &[DataType]) -> Result<Vec<DataType>> {
    match types {
        [value, share] if share.is_numeric() => match value {
            value if value.is_integer() => Ok(vec![DataType::Int64, DataType::Float64]),
            value if value.is_numeric() || value.is_null() => Ok(vec![DataType::Float64, DataType::Float64]),
            _ => Err(no_such(NAME, types, HINT)),
        },
        _ => Err(no_such(NAME, types, HINT)),
    }
}

fn accumulator(args: &AccumulatorArgs, types: &[DataType]) -> Result<Box<dyn Accumulator>> {
    let (shares, _) = shares(args, types, 1, HINT)?;
    let integer = types[0].is_integer();
    Ok(Box::new(Sketch {
        share: shares[0],
        integer,
        counts: BTreeMap::new(),
        min: f64::INFINITY,
        max: f64::NEG_INFINITY,
    }))
}

/// The bits of a double as an integer of the same order.
fn ordered(value: f64) -> i64 {
    let bits = value.to_bits().cast_signed();
    bits ^ ((bits >> 63).cast_unsigned() >> 1).cast_signed()
}

fn bucket(value: f64) -> i32 {
    (ordered(value) >> FINE_BITS) as i32
}

/// The value that stands for a bucket: its middle.
fn middle(bucket: i32, integer: bool) -> f64 {
    let at =
        |ordered: i64| f64::from_bits((ordered ^ ((ordered >> 63).cast_unsigned() >> 1).cast_signed()).cast_unsigned());
    let begin = i64::from(bucket) << FINE_BITS;
    let (least, greatest) = (at(begin), at(begin | ((1 << FINE_BITS) - 1)));
    if !least.is_finite() || !greatest.is_finite() {
        return least;
    }
    // The bucket of 0 has only what is too small to be written with all digits beside it.
    if least.is_subnormal() || greatest.is_subnormal() {
        return 0.0;
    }
    let middle = least + (greatest - least) / 2.0;
    // Where a bucket holds one integer alone, that is what lies towards zero.
    if integer { middle.trunc() } else { middle }
}

/// How many values fell into each bucket.
#[derive(Debug)]
struct Sketch {
    share: Option<f64>,
    integer: bool,
    counts: BTreeMap<i32, u64>,
    min: f64,
    max: f64,
}

impl Sketch {
    fn percentile(&self) -> Option<f64> {
        let total: u64 = self.counts.values().sum();
        if total == 0 {
            return None;
        }
        let rank = ((total as f64 * self.share?).ceil() as u64).clamp(1, total);
        let mut below = 0;
        let (bucket, _) = self.counts.iter().find(|(_, count)| {
            below += **count;
            below >= rank
        })?;
        Some(middle(*bucket, self.integer).clamp(self.min, self.max))
    }
}

impl Accumulator for Sketch {
    fn update_batch(&mut self, columns: &[ArrayRef]) -> Result<()> {
        let values = cast(&columns[0], &DataType::Float64)?;
        for value in values.as_primitive::<Float64Type>().iter().flatten() {
            *self.counts.entry(bucket(value)).or_default() += 1;
            if value.total_cmp(&self.min).is_lt() {
                self.min = value;
            }
            if value.total_cmp(&self.max).is_gt() {
                self.max = value;
            }
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let (buckets, counts) = (states[0].as_list::<i32>(), states[1].as_list::<i32>());
        let (min, max) = (states[2].as_primitive::<Float64Type>(), states[3].as_primitive::<Float64Type>());
        for row in (0..buckets.len()).filter(|row| buckets.is_valid(*row) && counts.is_valid(*row)) {
            let (buckets, counts) = (buckets.value(row), counts.value(row));
            let pairs =
                buckets.as_primitive::<Int32Type>().values().iter().zip(counts.as_primitive::<Int64Type>().values());
            for (bucket, count) in pairs {
                *self.counts.entry(*bucket).or_default() += count.cast_unsigned();
            }
            self.min = self.min.min(min.value(row));
            self.max = self.max.max(max.value(row));
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let value = self.percentile();
        Ok(match self.integer {
            true => ScalarValue::Int64(value.map(|value| value as i64)),
            false => ScalarValue::Float64(value),
        })
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let list =
            |values: Vec<ScalarValue>, element| ScalarValue::List(ScalarValue::new_list_nullable(&values, &element));
        let buckets = self.counts.keys().map(|bucket| ScalarValue::Int32(Some(*bucket))).collect();
        let counts = self.counts.values().map(|count| ScalarValue::Int64(Some(count.cast_signed()))).collect();
        Ok(vec![
            list(buckets, DataType::Int32),
            list(counts, DataType::Int64),
            ScalarValue::Float64(Some(self.min)),
            ScalarValue::Float64(Some(self.max)),
        ])
    }

    fn size(&self) -> usize {
        // A tree's entries have as much again for its nodes.
        size_of_val(self) + self.counts.len() * 2 * size_of::<(i32, u64)>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_near_the_middle_of_its_bucket() {
        for value in [0.0, 1.0, 1.5, 3.1, 1e-9, 255.0, 256.0, 12_345.678, 1e18, 1e300, f64::MIN_POSITIVE] {
            for value in [value, -value] {
                let told = middle(bucket(value), false);
                assert!((told - value).abs() <= value.abs() * 0.004, "{value} is told as {told}");
            }
        }
        for value in -255..256 {
            assert_eq!(middle(bucket(f64::from(value)), true), f64::from(value));
        }
    }

    #[test]
    fn buckets_are_in_the_order_of_their_values() {
        let values = [f64::NEG_INFINITY, -1e9, -1.0, -1e-9, 0.0, 1e-9, 1.0, 1e9, f64::INFINITY];
        assert!(values.is_sorted_by_key(|value| bucket(*value)));
    }
}
