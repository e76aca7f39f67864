//! What the catalog describes, at a statement's snapshot.

use std::collections::{BTreeMap, HashSet};

use probepilot_catalog::manifest::View;
use probepilot_catalog::table::{Column, PUBLIC, SYSTEM, TableKind, TableName};
use probepilot_sql::SqlType;

use super::cells::CellType;
use super::{INFORMATION_SCHEMA, PG_CATALOG};
use super::{built_in, definitions, types};
use crate::engine::session::SessionShared;
use crate::engine::views;
use crate::engine::{Account, Engine};
use crate::scan::Pin;

/// The first oid that is not PostgreSQL's own.
const FIRST_OID: u32 = 16_384;

/// The oid of the account that owns everything.
pub const OWNER_OID: u32 = 10;

/// A column of a relation.
#[derive(Clone, Debug)]
pub struct Attribute {
    pub name: String,
    pub type_oid: u32,
    pub length: i16,
    /// Numbers in brackets, -1 for none.
    pub modifier: i32,
    pub nullable: bool,
    pub comment: Option<String>,
}

/// A relation.
#[derive(Clone, Debug)]
pub struct Relation {
    pub oid: u32,
    pub schema: String,
    pub name: String,
    /// `r` table, `v` view.
    pub kind: char,
    pub attributes: Vec<Attribute>,
    pub comment: Option<String>,
    /// Whether clients may insert.
    pub insertable: bool,
    /// Rows, when they are known.
    pub rows: Option<f64>,
    pub bytes: i64,
    /// A view's query.
    pub definition: Option<String>,
}

/// The catalog's objects.
#[derive(Debug)]
pub struct Snapshot {
    pub(super) database: String,
    pub(super) database_oid: u32,
    pub(super) search_path: Vec<String>,
    /// Every schema with its oid.
    pub(super) schemas: Vec<(String, u32)>,
    /// What users say of their schemas.
    pub(super) schema_comments: BTreeMap<String, String>,
    pub(super) relations: Vec<Relation>,
    pub(super) accounts: Vec<(u32, Account)>,
    pub(super) settings: Vec<(&'static crate::engine::settings::Setting, String)>,
    pub(super) queries: Vec<std::sync::Arc<crate::engine::queries::Query>>,
}

/// A number that stays the same for the same name: FNV-1a, in the range of users' oids.
fn stable_oid(kind: &str, name: &str, used: &mut HashSet<u32>) -> u32 {
    let mut hash: u32 = 0x811c_9dc5;
    for byte in kind.bytes().chain([b'/']).chain(name.bytes()) {
        hash = (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    }
    let mut oid = FIRST_OID + hash % (i32::MAX as u32 - FIRST_OID);
    while !used.insert(oid) {
        oid = if oid == i32::MAX as u32 { FIRST_OID } else { oid + 1 };
    }
    oid
}

/// Schemas that are always there, with their oids.
const SCHEMAS: [(&str, u32); 5] =
    [(PG_CATALOG, 11), ("pg_toast", 99), (PUBLIC, 2_200), (INFORMATION_SCHEMA, 13_000), (SYSTEM, 13_001)];

impl Snapshot {
    /// The catalog as this session sees it now.
    pub fn new(engine: &Engine, session: &SessionShared, pin: &Pin) -> Snapshot {
        let mut used = HashSet::new();
        let mut found: BTreeMap<TableName, Relation> = BTreeMap::new();
        for table in engine.live_tables() {
            let columns = table.columns();
            let relation = relation(&table.name(), &columns, Some(table.comment().to_owned()));
            found.insert(table.name(), relation);
        }
        for (name, table) in &pin.manifest().tables {
            let tail: usize = pin.tail_runs(table.id).iter().map(|run| run.rows().num_rows()).sum();
            let rows: u64 = table.segments.iter().map(|segment| segment.rows).sum();
            let bytes: u64 = table.segments.iter().map(|segment| segment.bytes).sum();
            found.insert(
                name.clone(),
                Relation {
                    rows: Some((rows + tail as u64) as f64),
                    bytes: bytes as i64,
                    insertable: table.definition.kind == TableKind::Inserted,
                    ..relation(name, &table.definition.columns, table.definition.comment.clone())
                },
            );
        }
        for (name, view) in &pin.manifest().views {
            found.insert(name.clone(), stored_view(view));
        }
        for view in views::all() {
            let relation = built_in_view(view, view.query(|table| found.contains_key(table)));
            found.entry(view.table_name()).or_insert(relation);
        }
        let mut relations: Vec<Relation> = definitions::all().iter().map(definitions::Definition::relation).collect();
        used.extend(relations.iter().map(|relation| relation.oid));
        relations.extend(found.into_iter().map(|(name, relation)| Relation {
            oid: stable_oid("relation", &format!("{}.{}", name.schema, name.name), &mut used),
            ..relation
        }));

        let mut schemas: Vec<(String, u32)> = SCHEMAS.map(|(name, oid)| (name.to_owned(), oid)).into();
        let made = pin.manifest().schemas.keys();
        for schema in made.chain(relations.iter().map(|relation| &relation.schema)) {
            if !schemas.iter().any(|(name, _)| name == schema) {
                schemas.push((schema.clone(), stable_oid("schema", schema, &mut used)));
            }
        }

        let commented = pin.manifest().schemas.iter();
        let schema_comments =
            commented.filter_map(|(name, schema)| Some((name.clone(), schema.comment.clone()?))).collect();

        let mut accounts = engine.accounts();
        let options = &session.options;
        if !accounts.iter().any(|account| account.name == options.user) {
            accounts.push(Account { name: options.user.clone(), role: options.role.clone() });
        }
        accounts.sort_by(|a, b| a.name.cmp(&b.name));
        let accounts = accounts.into_iter().map(|account| {
            let oid = if account.name == "admin" { OWNER_OID } else { stable_oid("role", &account.name, &mut used) };
            (oid, account)
        });
        let settings = session.settings.lock();
        Snapshot {
            database: options.database.clone(),
            database_oid: 5,
            search_path: settings.search_path(),
            schemas,
            schema_comments,
            relations,
            accounts: accounts.collect(),
            settings: settings.all(),
            queries: engine.queries().running(),
        }
    }

    /// A schema's oid, 0 when there is none of the name.
    pub fn schema_oid(&self, name: &str) -> u32 {
        self.schemas.iter().find(|(schema, _)| schema == name).map_or(0, |(_, oid)| *oid)
    }

    /// A schema's comment.
    pub fn schema_comment(&self, oid: u32) -> Option<String> {
        let (name, _) = self.schemas.iter().find(|(_, known)| *known == oid)?;
        self.schema_comments.get(name).cloned()
    }

    /// The relation with this oid.
    pub fn relation(&self, oid: u32) -> Option<&Relation> {
        self.relations.iter().find(|relation| relation.oid == oid)
    }

    /// The relation a name stands for, along the search path.
    pub fn relation_by_name(&self, name: &str) -> Option<&Relation> {
        let parts = identifiers(name)?;
        let (schema, table) = match parts.as_slice() {
            [table] => (None, table),
            [schema, table] | [_, schema, table] => (Some(schema), table),
            _ => return None,
        };
        let find =
            |schema: &str| self.relations.iter().find(|relation| relation.schema == schema && relation.name == *table);
        match schema {
            Some(schema) => find(schema),
            None => std::iter::once(PG_CATALOG).chain(self.search_path.iter().map(String::as_str)).find_map(find),
        }
    }

    /// Says whether the relation is found by its bare name.
    pub fn is_visible(&self, relation: &Relation) -> bool {
        relation.schema == PG_CATALOG || self.search_path.contains(&relation.schema)
    }

    /// The relation's name as `regclass` prints it.
    pub fn shown(&self, relation: &Relation) -> String {
        if self.is_visible(relation) {
            quoted(&relation.name)
        } else {
            format!("{}.{}", quoted(&relation.schema), quoted(&relation.name))
        }
    }

    /// An account's name.
    pub fn account(&self, oid: u32) -> Option<&str> {
        if oid == OWNER_OID {
            return Some("admin");
        }
        self.accounts.iter().find(|(known, _)| *known == oid).map(|(_, account)| account.name.as_str())
    }
}

fn relation(name: &TableName, columns: &[Column], comment: Option<String>) -> Relation {
    let attributes = columns.iter().map(|column| Attribute {
        name: column.name.clone(),
        type_oid: column.sql_type.oid(),
        length: column.sql_type.length(),
        modifier: column.sql_type.modifier(),
        nullable: column.nullable,
        comment: column.comment.clone(),
    });
    Relation {
        oid: 0,
        schema: name.schema.clone(),
        name: name.name.clone(),
        kind: 'r',
        attributes: attributes.collect(),
        comment: comment.filter(|comment| !comment.is_empty()),
        insertable: false,
        rows: None,
        bytes: 0,
        definition: None,
    }
}

/// A view that comes with us.
fn built_in_view(view: &views::View, query: String) -> Relation {
    let attributes = view.columns.iter().map(|column| {
        let known = types::TYPES.iter().find(|known| known.name == column.type_name);
        let known = known.expect("the types of views' columns are PostgreSQL's");
        Attribute {
            name: column.name.to_owned(),
            type_oid: known.oid,
            length: known.length,
            modifier: -1,
            nullable: true,
            comment: Some(column.comment.to_owned()),
        }
    });
    view_relation(view.table_name(), attributes.collect(), Some(view.comment.to_owned()), query)
}

/// A view that a user made.
fn stored_view(view: &View) -> Relation {
    let attributes = view.definition.columns.iter().map(|column| {
        let stored = SqlType::from_sql(&column.sql_type);
        let bare = column.sql_type.split('(').next().unwrap_or_default();
        let oid = stored.map(SqlType::oid).or_else(|| types::oid_of(bare)).unwrap_or(SqlType::Text.oid());
        Attribute {
            name: column.name.clone(),
            type_oid: oid,
            length: types::length_of(oid),
            modifier: stored.map_or(-1, SqlType::modifier),
            nullable: true,
            comment: column.comment.clone(),
        }
    });
    let definition = format!(" {};", view.definition.sql);
    view_relation(view.name.clone(), attributes.collect(), view.comment.clone(), definition)
}

fn view_relation(name: TableName, attributes: Vec<Attribute>, comment: Option<String>, definition: String) -> Relation {
    Relation {
        oid: 0,
        schema: name.schema,
        name: name.name,
        kind: 'v',
        attributes,
        comment,
        insertable: false,
        rows: None,
        bytes: 0,
        definition: Some(definition),
    }
}

impl definitions::Definition {
    /// The catalog's own table as the catalog describes it.
    pub fn relation(&self) -> Relation {
        let attributes = self.columns.iter().map(|column| {
            let oid = column.cell_type.oid();
            Attribute {
                name: column.name.to_owned(),
                type_oid: oid,
                length: types::length_of(oid),
                modifier: -1,
                nullable: !matches!(column.cell_type, CellType::Oid | CellType::Name),
                comment: None,
            }
        });
        Relation {
            oid: self.oid,
            schema: self.schema.to_owned(),
            name: self.name.to_owned(),
            kind: if self.schema == INFORMATION_SCHEMA { 'v' } else { 'r' },
            attributes: attributes.collect(),
            comment: None,
            insertable: false,
            rows: None,
            bytes: 0,
            definition: None,
        }
    }
}

/// A stored column's collation: the default one for text.
pub fn collation_of(type_oid: u32) -> u32 {
    if [SqlType::Text.oid(), 1043, 1042].contains(&type_oid) {
        100
    } else if type_oid == 19 {
        950
    } else {
        0
    }
}

/// A name quoted when it needs quotes.
pub fn quoted(name: &str) -> String {
    let plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if plain && !built_in::is_reserved(name) { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

/// The parts of a dotted name, unquoted; `None` when the quotes do not match.
pub fn identifiers(name: &str) -> Option<Vec<String>> {
    let mut parts = Vec::new();
    let mut rest = name.trim();
    loop {
        if let Some(inner) = rest.strip_prefix('"') {
            let end = inner.find('"')?;
            parts.push(inner[..end].to_owned());
            rest = &inner[end + 1..];
        } else {
            let end = rest.find('.').unwrap_or(rest.len());
            parts.push(rest[..end].trim().to_lowercase());
            rest = &rest[end..];
        }
        match rest.strip_prefix('.') {
            Some(next) => rest = next,
            None => return rest.is_empty().then_some(parts),
        }
    }
}
