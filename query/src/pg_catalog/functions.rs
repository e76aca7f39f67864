//! What clients ask about oids: names, comments, sizes, rights, definitions.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int32Array, StructArray};
use arrow::datatypes::{DataType, Field};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::ScalarUDF;
use probepilot_sql::{SqlError, SqlState};

use super::snapshot::{Snapshot, identifiers, quoted};
use super::{PG_CATALOG, built_in, definitions, types};
use crate::functions::by_row::{Body, ByRow, fail, list, number, oid, text, utf8, wrong};

const BOOLEAN: DataType = DataType::Boolean;
const TEXT: DataType = DataType::Utf8;
const OID: DataType = DataType::UInt32;
const BIGINT: DataType = DataType::Int64;

/// An element of an array, and its number: a row of `_pg_expandarray`.
fn numbered_element() -> DataType {
    DataType::Struct(["x", "n"].map(|name| Field::new(name, DataType::Int32, true)).to_vec().into())
}

/// All of them.
pub(crate) fn all() -> Vec<ScalarUDF> {
    let mut functions = vec![
        ByRow::new("format_type", 2, 2, TEXT, |_, arguments| {
            Ok(ScalarValue::Utf8(oid(&arguments[0]).map(|oid| types::shown(oid, number(&arguments[1])))))
        })
        .with_nulls(),
        ByRow::new("pg_get_userbyid", 1, 1, TEXT, |statement, arguments| {
            let oid = oid(&arguments[0]).unwrap_or(0);
            let name = statement.catalog().account(oid).map(str::to_owned);
            Ok(utf8(name.unwrap_or_else(|| format!("unknown (OID={oid})"))))
        }),
        ByRow::new("pg_table_is_visible", 1, 1, BOOLEAN, |statement, arguments| {
            let catalog = statement.catalog();
            let relation = oid(&arguments[0]).and_then(|oid| catalog.relation(oid));
            Ok(ScalarValue::Boolean(relation.map(|relation| catalog.is_visible(relation))))
        }),
        ByRow::new("pg_encoding_to_char", 1, 1, TEXT, |_, arguments| {
            Ok(utf8(if number(&arguments[0]) == Some(6) { "UTF8" } else { "" }))
        }),
        ByRow::new("pg_char_to_encoding", 1, 1, DataType::Int32, |_, arguments| {
            let utf8 = text(&arguments[0]).is_some_and(|name| name.to_uppercase().replace('-', "") == "UTF8");
            Ok(ScalarValue::Int32(Some(if utf8 { 6 } else { -1 })))
        }),
        ByRow::new("getdatabaseencoding", 0, 0, TEXT, |_, _| Ok(utf8("UTF8"))),
        ByRow::new("obj_description", 1, 2, TEXT, |statement, arguments| {
            let catalog = arguments.get(1).and_then(text).unwrap_or("pg_class");
            let class = definitions::all().iter().find(|table| table.name == catalog && table.schema == PG_CATALOG);
            let built_in = class.zip(oid(&arguments[0])).and_then(|(class, oid)| built_in::description(class.oid, oid));
            if built_in.is_some() {
                return Ok(ScalarValue::Utf8(built_in));
            }
            let relation = oid(&arguments[0]).and_then(|oid| statement.catalog().relation(oid));
            let comment = relation.filter(|_| catalog == "pg_class").and_then(|relation| relation.comment.clone());
            let schema = oid(&arguments[0]).filter(|_| catalog == "pg_namespace");
            let comment = comment.or_else(|| schema.and_then(|oid| statement.catalog().schema_comment(oid)));
            Ok(ScalarValue::Utf8(comment))
        }),
        ByRow::new("col_description", 2, 2, TEXT, |statement, arguments| {
            let relation = oid(&arguments[0]).and_then(|oid| statement.catalog().relation(oid));
            let index = number(&arguments[1]).and_then(|number| usize::try_from(number - 1).ok());
            let attribute = relation.zip(index).and_then(|(relation, index)| relation.attributes.get(index));
            Ok(ScalarValue::Utf8(attribute.and_then(|attribute| attribute.comment.clone())))
        }),
        ByRow::new("pg_size_pretty", 1, 1, TEXT, |_, arguments| {
            Ok(ScalarValue::Utf8(number(&arguments[0]).map(size_pretty)))
        }),
        ByRow::new("pg_database_size", 1, 1, BIGINT, |statement, _| {
            Ok(ScalarValue::Int64(Some(statement.catalog().relations.iter().map(|relation| relation.bytes).sum())))
        }),
        ByRow::new("to_regclass", 1, 1, OID, |statement, arguments| {
            let catalog = statement.catalog();
            let relation = text(&arguments[0]).and_then(|name| catalog.relation_by_name(name));
            Ok(ScalarValue::UInt32(relation.map(|relation| relation.oid)))
        }),
        ByRow::new("to_regtype", 1, 1, OID, |_, arguments| {
            Ok(ScalarValue::UInt32(text(&arguments[0]).and_then(types::oid_of)))
        }),
        ByRow::new("quote_ident", 1, 1, TEXT, |_, arguments| Ok(ScalarValue::Utf8(text(&arguments[0]).map(quoted)))),
        ByRow::new("quote_literal", 1, 1, TEXT, |_, arguments| {
            Ok(ScalarValue::Utf8(text(&arguments[0]).map(|text| format!("'{}'", text.replace('\'', "''")))))
        }),
        ByRow::new("parse_ident", 1, 2, DataType::new_list(TEXT, true), |_, arguments| {
            let Some(name) = text(&arguments[0]) else { return wrong("parse_ident", &arguments[0]) };
            match identifiers(name).filter(|parts| parts.iter().all(|part| !part.is_empty())) {
                Some(parts) => Ok(list(&parts)),
                None => {
                    let message = format!("string is not a valid identifier: \"{name}\"");
                    fail(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message))
                }
            }
        }),
        // Nothing is a partition of anything, and no table is kept at a place of its own.
        ByRow::new("pg_tablespace_location", 1, 1, TEXT, |_, _| Ok(utf8(""))),
        ByRow::new("like_escape", 2, 2, TEXT, |_, arguments| {
            let (Some(pattern), Some(escape)) = (text(&arguments[0]), text(&arguments[1])) else {
                return wrong("like_escape", &arguments[0]);
            };
            like_escape(pattern, escape)
        }),
        ByRow::new("pg_my_temp_schema", 0, 0, OID, |_, _| Ok(ScalarValue::UInt32(Some(0)))),
        ByRow::new("pg_relation_is_publishable", 1, 1, BOOLEAN, |statement, arguments| {
            let relation = oid(&arguments[0]).and_then(|oid| statement.catalog().relation(oid));
            Ok(ScalarValue::Boolean(relation.map(|_| false)))
        }),
    ];
    let bound: Body = |_, arguments| {
        let ScalarValue::List(list) = &arguments[0] else { return wrong("array_upper", &arguments[0]) };
        let length = list.value(0).len() as i32;
        Ok(ScalarValue::Int32((length > 0 && number(&arguments[1]) == Some(1)).then_some(length)))
    };
    functions.push(ByRow::new("array_upper", 2, 2, DataType::Int32, bound));
    functions.push(ByRow::new("array_lower", 2, 2, DataType::Int32, |_, arguments| {
        let ScalarValue::List(list) = &arguments[0] else { return wrong("array_lower", &arguments[0]) };
        let some = !list.value(0).is_empty() && number(&arguments[1]) == Some(1);
        Ok(ScalarValue::Int32(some.then_some(1)))
    }));
    functions.push(
        ByRow::new("format", 1, 16, TEXT, |_, arguments| {
            let Some(pattern) = text(&arguments[0]) else { return Ok(ScalarValue::Utf8(None)) };
            format(pattern, &arguments[1..])
        })
        .with_nulls(),
    );
    let size: Body = |statement, arguments| {
        let relation = oid(&arguments[0]).and_then(|oid| statement.catalog().relation(oid));
        Ok(ScalarValue::Int64(relation.map(|relation| relation.bytes)))
    };
    functions.extend(
        ["pg_table_size", "pg_relation_size", "pg_total_relation_size"]
            .map(|name| ByRow::new(name, 1, 2, BIGINT, size)),
    );
    functions.push(ByRow::new("pg_indexes_size", 1, 1, BIGINT, |_, _| Ok(ScalarValue::Int64(Some(0)))));

    // Everything that is listed can be seen by its bare name, and by everyone who was let in.
    let yes: Body = |_, _| Ok(ScalarValue::Boolean(Some(true)));
    let visible = [
        "pg_type_is_visible",
        "pg_function_is_visible",
        "pg_operator_is_visible",
        "pg_opclass_is_visible",
        "pg_opfamily_is_visible",
        "pg_collation_is_visible",
        "pg_conversion_is_visible",
        "pg_ts_config_is_visible",
        "pg_ts_dict_is_visible",
        "pg_ts_parser_is_visible",
        "pg_ts_template_is_visible",
        "pg_statistics_obj_is_visible",
    ];
    functions.extend(visible.map(|name| ByRow::new(name, 1, 1, BOOLEAN, yes)));
    let rights = [
        "has_database_privilege",
        "has_schema_privilege",
        "has_table_privilege",
        "has_column_privilege",
        "has_any_column_privilege",
        "has_function_privilege",
        "pg_has_role",
    ];
    functions.extend(rights.map(|name| ByRow::new(name, 2, 4, BOOLEAN, yes)));

    // Definitions of objects that only exist in catalogs that are empty here.
    let nothing: Body = |_, _| Ok(ScalarValue::Utf8(None));
    let definitions = [
        "pg_get_expr",
        "pg_get_constraintdef",
        "pg_get_indexdef",
        "pg_get_ruledef",
        "pg_get_triggerdef",
        "pg_get_functiondef",
        "pg_get_function_sqlbody",
        "pg_get_statisticsobjdef_columns",
        "pg_get_partkeydef",
        "pg_get_serial_sequence",
        "shobj_description",
    ];
    functions.extend(definitions.map(|name| ByRow::new(name, 1, 3, TEXT, nothing)));

    // A row for each element once it is unnested, as the rewriting of calls sees to.
    functions.push(ByRow::new(
        "_pg_expandarray",
        1,
        1,
        DataType::new_list(numbered_element(), true),
        |_, arguments| {
            let ScalarValue::List(list) = &arguments[0] else { return wrong("_pg_expandarray", &arguments[0]) };
            let elements = list.value(0);
            let rows = (0..elements.len()).map(|index| {
                let x = number(&ScalarValue::try_from_array(&elements, index)?).and_then(|x| i32::try_from(x).ok());
                let n = i32::try_from(index + 1).ok();
                let columns: Vec<ArrayRef> =
                    vec![Arc::new(Int32Array::from(vec![x])), Arc::new(Int32Array::from(vec![n]))];
                let DataType::Struct(fields) = numbered_element() else { unreachable!("it is a struct") };
                Ok(ScalarValue::Struct(Arc::new(StructArray::new(fields, columns, None))))
            });
            let rows = rows.collect::<Result<Vec<_>>>()?;
            Ok(ScalarValue::List(ScalarValue::new_list(&rows, &numbered_element(), true)))
        },
    ));
    functions.push(ByRow::new("pg_get_viewdef", 1, 2, TEXT, |statement, arguments| {
        let catalog = statement.catalog();
        let relation = match text(&arguments[0]) {
            Some(name) => catalog.relation_by_name(name),
            None => oid(&arguments[0]).and_then(|oid| catalog.relation(oid)),
        };
        Ok(ScalarValue::Utf8(relation.and_then(|relation| relation.definition.clone())))
    }));

    // No default is part of a built-in function's identity.
    let arguments: Body = |_, arguments| {
        Ok(ScalarValue::Utf8(oid(&arguments[0]).and_then(|oid| built_in::of_function(oid, "arguments"))))
    };
    functions.extend(
        ["pg_get_function_arguments", "pg_get_function_identity_arguments"]
            .map(|name| ByRow::new(name, 1, 1, TEXT, arguments)),
    );
    functions.push(ByRow::new("pg_get_function_result", 1, 1, TEXT, |_, arguments| {
        Ok(ScalarValue::Utf8(oid(&arguments[0]).and_then(|oid| built_in::of_function(oid, "result"))))
    }));

    functions.extend([
        ByRow::new("regproc_in", 1, 1, OID, |_, arguments| {
            let name = text(&arguments[0]).map(|name| name.strip_prefix("pg_catalog.").unwrap_or(name).to_lowercase());
            let named = name.map(|name| built_in::functions_named(&name)).unwrap_or_default();
            if named.len() > 1 {
                let message = format!("more than one function named \"{}\"", text(&arguments[0]).unwrap_or_default());
                return fail(SqlError::new(SqlState("42725"), message));
            }
            parse(arguments, "function", SqlState::UNDEFINED_FUNCTION, |_| named.first().copied())
        }),
        ByRow::new("regproc_out", 1, 1, TEXT, |_, arguments| {
            show(arguments, |oid| built_in::of_function(oid, "proname").map(|name| quoted(&name)))
        }),
        ByRow::new("regclass_in", 1, 1, OID, |statement, arguments| {
            let catalog = statement.catalog();
            parse(arguments, "relation", SqlState::UNDEFINED_TABLE, |name| {
                catalog.relation_by_name(name).map(|relation| relation.oid)
            })
        }),
        ByRow::new("regclass_out", 1, 1, TEXT, |statement, arguments| {
            let catalog = statement.catalog();
            show(arguments, |oid| catalog.relation(oid).map(|relation| catalog.shown(relation)))
        }),
        ByRow::new("regtype_in", 1, 1, OID, |_, arguments| {
            parse(arguments, "type", SqlState::UNDEFINED_OBJECT, types::oid_of)
        }),
        ByRow::new("regtype_out", 1, 1, TEXT, |_, arguments| show(arguments, |oid| Some(types::shown(oid, None)))),
        ByRow::new("regnamespace_in", 1, 1, OID, |statement, arguments| {
            let catalog = statement.catalog();
            parse(arguments, "schema", SqlState::INVALID_SCHEMA_NAME, |name| {
                Some(catalog.schema_oid(name)).filter(|oid| *oid != 0)
            })
        }),
        ByRow::new("regnamespace_out", 1, 1, TEXT, |statement, arguments| {
            let schemas = &statement.catalog().schemas;
            show(arguments, |oid| schemas.iter().find(|(_, known)| *known == oid).map(|(name, _)| quoted(name)))
        }),
        ByRow::new("regrole_in", 1, 1, OID, |statement, arguments| {
            let catalog = statement.catalog();
            parse(arguments, "role", SqlState::UNDEFINED_OBJECT, |name| role_oid(catalog, name))
        }),
        ByRow::new("regrole_out", 1, 1, TEXT, |statement, arguments| {
            let catalog = statement.catalog();
            show(arguments, |oid| catalog.account(oid).map(quoted))
        }),
    ]);
    // Functions with their arguments, operators and collations are the planner's: names are not found, oids print as
    // numbers.
    let not_found: Body = |_, arguments| parse(arguments, "object", SqlState::UNDEFINED_FUNCTION, |_| None);
    let unnamed: Body = |_, arguments| show(arguments, |_| None);
    let ins = ["regprocedure_in", "regoper_in", "regoperator_in", "regcollation_in"];
    let outs = ["regprocedure_out", "regoper_out", "regoperator_out", "regcollation_out"];
    functions.extend(ins.map(|name| ByRow::new(name, 1, 1, OID, not_found)));
    functions.extend(outs.map(|name| ByRow::new(name, 1, 1, TEXT, unnamed)));
    functions.into_iter().map(ByRow::into_udf).collect()
}

/// `format('%s %I %L', …)`: text, identifier, literal.
fn format(pattern: &str, arguments: &[ScalarValue]) -> Result<ScalarValue> {
    let invalid = |message: &str| fail(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message));
    let (mut formatted, mut arguments) = (String::new(), arguments.iter());
    let mut characters = pattern.chars();
    while let Some(character) = characters.next() {
        if character != '%' {
            formatted.push(character);
            continue;
        }
        let kind = match characters.next() {
            Some('%') => {
                formatted.push('%');
                continue;
            }
            Some(kind @ ('s' | 'I' | 'L')) => kind,
            _ => return invalid("unrecognized format() type specifier"),
        };
        let Some(argument) = arguments.next() else { return invalid("too few arguments for format()") };
        let value = match argument.cast_to(&DataType::Utf8)? {
            ScalarValue::Utf8(value) => value,
            _ => None,
        };
        match (kind, value) {
            ('s', value) => formatted.push_str(&value.unwrap_or_default()),
            ('I', Some(value)) => formatted.push_str(&quoted(&value)),
            ('I', None) => return invalid("null values cannot be formatted as an SQL identifier"),
            (_, Some(value)) => formatted.push_str(&format!("'{}'", value.replace('\'', "''"))),
            (_, None) => formatted.push_str("NULL"),
        }
    }
    Ok(utf8(formatted))
}

/// A pattern of `LIKE … ESCAPE` with the backslash as its escape.
fn like_escape(pattern: &str, escape: &str) -> Result<ScalarValue> {
    let mut characters = escape.chars();
    let (escape, rest) = (characters.next(), characters.next());
    if rest.is_some() {
        return fail(
            SqlError::new(SqlState("22025"), "invalid escape string")
                .hint("Escape string must be empty or one character."),
        );
    }
    let mut escaped = String::with_capacity(pattern.len());
    let mut characters = pattern.chars();
    while let Some(character) = characters.next() {
        if Some(character) == escape {
            let Some(next) = characters.next() else {
                return fail(SqlError::new(SqlState("22025"), "LIKE pattern must not end with escape character"));
            };
            escaped.extend(['\\', next]);
        } else if character == '\\' {
            escaped.push_str("\\\\");
        } else {
            escaped.push(character);
        }
    }
    Ok(utf8(escaped))
}

fn role_oid(catalog: &Snapshot, name: &str) -> Option<u32> {
    catalog.accounts.iter().find(|(_, account)| account.name == name).map(|(oid, _)| *oid)
}

/// The oid a `reg*` input stands for: a number is taken as it is, a name is looked up, `-` is none.
fn parse(
    arguments: &[ScalarValue],
    what: &str,
    missing: SqlState,
    find: impl Fn(&str) -> Option<u32>,
) -> Result<ScalarValue> {
    if let Some(oid) = oid(&arguments[0]) {
        return Ok(ScalarValue::UInt32(Some(oid)));
    }
    let Some(name) = text(&arguments[0]) else {
        return wrong("the cast", &arguments[0]);
    };
    if name == "-" {
        return Ok(ScalarValue::UInt32(Some(0)));
    }
    match find(name) {
        Some(oid) => Ok(ScalarValue::UInt32(Some(oid))),
        None => fail(SqlError::new(missing, format!("{what} \"{name}\" does not exist"))),
    }
}

/// The text of a `reg*` value: the name, or the number when nothing has it.
fn show(arguments: &[ScalarValue], name: impl Fn(u32) -> Option<String>) -> Result<ScalarValue> {
    let Some(oid) = oid(&arguments[0]) else {
        return Ok(ScalarValue::Utf8(text(&arguments[0]).map(str::to_owned)));
    };
    Ok(utf8(match name(oid) {
        Some(name) => name,
        None if oid == 0 => "-".to_owned(),
        None => oid.to_string(),
    }))
}

/// Bytes as PostgreSQL prints them: the unit rises once the number passes 10,240 of it, halves round up.
fn size_pretty(bytes: i64) -> String {
    const UNITS: [&str; 6] = ["bytes", "kB", "MB", "GB", "TB", "PB"];
    let (mut size, mut unit) = (bytes as f64, 0);
    while size.abs() >= 10_239.5 && unit + 1 < UNITS.len() {
        size /= 1_024.0;
        unit += 1;
    }
    format!("{} {}", size.round(), UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_as_in_postgresql() {
        for (bytes, expected) in
            [(0, "0 bytes"), (10_239, "10239 bytes"), (10_240, "10 kB"), (1 << 30, "1024 MB"), (1 << 34, "16 GB")]
        {
            assert_eq!(size_pretty(bytes), expected);
        }
    }
}
