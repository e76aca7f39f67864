//! Samples in the running kernel: a clock of each CPU, and events that the kernel counts itself.

mod host; // The kernel the tests run on.
mod written; // Statements, compiled.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::{Int32Type, Int64Type};
use probepilot_collector_ebpf::decode::ClockOffset;
use probepilot_collector_ebpf::kernel::Kernel;
use probepilot_collector_ebpf::load::{Counters, LoadOptions, LoadedProbe, Rings};
use probepilot_collector_ebpf::windows::{Window, WindowRows};

use host::host;
use written::compiled;

const OPTIONS: LoadOptions = LoadOptions { probe_id: 5, rows_per_second_max: 1_000_000 };

const WINDOW: Window = Window { start_unix_ns: 7_000_000_000, width_ns: 1_000_000_000, complete: true, keep: 0 };

const RING_BYTES: usize = 1 << 22;

/// The rows of what happens while `act` runs.
fn rows(kernel: &Kernel, sql: &str, act: impl FnOnce()) -> (RecordBatch, Counters) {
    let probe = compiled(kernel, sql);
    let mut rings = Rings::new(RING_BYTES).unwrap();
    let mut loaded =
        LoadedProbe::load(&probe.object, &rings.common(), OPTIONS).unwrap_or_else(|error| panic!("{sql}: {error:#?}"));
    loaded.attach().unwrap();
    act();
    loaded.detach();
    let mut decoder = probe.decoder();
    let mut batches = vec![decoder.finish(&ClockOffset::now()).unwrap()];
    rings.drain(|record| decoder.push(record).unwrap());
    batches.push(decoder.finish(&ClockOffset::now()).unwrap());
    (concat_batches(&batches[0].schema(), &batches).unwrap(), loaded.counters().unwrap())
}

/// The one window over what happens while `act` runs.
fn window(kernel: &Kernel, sql: &str, act: impl FnOnce()) -> (WindowRows, Counters) {
    let probe = compiled(kernel, sql);
    let rings = Rings::new(1).unwrap();
    let mut loaded =
        LoadedProbe::load(&probe.object, &rings.common(), OPTIONS).unwrap_or_else(|error| panic!("{sql}: {error:#?}"));
    loaded.attach().unwrap();
    act();
    loaded.detach();
    let mut decoder = probe.window_decoder().unwrap();
    loaded.windows().unwrap().take_open(|key, states| decoder.push(key, states)).unwrap();
    (decoder.finish(WINDOW, &ClockOffset::now()).unwrap(), loaded.counters().unwrap())
}

fn integers(rows: &RecordBatch, name: &str) -> Vec<i32> {
    rows.column_by_name(name).unwrap().as_primitive::<Int32Type>().iter().map(|value| value.unwrap()).collect()
}

fn bigints(rows: &RecordBatch, name: &str) -> Vec<i64> {
    rows.column_by_name(name).unwrap().as_primitive::<Int64Type>().iter().map(|value| value.unwrap()).collect()
}

fn texts(rows: &RecordBatch, name: &str) -> Vec<Option<String>> {
    rows.column_by_name(name).unwrap().as_string_view().iter().map(|text| text.map(str::to_owned)).collect()
}

fn own_pid() -> i32 {
    std::process::id().cast_signed()
}

fn own_tid() -> i32 {
    // SAFETY: no arguments, no effect.
    unsafe { libc::gettid() }
}

/// Nanoseconds of CPU that a thread, by default this one, has had.
fn thread_cpu_ns() -> i64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: room for the answer.
    assert_eq!(unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) }, 0);
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

/// Runs on the spot: whoever samples it finds this function innermost.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn probepilot_test_spins(mut rounds: u64) {
    while rounds > 0 {
        // SAFETY: it does nothing.
        unsafe { std::arch::asm!("nop") };
        rounds -= 1;
    }
}

/// Uses so much CPU.
fn spin(cpu_time: Duration) {
    let end = thread_cpu_ns() + cpu_time.as_nanos() as i64;
    while thread_cpu_ns() < end {
        probepilot_test_spins(100_000);
    }
}

/// Memory of its own, whose pages are not there yet.
struct Pages {
    start: *mut u8,
    bytes: usize,
}

const PAGE_BYTES: usize = 4096;

impl Pages {
    fn new(count: usize) -> Pages {
        let bytes = count * PAGE_BYTES;
        let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping, of nothing.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), bytes, protection, flags, -1, 0) };
        assert_ne!(start, libc::MAP_FAILED);
        // SAFETY: our own mapping.
        unsafe { libc::madvise(start, bytes, libc::MADV_NOHUGEPAGE) };
        Pages { start: start.cast(), bytes }
    }

    /// Writes to each page for the first time, no more at once than the kernel lets be sampled between two ticks.
    fn touch(&self) {
        for (index, page) in (0..self.bytes).step_by(PAGE_BYTES).enumerate() {
            if index % 100 == 99 {
                std::thread::sleep(Duration::from_millis(20));
            }
            // SAFETY: within our own mapping.
            unsafe { self.start.add(page).write_volatile(1) };
        }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: our own mapping, which nobody uses any more.
        unsafe { libc::munmap(self.start.cast(), self.bytes) };
    }
}

#[test]
fn each_first_touch_of_a_page_is_one_fault_with_its_address() {
    const PAGES: usize = 1_000;
    let Some(kernel) = host() else { return };
    let pages = Pages::new(PAGES);
    let first = pages.start as i64;
    let sql = format!(
        "SELECT pid, tid, comm, cpu, address, ip FROM perf('page-faults', 1) \
         WHERE tid = {} AND address >= {first} AND address < {}",
        own_tid(),
        first + pages.bytes as i64
    );
    let (rows, counters) = rows(&kernel, &sql, || pages.touch());
    assert_eq!((rows.num_rows(), counters.events, counters.rows), (PAGES, PAGES as u64, PAGES as u64));
    let expected: Vec<i64> = (0..PAGES).map(|page| first + (page * PAGE_BYTES) as i64).collect();
    let mut addresses = bigints(&rows, "address");
    addresses.sort_unstable();
    assert_eq!(addresses, expected);
    assert!(integers(&rows, "pid").iter().all(|pid| *pid == own_pid()));
    // One instruction touched them all, and it is one of ours.
    let places = bigints(&rows, "ip");
    let touch = Pages::touch as fn(&Pages) as usize as i64;
    assert!(places.iter().all(|place| (place - touch).abs() < 1 << 24), "{places:x?} {touch:x}");
}

#[test]
fn a_period_takes_one_of_so_many_in_the_kernels_groups() {
    const PAGES: usize = 1_000;
    let Some(kernel) = host() else { return };
    // A CPU counts everybody's faults: only those of one busy thread on one CPU are known to be ours.
    let pages = Pages::new(PAGES);
    let sql = format!(
        "SELECT tid, count(*) AS events FROM perf('minor-faults', 1) WHERE tid = {} AND address >= {} AND address < {} \
         AND time < now() + interval '1 hour' GROUP BY tid",
        own_tid(),
        pages.start as i64,
        pages.start as i64 + pages.bytes as i64
    );
    let (made, counters) = window(&kernel, &sql, || pages.touch());
    assert_eq!(bigints(&made.rows, "events"), [PAGES as i64]);
    assert_eq!((counters.events, counters.aggregated), (PAGES as u64, PAGES as u64));
    drop(pages);
    let pages = Pages::new(PAGES);
    let sql = "SELECT count(*) AS events FROM perf('page-faults', 10) WHERE time < now() + interval '1 hour'";
    let (made, _) = window(&kernel, sql, || pages.touch());
    let events = bigints(&made.rows, "events")[0];
    // At most nine are left over on each CPU, and others fault too.
    assert!(events >= (PAGES as i64 - 9 * 2) / 10, "{events}");
}

#[test]
fn a_busy_thread_has_its_share_of_the_samples() {
    const HERTZ: f64 = 499.0;
    let Some(kernel) = host() else { return };
    let sql =
        "SELECT pid, tid, cpu, time_bucket('1 hour', time), count(*) AS events FROM profile(499) GROUP BY 1, 2, 3, 4";
    let (mut busy_tid, mut cpu_ns) = (0, 0);
    let began = Instant::now();
    let (made, counters) = window(&kernel, sql, || {
        std::thread::scope(|scope| {
            let busy = scope.spawn(|| {
                let before = thread_cpu_ns();
                spin(Duration::from_secs(1));
                (own_tid(), thread_cpu_ns() - before)
            });
            (busy_tid, cpu_ns) = busy.join().unwrap();
        });
    });
    let taken = began.elapsed();
    let (pids, tids, events) =
        (integers(&made.rows, "pid"), integers(&made.rows, "tid"), bigints(&made.rows, "events"));
    let all: i64 = events.iter().sum();
    assert_eq!((all.cast_unsigned(), counters.aggregated), (counters.events, counters.events));
    let cpus = std::thread::available_parallelism().unwrap().get() as f64;
    assert!((all as f64) < 1.05 * HERTZ * cpus * taken.as_secs_f64() + 10.0, "{all} samples in {taken:?}");
    let of_busy: i64 = (0..tids.len()).filter(|row| tids[*row] == busy_tid).map(|row| events[row]).sum();
    let expected = HERTZ * cpu_ns as f64 / 1e9;
    assert!((of_busy as f64 - expected).abs() < 0.15 * expected, "{of_busy} samples, {expected} expected");
    assert!(tids.iter().zip(&pids).all(|(tid, pid)| *tid != busy_tid || *pid == own_pid()));
}

#[test]
fn a_waiting_thread_is_switched_away_from_each_time() {
    const WAITS: usize = 50;
    let Some(kernel) = host() else { return };
    let sql = format!("SELECT tid FROM perf('context-switches', 1) WHERE tid = {}", own_tid());
    // SAFETY: no arguments but room for the answer.
    let switches = || unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        assert_eq!(libc::getrusage(libc::RUSAGE_THREAD, &raw mut usage), 0);
        usage.ru_nvcsw + usage.ru_nivcsw
    };
    let mut counted = 0;
    let before_attaching = switches();
    let (rows, _) = rows(&kernel, &sql, || {
        let before = switches();
        (0..WAITS).for_each(|_| std::thread::sleep(Duration::from_millis(2)));
        counted = switches() - before;
    });
    let all = switches() - before_attaching;
    // The kernel leaves out what falls into work of its own on another's maps: hardly one.
    assert!(
        counted >= WAITS as i64 && rows.num_rows() as i64 * 10 >= counted * 9,
        "{} rows, {counted}",
        rows.num_rows()
    );
    assert!(rows.num_rows() as i64 <= all, "{} rows, {all}", rows.num_rows());
}

/// What our process's descriptors are that perf and BPF gave.
fn descriptors() -> Vec<String> {
    let all =
        std::fs::read_dir("/proc/self/fd").unwrap().filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    let mut ours: Vec<String> = all.map(|target| target.display().to_string()).collect();
    ours.retain(|target| target.contains("perf_event") || target.contains("bpf"));
    ours.sort();
    ours
}

#[test]
fn probes_of_one_rate_share_the_events_of_the_cpus_and_nothing_is_left() {
    let Some(kernel) = host() else { return };
    let before = descriptors();
    let perf_events = || descriptors().iter().filter(|target| target.contains("perf_event]")).count();
    let links =
        || descriptors().iter().filter(|target| target.contains("bpf_link") || target.contains("bpf-link")).count();
    let cpus = std::thread::available_parallelism().unwrap().get();
    {
        let rings = Rings::new(RING_BYTES).unwrap();
        let load = |sql: &str| {
            let mut loaded = LoadedProbe::load(&compiled(&kernel, sql).object, &rings.common(), OPTIONS).unwrap();
            loaded.attach().unwrap();
            loaded
        };
        let sql = "SELECT pid FROM profile(1000) WHERE pid > 0";
        let mut first = load(sql);
        assert_eq!((perf_events(), links()), (cpus, cpus));
        let second = load(sql);
        let alone = first.counters().unwrap().events;
        assert_eq!((perf_events(), links()), (cpus, cpus), "one set of events for both");
        let third = load("SELECT pid FROM profile(500) WHERE pid > 0");
        let before_third = second.counters().unwrap().events;
        assert_eq!((perf_events(), links()), (2 * cpus, 2 * cpus), "another rate is another hook");
        spin(Duration::from_millis(200));
        first.detach();
        let (of_first, of_second) = (first.counters().unwrap().events, second.counters().unwrap().events);
        assert!(of_first - alone > 100 && of_second >= of_first - alone, "{alone} {of_first} {of_second}");
        spin(Duration::from_millis(200));
        assert_eq!(first.counters().unwrap().events, of_first, "it is detached");
        assert!(second.counters().unwrap().events > of_second + 100, "the other goes on");
        let of_third = third.counters().unwrap().events;
        assert!(of_third * 3 > of_second - before_third, "{before_third} {of_second} {of_third}");
        drop((first, second));
        assert_eq!((perf_events(), links()), (cpus, cpus));
        drop(third);
        assert_eq!((perf_events(), links()), (0, 0));
    }
    assert_eq!(descriptors(), before);
}

#[test]
fn coming_and_going_under_load_loses_no_sample_of_who_stays() {
    let Some(kernel) = host() else { return };
    let rings = Rings::new(RING_BYTES).unwrap();
    let load = |sql: &str| LoadedProbe::load(&compiled(&kernel, sql).object, &rings.common(), OPTIONS).unwrap();
    let count = "SELECT count(*) AS events FROM profile(2000) WHERE time < now() + interval '1 hour'";
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                spin(Duration::from_millis(1));
            }
        });
        let (mut stays, mut beside) = (load(count), load(count));
        stays.attach().unwrap();
        for _ in 0..20 {
            beside.attach().unwrap();
            beside.detach();
        }
        stays.detach();
        let (all, part) = (stays.counters().unwrap(), beside.counters().unwrap());
        assert_eq!((all.events, part.events), (all.aggregated, part.aggregated));
        assert!(all.events > part.events, "{} {}", all.events, part.events);
        done.store(true, Ordering::Relaxed);
    });
}

/// Whether the innermost frame is this function.
fn ends_in(stack: &Option<String>, function: &str) -> bool {
    stack.as_deref().is_some_and(|stack| stack.rsplit(';').next() == Some(function))
}

#[test]
fn rows_have_the_stacks_of_who_was_sampled() {
    let Some(kernel) = host() else { return };
    let sql = format!(
        "SELECT ip, user_stack() AS process, kernel_stack() AS kernel, symbol(ip) AS at FROM profile(499) WHERE tid = {}",
        own_tid()
    );
    let (made, counters) = rows(&kernel, &sql, || spin(Duration::from_secs(1)));
    let all = made.num_rows();
    assert_eq!((counters.events, counters.rows), (all as u64, all as u64));
    let spinning = texts(&made, "process").iter().filter(|stack| ends_in(stack, "probepilot_test_spins")).count();
    assert!(all > 300 && spinning * 100 > all * 90, "{spinning} of {all}: {:?}", texts(&made, "process").last());
    // Interrupted in its own code, it has no stack in the kernel.
    let (kernels, at) = (texts(&made, "kernel"), texts(&made, "at"));
    let places = bigints(&made, "ip");
    for row in 0..all {
        assert_eq!(kernels[row].is_some(), places[row] < 0, "{:x}: {:?}", places[row], kernels[row]);
        assert_eq!(at[row].is_some(), places[row] < 0, "{:x}: {:?}", places[row], at[row]);
    }
    let sql = format!("SELECT ip, kernel_stack() AS kernel FROM profile(499) WHERE tid = {} AND ip < 0", own_tid());
    let (made, _) = rows(&kernel, &sql, || {
        let mut zeros = vec![0; 1 << 20];
        let mut file = std::fs::File::open("/dev/zero").unwrap();
        let end = thread_cpu_ns() + 500_000_000;
        while thread_cpu_ns() < end {
            std::io::Read::read_exact(&mut file, &mut zeros).unwrap();
        }
    });
    let reading = texts(&made, "kernel").iter().flatten().filter(|stack| stack.contains("ksys_read;")).count();
    assert!(reading * 100 > made.num_rows() * 80, "{reading} of {}: {:?}", made.num_rows(), texts(&made, "kernel"));
}

#[test]
fn groups_by_stack_are_counted_in_the_kernel_to_the_sample() {
    let Some(kernel) = host() else { return };
    let sql = format!(
        "SELECT comm, user_stack() AS process, kernel_stack() AS kernel, count(*) AS events FROM profile(499) \
         WHERE pid = {} GROUP BY 1, 2, 3, time_bucket('1 hour', time)",
        own_pid()
    );
    let mut cpu_ns = 0;
    let (made, counters) = window(&kernel, &sql, || {
        std::thread::scope(|scope| {
            let busy = std::thread::Builder::new().name("busy_one".to_owned());
            let busy = busy.spawn_scoped(scope, || {
                let before = thread_cpu_ns();
                spin(Duration::from_secs(1));
                thread_cpu_ns() - before
            });
            cpu_ns = busy.unwrap().join().unwrap();
        });
    });
    let (events, stacks, names) =
        (bigints(&made.rows, "events"), texts(&made.rows, "process"), texts(&made.rows, "comm"));
    assert_eq!(events.iter().sum::<i64>().cast_unsigned(), counters.events);
    assert_eq!((counters.aggregated, counters.map_full, counters.unreadable), (counters.events, 0, 0));
    let of =
        |row: &usize| names[*row].as_deref() == Some("busy_one") && ends_in(&stacks[*row], "probepilot_test_spins");
    let spinning: i64 = (0..events.len()).filter(of).map(|row| events[row]).sum();
    let expected = 499.0 * cpu_ns as f64 / 1e9;
    assert!((spinning as f64 - expected).abs() < 0.2 * expected, "{spinning} samples, {expected} expected");
    // Places in one function are one row.
    let kernels = texts(&made.rows, "kernel");
    let mut keys: Vec<_> = (0..events.len()).map(|row| (&names[row], &stacks[row], &kernels[row])).collect();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), events.len());
}

#[test]
fn stacks_work_at_every_kind_of_hook_and_a_cut_one_says_so() {
    const CALLS: i64 = 1_000;
    let Some(kernel) = host() else { return };
    let call = || {
        for _ in 0..CALLS {
            // SAFETY: no arguments, no effect.
            unsafe { libc::syscall(libc::SYS_getppid) };
        }
    };
    let until = "AND time < now() + interval '1 hour'";
    let sql = format!(
        "SELECT user_stack(1) AS process, count(*) AS events FROM tracepoint.sys_enter_getppid WHERE tid = {} {until} GROUP BY 1",
        own_tid()
    );
    let (made, counters) = window(&kernel, &sql, call);
    assert_eq!(texts(&made.rows, "process"), [Some("…;syscall".to_owned())]);
    assert_eq!(bigints(&made.rows, "events"), [CALLS]);
    assert_eq!((counters.truncated, counters.unreadable), (CALLS as u64, 0));
    let sql = format!(
        "SELECT kernel_stack() AS kernel, count(*) AS events FROM tp_btf.sys_enter WHERE tid = {} AND id = {} {until} GROUP BY 1",
        own_tid(),
        libc::SYS_getppid
    );
    let (made, counters) = window(&kernel, &sql, call);
    let stacks = texts(&made.rows, "kernel");
    assert_eq!(bigints(&made.rows, "events").iter().sum::<i64>(), CALLS);
    assert!(
        stacks.iter().all(|stack| stack.as_deref().is_some_and(|stack| stack.contains("do_syscall_64"))),
        "{stacks:?}"
    );
    assert_eq!((counters.truncated, counters.unreadable), (0, 0));
    let sql = format!(
        "SELECT comm, ustack(5) AS five, kstack(3) AS three FROM tracepoint.sys_enter_getppid WHERE tid = {}",
        own_tid()
    );
    let (made, _) = rows(&kernel, &sql, call);
    assert_eq!(made.num_rows() as i64, CALLS);
    assert!(texts(&made, "five").iter().all(|stack| ends_in(stack, "syscall")), "{:?}", texts(&made, "five").first());
}
