//! ON: equalities between the two sides are the key; conditions on one side say which of its events take part.

use std::ops::ControlFlow;

use datafusion::logical_expr::{BinaryExpr, Expr, Operator};
use datafusion::sql::sqlparser::ast::{self, Spanned, visit_expressions};
use datafusion::sql::sqlparser::tokenizer::Span;
use probepilot_sql::{SqlError, SqlState};

use crate::compile::assemble::Width;
use crate::compile::bind::Binder;
use crate::compile::clauses::JoinClause;
use crate::compile::expression::{Bits, Expression, Kind, Node};
use crate::compile::leaf::Leaf;
use crate::compile::lower::Lowering;
use crate::compile::names::{Column, Content, Scope, Side};
use crate::compile::split::Planned;
use crate::compile::{NamedConjunct, bind_filter, position};

/// An equality of ON.
#[derive(Clone, Debug)]
pub struct Key {
    /// Over the start's columns.
    pub start: Expr,
    /// Over the end's columns.
    pub end: Expr,
    /// What the user wrote.
    pub text: String,
    span: Span,
}

impl Key {
    /// One side for the kernel.
    ///
    /// # Errors
    /// 0A000 when the kernel cannot compute it.
    pub fn lower(&self, lowering: &mut Lowering<'_>, side: Side, scope: &Scope<'_>) -> Result<Expression, SqlError> {
        let expr = match side {
            Side::Start => &self.start,
            Side::End => &self.end,
        };
        if let Some(pointer) = pointer(expr, scope) {
            let leaf = lowering.leaf(pointer);
            return Ok(Expression { kind: Kind::Integer(Bits::B64), node: Node::Leaf(leaf) });
        }
        lowering.lower(expr).ok_or_else(|| {
            SqlError::unsupported(format!("the kernel cannot compare {}", self.text))
                .hint("Hooks are joined on integers, booleans and pointers.")
                .at(position::of_span(scope.text, self.span))
        })
    }
}

/// The address that a column is.
fn pointer(expr: &Expr, scope: &Scope<'_>) -> Option<Leaf> {
    let Expr::Column(name) = expr else { return None };
    let column = scope.columns.iter().find(|column| column.name == name.name)?;
    let Content::Pointer(place, _) = &column.content else { return None };
    let leaf = Leaf::Number { place: place.clone(), width: Width::Eight, signed: false, bits: None };
    Some(leaf.of(column.side))
}

/// What ON says.
#[derive(Debug, Default)]
pub struct Joined {
    /// The key; of a join it has at least one part.
    pub keys: Vec<Key>,
    /// Which events begin a pair.
    pub start: Vec<Planned>,
    /// Which events end one: any other leaves what waits alone.
    pub end: Vec<Planned>,
}

enum Condition {
    Key(Key),
    Of(Side, Planned),
}

/// Binds the conditions of ON.
///
/// # Errors
/// 0A000 for a condition on both sides that is no equality, for a join without a key, and for a key that is NULL at one
/// of the hooks.
pub fn bind(join: &JoinClause, binder: &Binder, scope: &mut Scope<'_>) -> Result<Joined, SqlError> {
    scope.check_labels(join.span)?;
    let mut joined = Joined::default();
    for condition in &join.conditions {
        match bind_one(condition, binder, scope)? {
            Condition::Key(key) => joined.keys.push(key),
            Condition::Of(Side::Start, planned) => joined.start.push(planned),
            Condition::Of(Side::End, planned) => joined.end.push(planned),
        }
    }
    if joined.keys.is_empty() {
        return Err(SqlError::unsupported("hooks can be joined on an equality between the two only")
            .hint("Say which values tell that two events belong together, for instance ON e.tid = x.tid.")
            .at(position::of_span(scope.text, join.span)));
    }
    Ok(joined)
}

fn bind_one(condition: &ast::Expr, binder: &Binder, scope: &mut Scope<'_>) -> Result<Condition, SqlError> {
    let (span, text) = (condition.span(), condition.to_string());
    let at = position::of_span(scope.text, span);
    let refused = || {
        SqlError::unsupported("hooks can be joined on equalities between the two only")
            .hint("Conditions on one of them may stand beside them; put every other one into WHERE.")
            .at(at)
    };
    let mut expression = condition.clone();
    binder.check(&expression, scope.text)?;
    scope.resolve(&mut expression)?;
    let mut named = Vec::new();
    let _: ControlFlow<()> = visit_expressions(&expression, |expression| {
        if let ast::Expr::Identifier(name) = expression {
            named.push(name.value.clone());
        }
        ControlFlow::Continue(())
    });
    let unknown = |column: &&Column| matches!(column.content, Content::Unknown) && named.contains(&column.name);
    if let Some(column) = scope.columns.iter().find(unknown) {
        return Err(SqlError::new(
            SqlState::FEATURE_NOT_SUPPORTED,
            format!("nothing pairs on column \"{}\": it is NULL in {}", column.name, scope.hook(column.side)),
        )
        .hint("The current task is a bystander there; join on a field of the event.")
        .at(at));
    }
    let conjunct = NamedConjunct { expression, span, text: text.clone() };
    let Some(planned) = bind_filter(vec![conjunct], binder, scope)?.pop() else { return Err(refused()) };
    if let Some(side) = super::side_of(&planned.expr, scope) {
        return Ok(Condition::Of(side, planned));
    }
    let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) = planned.expr else { return Err(refused()) };
    let (start, end) = match (super::side_of(&left, scope), super::side_of(&right, scope)) {
        (Some(Side::Start), Some(Side::End)) => (*left, *right),
        (Some(Side::End), Some(Side::Start)) => (*right, *left),
        _ => return Err(refused()),
    };
    Ok(Condition::Key(Key { start, end, text, span }))
}
