//! The types of a query's parameters (`$1`): what they are compared with or cast to says them.
//!
//! The query is compiled with an example in each parameter's place, for the columns of its rows do not depend on values.
//! To run, it is compiled again with the values as literals; see [`probepilot_sql::parameters`].

use std::sync::Arc;

use arrow::datatypes::{DataType, IntervalMonthDayNano};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, DataFusionError, ScalarValue};
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::expr::Placeholder;
use datafusion::sql::sqlparser::ast::{self, LimitClause};
use parking_lot::Mutex;
use probepilot_sql::SqlError;
use probepilot_sql::parameters::{highest, number};
use probepilot_sql::statement::ProbeQuery;

use super::sink::Sink;
use super::{CompileOptions, CompiledProbe, compile, compile_into};
use crate::functions::ProcessFacts;
use crate::kernel::Kernel;

/// A query whose parameters have no values yet.
#[derive(Debug)]
pub struct Described {
    /// The query with examples in their places: good for its columns, not to be run.
    pub example: CompiledProbe,
    /// Their types, from `$1` on.
    pub parameters: Vec<DataType>,
}

/// Compiles a query for the types of its parameters. `given` are those that somebody says; the others follow from what the
/// parameter is compared with or cast to, and are text where nothing tells.
///
/// # Errors
/// As [`compile`]; 42P02 for a placeholder that is no parameter.
pub fn describe(
    query: &ProbeQuery,
    kernel: &Kernel,
    facts: &Arc<dyn ProcessFacts>,
    options: &CompileOptions,
    given: &[Option<DataType>],
) -> Result<Described, SqlError> {
    let count = highest(&query.query, &query.text)?;
    if count == 0 {
        let parameters = given.iter().map(|given| given.clone().unwrap_or(DataType::Utf8)).collect();
        return Ok(Described { example: compile(query, kernel, facts, options)?, parameters });
    }
    let mut types: Vec<Option<DataType>> = given.to_vec();
    types.resize(count.max(given.len()), None);
    let query = with_limit(query, &mut types);
    let parameters = Arc::new(Parameters(Mutex::new(types)));
    let example = compile_into(Sink::Ring, Some(Arc::clone(&parameters)), &query, kernel, facts, options)?;
    let types = parameters.0.lock().iter().map(|known| known.clone().unwrap_or(DataType::Utf8)).collect();
    Ok(Described { example, parameters: types })
}

/// A limit is a number that is written: where a parameter stands for it, it becomes one.
fn with_limit(query: &ProbeQuery, types: &mut [Option<DataType>]) -> ProbeQuery {
    let mut query = query.clone();
    if let Some(LimitClause::LimitOffset { limit: Some(ast::Expr::Value(limit)), .. }) = &mut query.query.limit_clause
        && let ast::Value::Placeholder(name) = &limit.value
        && let Some(known) = number(name).and_then(|number| types.get_mut(number - 1))
    {
        known.get_or_insert(DataType::Int64);
        limit.value = ast::Value::Number("1".to_owned(), false);
    }
    query
}

/// The types as far as they are known.
#[derive(Debug)]
pub struct Parameters(Mutex<Vec<Option<DataType>>>);

impl Parameters {
    /// Learns the types of the expression's parameters, and puts examples in their places.
    pub fn infer(&self, expression: Expr, schema: &DFSchema) -> Result<Expr, DataFusionError> {
        let (expression, has_any) = expression.infer_placeholder_types(schema)?;
        if !has_any {
            return Ok(expression);
        }
        // `$1::bigint` says what `$1` is.
        expression.apply(|inner| {
            if let Expr::Cast(cast) = inner
                && let Expr::Placeholder(placeholder) = cast.expr.as_ref()
            {
                self.learn(placeholder, Some(cast.field.data_type()));
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        let replaced = expression.transform_up(|inner| match inner {
            Expr::Placeholder(placeholder) => {
                let found = placeholder.field.as_ref().map(|field| field.data_type().clone());
                let example = example(&self.learn(&placeholder, found.as_ref()))?;
                Ok(Transformed::yes(Expr::Literal(example, None)))
            }
            other => Ok(Transformed::no(other)),
        })?;
        Ok(replaced.data)
    }

    /// The first who knows the type says it; text until then.
    fn learn(&self, placeholder: &Placeholder, found: Option<&DataType>) -> DataType {
        let mut types = self.0.lock();
        let known = number(&placeholder.id).and_then(|number| types.get_mut(number - 1));
        let Some(known) = known else { return DataType::Utf8 };
        if known.is_none() {
            *known = found.cloned();
        }
        known.clone().unwrap_or(DataType::Utf8)
    }
}

/// A value of the type: numbers and spans of time that fit where one must be written, NULL otherwise.
fn example(data_type: &DataType) -> Result<ScalarValue, DataFusionError> {
    match data_type {
        DataType::Int16 | DataType::Int32 | DataType::Int64 => ScalarValue::Int64(Some(1)).cast_to(data_type),
        DataType::Interval(_) => {
            let second = IntervalMonthDayNano::new(0, 0, 1_000_000_000);
            ScalarValue::IntervalMonthDayNano(Some(second)).cast_to(data_type)
        }
        other => ScalarValue::try_from(other),
    }
}
