//! What was lost in the time a query looked at: the notice at its end.

mod range; // The time that filters leave.
mod book; // Losses as the nodes have told them.

use std::collections::BTreeMap;

use probepilot_catalog::probe::EVERY_PROBE;
use probepilot_catalog::table::TableName;

pub use book::Book;
pub use range::TimeRange;

use book::Loss;

/// A probe's table that a query reads, and the time it asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scanned {
    /// The table.
    pub table: TableName,
    /// The time that the filters leave.
    pub range: TimeRange,
}

/// What the client is told at the end: one line for each table that has lost rows in the range it was read in.
fn notices(losses: &[Loss], scanned: &[Scanned]) -> Vec<String> {
    let mut ranges: BTreeMap<&TableName, TimeRange> = BTreeMap::new();
    for Scanned { table, range } in scanned {
        ranges.entry(table).and_modify(|known| *known = known.with(range)).or_insert(*range);
    }
    let several = ranges.len() > 1;
    let mut notices = Vec::new();
    for (table, range) in ranges {
        // The counters' tables name a probe, which is called as its table.
        let of_table = losses.iter().filter(|loss| {
            (loss.probe == table.name || loss.probe == EVERY_PROBE) && range.meets(loss.from_ns, loss.until_ns)
        });
        let mut counts: BTreeMap<&str, Option<u64>> = BTreeMap::new();
        for Loss { cause, count, .. } in of_table {
            let sum = counts.entry(cause).or_insert(Some(0));
            *sum = sum.zip(*count).map(|(sum, count)| sum + count);
        }
        if !counts.is_empty() {
            let line = line(&counts);
            notices.push(if several { format!("{table}: {line}") } else { line });
        }
    }
    notices
}

/// `lost 312 events (ring_full) in this range`
fn line(counts: &BTreeMap<&str, Option<u64>>) -> String {
    let total: u64 = counts.values().flatten().sum();
    let unknown = counts.values().any(Option::is_none);
    let events = format!("{total} event{}", if total == 1 { "" } else { "s" });
    let number = match (total, unknown) {
        (0, true) => "an unknown number of events".to_owned(),
        (_, true) => format!("at least {events}"),
        (_, false) => events,
    };
    let causes: Vec<String> = match counts.len() {
        1 => counts.keys().map(|cause| (*cause).to_owned()).collect(),
        _ => counts
            .iter()
            .map(|(cause, count)| count.map_or_else(|| (*cause).to_owned(), |count| format!("{cause} {count}")))
            .collect(),
    };
    format!("lost {number} ({}) in this range", causes.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loss(probe: &str, cause: &str, until_ns: i64, count: Option<u64>) -> Loss {
        Loss { probe: probe.to_owned(), cause: cause.to_owned(), from_ns: until_ns - 10, until_ns, count }
    }

    fn scanned(table: &str, from_ns: i64, until_ns: i64) -> Scanned {
        Scanned { table: TableName::public(table), range: TimeRange { from_ns, until_ns } }
    }

    #[test]
    fn only_what_was_lost_in_the_range_is_told() {
        let losses = [
            loss("execs", "ring_full", 100, Some(300)),
            loss("execs", "ring_full", 120, Some(12)),
            loss("execs", "queue_full", 1_000, Some(5)),
            loss("other", "ring_full", 100, Some(9)),
        ];
        let told = |from, until| notices(&losses, &[scanned("execs", from, until)]);
        assert_eq!(told(50, 200), ["lost 312 events (ring_full) in this range"]);
        assert_eq!(told(105, 105), Vec::<String>::new());
        assert_eq!(told(i64::MIN, i64::MAX), ["lost 317 events (queue_full 5, ring_full 312) in this range"]);
        assert_eq!(told(2_000, 3_000), Vec::<String>::new());
    }

    #[test]
    fn what_cannot_be_counted_is_told_too() {
        let restart = loss("execs", "restart", 100, None);
        let all = [scanned("execs", i64::MIN, i64::MAX)];
        assert_eq!(
            notices(std::slice::from_ref(&restart), &all),
            ["lost an unknown number of events (restart) in this range"]
        );
        let both = [restart, loss("execs", "ring_full", 100, Some(1))];
        assert_eq!(notices(&both, &all), ["lost at least 1 event (restart, ring_full 1) in this range"]);
    }

    #[test]
    fn what_may_have_been_anybodys_is_told_to_everybody() {
        let losses = [loss(EVERY_PROBE, "restart", 100, Some(7))];
        assert_eq!(notices(&losses, &[scanned("execs", 0, 200)]), ["lost 7 events (restart) in this range"]);
    }

    #[test]
    fn two_tables_are_told_apart_and_one_read_twice_is_told_once() {
        let losses = [loss("a", "ring_full", 100, Some(1)), loss("b", "ring_full", 100, Some(2))];
        let twice = [scanned("a", 0, 10), scanned("a", 90, 200), scanned("b", 0, 200)];
        assert_eq!(
            notices(&losses, &twice),
            ["a: lost 1 event (ring_full) in this range", "b: lost 2 events (ring_full) in this range"]
        );
    }
}
