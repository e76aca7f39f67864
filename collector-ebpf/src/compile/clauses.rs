//! The shape of a query on hooks: one SELECT, one hook or a pair of them, a filter, groups, an order, a limit. What we do
//! not do yet is refused here, at its place.

use datafusion::sql::sqlparser::ast::{
    self, Expr, FunctionArg, FunctionArgExpr, GroupByExpr, Ident, JoinConstraint, JoinOperator, LimitClause,
    ObjectName, OrderByExpr, OrderByKind, Query, Select, SelectItem, SetExpr, Spanned, TableFactor, TableFunctionArgs,
    Value,
};
use datafusion::sql::sqlparser::tokenizer::Span;
use probepilot_sql::names::folded;
use probepilot_sql::statement::ProbeQuery;
use probepilot_sql::{SqlError, SqlState, hooks, sample};

use super::position;
use super::sample::{Keep, keep_of};

/// Levels of an expression. A chain of operators is as deep as it is long, and printing, planning and dropping it take
/// stack for each level; longer ones are refused (54000). A list of IN is one level, whatever its length.
const LEVELS_MAX: usize = 256;

/// Equalities of a join of two hooks; more are refused (54000). Each takes eight bytes of the programs' stacks.
const CONDITIONS_MAX: usize = 8;

/// What to do instead where several hooks should begin or end a pair.
const ONE_HOOK_EACH: &str = "A pair has one hook before JOIN and one behind it. Make a probe of each pair, and put their \
    tables together with UNION ALL.";

/// A hook in FROM.
#[derive(Clone, Debug)]
pub struct HookClause {
    /// Its name, part by part, lower case unless quoted.
    pub name: Vec<String>,
    /// What it is called with, where it is a function.
    pub arguments: Option<Vec<Expr>>,
    /// Where it stands.
    pub span: Span,
    /// `AS alias`
    pub alias: Option<String>,
}

/// `FROM start JOIN end ON …`: the hook before JOIN, and what must be equal.
#[derive(Clone, Debug)]
pub struct JoinClause {
    /// The hook before JOIN.
    pub start: HookClause,
    /// The conditions of ON, and where each stands.
    pub conditions: Vec<Expr>,
    /// Where JOIN's hook stands.
    pub span: Span,
}

/// The parts of a query on hooks.
#[derive(Clone, Debug)]
pub struct Clauses {
    /// The hook whose events make rows: the only one, or the one behind JOIN.
    pub hook: HookClause,
    /// The hook that is joined to it.
    pub join: Option<JoinClause>,
    /// What TABLESAMPLE keeps of the events; `None` for all of them.
    pub keep: Option<Keep>,
    /// The select list.
    pub items: Vec<SelectItem>,
    /// The filter's conjuncts: all must hold.
    pub conjuncts: Vec<Expr>,
    /// `GROUP BY`
    pub group_by: Vec<Expr>,
    /// `HAVING`
    pub having: Option<Expr>,
    /// `ORDER BY`
    pub order_by: Vec<OrderByExpr>,
    /// `LIMIT`
    pub limit: Option<u64>,
}

impl Clauses {
    /// Refuses what only a query that aggregates can have.
    pub fn refuse_order(&self, text: &str) -> Result<(), SqlError> {
        let Some(order) = self.order_by.first() else { return Ok(()) };
        Err(SqlError::unsupported("ORDER BY is not supported in a query on a hook without aggregates")
            .hint("Rows come in the order of events; order them when you read the probe's table.")
            .at(position::of_span(text, order.expr.span())))
    }
}

/// Takes the query apart.
pub fn read(query: &ProbeQuery) -> Result<Clauses, SqlError> {
    let refuse = |what: &str, span: Span| {
        SqlError::unsupported(format!("{what} is not supported in a query on a hook"))
            .at(position::of_span(&query.text, span))
    };
    let Query { with, body, order_by, limit_clause, fetch, locks, for_clause, settings, format_clause, pipe_operators } =
        query.query.as_ref();
    if let Some(with) = with {
        return Err(refuse("WITH", with.span()));
    }
    let SetExpr::Select(select) = body.as_ref() else {
        return Err(refuse("anything but a single SELECT", body.span())
            .hint("Make a probe of each SELECT, and put their tables together with UNION ALL."));
    };
    let order_by = match order_by.as_ref().map(|order_by| (&order_by.kind, &order_by.interpolate)) {
        None => Vec::new(),
        Some((OrderByKind::Expressions(expressions), None)) => expressions.clone(),
        Some(_) => return Err(refuse("this kind of ORDER BY", body.span())),
    };
    if fetch.is_some() || for_clause.is_some() || settings.is_some() || format_clause.is_some() {
        return Err(refuse("this clause", query.query.span()));
    }
    if !locks.is_empty() || !pipe_operators.is_empty() {
        return Err(refuse("this clause", query.query.span()));
    }
    check_select(select, &refuse)?;
    let (hook, join) = from(select, &query.text, &refuse)?;
    let keep = keep(select, &query.text)?;
    let conjuncts = select.selection.as_ref().map(conjuncts).unwrap_or_default();
    let items = select.projection.iter().filter_map(|item| match item {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => Some(expr),
        _ => None,
    });
    let joined = join.iter().flat_map(|join| &join.conditions);
    let group_by = groups(select, &refuse)?;
    let ordered = order_by.iter().map(|order| &order.expr);
    let grouped = group_by.iter().chain(&select.having).chain(ordered);
    if conjuncts.iter().copied().chain(items).chain(joined).chain(grouped).any(is_too_deep) {
        return Err(SqlError::new(
            SqlState::PROGRAM_LIMIT_EXCEEDED,
            format!("an expression has more than {LEVELS_MAX} levels"),
        )
        .hint("A chain of OR on one column is shorter as IN.")
        .at(position::of_span(&query.text, select.select_token.0.span)));
    }
    Ok(Clauses {
        hook,
        join,
        keep,
        items: select.projection.clone(),
        conjuncts: conjuncts.into_iter().cloned().collect(),
        group_by,
        having: select.having.clone(),
        order_by,
        limit: limit_clause.as_ref().map(|clause| limit(clause, &query.text)).transpose()?.flatten(),
    })
}

fn check_select(select: &Select, refuse: &impl Fn(&str, Span) -> SqlError) -> Result<(), SqlError> {
    if select.distinct.is_some() {
        return Err(refuse("DISTINCT", select.select_token.0.span));
    }
    if let Some(qualify) = &select.qualify {
        return Err(refuse("QUALIFY", qualify.span()));
    }
    if let Some(window) = select.named_window.first() {
        return Err(refuse("WINDOW", window.span()));
    }
    let rare = select.top.is_some()
        || select.into.is_some()
        || select.exclude.is_some()
        || select.prewhere.is_some()
        || !select.lateral_views.is_empty()
        || !select.connect_by.is_empty()
        || !select.cluster_by.is_empty()
        || !select.distribute_by.is_empty()
        || !select.sort_by.is_empty();
    if rare {
        return Err(refuse("this clause", select.span()));
    }
    Ok(())
}

fn groups(select: &Select, refuse: &impl Fn(&str, Span) -> SqlError) -> Result<Vec<Expr>, SqlError> {
    match &select.group_by {
        GroupByExpr::Expressions(expressions, modifiers) if modifiers.is_empty() => Ok(expressions.clone()),
        _ => Err(refuse("this kind of GROUP BY", select.select_token.0.span)),
    }
}

fn from(
    select: &Select,
    text: &str,
    refuse: &impl Fn(&str, Span) -> SqlError,
) -> Result<(HookClause, Option<JoinClause>), SqlError> {
    let table = match select.from.as_slice() {
        [] => return Err(refuse("a SELECT without FROM", select.span())),
        [table] => table,
        [_, second, ..] => {
            return Err(refuse("a list of tables in FROM", second.span()).hint("Two hooks are paired by JOIN … ON."));
        }
    };
    let first = hook_of(&table.relation, refuse)?;
    let join = match table.joins.as_slice() {
        [] => return Ok((first, None)),
        [join] => join,
        [_, third, ..] => {
            return Err(refuse("a join of more than two hooks", third.relation.span()).hint(ONE_HOOK_EACH));
        }
    };
    let end = hook_of(&join.relation, refuse)?;
    if let Some(sampled) = [&first, &end].into_iter().find(|hook| hook.arguments.is_some()) {
        return Err(refuse("a join with samples", sampled.span).hint("A sample is the beginning or end of nothing."));
    }
    let constraint = match &join.join_operator {
        JoinOperator::Join(constraint) | JoinOperator::Inner(constraint) => constraint,
        _ => {
            return Err(refuse("any join but an inner one", join.relation.span()).hint(
                "Events that never pair are counted; see unpaired_start and unpaired_end in system.probe_loss.",
            ));
        }
    };
    let conditions = match constraint {
        JoinConstraint::On(on) => conjuncts(on).into_iter().cloned().collect(),
        JoinConstraint::Using(columns) => {
            columns.iter().filter_map(|column| using(column, &first, &end)).collect::<Vec<_>>()
        }
        JoinConstraint::Natural | JoinConstraint::None => Vec::new(),
    };
    if conditions.is_empty() {
        return Err(refuse("a join without ON", join.relation.span())
            .hint("Say which values tell that two events belong together, for instance ON e.tid = x.tid."));
    }
    if conditions.len() > CONDITIONS_MAX {
        return Err(SqlError::new(
            SqlState::PROGRAM_LIMIT_EXCEEDED,
            format!("a join of hooks takes at most {CONDITIONS_MAX} conditions"),
        )
        .hint("Put those that no event needs to be paired into WHERE.")
        .at(position::of_span(text, conditions[CONDITIONS_MAX].span())));
    }
    let join = JoinClause { start: first, conditions, span: end.span };
    Ok((end, Some(join)))
}

/// What TABLESAMPLE keeps: of a pair, what stands behind the hook that makes rows.
fn keep(select: &Select, text: &str) -> Result<Option<Keep>, SqlError> {
    let table = select.from.first();
    let first = table.map(|table| &table.relation);
    let joined = table.and_then(|table| table.joins.first()).map(|join| &join.relation);
    let sample_of = |relation: Option<&TableFactor>| match relation {
        Some(TableFactor::Table { name, sample: Some(sample), .. }) => Some((sample.clone(), name.span())),
        _ => None,
    };
    if joined.is_some()
        && let Some((_, span)) = sample_of(first)
    {
        return Err(SqlError::unsupported("a sample of the events before JOIN is not supported")
            .hint("Write TABLESAMPLE behind the hook after JOIN: it draws pairs.")
            .at(position::of_span(text, span)));
    }
    let Some((sample, span)) = sample_of(joined.or(first)) else { return Ok(None) };
    let share = sample::share(&sample).map_err(|error| error.at(position::of_span(text, span)))?;
    if share == 0.0 {
        return Err(SqlError::new(SqlState("2202H"), "a sample of 0 percent of a hook's events has no rows")
            .at(position::of_span(text, span)));
    }
    Ok(keep_of(share))
}

/// `USING (name)` as an equality.
fn using(column: &ObjectName, first: &HookClause, second: &HookClause) -> Option<Expr> {
    let name = column.0.last()?.as_ident()?;
    let qualified = |hook: &HookClause| {
        let label = hook.alias.clone().or_else(|| hook.name.last().cloned()).unwrap_or_default();
        Box::new(Expr::CompoundIdentifier(vec![Ident::with_quote_and_span('"', name.span, label), name.clone()]))
    };
    Some(Expr::BinaryOp { left: qualified(first), op: ast::BinaryOperator::Eq, right: qualified(second) })
}

fn hook_of(relation: &TableFactor, refuse: &impl Fn(&str, Span) -> SqlError) -> Result<HookClause, SqlError> {
    let TableFactor::Table { name, alias, args, .. } = relation else {
        return Err(refuse("anything but a hook in FROM", relation.span()).hint(ONE_HOOK_EACH));
    };
    if !hooks::is_hook_factor(relation) {
        let error = match args {
            Some(_) => refuse("anything but a hook in FROM", relation.span()),
            None => refuse("a table that is no hook", name.span()),
        };
        return Err(if hooks::is_function(name) {
            error.hint("Samples are taken by profile(99) and perf('page-faults', 100).")
        } else {
            error
        });
    }
    let arguments = args.as_ref().map(|args| arguments(args, refuse)).transpose()?;
    if alias.as_ref().is_some_and(|alias| !alias.columns.is_empty()) {
        return Err(refuse("a list of column names behind the table's alias", name.span()));
    }
    let parts = name.0.iter().filter_map(|part| part.as_ident()).map(folded).collect();
    let alias = alias.as_ref().map(|alias| folded(&alias.name));
    Ok(HookClause { name: parts, arguments, span: name.span(), alias })
}

fn arguments(arguments: &TableFunctionArgs, refuse: &impl Fn(&str, Span) -> SqlError) -> Result<Vec<Expr>, SqlError> {
    let plain = arguments.args.iter().map(|argument| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expression)) => Ok(expression.clone()),
        other => Err(refuse("this kind of argument", other.span())),
    });
    plain.collect()
}

/// Taken apart by a loop, and before anything is copied: a filter may have thousands of conjuncts, each one level deeper
/// than the last.
fn conjuncts(filter: &Expr) -> Vec<&Expr> {
    let (mut open, mut found) = (vec![filter], Vec::new());
    while let Some(expression) = open.pop() {
        match expression {
            Expr::BinaryOp { left, op: ast::BinaryOperator::And, right } => open.extend([&**right, &**left]),
            Expr::Nested(inner) if matches!(**inner, Expr::BinaryOp { op: ast::BinaryOperator::And, .. }) => {
                open.push(inner);
            }
            other => found.push(other),
        }
    }
    found
}

/// Chains of operators are what the parser does not bound itself.
fn is_too_deep(expression: &Expr) -> bool {
    let mut open = vec![(expression, 1)];
    while let Some((expression, level)) = open.pop() {
        if level > LEVELS_MAX {
            return true;
        }
        match expression {
            Expr::BinaryOp { left, right, .. } => open.extend([(&**left, level + 1), (&**right, level + 1)]),
            Expr::Nested(inner)
            | Expr::UnaryOp { expr: inner, .. }
            | Expr::Cast { expr: inner, .. }
            | Expr::IsNull(inner)
            | Expr::IsNotNull(inner) => open.push((inner, level + 1)),
            _ => {}
        }
    }
    false
}

fn limit(clause: &LimitClause, text: &str) -> Result<Option<u64>, SqlError> {
    let LimitClause::LimitOffset { limit, offset: None, limit_by } = clause else {
        return Err(SqlError::unsupported("OFFSET is not supported in a query on a hook")
            .at(position::of_span(text, clause.span())));
    };
    if !limit_by.is_empty() {
        return Err(SqlError::unsupported("LIMIT BY is not supported in a query on a hook")
            .at(position::of_span(text, clause.span())));
    }
    let Some(limit) = limit else { return Ok(None) };
    let number = match limit {
        Expr::Value(value) => match &value.value {
            Value::Number(digits, _) => digits.parse::<u64>().ok(),
            Value::Null => return Ok(None),
            _ => None,
        },
        _ => None,
    };
    number.map(Some).ok_or_else(|| {
        SqlError::new(SqlState::INVALID_PARAMETER_VALUE, "LIMIT of a query on a hook must be a whole number")
            .at(position::of_span(text, limit.span()))
    })
}
