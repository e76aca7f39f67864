//! Expressions over a hook's columns → the same over the columns of a window's rows: groups and aggregates.

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column as ColumnName, DFSchema, DataFusionError};
use datafusion::logical_expr::Expr;
use probepilot_sql::{SqlError, SqlState};

use super::call::{self, Call};
use super::grouping::WINDOW;
use crate::compile::names::Scope;
use crate::compile::position;
use crate::compile::split::Planned;

/// The column of a group of GROUP BY.
pub fn group_name(index: usize) -> String {
    format!("#group{index}")
}

/// The column of an aggregate.
pub fn call_name(index: usize) -> String {
    format!("#aggregate{index}")
}

/// Rewrites expressions and collects the aggregates they call.
pub struct Rewrite<'a> {
    scope: &'a Scope<'a>,
    schema: &'a DFSchema,
    groups: Vec<Expr>,
    calls: Vec<(Expr, Call)>,
}

impl<'a> Rewrite<'a> {
    /// For a query with these groups.
    pub fn new(scope: &'a Scope<'a>, schema: &'a DFSchema, groups: Vec<Expr>) -> Rewrite<'a> {
        Rewrite { scope, schema, groups, calls: Vec::new() }
    }

    /// The expression over groups and aggregates; 42803 when it names a column that is neither.
    pub fn over_groups(&mut self, planned: Planned) -> Result<Planned, SqlError> {
        let Planned { expr, span, text } = planned;
        let mut refused = None;
        let rewritten = expr.transform_down(|expr| {
            let column = match self.column(&expr, span, &text) {
                Ok(Some(name)) => name,
                Ok(None) => return Ok(Transformed::no(expr)),
                Err(error) => {
                    refused = Some(error.at(position::of_span(self.scope.text, span)));
                    return Err(DataFusionError::Plan("refused".into()));
                }
            };
            Ok(Transformed::new(Expr::Column(ColumnName::new_unqualified(column)), true, TreeNodeRecursion::Jump))
        });
        match (rewritten, refused) {
            (Ok(rewritten), _) => Ok(Planned { expr: rewritten.data, span, text }),
            (Err(_), Some(error)) => Err(error),
            (Err(error), None) => Err(SqlError::internal("cannot rewrite an expression", error)),
        }
    }

    /// The column that the whole expression is; `None` when its parts must be looked at.
    fn column(
        &mut self,
        expr: &Expr,
        span: datafusion::sql::sqlparser::tokenizer::Span,
        text: &str,
    ) -> Result<Option<String>, SqlError> {
        if let Some(index) = self.groups.iter().position(|group| group == expr) {
            return Ok(Some(group_name(index)));
        }
        match expr {
            Expr::Column(column) if column.name == WINDOW => Ok(Some(WINDOW.to_owned())),
            Expr::Column(column) => Err(SqlError::new(
                SqlState::GROUPING_ERROR,
                format!("column \"{}\" must appear in GROUP BY or be used in an aggregate", column.name),
            )),
            Expr::AggregateFunction(function) => {
                let index = match self.calls.iter().position(|(known, _)| known == expr) {
                    Some(index) => index,
                    None => {
                        if function.params.args.iter().any(aggregates) {
                            return Err(SqlError::new(SqlState::GROUPING_ERROR, "aggregates cannot be nested"));
                        }
                        self.calls.push((expr.clone(), call::read(function, self.schema, span, text)?));
                        self.calls.len() - 1
                    }
                };
                Ok(Some(call_name(index)))
            }
            _ => Ok(None),
        }
    }

    /// The aggregates, in the order of their columns.
    pub fn into_calls(self) -> Vec<Call> {
        self.calls.into_iter().map(|(_, call)| call).collect()
    }
}

fn aggregates(expr: &Expr) -> bool {
    expr.exists(|expr| Ok(matches!(expr, Expr::AggregateFunction(_)))).unwrap_or(false)
}
