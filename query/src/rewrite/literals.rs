//! Literals that are no value of their type are refused where they stand.

use datafusion::sql::sqlparser::ast::{DataType, Expr, TypedString, Value, ValueWithSpan};
use probepilot_sql::{SqlError, position};

use crate::functions::json;

/// Checks a literal with a type; what depends on the session is left to the run.
pub(super) fn check(expr: &Expr, text: &str) -> Result<(), SqlError> {
    let (literal, data_type) = match expr {
        Expr::Cast { expr, data_type, .. } => match expr.as_ref() {
            Expr::Value(literal) => (literal, data_type),
            _ => return Ok(()),
        },
        Expr::TypedString(TypedString { value, data_type, .. }) => (value, data_type),
        _ => return Ok(()),
    };
    let ValueWithSpan { value: Value::SingleQuotedString(written) | Value::EscapedStringLiteral(written), span } =
        literal
    else {
        return Ok(());
    };
    let checked = match data_type {
        DataType::JSON => json::check(written),
        DataType::JSONB => json::normal(written).map(|_| ()),
        _ => Ok(()),
    };
    checked.map_err(|error| error.at(position::of_span(text, *span)))
}
