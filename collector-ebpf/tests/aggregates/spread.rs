//! Percentiles, histograms, groups without room, the first rows and several windows: random events, against what is counted
//! here by hand.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, TimestampNanosecondType};
use probepilot_collector_ebpf::compile::CompiledProbe;
use probepilot_collector_ebpf::decode::ClockOffset;
use probepilot_collector_ebpf::kernel::Kernel;
use probepilot_collector_ebpf::load::{LoadOptions, LoadedProbe, Rings};
use probepilot_collector_ebpf::windows::Window;

use crate::workload::{self, Event, HOOK};
use crate::written;

/// How long the windows are said to be, nanoseconds.
const WIDTH_NS: i64 = 1_000_000_000;

/// Texts that are keys: empty, with one beginning, of several lengths and bytes, up to the last byte that is kept.
const NAMES: [&str; 16] = [
    "",
    "a",
    "aa",
    "aaa",
    "ab",
    "b",
    "ba",
    "bb",
    "user.x",
    "user.x.y",
    "user.x.z",
    "ä",
    "ää",
    "äb",
    "0123456789abcde",
    "0123456789abcdf",
];

/// Shares that percentiles are asked at, by column.
const SHARES: [(&str, f64); 4] = [("p0", 0.0), ("p50", 0.5), ("p99", 0.99), ("p100", 1.0)];

/// Numbers that look random, the same for a seed (xorshift64*).
pub struct Random(u64);

impl Random {
    /// From a seed.
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `end`.
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) % end
    }

    /// Of any magnitude; every eighth is below zero.
    fn size(&mut self) -> i64 {
        let bits = self.below(50);
        let size = self.below(1 << bits).cast_signed();
        if self.below(8) == 0 { -size - 1 } else { size }
    }

    fn events(&mut self, count: u64, keys: u64) -> Vec<Event> {
        let event = |random: &mut Random| {
            let key = random.below(keys);
            let name = NAMES.get(key as usize).copied();
            Event { fd: -1, name, value: None, size: random.size(), flags: key as i32 }
        };
        (0..count).map(|_| event(self)).collect()
    }
}

/// What is asked.
#[derive(Clone, Copy, Debug)]
struct Query {
    /// The key is a text; those that there are too few texts for are NULL.
    of_texts: bool,
    /// Groups that there is room for.
    keys_max: u32,
    /// So many rows of each window, those with the greatest totals.
    limit: Option<u64>,
}

impl Query {
    fn random(random: &mut Random) -> Query {
        let keys_max = [1, 3, 8, 200][random.below(4) as usize];
        Query {
            of_texts: random.below(2) == 0,
            keys_max,
            limit: (random.below(2) == 0).then_some(random.below(6)).map(|limit| limit + 1),
        }
    }

    fn compiled(&self, kernel: &Kernel) -> CompiledProbe {
        // SAFETY: no arguments, no effect.
        let tid = unsafe { libc::gettid() };
        let key = if self.of_texts { "user_string(args.name, 16)" } else { "args.flags" };
        let spread = "CASE WHEN args.size >= 0 THEN args.size END";
        let percentiles: String =
            SHARES.iter().map(|(name, share)| format!(", approx_percentile({spread}, {share:?}) AS {name}")).collect();
        let first = self.limit.map(|limit| format!(" ORDER BY total DESC, n DESC, g LIMIT {limit}"));
        let sql = format!(
            "CREATE PROBE p AS SELECT time_bucket('1 second', time) AS time, {key} AS g, count(*) AS n, \
             sum(args.size) AS total, min(args.size) AS least, max(args.size) AS most{percentiles}, \
             histogram({spread}) AS h FROM {HOOK} WHERE tid = {tid} GROUP BY 1, 2{}",
            first.unwrap_or_default()
        );
        let mut probe = written::compiled(kernel, &sql);
        probe.set_keys_max(self.keys_max);
        probe
    }

    fn key(&self, event: &Event) -> Option<String> {
        if self.of_texts { event.name.map(str::to_owned) } else { Some(event.flags.to_string()) }
    }

    /// The groups, each with whether it is that of the others, its key and its sizes, in the order of the window's rows.
    ///
    /// Room goes to those who come first; all who come later are one group.
    fn groups(&self, events: &[Event]) -> Vec<(bool, Option<String>, Vec<i64>)> {
        let mut groups: Vec<(bool, Option<String>, Vec<i64>)> = Vec::new();
        let mut others = Vec::new();
        for event in events {
            let key = self.key(event);
            let has_room = groups.len() < self.keys_max as usize;
            match groups.iter_mut().find(|(_, known, _)| *known == key) {
                Some((_, _, sizes)) => sizes.push(event.size),
                None if has_room => groups.push((false, key, vec![event.size])),
                None => others.push(event.size),
            }
        }
        if !others.is_empty() {
            groups.push((true, None, others));
        }
        if let Some(limit) = self.limit {
            groups.sort_by_key(|(is_other, key, sizes)| {
                let total: i64 = sizes.iter().sum();
                (-total, -(sizes.len() as i64), key.is_none(), key.clone(), *is_other)
            });
            groups.truncate(limit as usize);
        } else {
            groups.sort();
        }
        groups
    }
}

/// Has the events of each window happen, and checks each window's rows.
pub fn check(kernel: &Kernel, random: &mut Random) {
    let query = Query::random(random);
    let keys = 1 + random.below(24);
    let probe = query.compiled(kernel);
    let rings = Rings::new(1).unwrap();
    let load = LoadOptions { probe_id: 11, rows_per_second_max: 0 };
    let mut loaded = LoadedProbe::load(&probe.object, &rings.common(), load).unwrap();
    loaded.attach().unwrap();
    let (mut reader, mut decoder) = (loaded.windows().unwrap(), probe.window_decoder().unwrap());
    let mut happened = 0;
    for index in 0..1 + random.below(4).cast_signed() {
        let count = random.below(150);
        let events = random.events(count, keys);
        workload::act(&events);
        happened += count;
        reader.close().unwrap();
        reader.take_closed(|key, states| decoder.push(key, states)).unwrap();
        let window = Window { start_unix_ns: (7 + index) * WIDTH_NS, width_ns: WIDTH_NS, complete: true, keep: 0 };
        let made = decoder.finish(window, &ClockOffset::now()).unwrap();
        assert_eq!((made.events, made.map_full), (count, 0));
        check_window(&made.rows, &query, &query.groups(&events), window);
    }
    loaded.detach();
    assert_eq!(loaded.counters().unwrap().aggregated, happened);
}

/// A window's rows: each group with all of its events.
fn check_window(rows: &RecordBatch, query: &Query, groups: &[(bool, Option<String>, Vec<i64>)], window: Window) {
    let number = |name: &str, row: usize| {
        let column = cast(rows.column_by_name(name).unwrap(), &DataType::Int64).unwrap();
        column.is_valid(row).then(|| column.as_primitive::<Int64Type>().value(row))
    };
    let text = |name: &str, row: usize| {
        let column = cast(rows.column_by_name(name).unwrap(), &DataType::Utf8).unwrap();
        column.is_valid(row).then(|| column.as_string::<i32>().value(row).to_owned())
    };
    let is_other = |row: usize| rows.column_by_name("other").unwrap().as_boolean().value(row);
    assert_eq!(rows.num_rows(), groups.len(), "{query:?}: {groups:?}");
    let mut order: Vec<usize> = (0..rows.num_rows()).collect();
    if query.limit.is_none() {
        order.sort_by_key(|row| (is_other(*row), text("g", *row)));
    }
    let begin = rows.column_by_name("time").unwrap().as_primitive::<TimestampNanosecondType>();
    for (row, (other, key, sizes)) in order.into_iter().zip(groups) {
        assert_eq!((begin.value(row), number("window_ns", row)), (window.start_unix_ns, Some(window.width_ns)));
        assert_eq!((is_other(row), text("g", row)), (*other, key.clone()), "{query:?}: {groups:?}");
        assert_eq!(number("n", row), Some(sizes.len() as i64));
        assert_eq!(number("total", row), Some(sizes.iter().sum()));
        assert_eq!(number("least", row), sizes.iter().min().copied());
        assert_eq!(number("most", row), sizes.iter().max().copied());
        let mut spread: Vec<i64> = sizes.iter().copied().filter(|size| *size >= 0).collect();
        spread.sort_unstable();
        for (name, share) in SHARES {
            let rank = ((spread.len() as f64 * share).ceil() as usize).max(1);
            let exact = spread.get(rank - 1).copied();
            let near = number(name, row).zip(exact).is_some_and(|(value, exact)| (value - exact).abs() <= exact / 16);
            assert!(
                near || (number(name, row), exact) == (None, None),
                "{name}: {:?} for {exact:?}",
                number(name, row)
            );
        }
        check_histogram(text("h", row).as_deref(), &spread);
    }
}

/// Every bucket has just the values between its bounds, is narrow, and none is left out.
fn check_histogram(histogram: Option<&str>, sorted: &[i64]) {
    let buckets: Vec<[i64; 3]> = histogram.map_or_else(Vec::new, |text| serde_json::from_str(text).unwrap());
    let mut above = 0;
    for [begin, end, count] in &buckets {
        assert!(above <= *begin && begin < end && end - begin <= (begin / 8).max(1), "{histogram:?}");
        let inside = sorted.partition_point(|value| value < end) - sorted.partition_point(|value| value < begin);
        assert_eq!(inside as i64, *count, "{begin} to {end} of {sorted:?}");
        above = *end;
    }
    assert_eq!(buckets.iter().map(|[_, _, count]| count).sum::<i64>(), sorted.len() as i64, "{histogram:?}");
}
