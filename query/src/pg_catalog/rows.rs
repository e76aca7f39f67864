//! The rows of `pg_catalog`'s tables.

use super::cells::{Cell, Row};
use super::snapshot::{OWNER_OID, Snapshot, collation_of};
use super::{INFORMATION_SCHEMA, PG_CATALOG, built_in, types};
use crate::engine::settings::Kind;

/// The access method of tables: clients know no other.
const HEAP_AM: u32 = 2;

const PG_CLASS: u32 = 1_259;

macro_rules! row {
    ($($name:ident: $value:expr),* $(,)?) => {
        vec![$((stringify!($name), Cell::from($value))),*]
    };
}
pub(super) use row;

pub fn am(_: &Snapshot) -> Vec<Row> {
    let of = |oid: u32, name: &str, kind: &str| row! { tableoid: 2601, oid: oid, amname: name, amtype: kind };
    let indexes = [(403, "btree"), (405, "hash"), (783, "gist"), (2742, "gin"), (4000, "spgist"), (3580, "brin")];
    let indexes = indexes.map(|(oid, name)| of(oid, name, "i"));
    std::iter::once(of(HEAP_AM, "heap", "t")).chain(indexes).collect()
}

pub fn class(snapshot: &Snapshot) -> Vec<Row> {
    let relations = snapshot.relations.iter().map(|relation| {
        let table = relation.kind == 'r';
        row! {
            tableoid: PG_CLASS,
            oid: relation.oid,
            relname: relation.name.as_str(),
            relnamespace: snapshot.schema_oid(&relation.schema),
            relowner: OWNER_OID,
            relam: if table { HEAP_AM } else { 0 },
            relfilenode: if table { relation.oid } else { 0 },
            // Clients read rows by page when there are pages.
            reltuples: relation.rows.unwrap_or(-1.0),
            relpersistence: "p",
            relkind: relation.kind.to_string(),
            relnatts: relation.attributes.len() as i64,
            relispopulated: true,
            relreplident: if table && relation.schema != PG_CATALOG { "d" } else { "n" },
            relhasrules: !table,
        }
    });
    relations.collect()
}

pub fn attribute(snapshot: &Snapshot) -> Vec<Row> {
    let mut rows = Vec::new();
    for relation in &snapshot.relations {
        for (index, attribute) in relation.attributes.iter().enumerate() {
            rows.push(row! {
                tableoid: 1249,
                attrelid: relation.oid,
                attname: attribute.name.as_str(),
                atttypid: attribute.type_oid,
                attlen: attribute.length,
                attnum: index as i64 + 1,
                attcacheoff: -1,
                atttypmod: i64::from(attribute.modifier),
                attndims: i64::from(types::is_array(attribute.type_oid)),
                attbyval: (1..=8).contains(&attribute.length),
                attalign: if attribute.length == 8 { "d" } else { "i" },
                attstorage: if attribute.length < 0 { "x" } else { "p" },
                attnotnull: !attribute.nullable,
                attislocal: true,
                attstattarget: -1,
                attcollation: collation_of(attribute.type_oid),
            });
        }
    }
    rows
}

pub fn namespace(snapshot: &Snapshot) -> Vec<Row> {
    let rows = snapshot.schemas.iter().map(|(name, oid)| {
        row! { tableoid: 2615, oid: *oid, nspname: name.as_str(), nspowner: OWNER_OID }
    });
    rows.collect()
}

pub fn collation(_: &Snapshot) -> Vec<Row> {
    let of = |oid: u32, name: &str, provider: &str, locale: Option<&str>| {
        row! {
            oid: oid, collname: name, collnamespace: 11, collowner: OWNER_OID, collprovider: provider,
            collisdeterministic: true, collencoding: -1, collcollate: locale, collctype: locale,
        }
    };
    vec![of(100, "default", "d", None), of(950, "C", "c", Some("C")), of(951, "POSIX", "c", Some("POSIX"))]
}

pub fn database(snapshot: &Snapshot) -> Vec<Row> {
    vec![row! {
        tableoid: 1262, oid: snapshot.database_oid, datname: snapshot.database.as_str(), datdba: OWNER_OID, encoding: 6,
        datlocprovider: "c", datallowconn: true, datconnlimit: -1, dattablespace: 1663, datcollate: "C", datctype: "C",
    }]
}

pub fn tablespace(_: &Snapshot) -> Vec<Row> {
    vec![
        row! { tableoid: 1213, oid: 1663, spcname: "pg_default", spcowner: OWNER_OID },
        row! { tableoid: 1213, oid: 1664, spcname: "pg_global", spcowner: OWNER_OID },
    ]
}

pub fn roles(snapshot: &Snapshot) -> Vec<Row> {
    let rows = snapshot.accounts.iter().map(|(oid, account)| {
        let admin = account.role == "admin";
        row! {
            oid: *oid, rolname: account.name.as_str(), rolsuper: admin, rolinherit: true, rolcreaterole: admin,
            rolcreatedb: admin, rolcanlogin: true, rolconnlimit: -1, rolpassword: "********", rolreplication: admin,
            rolbypassrls: admin,
        }
    });
    rows.collect()
}

pub fn users(snapshot: &Snapshot) -> Vec<Row> {
    let rows = snapshot.accounts.iter().map(|(oid, account)| {
        let admin = account.role == "admin";
        row! {
            usename: account.name.as_str(), usesysid: *oid, usecreatedb: admin, usesuper: admin,
            userepl: admin, usebypassrls: admin, passwd: "********",
        }
    });
    rows.collect()
}

pub fn description(snapshot: &Snapshot) -> Vec<Row> {
    let mut rows = built_in::descriptions();
    for (schema, comment) in &snapshot.schema_comments {
        let oid = snapshot.schema_oid(schema);
        rows.push(row! { objoid: oid, classoid: 2615, objsubid: 0, description: comment.as_str() });
    }
    for relation in &snapshot.relations {
        let of = |number: i64, text: &str| {
            row! { objoid: relation.oid, classoid: PG_CLASS, objsubid: number, description: text }
        };
        if let Some(comment) = &relation.comment {
            rows.push(of(0, comment));
        }
        for (index, attribute) in relation.attributes.iter().enumerate() {
            if let Some(comment) = &attribute.comment {
                rows.push(of(index as i64 + 1, comment));
            }
        }
    }
    rows
}

pub fn settings(snapshot: &Snapshot) -> Vec<Row> {
    let rows = snapshot.settings.iter().map(|(setting, value)| {
        let kind = match setting.kind {
            Kind::Boolean => "bool",
            Kind::Integer | Kind::Milliseconds => "integer",
            Kind::Words(_) => "enum",
            _ => "string",
        };
        let words = match setting.kind {
            Kind::Words(words) => Cell::Texts(words.iter().map(|word| (*word).to_owned()).collect()),
            _ => Cell::Null,
        };
        let mut row = row! {
            name: setting.name, setting: value.as_str(), category: "Client Connection Defaults",
            short_desc: setting.description,
            context: if setting.kind == Kind::ReadOnly { "internal" } else { "user" }, vartype: kind,
            source: if value == setting.default { "default" } else { "session" }, boot_val: setting.default,
            reset_val: setting.default,
        };
        row.push(("enumvals", words));
        row
    });
    rows.collect()
}

pub fn stat_activity(snapshot: &Snapshot) -> Vec<Row> {
    let rows = snapshot.queries.iter().map(|query| {
        let user = snapshot.accounts.iter().find(|(_, account)| account.name == query.user).map(|(oid, _)| *oid);
        row! {
            datid: snapshot.database_oid, datname: query.database.as_str(), pid: query.process_id, usesysid: user,
            usename: query.user.as_str(), application_name: query.application_name.as_str(),
            client_addr: query.client_address.as_deref(), query_start: query.started_unix_ns / 1_000, state: "active",
            query_id: query.id as i64, query: query.text.as_str(), backend_type: "client backend",
        }
    });
    rows.collect()
}

fn users_tables(snapshot: &Snapshot) -> impl Iterator<Item = &super::snapshot::Relation> {
    snapshot.relations.iter().filter(|relation| relation.schema != PG_CATALOG && relation.schema != INFORMATION_SCHEMA)
}

pub fn stat_user_tables(snapshot: &Snapshot) -> Vec<Row> {
    let rows = users_tables(snapshot).map(|relation| {
        row! {
            relid: relation.oid, schemaname: relation.schema.as_str(), relname: relation.name.as_str(),
            n_live_tup: relation.rows.unwrap_or(0.0) as i64,
        }
    });
    rows.collect()
}

pub fn views(snapshot: &Snapshot) -> Vec<Row> {
    let views = snapshot.relations.iter().filter(|relation| relation.kind == 'v');
    let rows = views.map(|relation| {
        row! {
            schemaname: relation.schema.as_str(), viewname: relation.name.as_str(), viewowner: "admin",
            definition: relation.definition.as_deref(),
        }
    });
    rows.collect()
}

pub fn tables(snapshot: &Snapshot) -> Vec<Row> {
    let tables = snapshot.relations.iter().filter(|relation| relation.kind == 'r');
    let rows = tables.map(|relation| {
        row! { schemaname: relation.schema.as_str(), tablename: relation.name.as_str(), tableowner: "admin" }
    });
    rows.collect()
}
