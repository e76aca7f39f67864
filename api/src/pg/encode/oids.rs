//! Which PostgreSQL type a column has on the wire: its OID, length and modifier.
//!
//! Stored types come from the one table in `probepilot-sql`; a result may have more, and those stand here.

use arrow::datatypes::{DataType, Field, IntervalUnit, TimeUnit};
use probepilot_sql::SqlType;
use probepilot_sql::types::TYPE_KEY;

/// A type as `RowDescription` tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WireType {
    /// `pg_type.oid`: always one that PostgreSQL has built in.
    pub oid: u32,
    /// `pg_type.typlen`: bytes, -1 when it varies.
    pub length: i16,
    /// `atttypmod`, -1 for none.
    pub modifier: i32,
}

/// One line of the table of types that only results have.
struct Row {
    name: &'static str,
    oid: u32,
    array_oid: u32,
    length: i16,
}

const fn row(name: &'static str, oid: u32, array_oid: u32, length: i16) -> Row {
    Row { name, oid, array_oid, length }
}

// OIDs: PostgreSQL's src/include/catalog/pg_type.dat.
const RESULT_TYPES: [Row; 23] = [
    row("\"char\"", CHAR, 1002, 1),
    row("name", NAME, 1003, 64),
    row("int2vector", 22, 1006, -1),
    row("regproc", 24, 1008, 4),
    row("oid", OID, 1028, 4),
    row("tid", 27, 1010, 6),
    row("xid", 28, 1011, 4),
    row("oidvector", 30, 1013, -1),
    row("json", JSON, 199, -1),
    row("pg_node_tree", 194, 0, -1),
    row("aclitem", 1033, 1034, 12),
    row("character", 1042, 1014, -1),
    row("character varying", VARCHAR, 1015, -1),
    row("time without time zone", TIME, 1183, 8),
    row("interval", INTERVAL, 1187, 16),
    row("numeric", NUMERIC, 1231, -1),
    row("regclass", 2205, 2210, 4),
    row("regtype", 2206, 2211, 4),
    row("uuid", UUID, 2951, 16),
    row("jsonb", JSONB, 3807, -1),
    row("regnamespace", 4089, 4090, 4),
    row("regrole", 4096, 4097, 4),
    row("unknown", 705, 0, -2),
];

pub(crate) const BOOL: u32 = 16;
pub(crate) const BYTEA: u32 = 17;
pub(crate) const CHAR: u32 = 18;
pub(crate) const NAME: u32 = 19;
pub(crate) const INT8: u32 = 20;
pub(crate) const INT2: u32 = 21;
pub(crate) const INT4: u32 = 23;
pub(crate) const TEXT: u32 = 25;
pub(crate) const OID: u32 = 26;
pub(crate) const JSON: u32 = 114;
pub(crate) const FLOAT4: u32 = 700;
pub(crate) const FLOAT8: u32 = 701;
pub(crate) const INET: u32 = 869;
pub(crate) const VARCHAR: u32 = 1043;
pub(crate) const DATE: u32 = 1082;
pub(crate) const TIME: u32 = 1083;
pub(crate) const TIMESTAMP: u32 = 1114;
pub(crate) const TIMESTAMPTZ: u32 = 1184;
pub(crate) const INTERVAL: u32 = 1186;
pub(crate) const NUMERIC: u32 = 1700;
pub(crate) const UUID: u32 = 2950;
pub(crate) const JSONB: u32 = 3802;

impl WireType {
    const fn plain(oid: u32, length: i16) -> WireType {
        WireType { oid, length, modifier: -1 }
    }

    fn stored(sql_type: SqlType) -> WireType {
        WireType::plain(sql_type.oid(), sql_type.length())
    }

    /// `numeric(precision, scale)`, or plain `numeric` where PostgreSQL could not say it.
    fn numeric(precision: u8, scale: i8) -> WireType {
        let modifier = if scale < 0 { -1 } else { ((i32::from(precision) << 16) | i32::from(scale)) + 4 };
        WireType { oid: NUMERIC, length: -1, modifier }
    }

    /// The type of a result's column: its metadata first, then its Arrow type.
    pub fn of_field(field: &Field) -> WireType {
        field.metadata().get(TYPE_KEY).and_then(|name| named(name)).unwrap_or_else(|| of_arrow(field.data_type()))
    }
}

/// The type with PostgreSQL's name: `name`, `oid`, `regclass`, `text[]`.
fn named(name: &str) -> Option<WireType> {
    if let Some(element) = name.strip_suffix("[]") {
        let array_oid = match SqlType::from_sql(element) {
            Some(element) => element.array_oid(),
            None => RESULT_TYPES.iter().find(|row| row.name == element && row.array_oid != 0)?.array_oid,
        };
        return Some(WireType::plain(array_oid, -1));
    }
    SqlType::from_sql(name)
        .map(WireType::stored)
        .or_else(|| RESULT_TYPES.iter().find(|row| row.name == name).map(|row| WireType::plain(row.oid, row.length)))
}

fn of_arrow(data_type: &DataType) -> WireType {
    match data_type {
        // Shown with all their values, unlike in a stored column.
        DataType::UInt64 => WireType::numeric(20, 0),
        DataType::Time32(_) | DataType::Time64(_) => WireType::plain(TIME, 8),
        DataType::Date64 => WireType::stored(SqlType::Date),
        DataType::Interval(_) | DataType::Duration(_) => WireType::plain(INTERVAL, 16),
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale) => WireType::numeric(*precision, *scale),
        DataType::Dictionary(_, values) => of_arrow(values),
        DataType::RunEndEncoded(_, values) => WireType::of_field(values),
        DataType::List(element)
        | DataType::LargeList(element)
        | DataType::ListView(element)
        | DataType::LargeListView(element)
        | DataType::FixedSizeList(element, _) => WireType::plain(array_of(WireType::of_field(element).oid), -1),
        DataType::Map(..) | DataType::Struct(_) | DataType::Union(..) => WireType::plain(JSONB, -1),
        DataType::Null => WireType::stored(SqlType::Text),
        stored => WireType::stored(SqlType::from_arrow(stored).unwrap_or(SqlType::Text)),
    }
}

/// The array type of an element type; nested arrays and objects become `jsonb`.
fn array_of(element: u32) -> u32 {
    SqlType::all()
        .find(|sql_type| sql_type.oid() == element)
        .map(SqlType::array_oid)
        .or_else(|| {
            RESULT_TYPES
                .iter()
                .find(|row| row.oid == element && row.array_oid != 0 && row.oid != JSONB)
                .map(|row| row.array_oid)
        })
        .unwrap_or(JSONB)
}

/// The element type of an array type.
pub(crate) fn element_of(array_oid: u32) -> Option<u32> {
    SqlType::all()
        .find(|sql_type| sql_type.array_oid() == array_oid)
        .map(SqlType::oid)
        .or_else(|| RESULT_TYPES.iter().find(|row| row.array_oid == array_oid && row.array_oid != 0).map(|row| row.oid))
}

/// PostgreSQL's name of a type, for errors.
pub(crate) fn type_name(oid: u32) -> String {
    if let Some(element) = element_of(oid) {
        return format!("{}[]", type_name(element));
    }
    SqlType::all()
        .find(|sql_type| sql_type.oid() == oid)
        .map(|sql_type| sql_type.sql().to_owned())
        .or_else(|| RESULT_TYPES.iter().find(|row| row.oid == oid).map(|row| row.name.to_owned()))
        .unwrap_or_else(|| format!("with oid {oid}"))
}

/// The Arrow type a parameter declared with this OID has; `None` leaves it to the statement.
pub(crate) fn parameter_type(oid: u32) -> Option<DataType> {
    if let Some(element) = element_of(oid) {
        return Some(DataType::new_list(parameter_type(element)?, true));
    }
    Some(match oid {
        BOOL => DataType::Boolean,
        INT2 => DataType::Int16,
        INT4 => DataType::Int32,
        INT8 | OID => DataType::Int64,
        FLOAT4 => DataType::Float32,
        FLOAT8 => DataType::Float64,
        NUMERIC => DataType::Decimal128(38, 10),
        TEXT | VARCHAR | NAME | CHAR | 1042 | UUID | JSON | JSONB | INET => DataType::Utf8,
        BYTEA => DataType::Binary,
        DATE => DataType::Date32,
        TIME => DataType::Time64(TimeUnit::Nanosecond),
        TIMESTAMP => DataType::Timestamp(TimeUnit::Nanosecond, None),
        TIMESTAMPTZ => DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into())),
        INTERVAL => DataType::Interval(IntervalUnit::MonthDayNano),
        _ => return None,
    })
}
