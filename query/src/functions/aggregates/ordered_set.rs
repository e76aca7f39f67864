//! `percentile_cont`, `percentile_disc` and `mode`, with `WITHIN GROUP (ORDER BY …)`, exactly as PostgreSQL computes them.

use std::cmp::Ordering;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::{SortOptions, concat, sort};
use arrow::datatypes::{DataType, Float64Type};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::Accumulator;
use datafusion::logical_expr::function::AccumulatorArgs;

use super::shares::shares;
use super::{Aggregate, no_such};

const HINT: &str = "The median is percentile_cont(0.5) WITHIN GROUP (ORDER BY value).";

/// All three.
pub(super) fn all() -> Vec<Aggregate> {
    let aggregate = |name, coerce, returns, accumulator| Aggregate {
        name,
        signature: Aggregate::signature(),
        coerce,
        returns,
        sql_type: None,
        state: |types: &[DataType]| vec![("values", DataType::new_list(types[0].clone(), true))],
        accumulator,
        ordered_set: true,
    };
    vec![
        aggregate(
            "percentile_cont",
            coerce_cont,
            |types| of_shape(DataType::Float64, types),
            |args, types| accumulator(args, types, Kind::Continuous),
        ),
        aggregate(
            "percentile_disc",
            coerce_disc,
            |types| of_shape(types[0].clone(), types),
            |args, types| accumulator(args, types, Kind::Discrete),
        ),
        aggregate("mode", coerce_mode, |types| types[0].clone(), |args, types| accumulator(args, types, Kind::Mode)),
    ]
}

/// An array of fractions gives an array of values.
fn of_shape(value: DataType, types: &[DataType]) -> DataType {
    match types[1] {
        DataType::List(_) => DataType::new_list(value, true),
        _ => value,
    }
}

fn share_type(data_type: &DataType) -> Option<DataType> {
    match data_type {
        DataType::List(element) if element.data_type().is_numeric() => {
            Some(DataType::new_list(DataType::Float64, true))
        }
        other if other.is_numeric() || other.is_null() => Some(DataType::Float64),
        _ => None,
    }
}

fn coerce_cont(types: &[DataType]) -> Result<Vec<DataType>> {
    let [value, share] = types else { return Err(no_such("percentile_cont", types, HINT)) };
    match share_type(share).filter(|_| value.is_numeric() || value.is_null()) {
        Some(share) => Ok(vec![DataType::Float64, share]),
        None => Err(no_such("percentile_cont", types, HINT)),
    }
}

fn coerce_disc(types: &[DataType]) -> Result<Vec<DataType>> {
    let [value, share] = types else { return Err(no_such("percentile_disc", types, HINT)) };
    let share = share_type(share).ok_or_else(|| no_such("percentile_disc", types, HINT))?;
    Ok(vec![value.clone(), share])
}

fn coerce_mode(types: &[DataType]) -> Result<Vec<DataType>> {
    match types {
        [value] => Ok(vec![value.clone()]),
        _ => Err(no_such("mode", types, "Write mode() WITHIN GROUP (ORDER BY value).")),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Continuous,
    Discrete,
    Mode,
}

fn accumulator(args: &AccumulatorArgs, types: &[DataType], kind: Kind) -> Result<Box<dyn Accumulator>> {
    let (shares, array) = match kind {
        Kind::Mode => (vec![None], false),
        _ => shares(args, types, 1, HINT)?,
    };
    let descending = args.order_bys.first().is_some_and(|order| order.options.descending);
    let value_type = types[0].clone();
    Ok(Box::new(Ordered { kind, shares, array, descending, value_type, parts: Vec::new() }))
}

/// The values of a group, which the statement's memory bounds (53200): an exact answer needs them all.
#[derive(Debug)]
struct Ordered {
    kind: Kind,
    shares: Vec<Option<f64>>,
    /// Whether the fractions were an array, and so is the result.
    array: bool,
    descending: bool,
    value_type: DataType,
    parts: Vec<ArrayRef>,
}

impl Ordered {
    /// All values that are not NULL, in the order of the clause.
    fn sorted(&self) -> Result<ArrayRef> {
        let all = self.all()?;
        let options = SortOptions { descending: self.descending, nulls_first: false };
        let sorted = sort(&all, Some(options))?;
        Ok(sorted.slice(0, sorted.len() - sorted.null_count()))
    }

    fn all(&self) -> Result<ArrayRef> {
        if self.parts.is_empty() {
            return Ok(arrow::array::new_empty_array(&self.value_type));
        }
        let parts: Vec<&dyn Array> = self.parts.iter().map(AsRef::as_ref).collect();
        Ok(concat(&parts)?)
    }

    fn percentile(&self, sorted: &ArrayRef, share: f64) -> Result<ScalarValue> {
        let count = sorted.len();
        if self.kind == Kind::Discrete {
            let rank = ((share * count as f64).ceil() as usize).clamp(1, count);
            return ScalarValue::try_from_array(sorted, rank - 1);
        }
        let values = sorted.as_primitive::<Float64Type>();
        let place = share * (count - 1) as f64;
        let (below, above) = (place.floor() as usize, place.ceil() as usize);
        let (low, high) = (values.value(below), values.value(above));
        let value = if below == above { low } else { low + (high - low) * (place - below as f64) };
        Ok(ScalarValue::Float64(Some(value)))
    }
}

/// The most frequent value; of several the first in order.
fn mode(sorted: &ArrayRef) -> Result<ScalarValue> {
    let runs = arrow::compute::partition(&[std::sync::Arc::clone(sorted)])?.ranges();
    let longest = runs.into_iter().reduce(|best, run| match run.len().cmp(&best.len()) {
        Ordering::Greater => run,
        _ => best,
    });
    match longest {
        Some(run) => ScalarValue::try_from_array(sorted, run.start),
        None => ScalarValue::try_from(sorted.data_type()),
    }
}

impl Accumulator for Ordered {
    fn update_batch(&mut self, columns: &[ArrayRef]) -> Result<()> {
        if columns[0].null_count() < columns[0].len() {
            self.parts.push(ArrayRef::clone(&columns[0]));
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let lists = states[0].as_list::<i32>();
        self.parts.extend((0..lists.len()).filter(|row| lists.is_valid(*row)).map(|row| lists.value(row)));
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let sorted = self.sorted()?;
        if self.kind == Kind::Mode {
            return mode(&sorted);
        }
        let none = || ScalarValue::try_from(&self.value_type);
        if sorted.is_empty() {
            let shape =
                if self.array { DataType::new_list(self.value_type.clone(), true) } else { self.value_type.clone() };
            return ScalarValue::try_from(shape);
        }
        let values = self.shares.iter().map(|share| share.map_or_else(none, |share| self.percentile(&sorted, share)));
        let mut values = values.collect::<Result<Vec<_>>>()?;
        match self.array {
            true => Ok(ScalarValue::List(ScalarValue::new_list_nullable(&values, &self.value_type))),
            false => Ok(values.remove(0)),
        }
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let values = self.all()?;
        let list = arrow::array::ListArray::new(
            std::sync::Arc::new(arrow::datatypes::Field::new_list_field(self.value_type.clone(), true)),
            arrow::buffer::OffsetBuffer::from_lengths([values.len()]),
            values,
            None,
        );
        Ok(vec![ScalarValue::List(std::sync::Arc::new(list))])
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.parts.iter().map(slice_bytes).sum::<usize>()
    }
}

/// The bytes of a slice alone: groups share the buffers of a batch.
fn slice_bytes(part: &ArrayRef) -> usize {
    part.to_data().get_slice_memory_size().unwrap_or_else(|_| part.get_array_memory_size())
}
