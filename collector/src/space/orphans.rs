//! Files that no commit names: what an attempt that failed, or was killed, has left behind.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use chrono::{TimeDelta, Utc};
use futures::TryStreamExt;
use probepilot_catalog::Lake;

use crate::segment::store::SegmentStore;

/// Files that are remembered until they are old enough; more are looked at the next time.
const ORPHANS_MAX: usize = 10_000;

/// Files in no live segment, and since when they are known to be.
#[derive(Debug, Default)]
pub struct Orphans {
    unknown_since: HashMap<String, Instant>,
}

impl Orphans {
    /// Deletes files that are older than `grace` and were in no live segment at every look for as long. `grace` is
    /// longer than what a snapshot may still name is kept, so nothing that can be read is touched.
    pub async fn delete(&mut self, lake: &Lake, store: &SegmentStore, grace: Duration) {
        let unknown = match list(lake, store, grace).await {
            Ok(unknown) => unknown,
            Err(error) => return tracing::warn!(%error, "the object store cannot be listed"),
        };
        self.unknown_since.retain(|path, _| unknown.contains(path));
        let now = Instant::now();
        for path in unknown {
            self.unknown_since.entry(path).or_insert(now);
        }
        let due = self.unknown_since.iter().filter(|(_, since)| since.elapsed() >= grace);
        let due: Vec<String> = due.map(|(path, _)| path.clone()).collect();
        for path in store.delete(&due).await {
            tracing::info!(path, "a file that no commit names is deleted");
            self.unknown_since.remove(&path);
        }
    }
}

async fn list(lake: &Lake, store: &SegmentStore, grace: Duration) -> object_store::Result<HashSet<String>> {
    let old = Utc::now() - TimeDelta::from_std(grace).unwrap_or(TimeDelta::MAX);
    let mut unknown = HashSet::new();
    let mut listing = store.objects.list(None);
    while let Some(object) = listing.try_next().await? {
        let path = object.location.to_string();
        if path.ends_with(".parquet") && object.last_modified < old && unknown.len() < ORPHANS_MAX {
            unknown.insert(path);
        }
    }
    // After the listing: what is live by now was committed while we looked.
    let manifest = lake.manifest();
    for segment in manifest.tables.values().flat_map(|table| table.segments.iter()) {
        unknown.remove(&segment.path);
    }
    Ok(unknown)
}
