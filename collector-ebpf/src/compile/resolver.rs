//! Names in expressions: paths of arrows, dots, elements and casts become parts, and each is replaced by its column's name.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    AccessExpr, BinaryOperator, CastKind, DataType, Expr, Ident, Query, Spanned, Subscript, Value, VisitMut, VisitorMut,
};
use datafusion::sql::sqlparser::tokenizer::Span;
use probepilot_sql::names::folded;
use probepilot_sql::{SqlError, SqlState};

use super::marks::Mark;
use super::names::{Scope, Side, TASK_COLUMNS, is_visible};
use super::position;
use crate::kernel::nearest;

/// How the part of a path begins that says what the pointer before it points to.
const CAST: &str = "::";

/// Replaces every name in the expression by its column's.
pub fn resolve(scope: &mut Scope<'_>, expression: &mut Expr) -> Result<(), SqlError> {
    match expression.visit(&mut Resolver { scope }) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(*error),
    }
}

impl Scope<'_> {
    /// A name that no column has.
    pub(super) fn unknown(&self, side: Side, name: &str, span: Span) -> SqlError {
        let hook = self.hook(side);
        let error = SqlError::new(SqlState::UNDEFINED_COLUMN, format!("column \"{name}\" does not exist in {hook}"))
            .at(position::of_span(self.text, span));
        let names = TASK_COLUMNS
            .iter()
            .map(|column| column.name)
            .filter(|name| is_visible(name))
            .chain(Mark::ALL.map(Mark::name))
            .chain(hook.fields.iter().map(|field| field.name.as_str()));
        let near = nearest(name, names);
        if near.is_empty() {
            error.hint(hook.listing())
        } else {
            error.hint(format!("Perhaps you meant {}.", near.join(" or ")))
        }
    }
}

struct Resolver<'s, 'a> {
    scope: &'s mut Scope<'a>,
}

impl Resolver<'_, '_> {
    fn replace(&mut self, expression: &mut Expr, parts: &[Ident]) -> ControlFlow<Box<SqlError>> {
        let span = expression.span();
        let names: Vec<String> = parts.iter().map(folded).collect();
        match self.scope.column(&names, span) {
            Ok(name) => {
                *expression = Expr::Identifier(Ident::with_quote_and_span('"', span, name));
                ControlFlow::Continue(())
            }
            Err(error) => ControlFlow::Break(Box::new(error)),
        }
    }
}

impl VisitorMut for Resolver<'_, '_> {
    type Break = Box<SqlError>;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Self::Break> {
        ControlFlow::Break(Box::new(
            SqlError::unsupported("a subquery is not supported in a query on a hook")
                .at(position::of_span(self.scope.text, query.span())),
        ))
    }

    fn post_visit_expr(&mut self, expression: &mut Expr) -> ControlFlow<Self::Break> {
        match expression {
            Expr::Identifier(name) => {
                let name = name.clone();
                self.replace(expression, &[name])
            }
            Expr::CompoundIdentifier(parts) => {
                let parts = parts.clone();
                self.replace(expression, &parts)
            }
            _ => ControlFlow::Continue(()),
        }
    }

    fn pre_visit_expr(&mut self, expression: &mut Expr) -> ControlFlow<Self::Break> {
        // `task->real_parent->tgid` is `task.real_parent.tgid`; made so before its parts are looked up.
        let is_path =
            matches!(expression, Expr::BinaryOp { op: BinaryOperator::Arrow, .. } | Expr::CompoundFieldAccess { .. });
        match path(expression).filter(|_| is_path) {
            Some(parts) => *expression = Expr::CompoundIdentifier(parts),
            None if matches!(expression, Expr::CompoundFieldAccess { .. }) => {
                return ControlFlow::Break(Box::new(
                    SqlError::unsupported(
                        "only an element of a hook's column by its number, counted from 1, can be taken",
                    )
                    .at(position::of_span(self.scope.text, expression.span())),
                ));
            }
            None => {}
        }
        ControlFlow::Continue(())
    }
}

/// The names of a chain of arrows and dots; an element's number, the last of them, in brackets.
fn path(expression: &Expr) -> Option<Vec<Ident>> {
    match expression {
        Expr::Identifier(name) => Some(vec![name.clone()]),
        Expr::CompoundIdentifier(names) => Some(names.clone()),
        Expr::BinaryOp { left, op: BinaryOperator::Arrow, right } => {
            let mut parts = path(left)?;
            parts.extend(path(right)?);
            Some(parts)
        }
        Expr::CompoundFieldAccess { root, access_chain } => {
            let mut parts = path(root)?;
            for access in access_chain {
                match access {
                    AccessExpr::Dot(member) => parts.extend(path(member)?),
                    AccessExpr::Subscript(Subscript::Index { index: Expr::Value(value) }) => {
                        let Value::Number(number, _) = &value.value else { return None };
                        parts.push(Ident::with_quote_and_span('"', value.span, format!("[{number}]")));
                    }
                    AccessExpr::Subscript(_) => return None,
                }
            }
            Some(parts)
        }
        Expr::Nested(inner) => match &**inner {
            // `(sk::tcp_sock).bytes_sent`
            Expr::Cast { kind: CastKind::DoubleColon, expr, data_type: DataType::Custom(name, modifiers), .. }
                if modifiers.is_empty() =>
            {
                let [name] = name.0.as_slice() else { return None };
                let name = name.as_ident()?;
                let mut parts = path(expr)?;
                parts.push(Ident::with_quote_and_span('"', name.span, format!("{CAST}{}", folded(name))));
                Some(parts)
            }
            inner => path(inner),
        },
        _ => None,
    }
}

/// What a path's part says that the pointer before it points to.
pub fn cast_to(part: &str) -> Option<&str> {
    part.strip_prefix(CAST)
}

/// The number in brackets of a path's part that is an element.
pub fn element_number(part: &str) -> Option<u64> {
    part.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
}
