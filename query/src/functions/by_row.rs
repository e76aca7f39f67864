//! Functions evaluated row by row: for the catalog and the session, where rows are few.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};

use probepilot_sql::types::TYPE_KEY;

use crate::engine::statement::Statement;

/// What a function does with one row's arguments.
pub type Body = fn(&Statement, &[ScalarValue]) -> Result<ScalarValue>;

/// The same where the arguments' SQL types matter, which their fields say.
type TypedBody = Arc<dyn Fn(&Statement, &[FieldRef], &[ScalarValue]) -> Result<ScalarValue> + Send + Sync>;

#[derive(Clone)]
enum Does {
    Plain(Body),
    Typed(TypedBody),
}

/// The SQL type of a result where the Arrow type does not say it, by the arguments' fields.
type TypeOf = fn(&[FieldRef]) -> Option<&'static str>;

/// A function over one row's values.
#[derive(Clone)]
pub struct ByRow {
    name: &'static str,
    signature: Signature,
    returns: DataType,
    /// The SQL type of the result where the Arrow type does not say it.
    sql_type: Option<&'static str>,
    /// The same where it depends on the arguments.
    type_of: Option<TypeOf>,
    /// NULL in, NULL out, without asking.
    strict: bool,
    does: Does,
}

impl ByRow {
    /// A function of `min` to `max` arguments of any types.
    pub fn new(name: &'static str, min: usize, max: usize, returns: DataType, body: Body) -> ByRow {
        ByRow::doing(name, min, max, returns, Does::Plain(body))
    }

    /// The same, told the arguments' fields too.
    pub fn typed(
        name: &'static str,
        arguments: std::ops::RangeInclusive<usize>,
        returns: DataType,
        body: impl Fn(&Statement, &[FieldRef], &[ScalarValue]) -> Result<ScalarValue> + Send + Sync + 'static,
    ) -> ByRow {
        ByRow::doing(name, *arguments.start(), *arguments.end(), returns, Does::Typed(Arc::new(body)))
    }

    fn doing(name: &'static str, min: usize, max: usize, returns: DataType, does: Does) -> ByRow {
        let arities = (min..=max).map(|count| match count {
            0 => TypeSignature::Nullary,
            count => TypeSignature::Any(count),
        });
        let signature = Signature::one_of(arities.collect(), Volatility::Stable);
        ByRow { name, signature, returns, sql_type: None, type_of: None, strict: true, does }
    }

    /// Is asked with NULLs too.
    pub fn with_nulls(mut self) -> ByRow {
        self.strict = false;
        self
    }

    /// Gives values of an SQL type that Arrow does not have.
    pub fn of_type(mut self, sql_type: &'static str) -> ByRow {
        self.sql_type = Some(sql_type);
        self
    }

    /// Gives values of an SQL type that depends on the arguments.
    pub fn of_type_by(mut self, type_of: TypeOf) -> ByRow {
        self.type_of = Some(type_of);
        self
    }

    /// Is asked for every row, because it does something.
    pub fn volatile(mut self) -> ByRow {
        self.signature.volatility = Volatility::Volatile;
        self
    }

    /// The function for the engine.
    pub fn into_udf(self) -> ScalarUDF {
        ScalarUDF::new_from_impl(self)
    }
}

impl fmt::Debug for ByRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByRow").field("name", &self.name).finish_non_exhaustive()
    }
}

impl PartialEq for ByRow {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for ByRow {}

impl Hash for ByRow {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for ByRow {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(self.returns.clone())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let field = arrow::datatypes::Field::new(self.name, self.returns.clone(), true);
        let sql_type = self.type_of.map_or(self.sql_type, |type_of| type_of(args.arg_fields));
        let metadata = sql_type.map(|name| (TYPE_KEY.to_owned(), name.to_owned()));
        Ok(Arc::new(field.with_metadata(metadata.into_iter().collect())))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let statement = Statement::of(&args.config_options)?;
        let one = |values: &[ScalarValue]| {
            if self.strict && values.iter().any(ScalarValue::is_null) {
                return ScalarValue::try_from(&self.returns);
            }
            match &self.does {
                Does::Plain(body) => body(statement, values),
                Does::Typed(body) => body(statement, &args.arg_fields, values),
            }
        };
        let constant = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        if constant && self.signature.volatility != Volatility::Volatile {
            let values: Vec<ScalarValue> = args
                .args
                .into_iter()
                .filter_map(|arg| match arg {
                    ColumnarValue::Scalar(value) => Some(value),
                    ColumnarValue::Array(_) => None,
                })
                .collect();
            return one(&values).map(ColumnarValue::Scalar);
        }
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let mut results = Vec::with_capacity(args.number_rows);
        for row in 0..args.number_rows {
            let values = arrays.iter().map(|array| {
                let index = if array.len() == 1 { 0 } else { row };
                ScalarValue::try_from_array(array, index)
            });
            results.push(one(&values.collect::<Result<Vec<_>>>()?)?);
        }
        let array = match results.is_empty() {
            true => arrow::array::new_empty_array(&self.returns),
            false => ScalarValue::iter_to_array(results)?,
        };
        Ok(ColumnarValue::Array(array))
    }
}

/// The text of a value that is text.
pub fn text(value: &ScalarValue) -> Option<&str> {
    value.try_as_str().flatten()
}

/// The number of a value that is one, or whose text is one: oids come as both.
pub fn number(value: &ScalarValue) -> Option<i64> {
    if let Some(text) = text(value) {
        return text.trim().parse().ok();
    }
    match value.cast_to(&DataType::Int64) {
        Ok(ScalarValue::Int64(number)) => number,
        _ => None,
    }
}

/// An oid.
pub fn oid(value: &ScalarValue) -> Option<u32> {
    number(value).and_then(|number| u32::try_from(number).ok())
}

/// A text value.
pub fn utf8(value: impl Into<String>) -> ScalarValue {
    ScalarValue::Utf8(Some(value.into()))
}

/// A list of texts.
pub fn list(values: &[String]) -> ScalarValue {
    let values: Vec<ScalarValue> = values.iter().map(utf8).collect();
    ScalarValue::List(ScalarValue::new_list_nullable(&values, &DataType::Utf8))
}

/// Fails with an SQL error of ours.
pub fn fail(error: probepilot_sql::SqlError) -> Result<ScalarValue> {
    Err(datafusion::common::DataFusionError::External(Box::new(error)))
}

/// A value of the wrong type for a function.
pub fn wrong(function: &str, value: &ScalarValue) -> Result<ScalarValue> {
    exec_err!("{function} does not take {}", value.data_type())
}
