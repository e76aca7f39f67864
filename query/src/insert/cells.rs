//! VALUES of nothing but constants and parameters: what most clients send. Each becomes a value of its column without a plan.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::array::timezone::Tz;
use datafusion::common::ScalarValue;
use datafusion::sql::sqlparser::ast::{self, Expr, Spanned, UnaryOperator, Value, ValueWithSpan};
use datafusion::sql::sqlparser::tokenizer::Span;
use probepilot_catalog::batch::Batch;
use probepilot_catalog::table::Column;
use probepilot_sql::{SqlError, SqlState, SqlType, parameters, position, types};

use super::Target;
use super::assign::{self, Origin};
use super::input;

/// A value as it is written.
#[derive(Clone, Debug)]
enum Cell {
    Null,
    Boolean(bool),
    /// In quotes: its column says what it is.
    Text(String),
    /// With its sign.
    Number(String),
    /// From 0.
    Parameter(usize),
}

/// Rows of values, each with its place in the statement.
#[derive(Clone, Debug)]
pub(crate) struct Cells {
    rows: Arc<Vec<Vec<(Cell, Span)>>>,
}

impl Cells {
    /// The rows; `None` when anything in them must be planned.
    pub fn read(rows: &[ast::Parens<Vec<Expr>>]) -> Option<Cells> {
        let rows =
            rows.iter().map(|row| row.iter().map(|cell| Some((read(cell)?, cell.span()))).collect::<Option<Vec<_>>>());
        Some(Cells { rows: Arc::new(rows.collect::<Option<Vec<_>>>()?) })
    }

    /// The highest parameter's number, from 1; 0 without any.
    pub fn parameters(&self) -> usize {
        let numbers = self.rows.iter().flatten().filter_map(|(cell, _)| match cell {
            Cell::Parameter(index) => Some(index + 1),
            _ => None,
        });
        numbers.max().unwrap_or(0)
    }

    /// The rows as rows of the table; `text` is the statement, for positions.
    pub fn rows(&self, target: &Target, values: &[ScalarValue], zone: Tz, text: &str) -> Result<Batch, SqlError> {
        let mut columns: Vec<Option<ArrayRef>> = vec![None; target.table.definition.columns.len()];
        for (place, &index) in target.indexes.iter().enumerate() {
            let column = &target.table.definition.columns[index];
            let cells = self.rows.iter().map(|row| {
                let (cell, span) = &row[place];
                value(cell, column, values, zone).map_err(|error| error.at(position::of_span(text, *span)))
            });
            let cells = cells.collect::<Result<Vec<_>, _>>()?;
            let array = ScalarValue::iter_to_array(cells)
                .map_err(|error| SqlError::internal("values do not make a column", error))?;
            columns[index] = Some(array);
        }
        target.batch(columns, self.rows.len())
    }
}

fn read(cell: &Expr) -> Option<Cell> {
    let signed = |minus: bool, expr: &Expr| match expr {
        Expr::Value(ValueWithSpan { value: Value::Number(number, _), .. }) => {
            Some(Cell::Number(if minus { format!("-{number}") } else { number.clone() }))
        }
        _ => None,
    };
    match cell {
        Expr::Value(ValueWithSpan { value, .. }) => match value {
            Value::Null => Some(Cell::Null),
            Value::Boolean(value) => Some(Cell::Boolean(*value)),
            Value::Number(number, _) => Some(Cell::Number(number.clone())),
            Value::SingleQuotedString(text) | Value::EscapedStringLiteral(text) => Some(Cell::Text(text.clone())),
            Value::DollarQuotedString(ast::DollarQuotedString { value, .. }) => Some(Cell::Text(value.clone())),
            Value::Placeholder(name) => parameters::number(name).map(|number| Cell::Parameter(number - 1)),
            _ => None,
        },
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => signed(true, expr),
        Expr::UnaryOp { op: UnaryOperator::Plus, expr } => signed(false, expr),
        _ => None,
    }
}

fn value(cell: &Cell, column: &Column, values: &[ScalarValue], zone: Tz) -> Result<ScalarValue, SqlError> {
    match cell {
        Cell::Null => null(column),
        Cell::Text(text) => input::value(text, column.sql_type, zone),
        Cell::Boolean(value) => match column.sql_type {
            SqlType::Boolean => Ok(ScalarValue::Boolean(Some(*value))),
            SqlType::Text | SqlType::Varchar(_) => input::value(&value.to_string(), column.sql_type, zone),
            _ => Err(assign::mismatch(column, "boolean")),
        },
        Cell::Number(number) => match column.sql_type {
            SqlType::SmallInt | SqlType::Integer | SqlType::BigInt => input::rounded(number, column.sql_type),
            SqlType::Real | SqlType::DoublePrecision | SqlType::Numeric(..) | SqlType::Text | SqlType::Varchar(_) => {
                input::value(number, column.sql_type, zone)
            }
            _ => {
                let whole = number.parse::<i32>().map(|_| "integer").or(number.parse::<i64>().map(|_| "bigint"));
                Err(assign::mismatch(column, whole.unwrap_or("numeric")))
            }
        },
        Cell::Parameter(index) => {
            let missing = || SqlError::new(SqlState("42P02"), format!("there is no parameter ${}", index + 1));
            let value = values.get(*index).ok_or_else(missing)?;
            if value.is_null() {
                return null(column);
            }
            let array = value.to_array().map_err(|error| SqlError::internal("a value is no array", error))?;
            let field = arrow::datatypes::Field::new("parameter", value.data_type(), true);
            let array = assign::assign(&array, &field, column, Origin { unknown: true, at: None }, zone)?;
            ScalarValue::try_from_array(&array, 0).map_err(|error| SqlError::internal("a value was lost", error))
        }
    }
}

fn null(column: &Column) -> Result<ScalarValue, SqlError> {
    let data_type = types::field("", column.sql_type, true, None).data_type().clone();
    ScalarValue::try_from(&data_type).map_err(|error| SqlError::internal("a type has no NULL", error))
}
