//! INSERT: where rows go, where they come from, and how values become those of their columns.

mod assign; // Values of a query, as a column takes them.
mod cells; // VALUES of nothing but constants and parameters.
mod copy; // COPY FROM.
mod input; // Texts as values of a type.
mod pending; // Rows that wait for the end of their transaction, and their way into the log.
mod target; // The table and the columns of an INSERT.

pub use copy::CopyIn;
pub(crate) use pending::SHOWN_WAIT_MAX;
pub use pending::{Lanes, Pending};
pub(crate) use target::{Target, plain};

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::sql::sqlparser::ast::{self, SelectItem, SetExpr, Spanned, ValueWithSpan};
use probepilot_catalog::batch::Batch;
use probepilot_catalog::table::TableKind;
use probepilot_sql::{SqlError, SqlState, SqlType, parameters, position};

use assign::Origin;
use cells::Cells;

/// Where an INSERT's rows come from.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// Constants and parameters.
    Cells(Cells),
    /// Anything else: a query, planned, with what is known of each of its columns.
    Query { plan: Box<LogicalPlan>, origins: Vec<Origin> },
}

/// What stands in `INSERT INTO … <source>`, before it is planned.
pub(crate) enum Written {
    Cells(Cells),
    Query(Box<ast::Query>),
}

/// Refuses what PostgreSQL knows of INSERT and we do not do.
pub(crate) fn check(insert: &ast::Insert, text: &str) -> Result<(), SqlError> {
    let at = |span| position::of_span(text, span);
    let table = at(insert.table.span());
    if let Some(on) = &insert.on {
        return Err(SqlError::unsupported("ON CONFLICT is not supported")
            .hint("Tables are append-only and have no unique columns: every row is inserted.")
            .at(at(on.span()).or(table)));
    }
    if let Some(returning) = &insert.returning {
        return Err(SqlError::unsupported("RETURNING is not supported")
            .hint("A SELECT after the INSERT sees its rows.")
            .at(returning.first().and_then(|item| at(item.span())).or(table)));
    }
    if insert.overwrite || insert.replace_into || insert.ignore || !insert.assignments.is_empty() {
        return Err(SqlError::new(SqlState::SYNTAX_ERROR, "this is no INSERT of PostgreSQL").at(table));
    }
    Ok(())
}

/// Reads the source for a target: its length is checked, DEFAULT is NULL, and parameters that stand alone get the type of
/// their column.
pub(crate) fn read(
    insert: &ast::Insert,
    target: &mut Target,
    types: &mut Vec<Option<DataType>>,
    text: &str,
) -> Result<Written, SqlError> {
    let Some(source) = &insert.source else {
        return Err(SqlError::unsupported("INSERT … DEFAULT VALUES is not supported")
            .hint("Columns have no defaults: name one column and write NULL.")
            .at(position::of_span(text, insert.table.span())));
    };
    let mut source = source.clone();
    let is_plain = source.with.is_none() && source.order_by.is_none() && source.limit_clause.is_none();
    match source.body.as_mut() {
        SetExpr::Values(values) => {
            let mut width = None;
            for row in &values.rows {
                let same = *width.get_or_insert(row.len()) == row.len();
                if !same {
                    let at = row.first().and_then(|cell| position::of_span(text, cell.span()));
                    let message = "VALUES lists must all be the same length";
                    return Err(SqlError::new(SqlState::SYNTAX_ERROR, message).at(at));
                }
            }
            let first = values.rows.first().map(|row| row.iter().map(|cell| position::of_span(text, cell.span())));
            target.fit(width.unwrap_or(0), &first.into_iter().flatten().collect::<Vec<_>>())?;
            for row in &mut values.rows {
                for (cell, column) in row.iter_mut().zip(target.columns()) {
                    default_as_null(cell);
                    note_parameter(cell, column.sql_type, types);
                }
            }
            if is_plain && let Some(cells) = Cells::read(&values.rows) {
                return Ok(Written::Cells(cells));
            }
        }
        SetExpr::Select(select) => {
            let columns = target.columns().map(|column| column.sql_type).collect::<Vec<_>>();
            for (item, sql_type) in select.projection.iter().zip(columns) {
                match item {
                    SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => {
                        note_parameter(expr, sql_type, types);
                    }
                    // What stands behind it belongs to other columns.
                    _ => break,
                }
            }
        }
        _ => {}
    }
    Ok(Written::Query(source))
}

/// `DEFAULT` as a whole value: columns have none, so it is NULL.
fn default_as_null(cell: &mut ast::Expr) {
    if let ast::Expr::Identifier(word) = cell
        && word.quote_style.is_none()
        && word.value.eq_ignore_ascii_case("default")
    {
        *cell = ast::Expr::Value(ValueWithSpan { value: ast::Value::Null, span: word.span });
    }
}

/// A parameter that stands for a whole value is of its column's type, unless the client says something else.
fn note_parameter(expr: &ast::Expr, sql_type: SqlType, types: &mut Vec<Option<DataType>>) {
    let ast::Expr::Value(ValueWithSpan { value: ast::Value::Placeholder(name), .. }) = expr else { return };
    let Some(number) = parameters::number(name) else { return };
    if types.len() < number {
        types.resize(number, None);
    }
    types[number - 1].get_or_insert_with(|| sql_type.arrow());
}

/// What is known of the columns of a planned source, which are as many as the target has.
pub(crate) fn origins(source: &ast::Query, plan: &LogicalPlan, text: &str) -> Vec<Origin> {
    let places = places(source, text);
    let unknown = unknown_columns(plan);
    let columns = plan.schema().fields().iter().enumerate();
    columns
        .map(|(index, _)| Origin {
            unknown: unknown.get(index).copied().unwrap_or(false),
            at: places.get(index).copied().flatten(),
        })
        .collect()
}

/// Where each column of the source stands, as far as that can be told.
fn places(source: &ast::Query, text: &str) -> Vec<Option<u32>> {
    match source.body.as_ref() {
        SetExpr::Select(select) => {
            let plain = select
                .projection
                .iter()
                .take_while(|item| matches!(item, SelectItem::UnnamedExpr(_) | SelectItem::ExprWithAlias { .. }));
            plain.map(|item| position::of_span(text, item.span())).collect()
        }
        SetExpr::Values(values) => values
            .rows
            .first()
            .map_or_else(Vec::new, |row| row.iter().map(|cell| position::of_span(text, cell.span())).collect()),
        _ => Vec::new(),
    }
}

/// Which columns are constants in quotes, whose type their target decides.
fn unknown_columns(plan: &LogicalPlan) -> Vec<bool> {
    let is_text = |expr: &Expr| {
        let expr = match expr {
            Expr::Alias(alias) => alias.expr.as_ref(),
            other => other,
        };
        match expr {
            Expr::Literal(value, _) => matches!(
                value,
                ScalarValue::Utf8(_) | ScalarValue::Utf8View(_) | ScalarValue::LargeUtf8(_) | ScalarValue::Null
            ),
            Expr::Placeholder(_) => true,
            _ => false,
        }
    };
    match plan {
        LogicalPlan::Projection(projection) => match projection.input.as_ref() {
            LogicalPlan::Values(values) => of_rows(&values.values, is_text),
            _ => projection.expr.iter().map(is_text).collect(),
        },
        LogicalPlan::Values(values) => of_rows(&values.values, is_text),
        LogicalPlan::Sort(sort) => unknown_columns(&sort.input),
        LogicalPlan::Limit(limit) => unknown_columns(&limit.input),
        _ => Vec::new(),
    }
}

/// A column of VALUES with one constant in quotes was made text as a whole.
fn of_rows(rows: &[Vec<Expr>], is_text: impl Fn(&Expr) -> bool) -> Vec<bool> {
    let width = rows.first().map_or(0, Vec::len);
    (0..width).map(|column| rows.iter().any(|row| row.get(column).is_some_and(&is_text))).collect()
}

impl Target {
    /// Rows of a query, in the columns of the target, as rows of the table.
    pub(crate) fn rows(
        &self,
        given: &RecordBatch,
        origins: &[Origin],
        zone: arrow::array::timezone::Tz,
    ) -> Result<Batch, SqlError> {
        let mut columns: Vec<Option<ArrayRef>> = vec![None; self.table.schema.fields().len()];
        let fields = given.schema_ref().fields().iter().zip(given.columns());
        for (((field, values), &index), origin) in fields.zip(&self.indexes).zip(origins) {
            let column = &self.table.definition.columns[index];
            let values = assign::assign(values, field, column, *origin, zone).map_err(|error| error.at(origin.at))?;
            columns[index] = Some(values);
        }
        self.batch(columns, given.num_rows())
    }

    /// Rows of the table; columns that are not there are NULL.
    pub(crate) fn batch(&self, columns: Vec<Option<ArrayRef>>, rows: usize) -> Result<Batch, SqlError> {
        let schema: &SchemaRef = &self.table.schema;
        let columns: Vec<ArrayRef> = columns
            .into_iter()
            .zip(schema.fields())
            .map(|(column, field)| column.unwrap_or_else(|| arrow::array::new_null_array(field.data_type(), rows)))
            .collect();
        for (column, field) in columns.iter().zip(schema.fields()) {
            if !field.is_nullable() && column.null_count() > 0 {
                let row = (0..rows).find(|row| column.is_null(*row)).unwrap_or(0);
                let message = format!(
                    "null value in column \"{}\" of relation \"{}\" violates not-null constraint",
                    field.name(),
                    self.table.definition.name.name
                );
                return Err(SqlError::new(SqlState::NOT_NULL_VIOLATION, message).detail(failing(&columns, row)));
            }
        }
        let rows = RecordBatch::try_new(Arc::clone(schema), columns)
            .map_err(|error| SqlError::internal("inserted values do not fit their columns", error))?;
        Ok(Batch { table: self.table.id, rows })
    }

    /// 0A000 for a table that others fill.
    pub(crate) fn takes_rows(&self, at: Option<u32>) -> Result<(), SqlError> {
        if self.table.definition.kind == TableKind::Inserted {
            return Ok(());
        }
        Err(SqlError::unsupported(format!("table \"{}\" takes no rows from clients", self.table.definition.name))
            .hint("Its rows come from a probe, or are our own. Rows of yours go into a table made by CREATE TABLE.")
            .at(at))
    }
}

/// The values of a row that is refused.
fn failing(columns: &[ArrayRef], row: usize) -> String {
    let value = |column: &ArrayRef| match column.is_null(row) {
        true => "null".to_owned(),
        false => arrow::util::display::array_value_to_string(column, row).unwrap_or_default(),
    };
    format!("Failing row contains ({}).", columns.iter().map(value).collect::<Vec<_>>().join(", "))
}
