//! Parameters (`$1`) of queries that no planner of tables sees: found, and replaced by what they stand for.

use std::ops::ControlFlow;

use arrow::datatypes::{DataType, Field};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::common::ScalarValue;
use datafusion::sql::sqlparser::ast::{
    self, Expr, LimitClause, Query, ValueWithSpan, visit_expressions, visit_expressions_mut,
};
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Span;

use crate::dialect::ProbeDialect;
use crate::types::SqlType;
use crate::{SqlError, SqlState, position};

/// The highest number of a parameter; the protocol counts them with sixteen bits.
pub const PARAMETERS_MAX: usize = 65_535;

/// The number of a placeholder, from 1; `None` for what is no parameter's.
pub fn number(placeholder: &str) -> Option<usize> {
    let number = placeholder.strip_prefix('$')?.parse::<usize>().ok()?;
    (1..=PARAMETERS_MAX).contains(&number).then_some(number)
}

/// The highest number of the query's parameters; 0 when it has none.
///
/// # Errors
/// 42P02 for a placeholder that is no parameter.
pub fn highest(query: &Query, text: &str) -> Result<usize, SqlError> {
    let mut highest = 0;
    let found = visit_expressions(query, |expression| {
        let Some((name, span)) = placeholder(expression) else { return ControlFlow::Continue(()) };
        match number(name) {
            Some(number) => highest = highest.max(number),
            None => return ControlFlow::Break(missing(name, span, text)),
        }
        ControlFlow::Continue(())
    });
    match found {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(highest),
    }
}

/// The query with values, each as a literal of its type, where its parameters stand.
///
/// # Errors
/// 42P02 for a parameter without a value, 0A000 for a value that no literal can say.
pub fn substitute(query: &Query, values: &[ScalarValue], text: &str) -> Result<Query, SqlError> {
    let mut query = query.clone();
    if let Some(LimitClause::LimitOffset { limit: Some(limit), .. }) = &mut query.limit_clause {
        write_limit(limit, values);
    }
    let replaced = visit_expressions_mut(&mut query, |expression| {
        let Some((name, span)) = placeholder(expression) else { return ControlFlow::Continue(()) };
        let value = number(name).and_then(|number| values.get(number - 1));
        match value.ok_or_else(|| missing(name, span, text)).and_then(|value| literal(value, span, text)) {
            Ok(literal) => *expression = literal,
            Err(error) => return ControlFlow::Break(error),
        }
        ControlFlow::Continue(())
    });
    match replaced {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(query),
    }
}

/// A limit is written without a type, whatever type a client's number has. Everything else is left as it is.
fn write_limit(limit: &mut Expr, values: &[ScalarValue]) {
    let Some((name, span)) = placeholder(limit) else { return };
    let Some(value) = number(name).and_then(|number| values.get(number - 1)) else { return };
    let value = match value.cast_to(&DataType::Int64) {
        Ok(ScalarValue::Int64(Some(rows))) if rows >= 0 => ast::Value::Number(rows.to_string(), false),
        Ok(ScalarValue::Int64(None)) => ast::Value::Null,
        _ => return,
    };
    *limit = Expr::Value(ValueWithSpan { value, span });
}

/// Name and place of a placeholder; `None` for every other expression.
fn placeholder(expression: &Expr) -> Option<(&str, Span)> {
    match expression {
        Expr::Value(ValueWithSpan { value: ast::Value::Placeholder(name), span }) => Some((name, *span)),
        _ => None,
    }
}

fn missing(name: &str, span: Span, text: &str) -> SqlError {
    SqlError::new(SqlState("42P02"), format!("there is no parameter {name}")).at(position::of_span(text, span))
}

/// The value as SQL says it, at the parameter's place.
fn literal(value: &ScalarValue, span: Span, text: &str) -> Result<Expr, SqlError> {
    let at = position::of_span(text, span);
    let data_type = value.data_type();
    let refused =
        || SqlError::unsupported(format!("a parameter of type {data_type} is not supported in a query on a hook"));
    let sql_type = SqlType::of_field(&Field::new("parameter", data_type.clone(), true));
    let sql_type = sql_type.filter(|_| !data_type.is_nested()).ok_or_else(|| refused().at(at))?;
    let plain = plain(value).map_err(|error| error.at(at))?;
    let sql = match data_type {
        // What a number that somebody writes is: also where a number must be written.
        DataType::Int64 if !value.is_null() => plain,
        DataType::Boolean if !value.is_null() => plain,
        _ => format!("CAST({plain} AS {})", sql_type.sql()),
    };
    let parsed = Parser::new(&ProbeDialect).try_with_sql(&sql).and_then(|mut parser| parser.parse_expr());
    let mut parsed = parsed.map_err(|error| SqlError::internal("a value does not read as a literal", error))?;
    let _: ControlFlow<()> = visit_expressions_mut(&mut parsed, |expression| {
        if let Expr::Value(value) = expression {
            value.span = span;
        }
        ControlFlow::Continue(())
    });
    Ok(parsed)
}

/// The value without its type: a number, a word, a string.
fn plain(value: &ScalarValue) -> Result<String, SqlError> {
    let internal = |error| SqlError::internal("a value has no text", error);
    if value.is_null() {
        return Ok("NULL".to_owned());
    }
    if let ScalarValue::Binary(Some(bytes)) | ScalarValue::BinaryView(Some(bytes)) = value {
        let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        return Ok(format!("X'{digits}'"));
    }
    let array = value.to_array().map_err(|error| SqlError::internal("a value is no array", error))?;
    let options = FormatOptions::new().with_display_error(false);
    let formatter = ArrayFormatter::try_new(array.as_ref(), &options).map_err(internal)?;
    let text = formatter.value(0).try_to_string().map_err(internal)?;
    Ok(match value.data_type() {
        DataType::Boolean | DataType::Int16 | DataType::Int32 | DataType::Int64 => text,
        _ => format!("'{}'", text.replace('\'', "''")),
    })
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::ast::Statement as Sql;

    use super::*;
    use crate::parse::parse_one;
    use crate::statement::Statement;

    fn query(sql: &str) -> Query {
        match parse_one(sql).unwrap() {
            Statement::Sql(statement) => match *statement {
                Sql::Query(query) => *query,
                other => panic!("{other}"),
            },
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn values_stand_where_parameters_stood() {
        let sql = "SELECT $2 FROM tracepoint.x WHERE pid = $1 AND comm IN ($2, $3) AND ok = $4 LIMIT $5";
        let text = |text: &str| ScalarValue::Utf8View(Some(text.into()));
        let values = [
            ScalarValue::Int32(Some(-7)),
            text("it's $1"),
            ScalarValue::Utf8(None),
            ScalarValue::Boolean(Some(true)),
            ScalarValue::Int16(Some(3)),
        ];
        assert_eq!(highest(&query(sql), sql).unwrap(), 5);
        let bound = substitute(&query(sql), &values, sql).unwrap().to_string();
        assert_eq!(
            bound,
            "SELECT CAST('it''s $1' AS TEXT) FROM tracepoint.x WHERE pid = CAST(-7 AS INTEGER) AND comm IN \
             (CAST('it''s $1' AS TEXT), CAST(NULL AS TEXT)) AND ok = true LIMIT 3"
        );
        assert_eq!(highest(&query(&bound), &bound).unwrap(), 0, "text is no parameter");
    }

    #[test]
    fn what_has_no_value_is_named_at_its_place() {
        let sql = "SELECT 1 FROM tracepoint.x WHERE pid = $2";
        let error = substitute(&query(sql), &[ScalarValue::Int32(Some(1))], sql).unwrap_err();
        assert_eq!((error.state.0, error.position), ("42P02", Some(40)));
        let sql = "SELECT 1 FROM tracepoint.x WHERE pid = $99999999";
        assert_eq!(highest(&query(sql), sql).unwrap_err().position, Some(40));
        let sql = "SELECT 1 FROM tracepoint.x WHERE pid = $1";
        let list = ScalarValue::List(ScalarValue::new_list_nullable(&[], &DataType::Int32));
        assert_eq!(substitute(&query(sql), &[list], sql).unwrap_err().state.0, "0A000");
    }

    #[test]
    fn moments_and_bytes_keep_their_value() {
        let sql = "SELECT $1";
        let check = |value: ScalarValue, expected: &str| {
            assert_eq!(substitute(&query(sql), &[value], sql).unwrap().to_string(), format!("SELECT {expected}"));
        };
        let moment = ScalarValue::TimestampNanosecond(Some(1_000_000_001), Some("UTC".into()));
        check(moment, "CAST('1970-01-01T00:00:01.000000001Z' AS TIMESTAMP WITH TIME ZONE)");
        check(ScalarValue::Binary(Some(vec![0, 255])), "CAST(X'00ff' AS BYTEA)");
        check(ScalarValue::Float64(Some(0.5)), "CAST('0.5' AS DOUBLE PRECISION)");
        check(ScalarValue::Int64(Some(-5)), "-5");
    }
}
