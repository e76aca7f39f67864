//! Random aggregates over random events: the rows of one window, from the running kernel, against what DataFusion says of
//! the same events.

#[path = "../cpus/mod.rs"]
mod cpus; // The CPUs that events happen on.
#[path = "../host/mod.rs"]
mod host; // The kernel the tests run on.
#[path = "../written/mod.rs"]
mod written; // Statements, compiled.
mod oracle; // DataFusion's answer.
mod query; // Random queries.
mod spread; // Percentiles, groups without room, first rows, windows.
mod workload; // Random events.

use std::time::{Duration, Instant};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use arrow::util::display::array_value_to_string;
use datafusion::sql::sqlparser::ast;
use probepilot_collector_ebpf::compile::compile;
use probepilot_collector_ebpf::decode::ClockOffset;
use probepilot_collector_ebpf::kernel::Kernel;
use probepilot_collector_ebpf::load::{LoadOptions, LoadedProbe, Rings};
use probepilot_collector_ebpf::windows::Window;
use probepilot_sql::SqlError;
use probepilot_sql::statement::{ProbeQuery, Statement};
use proptest::prelude::{ProptestConfig, Strategy};
use proptest::test_runner::{RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

use host::host;
use oracle::Tolerances;
use query::Query;
use workload::Event;

const WINDOW: Window = Window { start_unix_ns: 7_000_000_000, width_ns: 1_000_000_000, complete: true, keep: 0 };

/// More than there are events: the groups without room are other tests'.
const KEYS_MAX: u32 = 128;

/// The window's rows, or why the query is refused.
fn ours(kernel: &Kernel, sql: &str, events: &[Event]) -> Result<RecordBatch, SqlError> {
    let Statement::Sql(statement) = probepilot_sql::parse_one(sql)? else { panic!("{sql} is no query") };
    let ast::Statement::Query(query) = *statement else { panic!("{sql} is no query") };
    let query = ProbeQuery { text: sql.into(), query, comments: Vec::new() };
    let mut probe = compile(&query, kernel, &written::no_facts(), &written::options(false))?;
    probe.set_keys_max(KEYS_MAX);
    let rings = Rings::new(1).unwrap();
    let load = LoadOptions { probe_id: 9, rows_per_second_max: 0 };
    let mut loaded =
        LoadedProbe::load(&probe.object, &rings.common(), load).unwrap_or_else(|error| panic!("{sql}: {error:#?}"));
    loaded.attach().unwrap();
    workload::act(events);
    loaded.detach();
    let mut decoder = probe.window_decoder().unwrap();
    loaded.windows().unwrap().take_open(|key, states| decoder.push(key, states)).unwrap();
    let made = decoder.finish(WINDOW, &ClockOffset::now()).unwrap();
    let counters = loaded.counters().unwrap();
    assert_eq!((counters.map_full, made.map_full), (0, 0), "{sql}");
    assert_eq!(counters.aggregated, made.events + made.filtered, "{sql}");
    Ok(made.rows)
}

/// A row's keys and columns as texts; inexact columns are left out.
fn texts(rows: &RecordBatch, query: &Query, row: usize) -> Vec<String> {
    let exact = query.outputs.iter().enumerate().filter(|(_, output)| output.rounded.is_none());
    let names = (0..query.keys.len()).map(|index| format!("g{index}"));
    names
        .chain(exact.map(|(index, _)| format!("o{index}")))
        .map(|name| {
            let column = rows.column_by_name(&name).unwrap();
            if column.is_null(row) {
                "NULL".into()
            } else {
                format!("{:?}", array_value_to_string(column, row).unwrap())
            }
        })
        .collect()
}

/// Rows in one order: as they are where the query has one, else by their exact columns, keys first.
fn order(rows: &RecordBatch, query: &Query) -> Vec<usize> {
    let mut order: Vec<usize> = (0..rows.num_rows()).collect();
    if query.order.is_none() {
        order.sort_by_key(|row| texts(rows, query, *row));
    }
    order
}

/// Says where the two differ.
fn compare(query: &Query, ours: &RecordBatch, theirs: &RecordBatch, tolerances: &Tolerances) -> Result<(), String> {
    let names = (0..query.keys.len()).map(|index| format!("g{index}"));
    for name in names.chain((0..query.outputs.len()).map(|index| format!("o{index}"))) {
        // A text is a text however Arrow lays it out.
        let data_type = |rows: &RecordBatch| match rows.column_by_name(&name).unwrap().data_type() {
            DataType::Utf8 | DataType::LargeUtf8 => DataType::Utf8View,
            other => other.clone(),
        };
        if data_type(ours) != data_type(theirs) {
            return Err(format!("{name} is {:?} and should be {:?}", data_type(ours), data_type(theirs)));
        }
    }
    if ours.num_rows() != theirs.num_rows() {
        return Err(format!("{} rows and should be {}", ours.num_rows(), theirs.num_rows()));
    }
    for (mine, their) in order(ours, query).into_iter().zip(order(theirs, query)) {
        let (row, expected) = (texts(ours, query, mine), texts(theirs, query, their));
        if row != expected {
            return Err(format!("a row is {row:?} and should be {expected:?}"));
        }
        for (index, tolerances) in tolerances.iter().enumerate() {
            let Some(tolerances) = tolerances else { continue };
            let value = |rows: &RecordBatch, row: usize| {
                let column = rows.column_by_name(&format!("o{index}")).unwrap();
                assert_eq!(column.data_type(), &DataType::Float64);
                column.is_valid(row).then(|| column.as_primitive::<Float64Type>().value(row))
            };
            let (value, expected) = (value(ours, mine), value(theirs, their));
            let agree = match (value, expected) {
                (Some(value), Some(expected)) => (value - expected).abs() <= tolerances.value(their),
                (value, expected) => value == expected,
            };
            if !agree {
                return Err(format!("o{index} of {row:?} is {value:?} and should be {expected:?}"));
            }
        }
    }
    Ok(())
}

/// What became of the queries that were drawn.
#[derive(Default)]
struct Seen {
    ran: std::cell::Cell<u32>,
    /// Why, each with how often.
    refused: std::cell::RefCell<std::collections::BTreeMap<String, u32>>,
    rows: std::cell::Cell<usize>,
}

fn check(kernel: &Kernel, query: &Query, events: &[Event], seen: &Seen) -> Result<(), TestCaseError> {
    // SAFETY: no arguments, no effect.
    let tid = unsafe { libc::gettid() };
    let sql = query.ours(workload::HOOK, &format!("tid = {tid} AND time < now() + interval '1 hour'"));
    let ours = match ours(kernel, &sql, events) {
        Ok(rows) => rows,
        // Constants that fail are refused when planned.
        Err(error) => {
            *seen.refused.borrow_mut().entry(error.message).or_default() += 1;
            return Ok(());
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (theirs, tolerances) = runtime
        .block_on(oracle::answer(query, &workload::table(events)))
        .map_err(|error| TestCaseError::fail(format!("{sql}: DataFusion fails: {error}")))?;
    seen.ran.set(seen.ran.get() + 1);
    seen.rows.set(seen.rows.get() + theirs.num_rows());
    compare(query, &ours, &theirs, &tolerances).map_err(|what| TestCaseError::fail(format!("{sql}: {what}")))
}

/// Draws queries and events by the seed until there are so many, or the time is over.
fn agree(kernel: &Kernel, seed: u64, cases: u32, seconds: u64) {
    let config =
        ProptestConfig { cases: 1, failure_persistence: None, max_shrink_iters: 300, ..ProptestConfig::default() };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let (seen, end) = (Seen::default(), Instant::now() + Duration::from_secs(seconds));
    let strategy = (query::query(), workload::events());
    let mut outcome = Ok(());
    for _ in 0..cases {
        if outcome.is_err() || Instant::now() > end {
            break;
        }
        let drawn = strategy.new_tree(&mut runner).unwrap();
        outcome = runner.run_one(drawn, |(query, events)| check(kernel, &query, &events, &seen)).map(|_| ());
    }
    let (ran, refused, rows) = (seen.ran.get(), seen.refused.borrow().values().sum::<u32>(), seen.rows.get());
    println!(
        "seed {seed}: {ran} queries ran and gave {rows} rows, {refused} were refused: {:?}",
        seen.refused.borrow()
    );
    match outcome {
        Ok(()) => {}
        Err(TestError::Fail(why, (query, events))) => panic!("seed {seed}: {why}\n{query:#?}\n{events:#?}"),
        Err(TestError::Abort(why)) => panic!("seed {seed}: {why}"),
    }
    assert!(ran >= 20 && rows > ran as usize, "only {ran} queries ran, and gave {rows} rows");
    assert!(refused * 10 <= ran + refused, "{refused} queries were refused, {ran} ran");
}

/// 256 squares that fill 64 bits twice over: their sum needs more than 128.
#[test]
fn kernel_spreads_of_the_greatest_numbers_are_exact() {
    let Some(kernel) = host() else { return };
    let event = |size| Event { fd: -1, name: None, value: None, size, flags: 0 };
    // SAFETY: no arguments, no effect.
    let tid = unsafe { libc::gettid() };
    let sql = format!(
        "SELECT count(*) AS n, var_pop(size) AS v, stddev_pop(size) AS s FROM {} WHERE tid = {tid} \
         AND time < now() + interval '1 hour'",
        workload::HOOK
    );
    // One value in four is 0, and the others are far from it: the variance is 3/16 of the square of the distance.
    for far in [i64::MAX, i64::MIN] {
        let events: Vec<Event> = (0..256).map(|index| event(if index % 4 == 0 { 0 } else { far })).collect();
        let rows = ours(&kernel, &sql, &events).unwrap();
        let value = |name: &str| rows[name].as_primitive::<Float64Type>().value(0);
        assert_eq!(rows["n"].as_primitive::<Int64Type>().value(0), 256);
        let distance = (far as f64).abs();
        assert!((value("v") / distance / distance / 0.1875 - 1.0).abs() < 1e-12, "{rows:?}");
        assert!((value("s") / distance / 0.1875_f64.sqrt() - 1.0).abs() < 1e-12, "{rows:?}");
    }
}

/// A column that is never NULL, divided by nothing.
#[test]
fn kernel_values_that_fail_are_not_counted() {
    let Some(kernel) = host() else { return };
    let events = [1, 0, 0, 7].map(|flags| Event { fd: -1, name: None, value: None, size: 0, flags });
    // SAFETY: no arguments, no effect.
    let tid = unsafe { libc::gettid() };
    let sql = format!(
        "SELECT count(*) AS n, count(fd / flags) AS c, count(DISTINCT fd / flags) AS d FROM {} WHERE tid = {tid} \
         AND time < now() + interval '1 hour'",
        workload::HOOK
    );
    let rows = ours(&kernel, &sql, &events).unwrap();
    let numbers = ["n", "c", "d"].map(|name| rows[name].as_primitive::<Int64Type>().value(0));
    assert_eq!(numbers, [4, 2, 2]);
}

/// The same queries and events at every run, so that a change is to blame for a failure.
#[test]
fn kernel_random_aggregates_agree_with_datafusion() {
    let Some(kernel) = host() else { return };
    agree(&kernel, 20, 120, 15);
}

#[test]
fn kernel_random_percentiles_groups_without_room_and_windows_are_exact() {
    let Some(kernel) = host() else { return };
    let mut random = spread::Random::new(21);
    (0..25).for_each(|_| spread::check(&kernel, &mut random));
}

#[test]
#[ignore = "minutes, and other events each time: AGGREGATES_SEED and AGGREGATES_SECONDS choose"]
fn kernel_many_random_percentiles_groups_without_room_and_windows_are_exact() {
    let Some(kernel) = host() else { return };
    let (seed, end) = (seed(), Instant::now() + Duration::from_secs(seconds()));
    println!("seed {seed}");
    let (mut random, mut cases) = (spread::Random::new(seed), 0);
    while Instant::now() < end {
        spread::check(&kernel, &mut random);
        cases += 1;
    }
    println!("{cases} cases");
}

#[test]
#[ignore = "minutes, and other queries each time: AGGREGATES_SEED and AGGREGATES_SECONDS choose"]
fn kernel_many_random_aggregates_agree_with_datafusion() {
    let Some(kernel) = host() else { return };
    agree(&kernel, seed(), u32::MAX, seconds());
}

fn seed() -> u64 {
    variable("AGGREGATES_SEED").unwrap_or_else(|| ClockOffset::now().unix_minus_monotonic_ns.cast_unsigned())
}

fn seconds() -> u64 {
    variable("AGGREGATES_SECONDS").unwrap_or(300)
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|value| value.parse().ok())
}
