//! Literals of unknown type beside an array are arrays, as in PostgreSQL: `roles = '{0}'`.

use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{Expr, ExprSchemable};

/// Reads text literals as arrays where the other side is one.
#[derive(Debug)]
pub(crate) struct ArrayLiterals;

impl ExprPlanner for ArrayLiterals {
    fn plan_binary_op(&self, mut expr: RawBinaryExpr, schema: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
        let (left, right) = (as_array(&expr.left, &expr.right, schema)?, as_array(&expr.right, &expr.left, schema)?);
        if let Some(left) = left {
            expr.left = left;
        }
        if let Some(right) = right {
            expr.right = right;
        }
        Ok(PlannerResult::Original(expr))
    }
}

fn as_array(literal: &Expr, other: &Expr, schema: &DFSchema) -> Result<Option<Expr>> {
    let Expr::Literal(ScalarValue::Utf8(Some(text)), _) = literal else { return Ok(None) };
    let Ok(data_type @ arrow::datatypes::DataType::List(_)) = other.get_type(schema) else { return Ok(None) };
    let Some(elements) = super::array_elements(text) else { return Ok(None) };
    let elements: Vec<ScalarValue> = elements.into_iter().map(ScalarValue::Utf8).collect();
    let list = ScalarValue::new_list_nullable(&elements, &arrow::datatypes::DataType::Utf8);
    Ok(Some(Expr::Literal(ScalarValue::List(list).cast_to(&data_type)?, None)))
}
