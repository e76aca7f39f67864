//! What is left to read, newest first: rows of the tail, segments that are not open yet, the rest of those that are.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering as Atomic};
use std::time::Duration;

use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch, TimestampNanosecondArray, UInt64Array};
use arrow::compute::{max, min};
use arrow::datatypes::{DataType, SchemaRef, TimestampNanosecondType};
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::{Column, Result, ScalarValue};
use datafusion::datasource::physical_plan::FileGroup;
use datafusion::datasource::source::{DataSource, OpenArgs};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{PhysicalExpr, conjunction_opt};
use datafusion::physical_expr_common::physical_expr::snapshot_generation;
use datafusion::physical_plan::filter::batch_filter;
use datafusion::physical_plan::metrics::{Count, ExecutionPlanMetricsSet, MetricBuilder};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion_pruning::{PruningPredicate, PruningPredicateBuilder};
use futures::stream::{BoxStream, StreamExt};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::slices::{Opened, Reader};
use super::{NewestSegments, NewestSource};

/// Rows of a piece of the tail, at most.
const TAIL_PIECE_ROWS: usize = 8_192;

/// Rows of the first slice of a segment; each further one of the scan has twice as many, up to [`SLICE_ROWS_MAX`]. Most
/// queries end in the first few.
const SLICE_ROWS_MIN: usize = 1_024;

/// Rows of a slice at most; it also ends with its row group.
const SLICE_ROWS_MAX: usize = 262_144;

/// How long the other partitions leave the queue to the first one: most queries have ended by then.
const ALONE: Duration = Duration::from_millis(4);

/// Something to read, with the bounds of its times.
#[derive(Debug)]
struct Piece {
    time_min: i64,
    time_max: i64,
    what: What,
}

#[derive(Debug)]
enum What {
    /// Rows in memory.
    Rows(RecordBatch),
    /// A segment that is not open yet: its place among those that are kept.
    Segment(usize),
    /// The first so many rows of an open one.
    Rest(Arc<Opened>, usize),
}

impl PartialEq for Piece {
    fn eq(&self, other: &Piece) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Piece {}

impl PartialOrd for Piece {
    fn partial_cmp(&self, other: &Piece) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The newest is the greatest. Of equally new ones those that cost least come first: rows in memory, then open segments.
impl Ord for Piece {
    fn cmp(&self, other: &Piece) -> Ordering {
        let rank = |what: &What| match what {
            What::Rows(_) => 2,
            What::Rest(..) => 1,
            What::Segment(_) => 0,
        };
        self.time_max.cmp(&other.time_max).then_with(|| rank(&self.what).cmp(&rank(&other.what)))
    }
}

/// One execution's queue; its partitions share it.
pub(super) struct Queue {
    schema: SchemaRef,
    segments: Option<(NewestSegments, Reader)>,
    /// What pieces are held against.
    filter: Option<Arc<dyn PhysicalExpr>>,
    /// What rows have to pass.
    predicate: Option<Arc<dyn PhysicalExpr>>,
    time: usize,
    state: Mutex<State>,
    /// Whether a partition has begun.
    begun: AtomicBool,
    /// Nothing is left: those that wait may end.
    ended: CancellationToken,
    counts: Counts,
}

struct State {
    heap: BinaryHeap<Piece>,
    slice_rows: usize,
    /// The filter's generation that `pruning` was made of.
    generation: Option<u64>,
    pruning: Option<Arc<PruningPredicate>>,
}

/// What `EXPLAIN ANALYZE` shows.
struct Counts {
    segments_opened: Count,
    segments_skipped: Count,
    slices: Count,
    tail_pieces: Count,
}

impl Counts {
    fn new(metrics: &ExecutionPlanMetricsSet) -> Counts {
        let count = |name: &'static str| MetricBuilder::new(metrics).global_counter(name);
        Counts {
            segments_opened: count("segments_opened"),
            segments_skipped: count("segments_skipped"),
            slices: count("slices_read"),
            tail_pieces: count("tail_pieces_read"),
        }
    }
}

/// The next thing to read.
enum Work {
    Rows(RecordBatch),
    Slice(FileGroup),
}

impl Queue {
    pub(super) fn new(source: &NewestSource) -> Queue {
        let schema = Arc::clone(source.eq_properties.schema());
        let mut pieces = Vec::new();
        for rows in source.tail.iter() {
            tail_pieces(rows, source.time, &mut pieces);
        }
        let segments = source.kept().into_iter().flat_map(|kept| kept.iter().enumerate());
        pieces.extend(segments.map(|(index, segment)| Piece {
            time_min: segment.time_min,
            time_max: segment.time_max,
            what: What::Segment(index),
        }));
        Queue {
            schema,
            segments: source.segments.clone().map(|segments| {
                let reader = Reader::new(&segments);
                (segments, reader)
            }),
            filter: conjunction_opt(source.filters.clone()),
            predicate: source.predicate.clone(),
            time: source.time,
            state: Mutex::new(State {
                heap: BinaryHeap::from(pieces),
                slice_rows: SLICE_ROWS_MIN,
                generation: None,
                pruning: None,
            }),
            begun: AtomicBool::new(false),
            ended: CancellationToken::new(),
            counts: Counts::new(&source.metrics),
        }
    }

    /// One partition's rows.
    pub(super) fn open(self: Arc<Self>, partition: usize, context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let schema = Arc::clone(&self.schema);
        let pieces = futures::stream::try_unfold((self, false), move |(queue, begun)| {
            let context = Arc::clone(&context);
            async move {
                if !begun && queue.begun.swap(true, Atomic::Relaxed) {
                    // The wait is short whoever comes first, so nobody waits for a partition that nobody reads.
                    let _ = tokio::time::timeout(ALONE, queue.ended.cancelled()).await;
                }
                let Some(work) = queue.next(partition).await? else { return Ok(None) };
                let rows = queue.read(work, partition, context)?;
                Ok(Some((rows, (queue, true))))
            }
        });
        let rows = pieces.map(|piece| match piece {
            Ok(rows) => rows,
            Err(error) => futures::stream::once(async { Err(error) }).boxed(),
        });
        Box::pin(RecordBatchStreamAdapter::new(schema, rows.flatten()))
    }

    /// Takes the newest piece; segments are opened on the way.
    async fn next(&self, partition: usize) -> Result<Option<Work>> {
        loop {
            let piece = {
                let mut state = self.state.lock();
                match self.pop(&mut state) {
                    Some(piece) => piece,
                    None => {
                        self.ended.cancel();
                        return Ok(None);
                    }
                }
            };
            match (piece.what, &self.segments) {
                (What::Rows(rows), _) => {
                    self.counts.tail_pieces.add(1);
                    return Ok(Some(Work::Rows(rows)));
                }
                (What::Segment(index), Some((_, reader))) => {
                    let opened = reader.open(index, partition).await?;
                    self.counts.segments_opened.add(1);
                    let rows = opened.rows();
                    self.put_back(&mut self.state.lock(), Arc::new(opened), rows);
                }
                (What::Rest(opened, end), Some(_)) => {
                    let mut state = self.state.lock();
                    let start = opened.slice_start(end, state.slice_rows);
                    state.slice_rows = (state.slice_rows * 2).min(SLICE_ROWS_MAX);
                    self.put_back(&mut state, Arc::clone(&opened), start);
                    drop(state);
                    self.counts.slices.add(1);
                    return Ok(Some(Work::Slice(opened.slice(start, end))));
                }
                (What::Segment(_) | What::Rest(..), None) => {}
            }
        }
    }

    fn put_back(&self, state: &mut State, opened: Arc<Opened>, end: usize) {
        if let Some((time_min, time_max)) = opened.bounds(end) {
            state.heap.push(Piece { time_min, time_max, what: What::Rest(opened, end) });
        }
    }

    /// The newest piece that may have rows that pass the filter.
    fn pop(&self, state: &mut State) -> Option<Piece> {
        let piece = state.heap.pop()?;
        let Some(filter) = &self.filter else { return Some(piece) };
        let generation = snapshot_generation(filter);
        if state.generation != Some(generation) {
            let builder = PruningPredicateBuilder::new().with_file_schema(Arc::clone(&self.schema));
            state.pruning = builder.build(Arc::clone(filter));
            state.generation = Some(generation);
        }
        let Some(pruning) = state.pruning.clone() else { return Some(piece) };
        if self.keep(&pruning, &[(piece.time_min, piece.time_max)])[0] {
            return Some(piece);
        }
        // Older ones most probably cannot either: all are looked at in one go.
        let rest: Vec<Piece> = std::mem::take(&mut state.heap).into_vec();
        let bounds: Vec<(i64, i64)> = rest.iter().map(|piece| (piece.time_min, piece.time_max)).collect();
        let keep = self.keep(&pruning, &bounds);
        let mut skipped = usize::from(matches!(piece.what, What::Segment(_)));
        let kept = rest.into_iter().zip(keep).filter_map(|(piece, keep)| {
            skipped += usize::from(!keep && matches!(piece.what, What::Segment(_)));
            keep.then_some(piece)
        });
        state.heap = kept.collect();
        self.counts.segments_skipped.add(skipped);
        state.heap.pop()
    }

    fn keep(&self, pruning: &PruningPredicate, bounds: &[(i64, i64)]) -> Vec<bool> {
        let field = self.schema.field(self.time);
        let times = Times { name: field.name(), data_type: field.data_type(), bounds };
        pruning.prune(&times).unwrap_or_else(|_| vec![true; bounds.len()])
    }

    fn read(
        &self,
        work: Work,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        let rows = match (work, &self.segments) {
            (Work::Slice(slice), Some((segments, _))) => {
                let mut scan = segments.scan.clone();
                // Counted for the partition that reads it.
                scan.file_groups = vec![FileGroup::new(Vec::new()); partition];
                scan.file_groups.push(slice);
                scan.open_with_args(OpenArgs::new(partition, context))?.boxed()
            }
            (Work::Rows(rows), _) => futures::stream::once(async { Ok(rows) }).boxed(),
            (Work::Slice(_), None) => futures::stream::empty().boxed(),
        };
        Ok(match self.predicate.clone() {
            Some(predicate) => rows.map(move |rows| batch_filter(&rows?, &predicate)).boxed(),
            None => rows,
        })
    }
}

fn tail_pieces(rows: &RecordBatch, time: usize, pieces: &mut Vec<Piece>) {
    for start in (0..rows.num_rows()).step_by(TAIL_PIECE_ROWS) {
        let rows = rows.slice(start, TAIL_PIECE_ROWS.min(rows.num_rows() - start));
        let times = rows.column(time).as_primitive::<TimestampNanosecondType>();
        if let Some((time_min, time_max)) = min(times).zip(max(times)) {
            pieces.push(Piece { time_min, time_max, what: What::Rows(rows) });
        }
    }
}

/// Bounds of pieces as pruning reads them: of the time alone.
struct Times<'a> {
    name: &'a str,
    data_type: &'a DataType,
    bounds: &'a [(i64, i64)],
}

impl Times<'_> {
    fn array(&self, column: &Column, pick: fn(&(i64, i64)) -> i64) -> Option<ArrayRef> {
        let DataType::Timestamp(_, zone) = self.data_type else { return None };
        let values = || TimestampNanosecondArray::from_iter_values(self.bounds.iter().map(pick));
        (column.name == self.name).then(|| Arc::new(values().with_timezone_opt(zone.clone())) as ArrayRef)
    }
}

impl PruningStatistics for Times<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.array(column, |(min, _)| *min)
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.array(column, |(_, max)| *max)
    }

    fn num_containers(&self) -> usize {
        self.bounds.len()
    }

    fn null_counts(&self, column: &Column) -> Option<ArrayRef> {
        (column.name == self.name).then(|| Arc::new(UInt64Array::from(vec![0; self.bounds.len()])) as ArrayRef)
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        None
    }

    fn contained(&self, _column: &Column, _values: &std::collections::HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
    }
}
