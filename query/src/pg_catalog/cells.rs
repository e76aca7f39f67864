//! Values of catalog tables, and batches of them.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float32Array, Float64Array, Int16Array, Int32Array, Int64Array, Int64Builder, ListBuilder,
    RecordBatch, RecordBatchOptions, StringArray, StringBuilder, TimestampMicrosecondArray, UInt32Array,
};
use arrow::datatypes::{DataType, Field, SchemaRef, TimeUnit};
use datafusion::common::Result;
use probepilot_sql::types::TYPE_KEY;

/// The types of catalog columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CellType {
    Bool,
    Int2,
    Int4,
    Int8,
    Oid,
    Float4,
    Float8,
    Name,
    Char,
    Text,
    Timestamptz,
    /// `text[]`, `name[]`, `aclitem[]`
    TextArray,
    /// `int2[]`, `oid[]` and their vectors.
    IntArray,
}

impl CellType {
    /// The type a word of a definition stands for.
    pub fn from_word(word: &str) -> CellType {
        match word {
            "bool" => CellType::Bool,
            "int2" => CellType::Int2,
            "int4" => CellType::Int4,
            "int8" => CellType::Int8,
            "oid" => CellType::Oid,
            "float4" => CellType::Float4,
            "float8" => CellType::Float8,
            "name" => CellType::Name,
            "char" => CellType::Char,
            "text" => CellType::Text,
            "timestamptz" => CellType::Timestamptz,
            "text[]" => CellType::TextArray,
            "int[]" => CellType::IntArray,
            other => unreachable!("definitions use the words above, not {other}"),
        }
    }

    /// PostgreSQL's type oid.
    pub fn oid(self) -> u32 {
        match self {
            CellType::Bool => 16,
            CellType::Int2 => 21,
            CellType::Int4 => 23,
            CellType::Int8 => 20,
            CellType::Oid => 26,
            CellType::Float4 => 700,
            CellType::Float8 => 701,
            CellType::Name => 19,
            CellType::Char => 18,
            CellType::Text => 25,
            CellType::Timestamptz => 1184,
            CellType::TextArray => 1009,
            CellType::IntArray => 1016,
        }
    }

    fn arrow(self) -> DataType {
        match self {
            CellType::Bool => DataType::Boolean,
            CellType::Int2 => DataType::Int16,
            CellType::Int4 => DataType::Int32,
            CellType::Int8 => DataType::Int64,
            CellType::Oid => DataType::UInt32,
            CellType::Float4 => DataType::Float32,
            CellType::Float8 => DataType::Float64,
            CellType::Name | CellType::Char | CellType::Text => DataType::Utf8,
            CellType::Timestamptz => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            CellType::TextArray => DataType::new_list(DataType::Utf8, true),
            CellType::IntArray => DataType::new_list(DataType::Int64, true),
        }
    }

    /// The column's field; types that Arrow does not have are named in the metadata.
    pub fn field(self, name: &str) -> Field {
        let word = match self {
            CellType::Oid => Some("oid"),
            CellType::Name => Some("name"),
            CellType::Char => Some("\"char\""),
            _ => None,
        };
        let metadata: HashMap<String, String> =
            word.map(|word| (TYPE_KEY.to_owned(), word.to_owned())).into_iter().collect();
        Field::new(name, self.arrow(), true).with_metadata(metadata)
    }
}

/// One value.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    Texts(Vec<String>),
    Ints(Vec<i64>),
}

impl From<bool> for Cell {
    fn from(value: bool) -> Cell {
        Cell::Bool(value)
    }
}

macro_rules! from_int {
    ($($int:ty)*) => {
        $(impl From<$int> for Cell {
            fn from(value: $int) -> Cell {
                Cell::Int(i64::from(value))
            }
        })*
    };
}
from_int!(i16 i32 u32 i64);

impl From<f64> for Cell {
    fn from(value: f64) -> Cell {
        Cell::Float(value)
    }
}

impl From<&str> for Cell {
    fn from(value: &str) -> Cell {
        Cell::Text(value.to_owned())
    }
}

impl From<String> for Cell {
    fn from(value: String) -> Cell {
        Cell::Text(value)
    }
}

impl<T: Into<Cell>> From<Option<T>> for Cell {
    fn from(value: Option<T>) -> Cell {
        value.map_or(Cell::Null, Into::into)
    }
}

/// A row: the columns that are not at their default (0, false, the empty "char", else NULL).
pub type Row = Vec<(&'static str, Cell)>;

/// A column of a definition.
#[derive(Clone, Debug)]
pub struct CellColumn {
    pub name: &'static str,
    pub cell_type: CellType,
}

/// The rows as a batch.
pub fn batch(columns: &[CellColumn], schema: &SchemaRef, rows: &[Row]) -> Result<RecordBatch> {
    let arrays = columns.iter().map(|column| array(column, rows)).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), arrays, &options)?)
}

fn array(column: &CellColumn, rows: &[Row]) -> ArrayRef {
    let default = match column.cell_type {
        CellType::Bool => Cell::Bool(false),
        CellType::Int2 | CellType::Int4 | CellType::Int8 | CellType::Oid => Cell::Int(0),
        CellType::Char => Cell::Text(String::new()),
        _ => Cell::Null,
    };
    let cells =
        || rows.iter().map(|row| row.iter().find(|(name, _)| *name == column.name).map_or(&default, |(_, cell)| cell));
    let ints = || cells().map(|cell| if let Cell::Int(value) = cell { Some(*value) } else { None });
    let floats = || {
        cells().map(|cell| match cell {
            Cell::Float(value) => Some(*value),
            Cell::Int(value) => Some(*value as f64),
            _ => None,
        })
    };
    match column.cell_type {
        CellType::Bool => Arc::new(
            cells()
                .map(|cell| if let Cell::Bool(value) = cell { Some(*value) } else { None })
                .collect::<BooleanArray>(),
        ),
        CellType::Int2 => Arc::new(ints().map(|value| value.map(|value| value as i16)).collect::<Int16Array>()),
        CellType::Int4 => Arc::new(ints().map(|value| value.map(|value| value as i32)).collect::<Int32Array>()),
        CellType::Int8 => Arc::new(ints().collect::<Int64Array>()),
        CellType::Oid => Arc::new(ints().map(|value| value.map(|value| value as u32)).collect::<UInt32Array>()),
        CellType::Float4 => Arc::new(floats().map(|value| value.map(|value| value as f32)).collect::<Float32Array>()),
        CellType::Float8 => Arc::new(floats().collect::<Float64Array>()),
        CellType::Name | CellType::Char | CellType::Text => {
            let texts = cells().map(|cell| if let Cell::Text(value) = cell { Some(value.as_str()) } else { None });
            Arc::new(texts.collect::<StringArray>())
        }
        CellType::Timestamptz => Arc::new(ints_of_time(cells()).with_timezone("UTC")),
        CellType::TextArray => {
            let mut lists = ListBuilder::new(StringBuilder::new());
            for cell in cells() {
                match cell {
                    Cell::Texts(values) => lists.append_value(values.iter().map(Some)),
                    _ => lists.append_null(),
                }
            }
            Arc::new(lists.finish())
        }
        CellType::IntArray => {
            let mut lists = ListBuilder::new(Int64Builder::new());
            for cell in cells() {
                match cell {
                    Cell::Ints(values) => lists.append_value(values.iter().copied().map(Some)),
                    _ => lists.append_null(),
                }
            }
            Arc::new(lists.finish())
        }
    }
}

/// Unix microseconds.
fn ints_of_time<'a>(cells: impl Iterator<Item = &'a Cell>) -> TimestampMicrosecondArray {
    cells.map(|cell| if let Cell::Int(value) = cell { Some(*value) } else { None }).collect()
}
