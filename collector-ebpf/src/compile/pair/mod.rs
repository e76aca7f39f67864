//! A pair: the start's event is kept in the kernel until the end's event of the same key comes.
//!
//! Both ends are queries of their own: the start's filter and the leaves that are needed later make a program that keeps
//! them in a map; the end's program takes them from there and goes on as if it had read them itself. To everything behind
//! it a kept leaf is a leaf.

pub mod key; // ON → keys of both sides.
pub mod transfer; // Conditions that hold at both ends.
pub mod value; // What is kept.
pub mod state; // Where it is kept.
mod emit; // Key, match, keep, give back.
pub mod programs; // The programs of a pair.

use std::sync::Arc;

use datafusion::common::DFSchema;
use datafusion::logical_expr::Expr;
use datafusion::sql::sqlparser::tokenizer::Span;
use probepilot_sql::SqlError;

use super::CompileOptions;
use super::clauses::Clauses;
use super::expression::{Expression, Kind};
use super::layout::{self, Layout};
use super::leaf::Leaf;
use super::lower::Lowering;
use super::marks::Marks;
use super::names::{Scope, Side};
use super::position;
use super::split::{self, KernelFilter, Planned, Split};
use crate::kernel::Hook;
use crate::object::StateKind;
use key::Joined;
use state::State;
use value::Value;

pub(super) use emit::PairParts;

/// All that the programs of a pair share.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The hook of the start.
    pub hook: Arc<Hook>,
    /// Where it stands in the statement.
    pub span: Span,
    /// The start as a query: its filter, and what it keeps as its record.
    pub start: Split,
    /// Where what it keeps lies.
    pub layout: Layout,
    /// The same, by leaf.
    pub value: Value,
    /// Where it is kept.
    pub state: State,
    /// The key over the start's leaves.
    pub start_keys: Vec<Expression>,
    /// The key over the end's leaves.
    pub end_keys: Vec<Expression>,
    /// The key as the user wrote it.
    pub key_texts: Vec<String>,
    /// Conditions over the end's leaves without which it ends no pair: those of ON, and those that hold at both ends.
    pub shared: Vec<KernelFilter>,
    /// Whether an end without a start is a loss. Where the start has a filter that the end cannot repeat, such an end
    /// may be one whose start was filtered out.
    pub counts_unpaired_end: bool,
}

/// The conditions that only need the start.
#[derive(Debug, Default)]
pub struct StartFilters {
    filters: Vec<KernelFilter>,
    /// Wrapped, as the query's columns name them.
    leaves: Vec<Leaf>,
}

/// Takes the conditions that the start's program can decide alone out of the filter; those of ON are among them.
///
/// # Errors
/// 0A000 when the kernel cannot decide one of ON.
pub fn separate(
    scope: &Scope<'_>,
    schema: &DFSchema,
    joined: &Joined,
    conjuncts: Vec<Planned>,
) -> Result<(Vec<Planned>, StartFilters), SqlError> {
    let mut start = StartFilters::default();
    if scope.start.is_none() {
        return Ok((conjuncts, start));
    }
    let mut lowering = Lowering { columns: &scope.columns, schema, leaves: Vec::new() };
    for planned in &joined.start {
        start.filters.push(selection(planned, &mut lowering, scope)?);
    }
    let mut rest = Vec::new();
    for planned in conjuncts.into_iter().flat_map(split::parts) {
        let lowered = match side_of(&planned.expr, scope) {
            Some(Side::Start) => lowering.lower(&planned.expr).filter(|lowered| lowered.kind == Kind::Boolean),
            _ => None,
        };
        match lowered {
            Some(condition) => {
                start.filters.push(KernelFilter { condition, span: planned.span, text: planned.text });
            }
            None => rest.push(planned),
        }
    }
    start.leaves = lowering.leaves;
    Ok((rest, start))
}

/// A condition of ON for the kernel, which decides before anything is looked up or kept.
fn selection(planned: &Planned, lowering: &mut Lowering<'_>, scope: &Scope<'_>) -> Result<KernelFilter, SqlError> {
    let Planned { expr, span, text } = planned;
    let lowered = lowering.lower(expr).filter(|condition| {
        let mut is_read = false;
        condition.for_each_leaf(&mut |leaf| is_read |= lowering.leaves[leaf.0].sided().1.is_read());
        condition.kind == Kind::Boolean && !condition.can_fail() && !is_read
    });
    let condition = lowered.ok_or_else(|| {
        SqlError::unsupported(format!("the kernel cannot tell by {text} which events to pair"))
            .hint("Conditions of ON compare numbers and booleans; put others into WHERE.")
            .at(position::of_span(scope.text, *span))
    })?;
    Ok(KernelFilter { condition, span: *span, text: text.clone() })
}

/// Plans the pair of a query; `None` when it has no join. Of the end's filter in the kernel what holds at both ends is taken.
pub fn of_query(
    clauses: &Clauses,
    scope: &Scope<'_>,
    schema: &DFSchema,
    joined: &Joined,
    filters: StartFilters,
    options: &CompileOptions,
    split: &mut Split,
) -> Result<Option<Pair>, SqlError> {
    let Some(join) = &clauses.join else { return Ok(None) };
    let span = join.start.span;
    let StartFilters { mut filters, leaves } = filters;
    let hook = Arc::clone(scope.hook(Side::Start));
    let mut start = Lowering { columns: &scope.columns, schema, leaves };
    let mut end = Lowering { columns: &scope.columns, schema, leaves: std::mem::take(&mut split.leaves) };
    let (mut start_keys, mut end_keys) = (Vec::new(), Vec::new());
    for key in &joined.keys {
        start_keys.push(key.lower(&mut start, Side::Start, scope)?);
        end_keys.push(key.lower(&mut end, Side::End, scope)?);
    }
    let mut shared = Vec::new();
    for planned in &joined.end {
        shared.push(selection(planned, &mut end, scope)?);
    }
    let mut start_leaves: Vec<Leaf> = start.leaves.iter().map(|leaf| leaf.sided().1.clone()).collect();
    let mut end_leaves = end.leaves;
    let same = transfer::same_leaves(scope, (&start_keys, &start_leaves), (&end_keys, &end_leaves));
    let mut counts_unpaired_end = true;
    for filter in &filters {
        match transfer::to_end(filter, &same, &start_leaves, &mut end_leaves) {
            Some(filter) => shared.push(filter),
            None => counts_unpaired_end = false,
        }
    }
    split.kernel_filters.retain(|filter| {
        let Some(copy) = transfer::to_start(filter, &same, &end_leaves, &mut start_leaves) else { return true };
        filters.push(copy);
        shared.push(filter.clone());
        false
    });
    let is_task = |side| scope.hook(side).context == crate::kernel::HookContext::Task;
    counts_unpaired_end &= !(options.excluded_tgid.is_some() && is_task(Side::Start) && !is_task(Side::End));
    split.leaves = end_leaves;
    let state = state::choose(scope, &joined.keys, (&start_keys, &start_leaves), (&end_keys, &split.leaves));
    filters.sort_by_cached_key(|filter| split::cost(&filter.condition, &start_leaves));
    let again = value::can_be_read_again(scope, &state);
    let record = value::record(scope, &split.leaves, &mut start_leaves, again, span);
    let start = Split {
        leaves: start_leaves,
        kernel_filters: filters,
        record,
        after_filters: Vec::new(),
        outputs: Vec::new(),
        in_kernel: Vec::new(),
        marks: Marks::default(),
    };
    let is_hash = state.kind == StateKind::Hash;
    let mut layout = layout::layout(&start, is_hash).map_err(|refused| refused.to_sql(scope.text))?;
    // What is never fetched is swept by its age.
    layout.clock |= is_hash;
    let value = Value::new(&start, &layout, again);
    let key_texts = joined.keys.iter().map(|key| key.text.clone()).collect();
    Ok(Some(Pair {
        hook,
        span,
        start,
        layout,
        value,
        state,
        start_keys,
        end_keys,
        key_texts,
        shared,
        counts_unpaired_end,
    }))
}

/// The side that all columns of the expression are of.
pub fn side_of(expr: &Expr, scope: &Scope<'_>) -> Option<Side> {
    let mut sides = expr
        .column_refs()
        .into_iter()
        .map(|column| scope.columns.iter().find(|known| known.name == column.name).map(|known| known.side));
    let first = sides.next()??;
    sides.all(|side| side == Some(first)).then_some(first)
}
