//! A plain SELECT on a hook: a probe for as long as its stream lives, rows neither logged nor stored.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use parking_lot::Mutex;
use probepilot_catalog::ports::RowStream;
use probepilot_collector_ebpf::compile::CompiledProbe;
use probepilot_sql::{SqlError, SqlState};
use tokio::runtime::Handle;
use tokio::sync::OwnedSemaphorePermit;

use crate::node::clock::unix_now_ns;
use crate::node::drain::{DrainOptions, LIVE_GATHER, Settler};
use crate::node::engine::{Counts, Engine, RunOptions, Running};
use crate::node::live_queue::LiveQueue;
use crate::node::loss::Tally;
use crate::node::slot::Target;

/// Live queries of a node at one time; one more is refused with 53400.
pub const LIVE_QUERIES_MAX: usize = 32;

/// Bytes of one live query's rings, together. When they are full, rows are lost as `ring_full` and the client is told.
pub const LIVE_RING_BYTES: usize = 2 << 20;

/// Rows a live query lets through in a second: a client takes no more.
const LIVE_ROWS_PER_SECOND_MAX: u32 = 1_000_000;

/// From a query's bound on time to its end: rows of events before it may still be in the rings.
const LAST_ROWS_WAIT: Duration = Duration::from_millis(50);

/// A live query's program and rings. Dropping it removes both, on a thread that may block.
pub struct LiveQuery {
    parts: Option<Parts>,
    queue: Arc<LiveQueue>,
    limit: u64,
    /// When the query ends.
    until_unix_ns: Option<i64>,
    notices: Arc<Mutex<Vec<String>>>,
}

/// In the order they go.
struct Parts {
    program: Arc<Running>,
    _engine: Arc<Engine>,
    _permit: OwnedSemaphorePermit,
}

impl LiveQuery {
    /// Makes rings, loads and attaches. Blocks.
    pub fn start(
        compiled: &CompiledProbe,
        permit: OwnedSemaphorePermit,
        settler: Option<Settler>,
    ) -> Result<LiveQuery, SqlError> {
        let drain = DrainOptions { gather: LIVE_GATHER, outbox: None, settler };
        let engine = Engine::start(LIVE_RING_BYTES, drain)
            .map_err(|error| SqlError::new(SqlState::INSUFFICIENT_RESOURCES, error.to_string()).caused_by(error))?;
        let engine = Arc::new(engine);
        let queue = Arc::new(LiveQueue::default());
        let options = RunOptions {
            rows_per_second_max: LIVE_ROWS_PER_SECOND_MAX,
            target: Target::Live(queue.clone()),
            tally: Arc::new(Tally::default()),
            waiting: false,
        };
        // Windows end by themselves.
        let until_unix_ns = compiled.until_unix_ns.filter(|_| !compiled.aggregates());
        let program = Arc::new(Running::start(&engine, compiled, options).map_err(|error| error.to_sql())?);
        Ok(LiveQuery {
            parts: Some(Parts { program, _engine: engine, _permit: permit }),
            queue,
            limit: compiled.limit.unwrap_or(u64::MAX),
            until_unix_ns,
            notices: Arc::new(Mutex::new(compiled.notices.clone())),
        })
    }

    /// What runs in the kernel; `None` when it has ended.
    pub fn program(&self) -> Option<&Arc<Running>> {
        self.parts.as_ref().map(|parts| &parts.program)
    }

    /// The queue that ends the query when it is closed.
    pub fn queue(&self) -> &Arc<LiveQueue> {
        &self.queue
    }

    /// The rows as they come.
    pub fn stream(self, compiled: &CompiledProbe) -> RowStream {
        let notices = self.notices.clone();
        RowStream { schema: compiled.schema(), batches: batches(self), notices }
    }

    /// The next rows, at most as many as the limit leaves.
    async fn next(&mut self) -> Option<RecordBatch> {
        if self.limit == 0 {
            return None;
        }
        let rows = match self.until_unix_ns {
            None => self.queue.next().await?,
            Some(until_unix_ns) => {
                let left = u64::try_from(until_unix_ns.saturating_sub(unix_now_ns())).unwrap_or(0);
                match tokio::time::timeout(Duration::from_nanos(left) + LAST_ROWS_WAIT, self.queue.next()).await {
                    Ok(rows) => rows?,
                    Err(_) => {
                        self.queue.close();
                        self.queue.next().await?
                    }
                }
            }
        };
        let count = (rows.num_rows() as u64).min(self.limit);
        self.limit -= count;
        Some(rows.slice(0, count as usize))
    }

    /// Detaches, and says what was lost.
    async fn end(mut self) {
        let Some(parts) = self.parts.take() else {
            return;
        };
        self.queue.close();
        let counts = tokio::task::spawn_blocking(move || {
            let Parts { program, _engine, _permit } = parts;
            // What came after the last row the client took was not lost: nobody asked for it.
            let counts = program.counts();
            drop(program);
            counts
        });
        if let Ok(counts) = counts.await {
            self.notices.lock().extend(loss_notice(&counts));
        }
    }
}

impl Drop for LiveQuery {
    fn drop(&mut self) {
        self.queue.close();
        let Some(parts) = self.parts.take() else {
            return;
        };
        // Detaching waits for the kernel: not on a thread that serves others.
        match Handle::try_current() {
            Ok(runtime) => {
                runtime.spawn_blocking(move || drop(parts));
            }
            Err(_) => drop(parts),
        }
    }
}

fn batches(query: LiveQuery) -> BoxStream<'static, Result<RecordBatch, SqlError>> {
    stream::unfold(Some(query), |query| async {
        let mut query = query?;
        match query.next().await {
            Some(rows) => Some((Ok(rows), Some(query))),
            None => {
                query.end().await;
                None
            }
        }
    })
    .boxed()
}

/// `lost 312 events (ring_full 300, queue_full 12)`
fn loss_notice(counts: &Counts) -> Option<String> {
    let lost = counts.losses.rows();
    let causes: Vec<String> = counts
        .losses
        .occurred()
        .filter(|(cause, _)| cause.loses_row())
        .map(|(cause, count)| format!("{} {count}", cause.as_str()))
        .collect();
    (lost > 0).then(|| format!("lost {lost} events ({})", causes.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::loss::Cause;

    #[test]
    fn a_notice_names_what_was_lost_and_why() {
        let mut counts = Counts::default();
        assert_eq!(loss_notice(&counts), None);
        counts.losses.add(Cause::QueueFull, 12);
        counts.losses.add(Cause::RingFull, 300);
        counts.losses.add(Cause::Unreadable, 5);
        assert_eq!(loss_notice(&counts).as_deref(), Some("lost 312 events (ring_full 300, queue_full 12)"));
    }
}
