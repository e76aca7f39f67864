//! Rows as a probe makes them, brought into the schema of the table they go to.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::buffer::BooleanBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Schema, SchemaRef};
use arrow::error::ArrowError;
use probepilot_collector_ebpf::compile::marks::Mark;

/// How the columns of a probe become those of its table.
///
/// A table may have more columns than the probe that writes it now: an earlier version had them. They read NULL, but for
/// `truncated` of a probe whose rows are events: where nothing is read that could be cut, it is false.
#[derive(Clone, Debug)]
pub struct Conform {
    table: SchemaRef,
    sources: Vec<Source>,
}

/// A column that every probe has whose rows are events, and none whose rows are windows.
const EVENT_COLUMN: &str = "upid";

#[derive(Clone, Debug)]
enum Source {
    /// The probe's column at this place has the table's type.
    Same(usize),
    /// The probe's column at this place holds the same values in another form.
    Cast(usize, DataType),
    /// The probe has no such column.
    Null(DataType),
    /// Nor has it this one, and what it says is known.
    False,
}

impl Conform {
    /// From a probe's columns to a table's, by name.
    ///
    /// Fails when the table has a column that is never NULL and the probe does not have it, or when the probe has a
    /// column that the table has not.
    pub fn new(probe: &Schema, table: &SchemaRef) -> Result<Conform, ArrowError> {
        if let Some(extra) = probe.fields().iter().find(|field| table.column_with_name(field.name()).is_none()) {
            return Err(ArrowError::SchemaError(format!("the table has no column \"{}\"", extra.name())));
        }
        let is_event = probe.column_with_name(EVENT_COLUMN).is_some();
        let sources = table.fields().iter().map(|wanted| match probe.column_with_name(wanted.name()) {
            Some((place, field)) if field.data_type() == wanted.data_type() => Ok(Source::Same(place)),
            Some((place, _)) => Ok(Source::Cast(place, wanted.data_type().clone())),
            None if is_event && wanted.name() == Mark::Truncated.name() && *wanted.data_type() == DataType::Boolean => {
                Ok(Source::False)
            }
            None if wanted.is_nullable() => Ok(Source::Null(wanted.data_type().clone())),
            None => Err(ArrowError::SchemaError(format!("the probe has no column \"{}\"", wanted.name()))),
        });
        Ok(Conform { sources: sources.collect::<Result<_, _>>()?, table: table.clone() })
    }

    /// The same rows in the table's schema.
    pub fn apply(&self, rows: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        let columns = self.sources.iter().map(|source| match source {
            Source::Same(place) => Ok(rows.column(*place).clone()),
            Source::Cast(place, data_type) => cast(rows.column(*place), data_type),
            Source::Null(data_type) => Ok(new_null_array(data_type, rows.num_rows())),
            Source::False => {
                Ok(Arc::new(BooleanArray::new(BooleanBuffer::new_unset(rows.num_rows()), None)) as ArrayRef)
            }
        });
        let columns: Vec<ArrayRef> = columns.collect::<Result<_, _>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        RecordBatch::try_new_with_options(Arc::clone(&self.table), columns, &options)
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, AsArray, Int32Array, Int64Array, StringArray};
    use arrow::datatypes::{Field, Int64Type};

    use super::*;

    fn rows() -> RecordBatch {
        let columns: [(&str, ArrayRef); 2] = [
            ("pid", Arc::new(Int32Array::from(vec![1, 2]))),
            ("comm", Arc::new(StringArray::from(vec![Some("a"), None]))),
        ];
        RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true)))
            .expect("two columns of two rows")
    }

    #[test]
    fn columns_are_found_by_name_cast_and_filled() {
        let table = Arc::new(Schema::new(vec![
            Field::new("comm", DataType::Utf8View, true),
            Field::new("gone", DataType::Float64, true),
            Field::new("pid", DataType::Int64, false),
        ]));
        let rows = rows();
        let made = Conform::new(&rows.schema(), &table).and_then(|conform| conform.apply(&rows)).expect("they fit");
        assert_eq!(made.schema(), table);
        assert_eq!(made.column(0).as_string_view().value(0), "a");
        assert_eq!(made.column(1).null_count(), 2);
        assert_eq!(made.column(2).as_primitive::<Int64Type>().values(), &[1, 2]);
    }

    #[test]
    fn where_nothing_can_be_cut_nothing_was() {
        let table = Arc::new(Schema::new(vec![
            Field::new("pid", DataType::Int32, true),
            Field::new("truncated", DataType::Boolean, true),
            Field::new("probe_error", DataType::Utf8View, true),
        ]));
        let made = |first: &str| {
            let columns: [(&str, ArrayRef); 2] =
                [(first, Arc::new(Int64Array::from(vec![7, 8]))), ("pid", Arc::new(Int32Array::from(vec![1, 2])))];
            let rows = RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true)));
            let mut fields = table.fields().to_vec();
            fields.insert(0, Arc::new(Field::new(first, DataType::Int64, true)));
            let (rows, table) = (rows.expect("two columns of two rows"), Arc::new(Schema::new(fields)));
            Conform::new(&rows.schema(), &table).and_then(|conform| conform.apply(&rows)).expect("they fit")
        };
        let events = made("upid");
        assert_eq!(events.column(2).as_boolean().iter().collect::<Vec<_>>(), [Some(false); 2]);
        assert_eq!(events.column(3).null_count(), 2);
        assert_eq!(made("window_ns").column(2).null_count(), 2);
    }

    #[test]
    fn a_column_that_cannot_be_filled_is_refused() {
        let table = Arc::new(Schema::new(vec![
            Field::new("comm", DataType::Utf8, true),
            Field::new("pid", DataType::Int32, true),
            Field::new("must", DataType::Int32, false),
        ]));
        let error = Conform::new(&rows().schema(), &table).expect_err("must has no source");
        assert!(error.to_string().contains("\"must\""), "{error}");
        let narrow = Arc::new(Schema::new(vec![Field::new("comm", DataType::Utf8, true)]));
        let error = Conform::new(&rows().schema(), &narrow).expect_err("pid has no place");
        assert!(error.to_string().contains("\"pid\""), "{error}");
    }
}
