//! `run_for`: probes that are disabled when their time is over.

use std::collections::HashMap;
use std::sync::Weak;
use std::time::Duration;

use parking_lot::Mutex;
use probepilot_catalog::control::ProbeRow;
use probepilot_catalog::probe::ProbeId;
use probepilot_collector::node::clock::unix_now_ns;

use super::Probes;
use super::options::ProbeSettings;

/// How often it is looked whose time is over: a probe runs for so much longer at most.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// When the probes that have an end are disabled. One entry for each, so as many as probes at most.
#[derive(Debug, Default)]
pub struct Deadlines(Mutex<HashMap<ProbeId, i64>>);

impl Deadlines {
    /// Takes note of a probe that runs, with what its options say now.
    pub fn note(&self, probe: &ProbeRow, settings: &ProbeSettings) {
        let mut deadlines = self.0.lock();
        match end_unix_ns(probe, settings) {
            Some(end_unix_ns) => deadlines.insert(probe.id, end_unix_ns),
            None => deadlines.remove(&probe.id),
        };
    }

    /// Forgets a probe that runs no more.
    pub fn forget(&self, id: ProbeId) {
        self.0.lock().remove(&id);
    }

    fn due(&self) -> Vec<ProbeId> {
        let now = unix_now_ns();
        self.0.lock().iter().filter(|(_, end_unix_ns)| **end_unix_ns <= now).map(|(id, _)| *id).collect()
    }
}

/// When its time is over, Unix nanoseconds; `None` for never.
fn end_unix_ns(probe: &ProbeRow, settings: &ProbeSettings) -> Option<i64> {
    let seconds = settings.run_seconds_max?;
    let run_ns = i64::try_from(seconds).ok()?.checked_mul(1_000_000_000)?;
    probe.changed_at_ns.checked_add(run_ns)
}

/// Whether its time is over.
pub fn is_over(probe: &ProbeRow, settings: &ProbeSettings) -> bool {
    end_unix_ns(probe, settings).is_some_and(|end_unix_ns| end_unix_ns <= unix_now_ns())
}

/// Disables probes whose time is over, until the probes are gone.
pub async fn watch(probes: Weak<Probes>) {
    let mut looks = tokio::time::interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        let Some(probes) = probes.upgrade() else { return };
        for id in probes.deadlines.due() {
            // It stays due, and is tried again at the next look.
            if let Err(error) = probes.end(id).await {
                tracing::error!(%error, "a probe whose run_for is over could not be disabled");
            }
        }
    }
}
