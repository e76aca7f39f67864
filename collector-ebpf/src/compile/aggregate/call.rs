//! DataFusion's aggregate calls → what a window keeps for them.

use arrow::datatypes::DataType;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::expr::{AggregateFunction, AggregateFunctionParams};
use datafusion::logical_expr::{Expr, ExprSchemable};
use datafusion::sql::sqlparser::tokenizer::Span;
use probepilot_sql::{SqlError, SqlState};

use super::plan::Function;
use crate::compile::split::Input;
use crate::functions::aggregates;

/// What `GROUP BY` queries on hooks offer, for hints.
const OFFERED: &str = "The aggregates are count, sum, min, max, avg, stddev, stddev_pop, var, var_pop, \
     approx_percentile, approx_top_k and histogram.";

/// A call as we compute it.
#[derive(Clone, Debug)]
pub struct Call {
    /// What it computes.
    pub function: Function,
    /// Of what.
    pub input: Input,
    /// The type of its result.
    pub data_type: DataType,
}

/// Reads a call; `span` and `text` are of the expression it stands in.
pub fn read(call: &AggregateFunction, schema: &DFSchema, span: Span, text: &str) -> Result<Call, SqlError> {
    let AggregateFunction { func, params } = call;
    let AggregateFunctionParams { args, distinct, filter, order_by, null_treatment } = params;
    let name = func.name();
    if !order_by.is_empty() || null_treatment.is_some() {
        return Err(SqlError::unsupported(format!("the order of events has no meaning for {name}")).hint(OFFERED));
    }
    let type_of = |expr: &Expr| {
        expr.get_type(schema).map_err(|error| SqlError::internal("an aggregate's argument has no type", error))
    };
    let function = match (name, distinct) {
        ("count", true) | ("approx_distinct", _) => Function::CountDistinct,
        ("count", false) => Function::Count,
        ("min", _) => Function::Min,
        ("max", _) => Function::Max,
        ("sum", false) => Function::Sum,
        ("avg", false) => Function::Mean,
        ("stddev", false) => Function::Variance { sample: true, root: true },
        ("stddev_pop", false) => Function::Variance { sample: false, root: true },
        ("var" | "var_sample" | "var_samp", false) => Function::Variance { sample: true, root: false },
        ("var_pop", false) => Function::Variance { sample: false, root: false },
        (aggregates::PERCENTILE, false) => Function::Percentile(share(args.get(1))?),
        (aggregates::HISTOGRAM, false) => Function::Histogram,
        (aggregates::TOP_K, false) => Function::TopK(number(args.get(1))?),
        (_, true) => {
            return Err(SqlError::unsupported(format!("{name}(DISTINCT …) is not supported in a query on a hook"))
                .hint("count(DISTINCT …) is."));
        }
        (_, false) => {
            return Err(
                SqlError::unsupported(format!("aggregate {name} is not supported in a query on a hook")).hint(OFFERED)
            );
        }
    };
    let argument = args.first().cloned().unwrap_or_else(|| Expr::Literal(ScalarValue::Int64(Some(1)), None));
    let mut condition = filter.as_deref().cloned();
    let mut value = match function {
        Function::Mean | Function::Variance { .. } => {
            Some(integer_inside(argument, schema, &[DataType::Float64, DataType::Int64]))
        }
        Function::Sum | Function::Percentile(_) | Function::Histogram => {
            Some(integer_inside(argument, schema, &[DataType::Int64]))
        }
        _ => Some(argument),
    };
    if let Some(known) = value.take_if(|_| function == Function::Count) {
        // Only whether there is a value matters. Even one that is never NULL may fail, as a division does.
        let certain = match &known {
            Expr::Column(_) => !known.nullable(schema).unwrap_or(true),
            Expr::Literal(literal, _) => !literal.is_null(),
            _ => false,
        };
        if !certain {
            let is_known = Expr::IsNotNull(Box::new(known));
            condition = Some(match condition {
                Some(condition) => condition.and(is_known),
                None => is_known,
            });
        }
    }
    let data_type = Expr::AggregateFunction(call.clone())
        .get_type(schema)
        .map_err(|error| SqlError::internal("an aggregate has no type", error))?;
    if let Some(value) = &value {
        let value_type = type_of(value)?;
        let computed = match function {
            Function::Sum | Function::Mean | Function::Variance { .. } => {
                matches!(value_type, DataType::Int16 | DataType::Int32 | DataType::Int64 | DataType::Float64)
            }
            _ => true,
        };
        if !computed {
            return Err(SqlError::unsupported(format!("{name} of {value_type} is not supported in a query on a hook"))
                .hint("Cast it to bigint or double precision."));
        }
    }
    let after_kernel = matches!(function, Function::CountDistinct | Function::TopK(_));
    Ok(Call { function, input: Input { value, condition, after_kernel, span, text: text.to_owned() }, data_type })
}

/// The integer that DataFusion casts to one of these types first: we add integers up exactly, whatever their width, and
/// divide at the end.
fn integer_inside(expr: Expr, schema: &DFSchema, types: &[DataType]) -> Expr {
    match expr {
        Expr::Cast(cast) if types.contains(cast.field.data_type()) => {
            let inner = cast.expr.get_type(schema);
            if matches!(inner, Ok(DataType::Int16 | DataType::Int32 | DataType::Int64)) {
                *cast.expr
            } else {
                Expr::Cast(cast)
            }
        }
        other => other,
    }
}

/// The most values that `approx_top_k` names.
const TOP_MOST: i64 = 1_000;

fn number(argument: Option<&Expr>) -> Result<usize, SqlError> {
    let number = match argument {
        Some(Expr::Literal(ScalarValue::Int64(number), _)) => *number,
        _ => None,
    };
    let number =
        number.filter(|number| (1..=TOP_MOST).contains(number)).and_then(|number| usize::try_from(number).ok());
    number.ok_or_else(|| {
        SqlError::new(
            SqlState::INVALID_PARAMETER_VALUE,
            format!("the number of values of {} must be a number from 1 to {TOP_MOST}", aggregates::TOP_K),
        )
        .hint("The ten most frequent values are approx_top_k(value, 10).")
    })
}

fn share(argument: Option<&Expr>) -> Result<f64, SqlError> {
    let share = match argument {
        Some(Expr::Literal(ScalarValue::Float64(share), _)) => *share,
        _ => None,
    };
    share.filter(|share| (0.0..=1.0).contains(share)).ok_or_else(|| {
        SqlError::new(
            SqlState::INVALID_PARAMETER_VALUE,
            format!("the share of {} must be a number from 0 to 1", aggregates::PERCENTILE),
        )
        .hint("The 99th percentile is approx_percentile(value, 0.99).")
    })
}
