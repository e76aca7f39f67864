//! One program's place in the drain: its records become rows, and its rows go where they belong.

use std::sync::Arc;

use arrow::array::RecordBatch;
use probepilot_catalog::batch::Batch;
use probepilot_catalog::table::TableId;
use probepilot_collector_ebpf::decode::{ClockOffset, RecordDecoder};

use crate::node::conform::Conform;
use crate::node::live_queue::LiveQueue;
use crate::node::loss::{Cause, Tally};
use crate::node::outbox::Item;
use crate::node::record::RecordHeader;

/// Rows decoded into one batch; more begin the next, so that a burst does not grow builders without end.
pub const ROWS_PER_BATCH_MAX: usize = 65_536;

/// Where a program's rows go.
pub enum Target {
    /// To a table, through the log.
    Table {
        /// The table.
        id: TableId,
        /// From the probe's columns to the table's.
        conform: Conform,
    },
    /// To somebody inside this process.
    Feed(Box<dyn FnMut(&RecordBatch) + Send>),
    /// To a client that reads them as they come.
    Live(Arc<LiveQueue>),
}

/// A program's decoder with what belongs to it.
pub struct Slot {
    /// The number in its records' headers.
    pub number: u32,
    decoder: RecordDecoder,
    target: Target,
    tally: Arc<Tally>,
    /// Records before it are another version's.
    from_ns: u64,
    /// Records from it on are another version's.
    until_ns: u64,
    /// The program whose records were taken before `from_ns`.
    predecessor: Option<u32>,
    oldest_ns: Option<u64>,
    /// Batches that are complete before the drain is.
    complete: Vec<Item>,
}

impl Slot {
    /// A slot that takes every record.
    pub fn new(number: u32, decoder: RecordDecoder, target: Target, tally: Arc<Tally>) -> Slot {
        Slot {
            number,
            decoder,
            target,
            tally,
            from_ns: 0,
            until_ns: u64::MAX,
            predecessor: None,
            oldest_ns: None,
            complete: Vec::new(),
        }
    }

    /// A slot that takes no record before [`Slot::begin`].
    pub fn waiting(self) -> Slot {
        Slot { from_ns: u64::MAX, ..self }
    }

    /// Takes records from `ns` on, as the successor of another program.
    pub fn begin(&mut self, ns: u64, predecessor: u32) {
        self.from_ns = ns;
        self.predecessor = Some(predecessor);
    }

    /// Takes no records from `ns` on.
    pub fn end(&mut self, ns: u64) {
        self.until_ns = ns;
    }

    /// Says whether there are rows to finish that need what processes' own events tell.
    pub fn awaits_processes(&self) -> bool {
        self.decoder.rows() > 0 && self.decoder.asks_for_processes()
    }

    /// Takes a record; `before` is the header of the one before it in the ring.
    pub fn push(&mut self, header: &RecordHeader, before: Option<RecordHeader>, record: &[u8], clock: &ClockOffset) {
        let is_mine = (self.from_ns..self.until_ns).contains(&header.monotonic_ns);
        if !is_mine || self.is_delivered(before) {
            return self.tally.add_handed_over();
        }
        match self.decoder.push(record) {
            Ok(()) => {
                let oldest_ns = self.oldest_ns.unwrap_or(header.monotonic_ns);
                self.oldest_ns = Some(oldest_ns.min(header.monotonic_ns));
            }
            Err(error) => {
                tracing::warn!(%error, probe = self.number, "a record could not be read; it is counted as detached");
                self.tally.lose(Cause::Detached, 1);
            }
        }
        if self.decoder.rows() >= ROWS_PER_BATCH_MAX {
            self.complete_batch(clock);
        }
    }

    /// Says whether our predecessor has delivered this event: it runs just before us on the same CPU and reads its own
    /// clock, so the moment of the hand-over may lie between the two records of one event.
    fn is_delivered(&self, before: Option<RecordHeader>) -> bool {
        before.is_some_and(|before| Some(before.program) == self.predecessor && before.monotonic_ns < self.from_ns)
    }

    /// Ends the batch that is being made and gives what goes to the log.
    pub fn finish(&mut self, clock: &ClockOffset) -> Vec<Item> {
        if self.decoder.rows() > 0 {
            self.complete_batch(clock);
        }
        std::mem::take(&mut self.complete)
    }

    fn complete_batch(&mut self, clock: &ClockOffset) {
        let records = self.decoder.rows() as u64;
        let oldest_ns = self.oldest_ns.take();
        let before = self.decoder.counts();
        let finished = self.decoder.finish(clock);
        let after = self.decoder.counts();
        self.tally.add_filtered(after.filtered - before.filtered);
        self.tally.lose(Cause::ExpressionError, after.expression_error - before.expression_error);
        let rows = match finished {
            Ok(rows) => rows,
            Err(error) => {
                tracing::error!(%error, probe = self.number, "rows could not be made; they are counted as detached");
                return self.tally.lose(Cause::Detached, records.saturating_sub(after.filtered - before.filtered));
            }
        };
        let item = deliver(&mut self.target, rows, &self.tally, oldest_ns, self.number);
        self.complete.extend(item);
    }
}

/// Hands rows on: to the feed or the client at once; what goes to the log is given back.
pub fn deliver(
    target: &mut Target,
    rows: RecordBatch,
    tally: &Arc<Tally>,
    oldest_ns: Option<u64>,
    number: u32,
) -> Option<Item> {
    if rows.num_rows() == 0 {
        return None;
    }
    match target {
        Target::Table { id, conform } => match conform.apply(&rows) {
            Ok(rows) => return Some(Item { batch: Batch { table: *id, rows }, tally: tally.clone(), oldest_ns }),
            Err(error) => {
                tracing::error!(%error, probe = number, "rows do not fit their table; they are counted as detached");
                tally.lose(Cause::Detached, rows.num_rows() as u64);
            }
        },
        Target::Feed(take) => take(&rows),
        Target::Live(queue) => {
            let count = rows.num_rows() as u64;
            if queue.push(rows) {
                tally.stored(count, 0);
            } else {
                tally.lose(Cause::QueueFull, count);
            }
        }
    }
    None
}
