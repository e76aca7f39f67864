//! `locf` and `interpolate`: names for the planner. What they mean is in [`crate::gapfill`], which takes their calls away.

use arrow::datatypes::DataType;
use datafusion::common::{DataFusionError, Result};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};
use probepilot_sql::SqlError;

use super::bucket::GAPFILL;

/// The last value carried forward.
pub(crate) const LOCF: &str = "locf";

/// A line between the values before and after a gap.
pub(crate) const INTERPOLATE: &str = "interpolate";

/// Both functions.
pub(super) fn all() -> Vec<ScalarUDF> {
    // Volatile: the optimiser must not compute them.
    let signature = || Signature::one_of((1..=3).map(TypeSignature::Any).collect(), Volatility::Volatile);
    [LOCF, INTERPOLATE].map(|name| ScalarUDF::new_from_impl(Fill { name, signature: signature() })).into()
}

/// What is told when one stands where nothing is filled.
pub(crate) fn misplaced(name: &str) -> SqlError {
    let hint = format!("Write SELECT {GAPFILL}('1 minute', time) AS time, {LOCF}(avg(value)) … GROUP BY 1.");
    SqlError::unsupported(format!("{name} works only on aggregates of a query that groups by {GAPFILL}")).hint(hint)
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Fill {
    name: &'static str,
    signature: Signature,
}

impl ScalarUDFImpl for Fill {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        Ok(arguments[0].clone())
    }

    fn invoke_with_args(&self, _args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Err(DataFusionError::External(Box::new(misplaced(self.name))))
    }
}
