//! Rows of PostgreSQL 16's catalogs that are the same in every database: types, operators, casts, functions.
//!
//! The file beside this one has them; `xtask/built_in.py` writes it from a real server. Of its functions those are
//! shown that can be called here, and those that its types, casts and operators name.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use super::cells::{Cell, CellType, Row};
use super::definitions::{self, Definition};
use super::snapshot::OWNER_OID;

const FILE: &str = include_str!("built_in.tsv");

/// The oid of the schema `pg_catalog`.
const PG_CATALOG_OID: u32 = 11;

/// Columns that name a function by its oid.
const FUNCTION_COLUMNS: [(&str, &[&str]); 4] = [
    (
        "pg_type",
        &["typsubscript", "typinput", "typoutput", "typreceive", "typsend", "typmodin", "typmodout", "typanalyze"],
    ),
    ("pg_cast", &["castfunc"]),
    ("pg_operator", &["oprcode", "oprrest", "oprjoin"]),
    ("pg_range", &["rngcanonical", "rngsubdiff"]),
];

/// A table of the file.
struct Table {
    columns: Vec<&'static str>,
    rows: Vec<Vec<&'static str>>,
}

impl Table {
    fn place(&self, column: &str) -> usize {
        self.columns.iter().position(|known| *known == column).expect("the script writes the columns that are read")
    }

    /// The row whose first column, its oid, is this one.
    fn by_oid(&self, oid: u32) -> Option<&Vec<&'static str>> {
        let index = self.rows.binary_search_by_key(&oid, |row| row[0].parse().unwrap_or(0)).ok()?;
        self.rows.get(index)
    }
}

static TABLES: LazyLock<HashMap<&'static str, Table>> = LazyLock::new(|| {
    let mut tables: HashMap<&'static str, Table> = FILE
        .split("== ")
        .skip(1)
        .map(|part| {
            let mut lines = part.lines();
            let mut head = lines.next().expect("a table begins with its columns").split('\t');
            let name = head.next().expect("a table has a name");
            (name, Table { columns: head.collect(), rows: lines.map(|line| line.split('\t').collect()).collect() })
        })
        .collect();
    let mut named: HashSet<&str> = HashSet::new();
    for (table, columns) in FUNCTION_COLUMNS {
        let table = &tables[table];
        let places: Vec<usize> = columns.iter().map(|column| table.place(column)).collect();
        named.extend(table.rows.iter().flat_map(|row| places.iter().map(|place| row[*place])));
    }
    let functions = tables.get_mut("pg_proc").expect("the file has the functions");
    functions.rows.retain(|row| crate::functions::names().contains(row[1]) || named.contains(row[0]));
    let shown: HashSet<&str> = functions.rows.iter().map(|row| row[0]).collect();
    let aggregates = tables.get_mut("pg_aggregate").expect("the file has the aggregates");
    aggregates.rows.retain(|row| shown.contains(row[0]));
    tables
});

/// Says whether the rows of a catalog are those of the file.
pub fn has(table: &str) -> bool {
    table != "pg_description" && TABLES.contains_key(table)
}

/// The rows of a catalog.
pub fn rows(definition: &Definition) -> Vec<Row> {
    let Some(table) = TABLES.get(definition.name) else { return Vec::new() };
    let types: Vec<Option<CellType>> = table
        .columns
        .iter()
        .map(|name| definition.columns.iter().find(|column| column.name == *name).map(|column| column.cell_type))
        .collect();
    // The same in every row.
    let shared = definition.columns.iter().filter_map(|column| {
        let value = match column.name {
            "tableoid" => definition.oid,
            name if name.ends_with("namespace") => PG_CATALOG_OID,
            name if name.ends_with("owner") => OWNER_OID,
            _ => return None,
        };
        Some((column.name, Cell::from(value)))
    });
    let shared: Vec<_> = shared.collect();
    let rows = table.rows.iter().map(|row| {
        let values = row.iter().zip(&table.columns).zip(&types);
        let own = values.filter_map(|((value, name), cell_type)| Some((*name, cell(value, (*cell_type)?))));
        own.chain(shared.iter().cloned()).collect()
    });
    rows.collect()
}

/// Says whether a word has a meaning of its own, so that as a name it is quoted.
pub fn is_reserved(word: &str) -> bool {
    static RESERVED: LazyLock<HashSet<&str>> = LazyLock::new(|| {
        let keywords = &TABLES["pg_get_keywords"];
        let category = keywords.place("catcode");
        keywords.rows.iter().filter(|row| row[category] != "U").map(|row| row[0]).collect()
    });
    RESERVED.contains(word)
}

/// The comments on what the file has, as rows of `pg_description`.
pub fn descriptions() -> Vec<Row> {
    let mut found =
        rows(definitions::all().iter().find(|table| table.name == "pg_description").expect("it is defined"));
    let functions = &TABLES["pg_proc"];
    let place = functions.place("description");
    found.extend(functions.rows.iter().filter_map(|row| {
        let Cell::Text(text) = cell(row[place], CellType::Text) else { return None };
        let oid = cell(row[0], CellType::Oid);
        Some(vec![("objoid", oid), ("classoid", Cell::Int(1_255)), ("description", Cell::Text(text))])
    }));
    found
}

/// The comment on an object of a catalog.
pub fn description(class_oid: u32, oid: u32) -> Option<String> {
    if class_oid == 1_255 {
        return of_function(oid, "description");
    }
    let (class_oid, oid) = (class_oid.to_string(), oid.to_string());
    let row = TABLES["pg_description"].rows.iter().find(|row| row[0] == oid && row[1] == class_oid)?;
    Some(unescaped(row[3]))
}

/// A column of a function: `proname`, `result`, `arguments`.
pub fn of_function(oid: u32, column: &str) -> Option<String> {
    let functions = &TABLES["pg_proc"];
    let row = functions.by_oid(oid)?;
    match cell(row[functions.place(column)], CellType::Text) {
        Cell::Text(text) => Some(text),
        _ => None,
    }
}

/// The oids of the functions of a name.
pub fn functions_named(name: &str) -> Vec<u32> {
    let rows = TABLES["pg_proc"].rows.iter().filter(|row| row[1] == name);
    rows.filter_map(|row| row[0].parse().ok()).collect()
}

/// What `format_type` prints for a type.
pub fn type_shown(oid: u32) -> Option<&'static str> {
    let types = &TABLES["pg_type"];
    types.by_oid(oid).map(|row| row[types.place("shown")])
}

/// The oid of a type by its name or by what `format_type` prints.
pub fn type_named(name: &str) -> Option<u32> {
    let types = &TABLES["pg_type"];
    let shown = types.place("shown");
    let row = types.rows.iter().find(|row| row[1] == name || row[shown] == name)?;
    row[0].parse().ok()
}

fn unescaped(text: &str) -> String {
    text.replace("\\n", "\n").replace("\\t", "\t").replace("\\\\", "\\")
}

/// A value as COPY writes it.
fn cell(text: &'static str, cell_type: CellType) -> Cell {
    if text == "\\N" {
        return Cell::Null;
    }
    match cell_type {
        CellType::Bool => Cell::Bool(text == "t"),
        CellType::Int2 | CellType::Int4 | CellType::Int8 | CellType::Oid => text.parse().map_or(Cell::Null, Cell::Int),
        CellType::Float4 | CellType::Float8 => text.parse().map_or(Cell::Null, Cell::Float),
        CellType::IntArray => Cell::Ints(text.split(',').filter_map(|number| number.parse().ok()).collect()),
        CellType::TextArray => Cell::Texts(text.split(',').map(str::to_owned).collect()),
        _ => Cell::Text(unescaped(text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_those_that_exist_here_and_those_of_types() {
        assert_eq!(functions_named("now"), [1_299]);
        assert_eq!(of_function(1_299, "result").as_deref(), Some("timestamp with time zone"));
        assert_eq!(functions_named("array_in"), [750]);
        assert!(functions_named("lo_unlink").is_empty(), "nothing here knows large objects");
    }

    #[test]
    fn types_are_found_by_both_their_names() {
        assert_eq!(
            (type_named("int4"), type_named("integer"), type_named("integer[]")),
            (Some(23), Some(23), Some(1_007))
        );
        assert_eq!(type_shown(1_184), Some("timestamp with time zone"));
    }

    #[test]
    fn every_line_has_a_value_for_each_column() {
        for (name, table) in TABLES.iter() {
            assert!(!table.rows.is_empty(), "{name}");
            assert!(table.rows.iter().all(|row| row.len() == table.columns.len()), "{name}");
        }
    }
}
