//! `array_or_empty(x)`: an array, an empty one for NULL. `ARRAY(SELECT …)` of no rows is one.

use arrow::array::Array;
use arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

/// The function; users need not know it.
pub(crate) fn array_or_empty() -> ScalarUDF {
    ScalarUDF::new_from_impl(ArrayOrEmpty { signature: Signature::any(1, Volatility::Immutable) })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct ArrayOrEmpty {
    signature: Signature,
}

impl ScalarUDFImpl for ArrayOrEmpty {
    fn name(&self) -> &str {
        "array_or_empty"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        Ok(arguments[0].clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let DataType::List(element) = args.args[0].data_type() else {
            return exec_err!("array_or_empty does not take {}", args.args[0].data_type());
        };
        let empty = || ScalarValue::List(ScalarValue::new_list_nullable(&[], element.data_type()));
        match &args.args[0] {
            ColumnarValue::Scalar(value) if value.is_null() => Ok(ColumnarValue::Scalar(empty())),
            ColumnarValue::Scalar(value) => Ok(ColumnarValue::Scalar(value.clone())),
            ColumnarValue::Array(array) => {
                let values = (0..array.len()).map(|row| match array.is_null(row) {
                    true => Ok(empty()),
                    false => ScalarValue::try_from_array(array, row),
                });
                let values = values.collect::<Result<Vec<_>>>()?;
                if values.is_empty() {
                    return Ok(ColumnarValue::Array(std::sync::Arc::clone(array)));
                }
                Ok(ColumnarValue::Array(ScalarValue::iter_to_array(values)?))
            }
        }
    }
}
