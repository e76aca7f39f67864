//! Compiled SQL in the running kernel: the verifier takes it, and what happens is what comes out.

mod host; // The kernel the tests run on.
mod written; // Statements, compiled.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int32Type, Int64Type};
use probepilot_collector_ebpf::compile::CompiledProbe;
use probepilot_collector_ebpf::decode::ClockOffset;
use probepilot_collector_ebpf::kernel::Kernel;
use probepilot_collector_ebpf::load::{Counters, LoadOptions, LoadedProbe, Rings};
use probepilot_collector_ebpf::probes;

use host::host;
use written::compiled_as;

const OPTIONS: LoadOptions = LoadOptions { probe_id: 7, rows_per_second_max: 1_000_000 };

#[track_caller]
fn load(probe: &CompiledProbe, rings: &Rings, sql: &str) -> LoadedProbe {
    LoadedProbe::load(&probe.object, &rings.common(), OPTIONS).unwrap_or_else(|error| panic!("{sql}: {error:#?}"))
}

/// What a query on a hook sees of what `act` does.
fn run(kernel: &Kernel, sql: &str, stored: bool, options: LoadOptions, act: impl FnOnce()) -> (RecordBatch, Counters) {
    let probe = compiled_as(kernel, sql, stored);
    let mut rings = Rings::new(4 << 20).unwrap();
    let mut loaded = LoadedProbe::load(&probe.object, &rings.common(), options).unwrap();
    loaded.attach().unwrap();
    act();
    loaded.detach();
    let mut decoder = probe.decoder();
    rings.drain(|record| decoder.push(record).unwrap());
    (decoder.finish(&ClockOffset::now()).unwrap(), loaded.counters().unwrap())
}

fn getppid(times: usize) {
    for _ in 0..times {
        // SAFETY: the call takes nothing and cannot fail.
        unsafe { libc::syscall(libc::SYS_getppid) };
    }
}

#[test]
fn the_verifier_takes_every_probe_that_comes_with_us() {
    let Some(kernel) = host() else { return };
    let rings = Rings::new(1).unwrap();
    for builtin in probes::builtin() {
        let probe = compiled_as(&kernel, builtin.sql, true);
        let mut loaded = load(&probe, &rings, builtin.name);
        loaded.attach().unwrap_or_else(|error| panic!("{}: {error:?}", builtin.name));
        println!("{}: {:?}", builtin.name, loaded.info().unwrap());
    }
}

#[test]
fn the_verifier_takes_every_shape_of_expression() {
    let Some(kernel) = host() else { return };
    let rings = Rings::new(1).unwrap();
    for sql in [
        "SELECT * FROM tracepoint.sched_process_exec",
        "SELECT * FROM tracepoint.sched_process_fork",
        "SELECT * FROM tracepoint.signal_generate",
        "SELECT * FROM tracepoint.block_rq_issue",
        "SELECT * FROM tracepoint.inet_sock_set_state",
        "SELECT * FROM tracepoint.raw_syscalls.sys_exit",
        "SELECT time, nsecs, pid, tid, ppid, uid, gid, comm, cgroup_id, cpu FROM tracepoint.sys_enter_openat",
        "SELECT user_string(filename) AS path, flags, mode FROM tracepoint.sys_enter_openat
            WHERE user_string(filename) LIKE '/etc/%' AND flags & 3 = 0",
        "SELECT user_string(filename, 64) AS short, user_string(filename, 255) AS long FROM tracepoint.sys_enter_openat
            WHERE user_string(filename) IN ('/etc/hostname', '/etc/passwd') OR comm = 'cat'",
        "SELECT ret + id / ret AS f, id / (ret + 1) AS a, id % 7 AS b, -ret AS c, ret * 3 - id AS d FROM tracepoint.raw_syscalls.sys_exit
            WHERE ret BETWEEN -100 AND -1 AND id IN (0, 1, 2, 257, 262)",
        "SELECT CASE WHEN ret < 0 THEN 'bad' ELSE 'good' END AS x, CASE id WHEN 1 THEN 2 WHEN 3 THEN ret ELSE NULL END AS y
            FROM tracepoint.raw_syscalls.sys_exit WHERE NOT (ret > 0 OR id IS NULL)",
        "SELECT comm FROM tracepoint.sys_enter_getppid WHERE comm LIKE 'probepilot%' OR comm LIKE 'a_b%' OR comm <> 'x'",
        "SELECT cast(ret AS int) AS small, cast(id AS smallint) AS smaller, ret > 0 AS positive
            FROM tracepoint.raw_syscalls.sys_exit",
        "SELECT prev.comm, next.comm AS next_comm, next.real_parent.tgid AS parent, next.group_leader.start_time AS started,
            prev_state, preempt FROM tp_btf.sched_switch WHERE next.tgid > 1 AND prev.comm LIKE 'swapper%'",
        "SELECT kernel_string(bprm.filename) AS path, p.tgid, old_pid FROM tp_btf.sched_process_exec
            WHERE kernel_string(bprm.filename) LIKE '/usr/bin/%'",
        "SELECT sk.__sk_common.skc_dport, sk.__sk_common.skc_num, sk.__sk_common.skc_daddr, newstate
            FROM tp_btf.inet_sock_set_state WHERE newstate = 1 OR oldstate = 1",
        "SELECT regs.di, regs.si, id FROM tp_btf.sys_enter WHERE id = 257",
    ] {
        for stored in [false, true] {
            let probe = compiled_as(&kernel, sql, stored);
            load(&probe, &rings, sql).attach().unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        }
    }
}

#[test]
fn an_executed_program_is_a_row() {
    let Some(kernel) = host() else { return };
    let sql = "SELECT time, pid, ppid, comm, filename FROM tracepoint.sched_process_exec WHERE filename LIKE '%/true'";
    let own = std::process::id().cast_signed();
    let mut child = 0;
    let before = ClockOffset::now().unix_minus_monotonic_ns;
    let (rows, counters) = run(&kernel, sql, false, OPTIONS, || {
        let mut process = Command::new("/bin/true").spawn().unwrap();
        child = process.id().cast_signed();
        assert!(process.wait().unwrap().success());
    });
    assert!(before.abs_diff(ClockOffset::now().unix_minus_monotonic_ns) < 1_000_000_000);
    let pids = rows.column_by_name("pid").unwrap().as_primitive::<Int32Type>();
    let row = pids.iter().position(|pid| pid == Some(child)).unwrap_or_else(|| panic!("no row of {child} in {rows:?}"));
    assert_eq!(rows.column_by_name("ppid").unwrap().as_primitive::<Int32Type>().value(row), own);
    let text =
        |name: &str| arrow::util::display::array_value_to_string(rows.column_by_name(name).unwrap(), row).unwrap();
    assert_eq!((text("comm").as_str(), text("filename").as_str()), ("true", "/bin/true"));
    assert!(rows.column_by_name("time").unwrap().is_valid(row));
    assert_eq!(counters.events, counters.rows + counters.ring_full + counters.rate_limited);
}

#[test]
fn the_path_of_an_opened_file_is_read() {
    let Some(kernel) = host() else { return };
    let own = std::process::id();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("opened");
    std::fs::write(&path, "x").unwrap();
    let sql = format!(
        "SELECT pid, user_string(filename) AS path, dfd, flags FROM tracepoint.sys_enter_openat
         WHERE pid = {own} AND user_string(filename) LIKE '{}%'",
        directory.path().display()
    );
    let (rows, counters) = run(&kernel, &sql, false, OPTIONS, || {
        for _ in 0..20 {
            std::fs::File::open(&path).unwrap();
        }
        std::fs::File::open(Path::new("/dev/null")).unwrap();
    });
    assert_eq!((rows.num_rows(), counters.events, counters.rows), (20, 20, 20));
    let paths = rows.column_by_name("path").unwrap();
    for row in 0..20 {
        assert_eq!(arrow::util::display::array_value_to_string(paths, row).unwrap(), path.display().to_string());
    }
    // AT_FDCWD is negative: the slot's lower half, with its sign.
    assert_eq!(rows.column_by_name("dfd").unwrap().as_primitive::<Int32Type>().value(0), -100);
}

#[test]
fn numbers_keep_their_sign_and_pointers_are_followed() {
    let Some(kernel) = host() else { return };
    let own = std::process::id();
    let (rows, _) = run(
        &kernel,
        &format!(
            "SELECT ret, -ret AS errno FROM tracepoint.raw_syscalls.sys_exit
             WHERE pid = {own} AND id = {} AND ret < 0",
            libc::SYS_close
        ),
        false,
        OPTIONS,
        // SAFETY: no descriptor has this number, so nothing is closed.
        || unsafe {
            libc::close(1_000_000);
        },
    );
    let ret = rows.column_by_name("ret").unwrap().as_primitive::<Int64Type>();
    assert_eq!((rows.num_rows(), ret.value(0)), (1, -i64::from(libc::EBADF)));
    let (rows, _) = run(
        &kernel,
        &format!("SELECT prev.real_parent.tgid AS parent, ppid FROM tp_btf.sched_switch WHERE prev.tgid = {own}"),
        false,
        OPTIONS,
        || std::thread::sleep(Duration::from_millis(5)),
    );
    assert!(rows.num_rows() > 0);
    let parent = rows.column_by_name("parent").unwrap().as_primitive::<Int32Type>();
    let expected = std::os::unix::process::parent_id().cast_signed();
    assert!(parent.iter().all(|each| each == Some(expected)), "{rows:?}");
}

#[test]
fn rows_above_the_limit_are_shed_and_counted_to_the_unit() {
    let Some(kernel) = host() else { return };
    let own = std::process::id();
    let sql = format!("SELECT pid FROM tracepoint.sys_enter_getppid WHERE pid = {own}");
    let started = Instant::now();
    let limited = LoadOptions { rows_per_second_max: 100, ..OPTIONS };
    let (rows, counters) = run(&kernel, &sql, true, limited, || getppid(5_000));
    assert_eq!(counters.events, 5_000);
    assert_eq!(counters.events, counters.rows + counters.ring_full + counters.rate_limited);
    assert_eq!(counters.rows, rows.num_rows() as u64);
    // A bucket of a second, and what flowed in meanwhile.
    let most = 100 + 100 * (started.elapsed().as_millis() as u64 / 1_000 + 1);
    assert!(counters.rows > 0 && counters.rows <= most, "{} rows, {most} allowed", counters.rows);
}

#[test]
fn a_probe_that_is_thinned_out_counts_what_it_leaves_out() {
    const CALLS: u64 = 100_000;
    let Some(kernel) = host() else { return };
    let (pid, options) = (std::process::id(), LoadOptions { probe_id: 7, rows_per_second_max: 10_000_000 });
    for (sample, kept) in [("", 0.25), (" TABLESAMPLE (50 PERCENT)", 0.25)] {
        let sql = format!("CREATE PROBE p AS SELECT pid FROM tracepoint.sys_enter_getppid{sample} WHERE pid = {pid}");
        let probe = compiled_as(&kernel, &sql, true);
        let mut rings = Rings::new(16 << 20).unwrap();
        let mut loaded = LoadedProbe::load(&probe.object, &rings.common(), options).unwrap();
        loaded.thin(1 << 30);
        loaded.attach().unwrap();
        getppid(CALLS as usize);
        loaded.thin(0);
        let before = loaded.counters().unwrap();
        getppid(1_000);
        loaded.detach();
        let counters = loaded.counters().unwrap();
        let mut decoder = probe.decoder();
        rings.drain(|record| decoder.push(record).unwrap());
        let rows = decoder.finish(&ClockOffset::now()).unwrap();
        assert_eq!(rows.num_rows() as u64, counters.rows, "{counters:?}");
        assert_eq!(counters.rows + counters.sampled + counters.budget, counters.events, "{counters:?}");
        let drawn = before.rows as f64;
        let deviation = (CALLS as f64 * kept * (1.0 - kept)).sqrt();
        assert!((drawn - CALLS as f64 * kept).abs() < 6.0 * deviation, "{drawn} of {CALLS}: {sql}");
        assert_eq!(counters.budget, before.budget, "nothing is left out any more for the budget");
        if sample.is_empty() {
            assert_eq!(counters.rows - before.rows, 1_000);
            assert!(before.sampled == 0 && before.budget > CALLS / 2, "{before:?}");
        } else {
            // A draw below a quarter is let through, from there to a half it is the budget's, the rest the sample's.
            assert!(before.budget > CALLS / 5 && before.sampled > CALLS * 2 / 5, "{before:?}");
        }
    }
}
