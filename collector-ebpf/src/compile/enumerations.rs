//! Enumerations: text to the user, numbers to the kernel.
//!
//! A column whose type is an enumeration is text to the planner. Here it becomes the text of a number column, and what
//! compares it with names or numbers becomes a comparison of numbers, which the kernel can do. Runs before types are
//! coerced, so that a number beside the column is still seen as the user wrote it.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column as ColumnName, DFSchema, DataFusionError, ScalarValue};
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::{Between, BinaryExpr, Case, Cast, Expr, ExprSchemable, Operator};
use probepilot_sql::{SqlError, SqlState};

use super::lower::text_literal;
use super::names::{Content, Scope};
use super::position;
use crate::functions::enumeration::{LABEL, Names, number_of, text_of};
use crate::kernel::nearest;

/// Replaces the columns of enumerations in an expression.
///
/// # Errors
/// 22P02 with the nearest names when a column is compared with a text that is none of its values.
pub fn replace(expr: Expr, scope: &Scope<'_>, schema: &DFSchema) -> Result<Expr, SqlError> {
    let pass = Pass { scope, schema };
    let mut refused = None;
    let replaced = expr.transform_up(|expr| {
        pass.node(expr).map_err(|error| {
            refused = Some(error);
            DataFusionError::Plan("refused".into())
        })
    });
    match (replaced, refused) {
        (Ok(replaced), _) => Ok(replaced.data),
        (Err(_), Some(error)) => Err(error),
        (Err(error), None) => Err(SqlError::internal("cannot replace an enumeration", error)),
    }
}

struct Pass<'a> {
    scope: &'a Scope<'a>,
    schema: &'a DFSchema,
}

impl Pass<'_> {
    /// What becomes of a node whose children are replaced already.
    fn node(&self, expr: Expr) -> Result<Transformed<Expr>, SqlError> {
        let replaced = match &expr {
            Expr::Column(column) => self.column(&column.name),
            Expr::ScalarFunction(function) if function.name() == LABEL => {
                function.args.first().map(|argument| self.label(argument)).transpose()?
            }
            Expr::BinaryExpr(binary) => self.binary(binary)?,
            Expr::InList(list) => self.in_list(list)?,
            Expr::Between(between) => self.between(between),
            Expr::Case(case) => self.case(case)?,
            Expr::IsNull(inner) => number_of(inner).map(|(number, _)| number.clone().is_null()),
            Expr::IsNotNull(inner) => number_of(inner).map(|(number, _)| number.clone().is_not_null()),
            Expr::Cast(cast) if cast.field.data_type().is_integer() => number_of(&cast.expr)
                .map(|(number, _)| Expr::Cast(Cast { expr: Box::new(number.clone()), ..cast.clone() })),
            _ => None,
        };
        Ok(match replaced {
            Some(replaced) => Transformed::yes(replaced),
            None => Transformed::no(expr),
        })
    }

    fn column(&self, name: &str) -> Option<Expr> {
        let column = self.scope.columns.iter().find(|column| column.name == name)?;
        let Content::Enumeration { number } = &column.content else { return None };
        let number = Expr::Column(ColumnName::new_unqualified(number.clone()));
        Some(text_of(number, Arc::clone(column.labels.as_ref()?)))
    }

    /// `label(column)`: the text of an integer whose numbers the kernel has names for.
    fn label(&self, argument: &Expr) -> Result<Expr, SqlError> {
        if number_of(argument).is_some() {
            return Ok(argument.clone());
        }
        let Expr::Column(name) = argument else {
            return Err(SqlError::unsupported(format!("{LABEL} takes a column of a hook")));
        };
        let column = self.scope.columns.iter().find(|column| column.name == name.name);
        match column.map(|column| (column, &column.labels)) {
            Some((_, Some(labels))) => Ok(text_of(argument.clone(), Arc::clone(labels))),
            Some((column, None)) => Err(SqlError::new(
                SqlState::WRONG_OBJECT_TYPE,
                format!("the kernel has no names for the values of column \"{}\"", column.name),
            )
            .at(position::of_span(self.scope.text, column.span))),
            None => Err(SqlError::internal("a column got lost while planning", name.name.clone())),
        }
    }

    fn binary(&self, binary: &BinaryExpr) -> Result<Option<Expr>, SqlError> {
        let BinaryExpr { left, op, right } = binary;
        let equality =
            matches!(op, Operator::Eq | Operator::NotEq | Operator::IsDistinctFrom | Operator::IsNotDistinctFrom);
        let numeric = equality
            || matches!(op, Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq)
            || matches!(
                op,
                Operator::Plus | Operator::Minus | Operator::Multiply | Operator::Divide | Operator::Modulo
            )
            || matches!(op, Operator::BitwiseAnd | Operator::BitwiseOr | Operator::BitwiseXor)
            || matches!(op, Operator::BitwiseShiftLeft | Operator::BitwiseShiftRight);
        let sides = match (number_of(left), number_of(right)) {
            (Some((one, names)), Some((other, others))) if equality && names == others => (one.clone(), other.clone()),
            (Some((number, names)), None) => match self.other(right, names, equality, numeric)? {
                Some(other) => (number.clone(), other),
                None => return Ok(None),
            },
            (None, Some((number, names))) => match self.other(left, names, equality, numeric)? {
                Some(other) => (other, number.clone()),
                None => return Ok(None),
            },
            _ => return Ok(None),
        };
        Ok(Some(Expr::BinaryExpr(BinaryExpr::new(Box::new(sides.0), *op, Box::new(sides.1)))))
    }

    /// What stands beside an enumeration, as the number to compare it with; `None` when it is a text like any other.
    fn other(&self, other: &Expr, names: &Names, equality: bool, numeric: bool) -> Result<Option<Expr>, SqlError> {
        match text_literal(other) {
            Some(text) if equality => self.value(text, names).map(Some),
            _ if numeric && self.is_integer(other) => Ok(Some(other.clone())),
            _ => Ok(None),
        }
    }

    fn in_list(&self, list: &InList) -> Result<Option<Expr>, SqlError> {
        let Some((number, names)) = number_of(&list.expr) else { return Ok(None) };
        let Some(items) = self.values(&list.list, names)? else { return Ok(None) };
        Ok(Some(number.clone().in_list(items, list.negated)))
    }

    fn between(&self, between: &Between) -> Option<Expr> {
        let (number, _) = number_of(&between.expr)?;
        let numbers = self.is_integer(&between.low) && self.is_integer(&between.high);
        let of_number = Between { expr: Box::new(number.clone()), ..between.clone() };
        numbers.then_some(Expr::Between(of_number))
    }

    fn case(&self, case: &Case) -> Result<Option<Expr>, SqlError> {
        let Some((number, names)) = case.expr.as_deref().and_then(number_of) else { return Ok(None) };
        let whens: Vec<Expr> = case.when_then_expr.iter().map(|(when, _)| when.as_ref().clone()).collect();
        let Some(whens) = self.values(&whens, names)? else { return Ok(None) };
        let branches =
            whens.into_iter().zip(&case.when_then_expr).map(|(when, (_, then))| (Box::new(when), then.clone()));
        let otherwise = case.else_expr.clone();
        Ok(Some(Expr::Case(Case::new(Some(Box::new(number.clone())), branches.collect(), otherwise))))
    }

    /// The numbers that all items mean; `None` when one of them is no name and no number.
    fn values(&self, items: &[Expr], names: &Names) -> Result<Option<Vec<Expr>>, SqlError> {
        let mut values = Vec::with_capacity(items.len());
        for item in items {
            match item {
                Expr::Literal(value, _) if value.is_null() => {
                    values.push(Expr::Literal(ScalarValue::Int64(None), None));
                }
                item => match self.other(item, names, true, true)? {
                    Some(value) => values.push(value),
                    None => return Ok(None),
                },
            }
        }
        Ok(Some(values))
    }

    fn is_integer(&self, expr: &Expr) -> bool {
        expr.get_type(self.schema).is_ok_and(|data_type| data_type.is_integer())
    }

    fn value(&self, text: &str, names: &Names) -> Result<Expr, SqlError> {
        if let Some(value) = names.value(text) {
            return Ok(Expr::Literal(ScalarValue::Int64(Some(value)), None));
        }
        let column = self.scope.columns.iter().find(|column| column.labels.as_deref() == Some(names));
        let (name, span) = column.map(|column| (column.name.as_str(), column.span)).unzip();
        let error = SqlError::new(
            SqlState::INVALID_TEXT_REPRESENTATION,
            format!("\"{text}\" is no value of column \"{}\"", name.unwrap_or_default()),
        )
        .at(span.and_then(|span| position::of_span(self.scope.text, span)));
        let near = nearest(text, names.all());
        Err(if near.is_empty() {
            let some: Vec<&str> = names.all().take(NAMES_SHOWN).collect();
            error.hint(format!(
                "Its values are {}{}.",
                some.join(", "),
                if names.all().count() > some.len() { ", …" } else { "" }
            ))
        } else {
            error.hint(format!("Perhaps you meant {}.", near.join(" or ")))
        })
    }
}

/// Names that a hint lists when none is near.
const NAMES_SHOWN: usize = 8;
