//! Which function an operator on JSON is.

use std::sync::{Arc, LazyLock};

use arrow::datatypes::DataType;
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::{Expr, ExprSchemable, ScalarUDF};
use datafusion::sql::sqlparser::ast::BinaryOperator;
use probepilot_sql::types::TYPE_KEY;
use probepilot_sql::{SqlError, SqlState};

use super::{Kind, compare, edit, external, look};
use crate::functions::aggregates::sql_name;

/// What stands at a side of an operator.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Operand {
    Of(Kind),
    /// A literal that has no type yet.
    Unknown,
    /// A text, which may be JSON whose type was lost on the way.
    Text,
    Integer,
    Array,
    Other,
}

fn operand(expr: &Expr, schema: &DFSchema) -> Result<Operand> {
    let (_, field) = expr.to_field(schema)?;
    if let Some(kind) = Kind::of_field(&field) {
        return Ok(Operand::Of(kind));
    }
    Ok(match field.data_type() {
        DataType::Null => Operand::Unknown,
        DataType::Utf8 if matches!(expr, Expr::Literal(..)) => Operand::Unknown,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View if !field.metadata().contains_key(TYPE_KEY) => {
            Operand::Text
        }
        DataType::List(_) => Operand::Array,
        integer if integer.is_integer() => Operand::Integer,
        _ => Operand::Other,
    })
}

/// The function that an operator on JSON is, and its arguments; `None` where the operator is of other values.
pub(in crate::functions) fn operator(
    op: &BinaryOperator,
    left: &Expr,
    right: &Expr,
    schema: &DFSchema,
) -> Result<Option<Arc<ScalarUDF>>> {
    use BinaryOperator as Op;
    use Operand::{Array, Integer, Of, Text, Unknown};
    const JSON: Operand = Of(Kind::Json);
    const JSONB: Operand = Of(Kind::Jsonb);
    let name = match op {
        Op::Arrow => "json_get",
        Op::LongArrow => "json_get_text",
        Op::HashArrow => "json_get_path",
        Op::HashLongArrow => "json_get_path_text",
        Op::AtArrow => "jsonb_contains",
        Op::ArrowAt => "jsonb_contained",
        Op::Question => "jsonb_exists",
        Op::QuestionPipe => "jsonb_exists_any",
        Op::QuestionAnd => "jsonb_exists_all",
        Op::HashMinus => "jsonb_delete_path",
        Op::Minus => "jsonb_delete",
        Op::StringConcat => "jsonb_concat",
        Op::Eq => "jsonb_eq",
        Op::NotEq => "jsonb_ne",
        Op::Lt => "jsonb_lt",
        Op::LtEq => "jsonb_le",
        Op::Gt => "jsonb_gt",
        Op::GtEq => "jsonb_ge",
        _ => return Ok(None),
    };
    let (left_is, right_is) = (operand(left, schema)?, operand(right, schema)?);
    let one_is = |operand| left_is == operand || right_is == operand;
    let is = match op {
        Op::Arrow | Op::LongArrow | Op::HashArrow | Op::HashLongArrow => matches!(left_is, Of(_) | Text | Unknown),
        Op::AtArrow | Op::ArrowAt | Op::Question | Op::QuestionPipe | Op::QuestionAnd | Op::HashMinus => {
            !one_is(JSON) && (matches!(left_is, JSONB | Text | Unknown) && right_is != Operand::Other)
        }
        Op::Minus => left_is == JSONB && matches!(right_is, Unknown | Text | Integer | Array),
        Op::StringConcat => {
            matches!((left_is, right_is), (JSONB, JSONB | Unknown) | (Unknown, JSONB))
        }
        _ => !one_is(JSON) && matches!((left_is, right_is), (JSONB, JSONB | Unknown | Text) | (Unknown | Text, JSONB)),
    };
    if is {
        return Ok(functions().iter().find(|function| function.name() == name).cloned());
    }
    // JSON is text for the planner, which would take it for one.
    let as_text =
        *op == Op::StringConcat && (one_is(Text) || left_is == JSON && right_is == Unknown || left_is == Unknown);
    if (matches!(left_is, Of(_)) || matches!(right_is, Of(_))) && !as_text {
        return Err(no_such(op, left, right, schema)?);
    }
    Ok(None)
}

/// The functions that operators are.
fn functions() -> &'static [Arc<ScalarUDF>] {
    static FUNCTIONS: LazyLock<Vec<Arc<ScalarUDF>>> =
        LazyLock::new(|| [look::all(), edit::all(), compare::all()].into_iter().flatten().map(Arc::new).collect());
    &FUNCTIONS
}

fn no_such(
    op: &BinaryOperator,
    left: &Expr,
    right: &Expr,
    schema: &DFSchema,
) -> Result<datafusion::common::DataFusionError> {
    let name = |expr: &Expr| -> Result<String> {
        let (_, field) = expr.to_field(schema)?;
        if operand(expr, schema)? == Operand::Unknown {
            return Ok("unknown".to_owned());
        }
        Ok(field.metadata().get(TYPE_KEY).cloned().unwrap_or_else(|| sql_name(field.data_type())))
    };
    let message = format!("operator does not exist: {} {op} {}", name(left)?, name(right)?);
    let hint = "No operator matches the given name and argument types. You might need to add explicit type casts.";
    Ok(external(SqlError::new(SqlState::UNDEFINED_FUNCTION, message).hint(hint)))
}
