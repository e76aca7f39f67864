//! Pairs of hooks in the running kernel: what is counted is what the workload knows.

mod host; // The kernel the tests run on.
mod written; // Statements, compiled.

use std::ffi::CString;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use probepilot_collector_ebpf::compile::CompiledProbe;
use probepilot_collector_ebpf::decode::ClockOffset;
use probepilot_collector_ebpf::kernel::Kernel;
use probepilot_collector_ebpf::load::{Counters, LoadOptions, LoadedProbe, Rings};
use probepilot_collector_ebpf::object::STATE_ENTRIES_MAX;

use host::host;
use written::compiled;

const OPTIONS: LoadOptions = LoadOptions { probe_id: 7, rows_per_second_max: 1_000_000 };

/// How long the kernel may take to tell what has happened: long, for busy machines.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// A pair that runs.
struct Running {
    probe: CompiledProbe,
    loaded: LoadedProbe,
    rings: Rings,
}

impl Running {
    fn start(kernel: &Kernel, sql: &str) -> Running {
        let probe = compiled(kernel, sql);
        let rings = Rings::new(16 << 20).unwrap();
        let mut loaded = LoadedProbe::load(&probe.object, &rings.common(), OPTIONS)
            .unwrap_or_else(|error| panic!("{sql}: {error:#?}"));
        loaded.attach().unwrap();
        Running { probe, loaded, rings }
    }

    fn counters(&self) -> Counters {
        self.loaded.counters().unwrap()
    }

    /// Waits until the counters are so.
    #[track_caller]
    fn wait(&self, what: &str, done: impl Fn(&Counters) -> bool) -> Counters {
        let began = Instant::now();
        loop {
            let counters = self.counters();
            if done(&counters) {
                return counters;
            }
            assert!(began.elapsed() < WAIT_MAX, "{what}: {counters:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Detaches; the rows, and what was counted. The ledgers of both hooks close.
    #[track_caller]
    fn end(mut self) -> (RecordBatch, Counters) {
        self.loaded.detach();
        let mut decoder = self.probe.decoder();
        self.rings.drain(|record| decoder.push(record).unwrap());
        let (rows, counters) = (decoder.finish(&ClockOffset::now()).unwrap(), self.counters());
        let lost = counters.unpaired_start + counters.unpaired_end + counters.map_full + counters.nested;
        let lost = lost + counters.ring_full + counters.rate_limited + counters.recursion;
        assert_eq!(counters.events, counters.rows + lost, "{counters:?}");
        assert_eq!(counters.rows, rows.num_rows() as u64);
        (rows, counters)
    }
}

/// Starts that still wait.
fn pending(counters: &Counters) -> u64 {
    counters.starts - counters.paired - counters.unpaired_start - counters.map_full - counters.nested
}

fn bigints(rows: &RecordBatch, name: &str) -> Vec<Option<i64>> {
    let column = rows.column_by_name(name).unwrap_or_else(|| panic!("no column {name}"));
    arrow::compute::cast(column, &arrow::datatypes::DataType::Int64)
        .unwrap()
        .as_primitive::<Int64Type>()
        .iter()
        .collect()
}

fn texts(rows: &RecordBatch, name: &str) -> Vec<Option<String>> {
    let column = rows.column_by_name(name).unwrap_or_else(|| panic!("no column {name}")).as_string_view();
    column.iter().map(|text| text.map(str::to_owned)).collect()
}

fn call(number: libc::c_long, times: usize) {
    for _ in 0..times {
        // SAFETY: both calls that are made so, getppid and getpgid of ourselves, read nothing of ours.
        unsafe { libc::syscall(number, 0) };
    }
}

#[test]
fn kernel_programs_that_interrupt_each_other_keep_their_values_apart() {
    const THREADS: usize = 8;
    let Some(kernel) = host() else { return };
    // Wake-ups come from tasks and from interrupts, and switches in between: both build what they keep in memory per CPU.
    let sql = format!(
        "SELECT w.p.pid AS woken, s.next.pid AS runs, w.p.comm AS woken_name, s.next.comm AS runs_name, \
         kernel_string(w.p.cgroups.dfl_cgrp.kn.name, 200) AS woken_group, \
         kernel_string(s.next.cgroups.dfl_cgrp.kn.name, 200) AS runs_group \
         FROM tp_btf.sched_wakeup w JOIN tp_btf.sched_switch s ON w.p.pid = s.next.pid WHERE w.p.tgid = {}",
        std::process::id()
    );
    let running = Running::start(&kernel, &sql);
    let until = Instant::now() + Duration::from_millis(1_500);
    std::thread::scope(|scope| {
        for pair in 0..THREADS / 2 {
            let (to, from) = (std::sync::mpsc::sync_channel(0), std::sync::mpsc::sync_channel(0));
            let name = |side: &str| std::thread::Builder::new().name(format!("{side}-{pair}-abcdefg"));
            name("ping")
                .spawn_scoped(
                    scope,
                    move || while Instant::now() < until && to.0.send(()).is_ok() && from.1.recv().is_ok() {},
                )
                .unwrap();
            name("pong").spawn_scoped(scope, move || while to.1.recv().is_ok() && from.0.send(()).is_ok() {}).unwrap();
        }
        for sleeper in 0..2 {
            // Timers wake these from interrupts.
            let thread = std::thread::Builder::new().name(format!("sleep-{sleeper}-abcd"));
            let sleep = move || {
                while Instant::now() < until {
                    std::thread::sleep(Duration::from_micros(50));
                }
            };
            thread.spawn_scoped(scope, sleep).unwrap();
        }
    });
    let (rows, counters) = running.end();
    assert!(rows.num_rows() > 1_000, "{counters:?}");
    assert_eq!(bigints(&rows, "woken"), bigints(&rows, "runs"));
    let mut names = std::collections::BTreeSet::new();
    for (woken, runs) in texts(&rows, "woken_name").into_iter().zip(texts(&rows, "runs_name")) {
        // A thread is woken first with the name of who made it.
        let (woken, runs) = (woken.unwrap(), runs.unwrap());
        assert!(woken == runs || !woken.contains("-abc"), "{woken} {runs}");
        names.insert(runs);
    }
    for part in ["ping-0", "pong-3", "sleep-1"] {
        assert!(names.iter().any(|name| name.starts_with(part)), "{names:?}");
    }
    assert_eq!(texts(&rows, "woken_group"), texts(&rows, "runs_group"));
}

#[test]
fn kernel_takes_every_shape_of_pair() {
    let Some(kernel) = host() else { return };
    for sql in [
        "SELECT * FROM tracepoint.sys_enter_openat e JOIN tracepoint.sys_exit_openat x ON e.tid = x.tid",
        "SELECT x.time, e.time AS began, x.pid, e.comm, user_string(e.filename) AS path, e.flags, x.ret FROM
            tracepoint.sys_enter_openat e JOIN tracepoint.sys_exit_openat x ON e.tid = x.tid
            WHERE user_string(e.filename) LIKE '/etc/%' AND x.ret >= 0 AND x.nsecs - e.nsecs > 1000",
        "SELECT sys_enter.args.id, sys_exit.ret FROM tp_btf.sys_enter JOIN tp_btf.sys_exit ON sys_enter.tid = sys_exit.tid
            WHERE sys_enter.args.id % (sys_exit.ret + 1) = 0",
        "SELECT e.vec_nr, x.nsecs - e.nsecs AS latency_ns FROM tp_btf.softirq_entry e JOIN tp_btf.softirq_exit x USING (cpu)",
        "SELECT c.rq.__data_len, c.nsecs - i.nsecs AS latency_ns FROM tp_btf.block_rq_issue i
            JOIN tp_btf.block_rq_complete c ON i.rq = c.rq WHERE c.error = 0",
        "SELECT w.p.comm, s.nsecs - w.nsecs AS latency_ns FROM tp_btf.sched_wakeup w JOIN tp_btf.sched_switch s
            ON w.p.pid = s.next.pid WHERE w.p.tgid > 1",
        "SELECT w.p.comm AS name, s.nsecs - w.nsecs AS latency_ns FROM tp_btf.sched_wakeup w JOIN tp_btf.sched_switch s
            ON s.next = w.p AND s.next.pid = w.p.pid",
        "SELECT w.cpu, s.cpu AS at FROM tp_btf.sched_wakeup w JOIN tp_btf.sched_switch s ON w.p = s.next",
        "SELECT a.newstate, b.nsecs - a.nsecs AS ns FROM tp_btf.inet_sock_set_state a JOIN tp_btf.inet_sock_set_state b ON a.sk = b.sk
            WHERE a.newstate = 2 AND b.newstate = 1",
    ] {
        let running = Running::start(&kernel, sql);
        println!("{sql}\n  {:#?}", running.probe.explain(false));
    }
}

#[test]
fn kernel_pairs_each_call_with_its_return() {
    let Some(kernel) = host() else { return };
    const CALLS: u64 = 20_000;
    let sql = format!(
        "SELECT x.nsecs - e.nsecs AS latency_ns, x.ret FROM tracepoint.sys_enter_getppid e
         JOIN tracepoint.sys_exit_getppid x ON e.tid = x.tid WHERE e.pid = {}",
        std::process::id()
    );
    let running = Running::start(&kernel, &sql);
    let threads: Vec<_> = (0..2).map(|_| std::thread::spawn(|| call(libc::SYS_getppid, CALLS as usize / 2))).collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let (rows, counters) = running.end();
    assert_eq!((counters.starts, counters.paired, counters.rows), (CALLS, CALLS, CALLS), "{counters:?}");
    assert_eq!((counters.unpaired_start, counters.unpaired_end, counters.map_full), (0, 0, 0));
    assert!(bigints(&rows, "latency_ns").into_iter().all(|latency| latency.is_some_and(|ns| ns > 0)));
    let parent = i64::from(std::os::unix::process::parent_id());
    assert!(bigints(&rows, "ret").into_iter().all(|ret| ret == Some(parent)));
}

#[test]
fn kernel_keeps_nothing_for_calls_that_a_filter_rejects() {
    let Some(kernel) = host() else { return };
    let directory = tempfile::tempdir().unwrap();
    let (there, missing) = (directory.path().join("there"), directory.path().join("missing"));
    std::fs::write(&there, "x").unwrap();
    let sql = format!(
        "SELECT user_string(e.filename) AS path, x.ret, e.flags, x.nsecs - e.nsecs AS latency_ns
         FROM tracepoint.sys_enter_openat e JOIN tracepoint.sys_exit_openat x ON e.tid = x.tid
         WHERE x.pid = {} AND user_string(e.filename) LIKE '{}/%' AND x.ret < 0",
        std::process::id(),
        directory.path().display()
    );
    let running = Running::start(&kernel, &sql);
    for _ in 0..30 {
        std::fs::File::open(&there).unwrap();
        std::fs::File::open(&missing).unwrap_err();
        std::fs::File::open("/dev/null").unwrap();
    }
    let (rows, counters) = running.end();
    // Of the other file and of other processes nothing was kept; a successful open ended its pair.
    assert_eq!((counters.starts, counters.paired, counters.rows), (60, 60, 30), "{counters:?}");
    assert_eq!(counters.unpaired_end, 0, "an end whose start was filtered out is no loss");
    assert!(texts(&rows, "path").into_iter().all(|path| path.as_deref() == missing.to_str()));
    assert!(bigints(&rows, "ret").into_iter().all(|ret| ret == Some(-i64::from(libc::ENOENT))));
}

#[test]
fn kernel_reads_a_path_again_that_was_not_there_at_the_call() {
    let Some(kernel) = host() else { return };
    let directory = tempfile::tempdir().unwrap();
    let (holder, opened) = (directory.path().join("holder"), directory.path().join("opened"));
    let path = CString::new(opened.to_str().unwrap()).unwrap();
    std::fs::write(&opened, "x").unwrap();
    let mut page = path.as_bytes_with_nul().to_vec();
    page.resize(4096, 0);
    std::fs::write(&holder, &page).unwrap();
    let holder = std::fs::File::open(&holder).unwrap();
    let sql = format!(
        "SELECT user_string(e.filename) AS path, x.ret FROM tracepoint.sys_enter_openat e
         JOIN tracepoint.sys_exit_openat x ON e.tid = x.tid WHERE x.tid = {}",
        // SAFETY: the call takes nothing.
        unsafe { libc::gettid() }
    );
    let running = Running::start(&kernel, &sql);
    // SAFETY: the mapping is read by the kernel alone, and the file is longer than what is mapped; no address is used
    // that is not mapped but the last, which open refuses.
    unsafe {
        use std::os::fd::AsRawFd;
        // Its pages are in the page cache, but not in our tables until somebody touches them.
        let mapped = libc::mmap(std::ptr::null_mut(), 4096, libc::PROT_READ, libc::MAP_PRIVATE, holder.as_raw_fd(), 0);
        assert_ne!(mapped, libc::MAP_FAILED);
        assert!(libc::openat(libc::AT_FDCWD, mapped.cast(), libc::O_RDONLY) >= 0);
        assert_eq!(libc::openat(libc::AT_FDCWD, std::ptr::without_provenance(8), libc::O_RDONLY), -1);
        libc::munmap(mapped, 4096);
    }
    let (rows, counters) = running.end();
    assert_eq!(texts(&rows, "path"), [opened.to_str().map(str::to_owned), None]);
    assert_eq!((counters.paired, counters.unreadable), (2, 1), "{counters:?}");
}

#[test]
fn kernel_gives_back_what_ending_threads_leave() {
    let Some(kernel) = host() else { return };
    const THREADS: u64 = 1_000;
    // This call never returns.
    let sql = format!(
        "SELECT x.ret FROM tracepoint.raw_syscalls.sys_enter e JOIN tracepoint.raw_syscalls.sys_exit x ON e.tid = x.tid
         WHERE e.id = {} AND e.pid = {}",
        libc::SYS_exit,
        std::process::id()
    );
    let running = Running::start(&kernel, &sql);
    for _ in 0..THREADS {
        std::thread::spawn(|| ()).join().unwrap();
    }
    let counters = running.wait("threads ended", |counters| counters.unpaired_start >= THREADS);
    assert_eq!((counters.starts, counters.paired, pending(&counters)), (THREADS, 0, 0), "{counters:?}");
    let (rows, _) = running.end();
    assert_eq!(rows.num_rows(), 0);
}

/// The child of the next test: as many threads as it is told to wait for ever.
#[test]
#[ignore = "it waits for ever: another test starts and kills it"]
fn child_with_waiting_threads() {
    let threads: Vec<_> = (0..1_000)
        .map(|_| {
            let waiting = std::thread::Builder::new().name("pp-waits".into()).stack_size(64 << 10);
            // SAFETY: the call waits for a signal and touches nothing.
            waiting.spawn(|| unsafe { libc::pause() }).unwrap()
        })
        .collect();
    threads.into_iter().for_each(|thread| drop(thread.join()));
}

#[test]
fn kernel_keeps_no_more_than_live_threads_when_a_thousand_are_killed_in_a_call() {
    let Some(kernel) = host() else { return };
    const THREADS: u64 = 1_000;
    let sql = "SELECT e.tid AS thread, x.ret, x.nsecs - e.nsecs AS latency_ns FROM tracepoint.sys_enter_pause e
         JOIN tracepoint.sys_exit_pause x ON e.tid = x.tid WHERE e.comm = 'pp-waits'";
    let running = Running::start(&kernel, sql);
    for round in 1..=2 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_with_waiting_threads", "--ignored"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let waiting = running.wait("threads wait", |counters| counters.starts == THREADS * round);
        assert_eq!(pending(&waiting), THREADS, "{waiting:?}");
        child.kill().unwrap();
        child.wait().unwrap();
        let killed = running.wait("threads are gone", |counters| pending(counters) == 0);
        assert_eq!(killed.paired + killed.unpaired_start, THREADS * round, "{killed:?}");
    }
    let (rows, counters) = running.end();
    assert_eq!((counters.starts, counters.map_full, counters.unpaired_end), (2 * THREADS, 0, 0), "{counters:?}");
    // The kernel lets a killed call return before the thread ends.
    assert!(bigints(&rows, "ret").into_iter().all(|ret| ret.is_some_and(|ret| ret < 0)));
}

#[test]
fn kernel_counts_what_waits_in_a_hash_and_never_pairs() {
    let Some(kernel) = host() else { return };
    // The key is the process: any of its threads may be the other end.
    let sql = format!(
        "SELECT x.ret FROM tracepoint.sys_enter_getppid e JOIN tracepoint.sys_exit_getpgid x ON e.pid = x.pid
         WHERE x.pid = {}",
        std::process::id()
    );
    let running = Running::start(&kernel, &sql);
    call(libc::SYS_getppid, 5);
    let counters = running.counters();
    assert_eq!((counters.starts, counters.unpaired_start, pending(&counters)), (5, 4, 1), "{counters:?}");
    call(libc::SYS_getpgid, 3);
    let counters = running.counters();
    assert_eq!((counters.paired, counters.unpaired_end, pending(&counters)), (1, 2, 0), "{counters:?}");
    call(libc::SYS_getppid, 1);
    assert_eq!(running.loaded.sweep().unwrap(), 0, "it has not waited for long");
    assert_eq!(running.loaded.sweep_older_than(Duration::ZERO).unwrap(), 1);
    call(libc::SYS_getpgid, 1);
    let (rows, counters) = running.end();
    assert_eq!((rows.num_rows(), counters.starts, counters.paired), (1, 6, 1), "{counters:?}");
    assert_eq!((counters.unpaired_start, counters.unpaired_end, counters.events), (5, 3, 9), "{counters:?}");
}

#[test]
fn kernel_counts_starts_for_which_there_is_no_room() {
    let Some(kernel) = host() else { return };
    const MORE: u64 = 1_000;
    let sql = format!(
        "SELECT e.args.pid AS group, x.ret FROM tracepoint.sys_enter_getpgid e JOIN tracepoint.sys_exit_getppid x ON e.args.pid = x.ret
         WHERE e.pid = {}",
        std::process::id()
    );
    let sql = sql.replace(" AS group", " AS asked");
    let running = Running::start(&kernel, &sql);
    for pid in 0..u64::from(STATE_ENTRIES_MAX) + MORE {
        // SAFETY: the call takes a number.
        unsafe { libc::syscall(libc::SYS_getpgid, 10_000_000 + pid) };
    }
    let counters = running.counters();
    assert_eq!((counters.starts, counters.map_full), (u64::from(STATE_ENTRIES_MAX) + MORE, MORE), "{counters:?}");
    assert_eq!(running.loaded.sweep_older_than(Duration::ZERO).unwrap(), u64::from(STATE_ENTRIES_MAX));
    let (_, counters) = running.end();
    assert_eq!((pending(&counters), counters.unpaired_start), (0, u64::from(STATE_ENTRIES_MAX)), "{counters:?}");
}

#[test]
fn kernel_pairs_by_processor_in_interrupts() {
    let Some(kernel) = host() else { return };
    let sql = "SELECT e.vec, e.cpu AS start_cpu, x.cpu AS end_cpu, x.nsecs - e.nsecs AS latency_ns
         FROM tracepoint.softirq_entry e JOIN tracepoint.softirq_exit x ON e.cpu = x.cpu WHERE e.args.vec = x.args.vec";
    let running = Running::start(&kernel, sql);
    running.wait("interrupts", |counters| counters.rows >= 100);
    let (rows, counters) = running.end();
    assert!(pending(&counters) <= 1024, "{counters:?}");
    assert_eq!(bigints(&rows, "start_cpu"), bigints(&rows, "end_cpu"));
    assert!(bigints(&rows, "latency_ns").into_iter().all(|latency| latency.is_some_and(|ns| ns > 0)));
}

#[test]
fn kernel_pairs_on_a_pointer_and_on_an_integer_alike() {
    let Some(kernel) = host() else { return };
    for key in ["w.p = s.next", "w.p.pid = s.next.pid"] {
        // SAFETY: the call takes nothing.
        let thread = unsafe { libc::gettid() };
        let sql = format!(
            "SELECT w.p.comm AS name, s.next.pid AS thread, w.nsecs AS woken, s.nsecs AS ran
             FROM tp_btf.sched_wakeup w JOIN tp_btf.sched_switch s ON {key} WHERE w.p.pid = {thread}"
        );
        let running = Running::start(&kernel, &sql);
        for _ in 0..50 {
            std::thread::sleep(Duration::from_micros(200));
        }
        let (rows, counters) = running.end();
        // A sleep that is over before the thread sleeps needs no waking.
        assert!(counters.paired >= 25 && pending(&counters) <= 1, "{key}: {counters:?}");
        assert!(bigints(&rows, "thread").into_iter().all(|each| each == Some(i64::from(thread))));
        let mut pairs: Vec<_> = bigints(&rows, "woken").into_iter().zip(bigints(&rows, "ran")).collect();
        assert!(pairs.iter().all(|(woken, ran)| woken < ran), "{key}: {pairs:?}");
        // Rings are emptied one after the other, and the thread may have changed its CPU.
        pairs.sort_unstable();
        // The next start is never older than the last end.
        assert!(pairs.windows(2).all(|two| two[0].1 < two[1].0), "{key}: {pairs:?}");
    }
}

#[test]
fn conditions_of_on_say_which_events_take_part_and_those_of_where_which_pairs_are_wanted() {
    let Some(kernel) = host() else { return };
    const TIMES: usize = 500;
    let from =
        "SELECT x.id FROM tracepoint.sys_enter_getppid e JOIN tracepoint.raw_syscalls.sys_enter x ON e.tid = x.tid";
    let (own, wanted) = (std::process::id(), libc::SYS_getuid);
    let calls = || {
        for _ in 0..TIMES {
            for call in [libc::SYS_getppid, libc::SYS_getgid, libc::SYS_getuid] {
                // SAFETY: the calls take nothing and cannot fail.
                unsafe { libc::syscall(call) };
            }
        }
    };
    // The call between leaves the start alone.
    let running = Running::start(&kernel, &format!("{from} AND x.id = {wanted} WHERE e.pid = {own}"));
    calls();
    let (rows, counters) = running.end();
    assert_eq!(bigints(&rows, "id"), vec![Some(wanted); TIMES]);
    assert_eq!((counters.starts, counters.paired, counters.unpaired_start), (TIMES as u64, TIMES as u64, 0));
    // The call between is the pair, and is not wanted.
    let running = Running::start(&kernel, &format!("{from} WHERE e.pid = {own} AND x.id = {wanted}"));
    calls();
    let (rows, counters) = running.end();
    assert_eq!((rows.num_rows(), counters.starts, counters.paired), (0, TIMES as u64, TIMES as u64));
    // Starts that do not take part are no starts.
    let running = Running::start(&kernel, &format!("{from} AND e.nsecs < 0 AND x.id = {wanted} WHERE e.pid = {own}"));
    calls();
    let (rows, counters) = running.end();
    assert_eq!((rows.num_rows(), counters.starts, counters.events), (0, 0, 0));
}

#[test]
fn bytes_are_those_that_were_there_when_the_call_began() {
    let Some(kernel) = host() else { return };
    let mut ends = [0; 2];
    // SAFETY: the kernel writes two descriptors.
    assert_eq!(unsafe { libc::pipe(ends.as_mut_ptr()) }, 0);
    let pid = std::process::id();
    // With the thread and in a hash; in the ring's own place and in scratch memory.
    for (key, most) in [("e.tid = x.tid", 8), ("e.tid = x.tid AND e.pid = x.pid", 8), ("e.tid = x.tid", 300)] {
        let sql = format!(
            "SELECT user_bytes(e.buf, e.count, {most}) AS bytes, user_bytes(e.buf, 3) AS three, e.count, x.ret
             FROM tracepoint.sys_enter_read e JOIN tracepoint.sys_exit_read x ON {key}
             WHERE e.pid = {pid} AND e.fd = {}",
            ends[0]
        );
        let running = Running::start(&kernel, &sql);
        let read = |address: *mut u8, count: usize, content: &[u8]| {
            // SAFETY: the content lives through the call; the pipe has room for it.
            assert_eq!(unsafe { libc::write(ends[1], content.as_ptr().cast(), content.len()) }, content.len() as isize);
            // SAFETY: where the address is ours it has room for `count` bytes; where it is not, the kernel says so.
            unsafe { libc::read(ends[0], address.cast(), count) }
        };
        for before in [b"a\0b\0c".as_slice(), b"abc", b"0123456789"] {
            let mut buffer = before.to_vec();
            assert_eq!(
                read(buffer.as_mut_ptr(), before.len(), &b"XXXXXXXXXXXX"[..before.len()]),
                before.len() as isize
            );
            assert!(buffer.iter().all(|byte| *byte == b'X'), "the call has overwritten them");
        }
        assert_eq!(read(b"abc".to_vec().as_mut_ptr(), 0, b""), 0);
        assert_eq!(read(std::ptr::without_provenance_mut(8), 4, b"four"), -1);
        let (rows, counters) = running.end();
        let bytes = |name: &str| -> Vec<Option<Vec<u8>>> {
            let column = rows.column_by_name(name).unwrap().as_binary_view();
            column.iter().map(|bytes| bytes.map(<[u8]>::to_vec)).collect()
        };
        let some = |all: &[&[u8]]| all.iter().map(|bytes| Some(bytes.to_vec())).chain([None]).collect::<Vec<_>>();
        let digits = if most == 8 { b"01234567".as_slice() } else { b"0123456789" };
        assert_eq!(bytes("bytes"), some(&[b"a\0b\0c", b"abc", digits, b""]), "{key} {most}");
        assert_eq!(bytes("three"), some(&[b"a\0b", b"abc", b"012", b"abc"]), "{key} {most}");
        assert_eq!(bigints(&rows, "count"), [5, 3, 10, 0, 4].map(Some));
        let cut = u64::from(most == 8);
        assert_eq!((counters.truncated, counters.unreadable, counters.paired), (cut, 2, 5), "{counters:?}");
        // What the last call did not take.
        let mut rest = [0_u8; 4];
        // SAFETY: the buffer has room.
        assert_eq!(unsafe { libc::read(ends[0], rest.as_mut_ptr().cast(), 4) }, 4);
    }
    for end in ends {
        // SAFETY: both are ours.
        unsafe { libc::close(end) };
    }
}
