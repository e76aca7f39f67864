//! The task that keeps to the limits: watches the disk, ends segments, deletes what nobody can read any more.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use probepilot_catalog::manifest::{Manifest, SegmentReplace};
use probepilot_catalog::{CatalogError, Lake};

use super::choose::{Ending, Why, by_cap, by_retention, by_table_bytes};
use super::disk::{FileSystem, file_system, used_bytes};
use super::orphans::Orphans;
use crate::log::Log;
use crate::segment::store::SegmentStore;

const MIB: u64 = 1024 * 1024;

/// Once segments must go because of the cap, so many percent of it are left: not to come back every minute.
const CAP_TARGET_PERCENT: u64 = 95;

/// How often it is tried at most to make room while there is none.
const PRESSED_INTERVAL: Duration = Duration::from_secs(5);

/// How long old snapshots and their files stay while more than the cap is on the disk.
const PRESSED_GRACE: Duration = Duration::from_secs(60);

/// How often the segments' files are counted at least; free space is looked at more often, it costs one call.
const COUNT_INTERVAL_MAX: Duration = Duration::from_secs(10);

/// How much is kept, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct SpaceOptions {
    /// Bytes that log and live segments may take (files that were replaced come on top, for a minute when there are many);
    /// the smaller of 10 GiB and a tenth of the file system when `None`.
    pub disk_bytes_max: Option<u64>,
    /// Below so many free bytes rows are refused; the smaller of 1 GiB and a twentieth of the file system when `None`.
    pub free_bytes_min: Option<u64>,
    /// How often the disk is looked at.
    pub check_interval: Duration,
    /// How often tables are held to their limits and files that nobody needs are deleted.
    pub keep_interval: Duration,
    /// How long old snapshots can be read.
    pub snapshot_keep: Duration,
    /// How long files stay after the last snapshot that names them: longer than any statement runs.
    pub delete_grace: Duration,
    /// How long a file may be in no catalog row: longer than any commit takes.
    pub orphan_grace: Duration,
}

impl Default for SpaceOptions {
    fn default() -> SpaceOptions {
        SpaceOptions {
            disk_bytes_max: None,
            free_bytes_min: None,
            check_interval: Duration::from_secs(1),
            keep_interval: Duration::from_secs(30),
            snapshot_keep: Duration::from_secs(600),
            delete_grace: Duration::from_secs(600),
            orphan_grace: Duration::from_secs(24 * 3600),
        }
    }
}

/// What was last found.
#[derive(Debug, Default)]
pub struct SpaceState {
    state: Mutex<Found>,
}

#[derive(Clone, Debug, Default)]
struct Found {
    /// Bytes of the segments' files, and when they were counted.
    segment_bytes: Option<(u64, Instant)>,
    disk_bytes: u64,
    disk_bytes_max: u64,
    shortage: Option<String>,
}

impl SpaceState {
    /// Bytes on the disk, bytes allowed, and why rows are refused.
    pub fn read(&self) -> (u64, u64, Option<String>) {
        let Found { segment_bytes: _, disk_bytes, disk_bytes_max, shortage } = self.state.lock().clone();
        (disk_bytes, disk_bytes_max, shortage)
    }
}

/// Keeps to the limits.
pub struct Keeper {
    /// The log, which is paused when there is no room.
    pub log: Arc<Log>,
    /// Where its files are.
    pub log_directory: PathBuf,
    /// The manifest.
    pub lake: Lake,
    /// The files.
    pub store: SegmentStore,
    /// The limits.
    pub options: SpaceOptions,
    /// What is found is told here.
    pub state: Arc<SpaceState>,
}

impl Keeper {
    /// Runs until it is aborted.
    pub async fn run(self) {
        let SpaceOptions { snapshot_keep, delete_grace, orphan_grace, .. } = self.options;
        let mut kept = Instant::now();
        let mut orphans = Orphans::default();
        let mut orphans_looked = Instant::now();
        loop {
            tokio::time::sleep(self.options.check_interval).await;
            let pressed = self.check().await;
            let interval =
                if pressed { self.options.keep_interval.min(PRESSED_INTERVAL) } else { self.options.keep_interval };
            if kept.elapsed() >= interval {
                self.keep_to_limits().await;
                let most = if pressed { PRESSED_GRACE } else { Duration::MAX };
                self.delete_dead(snapshot_keep.min(most), delete_grace.min(most)).await;
                kept = Instant::now();
            }
            if orphans_looked.elapsed() >= orphan_grace / 24 {
                orphans.delete(&self.lake, &self.store, orphan_grace + snapshot_keep + delete_grace).await;
                orphans_looked = Instant::now();
            }
        }
    }

    /// Looks at the disk and pauses or resumes the log. Returns whether there is too much on it.
    pub async fn check(&self) -> bool {
        let (log, store) = (self.log_directory.clone(), self.store.local_root.clone());
        let counted = self.state.state.lock().segment_bytes;
        let count_interval = self.options.keep_interval.min(COUNT_INTERVAL_MAX);
        let measured = tokio::task::spawn_blocking(move || {
            let segments = match counted.filter(|(_, when)| when.elapsed() < count_interval) {
                Some(counted) => counted,
                None => (store.as_deref().map_or(Ok(0), used_bytes)?, Instant::now()),
            };
            file_system(&log).map(|system| (system, segments))
        });
        let (system, segments) = match measured.await {
            Ok(Ok(measured)) => measured,
            Ok(Err(error)) => {
                tracing::warn!(%error, "the disk cannot be measured");
                return false;
            }
            Err(_) => return false,
        };
        let log_bytes = self.log.bytes();
        let cap = self.options.disk_bytes_max.unwrap_or((10 * 1024 * MIB).min(system.bytes / 10));
        let used = log_bytes + segments.0;
        let live = log_bytes + live_bytes(&self.lake.manifest());
        let shortage = self.shortage(&system, log_bytes, live, cap);
        let mut found = self.state.state.lock();
        match (&found.shortage, &shortage) {
            (None, Some(shortage)) => tracing::error!("{shortage}; rows are refused"),
            (Some(_), None) => tracing::info!("there is room on the disk again; rows are taken"),
            _ => {}
        }
        self.log.pause(shortage.clone());
        let pressed = used > cap || shortage.is_some();
        *found = Found { segment_bytes: Some(segments), disk_bytes: used, disk_bytes_max: cap, shortage };
        pressed
    }

    /// Why nothing may be written, if so. Segments over the cap go first; rows are refused when that is not enough: the
    /// log alone has reached the cap, or what is live has left it a tenth behind. Files that only wait for their grace do
    /// not count: no row that is refused would make them go sooner.
    fn shortage(&self, system: &FileSystem, log_bytes: u64, live: u64, cap: u64) -> Option<String> {
        let floor = self.options.free_bytes_min.unwrap_or((1024 * MIB).min(system.bytes / 20));
        if system.free_bytes < floor {
            let (free, floor) = (system.free_bytes / MIB, floor / MIB);
            return Some(format!(
                "the disk is nearly full: {free} MiB are free, and below {floor} MiB nothing is written"
            ));
        }
        if system.free_files == Some(0) {
            return Some("the disk has no room for another file".into());
        }
        let far_over = cap.saturating_add(cap / 10);
        (log_bytes > cap || live > far_over).then(|| {
            let (live, cap) = (live / MIB, cap / MIB);
            format!("log and segments take {live} MiB and may take {cap} MiB")
        })
    }

    async fn keep_to_limits(&self) {
        let now = Utc::now().timestamp_nanos_opt().unwrap_or(i64::MAX);
        // Each choice is made on what the one before has left.
        self.end_all(by_retention(&self.lake.manifest(), now)).await;
        self.end_all(by_table_bytes(&self.lake.manifest())).await;
        let (_, cap, _) = self.state.read();
        let manifest = self.lake.manifest();
        let live = self.log.bytes() + live_bytes(&manifest);
        if cap > 0 && live > cap {
            self.end_all(by_cap(&manifest, live - cap / 100 * CAP_TARGET_PERCENT)).await;
        }
    }

    async fn end_all(&self, endings: Vec<Ending>) {
        for Ending { table, segments, bytes, oldest_left_unix_ns, why } in endings {
            let name = self.lake.manifest().table(table).map(|table| table.definition.name.to_string());
            let count = segments.len();
            match self.lake.replace(SegmentReplace { table, ended: segments, with: Vec::new() }).await {
                Ok(_) => {
                    let rest = oldest_left_unix_ns.map(|time| DateTime::from_timestamp_nanos(time).to_rfc3339());
                    let why = match why {
                        Why::Retention => "they are older than the table keeps rows",
                        Why::TableBytes => "the table is larger than it may be",
                        Why::DiskCap => "log and segments together are larger than they may be",
                    };
                    tracing::info!(table = name, segments = count, bytes, rest_from = rest, "segments go: {why}");
                }
                // Someone merged them, or dropped the table: the next look chooses anew.
                Err(CatalogError::SegmentNotLive { .. } | CatalogError::UnknownTable(_)) => {}
                Err(error) => tracing::warn!(%error, table = name, "segments cannot be dropped yet"),
            }
        }
    }

    /// Deletes the files that no snapshot names and no statement can read any more.
    async fn delete_dead(&self, snapshot_keep: Duration, delete_grace: Duration) {
        let dead = match self.lake.expire(snapshot_keep, delete_grace).await {
            Ok(dead) => dead,
            Err(error) => return tracing::warn!(%error, "old snapshots cannot be forgotten yet"),
        };
        let paths: Vec<String> = dead.iter().map(|file| file.path.clone()).collect();
        let deleted: HashSet<String> = self.store.delete(&paths).await.into_iter().collect();
        let ids: Vec<i64> = dead.iter().filter(|file| deleted.contains(&file.path)).map(|file| file.id).collect();
        if let Err(error) = self.lake.forget(&ids).await {
            tracing::warn!(%error, "deleted files cannot be taken off the list yet");
        }
    }
}

fn live_bytes(manifest: &Manifest) -> u64 {
    manifest.tables.values().flat_map(|table| table.segments.iter()).map(|segment| segment.bytes).sum()
}
