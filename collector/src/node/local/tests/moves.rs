//! Probes that aggregate and are moved to another hook while they run: numbered events, each in one window of one version.

use std::io::Read;
use std::process::Child;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, TimestampNanosecondType};

use super::*;

/// No process is numbered so high, so that no call has an effect.
const FIRST: i64 = 1_000_000_000;

/// What tells a copy of the test program to make calls: `get`, or `get and set`.
const CALLS_VARIABLE: &str = "PROBEPILOT_TEST_NUMBERED_CALLS";

/// What a copy says before the number of numbers it had.
const MADE: &str = "calls made about processes: ";

/// A process that makes calls about processes of rising numbers, which do not exist: our own is not seen by probes.
struct Calls(Child);

impl Calls {
    fn start(which: &str) -> Calls {
        let mut command = Command::new(std::env::current_exe().expect("a test is a program"));
        command.args(["--exact", "node::local::tests::moves::numbered_calls", "--nocapture", "--test-threads=1"]);
        command.env(CALLS_VARIABLE, which).stdin(Stdio::piped()).stdout(Stdio::piped());
        Calls(command.spawn().expect("a copy of this test starts"))
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Ends it; how many numbers it had.
    fn stop(mut self) -> i64 {
        drop(self.0.stdin.take());
        let output = self.0.wait_with_output().expect("it ends when nobody writes to it");
        let text = String::from_utf8(output.stdout).expect("text");
        let made = text.split(MADE).nth(1).and_then(|rest| rest.split_whitespace().next());
        made.and_then(|made| made.parse().ok()).unwrap_or_else(|| panic!("no number in {text}"))
    }
}

/// Not a test: what a copy of the test program does for [`Calls`].
#[test]
fn numbered_calls() {
    let Ok(which) = std::env::var(CALLS_VARIABLE) else { return };
    static STOPPED: AtomicBool = AtomicBool::new(false);
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        STOPPED.store(true, Ordering::Relaxed);
    });
    let mut made = 0;
    while !STOPPED.load(Ordering::Relaxed) {
        let number = (FIRST + made) as libc::id_t;
        made += 1;
        // SAFETY: numbers only; there is no such process, so nothing is read or changed.
        unsafe {
            libc::getpriority(libc::PRIO_PROCESS, number);
            if which == "get and set" {
                libc::setpriority(libc::PRIO_PROCESS, number, 0);
            }
        }
    }
    println!("{MADE}{made}");
}

/// A row of a window.
#[derive(Clone, Copy, Debug)]
struct Row {
    version: i64,
    begin_ns: i64,
    end_ns: i64,
    complete: bool,
    events: i64,
    first: Option<i64>,
    last: Option<i64>,
    sum: i64,
}

fn rows(batches: &[RecordBatch]) -> Vec<Row> {
    let mut found = Vec::new();
    for batch in batches {
        let column = |name: &str| batch.column_by_name(name).unwrap_or_else(|| panic!("no column {name}"));
        let number = |name: &str, row: usize| {
            let column = arrow::compute::cast(column(name), &arrow::datatypes::DataType::Int64).expect("an integer");
            let column = column.as_primitive::<Int64Type>();
            column.is_valid(row).then(|| column.value(row))
        };
        for row in 0..batch.num_rows() {
            let begin_ns = column("time").as_primitive::<TimestampNanosecondType>().value(row);
            found.push(Row {
                version: number("version", row).expect("a literal"),
                begin_ns,
                end_ns: begin_ns + number("window_ns", row).expect("never NULL"),
                complete: column("complete").as_boolean().value(row),
                events: number("events", row).expect("a count"),
                first: number("first", row),
                last: number("last", row),
                sum: number("sum", row).unwrap_or(0),
            });
        }
    }
    found
}

fn unix_ns() -> i64 {
    crate::node::clock::unix_now_ns()
}

/// `CREATE PROBE` of a version that counts the numbers it sees at a hook.
fn probe(version: u32, pid: u32, (hook, number): (&str, &str), filter: &str, bucket: &str) -> String {
    format!(
        "CREATE PROBE calls AS SELECT {version} AS version, count(*) AS events, min({number}) AS first, \
         max({number}) AS last, sum({number}) AS sum FROM {hook} \
         WHERE {filter} AND {number} >= {FIRST} AND pid = {pid} GROUP BY time_bucket('{bucket}', time)"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn windows_at_another_hook_go_on_at_one_moment() {
    let Some(test) = test_node(RING_BYTES_DEFAULT).await else {
        return;
    };
    let calls = Calls::start("get and set");
    let version = |version: u32| {
        let hook = ["tracepoint.sys_enter_setpriority", "tracepoint.sys_enter_getpriority"][version as usize % 2];
        probe(version, calls.pid(), (hook, "args.who"), "which = 0", "100 ms")
    };
    test.start(1, 1, &version(1), UNLIMITED).await.expect("it starts");
    let mut moved = Vec::new();
    const VERSIONS: u32 = 6;
    for number in 2..=VERSIONS {
        tokio::time::sleep(Duration::from_millis(650)).await;
        let asked_ns = unix_ns();
        let notice = test.start(1, number, &version(number), UNLIMITED).await.expect("it is moved");
        assert!(notice.starts_with("replaced in "), "{notice}");
        moved.push((asked_ns, unix_ns()));
    }
    tokio::time::sleep(Duration::from_millis(650)).await;
    let health = test.report(1).health;
    assert_eq!((health.rows_lost, health.filtered), (0, 0), "{health:?}");
    test.node.stop(ProbeId(1)).await.expect("it stops");
    calls.stop();
    let rows = rows(&test.log.rows(TABLE));
    let of = |version: u32| {
        let mut rows: Vec<Row> = rows.iter().filter(|row| row.version == i64::from(version)).copied().collect();
        rows.sort_by_key(|row| row.end_ns);
        rows
    };
    for number in 1..=VERSIONS {
        let rows = of(number);
        let (first, last) =
            (rows.iter().filter_map(|row| row.first).min(), rows.iter().filter_map(|row| row.last).max());
        let (first, last) = (first.expect("it counted"), last.expect("it counted"));
        let events: i64 = rows.iter().map(|row| row.events).sum();
        assert_eq!(events, last - first + 1, "version {number}: none is missing and none is there twice: {rows:?}");
        assert_eq!(rows.iter().map(|row| row.sum).sum::<i64>(), (first + last) * events / 2, "version {number}");
        // The next one begins with the first call at its hook that comes behind the last at the other: a number is asked
        // for first and set then.
        if number < VERSIONS {
            let next = of(number + 1).iter().filter_map(|row| row.first).min().expect("it counted");
            let goes_on = if number % 2 == 1 { last..=last + 1 } else { last + 1..=last + 2 };
            assert!(goes_on.contains(&next), "version {number} ends with {last}, the next begins with {next}");
            let (asked_ns, done_ns) = moved[number as usize - 1];
            let ended_ns = rows.last().expect("it has rows").end_ns;
            assert!((asked_ns..=done_ns).contains(&ended_ns), "its last window ends when the next version takes over");
        }
        let [begin, whole @ .., end] = rows.as_slice() else { panic!("{rows:?}") };
        assert!(!begin.complete && !end.complete, "version {number}: {rows:?}");
        assert!(whole.len() >= 2 && whole.iter().all(|row| row.complete), "version {number}: {rows:?}");
        assert!(rows.windows(2).all(|two| two[0].end_ns == two[1].begin_ns), "version {number}: {rows:?}");
    }
    test.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_passes_both_hooks_is_counted_once() {
    let Some(test) = test_node(RING_BYTES_DEFAULT).await else {
        return;
    };
    let calls = Calls::start("get");
    let version = |version: u32| {
        if version % 2 == 1 {
            return probe(
                version,
                calls.pid(),
                ("tracepoint.sys_enter_getpriority", "args.who"),
                "which = 0",
                "1 hour",
            );
        }
        let filter = format!("args.id = {} AND regs.di = 0", libc::SYS_getpriority);
        probe(version, calls.pid(), ("tp_btf.sys_enter", "regs.si"), &filter, "1 hour")
    };
    test.start(1, 1, &version(1), UNLIMITED).await.expect("it starts");
    const VERSIONS: u32 = 10;
    for number in 2..=VERSIONS {
        let counted = test.report(1).health.aggregated;
        wait_for(|| test.report(1).health.aggregated > counted + 20_000).await;
        test.start(1, number, &version(number), UNLIMITED).await.expect("it is moved");
    }
    calls.stop();
    let health = test.report(1).health;
    assert_eq!((health.events, health.rows_lost), (health.aggregated, 0), "{health:?}");
    test.node.stop(ProbeId(1)).await.expect("it stops");
    let rows = rows(&test.log.rows(TABLE));
    assert_eq!(rows.iter().map(|row| row.events).sum::<i64>(), health.aggregated as i64, "{rows:?}");
    assert_eq!(rows.len(), VERSIONS as usize);
    let span = |row: &Row| row.first.zip(row.last).expect("it counted");
    let cpus = std::thread::available_parallelism().map_or(1, usize::from) as i64;
    for row in &rows {
        let (first, last) = span(row);
        // Which hook comes first, whatever else is attached decides. Ours first: an event on each CPU may be missed.
        assert!((0..=cpus).contains(&(last - first + 1 - row.events)), "{rows:?}");
    }
    for versions in rows.windows(2) {
        let ((_, last), (first, _)) = (span(&versions[0]), span(&versions[1]));
        assert!((last + 1..=last + 1 + cpus).contains(&first), "twice, or too many missed: {rows:?}");
    }
    assert!(rows.iter().all(|row| row.events > 10_000 && !row.complete), "{rows:?}");
    test.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_fails_at_another_hook_leaves_the_windows_as_they_were() {
    let Some(test) = test_node(RING_BYTES_DEFAULT).await else {
        return;
    };
    let calls = Calls::start("get and set");
    let at = ("tracepoint.sys_enter_getpriority", "args.who");
    test.start(1, 1, &probe(1, calls.pid(), at, "which = 0", "1 hour"), UNLIMITED).await.expect("it starts");
    let records = "CREATE PROBE calls AS SELECT args.who AS version FROM tracepoint.sys_enter_setpriority";
    let refused = test.start(1, 2, records, UNLIMITED).await.expect_err("rows of another kind");
    assert_eq!(refused.state, SqlState::FEATURE_NOT_SUPPORTED);
    let before = test.report(1).health.aggregated;
    wait_for(|| test.report(1).health.aggregated > before).await;
    test.node.stop(ProbeId(1)).await.expect("it stops");
    calls.stop();
    let rows = rows(&test.log.rows(TABLE));
    let [row] = rows.as_slice() else { panic!("{rows:?}") };
    assert_eq!(Some(row.events), row.last.zip(row.first).map(|(last, first)| last - first + 1));
    test.node.shutdown().await;
}
