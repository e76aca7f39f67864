//! Aggregates of time series, and PostgreSQL's ordered-set aggregates.

mod counters; // increase, rate, delta.
mod histogram; // histogram, by width of its own or by given bounds.
mod ordered_set; // percentile_cont, percentile_disc, mode.
mod percentile; // approx_percentile.
mod samples; // Values with their times: first and last.
mod shares; // Fractions that are arguments.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, TimeUnit};
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility};
use datafusion::physical_expr::expressions::Literal;
use probepilot_sql::types::TYPE_KEY;
use probepilot_sql::{SqlError, SqlState};

/// All of them.
pub(super) fn all() -> Vec<AggregateUDF> {
    let families = [counters::all(), histogram::all(), ordered_set::all(), percentile::all(), samples::all()];
    families.into_iter().flatten().map(AggregateUDF::new_from_impl).collect()
}

/// Makes the state of a group.
pub(super) type MakeAccumulator = fn(&AccumulatorArgs, &[DataType]) -> Result<Box<dyn Accumulator>>;

/// An aggregate by its parts; functions of a name are the same.
#[derive(Debug)]
pub(super) struct Aggregate {
    pub(super) name: &'static str,
    pub(super) signature: Signature,
    /// What the arguments are cast to; fails for types that the function does not take.
    pub(super) coerce: fn(&[DataType]) -> Result<Vec<DataType>>,
    /// The result's type, by the types of the arguments after they were cast.
    pub(super) returns: fn(&[DataType]) -> DataType,
    /// The SQL type of the result where the Arrow type does not say it.
    pub(super) sql_type: Option<&'static str>,
    /// Names and types of the partial state.
    pub(super) state: fn(&[DataType]) -> Vec<(&'static str, DataType)>,
    /// One group's state, given the types of the arguments after they were cast.
    pub(super) accumulator: MakeAccumulator,
    /// Takes `WITHIN GROUP (ORDER BY …)`.
    pub(super) ordered_set: bool,
}

impl Aggregate {
    /// Any arguments: which ones it takes is told by `coerce`, whose error the planner leaves as it is.
    pub(super) fn signature() -> Signature {
        Signature::variadic_any(Volatility::Immutable)
    }

    fn coerced<'a>(&self, fields: impl IntoIterator<Item = &'a FieldRef>) -> Result<Vec<DataType>> {
        let types: Vec<DataType> = fields.into_iter().map(|field| field.data_type().clone()).collect();
        (self.coerce)(&types)
    }
}

impl PartialEq for Aggregate {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Aggregate {}

impl Hash for Aggregate {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl AggregateUDFImpl for Aggregate {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        Ok((self.returns)(&(self.coerce)(arguments)?))
    }

    fn return_field(&self, arguments: &[FieldRef]) -> Result<FieldRef> {
        let types: Vec<DataType> = arguments.iter().map(|field| field.data_type().clone()).collect();
        let metadata = self.sql_type.map(|name| (TYPE_KEY.to_owned(), name.to_owned()));
        let field = Field::new(self.name, self.return_type(&types)?, self.is_nullable());
        Ok(Arc::new(field.with_metadata(metadata.into_iter().collect())))
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let types = self.coerced(args.expr_fields)?;
        let inner = (self.accumulator)(&args, &types)?;
        Ok(Box::new(Casting { inner, types }))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let fields = (self.state)(&self.coerced(args.input_fields)?).into_iter();
        Ok(fields
            .map(|(name, data_type)| {
                Arc::new(Field::new(format_state_name(args.name, name), data_type, true)) as FieldRef
            })
            .collect())
    }

    fn supports_within_group_clause(&self) -> bool {
        self.ordered_set
    }
}

/// Casts arguments on their way in.
#[derive(Debug)]
struct Casting {
    inner: Box<dyn Accumulator>,
    types: Vec<DataType>,
}

impl Accumulator for Casting {
    fn update_batch(&mut self, columns: &[ArrayRef]) -> Result<()> {
        let columns = columns.iter().zip(&self.types).map(|(column, data_type)| cast(column, data_type));
        self.inner.update_batch(&columns.collect::<std::result::Result<Vec<_>, _>>()?)
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.inner.merge_batch(states)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.inner.evaluate()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.inner.state()
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.inner.size()
    }
}

/// An argument whose value is the same for all rows; `None` when it is a column.
fn constant(args: &AccumulatorArgs, index: usize, data_type: &DataType) -> Option<ScalarValue> {
    args.exprs.get(index)?.downcast_ref::<Literal>()?.value().cast_to(data_type).ok()
}

/// A wrong value of an argument.
fn invalid(message: impl Into<String>, hint: &str) -> DataFusionError {
    DataFusionError::External(Box::new(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message).hint(hint)))
}

/// The function does not take these types.
pub(super) fn no_such(name: &str, arguments: &[DataType], hint: &str) -> DataFusionError {
    let types: Vec<String> = arguments.iter().map(sql_name).collect();
    let message = format!("function {name}({}) does not exist", types.join(", "));
    DataFusionError::External(Box::new(SqlError::new(SqlState::UNDEFINED_FUNCTION, message).hint(hint)))
}

/// PostgreSQL's name of a type, for errors.
pub(crate) fn sql_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Null => "unknown".to_owned(),
        DataType::Interval(_) | DataType::Duration(_) => "interval".to_owned(),
        DataType::Decimal128(..) | DataType::Decimal256(..) => "numeric".to_owned(),
        DataType::Time32(_) | DataType::Time64(_) => "time without time zone".to_owned(),
        DataType::List(element) => format!("{}[]", sql_name(element.data_type())),
        other => probepilot_sql::SqlType::from_arrow(other)
            .map_or_else(|| other.to_string().to_lowercase(), |known| known.sql().to_owned()),
    }
}

/// What a time is cast to, so that its 64 bits are in its order; `None` for what is no time and no number.
fn time_type(data_type: &DataType) -> Option<DataType> {
    Some(match data_type {
        DataType::Timestamp(_, zone) => DataType::Timestamp(TimeUnit::Nanosecond, zone.clone()),
        DataType::Date32 | DataType::Date64 => DataType::Timestamp(TimeUnit::Nanosecond, None),
        other if other.is_integer() => DataType::Int64,
        _ => return None,
    })
}
