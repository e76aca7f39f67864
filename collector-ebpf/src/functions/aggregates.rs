//! Aggregates of probe SQL beyond DataFusion's own. They run in the kernel and where windows are closed, never in a plan of
//! DataFusion: here are only their names and types.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::{Result, not_impl_err};
use datafusion::logical_expr::function::AccumulatorArgs;
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility};

/// `approx_percentile(value, share)`
pub const PERCENTILE: &str = "approx_percentile";

/// `histogram(value)`
pub const HISTOGRAM: &str = "histogram";

/// `approx_top_k(value, number)`
pub const TOP_K: &str = "approx_top_k";

/// All of them.
pub fn all() -> Vec<Arc<AggregateUDF>> {
    let percentile = Declared {
        name: PERCENTILE,
        signature: Signature::exact(vec![DataType::Int64, DataType::Float64], Volatility::Immutable),
        returns: DataType::Int64,
    };
    let histogram = Declared {
        name: HISTOGRAM,
        signature: Signature::exact(vec![DataType::Int64], Volatility::Immutable),
        returns: DataType::Utf8View,
    };
    let top_k =
        Declared { name: TOP_K, signature: Signature::any(2, Volatility::Immutable), returns: DataType::Utf8View };
    [percentile, histogram, top_k].map(|declared| Arc::new(AggregateUDF::from(declared))).into()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Declared {
    name: &'static str,
    signature: Signature,
    returns: DataType,
}

impl AggregateUDFImpl for Declared {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.returns.clone())
    }

    fn accumulator(&self, _: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        not_impl_err!("{} is computed over the events of a hook only", self.name)
    }
}
