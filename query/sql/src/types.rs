//! The one table of types: SQL ↔ Arrow ↔ DuckLake ↔ PostgreSQL OID.
//!
//! Only the types a stored column may have. A query's result may have any Arrow type; the doors encode those.

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
}

/// One line of the table of types.
struct Row {
    sql_type: SqlType,
    sql: &'static str,
    ducklake: &'static str,
    oid: u32,
    array_oid: u32,
    /// Bytes of a value on the Postgres wire, -1 when it varies (`pg_type.typlen`).
    length: i16,
}

const fn row(
    sql_type: SqlType,
    sql: &'static str,
    ducklake: &'static str,
    oid: u32,
    array_oid: u32,
    length: i16,
) -> Row {
    Row { sql_type, sql, ducklake, oid, array_oid, length }
}

// OIDs: PostgreSQL's src/include/catalog/pg_type.dat. DuckLake names: its specification, "Data Types".
// Event time is `timestamp_ns` in DuckLake: its `timestamptz` stops at microseconds.
const TYPES: [Row; 12] = [
    row(SqlType::Boolean, "boolean", "boolean", 16, 1000, 1),
    row(SqlType::SmallInt, "smallint", "int16", 21, 1005, 2),
    row(SqlType::Integer, "integer", "int32", 23, 1007, 4),
    row(SqlType::BigInt, "bigint", "int64", 20, 1016, 8),
    row(SqlType::Real, "real", "float32", 700, 1021, 4),
    row(SqlType::DoublePrecision, "double precision", "float64", 701, 1022, 8),
    row(SqlType::Text, "text", "varchar", 25, 1009, -1),
    row(SqlType::Bytea, "bytea", "blob", 17, 1001, -1),
    row(SqlType::Date, "date", "date", 1082, 1182, 4),
    row(SqlType::Timestamp, "timestamp without time zone", "timestamp_ns", 1114, 1115, 8),
    row(SqlType::Timestamptz, "timestamp with time zone", "timestamp_ns", 1184, 1185, 8),
    row(SqlType::Inet, "inet", "varchar", 869, 1041, -1),
];

impl SqlType {
    /// Every stored type, in the table's order.
    pub fn all() -> impl Iterator<Item = SqlType> {
        TYPES.iter().map(|row| row.sql_type)
    }

    fn row(self) -> &'static Row {
        TYPES.iter().find(|row| row.sql_type == self).expect("every type has its line in the table")
    }

    /// PostgreSQL's name, as `format_type` prints it.
    pub fn sql(self) -> &'static str {
        self.row().sql
    }

    /// DuckLake's `column_type`.
    pub fn ducklake(self) -> &'static str {
        self.row().ducklake
    }

    /// PostgreSQL's type OID.
    pub fn oid(self) -> u32 {
        self.row().oid
    }

    /// PostgreSQL's OID of the array of this type.
    pub fn array_oid(self) -> u32 {
        self.row().array_oid
    }

    /// Bytes on the Postgres wire, -1 when it varies.
    pub fn length(self) -> i16 {
        self.row().length
    }

    /// The type that PostgreSQL's name (or `format_type`'s) stands for.
    pub fn from_sql(name: &str) -> Option<SqlType> {
        TYPES.iter().find(|row| row.sql == name).map(|row| row.sql_type)
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
            SqlType::Text | SqlType::Inet => DataType::Utf8View,
            SqlType::Bytea => DataType::BinaryView,
            SqlType::Date => DataType::Date32,
            SqlType::Timestamp => DataType::Timestamp(TimeUnit::Nanosecond, None),
            SqlType::Timestamptz => DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into())),
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
            _ => return None,
        })
    }

    /// The stored type of a field: its metadata first, then its Arrow type.
    pub fn of_field(field: &Field) -> Option<SqlType> {
        match field.metadata().get(TYPE_KEY) {
            Some(name) => SqlType::from_sql(name),
            None => SqlType::from_arrow(field.data_type()),
        }
    }
}

/// An Arrow field for a stored column, with type and comment in its metadata.
pub fn field(name: &str, sql_type: SqlType, nullable: bool, comment: Option<&str>) -> Field {
    let mut metadata = HashMap::new();
    if sql_type == SqlType::Inet {
        metadata.insert(TYPE_KEY.to_owned(), sql_type.sql().to_owned());
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
        for sql_type in SqlType::all() {
            let field = field("x", sql_type, true, Some("meaning; unit"));
            assert_eq!(SqlType::of_field(&field), Some(sql_type), "{}", sql_type.sql());
            assert_eq!(SqlType::from_sql(sql_type.sql()), Some(sql_type));
        }
    }
}
