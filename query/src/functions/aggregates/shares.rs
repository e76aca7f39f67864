//! Fractions that are arguments: from 0 to 1, the same for all rows.

use arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::function::AccumulatorArgs;

use super::{constant, invalid};

/// Fractions in an array at most.
const SHARES_MAX: usize = 1_000;

/// The fractions of an argument, and whether it is an array of them. NULL stays NULL.
pub(super) fn shares(
    args: &AccumulatorArgs,
    types: &[DataType],
    index: usize,
    hint: &str,
) -> Result<(Vec<Option<f64>>, bool)> {
    let Some(value) = constant(args, index, &types[index]) else {
        return Err(invalid("the percentile must be a constant", hint));
    };
    let one = |value: &ScalarValue| match value.cast_to(&DataType::Float64)? {
        ScalarValue::Float64(Some(share)) if !(0.0..=1.0).contains(&share) => {
            Err(invalid(format!("percentile value {share} is not between 0 and 1"), hint))
        }
        ScalarValue::Float64(share) => Ok(share),
        _ => Ok(None),
    };
    let ScalarValue::List(list) = &value else { return Ok((vec![one(&value)?], false)) };
    let values = list.value(0);
    if values.len() > SHARES_MAX {
        return Err(invalid(format!("at most {SHARES_MAX} percentiles are taken at once"), hint));
    }
    let shares = (0..values.len()).map(|row| one(&ScalarValue::try_from_array(&values, row)?));
    Ok((shares.collect::<Result<_>>()?, true))
}
