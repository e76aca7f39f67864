//! Losses as the nodes have told them in `system.probe_loss`, read again only when that table has changed.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, TimestampNanosecondType};
use futures::TryStreamExt;
use parking_lot::Mutex;
use probepilot_catalog::table::TableName;
use probepilot_sql::SqlError;

use super::{Scanned, notices};
use crate::engine::session::Session;
use crate::scan::Pin;

/// Rows of `system.probe_loss` that are looked at, the newest first; older ones are left out of notices.
const ROWS_MAX: usize = 100_000;

/// Counters are read each second, and one second in thirty is slept through: what a counter has risen by happened at most
/// so long before it was told.
const TOLD_WITHIN_NS: i64 = 3_000_000_000;

/// What a probe lost between two readings of a counter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// The probe, named as its table.
    pub probe: String,
    /// The cause's word.
    pub cause: String,
    /// When the first of it may have been lost, Unix nanoseconds.
    pub from_ns: i64,
    /// When the last of it may have been lost.
    pub until_ns: i64,
    /// How many rows; `None` when that cannot be known.
    pub count: Option<u64>,
}

/// What the table was when it was read: its segments, and the newest entry of the tail.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Version {
    segments: Vec<i64>,
    sequence: u64,
}

/// The losses of a lake, as they were last read.
#[derive(Debug, Default)]
pub struct Book {
    read: Mutex<Option<(Version, Arc<Vec<Loss>>)>>,
}

impl Book {
    /// What the client of a query is told that read these tables in these ranges.
    ///
    /// Losses are told by the nodes within about two seconds; a range that ends now may miss the newest.
    /// The table of losses is read by the session itself, so that whatever ends the query ends this too.
    pub async fn notices(&self, session: &Session, pin: &Pin, scanned: &[Scanned]) -> Result<Vec<String>, SqlError> {
        if scanned.is_empty() {
            return Ok(Vec::new());
        }
        let Some(version) = version(pin) else { return Ok(Vec::new()) };
        let losses = match self.known(&version) {
            Some(losses) => losses,
            None => {
                let losses = Arc::new(read(session).await?);
                *self.read.lock() = Some((version, Arc::clone(&losses)));
                losses
            }
        };
        Ok(notices(&losses, scanned))
    }

    fn known(&self, version: &Version) -> Option<Arc<Vec<Loss>>> {
        let read = self.read.lock();
        read.as_ref().filter(|(known, _)| known == version).map(|(_, losses)| Arc::clone(losses))
    }
}

/// `None` when the table is not there or empty.
fn version(pin: &Pin) -> Option<Version> {
    let table = pin.manifest().tables.get(&TableName::system("probe_loss"))?;
    let segments: Vec<i64> = table.segments.iter().map(|segment| segment.id).collect();
    let sequence = pin.tail_runs(table.id).last().map_or(0, |run| run.last_sequence());
    (sequence > 0 || !segments.is_empty()).then_some(Version { segments, sequence })
}

async fn read(session: &Session) -> Result<Vec<Loss>, SqlError> {
    let text = format!(
        "SELECT probe, probe_id, node, epoch, cause, time, \"count\", since FROM system.probe_loss \
         WHERE kind = 'rows' ORDER BY time DESC LIMIT {ROWS_MAX}"
    );
    let batches: Vec<RecordBatch> = session.query(&text).await?.batches.try_collect().await?;
    losses(&batches).ok_or_else(|| {
        SqlError::new(probepilot_sql::SqlState::INTERNAL_ERROR, "system.probe_loss has other columns than it should")
    })
}

/// From readings of counters, newest first, to what was lost between them.
fn losses(batches: &[RecordBatch]) -> Option<Vec<Loss>> {
    let mut losses = Vec::new();
    // By counter: the moment and the count of the reading before.
    let mut before: HashMap<(i64, &str, i64, &str), (i64, u64)> = HashMap::new();
    for batch in batches.iter().rev() {
        let (probe, node, cause) = (
            batch.column(0).as_string_view_opt()?,
            batch.column(2).as_string_view_opt()?,
            batch.column(4).as_string_view_opt()?,
        );
        let (id, epoch) =
            (batch.column(1).as_primitive_opt::<Int64Type>()?, batch.column(3).as_primitive_opt::<Int64Type>()?);
        let time = batch.column(5).as_primitive_opt::<TimestampNanosecondType>()?;
        let count = batch.column(6).as_primitive_opt::<Int64Type>()?;
        let since = batch.column(7).as_primitive_opt::<TimestampNanosecondType>()?;
        for row in (0..batch.num_rows()).rev() {
            let until_ns = time.value(row);
            let since_ns = if since.is_valid(row) { since.value(row) } else { until_ns };
            let (from_ns, count) = if count.is_null(row) {
                (since_ns, None)
            } else {
                let counter = (id.value(row), node.value(row), epoch.value(row), cause.value(row));
                let now = count.value(row).unsigned_abs();
                let (from_ns, earlier) = before.insert(counter, (until_ns, now)).unwrap_or((since_ns, 0));
                (from_ns.max(until_ns - TOLD_WITHIN_NS), Some(now.saturating_sub(earlier)))
            };
            let (probe, cause) = (probe.value(row).to_owned(), cause.value(row).to_owned());
            losses.push(Loss { probe, cause, from_ns, until_ns, count });
        }
    }
    Some(losses)
}
