//! `text(value)`: a cast to text, which Arrow would write in forms of its own.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, StringViewBuilder};
use arrow::compute::cast;
use arrow::datatypes::{DataType, FieldRef};
use bytes::BytesMut;
use datafusion::common::{DataFusionError, Result, exec_datafusion_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

use super::{is_list, writer};
use crate::functions::calendar::over;
use crate::functions::zone::Zone;

/// The function that gives texts of the type `to`, in the session's zone. Users write it as a cast.
pub(crate) fn text_of(to: DataType) -> ScalarUDF {
    ScalarUDF::new_from_impl(TextOf { signature: Signature::any(1, Volatility::Stable), to })
}

/// Whether Arrow writes values of the type otherwise than PostgreSQL.
pub(crate) fn has_own_text(data_type: &DataType) -> bool {
    is_list(data_type)
        || data_type.is_floating()
        || matches!(
            data_type,
            DataType::Timestamp(..)
                | DataType::Date32
                | DataType::Date64
                | DataType::Time32(_)
                | DataType::Time64(_)
                | DataType::Interval(_)
                | DataType::Duration(_)
                | DataType::Map(..)
                | DataType::Struct(_)
        )
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct TextOf {
    signature: Signature,
    to: DataType,
}

impl ScalarUDFImpl for TextOf {
    fn name(&self) -> &str {
        "text"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(self.to.clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let zone = Zone::of_session(&args.config_options)?;
        over(&args.args[0], |values| texts(&args.arg_fields[0], values, &zone, &self.to))
    }
}

fn texts(field: &FieldRef, values: &ArrayRef, zone: &Zone, to: &DataType) -> Result<ArrayRef> {
    let mut write = writer(field, values, zone).map_err(|error| DataFusionError::External(Box::new(error)))?;
    let nulls = values.logical_nulls();
    let mut texts = StringViewBuilder::with_capacity(values.len());
    let mut scratch = BytesMut::new();
    for row in 0..values.len() {
        if nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
            texts.append_null();
            continue;
        }
        scratch.clear();
        write(row, &mut scratch);
        texts.append_value(std::str::from_utf8(&scratch).map_err(|error| exec_datafusion_err!("{error}"))?);
    }
    Ok(cast(&(Arc::new(texts.finish()) as ArrayRef), to)?)
}
