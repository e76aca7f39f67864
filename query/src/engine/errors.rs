//! The planner's and the operators' errors in PostgreSQL's codes: by their type, never by their text.

use std::error::Error;

use arrow::error::ArrowError;
use datafusion::common::{Column, DataFusionError, SchemaError, Span};
use datafusion::sql::sqlparser::tokenizer::Location;
use parquet::errors::ParquetError;
use probepilot_sql::{SqlError, SqlState, position};

use super::nearest;
use crate::scan::SegmentError;

/// The numeric value does not fit its type.
const NUMERIC_VALUE_OUT_OF_RANGE: SqlState = SqlState("22003");

/// An error in a call of a function, whose place is found by the function's name.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub(crate) struct FunctionError {
    name: String,
    error: SqlError,
}

impl FunctionError {
    /// The error of a call of `name`.
    pub(crate) fn wrap(name: &str, error: SqlError) -> DataFusionError {
        DataFusionError::External(Box::new(FunctionError { name: name.to_owned(), error }))
    }
}

/// The function in whose call an error is, and the error.
pub(super) fn of_function(error: &DataFusionError) -> Option<(&str, SqlError)> {
    let found = chain(error).find_map(|error| error.downcast_ref::<FunctionError>())?;
    Some((&found.name, copy(&found.error)))
}

/// Translates an error of planning or running `text`.
pub(super) fn translate(error: DataFusionError, text: &str) -> SqlError {
    let at = span(&error).and_then(|span| {
        let location = Location { line: span.start.line, column: span.start.column };
        position::of_location(text, location)
    });
    match unwrap_sql_error(error) {
        Ok(error) => {
            let position = error.position.or(at);
            error.at(position)
        }
        Err(error) => classify(&error).at(at).caused_by(error),
    }
}

/// The first place the planner points at.
fn span(error: &DataFusionError) -> Option<Span> {
    match error {
        DataFusionError::Diagnostic(diagnostic, inner) => diagnostic.span.or_else(|| span(inner)),
        DataFusionError::Context(_, inner) => span(inner),
        DataFusionError::Collection(errors) => errors.iter().find_map(span),
        DataFusionError::Shared(inner) => span(inner),
        _ => None,
    }
}

/// Takes our own error out of the planner's wrappings, or gives the error back.
fn unwrap_sql_error(error: DataFusionError) -> Result<SqlError, DataFusionError> {
    match error {
        DataFusionError::External(inner) => match inner.downcast::<SqlError>() {
            Ok(error) => Ok(*error),
            Err(inner) => match inner.downcast::<FunctionError>() {
                Ok(of_function) => Ok(of_function.error),
                Err(inner) => match inner.downcast::<DataFusionError>() {
                    Ok(error) => unwrap_sql_error(*error),
                    Err(inner) => Err(DataFusionError::External(inner)),
                },
            },
        },
        DataFusionError::Context(context, inner) => {
            unwrap_sql_error(*inner).map_err(|inner| DataFusionError::Context(context, Box::new(inner)))
        }
        DataFusionError::Diagnostic(diagnostic, inner) => {
            unwrap_sql_error(*inner).map_err(|inner| DataFusionError::Diagnostic(diagnostic, Box::new(inner)))
        }
        DataFusionError::ArrowError(inner, note) => match *inner {
            ArrowError::ExternalError(inner) => unwrap_sql_error(DataFusionError::External(inner)),
            inner => Err(DataFusionError::ArrowError(Box::new(inner), note)),
        },
        DataFusionError::Collection(mut errors) if !errors.is_empty() => unwrap_sql_error(errors.remove(0)),
        DataFusionError::Shared(inner) => match find_sql_error(&inner) {
            Some(error) => Ok(copy(error)),
            None => Err(DataFusionError::Shared(inner)),
        },
        other => Err(other),
    }
}

fn find_sql_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a SqlError> {
    chain(error).find_map(|error| error.downcast_ref::<SqlError>())
}

fn copy(error: &SqlError) -> SqlError {
    SqlError {
        state: error.state,
        message: error.message.clone(),
        detail: error.detail.clone(),
        hint: error.hint.clone(),
        context: error.context.clone(),
        position: error.position,
        cause: None,
    }
}

fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    let mut next = Some(error);
    std::iter::from_fn(move || {
        let error = next?;
        next = error.source();
        Some(error)
    })
}

fn classify(error: &DataFusionError) -> SqlError {
    if let Some(segment) = segment_error(error) {
        return segment;
    }
    match error {
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => classify(inner),
        DataFusionError::Shared(inner) => classify(inner),
        DataFusionError::Collection(errors) => match errors.first() {
            Some(first) => classify(first),
            None => SqlError::new(SqlState::INTERNAL_ERROR, "the planner failed without an error"),
        },
        DataFusionError::SchemaError(error, _) => schema_error(error),
        DataFusionError::SQL(error, _) => SqlError::new(SqlState::SYNTAX_ERROR, sentence(&error.to_string())),
        DataFusionError::Plan(message) => SqlError::new(SqlState("42000"), sentence(message)),
        DataFusionError::Configuration(message) => SqlError::new(SqlState::INVALID_PARAMETER_VALUE, sentence(message)),
        DataFusionError::NotImplemented(message) => SqlError::unsupported(sentence(message)),
        DataFusionError::ArrowError(error, _) => arrow_error(error),
        DataFusionError::Execution(message) => SqlError::new(SqlState::DATA_EXCEPTION, sentence(message)),
        DataFusionError::ResourcesExhausted(message) => {
            SqlError::new(SqlState::OUT_OF_MEMORY, "out of memory for queries")
                .detail(format!("{}.", capital(message)))
                .hint("Narrow the time range or the columns, or give the server more with --memory.")
        }
        DataFusionError::ParquetError(error) => SqlError::new(SqlState::DATA_CORRUPTED, sentence(&error.to_string())),
        DataFusionError::ObjectStore(error) => SqlError::new(SqlState::IO_ERROR, sentence(&error.to_string())),
        DataFusionError::IoError(error) => SqlError::new(SqlState::IO_ERROR, sentence(&error.to_string())),
        other => SqlError::new(SqlState::INTERNAL_ERROR, sentence(&other.strip_backtrace())),
    }
}

/// A segment that could not be read, wherever it is in the chain.
fn segment_error(error: &DataFusionError) -> Option<SqlError> {
    let segment = chain(error).find_map(|error| {
        error.downcast_ref::<SegmentError>().or_else(|| match error.downcast_ref::<ParquetError>() {
            Some(ParquetError::External(inner)) => inner.downcast_ref::<SegmentError>(),
            _ => None,
        })
    })?;
    Some(self::segment(segment))
}

/// Whether bytes of a segment made no sense, and the error does not say of which.
pub(super) fn is_unnamed_damage(error: &DataFusionError) -> bool {
    let of_parquet = chain(error).any(|error| {
        error.is::<ParquetError>()
            || matches!(error.downcast_ref(), Some(ArrowError::ParquetError(_)))
            || matches!(error.downcast_ref(), Some(DataFusionError::ParquetError(_)))
    });
    of_parquet && segment_error(error).is_none()
}

/// A segment that cannot be read, as the user is told.
pub(super) fn segment(segment: &SegmentError) -> SqlError {
    let missing = matches!(&segment.source, ParquetError::External(inner)
        if matches!(inner.downcast_ref::<object_store::Error>(), Some(object_store::Error::NotFound { .. })));
    let unreachable = matches!(&segment.source, ParquetError::External(inner)
        if inner.downcast_ref::<object_store::Error>().is_some());
    let (state, why) = match (missing, unreachable) {
        (true, _) => (SqlState::DATA_CORRUPTED, "is missing"),
        (_, true) => (SqlState::IO_ERROR, "cannot be fetched"),
        _ => (SqlState::DATA_CORRUPTED, "is damaged"),
    };
    SqlError::new(state, format!("segment \"{}\" {why}", segment.path))
        .detail(format!("{}.", capital(&segment.source.to_string())))
}

fn schema_error(error: &SchemaError) -> SqlError {
    match error {
        SchemaError::FieldNotFound { field, valid_fields } => {
            let error = SqlError::new(SqlState::UNDEFINED_COLUMN, format!("column {} does not exist", shown(field)));
            let names = valid_fields.iter().map(|column| column.name.as_str());
            match nearest::hint(&nearest::nearest(&field.name, names)) {
                Some(hint) => error.hint(hint),
                None => error,
            }
        }
        SchemaError::AmbiguousReference { field } => {
            SqlError::new(SqlState::AMBIGUOUS_COLUMN, format!("column reference {} is ambiguous", shown(field)))
        }
        SchemaError::DuplicateQualifiedField { name, .. } | SchemaError::DuplicateUnqualifiedField { name } => {
            SqlError::new(SqlState::DUPLICATE_COLUMN, format!("column name \"{name}\" appears more than once"))
        }
    }
}

/// `"name"` alone, `table.name` with its table, as PostgreSQL prints them.
fn shown(column: &Column) -> String {
    match &column.relation {
        Some(relation) => format!("{}.{}", relation.table(), column.name),
        None => format!("\"{}\"", column.name),
    }
}

fn arrow_error(error: &ArrowError) -> SqlError {
    match error {
        ArrowError::DivideByZero => SqlError::new(SqlState::DIVISION_BY_ZERO, "division by zero"),
        ArrowError::ArithmeticOverflow(message) => {
            SqlError::new(NUMERIC_VALUE_OUT_OF_RANGE, "value out of range").detail(format!("{}.", capital(message)))
        }
        ArrowError::CastError(message) | ArrowError::ParseError(message) => {
            SqlError::new(SqlState::INVALID_TEXT_REPRESENTATION, sentence(message))
        }
        ArrowError::NotYetImplemented(message) => SqlError::unsupported(sentence(message)),
        ArrowError::MemoryError(message) => SqlError::new(SqlState::OUT_OF_MEMORY, sentence(message)),
        ArrowError::InvalidArgumentError(message) | ArrowError::ComputeError(message) => {
            SqlError::new(SqlState::DATA_EXCEPTION, sentence(message))
        }
        ArrowError::ParquetError(message) => SqlError::new(SqlState::DATA_CORRUPTED, sentence(message)),
        other => SqlError::new(SqlState::INTERNAL_ERROR, sentence(&other.to_string())),
    }
}

/// A message of another library in our form: lower case, one line, no full stop.
fn sentence(message: &str) -> String {
    let line = message.trim().lines().next().unwrap_or_default().trim_end_matches('.');
    let mut characters = line.chars();
    match (characters.next(), characters.clone().next()) {
        (Some(first), Some(second)) if !second.is_uppercase() => first.to_lowercase().chain(characters).collect(),
        _ => line.to_owned(),
    }
}

fn capital(message: &str) -> String {
    let line = message.trim().trim_end_matches('.');
    let mut characters = line.chars();
    characters.next().map_or_else(String::new, |first| first.to_uppercase().chain(characters).collect())
}
