//! SQL on the running kernel: the event is made to happen, and exactly its row comes out.

mod host; // The kernel the tests run on.
mod written; // Statements, compiled.
mod marks; // What was cut and what could not be read.

use std::fs::File;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::{Int32Type, Int64Type, TimestampNanosecondType};
use probepilot_collector_ebpf::compile::{CompiledProbe, compile_counting};
use probepilot_collector_ebpf::decode::{ClockOffset, RecordDecoder};
use probepilot_collector_ebpf::kernel::Kernel;
use probepilot_collector_ebpf::load::{LoadOptions, LoadedProbe, Rings, ring_ns};
use probepilot_collector_ebpf::probes::builtin;

use host::host;
use written::{compiled_as, no_facts, options, query};

const PROBE_ID: u32 = 77;

/// How long an event may take to become a record: long, for busy test machines.
const WAIT_MAX: Duration = Duration::from_secs(20);

/// A probe that runs, with rings of its own.
struct Running {
    probe: LoadedProbe,
    rings: Rings,
    decoder: RecordDecoder,
}

impl Running {
    fn start(kernel: &Kernel, sql: &str, ring_bytes: usize, rows_per_second_max: u32) -> Running {
        Running::of(&compiled_as(kernel, sql, true), ring_bytes, rows_per_second_max)
    }

    fn of(compiled: &CompiledProbe, ring_bytes: usize, rows_per_second_max: u32) -> Running {
        let rings = Rings::new(ring_bytes).unwrap();
        let options = LoadOptions { probe_id: PROBE_ID, rows_per_second_max };
        let mut probe = LoadedProbe::load(&compiled.object, &rings.common(), options)
            .unwrap_or_else(|error| panic!("{}: {error:?}", compiled.object.name));
        probe.attach().unwrap();
        Running { probe, rings, decoder: compiled.decoder() }
    }

    fn drain(&mut self) {
        let decoder = &mut self.decoder;
        self.rings.drain(|record| {
            assert_eq!(record[..4], PROBE_ID.to_le_bytes());
            decoder.push(record).unwrap();
        });
    }

    /// All rows until `enough` says so.
    fn rows_until(&mut self, enough: impl Fn(&RecordBatch) -> bool) -> RecordBatch {
        let deadline = Instant::now() + WAIT_MAX;
        let mut rows = self.decoder.finish(&ClockOffset::now()).unwrap();
        loop {
            self.drain();
            let more = self.decoder.finish(&ClockOffset::now()).unwrap();
            rows = concat_batches(&rows.schema(), [&rows, &more]).unwrap();
            if enough(&rows) {
                return rows;
            }
            assert!(Instant::now() < deadline, "no such row: {rows:?}");
            self.rings.wait(Duration::from_millis(20));
        }
    }
}

fn column<'a>(rows: &'a RecordBatch, name: &str) -> &'a ArrayRef {
    rows.column_by_name(name).unwrap_or_else(|| panic!("{name} is no column"))
}

fn texts(rows: &RecordBatch, name: &str) -> Vec<Option<String>> {
    column(rows, name).as_string_view().iter().map(|text| text.map(str::to_owned)).collect()
}

fn integers(rows: &RecordBatch, name: &str) -> Vec<Option<i32>> {
    column(rows, name).as_primitive::<Int32Type>().iter().collect()
}

fn bigints(rows: &RecordBatch, name: &str) -> Vec<Option<i64>> {
    column(rows, name).as_primitive::<Int64Type>().iter().collect()
}

/// What each row says of what was cut and what could not be read.
fn marks(rows: &RecordBatch) -> Vec<(bool, Option<String>)> {
    let truncated = column(rows, "truncated").as_boolean().iter().map(|cut| cut.unwrap());
    truncated.zip(texts(rows, "probe_error")).collect()
}

fn own_pid() -> i32 {
    std::process::id().cast_signed()
}

/// Rows in which the column has this number.
fn with_pid(rows: &RecordBatch, name: &str, pid: i32) -> Vec<usize> {
    integers(rows, name).iter().enumerate().filter(|(_, value)| **value == Some(pid)).map(|(row, _)| row).collect()
}

fn unix_ns() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(now.as_nanos()).unwrap()
}

/// A directory of its own, and files in it that exist.
fn files(count: usize) -> (tempfile::TempDir, Vec<PathBuf>) {
    let directory = tempfile::tempdir().unwrap();
    let files: Vec<PathBuf> = (0..count).map(|index| directory.path().join(format!("file-{index}"))).collect();
    for file in &files {
        File::create(file).unwrap();
    }
    (directory, files)
}

fn opens_below(directory: &Path) -> String {
    format!(
        "SELECT time, pid, tid, comm, user_string(filename) AS path, flags & 3 = 0 AS read_only, nsecs \
         FROM tracepoint.sys_enter_openat WHERE user_string(filename) LIKE '{}/%' AND pid = {}",
        directory.display(),
        own_pid()
    )
}

#[test]
fn each_open_is_one_row_with_its_path() {
    let Some(kernel) = host() else { return };
    let (directory, files) = files(50);
    let mut running = Running::start(&kernel, &opens_below(directory.path()), 1 << 20, 0);
    let before = unix_ns();
    for file in &files {
        File::open(file).unwrap();
    }
    let after = unix_ns();
    let rows = running.rows_until(|rows| rows.num_rows() >= files.len());
    let expected: Vec<_> = files.iter().map(|file| Some(file.display().to_string())).collect();
    let mut paths = texts(&rows, "path");
    // The thread may have changed its CPU, and rings are read one after the other.
    paths.sort_by_key(|path| files.iter().position(|file| Some(file.display().to_string()) == *path));
    assert_eq!(paths, expected);
    for time in column(&rows, "time").as_primitive::<TimestampNanosecondType>().iter().flatten() {
        // The two clocks are read one after the other; they differ by less than this.
        assert!((before - 2_000_000..=after + 2_000_000).contains(&time), "{before} {time} {after}");
    }
    assert!(column(&rows, "read_only").as_boolean().iter().all(|value| value == Some(true)));
    assert!(column(&rows, "upid").null_count() == 0);
    let counters = running.probe.counters().unwrap();
    assert_eq!((counters.events, counters.rows), (files.len() as u64, files.len() as u64));
}

/// Names in quotes, with commas.
fn quoted(texts: impl IntoIterator<Item = String>) -> String {
    texts.into_iter().map(|text| format!("'{text}'")).collect::<Vec<_>>().join(", ")
}

#[test]
fn members_of_a_list_are_looked_up_in_the_kernel() {
    let Some(kernel) = host() else { return };
    let (directory, files) = files(20);
    let path = |index: usize| files[index].display().to_string();
    let listed = quoted((0..6).map(path).chain([format!("{}0", path(6)), "/".to_owned()]));
    let sql = |list: &str| format!("{} AND {list}", opens_below(directory.path()));
    for (list, expected) in [
        (format!("user_string(filename) IN ({listed})"), 6),
        (format!("user_string(filename) NOT IN ({listed})"), 14),
        (format!("user_string(filename) NOT IN ({listed}, NULL)"), 0),
    ] {
        let mut running = Running::start(&kernel, &sql(&list), 1 << 20, 0);
        for file in &files {
            File::open(file).unwrap();
        }
        running.probe.detach();
        let counters = running.probe.counters().unwrap();
        assert_eq!((counters.events, counters.rows), (expected, expected), "{list}");
        running.drain();
        assert_eq!(running.decoder.rows() as u64, expected, "{list}");
    }
}

#[test]
fn numbers_and_names_of_processes_are_looked_up_in_the_kernel() {
    let Some(kernel) = host() else { return };
    let names = quoted(["pp-a", "pp-bb", "pp-ccc", "pp-123456789012", "pp", "x"].map(str::to_owned));
    let sql = format!(
        "SELECT comm, args.offset FROM tracepoint.sys_enter_lseek \
         WHERE pid = {} AND comm IN ({names}) AND args.offset IN (1, 2, 3, 5, 8, 13, 4294967297)",
        own_pid()
    );
    let mut running = Running::start(&kernel, &sql, 1 << 20, 0);
    // The last two names are none of the list's; the fourth fills its place.
    for name in ["pp-a", "pp-bb", "pp-ccc", "pp-123456789012", "pp-b", "pp-aa"] {
        let seek = || {
            let file = tempfile::tempfile().unwrap();
            for offset in (0..20).chain([-1, 4_294_967_297]) {
                // SAFETY: a call on an open file, which takes no memory.
                unsafe { libc::lseek(file.as_raw_fd(), offset, libc::SEEK_SET) };
            }
        };
        std::thread::Builder::new().name(name.to_owned()).spawn(seek).unwrap().join().unwrap();
    }
    running.probe.detach();
    let counters = running.probe.counters().unwrap();
    assert_eq!((counters.events, counters.rows), (4 * 7, 4 * 7));
    let rows = running.rows_until(|rows| rows.num_rows() == 28);
    let mut seen: Vec<_> = texts(&rows, "comm").into_iter().flatten().collect();
    seen.sort();
    seen.dedup();
    assert_eq!(seen, ["pp-123456789012", "pp-a", "pp-bb", "pp-ccc"]);
}

#[test]
fn a_full_ring_loses_counted_rows() {
    let Some(kernel) = host() else { return };
    let (directory, files) = files(1);
    // A ring of a page has room for some twenty of these.
    let mut running = Running::start(&kernel, &opens_below(directory.path()), 4096, 0);
    for _ in 0..500 {
        File::open(&files[0]).unwrap();
    }
    running.probe.detach();
    let counters = running.probe.counters().unwrap();
    assert_eq!(counters.events, 500);
    assert!(counters.ring_full > 0, "{counters:?}");
    assert_eq!(counters.events, counters.rows + counters.ring_full);
    running.drain();
    assert_eq!(running.decoder.rows() as u64, counters.rows);
}

#[test]
fn rows_above_the_limit_are_shed_and_counted() {
    let Some(kernel) = host() else { return };
    let (directory, files) = files(1);
    let mut running = Running::start(&kernel, &opens_below(directory.path()), 1 << 20, 10);
    let start = Instant::now();
    for _ in 0..300 {
        File::open(&files[0]).unwrap();
    }
    // The windows that the loop can have touched.
    let windows = start.elapsed().as_secs() + 2;
    running.probe.detach();
    let counters = running.probe.counters().unwrap();
    assert_eq!(counters.events, 300);
    assert_eq!(counters.events, counters.rows + counters.rate_limited);
    assert!((10..=10 * windows).contains(&counters.rows), "{counters:?}");
}

#[test]
fn a_failing_expression_is_null_and_counted() {
    let Some(kernel) = host() else { return };
    let (directory, files) = files(1);
    let sql = format!(
        "SELECT 100 / (pid - {}) AS quotient FROM tracepoint.sys_enter_openat \
         WHERE user_string(filename) LIKE '{}/%'",
        own_pid(),
        directory.path().display()
    );
    let mut running = Running::start(&kernel, &sql, 1 << 20, 0);
    File::open(&files[0]).unwrap();
    let rows = running.rows_until(|rows| rows.num_rows() == 1);
    assert_eq!(column(&rows, "quotient").null_count(), 1);
    assert_eq!(running.probe.counters().unwrap().expression_error, 1);
}

fn built_in(kernel: &Kernel, name: &str) -> Running {
    let probe = builtin().iter().find(|probe| probe.name == name).unwrap();
    Running::start(kernel, probe.sql, 8 << 20, 0)
}

#[test]
fn a_process_is_seen_to_start_and_to_end() {
    let Some(kernel) = host() else { return };
    let (mut starts, mut ends) = (built_in(&kernel, "process_exec"), built_in(&kernel, "process_exit"));
    let mut forks = built_in(&kernel, "process_fork");
    let mut child = Command::new("/bin/sh")
        .args(["-c", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; exit 7"])
        .spawn()
        .unwrap();
    let pid = child.id().cast_signed();
    assert_eq!(child.wait().unwrap().code(), Some(7));

    let rows = starts.rows_until(|rows| !with_pid(rows, "pid", pid).is_empty());
    let [row] = with_pid(&rows, "pid", pid)[..] else { panic!("one start: {rows:?}") };
    assert_eq!(texts(&rows, "filename")[row].as_deref(), Some("/bin/sh"));
    assert_eq!(texts(&rows, "comm")[row].as_deref(), Some("sh"));
    assert_eq!(integers(&rows, "ppid")[row], Some(own_pid()));
    let started_as = bigints(&rows, "upid")[row];

    let rows = ends.rows_until(|rows| !with_pid(rows, "pid", pid).is_empty());
    let [row] = with_pid(&rows, "pid", pid)[..] else { panic!("one end: {rows:?}") };
    assert_eq!(bigints(&rows, "exit_code")[row], Some(7));
    assert_eq!(texts(&rows, "exit_signal")[row], None);
    assert_eq!(bigints(&rows, "upid")[row], started_as);
    for name in ["lifetime_ns", "max_rss_bytes", "user_ns"] {
        let value = bigints(&rows, name)[row].unwrap();
        assert!(value > 0, "{name} is {value}");
    }

    let rows = forks.rows_until(|rows| !with_pid(rows, "child_pid", pid).is_empty());
    let [row] = with_pid(&rows, "child_pid", pid)[..] else { panic!("one fork: {rows:?}") };
    assert_eq!(integers(&rows, "pid")[row], Some(own_pid()));
}

#[test]
fn a_signal_is_seen_with_sender_and_target() {
    let Some(kernel) = host() else { return };
    let (mut signals, mut ends) = (built_in(&kernel, "signal"), built_in(&kernel, "process_exit"));
    let mut child = Command::new("/bin/sleep").arg("60").spawn().unwrap();
    let pid = child.id().cast_signed();
    // SAFETY: the child is ours and not waited for yet, so its pid is its own.
    assert_eq!(unsafe { libc::kill(pid, libc::SIGTERM) }, 0);
    child.wait().unwrap();

    let rows = signals.rows_until(|rows| !with_pid(rows, "target_pid", pid).is_empty());
    let [row] = with_pid(&rows, "target_pid", pid)[..] else { panic!("one signal: {rows:?}") };
    assert_eq!(texts(&rows, "signal")[row].as_deref(), Some("SIGTERM"));
    assert_eq!(texts(&rows, "result")[row].as_deref(), Some("delivered"));
    assert_eq!(integers(&rows, "pid")[row], Some(own_pid()));
    assert!(column(&rows, "to_process").as_boolean().value(row));

    let rows = ends.rows_until(|rows| !with_pid(rows, "pid", pid).is_empty());
    let row = with_pid(&rows, "pid", pid)[0];
    assert_eq!(texts(&rows, "exit_signal")[row].as_deref(), Some("SIGTERM"));
}

#[test]
fn a_connection_is_seen_from_both_ends() {
    let Some(kernel) = host() else { return };
    let mut states = built_in(&kernel, "tcp_state");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = i32::from(listener.local_addr().unwrap().port());
    let client = TcpStream::connect(("127.0.0.1", port as u16)).unwrap();
    let accepted = listener.accept().unwrap();
    drop(client);
    drop(accepted);
    let established = |rows: &RecordBatch| -> Vec<usize> {
        let (local, remote) = (integers(rows, "local_port"), integers(rows, "remote_port"));
        let new = texts(rows, "new_state");
        (0..rows.num_rows())
            .filter(|&row| local[row] == Some(port) || remote[row] == Some(port))
            .filter(|&row| new[row].as_deref() == Some("ESTABLISHED"))
            .collect()
    };
    let rows = states.rows_until(|rows| established(rows).len() >= 2);
    let mut seen: Vec<_> = established(&rows)
        .into_iter()
        .map(|row| (texts(&rows, "direction")[row].clone(), texts(&rows, "local_address")[row].clone()))
        .collect();
    seen.sort();
    let here = Some("127.0.0.1".to_owned());
    assert_eq!(seen, [(Some("in".to_owned()), here.clone()), (Some("out".to_owned()), here)]);
    assert_eq!(column(&rows, "pid").null_count(), rows.num_rows());
}

#[test]
fn a_failing_call_is_seen_with_its_error() {
    let Some(kernel) = host() else { return };
    let mut errors = built_in(&kernel, "syscall_errors");
    assert!(File::open("/no/such/file").is_err());
    let wanted = |rows: &RecordBatch| {
        let (calls, names, pids) = (texts(rows, "syscall"), texts(rows, "error"), integers(rows, "pid"));
        (0..rows.num_rows()).any(|row| {
            calls[row].as_deref() == Some("openat")
                && names[row].as_deref() == Some("ENOENT")
                && pids[row] == Some(own_pid())
        })
    };
    errors.rows_until(wanted);
}

#[test]
fn a_path_whose_page_is_not_there_is_read_at_the_return() {
    let Some(kernel) = host() else { return };
    let (directory, files) = files(1);
    // The path lies in a file that is mapped and was never touched: the first to look at it is the system call.
    let name = std::ffi::CString::new(files[0].display().to_string()).unwrap();
    let holder = directory.path().join("holder");
    let mut running = Running::start(&kernel, &opens_below(directory.path()), 1 << 20, 0);
    const TIMES: u64 = 20;
    for _ in 0..TIMES {
        std::fs::write(&holder, name.as_bytes_with_nul()).unwrap();
        let holder = File::open(&holder).unwrap();
        // SAFETY: a fresh private mapping of a file that is longer than nothing; checked before it is used.
        let page = unsafe {
            libc::mmap(std::ptr::null_mut(), 4096, libc::PROT_READ, libc::MAP_PRIVATE, holder.as_raw_fd(), 0)
        };
        assert_ne!(page, libc::MAP_FAILED);
        // SAFETY: the mapping holds a C string.
        let opened = unsafe { libc::open(page.cast(), libc::O_RDONLY | libc::O_CLOEXEC) };
        assert!(opened >= 0);
        // SAFETY: both are ours and not used any more.
        unsafe {
            libc::close(opened);
            libc::munmap(page, 4096);
        }
    }
    let wanted = files[0].display().to_string();
    let found = |rows: &RecordBatch| texts(rows, "path").iter().filter(|path| **path == Some(wanted.clone())).count();
    let rows = running.rows_until(|rows| found(rows) as u64 >= TIMES);
    assert_eq!(found(&rows) as u64, TIMES);
    let counters = running.probe.counters().unwrap();
    assert_eq!(counters.unreadable, 0, "{counters:?}");
}

#[test]
fn an_enumeration_is_seen_by_name() {
    let Some(kernel) = host() else { return };
    let sql = "SELECT reason, CAST(reason AS bigint) AS number FROM tracepoint.kfree_skb \
        WHERE reason = 'SKB_DROP_REASON_NO_SOCKET'";
    let parts = ["tracepoint", "kfree_skb"];
    if kernel.hook(&parts).is_ok_and(|hook| hook.field("reason").is_none()) {
        println!("skipped: needs a kernel that says why packets are dropped (5.17)");
        return;
    }
    let mut running = Running::start(&kernel, sql, 1 << 20, 0);
    // Nobody listens on the discard port: the kernel drops the packet and says why.
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.send_to(b"x", "127.0.0.1:9").unwrap();
    let rows = running.rows_until(|rows| rows.num_rows() > 0);
    assert!(texts(&rows, "reason").iter().all(|reason| reason.as_deref() == Some("SKB_DROP_REASON_NO_SOCKET")));
    assert!(bigints(&rows, "number").iter().all(|number| number.is_some_and(|number| number > 0)));
}

#[test]
fn elements_of_an_array_are_the_calls_arguments() {
    let Some(kernel) = host() else { return };
    const WHO: i64 = 1_234_567_891;
    let sql = format!(
        "SELECT args[1] AS which, args[2] AS who, args[2] >> 4 AS shifted FROM tracepoint.raw_syscalls.sys_enter \
         WHERE id = {} AND args[2] = {WHO} AND pid = {}",
        libc::SYS_getpriority,
        own_pid()
    );
    let mut running = Running::start(&kernel, &sql, 1 << 20, 0);
    // SAFETY: two numbers; no process is numbered so high, so nothing is read or changed.
    unsafe { libc::getpriority(libc::PRIO_PROCESS, WHO as libc::id_t) };
    let rows = running.rows_until(|rows| rows.num_rows() == 1);
    assert_eq!(bigints(&rows, "which"), [Some(0)]);
    assert_eq!(bigints(&rows, "who"), [Some(WHO)]);
    assert_eq!(bigints(&rows, "shifted"), [Some(WHO >> 4)]);
}

#[test]
fn bytes_of_the_process_are_as_many_as_the_event_says() {
    let Some(kernel) = host() else { return };
    let sql = format!(
        "SELECT user_bytes(buf, count, 8) AS bytes, user_bytes(buf, 3) AS three, count FROM tracepoint.sys_enter_write \
         WHERE pid = {} AND fd = 1000000",
        own_pid()
    );
    let mut running = Running::start(&kernel, &sql, 1 << 20, 0);
    let write = |bytes: &[u8], count: usize| {
        // SAFETY: nothing is written to a file that is not open; the bytes live through the call.
        unsafe { libc::write(1_000_000, bytes.as_ptr().cast(), count) };
    };
    write(b"a\0b\0c", 5);
    write(b"abc", 0);
    write(b"0123456789", 10);
    // SAFETY: the kernel looks at the file before it looks at the memory, and there is no such file.
    unsafe { libc::write(1_000_000, std::ptr::without_provenance(8), 4) };
    let rows = running.rows_until(|rows| rows.num_rows() == 4);
    let mut found: Vec<_> = (0..4)
        .map(|row| {
            let bytes = |name: &str| {
                let column = column(&rows, name).as_binary_view();
                column.is_valid(row).then(|| column.value(row).to_vec())
            };
            (bigints(&rows, "count")[row], bytes("bytes"), bytes("three"))
        })
        .collect();
    found.sort();
    let some = |bytes: &[u8]| Some(bytes.to_vec());
    assert_eq!(found[1], (Some(4), None, None));
    assert_eq!(found[2], (Some(5), some(b"a\0b\0c"), some(b"a\0b")));
    assert_eq!(found[3], (Some(10), some(b"01234567"), some(b"012")));
    assert_eq!((found[0].0, found[0].1.as_deref()), (Some(0), Some(b"".as_slice())));
    let mut marked: Vec<_> = bigints(&rows, "count").into_iter().zip(marks(&rows)).collect();
    marked.sort();
    let unreadable = || Some("bytes: unreadable, three: unreadable".to_owned());
    let expected = [(0, (false, None)), (4, (false, unreadable())), (5, (false, None)), (10, (true, None))];
    assert_eq!(marked, expected.map(|(count, marks)| (Some(count), marks)));
    let counters = running.probe.counters().unwrap();
    assert_eq!((counters.unreadable, counters.truncated), (2, 1), "{counters:?}");
}

#[test]
fn a_program_that_counts_sends_nothing() {
    let Some(kernel) = host() else { return };
    let directory = tempfile::tempdir().unwrap();
    // Longer than what is read straight into a ring, and what is not.
    for (length, most) in [(10, 32), (200, 256)] {
        let path = directory.path().join("x".repeat(length)).to_str().unwrap().to_owned();
        let sql = format!(
            "SELECT user_string(filename, {most}) AS path, flags FROM tracepoint.sys_enter_openat \
             WHERE pid = {} AND comm = 'opens'",
            own_pid()
        );
        let counting = compile_counting(&query(&sql).0, &kernel, &no_facts(), &options(true)).unwrap();
        let mut running = Running::of(&counting, 1 << 16, 1_000_000);
        let mut sending = Running::start(&kernel, &sql, 1 << 16, 1_000_000);
        let opens = std::thread::Builder::new().name("opens".into());
        let opens = opens.spawn(move || (0..5).for_each(|_| assert!(File::open(&path).is_err()))).unwrap();
        opens.join().unwrap();
        running.probe.detach();
        sending.probe.detach();
        let mut records = Vec::new();
        sending.rings.drain(|record| records.push(record.len() as u64));
        let (counted, sent) = (running.probe.counters().unwrap(), sending.probe.counters().unwrap());
        assert_eq!((counted.events, counted.rows, records.len()), (5, 5, 5), "{counted:?}");
        assert_eq!(sent.rows, 5);
        assert_eq!(sent.row_bytes, 0);
        assert_eq!(counted.row_bytes, records.iter().sum::<u64>(), "{counted:?} {records:?}");
        assert_eq!(running.rings.drain(|_| {}), 0);
    }
}

#[test]
fn the_cost_of_sending_is_known() {
    let Some(_) = host() else { return };
    for bytes in [40, 100_000] {
        let cost_ns = ring_ns(bytes).unwrap();
        assert!(cost_ns > 1.0 && cost_ns < 5_000.0, "{cost_ns}");
    }
}
