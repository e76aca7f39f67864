//! `to_char(value, template)`: times, intervals and numbers in PostgreSQL's template patterns.

mod clock; // What a template shows of a time or an interval.
mod number; // Templates of numbers.
mod template; // Templates of times and intervals.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Decimal128Type, Float64Type, Int64Type, IntervalMonthDayNanoType, IntervalUnit, TimeUnit,
    TimestampNanosecondType,
};
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use probepilot_sql::{SqlError, SqlState};

use self::clock::Clock;
use self::number::Number;
use self::template::Template;
use super::aggregates::sql_name;
use super::zone::Zone;

/// Characters of a template at most; a longer one is refused (22023).
const TEMPLATE_CHARACTERS_MAX: usize = 1_000;

/// The function.
pub(super) fn all() -> Vec<ScalarUDF> {
    vec![ScalarUDF::new_from_impl(ToChar { signature: Signature::any(2, Volatility::Stable) })]
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct ToChar {
    signature: Signature,
}

/// What kind of template a type takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Time,
    Interval,
    Number,
}

fn kind(data_type: &DataType) -> Option<Kind> {
    match data_type {
        DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 => Some(Kind::Time),
        DataType::Interval(_) | DataType::Duration(_) | DataType::Time32(_) | DataType::Time64(_) => {
            Some(Kind::Interval)
        }
        number if number.is_numeric() => Some(Kind::Number),
        DataType::Null => Some(Kind::Number),
        _ => None,
    }
}

fn error(state: SqlState, message: String) -> DataFusionError {
    DataFusionError::External(Box::new(SqlError::new(state, message)))
}

impl ScalarUDFImpl for ToChar {
    fn name(&self) -> &str {
        "to_char"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        if kind(&arguments[0]).is_none() {
            let types: Vec<String> = arguments.iter().map(sql_name).collect();
            let message = format!("function to_char({}) does not exist", types.join(", "));
            let error = SqlError::new(SqlState::UNDEFINED_FUNCTION, message);
            let hint = "It takes a timestamp, a date, an interval or a number, and a template.";
            return Err(DataFusionError::External(Box::new(error.hint(hint))));
        }
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let zone = Zone::of_session(&args.config_options)?;
        let scalar = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let rows = if scalar { 1 } else { args.number_rows };
        let values = args.args[0].to_array(rows)?;
        let Some(kind) = kind(values.data_type()) else { return Ok(ColumnarValue::Scalar(ScalarValue::Utf8(None))) };
        let shown = Values::new(kind, &values, &zone)?;
        let mut texts: Vec<Option<String>> = Vec::with_capacity(rows);
        match &args.args[1] {
            ColumnarValue::Scalar(template) => match template.try_as_str().flatten() {
                Some(template) => {
                    let template = shown.template(template)?;
                    for row in 0..rows {
                        texts.push(shown.text(row, &template)?);
                    }
                }
                None => texts.resize(rows, None),
            },
            ColumnarValue::Array(templates) => {
                let templates = cast(templates, &DataType::Utf8)?;
                for (row, template) in templates.as_string::<i32>().iter().enumerate() {
                    texts.push(match template {
                        Some(template) => shown.text(row, &shown.template(template)?)?,
                        None => None,
                    });
                }
            }
        }
        match scalar {
            true => Ok(ColumnarValue::Scalar(ScalarValue::Utf8(texts.pop().flatten()))),
            false => Ok(ColumnarValue::Array(Arc::new(StringArray::from(texts)))),
        }
    }
}

/// A template that was read.
enum Read {
    Clock(Template),
    Number(number::Template),
}

/// The values of a column, in a form that a template can show.
struct Values<'a> {
    array: ArrayRef,
    kind: Kind,
    /// The zone whose wall clock shows the times; `None` where they have none.
    zone: Option<&'a Zone>,
}

impl<'a> Values<'a> {
    fn new(kind: Kind, array: &ArrayRef, zone: &'a Zone) -> Result<Values<'a>> {
        // A date is a time of the session's zone, as in PostgreSQL.
        let (as_type, zone) = match (kind, array.data_type()) {
            (Kind::Time, DataType::Timestamp(_, Some(_))) => {
                (DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into())), Some(zone))
            }
            (Kind::Time, _) => (DataType::Timestamp(TimeUnit::Nanosecond, None), None),
            (Kind::Interval, _) => (DataType::Interval(IntervalUnit::MonthDayNano), None),
            (Kind::Number, DataType::UInt64) => (DataType::Decimal128(20, 0), None),
            (Kind::Number, integer) if integer.is_integer() => (DataType::Int64, None),
            (Kind::Number, decimal @ DataType::Decimal128(..)) => (decimal.clone(), None),
            (Kind::Number, _) => (DataType::Float64, None),
        };
        let array = match array.data_type() {
            DataType::Time32(_) | DataType::Time64(_) => {
                let times = cast(&cast(array, &DataType::Time64(TimeUnit::Nanosecond))?, &DataType::Int64)?;
                let spans = times.as_primitive::<Int64Type>().unary::<_, IntervalMonthDayNanoType>(|nanoseconds| {
                    IntervalMonthDayNanoType::make_value(0, 0, nanoseconds)
                });
                Arc::new(spans)
            }
            _ => cast(array, &as_type)?,
        };
        Ok(Values { array, kind, zone })
    }

    fn template(&self, text: &str) -> Result<Read> {
        if text.chars().count() > TEMPLATE_CHARACTERS_MAX {
            let message = format!("a template has at most {TEMPLATE_CHARACTERS_MAX} characters");
            return Err(error(SqlState::INVALID_PARAMETER_VALUE, message));
        }
        match self.kind {
            Kind::Number => number::Template::read(text).map(Read::Number),
            Kind::Time | Kind::Interval => Ok(Read::Clock(Template::read(text))),
        }
        .map_err(|message| error(SqlState::SYNTAX_ERROR, message))
    }

    fn text(&self, row: usize, template: &Read) -> Result<Option<String>> {
        if self.array.is_null(row) {
            return Ok(None);
        }
        match template {
            Read::Number(template) => {
                let number = match self.array.data_type() {
                    DataType::Int64 => Number::of_integer(self.array.as_primitive::<Int64Type>().value(row)),
                    DataType::Decimal128(_, scale) => {
                        Number::of_decimal(self.array.as_primitive::<Decimal128Type>().value(row), *scale)
                    }
                    _ => Number::of_double(self.array.as_primitive::<Float64Type>().value(row)),
                };
                Ok(Some(template.show(&number)))
            }
            Read::Clock(template) => {
                let clock = match self.kind {
                    Kind::Interval => {
                        Clock::of_interval(self.array.as_primitive::<IntervalMonthDayNanoType>().value(row))
                    }
                    _ => Clock::of_time(self.array.as_primitive::<TimestampNanosecondType>().value(row), self.zone),
                };
                let shown = template.show(&clock);
                let refused = |message| error(SqlState("22007"), message);
                shown.map(|text| (!text.is_empty() || !template.is_empty()).then_some(text)).map_err(refused)
            }
        }
    }
}
