//! A segment from its end: which rows a slice has, and how new they can be.

use std::sync::Arc;

use datafusion::common::{Result, internal_datafusion_err};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::{ParquetAccessPlan, RowGroupAccess};
use datafusion::datasource::physical_plan::{FileGroup, ParquetFileReaderFactory, ParquetSource};
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use parquet::arrow::arrow_reader::{RowSelection, RowSelector};
use parquet::basic::{LogicalType, TimeUnit};
use parquet::file::metadata::ParquetMetaData;
use parquet::file::page_index::column_index::ColumnIndexMetaData;

use super::NewestSegments;
use crate::scan::layout::{Kept, file};

/// Opens segments.
pub(super) struct Reader {
    kept: Kept,
    readers: Option<Arc<dyn ParquetFileReaderFactory>>,
    /// The time's name in the files.
    time: Option<String>,
    metrics: ExecutionPlanMetricsSet,
}

impl Reader {
    pub(super) fn new(segments: &NewestSegments) -> Reader {
        let source = segments.scan.file_source().downcast_ref::<ParquetSource>();
        Reader {
            kept: segments.kept.clone(),
            readers: source.and_then(ParquetSource::parquet_file_reader_factory).cloned(),
            time: segments.kept.time_name(),
            // Footers are read for the slices, which count them again.
            metrics: ExecutionPlanMetricsSet::new(),
        }
    }

    /// Reads the footer, mostly from the cache.
    pub(super) async fn open(&self, index: usize, partition: usize) -> Result<Opened> {
        let missing = || internal_datafusion_err!("a newest-first scan has no segment {index}");
        let segment = self.kept.get(index).ok_or_else(missing)?;
        let readers = self.readers.as_ref().ok_or_else(missing)?;
        let file = file(segment);
        let hint = file.metadata_size_hint;
        let mut reader = readers.create_reader(partition, file.clone(), hint, &self.metrics)?;
        let metadata = reader.get_metadata(None).await?;
        let bounds = (segment.time_min, segment.time_max);
        Ok(Opened::new(file, &metadata, self.time.as_deref(), bounds))
    }
}

/// Rows up to a place in a file, and the latest time of any of them.
#[derive(Clone, Copy, Debug)]
struct Mark {
    rows_end: usize,
    time_max: i64,
}

/// A segment whose footer was read.
#[derive(Debug)]
pub(super) struct Opened {
    file: PartitionedFile,
    /// Rows before each row group, and of all.
    row_groups: Vec<usize>,
    /// Pages of the time column, or row groups when it has no index. Times never fall from one mark to the next.
    marks: Vec<Mark>,
    time_min: i64,
}

impl Opened {
    fn new(file: PartitionedFile, metadata: &ParquetMetaData, time: Option<&str>, bounds: (i64, i64)) -> Opened {
        let (time_min, segment_max) = bounds;
        let mut row_groups = vec![0];
        let mut marks: Vec<Mark> = Vec::new();
        let mut mark = |rows_end: usize, time_max: Option<i64>| {
            // Rows need not be sorted: what came before may be newer.
            let before = marks.last().map_or(i64::MIN, |mark| mark.time_max);
            marks.push(Mark { rows_end, time_max: time_max.unwrap_or(segment_max).min(segment_max).max(before) });
        };
        let time = time.and_then(|time| nanoseconds_column(metadata, time));
        for (group, row_group) in metadata.row_groups().iter().enumerate() {
            let start = row_groups.last().copied().unwrap_or(0);
            let end = start + row_group.num_rows() as usize;
            row_groups.push(end);
            match time.and_then(|time| pages(metadata, group, time)) {
                Some(pages) => {
                    let ends = pages.iter().skip(1).map(|(first_row, _)| start + first_row).chain([end]);
                    ends.zip(&pages).for_each(|(page_end, (_, time_max))| mark(page_end, *time_max));
                }
                None => mark(end, None),
            }
        }
        Opened { file, row_groups, marks, time_min }
    }

    /// All its rows.
    pub(super) fn rows(&self) -> usize {
        self.row_groups.last().copied().unwrap_or(0)
    }

    /// Bounds of the times of the first `end` rows; `None` of no rows.
    pub(super) fn bounds(&self, end: usize) -> Option<(i64, i64)> {
        let last = end.checked_sub(1)?;
        let page = self.marks.partition_point(|mark| mark.rows_end <= last);
        self.marks.get(page).map(|mark| (self.time_min, mark.time_max))
    }

    /// Where the slice of about `rows` rows begins that ends at `end`: it stays in one row group.
    pub(super) fn slice_start(&self, end: usize, rows: usize) -> usize {
        let group = self.row_groups.partition_point(|start| *start < end).saturating_sub(1);
        let group_start = self.row_groups.get(group).copied().unwrap_or(0);
        let start = end.saturating_sub(rows).max(group_start);
        // No small rest: it would cost as much as a large one.
        if start - group_start < rows / 2 { group_start } else { start }
    }

    /// These rows as a file to read; they are in one row group.
    pub(super) fn slice(&self, start: usize, end: usize) -> FileGroup {
        let mut access = ParquetAccessPlan::new_none(self.row_groups.len() - 1);
        for (group, bounds) in self.row_groups.windows(2).enumerate() {
            let (from, to) = (start.max(bounds[0]), end.min(bounds[1]));
            if from >= to {
                continue;
            }
            let selectors = [
                RowSelector::skip(from - bounds[0]),
                RowSelector::select(to - from),
                RowSelector::skip(bounds[1] - to),
            ];
            let whole = from == bounds[0] && to == bounds[1];
            let selection = RowSelection::from_iter(selectors.into_iter().filter(|part| part.row_count > 0));
            access.set(group, if whole { RowGroupAccess::Scan } else { RowGroupAccess::Selection(selection) });
        }
        FileGroup::new(vec![self.file.clone().with_extension(access)])
    }
}

/// The leaf column of this name, when its statistics are nanoseconds.
fn nanoseconds_column(metadata: &ParquetMetaData, name: &str) -> Option<usize> {
    let schema = metadata.file_metadata().schema_descr();
    let index = schema.columns().iter().position(|column| column.path().parts() == [name])?;
    let logical = schema.column(index).logical_type_ref().cloned();
    matches!(logical, Some(LogicalType::Timestamp(time)) if time.unit == TimeUnit::NANOS).then_some(index)
}

/// The first row and the latest time of each page of a column of a row group.
fn pages(metadata: &ParquetMetaData, row_group: usize, column: usize) -> Option<Vec<(usize, Option<i64>)>> {
    let ColumnIndexMetaData::INT64(times) = metadata.column_index()?.get(row_group)?.get(column)? else { return None };
    let locations = metadata.offset_index()?.get(row_group)?.get(column)?.page_locations();
    if locations.len() != times.max_values().len() {
        return None;
    }
    let pages = locations.iter().zip(times.max_values_iter());
    Some(pages.map(|(location, time_max)| (location.first_row_index as usize, time_max.copied())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Row groups of 100 and 50 rows, in pages of 40; the second page of the first group has the latest time of all.
    fn opened() -> Opened {
        let marks = [(40, 1_039), (80, 1_500), (100, 1_500), (140, 1_500), (150, 1_500)];
        Opened {
            file: PartitionedFile::new("a", 1),
            row_groups: vec![0, 100, 150],
            marks: marks.map(|(rows_end, time_max)| Mark { rows_end, time_max }).to_vec(),
            time_min: 1_000,
        }
    }

    #[test]
    fn slices_go_from_the_end_to_the_start_and_stay_in_a_row_group() {
        let opened = opened();
        let (mut end, mut rows, mut slices) = (opened.rows(), 16, Vec::new());
        while end > 0 {
            let start = opened.slice_start(end, rows);
            slices.push((start, end));
            (end, rows) = (start, rows * 2);
        }
        assert_eq!(slices, [(134, 150), (100, 134), (36, 100), (0, 36)]);
        assert_eq!(opened.slice_start(150, 1), 149);
        assert_eq!(opened.slice_start(100, 20), 80);
        // 10 rows would be left.
        assert_eq!(opened.slice_start(50, 40), 0);
    }

    #[test]
    fn what_is_left_is_as_new_as_the_newest_page_of_it() {
        let opened = opened();
        assert_eq!(opened.bounds(150), Some((1_000, 1_500)));
        assert_eq!(opened.bounds(41), Some((1_000, 1_500)));
        assert_eq!(opened.bounds(40), Some((1_000, 1_039)));
        assert_eq!(opened.bounds(1), Some((1_000, 1_039)));
        assert_eq!(opened.bounds(0), None);
    }

    #[test]
    fn a_slice_selects_its_rows_alone() {
        let opened = opened();
        let access = |start, end| {
            let files = opened.slice(start, end);
            let access: &ParquetAccessPlan = files.files()[0].extension().expect("a slice has its plan");
            access.inner().to_vec()
        };
        let selected = |parts: Vec<RowSelector>| RowGroupAccess::Selection(parts.into());
        assert_eq!(access(0, 100), [RowGroupAccess::Scan, RowGroupAccess::Skip]);
        let parts = vec![RowSelector::skip(10), RowSelector::select(30), RowSelector::skip(10)];
        assert_eq!(access(110, 140), [RowGroupAccess::Skip, selected(parts)]);
    }
}
