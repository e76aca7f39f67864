//! The numbers that aggregates are made of: added up over CPUs, over groups that turn out the same, and over values that
//! stand for many events.

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::error::Result;

use crate::compile::aggregate::plan::{Cells, Function};
use crate::decode::ClockOffset;
use probepilot_sql::buckets::{self, BUCKETS};

/// What is known of some integers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Numbers {
    count: u64,
    /// Wraps, as the kernel's does: beyond 2⁶³ values of the greatest size.
    sum: i128,
    squares: Squares,
    greatest: Option<i64>,
    least: Option<i64>,
    /// Empty, or as many as there are buckets.
    buckets: Vec<u64>,
}

impl Numbers {
    /// Adds what one CPU has.
    pub fn add_state(&mut self, state: &[u64], cells: &Cells) {
        let word = |offset: u16, index: usize| state[usize::from(offset) / 8 + index];
        let Some(count) = cells.count.map(|offset| word(offset, 0)).filter(|count| *count > 0) else { return };
        self.count += count;
        if let Some(offset) = cells.sum {
            self.sum = self.sum.wrapping_add(wide(word(offset, 0), word(offset, 1)).cast_signed());
        }
        if let Some(offset) = cells.squares {
            self.squares.add(Squares { low: wide(word(offset, 0), word(offset, 1)), high: word(offset, 2) });
        }
        if let Some(offset) = cells.greatest {
            self.greatest = self.greatest.max(Some(word(offset, 0).cast_signed() ^ i64::MIN));
        }
        if let Some(offset) = cells.least {
            self.keep_least(word(offset, 0).cast_signed() ^ i64::MAX);
        }
        if let Some(offset) = cells.buckets {
            let from = usize::from(offset) / 8;
            self.add_buckets(&state[from..from + BUCKETS]);
        }
    }

    /// Adds a value that `weight` events have; false when it has no bucket and one is wanted.
    pub fn add(&mut self, value: i64, weight: u64, with_buckets: bool) -> bool {
        self.count += weight;
        let wide_value = i128::from(value);
        self.sum = self.sum.wrapping_add(wide_value.wrapping_mul(i128::from(weight)));
        self.squares.add(Squares::product(weight, wide_value.unsigned_abs() * wide_value.unsigned_abs()));
        self.greatest = self.greatest.max(Some(value));
        self.keep_least(value);
        if !with_buckets {
            return true;
        }
        let Some(bucket) = buckets::bucket(value) else { return false };
        self.buckets.resize(BUCKETS, 0);
        self.buckets[bucket] += weight;
        true
    }

    /// Counts events that have no value of their own.
    pub fn add_events(&mut self, events: u64) {
        self.count += events;
    }

    /// Adds what is known of others.
    pub fn merge(&mut self, other: &Numbers) {
        self.count += other.count;
        self.sum = self.sum.wrapping_add(other.sum);
        self.squares.add(other.squares);
        self.greatest = self.greatest.max(other.greatest);
        if let Some(least) = other.least {
            self.keep_least(least);
        }
        if !other.buckets.is_empty() {
            self.add_buckets(&other.buckets);
        }
    }

    fn keep_least(&mut self, value: i64) {
        self.least = Some(self.least.map_or(value, |least| least.min(value)));
    }

    fn add_buckets(&mut self, counts: &[u64]) {
        self.buckets.resize(BUCKETS, 0);
        self.buckets.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
    }

    /// The aggregate's result, of this type; NULL over nothing.
    pub fn result(&self, function: Function, data_type: &DataType, clock: &ClockOffset) -> Result<ScalarValue> {
        let known = (self.count > 0).then_some(());
        let value = match function {
            Function::Count | Function::CountDistinct | Function::TopK(_) => {
                ScalarValue::Int64(i64::try_from(self.count).ok())
            }
            Function::Sum => ScalarValue::Int64(known.map(|()| self.sum as i64)),
            Function::Min => number(self.least, data_type, clock),
            Function::Max => number(self.greatest, data_type, clock),
            Function::Mean => ScalarValue::Float64(known.map(|()| self.sum as f64 / self.count as f64)),
            Function::Variance { sample, root } => {
                ScalarValue::Float64(spread(self.deviations(), self.count, sample, root))
            }
            Function::Percentile(share) => ScalarValue::Int64(buckets::percentile(&self.buckets, share)),
            Function::Histogram => {
                let has_values = self.buckets.iter().any(|count| *count > 0);
                ScalarValue::Utf8View(has_values.then(|| buckets::json(&self.buckets)))
            }
        };
        value.cast_to(data_type)
    }

    /// The sum of the squares of the differences from the mean.
    ///
    /// About the integer `near`, at or below the mean, it is exact: Σ(v − near)² = Σv² − near · (Σv + rest), where
    /// rest = Σv − near · count. That is below 2¹⁹⁰, so the parts may wrap.
    fn deviations(&self) -> f64 {
        let count = i128::from(self.count.max(1));
        let near = self.sum.div_euclid(count);
        let rest = self.sum.rem_euclid(count);
        let factor = self.sum.wrapping_add(rest);
        let mut about_near = self.squares;
        // A mean of 64-bit integers is one.
        let product = Squares::product(near.unsigned_abs() as u64, factor.unsigned_abs());
        if (near < 0) == (factor < 0) {
            about_near.subtract(product);
        } else {
            about_near.add(product);
        }
        let rest = rest as f64;
        (about_near.to_f64() - rest * rest / count as f64).max(0.0)
    }
}

/// A sum of squares in 192 bits, which wraps: 2⁶⁴ squares of 64-bit integers are no more than 2¹⁹⁰.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Squares {
    low: u128,
    high: u64,
}

impl Squares {
    fn product(left: u64, right: u128) -> Squares {
        let low = u128::from(left) * u128::from(right as u64);
        let high = u128::from(left) * (right >> 64);
        let mut product = Squares { low: high << 64, high: (high >> 64) as u64 };
        product.add(Squares { low, high: 0 });
        product
    }

    fn add(&mut self, other: Squares) {
        let (low, carry) = self.low.overflowing_add(other.low);
        self.low = low;
        self.high = self.high.wrapping_add(other.high).wrapping_add(u64::from(carry));
    }

    fn subtract(&mut self, other: Squares) {
        let (low, borrow) = self.low.overflowing_sub(other.low);
        self.low = low;
        self.high = self.high.wrapping_sub(other.high).wrapping_sub(u64::from(borrow));
    }

    fn to_f64(self) -> f64 {
        self.high as f64 * 2_f64.powi(128) + self.low as f64
    }
}

/// What is known of some numbers in double precision, by Welford's method.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Floats {
    count: u64,
    sum: f64,
    mean: f64,
    deviations: f64,
}

impl Floats {
    /// Adds a value that `weight` events have.
    pub fn add(&mut self, value: f64, weight: u64) {
        if weight == 0 {
            return;
        }
        let weight_float = weight as f64;
        self.count += weight;
        self.sum += value * weight_float;
        let difference = value - self.mean;
        self.mean += difference * weight_float / self.count as f64;
        self.deviations += weight_float * difference * (value - self.mean);
    }

    /// The aggregate's result; NULL over nothing, and where nothing in double precision is computed.
    pub fn result(&self, function: Function) -> ScalarValue {
        let known = (self.count > 0).then_some(());
        ScalarValue::Float64(match function {
            Function::Sum => known.map(|()| self.sum),
            Function::Mean => known.map(|()| self.sum / self.count as f64),
            Function::Variance { sample, root } => spread(self.deviations, self.count, sample, root),
            _ => None,
        })
    }
}

fn spread(deviations: f64, count: u64, sample: bool, root: bool) -> Option<f64> {
    let divisor = if sample { count.saturating_sub(1) } else { count };
    let variance = (divisor > 0).then(|| deviations / divisor as f64)?;
    Some(if root { variance.sqrt() } else { variance })
}

/// The value of the type: the clock as event time where that is wanted.
fn number(value: Option<i64>, data_type: &DataType, clock: &ClockOffset) -> ScalarValue {
    match data_type {
        DataType::Timestamp(_, zone) => {
            let unix_ns = value.map(|value| value.wrapping_add(clock.unix_minus_monotonic_ns));
            ScalarValue::TimestampNanosecond(unix_ns, zone.clone())
        }
        _ => ScalarValue::Int64(value),
    }
}

fn wide(low: u64, high: u64) -> u128 {
    u128::from(high) << 64 | u128::from(low)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[i64]) -> Numbers {
        let mut numbers = Numbers::default();
        values.iter().for_each(|value| assert!(numbers.add(*value, 1, false)));
        numbers
    }

    fn variance(numbers: &Numbers) -> f64 {
        let function = Function::Variance { sample: true, root: false };
        let clock = ClockOffset { unix_minus_monotonic_ns: 0 };
        match numbers.result(function, &DataType::Float64, &clock).unwrap() {
            ScalarValue::Float64(Some(variance)) => variance,
            other => panic!("{other} is no variance"),
        }
    }

    #[test]
    fn variance_is_exact_far_from_zero() {
        let far = 4_000_000_000_000_000_000;
        assert_eq!(variance(&of(&[1, 2, 3, 4])), variance(&of(&[far + 1, far + 2, far + 3, far + 4])));
        assert!((variance(&of(&[1, 2, 3, 4])) - 5.0 / 3.0).abs() < 1e-12);
        assert_eq!(variance(&of(&[-7, -7])), 0.0);
        let extremes = variance(&of(&[i64::MIN, i64::MAX]));
        assert!((extremes / (2_f64.powi(127)) - 1.0).abs() < 1e-12, "{extremes}");
        // Beyond 128 bits: two values, 2⁶⁴ − 1 apart, 2⁶² times each.
        let mut many = Numbers::default();
        [i64::MIN, i64::MAX].iter().for_each(|value| assert!(many.add(*value, 1 << 62, false)));
        let extremes = variance(&many);
        assert!((extremes / (2_f64.powi(126)) - 1.0).abs() < 1e-12, "{extremes}");
        // The mean is far from zero on either side.
        for sign in [1, -1] {
            let values = [sign * i64::MAX, sign * i64::MAX, sign * i64::MAX, 0, 0];
            let (greatest, exact) = (i64::MAX as f64, 0.3);
            let share = variance(&of(&values)) / greatest / greatest;
            assert!((share - exact).abs() < 1e-12, "{share}");
        }
    }

    #[test]
    fn merged_numbers_are_those_of_all_values() {
        let mut left = of(&[5, -3]);
        left.merge(&of(&[9]));
        assert_eq!(left, of(&[5, -3, 9]));
        let mut weighted = Numbers::default();
        weighted.add(4, 3, false);
        assert_eq!(weighted, of(&[4, 4, 4]));
    }

    #[test]
    fn weights_stand_for_so_many_equal_values() {
        let (mut one, mut many) = (Floats::default(), Floats::default());
        one.add(1.5, 3);
        one.add(4.0, 1);
        [1.5, 1.5, 4.0, 1.5].iter().for_each(|value| many.add(*value, 1));
        let function = Function::Variance { sample: true, root: true };
        let [ScalarValue::Float64(Some(one)), ScalarValue::Float64(Some(many))] =
            [one.result(function), many.result(function)]
        else {
            panic!("no deviation")
        };
        assert!((one - many).abs() < 1e-12);
    }
}
