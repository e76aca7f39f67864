//! Values of a query as a column takes them: PostgreSQL's assignment casts, and its errors for what none is for.

use std::sync::Arc;

use arrow::array::timezone::Tz;
use arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray, TimestampNanosecondArray, new_null_array};
use arrow::compute::{CastOptions, cast, cast_with_options};
use arrow::datatypes::{DataType, Decimal128Type, Field, Float64Type, TimeUnit, TimestampNanosecondType};
use arrow::error::ArrowError;
use chrono::{DateTime, LocalResult, Offset, TimeZone};
use datafusion::common::ScalarValue;
use probepilot_catalog::table::Column;
use probepilot_sql::{SqlError, SqlState, SqlType};

use super::input;

/// What is known of a column of a source.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    /// Constants in quotes, or a parameter: the target says what they are.
    pub unknown: bool,
    /// Where it stands in the statement.
    pub at: Option<u32>,
}

/// The values in the column's Arrow type: 42804 when no cast leads there, the cast's own error for a value that has none.
pub(super) fn assign(
    values: &ArrayRef,
    field: &Field,
    column: &Column,
    origin: Origin,
    zone: Tz,
) -> Result<ArrayRef, SqlError> {
    let values = match values.data_type() {
        DataType::Dictionary(_, plain) => &cast(values, plain).map_err(internal)?,
        _ => values,
    };
    let (given, wanted) = (values.data_type(), column.sql_type.arrow());
    if *given == DataType::Null {
        return Ok(new_null_array(&wanted, values.len()));
    }
    let target = column.sql_type;
    if is_text(given) {
        return match target {
            SqlType::Text => cast(values, &wanted).map_err(internal),
            SqlType::Varchar(_) | SqlType::Json | SqlType::Jsonb | SqlType::Inet | SqlType::Uuid => {
                read(values, target, zone)
            }
            _ if origin.unknown => read(values, target, zone),
            _ => Err(mismatch(column, &shown(field))),
        };
    }
    match target {
        SqlType::Text | SqlType::Varchar(_) if is_number(given) || *given == DataType::Boolean => {
            read(&cast(values, &DataType::Utf8View).map_err(internal)?, target, zone)
        }
        SqlType::SmallInt | SqlType::Integer | SqlType::BigInt if is_number(given) => whole(values, target, &wanted),
        SqlType::Real | SqlType::DoublePrecision if is_number(given) => cast(values, &wanted).map_err(internal),
        SqlType::Numeric(precision, scale) if is_number(given) => {
            checked(values, &wanted, || input::overflow(precision, scale))
        }
        SqlType::Bytea if is_bytes(given) => cast(values, &wanted).map_err(internal),
        SqlType::Boolean if *given == DataType::Boolean => Ok(Arc::clone(values)),
        SqlType::Date | SqlType::Timestamp | SqlType::Timestamptz => match given {
            DataType::Date32 | DataType::Date64 | DataType::Timestamp(..) => moments(values, target, zone),
            _ => Err(mismatch(column, &shown(field))),
        },
        SqlType::Array(element) => match given {
            DataType::List(inner) => list(values, inner, *element, column, zone),
            _ => Err(mismatch(column, &shown(field))),
        },
        _ => Err(mismatch(column, &shown(field))),
    }
}

/// 42804, as PostgreSQL says it.
pub(super) fn mismatch(column: &Column, given: &str) -> SqlError {
    let Column { name, sql_type, .. } = column;
    let message = format!("column \"{name}\" is of type {} but expression is of type {given}", sql_type.sql());
    SqlError::new(SqlState::DATATYPE_MISMATCH, message).hint("You will need to rewrite or cast the expression.")
}

/// PostgreSQL's name of a type that a query gives.
fn shown(field: &Field) -> String {
    match (SqlType::of_field(field), field.data_type()) {
        (Some(sql_type), _) => sql_type.sql().to_owned(),
        (None, DataType::Interval(_) | DataType::Duration(_)) => "interval".to_owned(),
        (None, DataType::Time32(_) | DataType::Time64(_)) => "time without time zone".to_owned(),
        (None, data_type) if data_type.is_decimal() => "numeric".to_owned(),
        (None, DataType::Struct(_) | DataType::Map(..)) => "record".to_owned(),
        (None, other) => other.to_string().to_lowercase(),
    }
}

fn internal(error: ArrowError) -> SqlError {
    SqlError::internal("values could not be cast to their column", error)
}

fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

fn is_bytes(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_))
}

fn is_number(data_type: &DataType) -> bool {
    data_type.is_numeric()
}

/// Texts through the input function of their type.
fn read(texts: &ArrayRef, target: SqlType, zone: Tz) -> Result<ArrayRef, SqlError> {
    let texts = cast(texts, &DataType::Utf8View).map_err(internal)?;
    if texts.is_empty() {
        return Ok(arrow::array::new_empty_array(&target.arrow()));
    }
    let null =
        ScalarValue::try_from(&target.arrow()).map_err(|error| SqlError::internal("a type has no NULL", error))?;
    let values = texts.as_string_view().iter().map(|text| match text {
        Some(text) => input::value(text, target, zone),
        None => Ok(null.clone()),
    });
    ScalarValue::iter_to_array(values.collect::<Result<Vec<_>, _>>()?)
        .map_err(|error| SqlError::internal("values do not make a column", error))
}

/// Numbers as integers: floats round to even, decimals away from zero, as in PostgreSQL.
fn whole(values: &ArrayRef, target: SqlType, wanted: &DataType) -> Result<ArrayRef, SqlError> {
    let out_of_range = || input::out_of_range(target);
    let values = match values.data_type() {
        DataType::Float16 | DataType::Float32 | DataType::Float64 => {
            let floats = cast(values, &DataType::Float64).map_err(internal)?;
            let rounded: PrimitiveArray<Float64Type> = floats.as_primitive::<Float64Type>().unary(f64::round_ties_even);
            Arc::new(rounded)
        }
        data_type if data_type.is_decimal() => {
            let rounded = checked(values, &DataType::Decimal128(38, 0), out_of_range)?;
            debug_assert!(rounded.as_primitive_opt::<Decimal128Type>().is_some(), "it was cast to it");
            rounded
        }
        _ => Arc::clone(values),
    };
    checked(&values, wanted, out_of_range)
}

/// A cast that fails where a value has none.
fn checked(values: &ArrayRef, wanted: &DataType, error: impl Fn() -> SqlError) -> Result<ArrayRef, SqlError> {
    let options = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(values, wanted, &options).map_err(|cause| error().caused_by(cause))
}

/// Dates and times among each other, by the session's zone where one side has one and the other has none.
fn moments(values: &ArrayRef, target: SqlType, zone: Tz) -> Result<ArrayRef, SqlError> {
    let too_far = || SqlError::new(SqlState("22008"), "timestamp out of range");
    let has_zone = matches!(values.data_type(), DataType::Timestamp(_, Some(_)));
    let plain = match values.data_type() {
        DataType::Timestamp(unit, Some(_)) => {
            let utc = cast(values, &DataType::Timestamp(*unit, Some("UTC".into()))).map_err(internal)?;
            checked(&utc, &DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into())), too_far)?
        }
        DataType::Date32 if target == SqlType::Date => return Ok(Arc::clone(values)),
        _ => checked(values, &DataType::Timestamp(TimeUnit::Nanosecond, None), too_far)?,
    };
    let times = plain.as_primitive::<TimestampNanosecondType>();
    let to_zone = target == SqlType::Timestamptz;
    let times: TimestampNanosecondArray = match (has_zone, to_zone) {
        (true, false) => times.unary(|ns| local(ns, zone)),
        (false, true) => times.unary(|ns| instant(ns, zone)),
        _ => times.clone(),
    };
    Ok(match target {
        SqlType::Timestamptz => Arc::new(times.with_timezone("UTC")),
        SqlType::Timestamp => Arc::new(times.with_timezone_opt(None::<Arc<str>>)),
        _ => cast(&(Arc::new(times.with_timezone_opt(None::<Arc<str>>)) as ArrayRef), &DataType::Date32)
            .map_err(internal)?,
    })
}

/// What a clock of the zone shows at a moment.
fn local(ns: i64, zone: Tz) -> i64 {
    let utc = DateTime::from_timestamp_nanos(ns).naive_utc();
    ns.saturating_add(i64::from(zone.offset_from_utc_datetime(&utc).fix().local_minus_utc()) * 1_000_000_000)
}

/// The moment at which a clock of the zone shows this; the first one when there are two, and as before the change in the
/// hour that is left out.
fn instant(ns: i64, zone: Tz) -> i64 {
    let shown = DateTime::from_timestamp_nanos(ns).naive_utc();
    let offset = match zone.offset_from_local_datetime(&shown) {
        LocalResult::Single(offset) | LocalResult::Ambiguous(offset, _) => offset.fix(),
        LocalResult::None => zone.offset_from_utc_datetime(&shown).fix(),
    };
    ns.saturating_sub(i64::from(offset.local_minus_utc()) * 1_000_000_000)
}

/// Lists element by element.
fn list(
    values: &ArrayRef,
    inner: &Arc<Field>,
    element: SqlType,
    column: &Column,
    zone: Tz,
) -> Result<ArrayRef, SqlError> {
    let lists = values.as_list::<i32>();
    let of_element = Column { sql_type: element, ..column.clone() };
    let origin = Origin { unknown: false, at: None };
    let elements = assign(lists.values(), inner, &of_element, origin, zone).map_err(|error| {
        if error.state == SqlState::DATATYPE_MISMATCH {
            mismatch(column, &format!("{}[]", shown(inner)))
        } else {
            error
        }
    })?;
    let field = Arc::new(Field::new_list_field(element.arrow(), true));
    let list = arrow::array::ListArray::try_new(field, lists.offsets().clone(), elements, lists.nulls().cloned());
    list.map(|list| Arc::new(list) as ArrayRef).map_err(internal)
}

#[cfg(test)]
mod tests {
    use arrow::array::{Decimal128Array, Float64Array, Int64Array, ListArray, StringArray};
    use arrow::datatypes::Int32Type;

    use super::*;

    fn column(sql_type: &str) -> Column {
        Column { name: "c".into(), sql_type: SqlType::from_sql(sql_type).unwrap(), nullable: true, comment: None }
    }

    fn into(values: impl Array + 'static, sql_type: &str, unknown: bool) -> Result<String, SqlError> {
        let values: ArrayRef = Arc::new(values);
        let field = Field::new("x", values.data_type().clone(), true);
        let zone = "+02:00".parse().unwrap();
        let made = assign(&values, &field, &column(sql_type), Origin { unknown, at: None }, zone)?;
        assert_eq!(made.data_type(), &SqlType::from_sql(sql_type).unwrap().arrow());
        Ok(arrow::util::display::array_value_to_string(&made, 0).unwrap())
    }

    #[test]
    fn values_take_the_type_of_their_column() {
        assert_eq!(into(Float64Array::from(vec![2.5]), "integer", false).unwrap(), "2");
        let decimal = Decimal128Array::from(vec![25]).with_precision_and_scale(5, 1).unwrap();
        assert_eq!(into(decimal, "integer", false).unwrap(), "3");
        assert_eq!(into(Int64Array::from(vec![7]), "numeric(20,0)", false).unwrap(), "7");
        assert_eq!(into(Int64Array::from(vec![7]), "text", false).unwrap(), "7");
        assert_eq!(into(StringArray::from(vec!["7"]), "bigint", true).unwrap(), "7");
        let time = || TimestampNanosecondArray::from(vec![0]);
        assert_eq!(into(time(), "timestamp with time zone", false).unwrap(), "1969-12-31T22:00:00Z");
        assert_eq!(
            into(time().with_timezone("UTC"), "timestamp without time zone", false).unwrap(),
            "1970-01-01T02:00:00"
        );
        assert_eq!(into(time().with_timezone("UTC"), "date", false).unwrap(), "1970-01-01");
        let list = ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1), None])]);
        assert_eq!(into(list, "bigint[]", false).unwrap(), "[1, ]");
    }

    #[test]
    fn what_no_cast_is_for_is_told() {
        let error = into(StringArray::from(vec!["7"]), "integer", false).unwrap_err();
        assert_eq!(error.state, SqlState::DATATYPE_MISMATCH);
        assert_eq!(error.message, "column \"c\" is of type integer but expression is of type text");
        let error = into(Int64Array::from(vec![1]), "boolean", false).unwrap_err();
        assert_eq!(error.message, "column \"c\" is of type boolean but expression is of type bigint");
        let error = into(Int64Array::from(vec![1 << 40]), "integer", false).unwrap_err();
        assert_eq!((error.state.0, error.message.as_str()), ("22003", "integer out of range"));
        let error = into(Float64Array::from(vec![f64::NAN]), "bigint", false).unwrap_err();
        assert_eq!(error.state.0, "22003");
        let error = into(Int64Array::from(vec![1000]), "numeric(3,0)", false).unwrap_err();
        assert_eq!(error.message, "numeric field overflow");
    }
}
