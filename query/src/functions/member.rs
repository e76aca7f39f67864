//! `is_member(x, rows)`: what `x IN (query)` is, given the query's rows in an array.

use arrow::array::Array;
use arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

/// The function; users cannot call it.
pub(crate) fn member() -> ScalarUDF {
    ScalarUDF::new_from_impl(Member { signature: Signature::any(2, Volatility::Immutable) })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Member {
    signature: Signature,
}

impl ScalarUDFImpl for Member {
    fn name(&self) -> &str {
        "is_member"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let found = (0..arrays[0].len()).map(|row| {
            let value = ScalarValue::try_from_array(&arrays[0], row)?;
            let ScalarValue::List(rows) = ScalarValue::try_from_array(&arrays[1], row)? else {
                return exec_err!("is_member does not take {}", arrays[1].data_type());
            };
            is_member(&value, rows.is_valid(0).then(|| rows.value(0)).as_deref())
        });
        let found: arrow::array::BooleanArray = found.collect::<Result<Vec<_>>>()?.into();
        Ok(ColumnarValue::Array(std::sync::Arc::new(found)))
    }
}

/// True when a row is equal, else unknown when the value or a row is NULL, else false; false for no rows at all.
fn is_member(value: &ScalarValue, rows: Option<&dyn Array>) -> Result<Option<bool>> {
    let Some(rows) = rows.filter(|rows| !rows.is_empty()) else { return Ok(Some(false)) };
    if value.is_null() {
        return Ok(None);
    }
    let value = value.cast_to(rows.data_type())?;
    for row in 0..rows.len() {
        if ScalarValue::try_from_array(rows, row)? == value {
            return Ok(Some(true));
        }
    }
    Ok((rows.null_count() == 0).then_some(false))
}

#[cfg(test)]
mod tests {
    use arrow::array::Int64Array;

    use super::*;

    #[test]
    fn unknown_rows_make_the_answer_unknown() {
        for (value, rows, expected) in [
            (Some(1), vec![Some(1), None], Some(true)),
            (Some(2), vec![Some(1), None], None),
            (Some(2), vec![Some(1)], Some(false)),
            (None, vec![Some(1)], None),
            (None, vec![], Some(false)),
        ] {
            let rows = Int64Array::from(rows);
            assert_eq!(is_member(&ScalarValue::Int32(value), Some(&rows)).unwrap(), expected, "{value:?} {rows:?}");
        }
        assert_eq!(is_member(&ScalarValue::Int32(Some(1)), None).unwrap(), Some(false));
    }
}
