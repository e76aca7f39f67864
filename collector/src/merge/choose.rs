//! What is merged: segments of one table, of one closed hour or day, neighbours in time.

use std::collections::BTreeMap;
use std::sync::Arc;

use probepilot_catalog::manifest::{Manifest, Segment, Table};

use super::MergeOptions;

const HOUR_NS: i64 = 3_600_000_000_000;
const DAY_NS: i64 = 24 * HOUR_NS;

/// Level and span of each step.
const STEPS: [(u8, i64); 2] = [(1, HOUR_NS), (2, DAY_NS)];

/// Segments that become one.
#[derive(Clone, Debug)]
pub struct Group {
    /// Their table.
    pub table: Arc<Table>,
    /// At least two, by time.
    pub segments: Vec<Segment>,
    /// The level of the merged one.
    pub level: u8,
}

/// Everything that can be merged now; a segment is in at most one group.
pub fn choose(manifest: &Manifest, now_unix_ns: i64, options: MergeOptions) -> Vec<Group> {
    let closed_after = i64::try_from(options.closed_after.as_nanos()).unwrap_or(i64::MAX);
    let closed = now_unix_ns.saturating_sub(closed_after);
    let mut groups = Vec::new();
    for table in manifest.tables.values() {
        for (level, span) in STEPS {
            for (_, segments) in by_span(table, level, span, closed) {
                groups.extend(groups_of(table, segments, level, options));
            }
        }
    }
    groups
}

/// Segments below `level` that lie in one closed span, by span. Days take what hours have merged, or left alone.
fn by_span(table: &Table, level: u8, span: i64, closed: i64) -> BTreeMap<i64, Vec<Segment>> {
    let mut spans: BTreeMap<i64, Vec<Segment>> = BTreeMap::new();
    for segment in table.segments.iter().filter(|segment| segment.level < level) {
        let number = segment.time_min.div_euclid(span);
        let whole = number == segment.time_max.div_euclid(span);
        let ended = (number + 1).saturating_mul(span) <= closed;
        if whole && ended {
            spans.entry(number).or_default().push(segment.clone());
        }
    }
    // Hours first: what waits for its hour's merge, or lies across hours' ends, is not taken by the day as well.
    if level > 1 {
        for segments in spans.values_mut() {
            let mut per_hour: BTreeMap<i64, usize> = BTreeMap::new();
            for segment in segments.iter().filter(|segment| segment.level == 0) {
                *per_hour.entry(segment.time_min.div_euclid(HOUR_NS)).or_default() += 1;
            }
            segments.retain(|segment| {
                segment.level > 0 || per_hour.get(&segment.time_min.div_euclid(HOUR_NS)).is_none_or(|count| *count < 2)
            });
        }
    }
    spans
}

/// Neighbours in time, as many as the limits allow.
fn groups_of(table: &Arc<Table>, mut segments: Vec<Segment>, level: u8, options: MergeOptions) -> Vec<Group> {
    segments.sort_by_key(|segment| (segment.time_min, segment.id));
    let mut groups = Vec::new();
    let mut group: Vec<Segment> = Vec::new();
    for segment in segments {
        let bytes: u64 = group.iter().map(|member| member.bytes).sum();
        if group.len() >= options.segments_max || bytes + segment.bytes > options.bytes_max {
            groups.push(std::mem::take(&mut group));
        }
        group.push(segment);
    }
    groups.push(group);
    let groups = groups.into_iter().filter(|group| group.len() > 1);
    groups.map(|segments| Group { table: table.clone(), segments, level }).collect()
}
