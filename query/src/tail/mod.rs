//! The tail: logged rows in memory until a committed segment holds them.

mod run; // Rows of one table, contiguous in the log.
mod feed; // From the log into the tail, and out of it when committed.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;
use probepilot_catalog::batch::Entry;
use probepilot_catalog::table::TableId;

pub use feed::Feed;
pub use run::Run;

/// A run of so many rows is not merged any more: a plan's operators take it as it is, and copying it would cost more than
/// they would gain. A tail of a million rows has a thousand runs at most, and a few small ones.
///
/// It also keeps memory down: such a run shares its rows with whoever else holds the entry, the segment writer above all.
pub const RUN_ROWS_LARGE: usize = 1_024;

/// So many small runs of a like size are merged into one: a row is copied by the logarithm of this base.
const MERGED_RUNS: usize = 8;

/// Every table's runs, oldest first.
type Tables = HashMap<TableId, Arc<Vec<Arc<Run>>>>;

/// Rows that were appended to the log and are in no committed segment, by table.
///
/// Its bytes are bounded by the credit its [`Feed`] subscribes with: entries keep their credit until they are evicted.
#[derive(Debug, Default)]
pub struct Tail {
    state: RwLock<State>,
}

#[derive(Clone, Debug, Default)]
struct State {
    tables: Arc<Tables>,
    head: u64,
}

/// The tail as it was at one moment; cheap to clone, and it keeps the rows it shows.
#[derive(Clone, Debug, Default)]
pub struct TailPin {
    tables: Arc<Tables>,
    head: u64,
}

impl TailPin {
    /// The sequence of the newest entry in the tail.
    pub fn head(&self) -> u64 {
        self.head
    }

    /// A table's runs, oldest first.
    pub fn runs(&self, table: TableId) -> &[Arc<Run>] {
        self.tables.get(&table).map_or(&[], |runs| runs.as_slice())
    }
}

impl Tail {
    /// What the tail holds now. Pin the tail before the manifest: see [`crate::scan::Pin`].
    pub fn pin(&self) -> TailPin {
        let state = self.state.read();
        TailPin { tables: Arc::clone(&state.tables), head: state.head }
    }

    /// The sequence of the newest entry taken in.
    pub fn head(&self) -> u64 {
        self.state.read().head
    }

    /// Takes an entry in. Entries come in order; one that is not newer than the head is dropped.
    pub fn append(&self, entry: Entry) {
        let Entry { sequence, envelope, credit } = entry;
        let credit = credit.map(Arc::new);
        let mut state = self.state.write();
        if sequence <= state.head {
            return;
        }
        let tables = Arc::make_mut(&mut state.tables);
        for batch in &envelope.batches {
            if batch.rows.num_rows() == 0 {
                continue;
            }
            let runs = Arc::make_mut(tables.entry(batch.table).or_default());
            runs.push(Arc::new(Run::new(sequence, batch.rows.clone(), credit.clone())));
            merge_small(runs);
        }
        state.head = sequence;
    }

    /// Drops what is at or below the committed sequence of a manifest that every later pin will see.
    pub fn evict(&self, committed: u64) {
        let mut state = self.state.write();
        if state.tables.values().all(|runs| runs.first().is_none_or(|run| run.first_sequence() > committed)) {
            return;
        }
        let tables = Arc::make_mut(&mut state.tables);
        for runs in tables.values_mut() {
            let kept = runs.iter().filter_map(|run| run.after(committed)).collect();
            *runs = Arc::new(kept);
        }
        tables.retain(|_, runs| !runs.is_empty());
    }

    /// Rows and bytes held, over all tables.
    pub fn size(&self) -> (usize, usize) {
        let pin = self.pin();
        pin.tables.values().flat_map(|runs| runs.iter()).fold((0, 0), |(rows, bytes), run| {
            (rows + run.rows().num_rows(), bytes + run.rows().get_array_memory_size())
        })
    }
}

/// Merges the newest runs when there are [`MERGED_RUNS`] of them that are no larger than the newest one, to a power of that
/// number; and again, when the result is one of as many.
fn merge_small(runs: &mut Vec<Arc<Run>>) {
    while let Some(newest) = runs.last()
        && let Some(newest_class) = size_class(newest)
    {
        let is_like =
            |run: &&Arc<Run>| size_class(run).is_some_and(|class| class <= newest_class) && run.has_columns_of(newest);
        let count = runs.iter().rev().take_while(is_like).count();
        if count < MERGED_RUNS {
            return;
        }
        let Some(merged) = Run::merge(&runs[runs.len() - count..]) else { return };
        runs.truncate(runs.len() - count);
        runs.push(Arc::new(merged));
    }
}

/// The power of [`MERGED_RUNS`] that a run's rows reach; `None` when it is large.
fn size_class(run: &Run) -> Option<u32> {
    let rows = run.rows().num_rows();
    (rows < RUN_ROWS_LARGE).then(|| rows.max(1).ilog(MERGED_RUNS))
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, RecordBatch, StringViewArray, TimestampNanosecondArray};
    use probepilot_catalog::batch::{Batch, Envelope};
    use probepilot_catalog::table::{Column, arrow_schema};
    use probepilot_sql::SqlType;

    use super::*;

    fn entry(sequence: u64, rows: i64) -> Entry {
        let schema = arrow_schema(&[
            Column::new("time", SqlType::Timestamptz, false, "when"),
            Column::new("n", SqlType::BigInt, true, "number"),
            Column::new("text", SqlType::Text, true, "words"),
        ]);
        let base = sequence as i64 * 1_000;
        let values: Vec<i64> = (base..base + rows).collect();
        let rows = RecordBatch::try_new(
            schema,
            vec![
                Arc::new(TimestampNanosecondArray::from(values.clone()).with_timezone("UTC")),
                Arc::new(Int64Array::from(values.clone())),
                Arc::new(StringViewArray::from_iter_values(values.iter().map(|n| format!("a long enough text {n}")))),
            ],
        )
        .unwrap();
        let batches = vec![Batch { table: TableId(1), rows }];
        Entry {
            sequence,
            envelope: Arc::new(Envelope { producer: "test".into(), epoch: 1, number: sequence, batches }),
            credit: None,
        }
    }

    #[test]
    fn large_batches_are_kept_as_they_are() {
        let tail = Tail::default();
        let entries: Vec<Entry> = (1..=20).map(|sequence| entry(sequence, RUN_ROWS_LARGE as i64)).collect();
        let envelopes: Vec<Arc<Envelope>> = entries.iter().map(|entry| Arc::clone(&entry.envelope)).collect();
        entries.into_iter().for_each(|entry| tail.append(entry));
        let pin = tail.pin();
        assert_eq!(pin.runs(TableId(1)).len(), 20);
        for (run, envelope) in pin.runs(TableId(1)).iter().zip(envelopes) {
            let (kept, given) = (run.rows().column(1), envelope.batches[0].rows.column(1));
            assert!(Arc::ptr_eq(kept, given), "the column was copied");
        }
    }

    #[test]
    fn runs_of_other_columns_are_not_merged_and_hold_nothing_up() {
        let tail = Tail::default();
        tail.append(entry(1, 2));
        for sequence in 2..=100 {
            let mut entry = entry(sequence, 2);
            let envelope = Arc::make_mut(&mut entry.envelope);
            let rows = &envelope.batches[0].rows;
            envelope.batches[0].rows = rows.project(&[0, 1]).unwrap();
            tail.append(entry);
        }
        assert!(tail.pin().runs(TableId(1)).len() < 2 + 4 * MERGED_RUNS);
        assert_eq!(values(&tail, 0).len(), 200);
    }

    /// The values of column `n` after `committed`, in order.
    fn values(tail: &Tail, committed: u64) -> Vec<i64> {
        let pin = tail.pin();
        pin.runs(TableId(1))
            .iter()
            .filter_map(|run| run.after(committed))
            .flat_map(|run| {
                let column = run.rows().column(1).clone();
                column.as_any().downcast_ref::<Int64Array>().unwrap().values().to_vec()
            })
            .collect()
    }

    #[test]
    fn a_long_tail_of_small_batches_has_few_runs() {
        let tail = Tail::default();
        for sequence in 1..=3_000 {
            tail.append(entry(sequence, 3));
        }
        let runs = tail.pin().runs(TableId(1)).len();
        // Nine thousand rows: those that are large, and fewer than eight of each smaller class.
        assert!(runs <= 9_000 / RUN_ROWS_LARGE + 4 * MERGED_RUNS, "{runs}");
        assert_eq!(tail.size().0, 9_000);
        assert_eq!(values(&tail, 0).len(), 9_000);
    }

    #[test]
    fn a_merged_run_is_cut_at_any_sequence() {
        let tail = Tail::default();
        for sequence in 1..=64 {
            tail.append(entry(sequence, 2));
        }
        for committed in 0..=64 {
            let expected: Vec<i64> = (committed as i64 + 1..=64).flat_map(|s| [s * 1_000, s * 1_000 + 1]).collect();
            assert_eq!(values(&tail, committed), expected, "after {committed}");
        }
    }

    #[test]
    fn eviction_keeps_what_is_newer_and_what_is_pinned() {
        let tail = Tail::default();
        for sequence in 1..=10 {
            tail.append(entry(sequence, 1));
        }
        let before = tail.pin();
        tail.evict(7);
        assert_eq!(values(&tail, 0), [8_000, 9_000, 10_000]);
        assert_eq!(before.runs(TableId(1)).iter().map(|run| run.rows().num_rows()).sum::<usize>(), 10);
        tail.evict(10);
        assert_eq!(tail.size(), (0, 0));
    }

    #[test]
    fn credit_returns_when_an_entry_is_evicted() {
        let credit = Arc::new(tokio::sync::Semaphore::new(10));
        let tail = Tail::default();
        for sequence in 1..=5 {
            let mut entry = entry(sequence, 1);
            entry.credit = Some(Arc::clone(&credit).try_acquire_many_owned(2).unwrap());
            tail.append(entry);
        }
        assert_eq!(credit.available_permits(), 0);
        tail.evict(3);
        assert_eq!(credit.available_permits(), 6);
        tail.evict(5);
        assert_eq!(credit.available_permits(), 10);
    }

    #[test]
    fn an_entry_seen_before_changes_nothing() {
        let tail = Tail::default();
        tail.append(entry(5, 1));
        tail.append(entry(5, 1));
        tail.append(entry(4, 1));
        assert_eq!(values(&tail, 0), [5_000]);
    }
}
