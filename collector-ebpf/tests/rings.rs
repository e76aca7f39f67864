//! Rings: how long records gather in them, and who ends that.

mod host; // The kernel the tests run on.
mod by_hand; // Programs without a compiler.

use std::time::{Duration, Instant};

use probepilot_collector_ebpf::load::{LoadOptions, LoadedProbe, Rings};

use by_hand::{SYSCALL, program};
use host::host;

/// Longer than any test waits: who comes back earlier was called.
const LONG: Duration = Duration::from_secs(30);

/// Bytes of a record of [`program`] and its head in the ring.
const RECORD_BYTES: usize = 32 + 8;

#[test]
fn a_wait_is_ended_from_another_thread() {
    if host().is_none() {
        return;
    }
    let rings = Rings::new(1).unwrap();
    let interrupter = rings.interrupter();
    let waiting = std::thread::spawn(move || {
        let started = Instant::now();
        (rings.wait(LONG), started.elapsed(), rings.wait(Duration::from_millis(1)))
    });
    interrupter.interrupt();
    let (records, waited, again) = waiting.join().unwrap();
    assert!(!records && !again && waited < LONG, "{waited:?}");
}

#[test]
fn gathering_is_ended_from_another_thread_even_by_one_who_came_before() {
    if host().is_none() {
        return;
    }
    let rings = Rings::new(1).unwrap();
    let interrupter = rings.interrupter();
    interrupter.interrupt();
    let started = Instant::now();
    rings.gather(LONG);
    assert!(started.elapsed() < LONG);
    let gathering = std::thread::spawn(move || rings.gather(LONG));
    interrupter.interrupt();
    gathering.join().unwrap();
    assert!(started.elapsed() < LONG);
}

/// Sets the wall clock to what it says.
fn set_clock() {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the time lives through both calls.
    let result = unsafe {
        libc::clock_gettime(libc::CLOCK_REALTIME, &raw mut now);
        libc::clock_settime(libc::CLOCK_REALTIME, &raw const now)
    };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

/// It steps back by less than a microsecond: nobody else is disturbed.
#[test]
fn kernel_waits_and_gathering_end_when_the_wall_clock_is_set() {
    if host().is_none() {
        return;
    }
    let rings = Rings::new(1).unwrap();
    assert!(!rings.clock_was_set());
    set_clock();
    let started = Instant::now();
    assert!(!rings.wait(LONG), "nothing is there that could gather");
    assert!(started.elapsed() < LONG);
    assert!(rings.clock_was_set() && !rings.clock_was_set());
    let gathering = std::thread::spawn(move || {
        rings.gather(LONG);
        rings.clock_was_set()
    });
    // Before it gathers or while it does: it ends.
    set_clock();
    assert!(gathering.join().unwrap());
    assert!(started.elapsed() < LONG);
}

#[test]
fn records_gather_for_their_time_or_until_a_ring_is_filled_to_a_quarter() {
    let Some(kernel) = host() else { return };
    let hook = kernel.hook(&["tracepoint", "sys_enter_getppid"]).unwrap();
    let mut rings = Rings::new(4 << 20).unwrap();
    let ring_bytes = rings.common().ring_bytes();
    let options = LoadOptions { probe_id: 7, rows_per_second_max: 1_000_000_000 };
    let mut probe = LoadedProbe::load(&program(&hook, "gather"), &rings.common(), options).unwrap();
    probe.attach().unwrap();

    let few = ring_bytes / 4 / RECORD_BYTES / 8;
    call(few);
    assert!(rings.wait(LONG));
    let gathered = loop {
        let started = Instant::now();
        rings.gather(Duration::from_millis(100));
        // Another test may have set it.
        if !rings.clock_was_set() {
            break started.elapsed();
        }
    };
    assert!(gathered >= Duration::from_millis(100) && gathered < LONG, "{gathered:?}");
    assert_eq!(rings.drain(|_| ()), few);

    // On whatever CPUs they come, one of their rings has more than its quarter.
    let cpus = rings.bytes_total() / ring_bytes;
    let many = cpus * (ring_bytes / 4 / RECORD_BYTES + 1);
    let started = Instant::now();
    let writer = std::thread::spawn(move || call(many));
    assert!(rings.wait(LONG));
    rings.gather(LONG);
    assert!(started.elapsed() < LONG);
    writer.join().unwrap();
    rings.drain(|_| ());
    let counters = probe.counters().unwrap();
    assert_eq!((counters.rows, counters.ring_full), ((few + many) as u64, 0));
}

fn call(times: usize) {
    for _ in 0..times {
        // SAFETY: the call takes nothing and cannot fail. By number, so that no library answers from memory.
        unsafe { libc::syscall(SYSCALL) };
    }
}
