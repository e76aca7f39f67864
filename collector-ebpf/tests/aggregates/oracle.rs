//! The answer of DataFusion to a query over the same events, its errors read as NULL row by row.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, RecordBatch};
use arrow::compute::{cast, concat, concat_batches};
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::prelude::{SessionConfig, SessionContext};

use crate::query::{Order, Query, over_groups, plain};

/// What one column of the answer may be off by, row by row.
pub type Tolerances = Vec<Option<Float64Array>>;

/// The rows that the query should give, the keys first, with what each further column may be off by.
pub async fn answer(query: &Query, events: &RecordBatch) -> Result<(RecordBatch, Tolerances)> {
    let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(1));
    let groups = groups(query, events, &context).await?;
    let mut columns: Vec<(String, ArrayRef)> = Vec::new();
    for index in 0..query.keys.len() {
        let name = format!("g{index}");
        columns.push((name.clone(), Arc::clone(groups.column_by_name(&name).expect("the keys are selected"))));
    }
    for (index, output) in query.outputs.iter().enumerate() {
        columns.push((format!("o{index}"), evaluate(&over_groups(&output.template), &groups, &context)?));
        if let Some(call) = output.rounded {
            columns.push((format!("t{index}"), Arc::new(tolerance(query.calls[call].function, call, &groups))));
        }
    }
    let having = query.having.as_deref().map_or_else(|| "true".to_owned(), over_groups);
    columns.push(("h".to_owned(), evaluate(&having, &groups, &context)?));
    for (index, Order { template, .. }) in query.order.iter().flatten().enumerate() {
        columns.push((format!("s{index}"), evaluate(&over_groups(template), &groups, &context)?));
    }
    let groups =
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, values)| (name, values, true)))?;
    let mut text = "SELECT * FROM made WHERE h".to_owned();
    if let Some(order) = &query.order {
        let terms = order.iter().enumerate().map(|(index, order)| format!("s{index} {}", order.direction));
        let keys = (0..query.keys.len()).map(|index| format!("g{index}"));
        text += &format!(" ORDER BY {}", terms.chain(keys).collect::<Vec<_>>().join(", "));
    }
    if let Some(limit) = query.limit {
        text += &format!(" LIMIT {limit}");
    }
    let rows = run(&context, "made", groups, &text).await?;
    let tolerances = (0..query.outputs.len())
        .map(|index| {
            rows.column_by_name(&format!("t{index}")).map(|column| column.as_primitive::<Float64Type>().clone())
        })
        .collect();
    Ok((rows, tolerances))
}

/// Keys `g…` and aggregates `a…` of each group; for each aggregate the number `n…` and greatest size `m…` of its values.
async fn groups(query: &Query, events: &RecordBatch, context: &SessionContext) -> Result<RecordBatch> {
    let mut columns: Vec<(String, ArrayRef)> = Vec::new();
    let mut add = |name: String, expression: &str| -> Result<()> {
        columns.push((name, evaluate(&plain(expression), events, context)?));
        Ok(())
    };
    add("f".to_owned(), query.filter.as_deref().unwrap_or("true"))?;
    let (mut selected, mut keys) = (Vec::new(), Vec::new());
    for (index, key) in query.keys.iter().enumerate() {
        add(format!("g{index}"), key)?;
        selected.push(format!("g{index}"));
        keys.push(format!("g{index}"));
    }
    for (index, call) in query.calls.iter().enumerate() {
        if let Some(argument) = &call.argument {
            add(format!("x{index}"), argument)?;
        }
        add(format!("c{index}"), call.condition.as_deref().unwrap_or("true"))?;
        let argument = call.argument.as_ref().map_or("*".to_owned(), |_| format!("x{index}"));
        let condition = call.condition.as_ref().map(|_| format!("c{index}"));
        selected.push(format!("{} AS a{index}", call.text(&argument, condition.as_deref())));
        if call.is_rounded() {
            selected.push(format!("count(x{index}) AS n{index}"));
            selected.push(format!("max(abs(CAST(x{index} AS double))) AS m{index}"));
        }
    }
    let events =
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, values)| (name, values, true)))?;
    let mut text = format!("SELECT {} FROM events WHERE f", selected.join(", "));
    if !keys.is_empty() {
        text += &format!(" GROUP BY {}", keys.join(", "));
    }
    run(context, "events", events, &text).await
}

async fn run(context: &SessionContext, table: &str, rows: RecordBatch, text: &str) -> Result<RecordBatch> {
    context.register_batch(table, rows)?;
    let frame = context.sql(text).await?;
    let schema = Arc::new(frame.schema().as_arrow().clone());
    Ok(concat_batches(&schema, &frame.collect().await?)?)
}

/// The expression over each row; where it fails, NULL. What fails for another reason than the row's values fails here.
fn evaluate(expression: &str, rows: &RecordBatch, context: &SessionContext) -> Result<ArrayRef> {
    let schema = Arc::new(DFSchema::try_from(rows.schema().as_ref().clone())?);
    let state = context.state();
    // Simplified as the plan of a whole query is: some functions run in no other form.
    let simplifier = ExprSimplifier::new(SimplifyContext::builder().with_schema(Arc::clone(&schema)).build());
    let planned = simplifier.coerce(state.create_logical_expr(expression, &schema)?, &schema)?;
    let planned = state.create_physical_expr(simplifier.simplify(planned)?, &schema)?;
    let over = |rows: &RecordBatch| planned.evaluate(rows)?.into_array(rows.num_rows());
    if let Ok(values) = over(rows) {
        return Ok(values);
    }
    let null = ScalarValue::try_from(&planned.data_type(rows.schema_ref())?)?.to_array()?;
    let value = |row: usize| match over(&rows.slice(row, 1)) {
        Err(DataFusionError::ArrowError(..) | DataFusionError::Execution(_)) => Ok(Arc::clone(&null)),
        outcome => outcome,
    };
    let values = (0..rows.num_rows()).map(value).collect::<Result<Vec<_>>>()?;
    Ok(concat(&values.iter().map(AsRef::as_ref).collect::<Vec<_>>())?)
}

/// What two right computations in double precision may differ by, for n values of at most m.
///
/// DataFusion first rounds integers to double precision (m · ε each) and then adds them up, rounding each time; we add
/// integers up exactly, and round once. A sum of n is off by n² · m · ε at most, a mean by n · m · ε. A deviation, by
/// Welford's method, is off by its share n · ε and by the values' own rounding: n · m · ε bounds both.
fn tolerance(function: &str, call: usize, groups: &RecordBatch) -> Float64Array {
    let column = |letter: char| groups.column_by_name(&format!("{letter}{call}")).expect("it was selected");
    let counts = column('n').as_primitive::<Int64Type>();
    let greatest = cast(column('m'), &DataType::Float64).expect("it is a number already");
    let greatest = greatest.as_primitive::<Float64Type>();
    (0..groups.num_rows())
        .map(|row| {
            let greatest = if greatest.is_null(row) { 0.0 } else { greatest.value(row) };
            let count = counts.value(row) as f64;
            let mean = 4.0 * count * greatest * f64::EPSILON;
            Some(match function {
                "sum" => mean * count,
                // (s + δ)² − s² = δ · (2s + δ), and no deviation is more than 2m.
                "var" | "var_pop" => mean * (4.0 * greatest + mean),
                _ => mean,
            })
        })
        .collect()
}
