//! Which segments go: those past their time, those over their table's size, the oldest hours when all is over the cap.

use std::collections::HashSet;

use probepilot_catalog::manifest::{Manifest, Segment, Table};
use probepilot_catalog::table::TableId;

const SECOND_NS: i64 = 1_000_000_000;
const HOUR_NS: i64 = 3_600 * SECOND_NS;

/// Segments of one table to end, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// The table.
    pub table: TableId,
    /// Their ids.
    pub segments: Vec<i64>,
    /// Their bytes.
    pub bytes: u64,
    /// Earliest `time` of what the table still has, Unix nanoseconds; `None` when nothing is left.
    pub oldest_left_unix_ns: Option<i64>,
    /// Why.
    pub why: Why,
}

/// Why segments go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Their rows are older than the table keeps them.
    Retention,
    /// The table has more bytes than it may.
    TableBytes,
    /// All together have more bytes than they may.
    DiskCap,
}

/// What the time a table keeps rows ends.
pub fn by_retention(manifest: &Manifest, now_unix_ns: i64) -> Vec<Ending> {
    manifest.tables.values().filter_map(|table| past_retention(table, now_unix_ns)).collect()
}

/// What the tables' own sizes end.
pub fn by_table_bytes(manifest: &Manifest) -> Vec<Ending> {
    manifest.tables.values().filter_map(|table| over_bytes(table)).collect()
}

fn past_retention(table: &Table, now_unix_ns: i64) -> Option<Ending> {
    let default = table.definition.kind.retention_days_default().map(|days| u64::from(days) * 86_400);
    let seconds = table.settings.retention_seconds.or(default)?;
    let kept_ns = i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(SECOND_NS);
    let limit = now_unix_ns.saturating_sub(kept_ns);
    let past = table.segments.iter().filter(|segment| segment.time_max < limit);
    ending(table, &past.map(|segment| segment.id).collect(), Why::Retention)
}

fn over_bytes(table: &Table) -> Option<Ending> {
    let limit = table.settings.bytes_max?;
    let mut remaining = Remaining::new(table);
    while remaining.bytes() > limit {
        remaining.take_oldest_hour();
    }
    ending(table, &remaining.ended, Why::TableBytes)
}

/// What to end so that `bytes_over` bytes less are kept: hour by hour of the table that is most over its equal share,
/// security tables and those of clients only when no other table has anything left.
pub fn by_cap(manifest: &Manifest, bytes_over: u64) -> Vec<Ending> {
    let mut tables: Vec<Remaining> = manifest.tables.values().map(|table| Remaining::new(table)).collect();
    let mut freed = 0;
    while freed < bytes_over {
        // Shares are equal, so the largest is the one most over its share.
        let candidates = tables.iter_mut().filter(|remaining| !remaining.left.is_empty());
        let candidate =
            candidates.max_by_key(|remaining| (!remaining.table.definition.kind.goes_last(), remaining.bytes()));
        let Some(candidate) = candidate else { break };
        freed += candidate.take_oldest_hour();
    }
    tables.iter().filter_map(|remaining| ending(remaining.table, &remaining.ended, Why::DiskCap)).collect()
}

struct Remaining<'a> {
    table: &'a Table,
    left: Vec<&'a Segment>,
    ended: HashSet<i64>,
}

impl<'a> Remaining<'a> {
    fn new(table: &'a Table) -> Remaining<'a> {
        Remaining { table, left: table.segments.iter().collect(), ended: HashSet::new() }
    }

    fn bytes(&self) -> u64 {
        self.left.iter().map(|segment| segment.bytes).sum()
    }

    /// Ends the segments of the oldest hour and returns their bytes.
    fn take_oldest_hour(&mut self) -> u64 {
        let hour = |segment: &Segment| segment.time_max.div_euclid(HOUR_NS);
        let Some(oldest) = self.left.iter().map(|segment| hour(segment)).min() else { return 0 };
        let (gone, left) = std::mem::take(&mut self.left).into_iter().partition(|segment| hour(segment) == oldest);
        self.left = left;
        let gone: Vec<&Segment> = gone;
        self.ended.extend(gone.iter().map(|segment| segment.id));
        gone.iter().map(|segment| segment.bytes).sum()
    }
}

fn ending(table: &Table, ended: &HashSet<i64>, why: Why) -> Option<Ending> {
    if ended.is_empty() {
        return None;
    }
    let (gone, left): (Vec<&Segment>, Vec<&Segment>) =
        table.segments.iter().partition(|segment| ended.contains(&segment.id));
    Some(Ending {
        table: table.id,
        segments: gone.iter().map(|segment| segment.id).collect(),
        bytes: gone.iter().map(|segment| segment.bytes).sum(),
        oldest_left_unix_ns: left.iter().map(|segment| segment.time_min).min(),
        why,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use probepilot_catalog::manifest::TableSettings;
    use probepilot_catalog::table::{TableKind, TableName, arrow_schema};

    use super::*;
    use crate::source::Source;

    const NOW: i64 = 100 * 24 * HOUR_NS;

    fn table(id: i64, kind: TableKind, settings: TableSettings, hours_and_bytes: &[(i64, u64)]) -> Table {
        let mut definition = Source::table(&format!("t{id}"));
        definition.kind = kind;
        let segments = hours_and_bytes.iter().zip(1..).map(|(&(hours_ago, bytes), number)| Segment {
            id: id * 100 + number,
            path: format!("{number}.parquet"),
            rows: 1,
            bytes,
            footer_bytes: 1,
            time_min: NOW - hours_ago * HOUR_NS,
            time_max: NOW - hours_ago * HOUR_NS + 1,
            level: 0,
            bounds: Vec::new(),
        });
        Table {
            id: TableId(id),
            schema: arrow_schema(&definition.columns),
            column_ids: vec![1, 2, 3, 4],
            path: format!("t{id}/"),
            settings,
            segments: Arc::new(segments.collect()),
            definition,
        }
    }

    fn manifest(tables: Vec<Table>) -> Manifest {
        let tables = tables.into_iter().map(|table| (TableName::public(format!("t{}", table.id)), Arc::new(table)));
        Manifest { tables: tables.collect(), ..Manifest::default() }
    }

    fn ended(endings: &[Ending]) -> Vec<i64> {
        endings.iter().flat_map(|ending| ending.segments.clone()).collect()
    }

    #[test]
    fn a_table_keeps_rows_as_long_as_its_kind_or_its_settings_say() {
        let set = TableSettings { retention_seconds: Some(7200), bytes_max: None };
        let manifest = manifest(vec![
            table(1, TableKind::Events, TableSettings::default(), &[(1, 10), (24 * 6, 10), (24 * 8, 10)]),
            table(2, TableKind::Events, set, &[(1, 10), (3, 10)]),
            table(3, TableKind::Security, TableSettings::default(), &[(24 * 80, 10)]),
            table(4, TableKind::Inserted, TableSettings::default(), &[(24 * 8_000, 10)]),
            table(5, TableKind::Inserted, set, &[(1, 10), (3, 10)]),
        ]);
        let endings = by_retention(&manifest, NOW);
        assert_eq!(ended(&endings), [103, 202, 502]);
        assert_eq!(endings[0].oldest_left_unix_ns, Some(NOW - 24 * 6 * HOUR_NS));
    }

    #[test]
    fn a_table_over_its_own_size_loses_its_oldest_hours() {
        let set = TableSettings { retention_seconds: None, bytes_max: Some(25) };
        let manifest = manifest(vec![table(1, TableKind::Events, set, &[(1, 10), (2, 10), (3, 10), (3, 10)])]);
        assert_eq!(ended(&by_table_bytes(&manifest)), [103, 104]);
    }

    #[test]
    fn over_the_cap_the_largest_table_gives_first_and_security_last() {
        let none = TableSettings::default();
        let manifest = manifest(vec![
            table(1, TableKind::Security, none, &[(9, 1000)]),
            table(2, TableKind::Events, none, &[(1, 50), (2, 50), (3, 50)]),
            table(3, TableKind::Events, none, &[(8, 60)]),
        ]);
        assert_eq!(ended(&by_cap(&manifest, 100)), [202, 203]);
        assert_eq!(ended(&by_cap(&manifest, 210)), [201, 202, 203, 301]);
        assert_eq!(ended(&by_cap(&manifest, 211)), [101, 201, 202, 203, 301]);
        assert_eq!(ended(&by_cap(&manifest, 0)), [0; 0]);
    }
}
