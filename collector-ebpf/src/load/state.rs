//! The maps in which the starts of pairs wait for their ends.

use std::io;
use std::time::Duration;

use super::error::LoadError;
use super::map::{Map, MapKind, MapSpec};
use crate::clock::monotonic_now_ns;
use crate::object::{STATE_ENTRIES_MAX, StateKind, StateMap};

/// How long a start waits for its end in a hash. A thread's or a CPU's own place is not swept: it cannot run full.
pub const STATE_AGE_MAX: Duration = Duration::from_secs(600);

/// The same where the key is an object whose end the kernel tells: only an end that was missed leaves one behind.
pub const OBJECT_AGE_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// Where a value has the clock of its start.
const NSECS_OFFSET: usize = 8;

/// Makes the map.
pub fn create(state: StateMap) -> Result<Map, LoadError> {
    let StateMap { kind, key_bytes, value_bytes, ends: _ } = state;
    let spec = |kind: MapKind, key_bytes, entries| MapSpec {
        kind,
        name: "state",
        key_bytes,
        value_bytes,
        entries,
        inner: None,
    };
    match kind {
        StateKind::TaskStorage => Map::of_tasks("state", value_bytes),
        StateKind::PerCpu => Map::create(&spec(MapKind::PerCpuArray, MapKind::PerCpuArray.key_bytes(), 1)),
        StateKind::Hash => Map::create(&spec(MapKind::Hash, key_bytes, STATE_ENTRIES_MAX)),
    }
}

/// What a sweep found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Starts that were deleted.
    pub deleted: u64,
    /// Starts that wait on.
    pub waiting: u64,
}

/// Deletes what is older; says how many were, and how many are left.
///
/// Programs go on meanwhile: what they take first is not counted here, and a walk that they disturb begins again from the
/// front, at most once for each entry.
pub fn sweep(map: &Map, key_bytes: usize, value_bytes: usize, age: Duration) -> io::Result<Swept> {
    let (mut key, mut next) = (vec![0_u8; key_bytes], vec![0_u8; key_bytes]);
    let mut value = vec![0_u8; value_bytes];
    let oldest_ns = monotonic_now_ns().saturating_sub(i64::try_from(age.as_nanos()).unwrap_or(i64::MAX));
    let (mut stale, mut waiting) = (Vec::new(), 0);
    let mut known = map.next_key(None, &mut key)?;
    for _ in 0..2 * STATE_ENTRIES_MAX {
        if !known {
            break;
        }
        let is_there = map.look_up(&key, &mut value)?;
        let clock = value.get(NSECS_OFFSET..NSECS_OFFSET + 8).and_then(|bytes| bytes.try_into().ok());
        if is_there && clock.map(i64::from_le_bytes).is_some_and(|clock| clock <= oldest_ns) {
            stale.push(key.clone());
        } else if is_there {
            waiting += 1;
        }
        known = map.next_key(Some(&key), &mut next)?;
        std::mem::swap(&mut key, &mut next);
    }
    // Deleted behind the walk, so that it is not disturbed. A key may be seen twice, but is deleted once.
    let mut deleted = 0;
    for key in stale {
        deleted += u64::from(map.delete(&key)?);
    }
    Ok(Swept { deleted, waiting })
}
