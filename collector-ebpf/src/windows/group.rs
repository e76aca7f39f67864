//! One group of a window while it is put together.

use std::collections::{HashMap, HashSet};

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use datafusion::common::ScalarValue;
use datafusion::error::Result;

use super::numbers::{Floats, Numbers};
use crate::compile::aggregate::plan::{Aggregate, Function, Source};
use crate::decode::ClockOffset;

/// What a group has so far.
#[derive(Clone, Debug)]
pub struct Group {
    /// What the kernel added up, input by input.
    pub inputs: Vec<Numbers>,
    /// For each aggregate that is computed after the kernel its values.
    after: Vec<After>,
}

/// The values of an aggregate that is computed after the kernel.
#[derive(Clone, Debug)]
enum After {
    /// It is not: the kernel's input has it.
    Nothing,
    Numbers(Numbers),
    Floats(Floats),
    /// The least or greatest of values of any type.
    Extreme(Option<ScalarValue>),
    Different(HashSet<ScalarValue>),
    Frequencies(HashMap<ScalarValue, u64>),
}

/// The arguments of an aggregate that is computed after the kernel, a row for each of the kernel's groups.
pub enum Values {
    /// It has none: its input is the kernel's.
    Nothing,
    /// Only which events count.
    Events(Option<BooleanArray>),
    /// Integers.
    Integers(ArrayRef, Option<BooleanArray>),
    /// Double precision.
    Floats(ArrayRef, Option<BooleanArray>),
    /// Of any type.
    Any(ArrayRef, Option<BooleanArray>),
}

impl Values {
    /// Those of an aggregate among the outputs of the key's part.
    pub fn of(aggregate: &Aggregate, outputs: &[ArrayRef]) -> Result<Values> {
        let Source::After { value, condition } = aggregate.source else { return Ok(Values::Nothing) };
        let condition = condition.map(|index| outputs[index].as_boolean().clone());
        let Some(value) = value.map(|index| &outputs[index]) else { return Ok(Values::Events(condition)) };
        let any =
            matches!(aggregate.function, Function::CountDistinct | Function::TopK(_) | Function::Min | Function::Max);
        Ok(match value.data_type() {
            _ if any => Values::Any(value.clone(), condition),
            DataType::Float64 => Values::Floats(value.clone(), condition),
            _ => Values::Integers(cast(value, &DataType::Int64)?, condition),
        })
    }

    fn condition(&self) -> Option<&BooleanArray> {
        match self {
            Values::Nothing => None,
            Values::Events(condition)
            | Values::Integers(_, condition)
            | Values::Floats(_, condition)
            | Values::Any(_, condition) => condition.as_ref(),
        }
    }
}

impl Group {
    /// A group of no events.
    pub fn new(inputs: usize, values: &[(&Aggregate, Values)]) -> Group {
        let after = values.iter().map(|(aggregate, values)| match (values, aggregate.function) {
            (Values::Nothing, _) => After::Nothing,
            (Values::Events(_) | Values::Integers(..), _) => After::Numbers(Numbers::default()),
            (Values::Floats(..), _) => After::Floats(Floats::default()),
            (Values::Any(..), Function::CountDistinct) => After::Different(HashSet::new()),
            (Values::Any(..), Function::TopK(_)) => After::Frequencies(HashMap::new()),
            (Values::Any(..), _) => After::Extreme(None),
        });
        Group { inputs: vec![Numbers::default(); inputs], after: after.collect() }
    }

    /// Adds one of the kernel's groups, which has so many events. Counts what has no value into `errors`.
    pub fn add(
        &mut self,
        row: usize,
        events: u64,
        inputs: &[Numbers],
        values: &[(&Aggregate, Values)],
        errors: &mut u64,
    ) -> Result<()> {
        self.inputs.iter_mut().zip(inputs).for_each(|(mine, theirs)| mine.merge(theirs));
        for (after, (aggregate, values)) in self.after.iter_mut().zip(values) {
            let counts = values.condition().is_none_or(|condition| condition.is_valid(row) && condition.value(row));
            if !counts {
                continue;
            }
            match (after, values) {
                (After::Numbers(numbers), Values::Events(_)) => numbers.add_events(events),
                (After::Numbers(numbers), Values::Integers(array, _)) if array.is_valid(row) => {
                    let wants_buckets = matches!(aggregate.function, Function::Percentile(_) | Function::Histogram);
                    if !numbers.add(array.as_primitive::<Int64Type>().value(row), events, wants_buckets) {
                        *errors += events;
                    }
                }
                (After::Floats(floats), Values::Floats(array, _)) if array.is_valid(row) => {
                    floats.add(array.as_primitive::<Float64Type>().value(row), events);
                }
                (After::Different(different), Values::Any(array, _)) if array.is_valid(row) => {
                    different.insert(ScalarValue::try_from_array(array, row)?);
                }
                (After::Frequencies(frequencies), Values::Any(array, _)) if array.is_valid(row) => {
                    *frequencies.entry(ScalarValue::try_from_array(array, row)?).or_default() += events;
                }
                (After::Extreme(extreme), Values::Any(array, _)) if array.is_valid(row) => {
                    let value = ScalarValue::try_from_array(array, row)?;
                    let wanted = if aggregate.function == Function::Min {
                        std::cmp::Ordering::Less
                    } else {
                        std::cmp::Ordering::Greater
                    };
                    if extreme.as_ref().is_none_or(|known| value.partial_cmp(known) == Some(wanted)) {
                        *extreme = Some(value);
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The result of the aggregate at this place.
    pub fn result(&self, place: usize, aggregate: &Aggregate, clock: &ClockOffset) -> Result<ScalarValue> {
        let Aggregate { function, source, data_type, .. } = aggregate;
        if let Source::Kernel(input) = source {
            return self.inputs[*input].result(*function, data_type, clock);
        }
        match &self.after[place] {
            After::Nothing => ScalarValue::try_from(data_type),
            After::Numbers(numbers) => numbers.result(*function, data_type, clock),
            After::Floats(floats) => floats.result(*function).cast_to(data_type),
            After::Extreme(None) => ScalarValue::try_from(data_type),
            After::Extreme(Some(value)) => value.cast_to(data_type),
            After::Frequencies(frequencies) => {
                let Function::TopK(number) = function else { return ScalarValue::try_from(data_type) };
                ScalarValue::Utf8View(top(frequencies, *number)).cast_to(data_type)
            }
            After::Different(different) => ScalarValue::Int64(i64::try_from(different.len()).ok()).cast_to(data_type),
        }
    }
}

/// `[["nginx", 312], ["cron", 7]]`: the most frequent first, equals by value; `None` when there is none.
fn top(frequencies: &HashMap<ScalarValue, u64>, number: usize) -> Option<String> {
    let mut all: Vec<(&ScalarValue, u64)> = frequencies.iter().map(|(value, events)| (value, *events)).collect();
    all.sort_by(|(left, left_events), (right, right_events)| {
        right_events.cmp(left_events).then_with(|| left.partial_cmp(right).unwrap_or(std::cmp::Ordering::Equal))
    });
    let pairs: Vec<String> =
        all.iter().take(number).map(|(value, events)| format!("[{}, {events}]", json(value))).collect();
    (!pairs.is_empty()).then(|| format!("[{}]", pairs.join(", ")))
}

/// Numbers and booleans as they are, everything else as text.
fn json(value: &ScalarValue) -> String {
    match value {
        ScalarValue::Int16(Some(_))
        | ScalarValue::Int32(Some(_))
        | ScalarValue::Int64(Some(_))
        | ScalarValue::Boolean(Some(_)) => value.to_string(),
        _ => serde_json::Value::String(value.to_string()).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_frequent_come_first_and_equals_by_value() {
        let text = |text: &str| ScalarValue::Utf8View(Some(text.to_owned()));
        let frequencies = HashMap::from([(text("b\""), 3), (text("c"), 7), (text("a"), 3), (text("d"), 1)]);
        assert_eq!(top(&frequencies, 3).as_deref(), Some(r#"[["c", 7], ["a", 3], ["b\"", 3]]"#));
        let numbers = HashMap::from([(ScalarValue::Int32(Some(5)), 2)]);
        assert_eq!(top(&numbers, 3).as_deref(), Some("[[5, 2]]"));
        assert_eq!(top(&HashMap::new(), 3), None);
    }
}
