//! The states that a window's groups have in the kernel → the rows of that window.

pub mod numbers; // Counts, sums, extremes.
mod group; // One group while it is put together.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, TimestampNanosecondArray, UInt32Array,
};
use arrow::compute::{SortColumn, filter_record_batch, lexsort_to_indices, take};
use arrow::row::{RowConverter, SortField};
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};

use crate::after::AfterCounts;
use crate::compile::aggregate::WindowParts;
use crate::compile::aggregate::plan::{Aggregate, Bucket, Source, WindowPlan};
use crate::compile::layout::{KEY_OFFSET, Layout};
use crate::compile::sample::{Keep, weight};
use crate::decode::{ClockOffset, RecordDecoder};
use crate::object::other_key;
use group::{Group, Values};
use numbers::Numbers;

/// A window that is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// When it began, Unix nanoseconds.
    pub start_unix_ns: i64,
    /// How long it was, nanoseconds.
    pub width_ns: i64,
    /// Whether the probe ran for all of it.
    pub complete: bool,
    /// What was kept of the events to stay within a budget; 0 when nothing was left out for that.
    pub keep: Keep,
}

/// What became of a window's events.
#[derive(Debug)]
pub struct WindowRows {
    /// Its rows.
    pub rows: RecordBatch,
    /// Events that are in them.
    pub events: u64,
    /// Groups that the kernel kept.
    pub kernel_groups: usize,
    /// Events that the filter after the kernel did not let through.
    pub filtered: u64,
    /// Events of groups that found no room and that the filter after the kernel could not be asked about.
    pub map_full: u64,
    /// Values that could not be evaluated.
    pub expression_errors: u64,
}

/// Makes rows of a query's windows. Groups pushed and not finished are at most those that the map of a window holds.
#[derive(Debug)]
pub struct WindowDecoder {
    layout: Arc<Layout>,
    parts: Arc<WindowParts>,
    keys: RecordDecoder,
    /// For each key the events, and what the kernel added up.
    states: Vec<(u64, Vec<Numbers>)>,
    /// The same of all groups that found no room.
    other: Option<(u64, Vec<Numbers>)>,
    /// The key as a record: what is before it stays zero.
    record: Vec<u8>,
}

impl WindowDecoder {
    pub(crate) fn new(layout: Arc<Layout>, parts: Arc<WindowParts>, keys: RecordDecoder) -> WindowDecoder {
        let record = vec![0; usize::from(layout.bytes)];
        WindowDecoder { layout, parts, keys, states: Vec::new(), other: None, record }
    }

    /// How long windows are; `None` when there is one, as long as the query.
    pub fn bucket(&self) -> Option<Bucket> {
        self.parts.plan.bucket
    }

    /// Whether rows should wait until the processes' own events were heard.
    pub fn asks_for_processes(&self) -> bool {
        self.parts.keys.asks_for_processes()
    }

    /// Takes a group with its states on all CPUs: `words` one after the other, each as long as the plan says.
    pub fn push(&mut self, key: &[u8], words: &[u64]) {
        let plan = &self.parts.plan;
        let mut events = 0;
        let mut inputs = vec![Numbers::default(); plan.inputs.len()];
        for state in words.chunks_exact(plan.value_bytes as usize / 8) {
            events += state[0];
            for (numbers, input) in inputs.iter_mut().zip(&plan.inputs) {
                numbers.add_state(state, &input.cells);
            }
        }
        if events == 0 {
            return;
        }
        if key == other_key(self.layout.key_bytes().into()) {
            self.other = Some((events, inputs));
            return;
        }
        self.record[usize::from(KEY_OFFSET)..].copy_from_slice(key);
        match self.keys.push(&self.record) {
            Ok(()) => self.states.push((events, inputs)),
            Err(error) => unreachable!("a key is as long as its layout says: {error}"),
        }
    }

    /// Events of the groups taken.
    pub fn events(&self) -> u64 {
        self.states.iter().chain(&self.other).map(|(events, _)| events).sum()
    }

    /// The rows of the groups taken. The decoder is empty then.
    ///
    /// # Errors
    /// Only faults of ours: what fails for a row is NULL there and counted.
    pub fn finish(&mut self, window: Window, clock: &ClockOffset) -> Result<WindowRows> {
        let (states, other) = (std::mem::take(&mut self.states), self.other.take());
        let records = self.keys.records(clock)?;
        let kernel_groups = states.len();
        let WindowParts { plan, keys, .. } = self.parts.as_ref();
        let mut counts = AfterCounts::default();
        let all: u64 = states.iter().map(|(events, _)| events).sum();
        let (records, states) = match keys.keep(&records, &mut counts)? {
            None => (records, states),
            Some(keep) => {
                let kept = states.into_iter().enumerate().filter(|(row, _)| keep.is_valid(*row) && keep.value(*row));
                (filter_record_batch(&records, &keep)?, kept.map(|(_, state)| state).collect())
            }
        };
        let kept: u64 = states.iter().map(|(events, _)| events).sum();
        let outputs = keys.project(&records, &mut counts)?;
        let values = plan
            .aggregates
            .iter()
            .map(|aggregate| Ok((aggregate, Values::of(aggregate, outputs.columns())?)))
            .collect::<Result<Vec<_>>>()?;
        let key_columns = &outputs.columns()[..plan.groups];
        let mut errors = 0;
        let mut grouped = grouped(plan, key_columns, &states, &values, &mut errors)?;
        let mut rows = WindowRows {
            rows: RecordBatch::new_empty(Arc::clone(&self.parts.columns)),
            events: kept,
            kernel_groups,
            filtered: all - kept,
            map_full: 0,
            expression_errors: 0,
        };
        let mut has_other = false;
        if let Some((events, inputs)) = other {
            let after_kernel = plan.aggregates.iter().any(|aggregate| matches!(aggregate.source, Source::After { .. }));
            // Of these events nothing is known but what the kernel added up: no filter after it can be asked about them,
            // and a row that has other events too would be wrong where it needs more.
            if keys.has_filter() || (plan.groups == 0 && after_kernel) {
                rows.map_full = events;
            } else {
                rows.events += events;
                let nothing: Vec<(&Aggregate, Values)> =
                    plan.aggregates.iter().map(|aggregate| (aggregate, Values::Nothing)).collect();
                if plan.groups > 0 {
                    grouped.push((None, Group::new(plan.inputs.len(), &nothing)));
                    has_other = true;
                }
                if let Some((_, group)) = grouped.last_mut() {
                    group.add(0, events, &inputs, &nothing, &mut errors)?;
                }
            }
        }
        let window = Window { complete: window.complete && rows.map_full == 0, ..window };
        rows.rows = self.rows(window, key_columns, &grouped, has_other, clock, &mut counts)?;
        rows.expression_errors = counts.expression_error + errors;
        Ok(rows)
    }

    fn rows(
        &self,
        window: Window,
        key_columns: &[ArrayRef],
        grouped: &[(Option<u32>, Group)],
        has_other: bool,
        clock: &ClockOffset,
        counts: &mut AfterCounts,
    ) -> Result<RecordBatch> {
        let WindowParts { plan, rows, columns, .. } = self.parts.as_ref();
        let count = grouped.len();
        let start = TimestampNanosecondArray::from(vec![window.start_unix_ns; count]).with_timezone("UTC");
        let other: Vec<bool> = (0..count).map(|row| has_other && row + 1 == count).collect();
        let mut all: Vec<ArrayRef> = vec![
            Arc::new(start),
            Arc::new(Int64Array::from(vec![window.width_ns; count])),
            Arc::new(BooleanArray::from(vec![window.complete; count])),
            Arc::new(BooleanArray::from(other)),
            Arc::new(Float64Array::from(vec![weight(if window.keep == 0 { plan.keep } else { window.keep }); count])),
        ];
        let firsts: UInt32Array = grouped.iter().map(|(first, _)| *first).collect();
        for keys in key_columns {
            all.push(take(keys, &firsts, None)?);
        }
        for (place, aggregate) in plan.aggregates.iter().enumerate() {
            let results = grouped
                .iter()
                .map(|(_, group)| group.result(place, aggregate, clock))
                .collect::<Result<Vec<ScalarValue>>>()?;
            all.push(if results.is_empty() {
                arrow::array::new_empty_array(&aggregate.data_type)
            } else {
                ScalarValue::iter_to_array(results)?
            });
        }
        let made = rows.run(&RecordBatch::try_new(rows.record_schema(), all)?, counts)?;
        let (visible, order) = made.columns().split_at(columns.fields().len());
        let order: Vec<SortColumn> = order
            .iter()
            .zip(&plan.sort)
            .map(|(values, options)| SortColumn { values: Arc::clone(values), options: Some(*options) })
            .collect();
        let limit = plan.limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX));
        let made = RecordBatch::try_new(Arc::clone(columns), visible.to_vec())?;
        if order.is_empty() {
            return Ok(made.slice(0, limit.map_or(made.num_rows(), |limit| limit.min(made.num_rows()))));
        }
        let indices = lexsort_to_indices(&order, limit)?;
        let sorted = made.columns().iter().map(|column| take(column, &indices, None)).collect::<Result<Vec<_>, _>>()?;
        Ok(RecordBatch::try_new(Arc::clone(columns), sorted)?)
    }
}

/// The kernel's groups put together where their keys are the same; with the first row of each.
fn grouped(
    plan: &WindowPlan,
    key_columns: &[ArrayRef],
    states: &[(u64, Vec<Numbers>)],
    values: &[(&Aggregate, Values)],
    errors: &mut u64,
) -> Result<Vec<(Option<u32>, Group)>> {
    let empty = || Group::new(plan.inputs.len(), values);
    let mut groups: Vec<(Option<u32>, Group)> = Vec::new();
    if key_columns.is_empty() {
        // One row for an empty window too: zero is not silence.
        groups.push((None, empty()));
        for (row, (events, inputs)) in states.iter().enumerate() {
            groups[0].1.add(row, *events, inputs, values, errors)?;
        }
        return Ok(groups);
    }
    let fields = key_columns.iter().map(|column| SortField::new(column.data_type().clone())).collect();
    let rows = RowConverter::new(fields)?.convert_columns(key_columns)?;
    let mut places: HashMap<&[u8], usize> = HashMap::with_capacity(states.len());
    let rows: Vec<_> = rows.iter().collect();
    for (row, (events, inputs)) in states.iter().enumerate() {
        let place = *places.entry(rows[row].data()).or_insert(groups.len());
        if place == groups.len() {
            let first = u32::try_from(row).map_err(|_| DataFusionError::Internal("too many groups".into()))?;
            groups.push((Some(first), empty()));
        }
        groups[place].1.add(row, *events, inputs, values, errors)?;
    }
    Ok(groups)
}
