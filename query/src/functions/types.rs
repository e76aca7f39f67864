//! SQL type names that only PostgreSQL has, as Arrow types.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::Result;
use datafusion::logical_expr::planner::TypePlanner;
use datafusion::sql::sqlparser::ast::{self, ArrayElemTypeDef};
use probepilot_sql::SqlType;
use probepilot_sql::types::TYPE_KEY;

/// The name of a field whose type is a cast's whole type; the planner would keep what it knows of the value otherwise.
const EXACT: &str = "exact";

/// Whether a cast to this field forgets the SQL type of its value.
pub(crate) fn is_exact(field: &Field) -> bool {
    field.name() == EXACT && field.metadata().is_empty()
}

/// Knows `oid`, `name`, `inet`, `pg_catalog.text`, `jsonb` and their like.
#[derive(Debug)]
pub struct Types;

impl TypePlanner for Types {
    fn plan_type_field(&self, sql_type: &ast::DataType) -> Result<Option<FieldRef>> {
        let plain = |data_type| Ok(Some(Arc::new(Field::new(EXACT, data_type, true)) as FieldRef));
        let marked = |data_type, name: &str| {
            let metadata = HashMap::from([(TYPE_KEY.to_owned(), name.to_owned())]);
            Ok(Some(Arc::new(Field::new("", data_type, true).with_metadata(metadata)) as FieldRef))
        };
        match sql_type {
            ast::DataType::Array(ArrayElemTypeDef::SquareBracket(element, _)) => {
                let Some(element) = self.plan_type_field(element)? else { return Ok(None) };
                plain(DataType::new_list(element.data_type().clone(), true))
            }
            ast::DataType::Custom(name, _) => {
                let Some(last) = name.0.last().and_then(|part| part.as_ident()) else { return Ok(None) };
                match last.value.to_lowercase().as_str() {
                    "oid" | "xid" | "cid" => marked(DataType::UInt32, "oid"),
                    "name" => marked(DataType::Utf8View, "name"),
                    "inet" | "cidr" => marked(DataType::Utf8View, SqlType::Inet.sql()),
                    json @ ("json" | "jsonb") => marked(DataType::Utf8View, json),
                    "text" | "varchar" | "bpchar" | "char" | "unknown" | "cstring" | "aclitem" | "pg_node_tree" => {
                        plain(DataType::Utf8View)
                    }
                    "bool" => plain(DataType::Boolean),
                    "int2" => plain(DataType::Int16),
                    "int4" => plain(DataType::Int32),
                    "int8" => plain(DataType::Int64),
                    "float4" => plain(DataType::Float32),
                    "float8" => plain(DataType::Float64),
                    "bytea" => plain(DataType::BinaryView),
                    "timestamptz" => plain(SqlType::Timestamptz.arrow()),
                    "timestamp" => plain(SqlType::Timestamp.arrow()),
                    "date" => plain(DataType::Date32),
                    _ => Ok(None),
                }
            }
            ast::DataType::Text | ast::DataType::Varchar(None) | ast::DataType::CharacterVarying(None) => {
                plain(DataType::Utf8View)
            }
            ast::DataType::Boolean | ast::DataType::Bool => plain(DataType::Boolean),
            ast::DataType::SmallInt(_) | ast::DataType::Int2(_) => plain(DataType::Int16),
            ast::DataType::Int(_) | ast::DataType::Integer(_) | ast::DataType::Int4(_) => plain(DataType::Int32),
            ast::DataType::BigInt(_) | ast::DataType::Int8(_) => plain(DataType::Int64),
            ast::DataType::Real | ast::DataType::Float4 => plain(DataType::Float32),
            ast::DataType::DoublePrecision | ast::DataType::Float8 => plain(DataType::Float64),
            ast::DataType::JSON => marked(DataType::Utf8View, "json"),
            ast::DataType::JSONB => marked(DataType::Utf8View, "jsonb"),
            _ => Ok(None),
        }
    }
}
