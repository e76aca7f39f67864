//! The one table of types: SQL ↔ Arrow ↔ DuckLake ↔ PostgreSQL OID.
//!
//! Only the types a stored column may have. A query's result may have any Arrow type; the doors encode those.

use std::borrow::Cow;
use std::collections::HashMap;

use arrow::datatypes::{DataType, Field, TimeUnit};

/// Metadata key of an Arrow field that says which SQL type it is where the Arrow type alone does not.
pub const TYPE_KEY: &str = "probepilot.type";

/// Metadata key of an Arrow field that holds the column's comment (meaning; unit).
pub const COMMENT_KEY: &str = "probepilot.comment";

/// The type of a stored column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SqlType {
    /// `boolean`
    Boolean,
    /// `smallint`, 16 bits
    SmallInt,
    /// `integer`, 32 bits
    Integer,
    /// `bigint`, 64 bits; also every unsigned kernel integer of 32 and 64 bits
    BigInt,
    /// `real`
    Real,
    /// `double precision`
    DoublePrecision,
    /// `text`, UTF-8
    Text,
    /// `bytea`
    Bytea,
    /// `date`, days
    Date,
    /// `timestamp`, nanoseconds without zone
    Timestamp,
    /// `timestamptz`, nanoseconds of Unix time
    Timestamptz,
    /// `inet`: an address, kept as its text
    Inet,
    /// `uuid`, kept as its text
    Uuid,
    /// `json`, kept as its text
    Json,
    /// `jsonb`, kept as its text
    Jsonb,
    /// `character varying`, of at most so many characters
    Varchar(Option<u32>),
    /// `numeric(precision, scale)`: digits in all, and digits after the point
    Numeric(u8, u8),
    /// A list of values of one of the types above that has no numbers of its own
    Array(&'static SqlType),
}

/// Digits of a `numeric` at most: what 128 bits hold.
pub const NUMERIC_DIGITS_MAX: u8 = 38;

/// Characters of a `character varying(n)` at most, as in PostgreSQL.
pub const VARCHAR_CHARACTERS_MAX: u32 = 10_485_760;

/// One line of the table of types.
struct Row {
    sql_type: SqlType,
    sql: &'static str,
    array_sql: &'static str,
    ducklake: &'static str,
    oid: u32,
    array_oid: u32,
    /// Bytes of a value on the Postgres wire, -1 when it varies (`pg_type.typlen`).
    length: i16,
}

const fn row(
    sql_type: SqlType,
    sql: [&'static str; 2],
    ducklake: &'static str,
    oid: u32,
    array_oid: u32,
    length: i16,
) -> Row {
    let [sql, array_sql] = sql;
    Row { sql_type, sql, array_sql, ducklake, oid, array_oid, length }
}

// OIDs: PostgreSQL's src/include/catalog/pg_type.dat. DuckLake names: its specification, "Data Types".
// Event time is `timestamp_ns` in DuckLake: its `timestamptz` stops at microseconds.
const TYPES: [Row; 17] = [
    row(SqlType::Boolean, ["boolean", "boolean[]"], "boolean", 16, 1000, 1),
    row(SqlType::SmallInt, ["smallint", "smallint[]"], "int16", 21, 1005, 2),
    row(SqlType::Integer, ["integer", "integer[]"], "int32", 23, 1007, 4),
    row(SqlType::BigInt, ["bigint", "bigint[]"], "int64", 20, 1016, 8),
    row(SqlType::Real, ["real", "real[]"], "float32", 700, 1021, 4),
    row(SqlType::DoublePrecision, ["double precision", "double precision[]"], "float64", 701, 1022, 8),
    row(SqlType::Text, ["text", "text[]"], "varchar", 25, 1009, -1),
    row(SqlType::Bytea, ["bytea", "bytea[]"], "blob", 17, 1001, -1),
    row(SqlType::Date, ["date", "date[]"], "date", 1082, 1182, 4),
    row(
        SqlType::Timestamp,
        ["timestamp without time zone", "timestamp without time zone[]"],
        "timestamp_ns",
        1114,
        1115,
        8,
    ),
    row(
        SqlType::Timestamptz,
        ["timestamp with time zone", "timestamp with time zone[]"],
        "timestamp_ns",
        1184,
        1185,
        8,
    ),
    row(SqlType::Inet, ["inet", "inet[]"], "varchar", 869, 1041, -1),
    row(SqlType::Uuid, ["uuid", "uuid[]"], "varchar", 2950, 2951, 16),
    row(SqlType::Json, ["json", "json[]"], "json", 114, 199, -1),
    row(SqlType::Jsonb, ["jsonb", "jsonb[]"], "json", 3802, 3807, -1),
    row(SqlType::Varchar(None), ["character varying", "character varying[]"], "varchar", 1043, 1015, -1),
    row(SqlType::Numeric(NUMERIC_DIGITS_MAX, 0), ["numeric", "numeric[]"], "decimal", 1700, 1231, -1),
];

impl SqlType {
    /// Every stored type, in the table's order: lists and numbers in brackets apart.
    pub fn all() -> impl Iterator<Item = SqlType> {
        TYPES.iter().map(|row| row.sql_type)
    }

    /// The line of the type, or of a list's elements.
    fn row(self) -> &'static Row {
        let plain = match self {
            SqlType::Varchar(_) => SqlType::Varchar(None),
            SqlType::Numeric(..) => SqlType::Numeric(NUMERIC_DIGITS_MAX, 0),
            SqlType::Array(element) => *element,
            other => other,
        };
        TYPES.iter().find(|row| row.sql_type == plain).expect("every type has its line in the table")
    }

    /// The list of this type; `None` for a list, and for a type with numbers in brackets.
    pub fn array(self) -> Option<SqlType> {
        let row = TYPES.iter().find(|row| row.sql_type == self)?;
        (!matches!(self, SqlType::Numeric(..))).then_some(SqlType::Array(&row.sql_type))
    }

    /// The type of a list's elements.
    pub fn element(self) -> Option<SqlType> {
        match self {
            SqlType::Array(element) => Some(*element),
            _ => None,
        }
    }

    /// PostgreSQL's name without numbers in brackets, as `format_type` prints it.
    pub fn sql(self) -> &'static str {
        let row = self.row();
        if self.element().is_some() { row.array_sql } else { row.sql }
    }

    /// PostgreSQL's whole name: `numeric(20,0)`.
    pub fn name(self) -> Cow<'static, str> {
        match self {
            SqlType::Varchar(Some(characters)) => format!("{}({characters})", self.sql()).into(),
            SqlType::Numeric(precision, scale) => format!("{}({precision},{scale})", self.sql()).into(),
            _ => self.sql().into(),
        }
    }

    /// DuckLake's `column_type`. A list has its elements' type in a row of their own.
    pub fn ducklake(self) -> Cow<'static, str> {
        match self {
            SqlType::Array(_) => "list".into(),
            SqlType::Numeric(precision, scale) => format!("decimal({precision},{scale})").into(),
            _ => self.row().ducklake.into(),
        }
    }

    /// PostgreSQL's type OID.
    pub fn oid(self) -> u32 {
        let row = self.row();
        if self.element().is_some() { row.array_oid } else { row.oid }
    }

    /// PostgreSQL's OID of the array of this type; a list is its own, as in PostgreSQL.
    pub fn array_oid(self) -> u32 {
        self.row().array_oid
    }

    /// Bytes on the Postgres wire, -1 when it varies.
    pub fn length(self) -> i16 {
        if self.element().is_some() { -1 } else { self.row().length }
    }

    /// PostgreSQL's type modifier: the numbers in brackets; -1 for none.
    pub fn modifier(self) -> i32 {
        match self {
            SqlType::Varchar(Some(characters)) => characters.cast_signed() + 4,
            SqlType::Numeric(precision, scale) => ((i32::from(precision) << 16) | i32::from(scale)) + 4,
            _ => -1,
        }
    }

    /// The type that PostgreSQL's name (or `format_type`'s) stands for.
    pub fn from_sql(name: &str) -> Option<SqlType> {
        if let Some(element) = name.strip_suffix("[]") {
            return SqlType::from_sql(element)?.array();
        }
        if let Some((base, numbers)) = name.strip_suffix(')').and_then(|name| name.split_once('(')) {
            return match base {
                "character varying" => numbers.parse().ok().map(|characters| SqlType::Varchar(Some(characters))),
                "numeric" => {
                    let (precision, scale) = numbers.split_once(',')?;
                    Some(SqlType::Numeric(precision.parse().ok()?, scale.parse().ok()?))
                }
                _ => None,
            };
        }
        let found = TYPES.iter().find(|row| row.sql == name).map(|row| row.sql_type);
        found.filter(|sql_type| !matches!(sql_type, SqlType::Numeric(..)))
    }

    /// Whether the Arrow type does not say which SQL type it is.
    fn needs_name(self) -> bool {
        match self {
            SqlType::Inet | SqlType::Uuid | SqlType::Json | SqlType::Jsonb | SqlType::Varchar(_) => true,
            SqlType::Numeric(..) => true,
            SqlType::Array(element) => element.needs_name(),
            _ => false,
        }
    }

    /// The Arrow type that batches, tail and scans use.
    ///
    /// Strings and bytes are views: short values need no buffer, and Parquet scans give views as well.
    pub fn arrow(self) -> DataType {
        match self {
            SqlType::Boolean => DataType::Boolean,
            SqlType::SmallInt => DataType::Int16,
            SqlType::Integer => DataType::Int32,
            SqlType::BigInt => DataType::Int64,
            SqlType::Real => DataType::Float32,
            SqlType::DoublePrecision => DataType::Float64,
            SqlType::Text | SqlType::Inet | SqlType::Uuid | SqlType::Json | SqlType::Jsonb | SqlType::Varchar(_) => {
                DataType::Utf8View
            }
            SqlType::Bytea => DataType::BinaryView,
            SqlType::Date => DataType::Date32,
            SqlType::Timestamp => DataType::Timestamp(TimeUnit::Nanosecond, None),
            SqlType::Timestamptz => DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into())),
            SqlType::Numeric(precision, scale) => DataType::Decimal128(precision, scale.cast_signed()),
            SqlType::Array(element) => DataType::new_list(element.arrow(), true),
        }
    }

    /// The stored type for an expression's Arrow type, or `None` when it cannot be stored.
    ///
    /// Values are cast to [`SqlType::arrow`] on the way in; the types listed together hold the same values, except
    /// that unsigned 64-bit values keep their bits and are shown signed.
    pub fn from_arrow(data_type: &DataType) -> Option<SqlType> {
        Some(match data_type {
            DataType::Boolean => SqlType::Boolean,
            DataType::Int8 | DataType::Int16 | DataType::UInt8 => SqlType::SmallInt,
            DataType::Int32 | DataType::UInt16 => SqlType::Integer,
            DataType::Int64 | DataType::UInt32 | DataType::UInt64 => SqlType::BigInt,
            DataType::Float16 | DataType::Float32 => SqlType::Real,
            DataType::Float64 => SqlType::DoublePrecision,
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => SqlType::Text,
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
                SqlType::Bytea
            }
            DataType::Date32 => SqlType::Date,
            DataType::Timestamp(_, None) => SqlType::Timestamp,
            DataType::Timestamp(_, Some(_)) => SqlType::Timestamptz,
            DataType::Dictionary(_, values) => return SqlType::from_arrow(values),
            // Lists and decimals are made by tables that clients define, never by what an expression happens to give.
            _ => return None,
        })
    }

    /// The stored type of a field: its metadata first, then its Arrow type.
    pub fn of_field(field: &Field) -> Option<SqlType> {
        match field.metadata().get(TYPE_KEY) {
            Some(name) => SqlType::from_sql(name),
            None if field.data_type().is_list() => stored_list(field.data_type()),
            None => SqlType::from_arrow(field.data_type()),
        }
    }
}

/// The stored type of a list whose elements say themselves what they are.
fn stored_list(data_type: &DataType) -> Option<SqlType> {
    match data_type {
        DataType::List(element) => SqlType::from_arrow(element.data_type())?.array(),
        _ => None,
    }
}

/// An Arrow field for a stored column, with type and comment in its metadata.
pub fn field(name: &str, sql_type: SqlType, nullable: bool, comment: Option<&str>) -> Field {
    let mut metadata = HashMap::new();
    if sql_type.needs_name() {
        metadata.insert(TYPE_KEY.to_owned(), sql_type.name().into_owned());
    }
    if let Some(comment) = comment {
        metadata.insert(COMMENT_KEY.to_owned(), comment.to_owned());
    }
    Field::new(name, sql_type.arrow(), nullable).with_metadata(metadata)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_comes_back_from_its_field() {
        let more = [SqlType::Varchar(Some(5)), SqlType::Numeric(20, 0)];
        let lists = SqlType::all().filter_map(SqlType::array);
        for sql_type in SqlType::all().chain(more).chain(lists) {
            let field = field("x", sql_type, true, Some("meaning; unit"));
            assert_eq!(SqlType::of_field(&field), Some(sql_type), "{}", sql_type.name());
            assert_eq!(SqlType::from_sql(&sql_type.name()), Some(sql_type));
        }
    }
}
