//! Failed logins slow down: each makes the next attempt from the same address for the same user wait longer.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Pairs of address and user that are remembered; beyond it the one that failed longest ago is forgotten.
const ENTRIES_MAX: usize = 4_096;
/// The wait after the first failure; it doubles with each further one.
const WAIT_MIN: Duration = Duration::from_millis(100);
/// The longest wait.
const WAIT_MAX: Duration = Duration::from_secs(10);
/// After this long without an attempt a failure is forgotten.
const FORGET_AFTER: Duration = Duration::from_secs(600);

/// Failures of one address and user.
struct Failures {
    count: u32,
    last: Instant,
    /// When the next attempt may be answered.
    next: Instant,
}

/// The failures of all clients.
#[derive(Default)]
pub struct BackOff {
    failures: Mutex<HashMap<(String, String), Failures>>,
}

impl BackOff {
    /// How long an attempt must wait before it is looked at. Attempts made at the same time queue up behind each other.
    pub fn wait(&self, address: &str, user: &str) -> Duration {
        let now = Instant::now();
        let mut failures = self.failures.lock();
        let Some(entry) = failures.get_mut(&(address.to_owned(), user.to_owned())) else { return Duration::ZERO };
        let turn = entry.next.max(now);
        entry.next = turn + delay(entry.count);
        turn - now
    }

    /// Remembers a failure.
    pub fn failed(&self, address: &str, user: &str) {
        let now = Instant::now();
        let mut failures = self.failures.lock();
        failures.retain(|_, entry| now.saturating_duration_since(entry.next) < FORGET_AFTER);
        if failures.len() >= ENTRIES_MAX
            && let Some(oldest) = failures.iter().min_by_key(|(_, entry)| entry.last).map(|(key, _)| key.clone())
        {
            failures.remove(&oldest);
        }
        let entry = failures.entry((address.to_owned(), user.to_owned())).or_insert(Failures {
            count: 0,
            last: now,
            next: now,
        });
        entry.count = entry.count.saturating_add(1);
        entry.last = now;
        entry.next = entry.next.max(now + delay(entry.count));
    }

    /// Forgets the failures: the client knows the password.
    pub fn succeeded(&self, address: &str, user: &str) {
        self.failures.lock().remove(&(address.to_owned(), user.to_owned()));
    }
}

fn delay(count: u32) -> Duration {
    WAIT_MIN.saturating_mul(1 << count.saturating_sub(1).min(16)).min(WAIT_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(wait: Duration, expected_ms: u128) {
        let below = expected_ms / 2..=expected_ms;
        assert!(below.contains(&wait.as_millis()), "{wait:?} is not about {expected_ms} ms");
    }

    #[test]
    fn waits_double_and_are_forgotten_on_success() {
        let back_off = BackOff::default();
        assert_eq!(back_off.wait("a", "u"), Duration::ZERO);
        back_off.failed("a", "u");
        check(back_off.wait("a", "u"), 100);
        (0..6).for_each(|_| back_off.failed("a", "u"));
        check(back_off.wait("a", "u"), 6_400);
        assert_eq!(back_off.wait("a", "other"), Duration::ZERO);
        assert_eq!(back_off.wait("b", "u"), Duration::ZERO);
        back_off.succeeded("a", "u");
        assert_eq!(back_off.wait("a", "u"), Duration::ZERO);
    }

    #[test]
    fn attempts_at_the_same_time_do_not_share_a_wait() {
        let back_off = BackOff::default();
        back_off.failed("a", "u");
        let waits: Vec<Duration> = (0..3).map(|_| back_off.wait("a", "u")).collect();
        assert!(waits.windows(2).all(|pair| pair[0] < pair[1]), "{waits:?}");
    }

    #[test]
    fn the_table_is_bounded() {
        let back_off = BackOff::default();
        for user in 0..ENTRIES_MAX + 10 {
            back_off.failed("a", &user.to_string());
        }
        assert_eq!(back_off.failures.lock().len(), ENTRIES_MAX);
    }
}
