//! Queries that aggregate: groups in the kernel, windows of time, and the rows that are made of a window when it is closed.
//!
//! The kernel groups by whatever the keys need (numbers, names, strings: `split` says what a record would carry) and adds
//! each event to the state of its group. What the kernel cannot evaluate is evaluated once for each of its groups: keys
//! are computed from the kernel's, groups that turn out the same are put together, and an aggregate whose argument is not
//! the kernel's is computed over the values of the groups, each weighted by its events. Then HAVING, the select list,
//! ORDER BY and LIMIT see the rows of that window only.

pub mod plan; // What a window keeps.
mod grouping; // GROUP BY, ordinals, names, buckets.
mod call; // Aggregate calls.
pub mod bound; // Until when a query runs.
mod emit; // The program's end.
mod rewrite; // Expressions over groups and aggregates.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::{Column as ColumnName, DFSchema, ScalarValue};
use datafusion::logical_expr::{Expr, ExprSchemable};
use datafusion::sql::sqlparser::tokenizer::Span;
use probepilot_sql::statement::ProbeQuery;
use probepilot_sql::{SqlError, SqlState};

use super::bind::{self, Binder};
use super::clauses::Clauses;
use super::emit::{Part, Settings};
use super::marks;
use super::names::Scope;
use super::pair::{self, key::Joined};
use super::program::{excluded, programs, return_hook, task_offsets};
use super::sample::Sample;
use super::sink::Sink;
use super::split::{self, Input, PlacedInput, Planned, Split};
use super::{
    CompileOptions, CompiledProbe, Item, NamedItem, OutputColumn, WEIGHT_COLUMN, WEIGHT_COMMENT, bind_filter, item,
    layout, output_schema, position,
};
use crate::after::AfterPart;
use crate::explain;
use crate::kernel::Kernel;
use crate::object::WindowMaps;
use call::Call;
use grouping::{Grouped, WINDOW};
use plan::{Aggregate, Bucket, Cells, KernelInput, Source, VALUE_BYTES_MAX, WindowPlan};
use rewrite::Rewrite;

/// The window of a stored probe that names none.
const BUCKET_DEFAULT: Bucket = Bucket { width_ns: 10_000_000_000, origin_ns: 0 };

/// Columns of the rows of a window that users cannot write, before those of groups and aggregates.
pub const WINDOW_COLUMNS: [&str; 5] = [WINDOW, "#window_ns", "#complete", "#other", "#sample_weight"];

/// The parts of a window's way after the kernel.
#[derive(Debug)]
pub struct WindowParts {
    /// What is done.
    pub plan: WindowPlan,
    /// Over the columns of the kernel's keys: the filter, the groups, then arguments of aggregates.
    pub keys: AfterPart,
    /// Over [`WINDOW_COLUMNS`], the groups and the aggregates: HAVING, the select list, then what it is ordered by.
    pub rows: AfterPart,
    /// Columns of the result; those behind them are only for the order.
    pub columns: SchemaRef,
}

/// Whether the query aggregates.
pub fn is_wanted(clauses: &Clauses, binder: &Binder) -> bool {
    use datafusion::sql::sqlparser::ast::SelectItem;
    let selects = clauses.items.iter().any(|item| match item {
        SelectItem::UnnamedExpr(expression) | SelectItem::ExprWithAlias { expr: expression, .. } => {
            binder.aggregates(expression)
        }
        _ => false,
    });
    selects || !clauses.group_by.is_empty() || clauses.having.is_some()
}

/// Compiles a query that aggregates.
pub fn compile(
    query: &ProbeQuery,
    kernel: &Kernel,
    clauses: &Clauses,
    joined: &Joined,
    binder: &Binder,
    mut scope: Scope<'_>,
    options: &CompileOptions,
) -> Result<CompiledProbe, SqlError> {
    let (text, hook_span) = (query.text.as_ref(), clauses.hook.span);
    let Grouped { items, conjuncts, groups, bucket, having, order_by } =
        grouping::resolve(query, clauses, binder, &mut scope, options.stored)?;
    let conjuncts = bind_filter(conjuncts, binder, &scope)?;
    let (conjuncts, until_unix_ns) = bound::take(conjuncts, &scope)?;
    let bucket = bucket.or_else(|| options.stored.then_some(BUCKET_DEFAULT));
    check_end(bucket, until_unix_ns, options.stored, text, hook_span)?;
    let groups = bind_all(groups, binder, &scope)?;
    let items = bind_all(items, binder, &scope)?;
    let (order_by, sort): (Vec<_>, Vec<_>) = order_by.into_iter().unzip();
    let order_by = bind_all(order_by, binder, &scope)?;
    let having = bind_filter_of_groups(having, binder, &scope)?;
    marks::refuse_in_windows(&scope.columns, text)?;
    let hook_schema = bind::schema(&scope.columns)?;

    let mut rewrite =
        Rewrite::new(&scope, &hook_schema, groups.iter().map(|(_, planned)| planned.expr.clone()).collect());
    let mut selected = Vec::new();
    for (named, planned) in items {
        let comment = named.comment.clone().or_else(|| comment_of(&planned.expr, &scope));
        let planned = rewrite.over_groups(planned)?;
        selected.push(Item { planned, name: named.name, comment, nullable: None });
    }
    let having = having.map(|having| rewrite.over_groups(having)).transpose()?;
    let order_by =
        order_by.into_iter().map(|(_, planned)| rewrite.over_groups(planned)).collect::<Result<Vec<_>, _>>()?;
    let calls = rewrite.into_calls();
    let schema = rows_schema(&groups, &calls, &hook_schema)?;
    let has_keys = !groups.is_empty();
    let selected = if options.stored {
        let has_weight = options.weighted || clauses.keep.is_some();
        with_common_columns(selected, (has_keys, has_weight), &schema, options, text, hook_span)?
    } else {
        selected
    };
    let columns = selected.iter().map(|item| item.column(&schema, text)).collect::<Result<Vec<_>, _>>()?;

    let (inputs, indexes) = distinct_inputs(&calls);
    let group_count = groups.len();
    let groups = groups.into_iter().map(|(_, planned)| planned).collect();
    let (conjuncts, start_filters) = pair::separate(&scope, &hook_schema, joined, conjuncts)?;
    let (mut split, placed) = split::split_inputs(&scope, &hook_schema, conjuncts, groups, &inputs)?;
    let pair = pair::of_query(clauses, &scope, &hook_schema, joined, start_filters, options, &mut split)?;
    let (kernel_inputs, aggregates) = place(&calls, &inputs, &placed, &indexes);
    let mut plan = WindowPlan {
        bucket,
        inputs: kernel_inputs,
        value_bytes: 0,
        groups: group_count,
        aggregates,
        sort,
        limit: clauses.limit,
        keep: clauses.keep.unwrap_or(0),
    };
    plan.value_bytes = plan::place(&mut plan.inputs);
    if plan.value_bytes > VALUE_BYTES_MAX {
        return Err(SqlError::new(
            SqlState::PROGRAM_LIMIT_EXCEEDED,
            format!("the aggregates of a group take {} bytes, and at most {VALUE_BYTES_MAX} can be", plan.value_bytes),
        )
        .hint("Each argument of approx_percentile or histogram takes 4096; make two probes of it.")
        .at(position::of_span(text, hook_span)));
    }
    let hook = Arc::clone(&scope.hook);
    let returns = if pair.is_some() { None } else { return_hook(kernel, &hook, &split) };
    let named: Vec<_> = plan.inputs.iter().flat_map(|input| [&input.value, &input.condition]).flatten().collect();
    let layout = layout::key_layout(&split, &named, returns.is_some()).map_err(|refused| refused.to_sql(text))?;
    let task = task_offsets(kernel, &split).map_err(|error| error.at(position::of_span(text, hook_span)))?;
    let settings = Settings {
        text,
        hook_span,
        excluded_tgid: excluded(options, &hook),
        rate_limited: false,
        sample: Sample { keep: clauses.keep, budget: options.stored },
        task,
        part: Part::Whole,
        windows: Some(&plan),
        sink: Sink::Ring,
    };
    let maps = WindowMaps {
        key_bytes: layout.key_bytes().into(),
        value_bytes: plan.value_bytes,
        keys_max: if has_keys || !split.record.is_empty() { None } else { Some(1) },
    };
    let (mut object, stack_bytes) =
        programs(pair.as_ref(), returns, (&split, &layout), (kernel, hook), options, settings)?;
    object.windows = Some(maps);
    let parts = window_parts(plan, &split, &schema, Rows { selected, having, order_by }, &columns, binder, text)?;
    Ok(CompiledProbe {
        summary: explain::windows::summary(&split, pair.as_ref(), &parts.plan),
        object,
        pair: pair.map(Arc::new),
        columns,
        limit: None,
        until_unix_ns,
        notices: scope.notices,
        after: Arc::new(AfterPart::nothing(parts.keys.record_schema(), Arc::clone(&parts.columns))),
        split: Arc::new(split),
        layout: Arc::new(layout),
        stack_bytes,
        windows: Some(Arc::new(parts)),
        sample_keep: clauses.keep.unwrap_or(0),
    })
}

/// An aggregate over an endless stream has no answer.
fn check_end(
    bucket: Option<Bucket>,
    until_unix_ns: Option<i64>,
    stored: bool,
    text: &str,
    span: Span,
) -> Result<(), SqlError> {
    let at = |error: SqlError| Err(error.at(position::of_span(text, span)));
    if stored && until_unix_ns.is_some() {
        return at(SqlError::unsupported("a bound on time has no meaning in a stored probe")
            .hint("To stop a probe after a while, set run_for."));
    }
    if bucket.is_none() && until_unix_ns.is_none() {
        return at(SqlError::unsupported("an aggregate over a hook needs an end, for events never do")
            .hint("Bound it, as in WHERE time < now() + interval '5 s', or GROUP BY time_bucket('1 second', time)."));
    }
    Ok(())
}

fn bind_all(items: Vec<NamedItem>, binder: &Binder, scope: &Scope<'_>) -> Result<Vec<(NamedItem, Planned)>, SqlError> {
    let mut bound = Vec::new();
    for item in items {
        let expr = binder.bind(item.expression.clone(), scope)?;
        let planned = Planned { expr, span: item.span, text: item.text.clone() };
        bound.push((item, planned));
    }
    Ok(bound)
}

fn bind_filter_of_groups(
    having: Option<super::NamedConjunct>,
    binder: &Binder,
    scope: &Scope<'_>,
) -> Result<Option<Planned>, SqlError> {
    let Some(having) = having else { return Ok(None) };
    let bound = bind_filter(vec![having], binder, scope)?;
    Ok(bound.into_iter().next())
}

fn comment_of(expr: &Expr, scope: &Scope<'_>) -> Option<String> {
    let Expr::Column(name) = expr else { return None };
    scope.columns.iter().find(|column| column.name == name.name).map(|column| column.comment.clone())
}

/// The columns of a window's rows before the select list.
fn rows_schema(groups: &[(NamedItem, Planned)], calls: &[Call], hook: &DFSchema) -> Result<DFSchema, SqlError> {
    let types = [super::names::time_type(), DataType::Int64, DataType::Boolean, DataType::Boolean, DataType::Float64];
    let mut fields: Vec<Field> =
        WINDOW_COLUMNS.iter().zip(types).map(|(name, data_type)| Field::new(*name, data_type, false)).collect();
    for (index, (_, planned)) in groups.iter().enumerate() {
        let data_type =
            planned.expr.get_type(hook).map_err(|error| SqlError::internal("a group has no type", error))?;
        fields.push(Field::new(rewrite::group_name(index), data_type, true));
    }
    for (index, call) in calls.iter().enumerate() {
        fields.push(Field::new(rewrite::call_name(index), call.data_type.clone(), true));
    }
    DFSchema::try_from(Schema::new(fields)).map_err(|error| SqlError::internal("cannot make a window's schema", error))
}

/// `time`, `node`, `window_ns`, `complete` first, and last `other` where there are keys, `sample_weight` where it samples.
fn with_common_columns(
    items: Vec<Item>,
    (has_keys, has_weight): (bool, bool),
    schema: &DFSchema,
    options: &CompileOptions,
    text: &str,
    span: Span,
) -> Result<Vec<Item>, SqlError> {
    let column = |index: usize| Expr::Column(ColumnName::new_unqualified(WINDOW_COLUMNS[index]));
    let node = Expr::Literal(ScalarValue::Utf8View(Some(options.node.clone())), None);
    let mut own = vec![
        item("time", "when the window began", column(0), span, false),
        item("node", "name of the node the events happened on", node, span, false),
        item("window_ns", "how long the window was; ns", column(1), span, false),
        item("complete", "whether the probe ran for the whole window and lost nothing", column(2), span, false),
    ];
    let other = item("other", "all groups that found no room, together: their keys are NULL", column(3), span, false);
    let weight = item(WEIGHT_COLUMN, WEIGHT_COMMENT, column(4), span, false);
    for known in own.iter().chain(has_keys.then_some(&other)).chain(has_weight.then_some(&weight)) {
        let Some(given) = items.iter().find(|item| item.name == known.name) else { continue };
        if known.name == "time" && given.planned.expr == known.planned.expr {
            continue;
        }
        let state = if known.name == "time" { SqlState::DATATYPE_MISMATCH } else { SqlState::RESERVED_NAME };
        debug_assert!(given.column(schema, text).is_ok());
        return Err(SqlError::new(
            state,
            format!("column \"{}\" of a probe that aggregates is filled by the node itself", known.name),
        )
        .hint("Give it another name with AS.")
        .at(position::of_span(text, given.planned.span)));
    }
    own.extend(items.into_iter().filter(|item| item.name != "time"));
    own.extend(has_keys.then_some(other));
    own.extend(has_weight.then_some(weight));
    Ok(own)
}

/// The inputs of all calls, each once, and for each call the index of its own.
fn distinct_inputs(calls: &[Call]) -> (Vec<Input>, Vec<usize>) {
    let mut inputs: Vec<Input> = Vec::new();
    let mut indexes = Vec::new();
    for Call { input, .. } in calls {
        let same = |known: &Input| {
            known.value == input.value && known.condition == input.condition && known.after_kernel == input.after_kernel
        };
        let index = inputs.iter().position(same).unwrap_or_else(|| {
            inputs.push(input.clone());
            inputs.len() - 1
        });
        indexes.push(index);
    }
    (inputs, indexes)
}

fn place(
    calls: &[Call],
    inputs: &[Input],
    placed: &[PlacedInput],
    indexes: &[usize],
) -> (Vec<KernelInput>, Vec<Aggregate>) {
    let mut kernel: Vec<KernelInput> = Vec::new();
    let mut kernel_indexes = vec![None; placed.len()];
    for (index, (input, place)) in inputs.iter().zip(placed).enumerate() {
        if let PlacedInput::Kernel { value, condition } = place {
            kernel_indexes[index] = Some(kernel.len());
            let (value, condition) = (value.clone(), condition.clone());
            kernel.push(KernelInput { value, condition, cells: Cells::default(), span: input.span });
        }
    }
    let aggregates = calls
        .iter()
        .zip(indexes)
        .map(|(call, &index)| {
            let source = match (&placed[index], kernel_indexes[index]) {
                (PlacedInput::After { value, condition }, _) => Source::After { value: *value, condition: *condition },
                (PlacedInput::Kernel { .. }, place) => {
                    let place = place.expect("every input of the kernel was given its place");
                    kernel[place].cells.need(call.function);
                    Source::Kernel(place)
                }
            };
            let (data_type, text) = (call.data_type.clone(), call.input.text.clone());
            Aggregate { function: call.function, source, data_type, text }
        })
        .collect();
    (kernel, aggregates)
}

/// What is made of a window's groups.
struct Rows {
    selected: Vec<Item>,
    having: Option<Planned>,
    order_by: Vec<Planned>,
}

fn window_parts(
    plan: WindowPlan,
    split: &Split,
    rows_schema: &DFSchema,
    rows: Rows,
    columns: &[OutputColumn],
    binder: &Binder,
    text: &str,
) -> Result<WindowParts, SqlError> {
    let key_schema = split.record_schema()?;
    let physical = |planned: &Planned, schema: &DFSchema| binder.physical(planned, schema, text);
    let typed = |planned: &Planned, schema: &DFSchema, index: usize| {
        let data_type =
            planned.expr.get_type(schema).map_err(|error| SqlError::internal("an expression has no type", error))?;
        Ok::<_, SqlError>(Field::new(format!("#{index}"), data_type, true))
    };
    let filters = split.after_filters.iter().map(|planned| physical(planned, &key_schema)).collect::<Result<_, _>>()?;
    let outputs = split.outputs.iter().map(|planned| physical(planned, &key_schema)).collect::<Result<_, _>>()?;
    let numbered = split.outputs.iter().enumerate();
    let key_fields =
        numbered.map(|(index, planned)| typed(planned, &key_schema, index)).collect::<Result<Vec<_>, _>>()?;
    let key_schema = Arc::new(key_schema.as_arrow().clone());
    let keys =
        AfterPart::new(key_schema, Arc::new(Schema::new(key_fields)), filters, outputs, split.asks_for_processes());

    let Rows { selected, having, order_by } = rows;
    let filters = having.iter().map(|planned| physical(planned, rows_schema)).collect::<Result<_, _>>()?;
    let all = selected.iter().map(|item| &item.planned).chain(&order_by);
    let outputs = all.map(|planned| physical(planned, rows_schema)).collect::<Result<_, _>>()?;
    let result = output_schema(columns);
    let mut with_order: Vec<Field> = result.fields().iter().map(|field| field.as_ref().clone()).collect();
    for (index, planned) in order_by.iter().enumerate() {
        with_order.push(typed(planned, rows_schema, index)?);
    }
    let rows_schema = Arc::new(rows_schema.as_arrow().clone());
    let rows = AfterPart::new(rows_schema, Arc::new(Schema::new(with_order)), filters, outputs, false);
    Ok(WindowParts { plan, keys, rows, columns: result })
}
