//! Budgets: which share of its events each probe is left, so that neither it nor all together take too much of the host.
//!
//! A probe costs what its programs' runs take. It is assumed to cost in proportion to the events it is left; where that
//! is not so (drawing has a price too) the next looks correct it. What all probes together take too much comes from the
//! dearest: each may take the same, and who takes less keeps all its events.

use probepilot_collector_ebpf::compile::sample::{Keep, keep_of, weight};

/// A share is not changed for less than this: each change of a probe that aggregates ends a window early.
const CHANGE_LEAST: f64 = 0.2;

/// All events are let through again when that would take this part of what is allowed.
const EASE: f64 = 0.8;

/// A share grows by this at most from one look to the next.
const GROWTH_MAX: f64 = 2.0;

/// No probe is left less: below this, drawing costs more than the events.
pub const SHARE_LEAST: f64 = 1.0 / 1024.0;

/// The part of its events that a probe is left: from [`SHARE_LEAST`] to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share {
    part: f64,
    /// What it may take, for who asks why, percent of one core.
    allowed: f64,
}

impl Default for Share {
    fn default() -> Share {
        Share { part: 1.0, allowed: f64::INFINITY }
    }
}

impl Share {
    /// Of 2³² events so many, for a query that itself keeps `sample_keep` of them (0: all).
    pub fn keep(self, sample_keep: Keep) -> Keep {
        let thinned = (self.part < 1.0).then(|| keep_of(self.part / weight(sample_keep)));
        thinned.flatten().unwrap_or(0)
    }

    /// Why rows are missing; `None` when none is.
    pub fn reason(self) -> Option<String> {
        (self.part < 1.0).then(|| {
            format!(
                "it would take more than {:.2} % of a core, so it sees {:.2} % of its events; the others are counted as budget",
                self.allowed,
                self.part * 100.0
            )
        })
    }
}

/// What a probe took since the last look.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// Share of one core, percent; `None` before it was measured.
    pub cpu_percent: Option<f64>,
    /// What it may take, percent of one core.
    pub cpu_percent_max: Option<f64>,
    /// The events it was left.
    pub share: Share,
}

impl Cost {
    /// Whether it takes twice what it may and there is nothing left to take from it.
    pub fn is_hopeless(&self, next: Share) -> bool {
        let least = |share: Share| share.part <= SHARE_LEAST;
        least(self.share) && least(next) && self.cpu_percent.is_some_and(|taken| taken > 2.0 * next.allowed)
    }

    /// What it would take with all its events.
    fn demand(&self) -> f64 {
        self.cpu_percent.unwrap_or(0.0) / self.share.part
    }
}

/// The next shares, when all together may take `total` percent of one core.
pub fn shares(costs: &[Cost], total: f64) -> Vec<Share> {
    let level = level(costs, total);
    costs.iter().map(|cost| next(cost, cost.cpu_percent_max.unwrap_or(f64::INFINITY).min(level))).collect()
}

/// What each may take so that all together take `total`: what the modest leave is the others'.
fn level(costs: &[Cost], total: f64) -> f64 {
    let mut wanted: Vec<f64> =
        costs.iter().map(|cost| cost.demand().min(cost.cpu_percent_max.unwrap_or(f64::INFINITY))).collect();
    wanted.sort_by(f64::total_cmp);
    let mut left = total;
    for (index, wanted_by_one) in wanted.iter().enumerate() {
        let each = left / (wanted.len() - index) as f64;
        if *wanted_by_one > each {
            return each;
        }
        left -= wanted_by_one;
    }
    f64::INFINITY
}

fn next(cost: &Cost, allowed: f64) -> Share {
    let (demand, now) = (cost.demand(), cost.share.part);
    let part = if demand <= 0.0 || demand * if now < 1.0 { 1.0 / EASE } else { 1.0 } <= allowed {
        1.0
    } else {
        (allowed / demand).clamp(SHARE_LEAST, 1.0)
    };
    let part = part.min(now * GROWTH_MAX);
    let is_same = (part / now - 1.0).abs() < CHANGE_LEAST && !(part >= 1.0 && now < 1.0);
    if is_same { cost.share } else { Share { part, allowed } }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks until nothing changes, at probes that take `demands` with all their events and `floor` without any.
    fn settle(demands: &[(f64, Option<f64>)], total: f64, floor: f64) -> Vec<f64> {
        let mut shares_now = vec![Share::default(); demands.len()];
        for _ in 0..40 {
            let costs: Vec<Cost> = demands
                .iter()
                .zip(&shares_now)
                .map(|((demand, own), share)| Cost {
                    cpu_percent: Some(floor + demand * share.part),
                    cpu_percent_max: *own,
                    share: *share,
                })
                .collect();
            shares_now = shares(&costs, total);
        }
        shares_now.iter().zip(demands).map(|(share, (demand, _))| floor + demand * share.part).collect()
    }

    #[test]
    fn a_probe_within_its_budget_keeps_all_events() {
        assert_eq!(settle(&[(3.0, Some(5.0)), (1.0, None)], 10.0, 0.0), [3.0, 1.0]);
    }

    #[test]
    fn a_probe_over_its_own_budget_is_thinned_to_it() {
        let taken = settle(&[(50.0, Some(5.0)), (1.0, None)], 100.0, 0.0);
        assert!((4.0..=6.0).contains(&taken[0]), "{taken:?}");
        assert_eq!(taken[1], 1.0);
    }

    #[test]
    fn the_dearest_give_way_to_the_hosts_budget_and_the_modest_do_not() {
        let taken = settle(&[(50.0, None), (30.0, None), (1.0, None)], 10.0, 0.0);
        assert_eq!(taken[2], 1.0);
        assert!(taken.iter().sum::<f64>() <= 12.0, "{taken:?}");
        assert!(taken[0] > 3.5 && taken[1] > 3.5, "{taken:?}");
    }

    #[test]
    fn a_price_of_drawing_is_found_out() {
        let taken = settle(&[(50.0, Some(10.0))], 100.0, 4.0);
        assert!((8.0..=12.0).contains(&taken[0]), "{taken:?}");
    }

    #[test]
    fn all_events_come_back_when_the_load_is_gone() {
        let mut share = Share { part: 0.01, allowed: 5.0 };
        for _ in 0..12 {
            let cost = Cost { cpu_percent: Some(0.2 * share.part), cpu_percent_max: Some(5.0), share };
            share = shares(&[cost], 100.0)[0];
        }
        assert_eq!((share.keep(0), share.reason()), (0, None));
        assert!(Share { part: 0.5, allowed: 5.0 }.reason().unwrap().contains("50.00 %"));
        assert_eq!(Share { part: 0.5, allowed: 5.0 }.keep(1 << 20), 1 << 19);
    }
}
