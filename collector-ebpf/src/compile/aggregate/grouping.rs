//! The words of a query that aggregates: ordinals and names of the select list in GROUP BY and ORDER BY, and the bucket of
//! time by which rows are cut into windows.

use std::ops::ControlFlow;

use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, IntervalUnit};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Expr as PlannedExpr;
use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, SelectItem, Spanned, Value, VisitMut,
    VisitorMut,
};
use datafusion::sql::sqlparser::tokenizer::Span;
use probepilot_sql::names::folded;
use probepilot_sql::statement::ProbeQuery;
use probepilot_sql::{SqlError, SqlState};

use super::plan::Bucket;
use crate::compile::bind::Binder;
use crate::compile::clauses::Clauses;
use crate::compile::names::{Column, Content, Scope, Side, time_type};
use crate::compile::{NamedConjunct, NamedItem, UNNAMED, name_of, position, refuse_doubles};

/// The column of a window's beginning; users cannot write it.
pub const WINDOW: &str = "#window";

/// The shortest window.
const WIDTH_LEAST_NS: i64 = 1_000_000;

/// Where TimescaleDB counts the buckets of `time_bucket` from: Monday, 2000-01-03.
const BUCKET_ORIGIN_NS: i64 = 946_857_600_000_000_000;

/// The parts of the query, names resolved.
pub struct Grouped {
    /// The select list.
    pub items: Vec<NamedItem>,
    /// The filter.
    pub conjuncts: Vec<NamedConjunct>,
    /// GROUP BY, without the bucket.
    pub groups: Vec<NamedItem>,
    /// The bucket in GROUP BY.
    pub bucket: Option<Bucket>,
    /// HAVING
    pub having: Option<NamedConjunct>,
    /// ORDER BY
    pub order_by: Vec<(NamedItem, SortOptions)>,
}

/// Resolves the query's names.
pub fn resolve(
    query: &ProbeQuery,
    clauses: &Clauses,
    binder: &Binder,
    scope: &mut Scope<'_>,
    stored: bool,
) -> Result<Grouped, SqlError> {
    let text = query.text.as_ref();
    let mut selected = Vec::new();
    for (index, item) in clauses.items.iter().enumerate() {
        let (expression, name) = match item {
            SelectItem::UnnamedExpr(expression) => (expression, name_of(expression)),
            SelectItem::ExprWithAlias { expr, alias } => (expr, folded(alias)),
            other => {
                return Err(SqlError::new(SqlState::GROUPING_ERROR, "* cannot stand beside aggregates")
                    .hint("Name the columns of GROUP BY.")
                    .at(position::of_span(text, other.span())));
            }
        };
        if stored && name == UNNAMED {
            return Err(SqlError::new(SqlState::SYNTAX_ERROR, format!("column {} has no name", index + 1))
                .hint("Write AS and a name after the expression.")
                .at(position::of_span(text, expression.span())));
        }
        let comment = query.comments.get(index).cloned().flatten();
        selected.push(named(expression.clone(), name, comment));
    }
    if stored {
        refuse_doubles(&selected, text)?;
    }
    let mut words = Words { binder, scope, text, selected: &selected, bucket: None };
    let mut groups = Vec::new();
    for expression in &clauses.group_by {
        let expression = words.selected_by(expression, "GROUP BY")?;
        let mut item = named(expression, String::new(), None);
        words.scope.resolve(&mut item.expression)?;
        words.replace_buckets(&mut item.expression, true)?;
        if !is_window(&item.expression) {
            binder.check(&item.expression, text)?;
            groups.push(item);
        }
    }
    let mut order_by = Vec::new();
    for order in &clauses.order_by {
        let expression = words.selected_by(&order.expr, "ORDER BY")?;
        let descending = order.options.asc == Some(false);
        // PostgreSQL's order: NULL is greater than everything.
        let nulls_first = order.options.nulls_first.unwrap_or(descending);
        let item = named(expression, String::new(), None);
        order_by.push((words.finish(item)?, SortOptions { descending, nulls_first }));
    }
    let having = match &clauses.having {
        None => None,
        Some(having) => {
            let NamedItem { expression, span, text, .. } = words.finish(named(having.clone(), String::new(), None))?;
            Some(NamedConjunct { expression, span, text })
        }
    };
    let mut conjuncts = Vec::new();
    for conjunct in &clauses.conjuncts {
        let mut item = named(conjunct.clone(), String::new(), None);
        binder.check(&item.expression, text)?;
        words.scope.resolve(&mut item.expression)?;
        let NamedItem { expression, span, text, .. } = item;
        conjuncts.push(NamedConjunct { expression, span, text });
    }
    let bucket = words.bucket;
    let mut words = Words { binder, scope, text, selected: &[], bucket };
    let items = selected.into_iter().map(|item| words.finish(item)).collect::<Result<_, _>>()?;
    scope.columns.push(Column {
        name: WINDOW.to_owned(),
        data_type: time_type(),
        content: Content::Time,
        comment: "when the window began".to_owned(),
        span: Span::empty(),
        labels: None,
        side: Side::End,
    });
    Ok(Grouped { items, conjuncts, groups, bucket, having, order_by })
}

fn named(expression: Expr, name: String, comment: Option<String>) -> NamedItem {
    let (span, text) = (expression.span(), expression.to_string());
    NamedItem { expression, name, comment, span, text }
}

fn is_window(expression: &Expr) -> bool {
    matches!(expression, Expr::Identifier(name) if name.value == WINDOW)
}

struct Words<'w, 's, 'k> {
    binder: &'w Binder,
    scope: &'s mut Scope<'k>,
    text: &'w str,
    selected: &'w [NamedItem],
    bucket: Option<Bucket>,
}

impl Words<'_, '_, '_> {
    /// The select list's expression when a clause names it by its number or its name, else the clause's own.
    fn selected_by(&mut self, expression: &Expr, clause: &str) -> Result<Expr, SqlError> {
        match expression {
            Expr::Value(value) => {
                let Value::Number(digits, _) = &value.value else { return Ok(expression.clone()) };
                let index = digits.parse::<usize>().ok().and_then(|number| number.checked_sub(1));
                index.and_then(|index| self.selected.get(index)).map(|item| item.expression.clone()).ok_or_else(|| {
                    SqlError::new(SqlState("42P10"), format!("{clause} position {digits} is not in the select list"))
                        .at(position::of_span(self.text, value.span))
                })
            }
            Expr::Identifier(name) => {
                let wanted = folded(name);
                let Some(item) = self.selected.iter().find(|item| item.name == wanted) else {
                    return Ok(expression.clone());
                };
                // A column of the hook comes first, as in PostgreSQL; but events are never grouped by their exact time.
                let is_same = matches!(&item.expression, Expr::Identifier(_) | Expr::CompoundIdentifier(_));
                let hides_column =
                    !is_same && clause == "GROUP BY" && wanted != "time" && self.has_column(&wanted, name);
                Ok(if hides_column { expression.clone() } else { item.expression.clone() })
            }
            Expr::Nested(inner) => self.selected_by(inner, clause),
            other => Ok(other.clone()),
        }
    }

    fn has_column(&mut self, name: &str, ident: &Ident) -> bool {
        let (columns, notices) = (self.scope.columns.len(), self.scope.notices.len());
        let found = self.scope.column(&[name.to_owned()], ident.span).is_ok();
        self.scope.columns.truncate(columns);
        self.scope.notices.truncate(notices);
        found
    }

    /// Resolves names and buckets, and refuses unknown functions.
    fn finish(&mut self, mut item: NamedItem) -> Result<NamedItem, SqlError> {
        self.scope.resolve(&mut item.expression)?;
        self.replace_buckets(&mut item.expression, false)?;
        self.binder.check_aggregated(&item.expression, self.text)?;
        Ok(item)
    }

    /// Replaces buckets of time by the window's beginning. A bucket of GROUP BY makes the windows; any other must be it.
    fn replace_buckets(&mut self, expression: &mut Expr, makes_windows: bool) -> Result<(), SqlError> {
        match expression.visit(&mut Buckets { words: self, makes_windows }) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(error) => Err(*error),
        }
    }

    /// The bucket that a call makes of an event's time; `None` for other calls.
    fn bucket(&self, function: &Function) -> Result<Option<Bucket>, SqlError> {
        let FunctionArguments::List(list) = &function.args else { return Ok(None) };
        let arguments: Vec<&Expr> = list
            .args
            .iter()
            .filter_map(|argument| match argument {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(expression)) => Some(expression),
                _ => None,
            })
            .collect();
        let name = function.name.0.last().and_then(|part| part.as_ident()).map(folded).unwrap_or_default();
        let [width, time, rest @ ..] = arguments.as_slice() else { return Ok(None) };
        if !["time_bucket", "date_bin", "date_trunc"].contains(&name.as_str()) || !self.is_time(time) {
            return Ok(None);
        }
        let at = |error: SqlError| error.at(position::of_span(self.text, width.span()));
        if let Some(origin) = rest.first() {
            return Err(SqlError::unsupported(format!("an origin of {name} is not supported in a query on a hook"))
                .at(position::of_span(self.text, origin.span())));
        }
        let (width_ns, origin_ns) = if name == "date_trunc" {
            (text_of(width).and_then(|unit| unit_ns(&unit)), 0)
        } else {
            (self.width(width), if name == "time_bucket" { BUCKET_ORIGIN_NS } else { 0 })
        };
        let width_ns = width_ns.ok_or_else(|| {
            at(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, format!("{name} of a window needs a constant width"))
                .hint("Write whole units up to weeks, for instance time_bucket('10 seconds', time)."))
        })?;
        if width_ns < WIDTH_LEAST_NS {
            return Err(at(SqlError::new(
                SqlState::INVALID_PARAMETER_VALUE,
                "a window is at least 1 millisecond wide",
            )));
        }
        Ok(Some(Bucket { width_ns, origin_ns }))
    }

    fn is_time(&self, expression: &Expr) -> bool {
        let Expr::Identifier(name) = expression else { return false };
        self.scope.columns.iter().any(|column| column.name == name.value && column.content == Content::Time)
    }

    /// Nanoseconds of a constant interval without months.
    fn width(&self, expression: &Expr) -> Option<i64> {
        let value = match text_of(expression) {
            Some(text) => ScalarValue::try_from_string(text, &DataType::Interval(IntervalUnit::MonthDayNano)).ok()?,
            None => match self.binder.bind(expression.clone(), self.scope).ok()? {
                PlannedExpr::Literal(value, _) => value,
                _ => return None,
            },
        };
        let ScalarValue::IntervalMonthDayNano(Some(interval)) = value else { return None };
        let days_ns = i64::from(interval.days).checked_mul(86_400_000_000_000)?;
        let width_ns = interval.nanoseconds.checked_add(days_ns)?;
        (interval.months == 0 && width_ns > 0).then_some(width_ns)
    }
}

fn text_of(expression: &Expr) -> Option<String> {
    match expression {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) => Some(text.clone()),
            _ => None,
        },
        _ => None,
    }
}

/// The units that `date_trunc` cuts to and that are always as long.
fn unit_ns(unit: &str) -> Option<i64> {
    Some(match unit.to_lowercase().as_str() {
        "millisecond" => 1_000_000,
        "second" => 1_000_000_000,
        "minute" => 60_000_000_000,
        "hour" => 3_600_000_000_000,
        "day" => 86_400_000_000_000,
        _ => return None,
    })
}

struct Buckets<'b, 'w, 's, 'k> {
    words: &'b mut Words<'w, 's, 'k>,
    makes_windows: bool,
}

impl VisitorMut for Buckets<'_, '_, '_, '_> {
    type Break = Box<SqlError>;

    fn post_visit_expr(&mut self, expression: &mut Expr) -> ControlFlow<Self::Break> {
        let Expr::Function(function) = &*expression else { return ControlFlow::Continue(()) };
        let span = function.name.span();
        let bucket = match self.words.bucket(function) {
            Ok(None) => return ControlFlow::Continue(()),
            Ok(Some(bucket)) => bucket,
            Err(error) => return ControlFlow::Break(Box::new(error)),
        };
        if self.makes_windows && self.words.bucket.is_none() {
            self.words.bucket = Some(bucket);
        }
        if self.words.bucket != Some(bucket) {
            let error = SqlError::new(SqlState::GROUPING_ERROR, "a query has windows of one width, those of GROUP BY")
                .hint("Write the same bucket in GROUP BY.")
                .at(position::of_span(self.words.text, span));
            return ControlFlow::Break(Box::new(error));
        }
        *expression = Expr::Identifier(Ident::with_quote_and_span('"', span, WINDOW));
        ControlFlow::Continue(())
    }
}
