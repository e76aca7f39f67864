//! JSON: values are texts, and are read where an operator or a function asks for them. The text of `json` is what was written,
//! that of `jsonb` its normal form, whose parts are in normal form too.

mod aggregates; // json_agg, json_object_agg.
mod build; // to_json, json_build_array, json_build_object.
mod compare; // Order and equality of jsonb.
mod edit; // jsonb with parts put in and taken out.
mod look; // What -> ->> #> #>> @> ? and their functions find.
mod operators; // Which function an operator is.
mod read; // A text as JSON.
mod write; // A value as PostgreSQL prints jsonb.

use std::borrow::Cow;

use arrow::array::Array;
use arrow::datatypes::{DataType, Field};
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::logical_expr::{AggregateUDF, ScalarUDF};
use probepilot_sql::types::TYPE_KEY;
use probepilot_sql::{SqlError, SqlState};

use super::array_elements;
use super::by_row::{ByRow, text};

pub(super) use operators::operator;
pub(crate) use read::check;
pub(crate) use write::normal;

/// Which of the two types a value is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Json,
    Jsonb,
}

impl Kind {
    /// The type's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Json => "json",
            Kind::Jsonb => "jsonb",
        }
    }

    /// The one of two names that is of this type.
    fn pick(self, json: &'static str, jsonb: &'static str) -> &'static str {
        match self {
            Kind::Json => json,
            Kind::Jsonb => jsonb,
        }
    }

    /// The type that a field says it is of.
    pub(crate) fn of_field(field: &Field) -> Option<Kind> {
        match field.metadata().get(TYPE_KEY)?.as_str() {
            "json" => Some(Kind::Json),
            "jsonb" => Some(Kind::Jsonb),
            _ => None,
        }
    }

    /// A value's text as one of this type: `jsonb` is in its normal form already where the field says so.
    fn document<'v>(self, field: &Field, value: &'v ScalarValue) -> Result<Cow<'v, str>> {
        let Some(text) = text(value) else {
            let message =
                format!("cannot cast type {} to {}", super::aggregates::sql_name(&value.data_type()), self.name());
            return Err(refused(SqlState("42846"), message));
        };
        if self == Kind::Json || Kind::of_field(field) == Some(Kind::Jsonb) {
            return Ok(Cow::Borrowed(text));
        }
        normal(text).map(Cow::Owned).map_err(external)
    }
}

/// Functions over a value.
pub(super) fn all() -> Vec<ScalarUDF> {
    let mut all = vec![json_in(), jsonb_in()];
    all.extend([look::all(), build::all(), edit::all(), compare::all()].into_iter().flatten());
    all
}

/// Functions over many.
pub(super) fn aggregates() -> Vec<AggregateUDF> {
    aggregates::all()
}

/// The cast to `json`.
pub(crate) fn json_in() -> ScalarUDF {
    let function = ByRow::typed("json_in", 1..=1, DataType::Utf8View, |_, fields, values| {
        let document = Kind::Json.document(&fields[0], &values[0])?;
        if Kind::of_field(&fields[0]).is_none() {
            check(&document).map_err(external)?;
        }
        Ok(ScalarValue::Utf8View(Some(document.into_owned())))
    });
    function.of_type("json").into_udf()
}

/// The cast to `jsonb`.
pub(crate) fn jsonb_in() -> ScalarUDF {
    let function = ByRow::typed("jsonb_in", 1..=1, DataType::Utf8View, |_, fields, values| {
        let document = Kind::Jsonb.document(&fields[0], &values[0])?;
        Ok(ScalarValue::Utf8View(Some(document.into_owned())))
    });
    function.of_type("jsonb").into_udf()
}

/// The texts of an array, or of a literal such as `{a,b}`.
fn steps(value: &ScalarValue) -> Result<Vec<Option<String>>> {
    if let Some(literal) = text(value) {
        return array_elements(literal).ok_or_else(|| {
            refused(SqlState::INVALID_TEXT_REPRESENTATION, format!("malformed array literal: \"{literal}\""))
        });
    }
    let ScalarValue::List(array) = value else { return Ok(Vec::new()) };
    let elements = array.value(0);
    let texts = (0..elements.len()).map(|row| {
        let element = ScalarValue::try_from_array(&elements, row)?;
        Ok((!element.is_null()).then(|| text(&element).map_or_else(|| element.to_string(), str::to_owned)))
    });
    texts.collect()
}

fn refused(state: SqlState, message: impl Into<String>) -> DataFusionError {
    external(SqlError::new(state, message))
}

fn external(error: SqlError) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}
