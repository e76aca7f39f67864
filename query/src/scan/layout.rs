//! Which segments a scan reads, and in which partition. All of it comes from the manifest: a plan over many segments costs a
//! few bytes for each, and files are made of them only when they are read.

use std::sync::{Arc, OnceLock};

use chrono::DateTime;
use datafusion::common::Statistics;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::FileGroup;
use object_store::ObjectMeta;
use object_store::path::Path;
use probepilot_catalog::manifest::{Segment, Table};
use probepilot_catalog::table::time_column;

use super::statistics;

/// Bytes after a footer's Thrift part: its length and the magic number.
const FOOTER_TAIL_BYTES: u64 = 8;

/// Segments of a table that may have rows a statement wants, by their places in the manifest.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub table: Arc<Table>,
    places: Arc<[usize]>,
}

impl Kept {
    /// Those of `table` for which `keep` is true.
    pub(super) fn new(table: Arc<Table>, keep: &[bool]) -> Kept {
        let places = keep.iter().enumerate().filter_map(|(place, keep)| keep.then_some(place)).collect();
        Kept { table, places }
    }

    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    pub(super) fn get(&self, index: usize) -> Option<&Segment> {
        self.table.segments.get(*self.places.get(index)?)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Segment> {
        self.places.iter().filter_map(|place| self.table.segments.get(*place))
    }

    /// The name of the column that says when a row happened.
    pub(super) fn time_name(&self) -> Option<String> {
        time_column(&self.table.schema).map(|index| self.table.schema.field(index).name().clone())
    }
}

/// The partitions of a scan: for each the segments, by their index among those that are kept, earlier ones first.
#[derive(Debug)]
pub(super) struct Layout {
    pub kept: Kept,
    partitions: Vec<Vec<usize>>,
    /// No segment of a partition overlaps another one of it: each partition gives its rows in order of time.
    pub ordered: bool,
    /// Of all segments together, once somebody has asked.
    total: OnceLock<Statistics>,
}

impl Layout {
    /// Spreads segments over at most so many partitions, so that those of one do not overlap when that is possible.
    pub(super) fn new(kept: Kept, partitions: usize) -> Layout {
        let (partitions, ordered) = spread(&kept, partitions);
        Layout { kept, partitions, ordered, total: OnceLock::new() }
    }

    /// How many partitions it has.
    pub(super) fn len(&self) -> usize {
        self.partitions.len()
    }

    /// The segments of a partition.
    fn partition(&self, partition: usize) -> impl Iterator<Item = &Segment> {
        self.partitions.get(partition).into_iter().flatten().filter_map(|&index| self.kept.get(index))
    }

    /// Statistics of a partition's segments, or of all together.
    pub(super) fn statistics(&self, partition: Option<usize>) -> Statistics {
        let table = &self.kept.table;
        match partition {
            Some(partition) => statistics::of_segments(table, self.partition(partition)),
            None => self.total.get_or_init(|| statistics::of_segments(table, self.kept.iter())).clone(),
        }
    }

    /// The files of each partition; when only the first few of each are wanted, only those.
    pub(super) fn files(&self, most: usize) -> Vec<FileGroup> {
        let described = |segment: &Segment| {
            file(segment).with_statistics(Arc::new(statistics::of_segments(&self.kept.table, [segment])))
        };
        let group = |partition| FileGroup::new(self.partition(partition).take(most).map(described).collect());
        (0..self.len()).map(group).collect()
    }
}

/// Spreads segments over at most so many partitions, so that those of one do not overlap when that is possible, and says
/// whether it was.
fn spread(kept: &Kept, partitions: usize) -> (Vec<Vec<usize>>, bool) {
    let mut by_time: Vec<(usize, &Segment)> = kept.iter().enumerate().collect();
    by_time.sort_by_key(|(_, segment)| segment.time_min);
    let has_time = time_column(&kept.table.schema).is_some();
    if by_time.len() <= partitions {
        return (by_time.iter().map(|(index, _)| vec![*index]).collect(), has_time);
    }
    if has_time && let Some(partitions) = apart(&by_time, partitions) {
        return (partitions, true);
    }
    // Segments that overlap much would need a partition each: order is not worth that many open files.
    let chunks = by_time.chunks(by_time.len().div_ceil(partitions.max(1)));
    (chunks.map(|chunk| chunk.iter().map(|(index, _)| *index).collect()).collect(), false)
}

/// Puts each segment, earlier ones first, after the ones of a partition that ended before it begins: of those partitions into
/// the one with the fewest bytes. `None` when more partitions than that would be needed.
fn apart(by_time: &[(usize, &Segment)], partitions: usize) -> Option<Vec<Vec<usize>>> {
    #[derive(Clone)]
    struct Partition {
        /// The latest time of its rows; none yet.
        time_max: Option<i64>,
        bytes: u64,
        segments: Vec<usize>,
    }
    let mut made = vec![Partition { time_max: None, bytes: 0, segments: Vec::new() }; partitions];
    for (index, segment) in by_time {
        let free = made.iter_mut().filter(|partition| partition.time_max.is_none_or(|max| max < segment.time_min));
        let lightest = free.min_by_key(|partition| partition.bytes)?;
        lightest.time_max = Some(segment.time_max);
        lightest.bytes += segment.bytes;
        lightest.segments.push(*index);
    }
    Some(made.into_iter().map(|partition| partition.segments).collect())
}

/// A segment as a file to read, without statistics.
pub(super) fn file(segment: &Segment) -> PartitionedFile {
    let meta = ObjectMeta {
        location: Path::from(segment.path.as_str()),
        last_modified: DateTime::UNIX_EPOCH, // Segments never change.
        size: segment.bytes,
        e_tag: None,
        version: None,
    };
    PartitionedFile::new_from_meta(meta).with_metadata_size_hint((segment.footer_bytes + FOOTER_TAIL_BYTES) as usize)
}

#[cfg(test)]
mod tests {
    use datafusion::common::ColumnStatistics;
    use probepilot_catalog::manifest::{Bound, ColumnBounds, TableSettings};
    use probepilot_catalog::table::{Column, TableDefinition, TableId, TableKind, TableName, arrow_schema};
    use probepilot_sql::SqlType;

    use super::*;

    /// Segments with these times and bytes, of 100 rows each, of a table of a time and a number.
    fn kept(segments: &[(i64, i64, u64)]) -> Kept {
        let columns = vec![
            Column::new("time", SqlType::Timestamptz, false, "when; ns"),
            Column::new("number", SqlType::BigInt, true, "a number"),
        ];
        let schema = arrow_schema(&columns);
        let name = TableName::public("numbers");
        let definition = TableDefinition { name, kind: TableKind::Events, columns, comment: None };
        let segments: Vec<Segment> = segments
            .iter()
            .enumerate()
            .map(|(place, &(time_min, time_max, bytes))| Segment {
                id: place as i64,
                path: format!("numbers/{place}.parquet"),
                rows: 100,
                bytes,
                footer_bytes: 0,
                time_min,
                time_max,
                level: 0,
                bounds: Vec::new(),
            })
            .collect();
        let keep = vec![true; segments.len()];
        let (settings, path) = (TableSettings::default(), "numbers/".to_owned());
        let (column_ids, segments) = (vec![1, 2], Arc::new(segments));
        Kept::new(Arc::new(Table { id: TableId(1), definition, schema, column_ids, path, settings, segments }), &keep)
    }

    /// Partitions and order of segments with these times, each with its bytes.
    fn layout(segments: &[(i64, i64, u64)], partitions: usize) -> (Vec<Vec<usize>>, bool) {
        let layout = Layout::new(kept(segments), partitions);
        (layout.partitions, layout.ordered)
    }

    #[test]
    fn segments_of_a_partition_do_not_overlap() {
        let hours = [(0, 9, 5), (10, 19, 5), (20, 29, 5), (30, 39, 30), (40, 49, 5)];
        assert_eq!(layout(&hours, 2), (vec![vec![0, 2, 4], vec![1, 3]], true));
        let mut reversed = hours;
        reversed.reverse();
        assert_eq!(layout(&reversed, 2), (vec![vec![4, 2, 0], vec![3, 1]], true));
        assert_eq!(layout(&hours[..2], 4), (vec![vec![0], vec![1]], true));
        // Times that are equal have no order among each other.
        assert_eq!(layout(&[(0, 10, 1), (10, 20, 9), (10, 20, 1)], 2), (vec![vec![0, 1], vec![2]], false));
        assert_eq!(
            layout(&[(0, 10, 1), (5, 15, 1), (11, 20, 1), (16, 30, 1)], 2),
            (vec![vec![0, 2], vec![1, 3]], true)
        );
    }

    #[test]
    fn statistics_of_segments_are_those_of_all_rows() {
        let mut kept = kept(&[(0, 10, 1), (5, 15, 1), (3, 4, 1)]);
        let mut table = Table::clone(&kept.table);
        let bound = |min: i64, max: i64| (Some(Bound::Int(min)), Some(Bound::Int(max)));
        // The last segment has only NULLs.
        let bounds = [(bound(7, 9), 0), (bound(-3, 8), 2), ((None, None), 100)];
        for (segment, ((min, max), null_count)) in Arc::make_mut(&mut table.segments).iter_mut().zip(bounds) {
            segment.bounds = vec![ColumnBounds { column_id: 2, min, max, null_count }];
        }
        kept.table = Arc::new(table);
        let told = statistics::of_segments(&kept.table, kept.iter());
        assert_eq!(told.num_rows.get_value(), Some(&300));
        let [time, number] = &told.column_statistics[..] else { panic!("{told:?}") };
        let shown =
            |column: &ColumnStatistics| format!("{} {} {}", column.min_value, column.max_value, column.null_count);
        assert_eq!(
            time.max_value,
            statistics::of_time(kept.table.schema.field(0).data_type(), Some((0, 15))).max_value
        );
        assert_eq!(shown(number), "Inexact(Int64(-3)) Inexact(Int64(9)) Exact(102)");
        // Of one segment nothing is known.
        let mut table = Table::clone(&kept.table);
        Arc::make_mut(&mut table.segments)[1].bounds.clear();
        let told = statistics::of_segments(&table, table.segments.iter());
        assert_eq!(told.column_statistics[1], ColumnStatistics::new_unknown());
    }
}
