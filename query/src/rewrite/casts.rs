//! Casts that read or check a text: what the planner would only give another type.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::expr::{Cast, InList, ScalarFunction};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, ScalarUDF};
use datafusion::optimizer::analyzer::AnalyzerRule;
use probepilot_sql::types::TYPE_KEY;

use crate::functions::json::{self, Kind};
use crate::functions::types::is_exact;

/// Makes calls of such casts. Columns keep their names.
#[derive(Debug)]
pub struct Casts {
    json_in: Arc<ScalarUDF>,
    jsonb_in: Arc<ScalarUDF>,
}

impl Default for Casts {
    fn default() -> Casts {
        Casts { json_in: Arc::new(json::json_in()), jsonb_in: Arc::new(json::jsonb_in()) }
    }
}

impl AnalyzerRule for Casts {
    fn name(&self) -> &'static str {
        "casts"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        Ok(plan.transform_up_with_subqueries(|plan| self.in_plan(plan))?.data)
    }
}

impl Casts {
    fn in_plan(&self, plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
        let mut schema = merge_schema(&plan.inputs());
        if let LogicalPlan::TableScan(scan) = &plan {
            schema.merge(&DFSchema::try_from_qualified_schema(scan.table_name.clone(), &scan.source.schema())?);
        }
        let names = NamePreserver::new(&plan);
        let changed = plan.map_expressions(|expr| {
            let name = names.save(&expr);
            let changed = expr.transform_up(|expr| self.in_expr(expr, &schema))?;
            Ok(if changed.transformed { changed.update_data(|expr| name.restore(expr)) } else { changed })
        })?;
        if changed.transformed { changed.map_data(LogicalPlan::recompute_schema) } else { Ok(changed) }
    }

    fn in_expr(&self, expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
        match expr {
            Expr::Cast(cast) => self.cast(cast, schema),
            Expr::InList(InList { expr, list, negated })
                if list.iter().any(is_literal) && Kind::of_field(&expr.to_field(schema)?.1) == Some(Kind::Jsonb) =>
            {
                let list = list.into_iter().map(|element| match is_literal(&element) {
                    true => call(&self.jsonb_in, element),
                    false => element,
                });
                Ok(Transformed::yes(Expr::InList(InList { expr, list: list.collect(), negated })))
            }
            other => Ok(Transformed::no(other)),
        }
    }

    fn cast(&self, cast: Cast, schema: &DFSchema) -> Result<Transformed<Expr>> {
        if let Some(kind) = Kind::of_field(&cast.field) {
            let function = match kind {
                Kind::Json => &self.json_in,
                Kind::Jsonb => &self.jsonb_in,
            };
            return Ok(Transformed::yes(call(function, *cast.expr)));
        }
        // Where no type has to be forgotten a plain cast is one that filters and files know.
        if is_exact(&cast.field) && !cast.expr.to_field(schema)?.1.metadata().contains_key(TYPE_KEY) {
            let plain = Cast::new(cast.expr, cast.field.data_type().clone());
            return Ok(Transformed::yes(Expr::Cast(plain)));
        }
        Ok(Transformed::no(Expr::Cast(cast)))
    }
}

fn is_literal(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(ScalarValue::Utf8(_) | ScalarValue::Utf8View(_), None))
}

fn call(function: &Arc<ScalarUDF>, argument: Expr) -> Expr {
    Expr::ScalarFunction(ScalarFunction::new_udf(Arc::clone(function), vec![argument]))
}
