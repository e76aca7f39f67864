//! The part after the kernel: a filter and a select list as DataFusion's physical expressions, applied to each batch as
//! it comes. Never an endless plan: those hold rows back.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, RecordBatch, RecordBatchOptions, new_empty_array, new_null_array,
};
use arrow::compute::{CastOptions, and_kleene, cast_with_options, concat, filter_record_batch};
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::error::Result;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Literal;
use datafusion::scalar::ScalarValue;
use parking_lot::Mutex;

/// What the part after the kernel did with rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AfterCounts {
    /// Rows its filter dropped.
    pub filtered: u64,
    /// Values that are NULL because their expression failed, and rows dropped because their filter did.
    pub expression_error: u64,
}

/// Filter and select list over a record's columns.
#[derive(Debug)]
pub struct AfterPart {
    record_schema: SchemaRef,
    output_schema: SchemaRef,
    filters: Vec<Arc<dyn PhysicalExpr>>,
    outputs: Vec<Output>,
    asks_for_processes: bool,
}

/// What makes a column.
#[derive(Debug)]
enum Output {
    Computed(Arc<dyn PhysicalExpr>),
    Constant(Constant),
}

/// A column that says the same in every row, as the node's name does. Batches share the memory of one array.
#[derive(Debug)]
struct Constant {
    value: ScalarValue,
    /// What was made last, at most twice as long as what was asked for.
    made: Mutex<ArrayRef>,
}

impl AfterPart {
    /// Expressions over the record's schema; each output is cast to its field's type. `asks_for_processes`: one of them
    /// needs what processes' own events tell.
    pub fn new(
        record_schema: SchemaRef,
        output_schema: SchemaRef,
        filters: Vec<Arc<dyn PhysicalExpr>>,
        outputs: Vec<Arc<dyn PhysicalExpr>>,
        asks_for_processes: bool,
    ) -> AfterPart {
        debug_assert_eq!(output_schema.fields().len(), outputs.len());
        let outputs = outputs
            .into_iter()
            .zip(output_schema.fields())
            .map(|(output, field)| Output::new(output, field.data_type()));
        let outputs = outputs.collect();
        AfterPart { record_schema, output_schema, filters, outputs, asks_for_processes }
    }

    /// A part that only has columns: what comes in goes another way.
    pub(crate) fn nothing(record_schema: SchemaRef, output_schema: SchemaRef) -> AfterPart {
        AfterPart { record_schema, output_schema, filters: Vec::new(), outputs: Vec::new(), asks_for_processes: false }
    }

    /// The columns that come in.
    pub fn record_schema(&self) -> SchemaRef {
        Arc::clone(&self.record_schema)
    }

    /// The columns that go out.
    pub fn output_schema(&self) -> SchemaRef {
        Arc::clone(&self.output_schema)
    }

    /// Whether rows should wait until the processes' own events were heard.
    pub fn asks_for_processes(&self) -> bool {
        self.asks_for_processes
    }

    /// Filters and projects a batch.
    pub fn run(&self, batch: &RecordBatch, counts: &mut AfterCounts) -> Result<RecordBatch> {
        let kept = match self.keep(batch, counts)? {
            Some(keep) => {
                let kept = filter_record_batch(batch, &keep)?;
                counts.filtered += (batch.num_rows() - kept.num_rows()) as u64;
                kept
            }
            None => batch.clone(),
        };
        self.project(&kept, counts)
    }

    /// The outputs of rows that passed the filter.
    pub(crate) fn project(&self, kept: &RecordBatch, counts: &mut AfterCounts) -> Result<RecordBatch> {
        let columns = self
            .outputs
            .iter()
            .zip(self.output_schema.fields())
            .map(|(output, field)| match output {
                Output::Computed(output) => stored(&evaluate(output, kept, counts)?, field.data_type()),
                Output::Constant(constant) => constant.column(kept.num_rows()),
            })
            .collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(kept.num_rows()));
        Ok(RecordBatch::try_new_with_options(self.output_schema(), columns, &options)?)
    }

    /// Whether there is a filter at all.
    pub(crate) fn has_filter(&self) -> bool {
        !self.filters.is_empty()
    }

    /// Which rows pass the filter; `None` when there is none.
    pub(crate) fn keep(&self, batch: &RecordBatch, counts: &mut AfterCounts) -> Result<Option<BooleanArray>> {
        let mut keep: Option<BooleanArray> = None;
        for filter in &self.filters {
            let passed = evaluate(filter, batch, counts)?;
            let passed = passed.as_boolean();
            keep = Some(match keep {
                None => passed.clone(),
                Some(before) => and_kleene(&before, passed)?,
            });
        }
        Ok(keep)
    }
}

impl Output {
    fn new(output: Arc<dyn PhysicalExpr>, data_type: &DataType) -> Output {
        // What cannot be cast is left to where each batch's failures are counted.
        match output.downcast_ref::<Literal>().map(|literal| literal.value().cast_to(data_type)) {
            Some(Ok(value)) => Output::Constant(Constant { value, made: Mutex::new(new_empty_array(data_type)) }),
            _ => Output::Computed(output),
        }
    }
}

impl Constant {
    fn column(&self, rows: usize) -> Result<ArrayRef> {
        let mut made = self.made.lock();
        if !(rows..=2 * rows).contains(&made.len()) {
            *made = self.value.to_array_of_size(rows)?;
        }
        Ok(made.slice(0, rows))
    }
}

fn stored(values: &ArrayRef, data_type: &DataType) -> Result<ArrayRef> {
    if values.data_type() == data_type {
        return Ok(Arc::clone(values));
    }
    let options = CastOptions { safe: true, ..CastOptions::default() };
    Ok(cast_with_options(values, data_type, &options)?)
}

/// The expression's values. When it fails for the batch it is evaluated row by row: NULL where it fails, counted.
fn evaluate(expr: &Arc<dyn PhysicalExpr>, batch: &RecordBatch, counts: &mut AfterCounts) -> Result<ArrayRef> {
    let rows = batch.num_rows();
    if let Ok(values) = expr.evaluate(batch).and_then(|values| values.into_array(rows)) {
        return Ok(values);
    }
    let data_type = expr.data_type(&batch.schema())?;
    let mut values = Vec::with_capacity(rows);
    for row in 0..rows {
        let one = batch.slice(row, 1);
        values.push(match expr.evaluate(&one).and_then(|value| value.into_array(1)) {
            Ok(value) => value,
            Err(_) => {
                counts.expression_error += 1;
                new_null_array(&data_type, 1)
            }
        });
    }
    let values: Vec<&dyn Array> = values.iter().map(AsRef::as_ref).collect();
    Ok(if values.is_empty() { new_null_array(&data_type, 0) } else { concat(&values)? })
}
