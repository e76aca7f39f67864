//! Arrow rows as JSON: arrays for `rows`, objects for NDJSON.

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema};
use arrow::error::ArrowError;
use arrow::json::writer::{JsonArray, JsonFormat, LineDelimited};
use arrow::json::{StructMode, WriterBuilder};
use std::sync::Arc;

/// How 64-bit integers are written: JavaScript loses digits beyond 2⁵³.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Int64Form {
    /// As numbers.
    #[default]
    Number,
    /// As strings (`?int64=string`).
    Text,
}

/// `[v,…],[v,…]`: the rows of a batch as arrays, without the brackets around the list. Empty for no rows.
pub fn arrays(batch: &RecordBatch, form: Int64Form) -> Result<Vec<u8>, ArrowError> {
    let mut bytes = write::<JsonArray>(batch, form, StructMode::ListOnly)?;
    if bytes.len() < 2 {
        return Ok(Vec::new());
    }
    bytes.pop(); // The list's own brackets: batches are joined.
    bytes.remove(0);
    Ok(bytes)
}

/// One object a line.
pub fn lines(batch: &RecordBatch, form: Int64Form) -> Result<Vec<u8>, ArrowError> {
    write::<LineDelimited>(batch, form, StructMode::ObjectOnly)
}

fn write<Format: JsonFormat>(batch: &RecordBatch, form: Int64Form, mode: StructMode) -> Result<Vec<u8>, ArrowError> {
    let batch = match form {
        Int64Form::Number => batch.clone(),
        Int64Form::Text => with_text_integers(batch)?,
    };
    let mut writer = WriterBuilder::new()
        .with_explicit_nulls(true)
        .with_struct_mode(mode)
        .with_timestamp_tz_format("%Y-%m-%dT%H:%M:%S%.9fZ".to_owned())
        .build::<_, Format>(Vec::new());
    if batch.num_rows() > 0 {
        writer.write(&batch)?;
        writer.finish()?;
    }
    Ok(writer.into_inner())
}

fn with_text_integers(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let (mut fields, mut columns): (Vec<Field>, Vec<ArrayRef>) = (Vec::new(), Vec::new());
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        let wide = matches!(column.data_type(), DataType::Int64 | DataType::UInt64);
        let column = if wide { cast(column, &DataType::Utf8)? } else { Arc::clone(column) };
        fields.push(field.as_ref().clone().with_data_type(column.data_type().clone()));
        columns.push(column);
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, StringViewArray, TimestampNanosecondArray};

    use super::*;

    fn batch() -> RecordBatch {
        let time = TimestampNanosecondArray::from(vec![Some(1_000_000_001), None]).with_timezone("UTC");
        RecordBatch::try_from_iter_with_nullable([
            ("time", Arc::new(time) as ArrayRef, true),
            ("comm", Arc::new(StringViewArray::from(vec!["a\"b", "c"])), true),
            ("bytes", Arc::new(Int64Array::from(vec![1 << 60, 2])), true),
        ])
        .unwrap()
    }

    #[test]
    fn rows_are_arrays_with_nanoseconds() {
        let text = String::from_utf8(arrays(&batch(), Int64Form::Number).unwrap()).unwrap();
        assert_eq!(text, r#"["1970-01-01T00:00:01.000000001Z","a\"b",1152921504606846976],[null,"c",2]"#);
        assert_eq!(arrays(&batch().slice(0, 0), Int64Form::Number).unwrap(), b"");
    }

    #[test]
    fn lines_are_objects_and_wide_integers_strings_when_asked() {
        let text = String::from_utf8(lines(&batch(), Int64Form::Text).unwrap()).unwrap();
        assert_eq!(
            text,
            "{\"time\":\"1970-01-01T00:00:01.000000001Z\",\"comm\":\"a\\\"b\",\"bytes\":\"1152921504606846976\"}\n{\"time\":null,\"comm\":\"c\",\"bytes\":\"2\"}\n"
        );
    }
}
