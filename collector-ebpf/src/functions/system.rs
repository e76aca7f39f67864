//! `page_bytes()`: what a page of memory is on this host; a constant, so it is folded when a probe is compiled.

use arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

/// The function.
pub fn page_bytes() -> ScalarUDF {
    ScalarUDF::from(PageBytes { signature: Signature::nullary(Volatility::Immutable) })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct PageBytes {
    signature: Signature,
}

impl ScalarUDFImpl for PageBytes {
    fn name(&self) -> &str {
        "page_bytes"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Int64)
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        // SAFETY: the call takes a number and returns one.
        let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        Ok(ColumnarValue::Scalar(ScalarValue::Int64(Some(bytes))))
    }
}
