//! Percentiles, histograms, groups without room and several windows: random events, against what is counted here by hand.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use probepilot_collector_ebpf::compile::CompiledProbe;
use probepilot_collector_ebpf::decode::ClockOffset;
use probepilot_collector_ebpf::kernel::Kernel;
use probepilot_collector_ebpf::load::{LoadOptions, LoadedProbe, Rings};

use crate::WINDOW;
use crate::workload::{self, Event, HOOK};
use crate::written;

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
        let event = |random: &mut Random| Event {
            fd: -1,
            name: None,
            value: None,
            size: random.size(),
            flags: random.below(keys) as i32,
        };
        (0..count).map(|_| event(self)).collect()
    }
}

fn compiled(kernel: &Kernel) -> CompiledProbe {
    // SAFETY: no arguments, no effect.
    let tid = unsafe { libc::gettid() };
    let spread = "CASE WHEN args.size >= 0 THEN args.size END";
    let percentiles: String =
        SHARES.iter().map(|(name, share)| format!(", approx_percentile({spread}, {share:?}) AS {name}")).collect();
    let sql = format!(
        "CREATE PROBE p AS SELECT args.flags AS g, count(*) AS n, sum(args.size) AS total, min(args.size) AS least, \
         max(args.size) AS most{percentiles}, histogram({spread}) AS h FROM {HOOK} WHERE tid = {tid} GROUP BY 1"
    );
    written::compiled(kernel, &sql)
}

/// Has the events of each window happen, and checks each window's rows.
pub fn check(kernel: &Kernel, random: &mut Random) {
    let keys_max = [1, 3, 8, 200][random.below(4) as usize];
    let keys = 1 + random.below(24);
    let mut probe = compiled(kernel);
    probe.set_keys_max(keys_max);
    let rings = Rings::new(1).unwrap();
    let load = LoadOptions { probe_id: 11, rows_per_second_max: 0 };
    let mut loaded = LoadedProbe::load(&probe.object, &rings.common(), load).unwrap();
    loaded.attach().unwrap();
    let (mut reader, mut decoder) = (loaded.windows().unwrap(), probe.window_decoder().unwrap());
    let mut happened = 0;
    for _ in 0..1 + random.below(4) {
        let count = random.below(150);
        let events = random.events(count, keys);
        workload::act(&events);
        happened += count;
        reader.close().unwrap();
        reader.take_closed(|key, states| decoder.push(key, states)).unwrap();
        let made = decoder.finish(WINDOW, &ClockOffset::now()).unwrap();
        assert_eq!((made.events, made.map_full), (count, 0));
        check_window(&made.rows, &events, keys_max as usize);
    }
    loaded.detach();
    assert_eq!(loaded.counters().unwrap().aggregated, happened);
}

/// A window's rows: each group that is named with all of its events, and the others in one row.
fn check_window(rows: &RecordBatch, events: &[Event], keys_max: usize) {
    let column = |name: &str| cast(rows.column_by_name(name).unwrap(), &DataType::Int64).unwrap();
    let number = |name: &str, row: usize| {
        let column = column(name);
        column.is_valid(row).then(|| column.as_primitive::<Int64Type>().value(row))
    };
    let is_other = rows.column_by_name("other").unwrap().as_boolean();
    let named: Vec<i64> =
        (0..rows.num_rows()).filter(|row| !is_other.value(*row)).map(|row| number("g", row).unwrap()).collect();
    let mut groups: BTreeMap<Option<i64>, Vec<i64>> = BTreeMap::new();
    for event in events {
        let key = Some(i64::from(event.flags)).filter(|key| named.contains(key));
        groups.entry(key).or_default().push(event.size);
    }
    assert_eq!(rows.num_rows(), groups.len(), "{groups:?}");
    assert!(named.len() <= keys_max, "{} groups where there is room for {keys_max}", named.len());
    // Nobody is without room while there is some.
    assert!(!groups.contains_key(&None) || named.len() == keys_max, "{} of {keys_max} groups", named.len());
    let histograms = cast(rows.column_by_name("h").unwrap(), &DataType::Utf8).unwrap();
    for row in 0..rows.num_rows() {
        let key = (!is_other.value(row)).then(|| number("g", row).unwrap());
        assert_eq!(number("g", row), key, "the row of others has no key");
        let sizes = &groups[&key];
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
        let histogram = histograms.is_valid(row).then(|| histograms.as_string::<i32>().value(row));
        check_histogram(histogram, &spread);
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
