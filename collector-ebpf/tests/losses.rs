//! What programs lose, cause by cause: the fault is made, and the number counted is the one that the workload knows.
//!
//! The causes of pairs (`unpaired_start`, `unpaired_end`, `map_full` of a hash) are in `pairs.rs`, those of values in `rows.rs`
//! and `marks`, those behind the rings in the collector.

mod by_hand; // Programs without a compiler.
mod cpus; // The CPUs that events happen on.
mod host; // The kernel the tests run on.
mod written; // Statements, compiled.

use std::fs;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Float64Type, Int32Type};
use probepilot_collector_ebpf::clock::monotonic_now_ns;
use probepilot_collector_ebpf::compile::CompiledProbe;
use probepilot_collector_ebpf::decode::ClockOffset;
use probepilot_collector_ebpf::kernel::Kernel;
use probepilot_collector_ebpf::load::{Counters, LoadOptions, LoadedProbe, Rings};
use probepilot_collector_ebpf::windows::Window;

use host::host;
use written::{compiled, compiled_as};

const OPTIONS: LoadOptions = LoadOptions { probe_id: 7, rows_per_second_max: 1_000_000_000 };

/// Nobody else calls this in tests, so that events which no filter was asked about are ours, too.
const HOOK: &str = "tracepoint.sys_enter_sched_rr_get_interval";

/// Makes events with the numbers below `count`: calls that the kernel refuses, as there is no such process.
fn number(count: u32) {
    for number in 0..count.cast_signed() {
        // SAFETY: no process is below zero, so nothing is written.
        unsafe { libc::syscall(libc::SYS_sched_rr_get_interval, -1 - number, 0) };
    }
}

/// A probe of these events that runs.
struct Running {
    probe: CompiledProbe,
    loaded: LoadedProbe,
    rings: Rings,
}

impl Running {
    fn start(kernel: &Kernel, rest: &str, ring_bytes: usize, options: LoadOptions) -> Running {
        let pid = std::process::id();
        let sql = format!("CREATE PROBE p AS SELECT args.pid AS number FROM {HOOK}{rest} WHERE pid = {pid}");
        let probe = compiled_as(kernel, &sql, true);
        let rings = Rings::new(ring_bytes).unwrap();
        let loaded = LoadedProbe::load(&probe.object, &rings.common(), options).unwrap();
        let mut running = Running { probe, loaded, rings };
        running.loaded.attach().unwrap();
        running
    }

    /// Detaches; the rows, what was counted, and the bytes of a record in a ring.
    fn end(mut self) -> (RecordBatch, Counters, usize) {
        self.loaded.detach();
        let (mut decoder, mut bytes) = (self.probe.decoder(), 0);
        self.rings.drain(|record| {
            bytes = (record.len() + 8).next_multiple_of(8);
            decoder.push(record).unwrap();
        });
        (decoder.finish(&ClockOffset::now()).unwrap(), self.loaded.counters().unwrap(), bytes)
    }
}

/// The numbers of the rows, in order; none twice.
fn numbers(rows: &RecordBatch) -> Vec<u32> {
    let column = rows.column_by_name("number").unwrap().as_primitive::<Int32Type>();
    let mut numbers: Vec<u32> = column.values().iter().map(|number| (-1 - number).cast_unsigned()).collect();
    numbers.sort_unstable();
    assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "a row came twice");
    numbers
}

#[test]
fn kernel_ring_full_is_what_comes_after_the_ring_was_filled() {
    const EVENTS: u32 = 1_000;
    let Some(kernel) = host() else { return };
    cpus::stay_on(&cpus::own_cpus()[..1]);
    let running = Running::start(&kernel, "", 1, OPTIONS);
    let ring_bytes = running.rings.common().ring_bytes();
    number(EVENTS);
    let (rows, counters, record_bytes) = running.end();
    // The kernel leaves a byte, so that a full ring is not an empty one.
    let fit = u32::try_from((ring_bytes - 1) / record_bytes).unwrap();
    assert!((10..EVENTS).contains(&fit), "{fit}");
    assert_eq!(numbers(&rows), (0..fit).collect::<Vec<_>>());
    assert_eq!((counters.events, counters.rows), (EVENTS.into(), fit.into()));
    assert_eq!(counters.ring_full, u64::from(EVENTS - fit));
}

#[test]
fn kernel_rate_limited_is_what_comes_after_the_rows_of_a_second() {
    const EVENTS: u32 = 500;
    const LIMIT: u32 = 30;
    let Some(kernel) = host() else { return };
    let second = || monotonic_now_ns() / 1_000_000_000;
    loop {
        let running = Running::start(&kernel, "", 1 << 20, LoadOptions { rows_per_second_max: LIMIT, ..OPTIONS });
        let before = second();
        while second() == before {
            std::thread::sleep(Duration::from_millis(1));
        }
        number(EVENTS);
        // The kernel counts by its seconds: on a machine that stood still meanwhile it is another one.
        let same = second() == before + 1;
        let (rows, counters, _) = running.end();
        if !same {
            continue;
        }
        assert_eq!(numbers(&rows), (0..LIMIT).collect::<Vec<_>>());
        assert_eq!((counters.events, counters.rate_limited), (EVENTS.into(), u64::from(EVENTS - LIMIT)));
        return;
    }
}

/// How far a number drawn from so many may be from what is expected: six standard deviations.
fn assert_drawn(drawn: usize, events: u32, share: f64) {
    let (expected, deviation) = (f64::from(events) * share, (f64::from(events) * share * (1.0 - share)).sqrt());
    assert!((drawn as f64 - expected).abs() < 6.0 * deviation, "{drawn} of {events}");
}

#[test]
fn kernel_sampled_is_every_event_that_did_not_become_a_row() {
    const EVENTS: u32 = 20_000;
    let Some(kernel) = host() else { return };
    for percent in [0.5, 10.0, 75.0] {
        let running = Running::start(&kernel, &format!(" TABLESAMPLE BERNOULLI ({percent})"), 16 << 20, OPTIONS);
        number(EVENTS);
        let (rows, counters, _) = running.end();
        let drawn = numbers(&rows).len();
        assert_eq!((counters.events, counters.sampled), (EVENTS.into(), u64::from(EVENTS) - drawn as u64));
        assert_drawn(drawn, EVENTS, percent / 100.0);
        let weights = rows.column_by_name("sample_weight").unwrap().as_primitive::<Float64Type>();
        assert!(weights.values().iter().all(|weight| (weight - 100.0 / percent).abs() < 1e-4), "{percent}");
    }
}

#[test]
fn kernel_budget_is_every_event_that_did_not_become_a_row() {
    const EVENTS: u32 = 20_000;
    let Some(kernel) = host() else { return };
    for share in [0.01, 0.25, 0.9] {
        let running = Running::start(&kernel, "", 16 << 20, OPTIONS);
        running.loaded.thin((share * 2_f64.powi(32)) as u32);
        number(EVENTS);
        let (rows, counters, _) = running.end();
        let drawn = numbers(&rows).len();
        assert_eq!((counters.events, counters.budget), (EVENTS.into(), u64::from(EVENTS) - drawn as u64));
        assert_eq!(counters.sampled, 0);
        assert_drawn(drawn, EVENTS, share);
    }
}

#[test]
fn kernel_recursion_is_every_event_inside_of_the_program() {
    const WRITES: u64 = 500;
    let Some(kernel) = host() else { return };
    let Ok(hook) = kernel.hook(&["tp_btf", "page_fault_kernel"]) else {
        return println!("skipped: needs the tracepoint page_fault_kernel of x86");
    };
    let rings = Rings::new(1).unwrap();
    let mut pipe = [0; 2];
    // SAFETY: room for two descriptors.
    assert_eq!(unsafe { libc::pipe(pipe.as_mut_ptr()) }, 0);
    // SAFETY: they are new and nobody else's.
    let [_read, write] = pipe.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
    let mut loaded = LoadedProbe::load(&by_hand::faulting_program(&hook), &rings.common(), OPTIONS).unwrap();
    loaded.attach().unwrap();
    let before = loaded.counters().unwrap();
    for _ in 0..WRITES {
        // SAFETY: nothing lies at 8, so the kernel's read faults, and it refuses with EFAULT.
        assert_eq!(unsafe { libc::write(write.as_raw_fd(), 8 as *const libc::c_void, 1) }, -1);
    }
    let after = loaded.counters().unwrap();
    // Each write is an event, and in each the program makes one that the kernel keeps from it.
    assert_eq!((after.recursion - before.recursion, after.events - before.events), (WRITES, 2 * WRITES));
}

#[test]
fn kernel_map_full_is_every_event_of_the_others_where_a_filter_after_the_kernel_must_know_them() {
    let Some(kernel) = host() else { return };
    let sql = format!(
        "CREATE PROBE p AS SELECT args.pid AS number, count(*) AS events FROM {HOOK} \
         WHERE pid = {} AND abs(args.pid) % 3 >= 0 AND repeat(comm, 2) <> '' GROUP BY 1",
        std::process::id()
    );
    let mut probe = compiled(&kernel, &sql);
    probe.set_keys_max(4);
    let rings = Rings::new(1).unwrap();
    let mut loaded = LoadedProbe::load(&probe.object, &rings.common(), OPTIONS).unwrap();
    loaded.attach().unwrap();
    (0..3).for_each(|_| number(10));
    loaded.detach();
    let mut decoder = probe.window_decoder().unwrap();
    loaded.windows().unwrap().take_open(|key, states| decoder.push(key, states)).unwrap();
    let window = Window { start_unix_ns: 0, width_ns: 1_000_000_000, complete: true, keep: 0 };
    let made = decoder.finish(window, &ClockOffset::now()).unwrap();
    // Four numbers have room, each three times; of the others nobody can ask for the name.
    assert_eq!(numbers(&made.rows), [0, 1, 2, 3]);
    assert_eq!((made.events, made.map_full, made.filtered), (4 * 3, 6 * 3, 0));
    assert!(made.rows.column_by_name("complete").unwrap().as_boolean().iter().all(|complete| complete == Some(false)));
    assert_eq!(loaded.counters().unwrap().aggregated, 30);
}

/// What the kernel calls the kind of map that keeps a value with each task.
const TASK_STORAGE: &str = "29";

/// What a pair's place says while a program is at it.
const IN_USE: u64 = 2;

/// The map of this process in which starts wait with their threads: its descriptor, and the bytes of a value.
fn task_storage() -> (i32, usize) {
    let descriptors = fs::read_dir("/proc/self/fdinfo").unwrap().filter_map(|entry| {
        let entry = entry.unwrap();
        let text = fs::read_to_string(entry.path()).ok()?;
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        (field("map_type:") == Some(TASK_STORAGE)).then(|| {
            (entry.file_name().to_str().unwrap().parse().unwrap(), field("value_size:").unwrap().parse().unwrap())
        })
    });
    let found: Vec<(i32, usize)> = descriptors.collect();
    assert_eq!(found.len(), 1, "{found:?}");
    found[0]
}

/// Writes the first word of this thread's value, as a program does that is at it.
fn mark_place(map: (i32, usize), word: u64) {
    /// `BPF_MAP_UPDATE_ELEM` and its attributes, from linux/bpf.h.
    const UPDATE: libc::c_int = 2;
    #[repr(C)]
    struct Attributes {
        map: u64,
        key: u64,
        value: u64,
        flags: u64,
    }
    /// `PIDFD_THREAD`, from linux/pidfd.h.
    const THREAD: libc::c_int = libc::O_EXCL;
    // SAFETY: no memory is read or written.
    let thread = unsafe { libc::syscall(libc::SYS_pidfd_open, libc::gettid(), THREAD) };
    assert!(thread >= 0, "{}", std::io::Error::last_os_error());
    let key = i32::try_from(thread).unwrap();
    // SAFETY: it was just made, and nobody else has it.
    let _owned = unsafe { OwnedFd::from_raw_fd(key) };
    let mut value = vec![0_u8; map.1];
    value[..8].copy_from_slice(&word.to_ne_bytes());
    let attributes = Attributes {
        map: u64::from(map.0.cast_unsigned()),
        key: &raw const key as u64,
        value: value.as_ptr() as u64,
        flags: 0,
    };
    // SAFETY: key and value live through the call and are as long as the map says.
    let result = unsafe { libc::syscall(libc::SYS_bpf, UPDATE, &raw const attributes, size_of::<Attributes>()) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

#[test]
fn kernel_nested_is_every_start_that_finds_its_place_in_use() {
    const EVENTS: u32 = 400;
    let Some(kernel) = host() else { return };
    let sql = format!(
        "SELECT x.nsecs - e.nsecs AS latency_ns FROM {HOOK} e JOIN tracepoint.sys_exit_sched_rr_get_interval x \
         ON e.tid = x.tid WHERE e.pid = {}",
        std::process::id()
    );
    let probe = compiled(&kernel, &sql);
    let mut rings = Rings::new(1 << 20).unwrap();
    let mut loaded = LoadedProbe::load(&probe.object, &rings.common(), OPTIONS).unwrap();
    loaded.attach().unwrap();
    let map = task_storage();
    number(3);
    mark_place(map, IN_USE);
    number(EVENTS);
    mark_place(map, 0);
    number(2);
    loaded.detach();
    let counters = loaded.counters().unwrap();
    assert_eq!((counters.nested, counters.paired), (EVENTS.into(), 5), "{counters:?}");
    assert_eq!(counters.starts, counters.paired + counters.nested);
    assert_eq!(counters.events, counters.rows + counters.nested + counters.unpaired_end);
    assert_eq!(rings.drain(|_| ()), 5);
}

#[test]
fn kernel_queries_that_lose_nothing_count_nothing() {
    let Some(kernel) = host() else { return };
    let running = Running::start(&kernel, "", 1 << 20, OPTIONS);
    number(1_000);
    let (rows, counters, _) = running.end();
    assert_eq!(numbers(&rows).len(), 1_000);
    let lost = [counters.ring_full, counters.rate_limited, counters.sampled, counters.budget, counters.nested];
    assert_eq!((counters.events, lost, counters.recursion), (1_000, [0; 5], 0), "{counters:?}");
}
