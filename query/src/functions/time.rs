//! `epoch_ns`.

use std::sync::Arc;

use arrow::array::{Array, AsArray, Int64Array};
use arrow::compute::kernels::cast::CastOptions;
use arrow::datatypes::{DataType, TimeUnit, TimestampNanosecondType};
use datafusion::common::{Result, exec_datafusion_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

/// The function.
pub(super) fn all() -> Vec<ScalarUDF> {
    vec![ScalarUDF::new_from_impl(EpochNs::new())]
}

/// `epoch_ns(time)`: Unix nanoseconds, which the wire's microseconds cannot carry.
#[derive(Debug, PartialEq, Eq, Hash)]
struct EpochNs {
    signature: Signature,
}

impl EpochNs {
    fn new() -> EpochNs {
        EpochNs { signature: Signature::any(1, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for EpochNs {
    fn name(&self) -> &str {
        "epoch_ns"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Int64)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [times] = ColumnarValue::values_to_arrays(&args.args)?
            .try_into()
            .map_err(|_| exec_datafusion_err!("epoch_ns takes one argument"))?;
        let options = CastOptions { safe: false, ..CastOptions::default() };
        let zoned = DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()));
        let times = arrow::compute::cast_with_options(&times, &zoned, &options)?;
        let numbers: Int64Array = times.as_primitive::<TimestampNanosecondType>().unary(|time| time);
        debug_assert_eq!(numbers.len(), times.len());
        Ok(ColumnarValue::Array(Arc::new(numbers)))
    }
}
