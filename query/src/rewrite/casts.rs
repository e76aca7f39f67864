//! Casts that read or check a text, which the planner would only give another type; intervals where it refuses them.

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::expr::{Between, Cast, InList};
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, ScalarUDF};
use datafusion::optimizer::analyzer::AnalyzerRule;
use probepilot_sql::types::TYPE_KEY;

use super::typed::{by_length, each_expression, is_interval};
use crate::functions::json::{self, Kind};
use crate::functions::operators::as_interval;
use crate::functions::types::is_exact;

/// Makes calls of such casts, before types are final. Columns keep their names.
#[derive(Debug)]
pub struct Casts {
    json_in: ScalarUDF,
    jsonb_in: ScalarUDF,
}

impl Default for Casts {
    fn default() -> Casts {
        Casts { json_in: json::json_in(), jsonb_in: json::jsonb_in() }
    }
}

impl AnalyzerRule for Casts {
    fn name(&self) -> &'static str {
        "casts"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        each_expression(plan, |expr, schema| self.in_expr(expr, schema))
    }
}

impl Casts {
    fn in_expr(&self, expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
        match expr {
            Expr::Cast(cast) => self.cast(cast, schema),
            Expr::Between(Between { expr, negated, low, high }) if is_interval(&expr, schema)? => {
                let [low, high] = [low, high].map(|bound| Box::new(as_interval(&bound).unwrap_or(*bound)));
                Ok(Transformed::yes(Expr::Between(Between { expr, negated, low, high })))
            }
            Expr::InList(InList { expr, list, negated }) if is_interval(&expr, schema)? => {
                let list = list.into_iter().map(|element| as_interval(&element).unwrap_or(element)).collect();
                Ok(Transformed::yes(Expr::InList(InList { expr, list, negated })))
            }
            Expr::InList(InList { expr, list, negated })
                if list.iter().any(is_literal) && Kind::of_field(&expr.to_field(schema)?.1) == Some(Kind::Jsonb) =>
            {
                let list = list.into_iter().map(|element| match is_literal(&element) {
                    true => self.jsonb_in.call(vec![element]),
                    false => element,
                });
                Ok(Transformed::yes(Expr::InList(InList { expr, list: list.collect(), negated })))
            }
            Expr::WindowFunction(mut function) => {
                let params = &mut function.params;
                let order = params.order_by.iter_mut().map(|key| &mut key.expr);
                let changed = by_length(params.partition_by.iter_mut().chain(order), schema)?;
                Ok(Transformed::new_transformed(Expr::WindowFunction(function), changed))
            }
            Expr::AggregateFunction(mut function) => {
                let order = function.params.order_by.iter_mut().map(|key| &mut key.expr);
                let changed = by_length(order, schema)?;
                Ok(Transformed::new_transformed(Expr::AggregateFunction(function), changed))
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
            return Ok(Transformed::yes(function.call(vec![*cast.expr])));
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
