//! JSON: values are texts, and are read where an operator or a function asks for them.

mod aggregates; // json_agg, json_object_agg.
mod build; // to_json, json_build_array, json_build_object, json_pretty.
mod look; // What -> ->> #> #>> @> ? and their functions find.
mod write; // A value as PostgreSQL prints jsonb.

use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::logical_expr::{AggregateUDF, ScalarUDF};
use probepilot_sql::{SqlError, SqlState};
use serde_json::Value;

use super::by_row::text;

pub(super) use look::operator;

/// Functions over a value.
pub(super) fn all() -> Vec<ScalarUDF> {
    [look::all(), build::all()].into_iter().flatten().collect()
}

/// Functions over many.
pub(super) fn aggregates() -> Vec<AggregateUDF> {
    aggregates::all()
}

/// Reads a value.
fn read(value: &ScalarValue) -> Result<Value> {
    let Some(text) = text(value) else {
        let message = format!("cannot read {} as json", super::aggregates::sql_name(&value.data_type()));
        return Err(refused(SqlState::INVALID_TEXT_REPRESENTATION, message));
    };
    serde_json::from_str(text).map_err(|error| {
        let told = SqlError::new(SqlState::INVALID_TEXT_REPRESENTATION, "invalid input syntax for type json");
        DataFusionError::External(Box::new(told.detail(format!("{error}."))))
    })
}

fn refused(state: SqlState, message: impl Into<String>) -> DataFusionError {
    DataFusionError::External(Box::new(SqlError::new(state, message)))
}
