//! What was lost, by cause: every row a probe produced is stored or counted here.
//!
//! There is no cause for events that come late: a window is closed by exchanging the maps that programs write, so an event is
//! in the window during which its program ran, and none can come afterwards.
//!
//! Each cause has a test that makes the fault and knows the number:
//!
//! | cause | where |
//! | --- | --- |
//! | `ring_full`, `nested`, `sampled`, `rate_limited`, `budget`, `recursion`, `map_full` of a window | `collector-ebpf/tests/losses.rs` |
//! | `unpaired_start`, `unpaired_end`, `map_full` of a pair | `collector-ebpf/tests/pairs.rs` |
//! | `unreadable`, `truncated`, `expression_error` | `collector-ebpf/tests/marks`, `collector-ebpf/tests/rows.rs` |
//! | `queue_full`, `log_full`, `disk_full` | `collector/src/node/outbox.rs` |
//! | `detached` | `collector/src/node/local/tests/losses.rs` |
//! | `restart` | `api/tests/end_to_end/kernel_losses.rs`, `kernel_damage.rs` |

use std::sync::atomic::{AtomicU64, Ordering};

/// Why a row is missing, or why a value of a row is NULL or cut. The list is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Cause {
    /// The ring had no room: the collector was slower than the events.
    RingFull,
    /// A map had no room for a new key.
    MapFull,
    /// The program interrupted itself on this CPU.
    Nested,
    /// The probe's sample left it out.
    Sampled,
    /// More rows in a second than `max_rows_per_second`.
    RateLimited,
    /// The probe was over its share of the CPU.
    Budget,
    /// The start of a pair was seen and its end never came, or another start came first.
    UnpairedStart,
    /// The end of a pair came and its start was not seen.
    UnpairedEnd,
    /// The kernel did not run the program because one of ours was running on this CPU.
    Recursion,
    /// The queue between rings and log was full.
    QueueFull,
    /// The log refused rows: what it keeps in memory is full.
    LogFull,
    /// The log refused rows: the disk is full.
    DiskFull,
    /// The record was in the ring when its probe was gone, or could not be read.
    Detached,
    /// The collector was not running, and how many is not known; or a row was in the log and could not be read at the
    /// next start.
    Restart,
    /// A value could not be read: it is NULL.
    Unreadable,
    /// A text was longer than its room: it is cut.
    Truncated,
    /// An expression failed for this row: it is NULL.
    ExpressionError,
}

/// How many causes there are.
const CAUSES: usize = 17;

impl Cause {
    /// Every cause, in the order of the declaration.
    pub const ALL: [Cause; CAUSES] = [
        Cause::RingFull,
        Cause::MapFull,
        Cause::Nested,
        Cause::Sampled,
        Cause::RateLimited,
        Cause::Budget,
        Cause::UnpairedStart,
        Cause::UnpairedEnd,
        Cause::Recursion,
        Cause::QueueFull,
        Cause::LogFull,
        Cause::DiskFull,
        Cause::Detached,
        Cause::Restart,
        Cause::Unreadable,
        Cause::Truncated,
        Cause::ExpressionError,
    ];

    /// The word in `system.probe_loss.cause`.
    pub fn as_str(self) -> &'static str {
        match self {
            Cause::RingFull => "ring_full",
            Cause::MapFull => "map_full",
            Cause::Nested => "nested",
            Cause::Sampled => "sampled",
            Cause::RateLimited => "rate_limited",
            Cause::Budget => "budget",
            Cause::UnpairedStart => "unpaired_start",
            Cause::UnpairedEnd => "unpaired_end",
            Cause::Recursion => "recursion",
            Cause::QueueFull => "queue_full",
            Cause::LogFull => "log_full",
            Cause::DiskFull => "disk_full",
            Cause::Detached => "detached",
            Cause::Restart => "restart",
            Cause::Unreadable => "unreadable",
            Cause::Truncated => "truncated",
            Cause::ExpressionError => "expression_error",
        }
    }

    /// Says whether a row is missing; otherwise the row is there and one of its values is not whole.
    pub fn loses_row(self) -> bool {
        !matches!(self, Cause::Unreadable | Cause::Truncated | Cause::ExpressionError)
    }
}

/// Counts by cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses([u64; CAUSES]);

impl Losses {
    /// How many by this cause.
    pub fn get(&self, cause: Cause) -> u64 {
        self.0[cause as usize]
    }

    /// Counts `count` more.
    pub fn add(&mut self, cause: Cause, count: u64) {
        self.0[cause as usize] += count;
    }

    /// Both together.
    pub fn plus(mut self, other: &Losses) -> Losses {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine += theirs;
        }
        self
    }

    /// Rows missing, all causes.
    pub fn rows(&self) -> u64 {
        Cause::ALL.into_iter().filter(|cause| cause.loses_row()).map(|cause| self.get(cause)).sum()
    }

    /// The causes that occurred, with their counts.
    pub fn occurred(&self) -> impl Iterator<Item = (Cause, u64)> {
        Cause::ALL.into_iter().map(|cause| (cause, self.get(cause))).filter(|(_, count)| *count > 0)
    }
}

/// What happens to a probe's rows after the kernel, counted from any thread.
#[derive(Debug, Default)]
pub struct Tally {
    rows: AtomicU64,
    filtered: AtomicU64,
    handed_over: AtomicU64,
    lag_ns: AtomicU64,
    /// An `f64`'s bits; 0 while there was none.
    fill_percent: AtomicU64,
    lost: [AtomicU64; CAUSES],
}

impl Tally {
    /// Rows the log has taken.
    pub fn rows(&self) -> u64 {
        self.rows.load(Ordering::Relaxed)
    }

    /// The log has taken rows; the oldest happened `lag_ns` ago.
    pub fn stored(&self, rows: u64, lag_ns: u64) {
        self.rows.fetch_add(rows, Ordering::Relaxed);
        self.lag_ns.store(lag_ns, Ordering::Relaxed);
    }

    /// From event to log, for the oldest row of the last batch, nanoseconds.
    pub fn lag_ns(&self) -> u64 {
        self.lag_ns.load(Ordering::Relaxed)
    }

    /// How full the map of groups was when the last window was closed, percent; `None` before the first.
    pub fn fill_percent(&self) -> Option<f64> {
        let bits = self.fill_percent.load(Ordering::Relaxed);
        (bits != 0).then(|| f64::from_bits(bits))
    }

    /// A window was closed whose map was so full, percent.
    pub fn filled(&self, percent: f64) {
        // An empty one is not none.
        self.fill_percent.store(percent.max(f64::MIN_POSITIVE).to_bits(), Ordering::Relaxed);
    }

    /// Records the part of the filter that runs after the kernel did not let through.
    pub fn filtered(&self) -> u64 {
        self.filtered.load(Ordering::Relaxed)
    }

    /// Counts records that the part of the filter after the kernel did not let through.
    pub fn add_filtered(&self, records: u64) {
        self.filtered.fetch_add(records, Ordering::Relaxed);
    }

    /// Records that the other version of this probe delivers, while both are attached.
    pub fn handed_over(&self) -> u64 {
        self.handed_over.load(Ordering::Relaxed)
    }

    /// Counts a record that the other version of this probe delivers.
    pub fn add_handed_over(&self) {
        self.handed_over.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a loss.
    pub fn lose(&self, cause: Cause, count: u64) {
        self.lost[cause as usize].fetch_add(count, Ordering::Relaxed);
    }

    /// What was lost after the kernel.
    pub fn losses(&self) -> Losses {
        let mut losses = Losses::default();
        for cause in Cause::ALL {
            losses.add(cause, self.lost[cause as usize].load(Ordering::Relaxed));
        }
        losses
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_has_its_own_place_and_word() {
        let mut losses = Losses::default();
        for (place, cause) in Cause::ALL.into_iter().enumerate() {
            assert_eq!(cause as usize, place, "{}", cause.as_str());
            losses.add(cause, 1);
        }
        let mut words: Vec<&str> = losses.occurred().map(|(cause, _)| cause.as_str()).collect();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), CAUSES);
        assert_eq!(losses.rows(), CAUSES as u64 - 3, "three causes keep the row");
    }

    #[test]
    fn losses_after_the_kernel_are_added_to_those_inside() {
        let tally = Tally::default();
        tally.lose(Cause::QueueFull, 3);
        tally.lose(Cause::QueueFull, 2);
        let mut inside = Losses::default();
        inside.add(Cause::RingFull, 7);
        let all = inside.plus(&tally.losses());
        assert_eq!(all.occurred().collect::<Vec<_>>(), [(Cause::RingFull, 7), (Cause::QueueFull, 5)]);
    }
}
