//! `pg_type` and the names of types.

use super::built_in;

/// A type of PostgreSQL.
#[derive(Clone, Copy, Debug)]
pub struct PgType {
    pub oid: u32,
    /// `pg_type.typname`
    pub name: &'static str,
    /// What `format_type` prints.
    pub shown: &'static str,
    /// Bytes, -1 when it varies.
    pub length: i16,
    /// The array of it, 0 without one.
    pub array: u32,
}

const fn pg(oid: u32, name: &'static str, shown: &'static str, length: i16, array: u32) -> PgType {
    PgType { oid, name, shown, length, array }
}

/// The built-in types a client may meet, as in PostgreSQL's `pg_type.dat`.
pub const TYPES: &[PgType] = &[
    pg(16, "bool", "boolean", 1, 1000),
    pg(17, "bytea", "bytea", -1, 1001),
    pg(18, "char", "\"char\"", 1, 1002),
    pg(19, "name", "name", 64, 1003),
    pg(20, "int8", "bigint", 8, 1016),
    pg(21, "int2", "smallint", 2, 1005),
    pg(22, "int2vector", "int2vector", -1, 1006),
    pg(23, "int4", "integer", 4, 1007),
    pg(24, "regproc", "regproc", 4, 1008),
    pg(25, "text", "text", -1, 1009),
    pg(26, "oid", "oid", 4, 1028),
    pg(30, "oidvector", "oidvector", -1, 1013),
    pg(114, "json", "json", -1, 199),
    pg(142, "xml", "xml", -1, 143),
    pg(650, "cidr", "cidr", -1, 651),
    pg(700, "float4", "real", 4, 1021),
    pg(701, "float8", "double precision", 8, 1022),
    pg(705, "unknown", "unknown", -2, 0),
    pg(829, "macaddr", "macaddr", 6, 1040),
    pg(869, "inet", "inet", -1, 1041),
    pg(1033, "aclitem", "aclitem", 16, 1034),
    pg(1042, "bpchar", "character", -1, 1014),
    pg(1043, "varchar", "character varying", -1, 1015),
    pg(1082, "date", "date", 4, 1182),
    pg(1083, "time", "time without time zone", 8, 1183),
    pg(1114, "timestamp", "timestamp without time zone", 8, 1115),
    pg(1184, "timestamptz", "timestamp with time zone", 8, 1185),
    pg(1186, "interval", "interval", 16, 1187),
    pg(1266, "timetz", "time with time zone", 12, 1270),
    pg(1700, "numeric", "numeric", -1, 1231),
    pg(2205, "regclass", "regclass", 4, 2210),
    pg(2206, "regtype", "regtype", 4, 2211),
    pg(2249, "record", "record", -1, 2287),
    pg(2275, "cstring", "cstring", -2, 1263),
    pg(2276, "any", "\"any\"", 4, 0),
    pg(2278, "void", "void", 4, 0),
    pg(2283, "anyelement", "anyelement", 4, 0),
    pg(2950, "uuid", "uuid", 16, 2951),
    pg(3802, "jsonb", "jsonb", -1, 3807),
    pg(4089, "regnamespace", "regnamespace", 4, 4090),
    pg(4096, "regrole", "regrole", 4, 4097),
];

/// What `format_type` prints for an oid.
pub fn shown(oid: u32, modifier: Option<i64>) -> String {
    let Some(found) = TYPES.iter().find(|known| known.oid == oid) else {
        return match TYPES.iter().find(|known| known.array == oid && oid != 0) {
            Some(element) => format!("{}[]", element.shown),
            None if oid == 0 => "-".into(),
            None => built_in::type_shown(oid).unwrap_or("???").to_owned(),
        };
    };
    match (found.name, modifier) {
        ("varchar" | "bpchar", Some(modifier)) if modifier > 4 => format!("{}({})", found.shown, modifier - 4),
        ("numeric", Some(modifier)) if modifier > 4 => {
            format!("numeric({},{})", ((modifier - 4) >> 16) & 0xffff, (modifier - 4) & 0xffff)
        }
        _ => found.shown.to_owned(),
    }
}

/// Bytes of a type's values; -1 where they differ, and of types that are not known.
pub fn length_of(oid: u32) -> i16 {
    TYPES.iter().find(|known| known.oid == oid).map_or(-1, |known| known.length)
}

/// Whether a type is a list of another.
pub fn is_array(oid: u32) -> bool {
    TYPES.iter().any(|known| known.array == oid)
}

/// The oid of a type by any of its names.
pub fn oid_of(name: &str) -> Option<u32> {
    let name = name.trim();
    let name = name.strip_prefix("pg_catalog.").unwrap_or(name).trim_matches('"');
    if let Some(element) = name.strip_suffix("[]") {
        return TYPES.iter().find(|known| known.name == element || known.shown == element).map(|known| known.array);
    }
    let name = match name {
        "int" => "int4",
        "float" => "float8",
        "decimal" => "numeric",
        other => other,
    };
    if let Some(element) = name.strip_prefix('_') {
        return TYPES.iter().find(|known| known.name == element).map(|known| known.array);
    }
    let known = TYPES.iter().find(|known| known.name == name || known.shown == name).map(|known| known.oid);
    known.or_else(|| built_in::type_named(name))
}
