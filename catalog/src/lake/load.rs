//! The manifest in memory, brought from one snapshot to the newest by what differs.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use probepilot_sql::SqlType;

use super::change::our_schema;
use super::{bounds, views};
use crate::database::{Transaction, parameters};
use crate::error::CatalogError;
use crate::manifest::{ColumnBounds, Manifest, Schema, Segment, Table, TableSettings};
use crate::table::{Column, TableDefinition, TableId, TableKind, TableName, arrow_schema};

/// Before the first snapshot: everything differs from it.
const NOTHING: i64 = -1;

/// The newest state, read as a whole.
pub(super) async fn whole(transaction: &mut Transaction, data_path: &str) -> Result<Manifest, CatalogError> {
    let nothing = Manifest { snapshot: NOTHING, ..Manifest::default() };
    let newest = advance(transaction, &nothing, data_path).await?;
    newest.ok_or_else(|| CatalogError::Corrupt("the lake's catalog has no snapshot".into()))
}

/// The newest state, from a known one and what differs; `None` when nothing was committed since.
///
/// `transaction` must see one state.
pub(super) async fn advance(
    transaction: &mut Transaction,
    known: &Manifest,
    data_path: &str,
) -> Result<Option<Manifest>, CatalogError> {
    let query = "SELECT snapshot_id, schema_version FROM ducklake_snapshot ORDER BY snapshot_id DESC LIMIT 1";
    let Some(newest) = transaction.row(query, vec![]).await? else { return Ok(None) };
    let (snapshot, schema_version) = (newest.get::<i64>(0)?, newest.get::<i64>(1)?);
    if snapshot == known.snapshot {
        return Ok(None);
    }
    refuse_foreign_rows(transaction, known.snapshot).await?;

    let query = "SELECT schema_version FROM ducklake_snapshot WHERE snapshot_id = $1";
    let then = transaction.row(query, parameters![known.snapshot]).await?;
    let then = then.map(|row| row.get::<i64>(0)).transpose()?;
    // When the known snapshot has expired, files it held may be gone without a trace: start from nothing.
    let (since, mut segments) = match then {
        Some(_) => (known.snapshot, known_segments(known)),
        None => (NOTHING, HashMap::new()),
    };
    let shapes_are_known = then == Some(schema_version);
    let mut tables = if shapes_are_known { known.tables.clone() } else { load_tables(transaction).await? };
    let schemas = if shapes_are_known { known.schemas.clone() } else { load_schemas(transaction).await? };
    let views = if shapes_are_known { known.views.clone() } else { views::load(transaction).await? };

    let changed = change_segments(transaction, &tables, since, data_path, &mut segments).await?;
    for table in tables.values_mut() {
        if !shapes_are_known || changed.contains(&table.id) {
            let segments = segments.remove(&table.id).unwrap_or_default();
            *table = Arc::new(Table { segments, ..Table::clone(table) });
        }
    }

    let mut watermark = BTreeMap::new();
    for row in transaction.rows("SELECT stream, seq FROM pp_watermark", vec![]).await? {
        watermark.insert(row.get::<String>(0)?, row.get::<i64>(1)?.cast_unsigned());
    }
    Ok(Some(Manifest { snapshot, watermark, schemas, views, tables }))
}

fn known_segments(known: &Manifest) -> HashMap<TableId, Arc<Vec<Segment>>> {
    known.tables.values().map(|table| (table.id, table.segments.clone())).collect()
}

/// Other programs may delete rows or keep them in the catalog itself. We read neither, and say so.
pub(super) async fn refuse_foreign_rows(transaction: &mut Transaction, since: i64) -> Result<(), CatalogError> {
    let query = "SELECT MIN(begin_snapshot), COUNT(*) FROM ducklake_delete_file WHERE end_snapshot IS NULL";
    if let Some(row) = transaction.row(query, vec![]).await? {
        let files: i64 = row.get(1)?;
        if files > 0 {
            let snapshot = row.get::<Option<i64>>(0)?.unwrap_or(since);
            return Err(CatalogError::ForeignRows { snapshot, what: format!("{files} delete files") });
        }
    }
    for table in transaction.rows("SELECT table_name FROM ducklake_inlined_data_tables", vec![]).await? {
        let name: String = table.get(0)?;
        let quoted = super::change::quoted(&name);
        let query = format!("SELECT MIN(begin_snapshot), COUNT(*) FROM {quoted} WHERE end_snapshot IS NULL");
        if let Some(row) = transaction.row(query, vec![]).await? {
            let rows: i64 = row.get(1)?;
            if rows > 0 {
                let snapshot = row.get::<Option<i64>>(0)?.unwrap_or(since);
                return Err(CatalogError::ForeignRows { snapshot, what: format!("{rows} inlined rows in {name}") });
            }
        }
    }
    Ok(())
}

/// Every live schema, by our name for it.
async fn load_schemas(transaction: &mut Transaction) -> Result<BTreeMap<String, Schema>, CatalogError> {
    let query = "
        SELECT s.schema_id, s.schema_name, g.value
        FROM ducklake_schema s
        LEFT JOIN ducklake_tag g ON g.object_id = s.schema_id AND g.key = 'comment' AND g.end_snapshot IS NULL
        WHERE s.end_snapshot IS NULL";
    let mut schemas = BTreeMap::new();
    for row in transaction.rows(query, vec![]).await? {
        schemas.insert(our_schema(row.get(1)?), Schema { id: row.get(0)?, comment: row.get(2)? });
    }
    Ok(schemas)
}

/// Every live table of ours, without segments.
async fn load_tables(transaction: &mut Transaction) -> Result<BTreeMap<TableName, Arc<Table>>, CatalogError> {
    let mut columns = load_columns(transaction).await?;
    let query = "
        SELECT t.table_id, s.schema_name, t.table_name, s.path, t.path, p.kind, p.retention_seconds, p.bytes_max, g.value
        FROM ducklake_table t
        JOIN ducklake_schema s ON s.schema_id = t.schema_id AND s.end_snapshot IS NULL
        JOIN pp_table p ON p.table_id = t.table_id
        LEFT JOIN ducklake_tag g ON g.object_id = t.table_id AND g.key = 'comment' AND g.end_snapshot IS NULL
        WHERE t.end_snapshot IS NULL";
    let mut tables = BTreeMap::new();
    for row in transaction.rows(query, vec![]).await? {
        let id = TableId(row.get(0)?);
        let name = TableName { schema: our_schema(row.get(1)?), name: row.get(2)? };
        let kind: String = row.get(5)?;
        let Some(kind) = TableKind::from_word(&kind) else {
            return Err(CatalogError::Corrupt(format!("table {name} is of the unknown kind \"{kind}\"")));
        };
        let (column_ids, columns) = columns.remove(&id).unwrap_or_default().into_iter().unzip();
        let definition = TableDefinition { name: name.clone(), kind, columns, comment: row.get(8)? };
        let table = Table {
            id,
            schema: arrow_schema(&definition.columns),
            definition,
            column_ids,
            path: format!("{}{}", row.get::<String>(3)?, row.get::<String>(4)?),
            settings: TableSettings {
                retention_seconds: row.get::<Option<i64>>(6)?.map(i64::cast_unsigned),
                bytes_max: row.get::<Option<i64>>(7)?.map(i64::cast_unsigned),
            },
            segments: Arc::default(),
        };
        tables.insert(name, Arc::new(table));
    }
    Ok(tables)
}

async fn load_columns(transaction: &mut Transaction) -> Result<HashMap<TableId, Vec<(i64, Column)>>, CatalogError> {
    let query = "
        SELECT c.table_id, c.column_id, c.column_name, c.nulls_allowed, p.sql_type, g.value
        FROM ducklake_column c
        JOIN pp_column p ON p.table_id = c.table_id AND p.column_id = c.column_id
        LEFT JOIN ducklake_column_tag g ON g.table_id = c.table_id AND g.column_id = c.column_id
            AND g.key = 'comment' AND g.end_snapshot IS NULL
        WHERE c.end_snapshot IS NULL AND c.parent_column IS NULL
        ORDER BY c.table_id, c.column_order";
    let mut columns: HashMap<TableId, Vec<(i64, Column)>> = HashMap::new();
    for row in transaction.rows(query, vec![]).await? {
        let name: String = row.get(2)?;
        let sql_type: String = row.get(4)?;
        let Some(sql_type) = SqlType::from_sql(&sql_type) else {
            return Err(CatalogError::Corrupt(format!("column {name} is of the unknown type \"{sql_type}\"")));
        };
        let column = Column { name, sql_type, nullable: row.get(3)?, comment: row.get(5)? };
        columns.entry(TableId(row.get(0)?)).or_default().push((row.get(1)?, column));
    }
    Ok(columns)
}

/// Applies what ended and what began after snapshot `since`; returns the tables whose segments differ.
async fn change_segments(
    transaction: &mut Transaction,
    tables: &BTreeMap<TableName, Arc<Table>>,
    since: i64,
    data_path: &str,
    segments: &mut HashMap<TableId, Arc<Vec<Segment>>>,
) -> Result<HashSet<TableId>, CatalogError> {
    let mut ended: HashMap<TableId, HashSet<i64>> = HashMap::new();
    let query = "SELECT table_id, data_file_id FROM ducklake_data_file
                 WHERE end_snapshot > $1 AND begin_snapshot <= $1";
    for row in transaction.rows(query, parameters![since]).await? {
        ended.entry(TableId(row.get(0)?)).or_default().insert(row.get(1)?);
    }
    let mut began = load_segments(transaction, tables, since, data_path).await?;

    let changed: HashSet<TableId> = ended.keys().chain(began.keys()).copied().collect();
    for &table in &changed {
        let ended = ended.remove(&table).unwrap_or_default();
        let live = Arc::make_mut(segments.entry(table).or_default());
        live.retain(|segment| !ended.contains(&segment.id));
        live.append(&mut began.remove(&table).unwrap_or_default());
        live.sort_by_key(|segment| std::cmp::Reverse((segment.time_max, segment.id)));
    }
    Ok(changed)
}

/// Live segments that began after snapshot `since`, by table.
async fn load_segments(
    transaction: &mut Transaction,
    tables: &BTreeMap<TableName, Arc<Table>>,
    since: i64,
    data_path: &str,
) -> Result<HashMap<TableId, Vec<Segment>>, CatalogError> {
    let by_id: HashMap<TableId, &Arc<Table>> = tables.values().map(|table| (table.id, table)).collect();
    let mut bounds = load_bounds(transaction, &by_id, since).await?;
    let query = "
        SELECT f.table_id, f.data_file_id, f.path, f.path_is_relative, f.record_count, f.file_size_bytes,
               f.footer_size, e.level, e.min_ts, e.max_ts
        FROM ducklake_data_file f LEFT JOIN pp_file_ext e ON e.data_file_id = f.data_file_id
        WHERE f.begin_snapshot > $1 AND f.end_snapshot IS NULL";
    let mut segments: HashMap<TableId, Vec<Segment>> = HashMap::new();
    for row in transaction.rows(query, parameters![since]).await? {
        let table_id = TableId(row.get(0)?);
        let Some(table) = by_id.get(&table_id) else { continue };
        let id: i64 = row.get(1)?;
        let stored: String = row.get(2)?;
        let path = if row.get::<bool>(3)? {
            format!("{}{stored}", table.path)
        } else if let Some(below) = stored.strip_prefix(data_path) {
            below.to_owned()
        } else {
            return Err(CatalogError::Corrupt(format!("segment \"{stored}\" is not below \"{data_path}\"")));
        };
        let segment = Segment {
            id,
            path,
            rows: row.get::<i64>(4)?.cast_unsigned(),
            bytes: row.get::<i64>(5)?.cast_unsigned(),
            footer_bytes: row.get::<Option<i64>>(6)?.unwrap_or(0).cast_unsigned(),
            // A file of another program has no times of ours: it may hold any.
            level: u8::try_from(row.get::<Option<i64>>(7)?.unwrap_or(0)).unwrap_or(0),
            time_min: row.get::<Option<i64>>(8)?.unwrap_or(i64::MIN),
            time_max: row.get::<Option<i64>>(9)?.unwrap_or(i64::MAX),
            bounds: bounds.remove(&id).unwrap_or_default(),
        };
        segments.entry(table_id).or_default().push(segment);
    }
    Ok(segments)
}

async fn load_bounds(
    transaction: &mut Transaction,
    tables: &HashMap<TableId, &Arc<Table>>,
    since: i64,
) -> Result<HashMap<i64, Vec<ColumnBounds>>, CatalogError> {
    let types: HashMap<(TableId, i64), SqlType> = tables
        .values()
        .flat_map(|table| {
            let columns = table.column_ids.iter().zip(&table.definition.columns);
            columns.map(|(&column_id, column)| ((table.id, column_id), column.sql_type))
        })
        .collect();
    let query = "
        SELECT f.table_id, s.data_file_id, s.column_id, s.null_count, s.min_value, s.max_value
        FROM ducklake_data_file f JOIN ducklake_file_column_stats s ON s.data_file_id = f.data_file_id
        WHERE f.begin_snapshot > $1 AND f.end_snapshot IS NULL
        ORDER BY s.data_file_id, s.column_id";
    let mut bounds: HashMap<i64, Vec<ColumnBounds>> = HashMap::new();
    for row in transaction.rows(query, parameters![since]).await? {
        let column_id: i64 = row.get(2)?;
        let Some(&sql_type) = types.get(&(TableId(row.get(0)?), column_id)) else { continue };
        let (min, max): (Option<String>, Option<String>) = (row.get(4)?, row.get(5)?);
        bounds.entry(row.get(1)?).or_default().push(ColumnBounds {
            column_id,
            min: min.and_then(|min| bounds::decode(sql_type, &min)),
            max: max.and_then(|max| bounds::decode(sql_type, &max)),
            // Unknown is not none.
            null_count: row.get::<Option<i64>>(3)?.unwrap_or(i64::MAX).cast_unsigned(),
        });
    }
    Ok(bounds)
}
