//! The standard's views over the same objects.

use super::cells::{Cell, Row};
use super::rows::row;
use super::snapshot::Snapshot;
use super::types;

pub fn schemata(snapshot: &Snapshot) -> Vec<Row> {
    let rows = snapshot.schemas.iter().map(|(name, _)| {
        row! { catalog_name: snapshot.database.as_str(), schema_name: name.as_str(), schema_owner: "admin" }
    });
    rows.collect()
}

pub fn tables(snapshot: &Snapshot) -> Vec<Row> {
    let rows = snapshot.relations.iter().map(|relation| {
        row! {
            table_catalog: snapshot.database.as_str(), table_schema: relation.schema.as_str(),
            table_name: relation.name.as_str(), table_type: if relation.kind == 'v' { "VIEW" } else { "BASE TABLE" },
            is_insertable_into: if relation.insertable { "YES" } else { "NO" }, is_typed: "NO",
        }
    });
    rows.collect()
}

pub fn views(snapshot: &Snapshot) -> Vec<Row> {
    let views = snapshot.relations.iter().filter(|relation| relation.kind == 'v');
    let rows = views.map(|relation| {
        row! {
            table_catalog: snapshot.database.as_str(), table_schema: relation.schema.as_str(),
            table_name: relation.name.as_str(), view_definition: relation.definition.as_deref(), check_option: "NONE",
            is_updatable: "NO", is_insertable_into: "NO", is_trigger_updatable: "NO", is_trigger_deletable: "NO",
            is_trigger_insertable_into: "NO",
        }
    });
    rows.collect()
}

/// Bits and radix of a numeric type.
fn precision(name: &str) -> (Option<i64>, Option<i64>, Option<i64>) {
    match name {
        "int2" => (Some(16), Some(2), Some(0)),
        "int4" => (Some(32), Some(2), Some(0)),
        "int8" => (Some(64), Some(2), Some(0)),
        "float4" => (Some(24), Some(2), None),
        "float8" => (Some(53), Some(2), None),
        _ => (None, None, None),
    }
}

pub fn columns(snapshot: &Snapshot) -> Vec<Row> {
    let mut rows = Vec::new();
    for relation in &snapshot.relations {
        for (index, attribute) in relation.attributes.iter().enumerate() {
            let known = types::TYPES.iter().find(|known| known.oid == attribute.type_oid);
            let udt = match known {
                Some(known) => known.name.to_owned(),
                None => types::TYPES
                    .iter()
                    .find(|known| known.array == attribute.type_oid)
                    .map_or_else(String::new, |element| format!("_{}", element.name)),
            };
            let (mut bits, mut radix, mut scale) = precision(&udt);
            if udt == "numeric" && attribute.modifier > 4 {
                let digits = i64::from(attribute.modifier - 4);
                (bits, radix, scale) = (Some(digits >> 16), Some(10), Some(digits & 0xffff));
            }
            let characters = (udt == "varchar" && attribute.modifier > 4).then(|| i64::from(attribute.modifier - 4));
            let time = ["timestamp", "timestamptz", "time", "timetz"].contains(&udt.as_str());
            rows.push(row! {
                table_catalog: snapshot.database.as_str(), table_schema: relation.schema.as_str(),
                table_name: relation.name.as_str(), column_name: attribute.name.as_str(),
                ordinal_position: index as i64 + 1, is_nullable: if attribute.nullable { "YES" } else { "NO" },
                data_type: known.map_or("ARRAY", |known| known.shown), character_maximum_length: characters, numeric_precision: bits,
                numeric_precision_radix: radix, numeric_scale: scale,
                datetime_precision: if time { Some(6) } else if udt == "date" { Some(0) } else { None },
                udt_catalog: snapshot.database.as_str(), udt_schema: "pg_catalog", udt_name: udt,
                dtd_identifier: (index + 1).to_string(), is_self_referencing: "NO", is_identity: "NO",
                identity_cycle: "NO", is_generated: "NEVER", is_updatable: "NO",
            });
        }
    }
    rows
}
