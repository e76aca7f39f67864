//! Merging: the small segments of a closed hour, and then of a day, become one.

mod choose; // What is merged.
mod reader; // A segment as the Parquet reader wants it.
mod combine; // Several files to one, row by row in order.

use std::time::Duration;

use chrono::Utc;
use probepilot_catalog::manifest::SegmentReplace;
use probepilot_catalog::{CatalogError, Lake};

use self::choose::{Group, choose};
use crate::segment::store::SegmentStore;

/// What is merged, and when.
#[derive(Clone, Copy, Debug)]
pub struct MergeOptions {
    /// How often it is looked for something to merge.
    pub interval: Duration,
    /// How long after its end an hour or a day counts as closed: late rows come before.
    pub closed_after: Duration,
    /// Bytes of the segments that are merged into one, at most.
    pub bytes_max: u64,
    /// Memory of the rows under way, bytes; a merge that needs more fails and its segments stay as they are.
    pub memory_bytes_max: usize,
    /// Segments that are open at once, at most.
    pub segments_max: usize,
}

impl Default for MergeOptions {
    fn default() -> MergeOptions {
        MergeOptions {
            interval: Duration::from_secs(60),
            closed_after: Duration::from_secs(600),
            bytes_max: 256 * 1024 * 1024,
            memory_bytes_max: 256 * 1024 * 1024,
            segments_max: 32,
        }
    }
}

/// Merges from time to time, until it is aborted.
pub async fn run(lake: Lake, store: SegmentStore, options: MergeOptions) {
    loop {
        tokio::time::sleep(options.interval).await;
        merge_all(&lake, &store, options).await;
    }
}

/// Merges whatever there is to merge now. A group that fails waits for the next time and holds nobody else up.
pub async fn merge_all(lake: &Lake, store: &SegmentStore, options: MergeOptions) {
    let now = Utc::now().timestamp_nanos_opt().unwrap_or(i64::MAX);
    for group in choose(&lake.manifest(), now, options) {
        merge(lake, store, &group, options.memory_bytes_max).await;
    }
}

async fn merge(lake: &Lake, store: &SegmentStore, group: &Group, memory_bytes_max: usize) {
    let table = &group.table;
    let name = &table.definition.name;
    let merged = match combine::combine(store, group, memory_bytes_max).await {
        Ok(merged) => merged,
        Err(error) => {
            return tracing::warn!(table = %name, error = &error as &dyn std::error::Error, "segments cannot be merged");
        }
    };
    let (path, bytes) = (merged.path.clone(), merged.bytes);
    let ended: Vec<i64> = group.segments.iter().map(|segment| segment.id).collect();
    let count = ended.len();
    let unused = match lake.replace(SegmentReplace { table: table.id, ended, with: vec![merged] }).await {
        Ok(_) => {
            tracing::debug!(table = %name, segments = count, bytes, "segments are merged");
            false
        }
        // Retention was faster, or the table is gone.
        Err(CatalogError::SegmentNotLive { .. } | CatalogError::UnknownTable(_)) => true,
        // It may be stored or not: a file that no commit names is deleted later.
        Err(error) => return tracing::warn!(table = %name, %error, "a merge cannot be committed"),
    };
    if unused {
        store.delete(&[path]).await;
    }
}
