//! Aggregates in the running kernel: the workload knows its number, and the windows' sum is that number.

mod host; // The kernel the tests run on.
mod written; // Statements, compiled.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Float64Type, Int32Type, Int64Type};
use probepilot_collector_ebpf::compile::CompiledProbe;
use probepilot_collector_ebpf::decode::ClockOffset;
use probepilot_collector_ebpf::kernel::Kernel;
use probepilot_collector_ebpf::load::{Counters, LoadOptions, LoadedProbe, Rings};
use probepilot_collector_ebpf::windows::{Window, WindowRows};

use host::host;
use written::compiled;

const OPTIONS: LoadOptions = LoadOptions { probe_id: 9, rows_per_second_max: 0 };

const WINDOW: Window = Window { start_unix_ns: 7_000_000_000, width_ns: 1_000_000_000, complete: true, keep: 0 };

fn load(probe: &CompiledProbe, sql: &str) -> LoadedProbe {
    let rings = Rings::new(1).unwrap();
    LoadedProbe::load(&probe.object, &rings.common(), OPTIONS).unwrap_or_else(|error| panic!("{sql}: {error:#?}"))
}

/// The one window over what `act` does.
fn run(kernel: &Kernel, sql: &str, keys_max: Option<u32>, act: impl FnOnce()) -> (WindowRows, Counters) {
    let mut probe = compiled(kernel, sql);
    if let Some(keys_max) = keys_max {
        probe.set_keys_max(keys_max);
    }
    let mut loaded = load(&probe, sql);
    loaded.attach().unwrap();
    act();
    loaded.detach();
    let mut decoder = probe.window_decoder().unwrap();
    loaded.windows().unwrap().take_open(|key, states| decoder.push(key, states)).unwrap();
    (decoder.finish(WINDOW, &ClockOffset::now()).unwrap(), loaded.counters().unwrap())
}

fn bigints(rows: &RecordBatch, name: &str) -> Vec<Option<i64>> {
    rows.column_by_name(name).unwrap().as_primitive::<Int64Type>().iter().collect()
}

fn texts(rows: &RecordBatch, name: &str) -> Vec<Option<String>> {
    rows.column_by_name(name).unwrap().as_string_view().iter().map(|text| text.map(str::to_owned)).collect()
}

/// `lseek` on no file, with this number: an event with a value, and nothing else happens.
fn seek(value: i64) {
    // SAFETY: there is no such descriptor, so nothing is touched.
    unsafe { libc::syscall(libc::SYS_lseek, -1, value, 0) };
}

fn own_pid() -> i32 {
    std::process::id().cast_signed()
}

#[test]
fn every_aggregate_of_known_values_is_right() {
    let Some(kernel) = host() else { return };
    let sql = format!(
        "SELECT pid, count(*) AS events, sum(args.offset) AS total, min(args.offset) AS least, max(args.offset) AS most, \
         avg(args.offset) AS mean, stddev(args.offset) AS spread, approx_percentile(args.offset, 0.5) AS half, \
         histogram(args.offset) AS buckets, count(*) FILTER (WHERE args.offset > 5) AS above, \
         count(DISTINCT args.offset) AS different, approx_top_k(args.offset, 2) AS top, sum(args.offset * 2) + 1 AS twice, min(time) < max(time) AS apart \
         FROM tracepoint.sys_enter_lseek WHERE pid = {} AND time < now() + interval '1 hour' GROUP BY 1",
        own_pid()
    );
    let values = [3_i64, 9, 9, 12, 5, 700_000];
    let (made, counters) = run(&kernel, &sql, None, || values.iter().for_each(|value| seek(*value)));
    let rows = made.rows;
    assert_eq!((rows.num_rows(), made.events), (1, 6));
    let one = |name: &str| bigints(&rows, name)[0].unwrap();
    let float = |name: &str| rows.column_by_name(name).unwrap().as_primitive::<Float64Type>().value(0);
    assert_eq!(rows.column_by_name("pid").unwrap().as_primitive::<Int32Type>().value(0), own_pid());
    assert_eq!((one("events"), one("total"), one("least"), one("most")), (6, 700_038, 3, 700_000));
    assert_eq!((one("above"), one("different"), one("twice"), one("half")), (4, 5, 1_400_077, 9));
    let mean = 700_038.0 / 6.0;
    assert_eq!(float("mean"), mean);
    let spread = (values.iter().map(|value| (*value as f64 - mean).powi(2)).sum::<f64>() / 5.0).sqrt();
    assert!((float("spread") / spread - 1.0).abs() < 1e-12, "{} {spread}", float("spread"));
    let buckets = texts(&rows, "buckets")[0].clone().unwrap();
    assert!(buckets.starts_with("[[3, 4, 1], [5, 6, 1], [9, 10, 2], [12, 13, 1], ["), "{buckets}");
    assert_eq!(texts(&rows, "top"), [Some("[[9, 2], [3, 1]]".to_owned())]);
    assert!(rows.column_by_name("apart").unwrap().as_boolean().value(0));
    assert_eq!((counters.events, counters.aggregated, counters.map_full), (6, 6, 0));
}

#[test]
fn windows_say_how_many_events_each_of_theirs_stands_for() {
    let Some(kernel) = host() else { return };
    let sql = |sample: &str| {
        format!(
            "CREATE PROBE drawn AS SELECT time_bucket('1 s', time) AS time, pid, count(*) AS events \
             FROM tracepoint.sys_enter_lseek{sample} WHERE pid = {} GROUP BY 1, pid",
            own_pid()
        )
    };
    let whole = compiled(&kernel, &sql(""));
    assert!(whole.schema().column_with_name("sample_weight").is_none());
    let (made, counters) = run(&kernel, &sql(" TABLESAMPLE (20 PERCENT)"), None, || (0..50_000).for_each(seek));
    let weight = made.rows.column_by_name("sample_weight").unwrap().as_primitive::<Float64Type>().value(0);
    assert!((weight - 5.0).abs() < 1e-6, "{weight}");
    assert_eq!(counters.events, counters.aggregated + counters.sampled);
    assert_eq!(bigints(&made.rows, "events"), [Some(made.events.cast_signed())]);
    let drawn = made.events as f64;
    assert!((drawn - 10_000.0).abs() < 6.0 * (50_000.0_f64 * 0.2 * 0.8).sqrt(), "{drawn}");
}

#[test]
fn extremes_of_64_bits_are_added_exactly() {
    let Some(kernel) = host() else { return };
    let sql = format!(
        "SELECT sum(args.offset) AS total, avg(args.offset) AS mean, min(args.offset) AS least, max(args.offset) AS most, \
         var_pop(args.offset) AS spread FROM tracepoint.sys_enter_lseek \
         WHERE pid = {} AND time < now() + interval '1 hour'",
        own_pid()
    );
    let (made, _) = run(&kernel, &sql, None, || [i64::MAX, i64::MAX, i64::MIN, -1].into_iter().for_each(seek));
    let rows = made.rows;
    let float = |name: &str| rows.column_by_name(name).unwrap().as_primitive::<Float64Type>().value(0);
    let wrapped = i64::MAX.wrapping_add(i64::MAX).wrapping_add(i64::MIN).wrapping_sub(1);
    assert_eq!(bigints(&rows, "total"), [Some(wrapped)]);
    assert_eq!((bigints(&rows, "least"), bigints(&rows, "most")), (vec![Some(i64::MIN)], vec![Some(i64::MAX)]));
    assert_eq!(float("mean"), (2.0 * i64::MAX as f64 + i64::MIN as f64 - 1.0) / 4.0);
    let half = 2_f64.powi(63);
    let mean = half / 4.0;
    let spread = (2.0 * (half - mean).powi(2) + (half + mean).powi(2) + mean.powi(2)) / 4.0;
    assert!((float("spread") / spread - 1.0).abs() < 1e-9, "{} {spread}", float("spread"));
}

#[test]
fn keys_beyond_the_bound_are_one_row_and_nothing_is_lost() {
    let Some(kernel) = host() else { return };
    let sql = format!(
        "CREATE PROBE p AS SELECT args.offset AS value, count(*) AS events FROM tracepoint.sys_enter_lseek \
         WHERE pid = {} GROUP BY value",
        own_pid()
    );
    let (made, counters) = run(&kernel, &sql, Some(4), || (0..30).for_each(|value| seek(value % 10)));
    let rows = made.rows;
    assert_eq!(rows.num_rows(), 5);
    let other: Vec<bool> = rows.column_by_name("other").unwrap().as_boolean().iter().flatten().collect();
    assert_eq!(other, [false, false, false, false, true]);
    assert_eq!(bigints(&rows, "value")[4], None);
    assert_eq!(bigints(&rows, "events"), [3, 3, 3, 3, 18].map(Some));
    assert_eq!((counters.events, counters.aggregated, counters.map_full, made.events), (30, 30, 0, 30));
    let names: Vec<&str> = rows.schema_ref().fields().iter().map(|field| field.name().as_str()).collect();
    assert_eq!(names, ["time", "node", "window_ns", "complete", "value", "events", "other"]);
    assert_eq!(bigints(&rows, "window_ns")[0], Some(WINDOW.width_ns));
}

#[test]
fn keys_and_filters_after_the_kernel_work_on_its_groups() {
    let Some(kernel) = host() else { return };
    let sql = format!(
        "SELECT upper(comm) AS name, CASE WHEN args.offset < 5 THEN 'low' ELSE 'high' END AS class, count(*) AS events, \
         sum(args.offset / 2.0) AS halves, min(comm) AS least FROM tracepoint.sys_enter_lseek \
         WHERE pid = {} AND comm LIKE '%gro_p%' AND time < now() + interval '1 hour' \
         GROUP BY upper(comm), class HAVING count(*) > 1 ORDER BY events DESC, class LIMIT 2",
        own_pid()
    );
    let act = || {
        for (name, values) in [(c"the_gro_p", [1, 2, 3, 7]), (c"THE_gro_p", [1, 8, 9, 9]), (c"another", [1, 1, 1, 1])] {
            // SAFETY: the name ends with NUL and the kernel copies it.
            unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
            values.into_iter().for_each(seek);
        }
    };
    let (made, _) = run(&kernel, &sql, None, act);
    let rows = &made.rows;
    assert_eq!(texts(rows, "name"), [Some("THE_GRO_P".to_owned()), Some("THE_GRO_P".to_owned())]);
    assert_eq!(texts(rows, "class"), [Some("high".to_owned()), Some("low".to_owned())]);
    assert_eq!(bigints(rows, "events"), [Some(4), Some(4)]);
    assert_eq!(texts(rows, "least"), [Some("THE_gro_p".to_owned()), Some("THE_gro_p".to_owned())]);
    let halves: Vec<_> = rows.column_by_name("halves").unwrap().as_primitive::<Float64Type>().iter().collect();
    assert_eq!(halves, [Some(16.5), Some(3.5)]);
    assert_eq!((made.events, made.filtered), (8, 4));
}

/// `access` of a path that is not there.
fn access(path: &std::ffi::CStr) {
    // SAFETY: the path ends with NUL and lives through the call.
    unsafe { libc::syscall(libc::SYS_access, path.as_ptr(), 0) };
}

#[test]
fn conditions_on_strings_count_right_also_for_groups_without_room() {
    let Some(kernel) = host() else { return };
    for key in ["user_string(filename, 40)", "pid"] {
        let sql = format!(
            "CREATE PROBE p AS SELECT {key} AS key, count(*) AS events, \
             count(*) FILTER (WHERE user_string(filename, 40) LIKE '/ppno/%') AS those, \
             sum(CASE WHEN user_string(filename, 40) = '/ppno/b' THEN 1 ELSE 0 END) AS b \
             FROM tracepoint.sys_enter_access WHERE pid = {} GROUP BY 1",
            own_pid()
        );
        let (made, counters) = run(&kernel, &sql, Some(1), || {
            for path in [c"/ppno/a", c"/ppno/b", c"/ppyes", c"/ppno/b", c"/ppno/c", c"/ppyes"] {
                access(path);
            }
        });
        let sum = |name: &str| bigints(&made.rows, name).into_iter().flatten().sum::<i64>();
        assert_eq!((sum("events"), sum("those"), sum("b")), (6, 4, 2), "{key}");
        assert_eq!((counters.aggregated, counters.unreadable), (6, 0), "{key}");
        let other =
            made.rows.column_by_name("other").unwrap().as_boolean().iter().flatten().filter(|other| *other).count();
        assert_eq!(other, usize::from(key != "pid"), "{key}");
    }
}

#[test]
fn an_empty_window_without_keys_has_a_row() {
    let Some(kernel) = host() else { return };
    let sql = "CREATE PROBE p AS SELECT count(*) AS events, max(args.offset) AS most FROM tracepoint.sys_enter_lseek \
               WHERE pid = -1";
    let (made, _) = run(&kernel, sql, None, || ());
    assert_eq!(bigints(&made.rows, "events"), [Some(0)]);
    assert_eq!(bigints(&made.rows, "most"), [None]);
}

/// Counts so many calls on each of two threads while windows are closed as fast as the kernel lets us.
fn sum_of_windows(kernel: &Kernel, calls_per_thread: u64, pause: Duration) {
    let sql = format!(
        "CREATE PROBE p AS SELECT tid, count(*) AS events FROM tracepoint.sys_enter_getppid WHERE pid = {} GROUP BY tid",
        own_pid()
    );
    let probe = compiled(kernel, &sql);
    let mut loaded = load(&probe, &sql);
    loaded.attach().unwrap();
    let (mut reader, mut decoder) = (loaded.windows().unwrap(), probe.window_decoder().unwrap());
    let done = AtomicBool::new(false);
    let (mut windows, mut sum) = (0_u64, 0);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(move || {
                    for _ in 0..calls_per_thread {
                        // SAFETY: no arguments, no effect.
                        unsafe { libc::syscall(libc::SYS_getppid) };
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            for worker in workers {
                worker.join().unwrap();
            }
            done.store(true, Ordering::Release);
        });
        loop {
            let last = done.load(Ordering::Acquire);
            reader.close().unwrap();
            reader.take_closed(|key, states| decoder.push(key, states)).unwrap();
            let made = decoder.finish(WINDOW, &ClockOffset::now()).unwrap();
            sum += bigints(&made.rows, "events").into_iter().flatten().sum::<i64>();
            windows += 1;
            if last {
                break;
            }
            std::thread::sleep(pause);
        }
    });
    loaded.detach();
    let counters = loaded.counters().unwrap();
    println!("{windows} windows, {sum} events");
    assert_eq!(sum, 2 * calls_per_thread.cast_signed());
    assert_eq!((counters.events, counters.aggregated), (2 * calls_per_thread, 2 * calls_per_thread));
    assert!(windows > 3, "{windows}");
}

#[test]
fn the_sum_over_windows_is_the_number_of_calls() {
    let Some(kernel) = host() else { return };
    sum_of_windows(&kernel, 300_000, Duration::ZERO);
    sum_of_windows(&kernel, 300_000, Duration::from_millis(1));
}

#[test]
#[ignore = "a hundred million events take a minute"]
fn the_sum_over_windows_of_a_hundred_million_calls_is_their_number() {
    let Some(kernel) = host() else { return };
    sum_of_windows(&kernel, 50_000_000, Duration::from_millis(1));
}

/// The pairs whose aggregates are proved: of a thread's storage, and of a hash.
const KEYS: [&str; 2] = ["e.tid = x.tid", "e.tid * 2 = x.tid * 2"];

#[test]
fn aggregates_over_pairs_count_every_pair_once() {
    let Some(kernel) = host() else { return };
    for key in KEYS {
        let sql = format!(
            "SELECT e.args.offset % 3 AS class, count(*) AS events, sum(e.args.offset) AS total, min(e.args.offset) AS least, \
             max(e.args.offset) AS most, avg(x.ret) AS result, count(*) FILTER (WHERE e.args.offset > 50000) AS above, \
             sum(x.nsecs - e.nsecs) AS taken_ns, min(x.nsecs - e.nsecs) AS shortest_ns, \
             histogram(e.args.offset) AS buckets, approx_percentile(x.nsecs - e.nsecs, 0.5) AS half_ns \
             FROM tracepoint.sys_enter_lseek e JOIN tracepoint.sys_exit_lseek x ON {key} \
             WHERE e.pid = {0} AND x.pid = {0} AND x.ret < 0 AND x.time < now() + interval '1 hour' GROUP BY 1 ORDER BY 1",
            own_pid()
        );
        const CALLS: i64 = 100_000;
        let mut taken = Duration::ZERO;
        let (made, counters) = run(&kernel, &sql, None, || {
            let began = std::time::Instant::now();
            (0..CALLS).for_each(seek);
            taken = began.elapsed();
        });
        let rows = made.rows;
        assert_eq!((rows.num_rows(), made.events), (3, CALLS as u64), "{key}");
        let mut summed_ns = 0;
        for class in 0..3_i64 {
            let row = class as usize;
            let values: Vec<i64> = (0..CALLS).filter(|value| value % 3 == class).collect();
            let one = |name: &str| bigints(&rows, name)[row].unwrap();
            assert_eq!((one("class"), one("events")), (class, values.len() as i64), "{key}");
            assert_eq!((one("total"), one("least")), (values.iter().sum::<i64>(), class), "{key}");
            assert_eq!(one("most"), *values.last().unwrap(), "{key}");
            assert_eq!(one("above"), values.iter().filter(|value| **value > 50_000).count() as i64, "{key}");
            let results = rows.column_by_name("result").unwrap().as_primitive::<Float64Type>();
            assert_eq!(results.value(row), f64::from(-libc::EBADF), "{key}");
            assert!(one("shortest_ns") > 0 && one("half_ns") > 0, "{key}");
            summed_ns += one("taken_ns");
            let buckets = texts(&rows, "buckets")[row].clone().unwrap();
            assert_eq!(counted(&buckets), values.len() as u64, "{key}: {buckets}");
        }
        assert!(i128::from(summed_ns) < taken.as_nanos() as i128, "{summed_ns} ns of {taken:?}");
        assert_eq!(
            (counters.unpaired_start, counters.unpaired_end, counters.map_full),
            (0, 0, 0),
            "{key}: {counters:?}"
        );
        assert_eq!((counters.aggregated, counters.starts, counters.paired), (CALLS as u64, CALLS as u64, CALLS as u64));
    }
}

/// All events in the buckets of a histogram.
fn counted(buckets: &str) -> u64 {
    let parts = buckets.trim_matches(['[', ']']).split("], [");
    parts.map(|bucket| bucket.rsplit(", ").next().unwrap().parse::<u64>().unwrap()).sum()
}
