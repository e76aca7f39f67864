//! The probe `cpu_profile`: a thread that spins in a known function, found by its stack through psql.

use std::time::Duration;

use crate::support::Server;

/// Processor time that the thread uses.
const SPUN: Duration = Duration::from_secs(5);

/// Samples a second of each processor.
const HERTZ: f64 = 19.0;

/// Runs on the spot: whoever samples it finds this function innermost.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn probepilot_profile_spins(mut rounds: u64) {
    while rounds > 0 {
        // SAFETY: it does nothing.
        unsafe { std::arch::asm!("nop") };
        rounds -= 1;
    }
}

/// Processor time that this thread has had.
fn thread_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: room for the answer.
    assert_eq!(unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) }, 0);
    Duration::new(time.tv_sec.cast_unsigned(), u32::try_from(time.tv_nsec).unwrap())
}

#[test]
fn kernel_cpu_profile_finds_the_function_that_spins() {
    let Some(server) = Server::with_probes("") else { return };
    let used = std::thread::Builder::new().name("flame".to_owned()).spawn(|| {
        let begin = thread_time();
        while thread_time() - begin < SPUN {
            probepilot_profile_spins(1_000_000);
        }
        thread_time() - begin
    });
    let used = used.unwrap().join().unwrap();
    // The window that is open ends with the probe.
    server.psql("ALTER PROBE cpu_profile DISABLE");
    let ours = format!(
        "FROM cpu_profile WHERE pid = {} AND comm = 'flame' AND user_stack LIKE '%;probepilot_profile_spins' AND NOT other",
        std::process::id()
    );
    let samples: f64 = server.psql(&format!("SELECT coalesce(sum(events), 0) {ours}")).parse().unwrap();
    let expected = HERTZ * used.as_secs_f64();
    assert!((samples - expected).abs() < 0.2 * expected, "{samples} samples, {expected} expected in {used:?}");
    let lines = "SELECT concat_ws(';', comm, user_stack, kernel_stack), sum(events) FROM cpu_profile GROUP BY 1 ORDER BY 2 DESC, 1";
    let recent = server.psql(lines);
    assert!(
        recent.lines().any(|line| line.starts_with("flame;") && line.contains(";probepilot_profile_spins|")),
        "{recent}"
    );
    let time_of_samples = format!("SELECT sum(cpu_ns) = sum(events * 1000000000 / 19) {ours}");
    assert_eq!(server.psql(&time_of_samples), "t");
    // The stacks are the same in the Parquet files.
    server.psql("CHECKPOINT");
    assert_eq!(server.psql(lines), recent);
}

#[test]
fn kernel_samples_stream_live_and_leave_nothing() {
    let Some(server) = Server::with_probes("") else { return };
    let events = || {
        let all = std::fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap();
        let targets = all.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
        targets.filter(|target| target.to_string_lossy().contains("perf_event]")).count()
    };
    let before = events();
    assert_eq!(server.psql("SELECT pid >= 0, cpu >= 0 FROM profile(97) LIMIT 2"), "t|t\nt|t");
    let sum = "SELECT count(*) > 0 FROM perf('context-switches', 1) WHERE time < now() + interval '1 s'";
    assert_eq!(server.psql(sum), "t");
    assert_eq!(events(), before);
    let refused = server.psql_error("SELECT 1 FROM profile(0)");
    assert!(refused.contains("22023") && refused.contains("LINE 1: SELECT 1 FROM profile(0)"), "{refused}");
    assert_eq!(server.psql("SELECT count(*) FROM system.hooks WHERE schema = 'perf' AND name = 'page-faults'"), "1");
    assert_eq!(server.psql("SELECT type FROM system.hook_columns WHERE schema = 'profile' AND name = 'ip'"), "bigint");
    let plan = server.psql("EXPLAIN SELECT pid FROM profile(97) WHERE pid > 0 LIMIT 1");
    assert!(plan.contains("Hook: profile(97), context task\n  Samples: 97 a second of each CPU"), "{plan}");
}
