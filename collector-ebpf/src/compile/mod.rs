//! From a query on hooks to a program, a record layout and the part after the kernel. Touches no kernel.
//!
//! The passes, in order: clauses → names → bind → split (→ pair) → layout → emit.

pub mod position; // Line and column → character position.
pub mod clauses; // One SELECT on one hook; the rest refused at its place.
mod sampling; // Functions in FROM.
pub mod leaf; // What programs can read.
mod resolver; // Names in expressions.
pub mod parameters; // The types of `$1`.
pub mod names; // Identifiers → columns.
mod star; // `*` → columns.
pub mod enumerations; // Text to the user, numbers to the kernel.
pub mod bind; // Expressions → DataFusion's, typed and folded.
pub mod expression; // Expressions as the kernel runs them.
pub mod lower; // DataFusion's expressions → the kernel's.
pub mod stack; // Stacks → leaves, and their text.
pub mod bytes; // Bytes of the process's memory → leaves.
pub mod sample; // Which events are left out.
pub mod split; // Kernel | after it.
pub mod pair; // Two hooks that are joined.
pub mod aggregate; // Groups and windows instead of records.
pub mod marks; // What could not be read, or only in part.
pub mod layout; // Where a record's columns lie.
pub mod assemble; // Instructions, labels, jumps.
pub mod evaluate; // The kernel's expressions → instructions.
pub mod read; // Leaves → instructions.
mod sink; // What becomes of records.
mod record; // A record's bytes → instructions.
mod gate; // Which of two versions counts.
pub mod emit; // The whole program.
pub(crate) mod program; // What can be loaded.
mod compiled; // What comes out of it all.

use std::sync::Arc;

use arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::common::{Column as ColumnName, DFSchema, ScalarValue};
use datafusion::logical_expr::{Expr, ExprSchemable};
use datafusion::sql::sqlparser::ast::{self, SelectItem, SelectItemQualifiedWildcardKind, Spanned};
use datafusion::sql::sqlparser::tokenizer::Span;
use probepilot_sql::names::folded;
use probepilot_sql::statement::ProbeQuery;
use probepilot_sql::types::field;
use probepilot_sql::{SqlError, SqlState, SqlType};

use crate::after::AfterPart;
use crate::explain;
use crate::functions::{ProcessFacts, process};
use crate::kernel::{Hook, HookContext, Kernel};
use bind::Binder;
use clauses::{Clauses, HookClause};
use emit::{Part, Settings};
use names::{SAMPLE_KEEP_COLUMN, START_COLUMN, Scope, Side, StartHook};
use pair::key::Joined;
use parameters::Parameters;
use program::{excluded, programs, return_hook, task_offsets};
use sample::Sample;
use sink::Sink;
use split::{Planned, Split};

pub use compiled::{CompiledProbe, OutputColumn};

/// What to compile for.
#[derive(Clone, Debug)]
pub struct CompileOptions {
    /// What people recognise the program by: the probe's name.
    pub name: String,
    /// The node's name: the constant column `node` of stored rows.
    pub node: String,
    /// The process whose events are not seen: ours, unless asked for.
    pub excluded_tgid: Option<u32>,
    /// The rows are stored: `time`, `node` and `upid` come first, and rows are counted against a limit.
    pub stored: bool,
    /// Stored rows say how many events each stands for, also where the query itself samples none: the loader thins it out
    /// when it is over a budget of its own.
    pub weighted: bool,
}

/// Compiles a query on a hook of this kernel, or on a pair of them.
///
/// # Errors
/// Whatever is wrong with the query, with its position: names (42P01, 42703, 42883), types (42804), what is not done
/// yet (0A000), limits of programs (54000).
pub fn compile(
    query: &ProbeQuery,
    kernel: &Kernel,
    facts: &Arc<dyn ProcessFacts>,
    options: &CompileOptions,
) -> Result<CompiledProbe, SqlError> {
    compile_into(Sink::Ring, None, query, kernel, facts, options)
}

/// As [`compile`], for measuring: the program does what it would, but makes its records in memory of its own, counts them
/// and their bytes, and sends none. What a pair or a group needs to be counted is kept as ever.
///
/// # Errors
/// As [`compile`].
pub fn compile_counting(
    query: &ProbeQuery,
    kernel: &Kernel,
    facts: &Arc<dyn ProcessFacts>,
    options: &CompileOptions,
) -> Result<CompiledProbe, SqlError> {
    compile_into(Sink::Count, None, query, kernel, facts, options)
}

fn compile_into(
    sink: Sink,
    parameters: Option<Arc<Parameters>>,
    query: &ProbeQuery,
    kernel: &Kernel,
    facts: &Arc<dyn ProcessFacts>,
    options: &CompileOptions,
) -> Result<CompiledProbe, SqlError> {
    let text = query.text.as_ref();
    let clauses = clauses::read(query)?;
    let binder = Binder::new(facts, options.stored)?.with_parameters(parameters);
    let aggregates = aggregate::is_wanted(&clauses, &binder);
    if options.stored && clauses.limit.is_some() && !aggregates {
        return Err(SqlError::unsupported("LIMIT has no meaning in a stored probe")
            .hint("To stop a probe after a while, set run_for; to thin it, set max_rows_per_second.")
            .at(query.query.limit_clause.as_ref().and_then(|clause| position::of_span(text, clause.span()))));
    }
    let hook = find_hook(kernel, &clauses.hook, text)?;
    let start = clauses.join.as_ref().map(|join| {
        let hook = find_hook(kernel, &join.start, text)?;
        Ok::<_, SqlError>(StartHook { hook, alias: join.start.alias.clone() })
    });
    let hook_span = clauses.hook.span;
    let mut scope = Scope {
        kernel,
        hook: Arc::clone(&hook),
        alias: clauses.hook.alias.clone(),
        start: start.transpose()?,
        text,
        columns: Vec::new(),
        notices: Vec::new(),
    };
    let joined = match &clauses.join {
        Some(join) => pair::key::bind(join, &binder, &mut scope)?,
        None => Joined::default(),
    };
    if aggregates {
        return aggregate::compile(query, kernel, &clauses, &joined, &binder, scope, options);
    }
    clauses.refuse_order(text)?;
    let (items, conjuncts) = resolve(query, &clauses, &binder, &mut scope, options.stored)?;
    let conjuncts = bind_filter(conjuncts, &binder, &scope)?;
    let until_unix_ns = aggregate::bound::until(&conjuncts, &scope).filter(|_| !options.stored);
    let mut items = bind_items(items, &binder, &scope)?;
    if options.stored {
        marks::refuse_own(&items, &scope.columns, text)?;
        items = with_common_columns(items, &binder, &mut scope, options, hook_span)?;
        if options.weighted || clauses.keep.is_some() {
            let keep = scope.column_of(Side::End, &[SAMPLE_KEEP_COLUMN.to_owned()], hook_span)?;
            let weight = sample::weight_of(Expr::Column(ColumnName::new_unqualified(keep)));
            refuse_own_weight(&items, text)?;
            items.push(item(WEIGHT_COLUMN, WEIGHT_COMMENT, weight, hook_span, false));
        }
    }
    let schema = bind::schema(&scope.columns)?;
    let mut columns = items.iter().map(|item| item.column(&schema, text)).collect::<Result<Vec<_>, _>>()?;
    let outputs = items.into_iter().map(|item| item.planned).collect();
    let (conjuncts, start_filters) = pair::separate(&scope, &schema, &joined, conjuncts)?;
    let mut split = split::split(&scope, &schema, conjuncts, outputs)?;
    marks::complete(&mut split, &mut columns, &clauses.items, options.stored, hook_span);
    let pair = pair::of_query(&clauses, &scope, &schema, &joined, start_filters, options, &mut split)?;
    let returns = if pair.is_some() { None } else { return_hook(kernel, &hook, &split) };
    let mut layout = layout::layout(&split, returns.is_some()).map_err(|refused| refused.to_sql(text))?;
    if sink == Sink::Count {
        // The record keeps its size; only its place is another.
        layout.scratch_bytes = layout.scratch_bytes.max(layout.bytes);
    }
    let task_offsets = task_offsets(kernel, &split).map_err(|error| error.at(position::of_span(text, hook_span)))?;
    let settings = Settings {
        text,
        hook_span,
        excluded_tgid: excluded(options, &hook),
        rate_limited: options.stored,
        sample: Sample { keep: clauses.keep, budget: options.stored },
        task: task_offsets,
        part: Part::Whole,
        windows: None,
        sink,
    };
    let (program, stack_bytes) =
        programs(pair.as_ref(), returns, (&split, &layout), (kernel, hook), options, settings)?;
    let after = after_part(&split, &columns, &binder, text)?;
    Ok(CompiledProbe {
        summary: explain::summary(&split, pair.as_ref(), &columns),
        object: program,
        columns,
        limit: clauses.limit,
        until_unix_ns,
        notices: scope.notices,
        split: Arc::new(split),
        layout: Arc::new(layout),
        pair: pair.map(Arc::new),
        stack_bytes,
        windows: None,
        sample_keep: clauses.keep.unwrap_or(0),
        after: Arc::new(after),
    })
}

fn find_hook(kernel: &Kernel, clause: &HookClause, text: &str) -> Result<Arc<Hook>, SqlError> {
    if let Some(arguments) = &clause.arguments {
        return sampling::hook(clause, arguments, text).map(Arc::new);
    }
    let parts: Vec<&str> = clause.name.iter().map(String::as_str).collect();
    kernel.hook(&parts).map_err(|error| error.at(position::of_span(text, clause.span)))
}

/// An item of the select list whose names are resolved.
struct NamedItem {
    expression: ast::Expr,
    name: String,
    comment: Option<String>,
    span: Span,
    text: String,
}

/// A conjunct whose names are resolved.
struct NamedConjunct {
    expression: ast::Expr,
    span: Span,
    text: String,
}

fn resolve(
    query: &ProbeQuery,
    clauses: &Clauses,
    binder: &Binder,
    scope: &mut Scope<'_>,
    stored: bool,
) -> Result<(Vec<NamedItem>, Vec<NamedConjunct>), SqlError> {
    let text = query.text.as_ref();
    let mut items = Vec::new();
    for (index, item) in clauses.items.iter().enumerate() {
        let comment = query.comments.get(index).cloned().flatten();
        let (expression, name) = match item {
            SelectItem::UnnamedExpr(expression) => {
                let name = name_of(expression);
                if stored && name == UNNAMED {
                    return Err(SqlError::new(SqlState::SYNTAX_ERROR, format!("column {} has no name", index + 1))
                        .hint("Write AS and a name after the expression.")
                        .at(position::of_span(text, expression.span())));
                }
                (expression.clone(), name)
            }
            SelectItem::ExprWithAlias { expr, alias } => (expr.clone(), folded(alias)),
            SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..) => {
                let span = item.span();
                let qualifier = match item {
                    SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), _) => {
                        Some(name.0.iter().filter_map(|part| part.as_ident()).map(folded).collect::<Vec<_>>())
                    }
                    _ => None,
                };
                for (mut expression, name) in scope.star(qualifier.as_deref(), span)? {
                    let text = expression.to_string();
                    scope.resolve(&mut expression)?;
                    items.push(NamedItem { expression, name, comment: None, span, text });
                }
                continue;
            }
            SelectItem::ExprWithAliases { .. } => {
                return Err(SqlError::unsupported("several names for one expression are not supported")
                    .at(position::of_span(text, item.span())));
            }
        };
        let (span, words) = (expression.span(), expression.to_string());
        let mut expression = expression;
        binder.check(&expression, text)?;
        scope.resolve(&mut expression)?;
        items.push(NamedItem { expression, name, comment, span, text: words });
    }
    if stored {
        refuse_doubles(&items, text)?;
    }
    let mut conjuncts = Vec::new();
    for conjunct in &clauses.conjuncts {
        let (span, words) = (conjunct.span(), conjunct.to_string());
        let mut expression = conjunct.clone();
        binder.check(&expression, text)?;
        scope.resolve(&mut expression)?;
        conjuncts.push(NamedConjunct { expression, span, text: words });
    }
    Ok((items, conjuncts))
}

fn refuse_doubles(items: &[NamedItem], text: &str) -> Result<(), SqlError> {
    for (index, item) in items.iter().enumerate() {
        if items[..index].iter().any(|before| before.name == item.name) {
            return Err(SqlError::new(
                SqlState::DUPLICATE_COLUMN,
                format!("column \"{}\" is selected twice", item.name),
            )
            .hint("Give one of them another name with AS.")
            .at(position::of_span(text, item.span)));
        }
    }
    Ok(())
}

/// What PostgreSQL calls an expression without a name.
const UNNAMED: &str = "?column?";

/// The name of an item without AS, as PostgreSQL gives it.
fn name_of(expression: &ast::Expr) -> String {
    match expression {
        ast::Expr::Identifier(name) => folded(name),
        ast::Expr::CompoundIdentifier(names) => names.last().map(folded).unwrap_or_default(),
        ast::Expr::BinaryOp { op: ast::BinaryOperator::Arrow, right, .. } => name_of(right),
        ast::Expr::Function(function) => {
            function.name.0.last().and_then(|part| part.as_ident()).map(folded).unwrap_or_default()
        }
        ast::Expr::CompoundFieldAccess { root, access_chain } => {
            let member = access_chain.iter().rev().find_map(|access| match access {
                ast::AccessExpr::Dot(member) => Some(member),
                ast::AccessExpr::Subscript(_) => None,
            });
            name_of(member.unwrap_or(root))
        }
        ast::Expr::Nested(inner) => name_of(inner),
        ast::Expr::Cast { expr, .. } => name_of(expr),
        ast::Expr::Case { .. } => "case".to_owned(),
        _ => UNNAMED.to_owned(),
    }
}

fn bind_filter(conjuncts: Vec<NamedConjunct>, binder: &Binder, scope: &Scope<'_>) -> Result<Vec<Planned>, SqlError> {
    let schema = bind::schema(&scope.columns)?;
    let mut planned = Vec::new();
    for NamedConjunct { expression, span, text } in conjuncts {
        let expr = binder.bind(expression, scope)?;
        let data_type = expr.get_type(&schema).map_err(|error| SqlError::internal("a filter has no type", error))?;
        if !matches!(data_type, DataType::Boolean | DataType::Null) {
            return Err(SqlError::new(
                SqlState::DATATYPE_MISMATCH,
                format!("a condition must be boolean, not {data_type}"),
            )
            .at(position::of_span(scope.text, span)));
        }
        let expr = if data_type == DataType::Null { Expr::Literal(ScalarValue::Boolean(None), None) } else { expr };
        planned.push(Planned { expr, span, text });
    }
    Ok(planned)
}

/// An item of the result.
struct Item {
    planned: Planned,
    name: String,
    comment: Option<String>,
    nullable: Option<bool>,
}

impl Item {
    fn column(&self, schema: &DFSchema, text: &str) -> Result<OutputColumn, SqlError> {
        let (_, field) =
            self.planned.expr.to_field(schema).map_err(|error| SqlError::internal("a column has no type", error))?;
        let sql_type = match field.data_type() {
            DataType::Null => Some(SqlType::Text),
            _ => SqlType::of_field(&field),
        };
        let sql_type = sql_type.ok_or_else(|| {
            SqlError::unsupported(format!(
                "column \"{}\" has type {}, which no column can hold",
                self.name,
                field.data_type()
            ))
            .hint("Cast it, for instance to bigint, double precision or text.")
            .at(position::of_span(text, self.planned.span))
        })?;
        let nullable = self.nullable.unwrap_or(true);
        Ok(OutputColumn { name: self.name.clone(), sql_type, nullable, comment: self.comment.clone() })
    }
}

fn bind_items(items: Vec<NamedItem>, binder: &Binder, scope: &Scope<'_>) -> Result<Vec<Item>, SqlError> {
    let mut bound = Vec::new();
    for NamedItem { expression, name, comment, span, text } in items {
        let comment = comment.or_else(|| match &expression {
            ast::Expr::Identifier(column) => {
                scope.columns.iter().find(|known| known.name == column.value).map(|known| known.comment.clone())
            }
            _ => None,
        });
        let expr = binder.bind(expression, scope)?;
        bound.push(Item { planned: Planned { expr, span, text }, name, comment, nullable: None });
    }
    Ok(bound)
}

/// `time`, `node`, `upid` first: the user's, where the select list has them.
fn with_common_columns(
    mut items: Vec<Item>,
    binder: &Binder,
    scope: &mut Scope<'_>,
    options: &CompileOptions,
    span: Span,
) -> Result<Vec<Item>, SqlError> {
    let notices = scope.notices.len();
    let time = scope.column_of(Side::End, &["time".to_owned()], span)?;
    scope.notices.truncate(notices);
    let event_time = Expr::Column(ColumnName::new_unqualified(time));
    let internal = |error| SqlError::internal("cannot plan the common columns", error);
    // Of a pair whose end runs in an interrupt, the process is the start's.
    let of_task = |side: &Side| scope.hook(*side).context == HookContext::Task;
    let upid = if let Some(side) = [Side::End, Side::Start].into_iter().find(of_task) {
        // The user did not name these two: nothing is said about them.
        let pid = scope.column_of(side, &["pid".to_owned()], span)?;
        let start = scope.column_of(side, &[START_COLUMN.to_owned()], span)?;
        scope.notices.truncate(notices);
        let process = [pid, start].map(|name| Expr::Column(ColumnName::new_unqualified(name)));
        binder.simplify(binder.function(process::UPID).call(process.to_vec()), scope).map_err(internal)?
    } else {
        Expr::Literal(ScalarValue::Int64(None), None)
    };
    let schema = bind::schema(&scope.columns)?;
    let mut take = |name: &str| items.iter().position(|item| item.name == name).map(|index| items.remove(index));
    let (own_time, own_node, own_upid) = (take("time"), take("node"), take("upid"));
    let mut first = Vec::with_capacity(items.len() + 3);
    first.push(match own_time {
        None => item("time", "when the event happened", event_time, span, false),
        Some(mut own) => {
            require(&own, &schema, SqlType::Timestamptz, scope.text)?;
            if own.planned.expr != event_time {
                let coalesce = binder.function("coalesce").call(vec![own.planned.expr.clone(), event_time]);
                own.planned.expr = binder.simplify(coalesce, scope).map_err(internal)?;
            }
            own.nullable = Some(false);
            own
        }
    });
    first.push(match own_node {
        None => {
            let node = Expr::Literal(ScalarValue::Utf8View(Some(options.node.clone())), None);
            item("node", "name of the node the event happened on", node, span, false)
        }
        Some(own) => {
            return Err(SqlError::new(SqlState::RESERVED_NAME, "column \"node\" is filled by the node itself")
                .hint("Give it another name with AS.")
                .at(position::of_span(scope.text, own.planned.span)));
        }
    });
    first.push(match own_upid {
        None => item("upid", "identity of the process: unlike a pid it never comes again", upid, span, true),
        Some(own) => {
            require(&own, &schema, SqlType::BigInt, scope.text)?;
            own
        }
    });
    first.extend(items);
    Ok(first)
}

/// The last column of a probe that samples.
const WEIGHT_COLUMN: &str = "sample_weight";
const WEIGHT_COMMENT: &str = "how many events the row stands for; sum(sample_weight) estimates their number";

fn refuse_own_weight(items: &[Item], text: &str) -> Result<(), SqlError> {
    let Some(own) = items.iter().find(|item| item.name == WEIGHT_COLUMN) else { return Ok(()) };
    Err(SqlError::new(
        SqlState::RESERVED_NAME,
        format!("column \"{WEIGHT_COLUMN}\" of a probe that samples is filled by the node itself"),
    )
    .hint("Give it another name with AS.")
    .at(position::of_span(text, own.planned.span)))
}

fn item(name: &str, comment: &str, expr: Expr, span: Span, nullable: bool) -> Item {
    Item {
        planned: Planned { expr, span, text: name.to_owned() },
        name: name.to_owned(),
        comment: Some(comment.to_owned()),
        nullable: Some(nullable),
    }
}

fn require(item: &Item, schema: &DFSchema, sql_type: SqlType, text: &str) -> Result<(), SqlError> {
    let column = item.column(schema, text)?;
    if column.sql_type == sql_type {
        return Ok(());
    }
    Err(SqlError::new(
        SqlState::DATATYPE_MISMATCH,
        format!("column \"{}\" of a probe is {}, not {}", item.name, sql_type.sql(), column.sql_type.sql()),
    )
    .hint("Give it another name with AS.")
    .at(position::of_span(text, item.planned.span)))
}

fn after_part(split: &Split, columns: &[OutputColumn], binder: &Binder, text: &str) -> Result<AfterPart, SqlError> {
    let schema = split.record_schema()?;
    let physical = |planned: &Planned| binder.physical(planned, &schema, text);
    let filters = split.after_filters.iter().map(physical).collect::<Result<_, _>>()?;
    let outputs = split.outputs.iter().map(physical).collect::<Result<_, _>>()?;
    let record_schema = Arc::new(schema.as_arrow().clone());
    Ok(AfterPart::new(record_schema, output_schema(columns), filters, outputs, split.asks_for_processes()))
}

fn output_schema(columns: &[OutputColumn]) -> SchemaRef {
    let fields =
        columns.iter().map(|column| field(&column.name, column.sql_type, column.nullable, column.comment.as_deref()));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

#[cfg(test)]
pub(crate) mod tests;
