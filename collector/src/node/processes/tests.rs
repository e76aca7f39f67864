//! The table of processes: events, misses, ends, limits.

use super::*;

const TICK_NS: u64 = 10_000_000;

fn table() -> Processes {
    Processes::of_host(CmdlineSetting::Redacted)
}

fn exec(pid: i32, start_boottime_ns: u64, arguments: &[u8]) -> ExecEvent {
    ExecEvent {
        pid,
        ppid: 1,
        start_boottime_ns,
        comm: "thing".into(),
        filename: Some("/bin/thing".into()),
        arguments: Some(arguments.to_vec()),
        uid: 7,
        gid: 8,
        cgroup_id: u64::MAX,
    }
}

/// Larger than any `pid_max`, so no process of the host has it.
const PID: i32 = 1 << 23;

#[test]
fn facts_are_kept_after_the_exit_and_forgotten_later() {
    let table = table();
    table.on_exec(exec(PID, 5 * TICK_NS, b"thing\0--token=a\0"));
    table.on_exit(ExitEvent { pid: PID, start_boottime_ns: 5 * TICK_NS, unix_ns: 1_000 });
    let process = table.get(PID).expect("it is kept");
    assert_eq!(process.exe.as_deref(), Some("/bin/thing"));
    assert_eq!(process.cmdline.as_deref(), Some("thing --token=[redacted]"));
    assert_eq!(process.exited_unix_ns, Some(1_000));
    let later_ns = 1_000 + EXITED_KEPT.as_nanos() as i64;
    table.on_exit(ExitEvent { pid: PID + 1, start_boottime_ns: 0, unix_ns: later_ns });
    assert_eq!(table.get(PID), None);
}

#[test]
fn a_child_is_like_its_parent_until_it_becomes_another_program() {
    let table = table();
    table.on_exec(exec(PID, TICK_NS, b"thing\0"));
    table.on_fork(ForkEvent { ppid: PID, pid: PID + 1, start_boottime_ns: 2 * TICK_NS });
    let child = table.get(PID + 1).expect("the fork was told");
    assert_eq!((child.ppid, child.start_ticks, child.exe.as_deref()), (PID, 2, Some("/bin/thing")));
    let other = ExecEvent { filename: Some("/bin/other".into()), ..exec(PID + 1, 2 * TICK_NS, b"other\0") };
    table.on_exec(other);
    table.on_fork(ForkEvent { ppid: PID, pid: PID + 1, start_boottime_ns: 2 * TICK_NS });
    assert_eq!(
        table.get(PID + 1).expect("it is alive").cmdline.as_deref(),
        Some("other"),
        "a late fork changes nothing"
    );
}

#[test]
fn an_exit_of_an_earlier_owner_of_the_id_does_not_touch_the_later_one() {
    let table = table();
    table.on_exec(exec(PID, 9 * TICK_NS, b"later\0"));
    table.on_exit(ExitEvent { pid: PID, start_boottime_ns: 3 * TICK_NS, unix_ns: 1_000 });
    assert_eq!(table.get(PID).expect("it is alive").exited_unix_ns, None);
}

#[test]
fn a_miss_reads_proc_and_an_unknown_id_is_remembered() {
    let table = table();
    let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("sleep is there");
    let pid = child.id() as i32;
    let wait_for_exec = || {
        (0..500).find_map(|_| {
            std::thread::sleep(Duration::from_millis(2));
            (table.procfs.facts(pid).ok()?.comm == "sleep").then_some(())
        })
    };
    wait_for_exec().expect("it becomes sleep");
    let process = table.get(pid).expect("it is alive");
    assert_eq!(process.cmdline.as_deref(), Some("sleep 60"));
    assert_eq!(process.ppid, std::process::id() as i32);
    child.kill().expect("it is ours");
    child.wait().expect("it is ours");
    assert_eq!(table.get(PID), None);
    assert!(table.state.lock().unknown.contains_key(&PID));
    table.state.lock().refreshed = None;
    table.refresh();
    assert!(table.get(pid).expect("it is kept").exited_unix_ns.is_some());
}

#[test]
fn reads_of_proc_are_bounded() {
    let table = table();
    let asked = READS_PER_SECOND_MAX as i32 + 10;
    for pid in PID..PID + asked {
        table.get(pid);
    }
    // When the machine is slow a second may pass meanwhile, but not for every one of them.
    assert!(table.state.lock().reads.count > 0);
    let mut reads = Reads::default();
    let now = Instant::now();
    let granted = (0..asked).filter(|_| reads.take(now)).count();
    assert_eq!(granted, READS_PER_SECOND_MAX as usize);
    assert!(reads.take(now + Duration::from_secs(1)));
}

#[test]
fn ended_processes_are_bounded() {
    let table = table();
    let alive = table.state.lock().processes.len();
    for number in 0..EXITED_MAX as i32 + 5 {
        table.state.lock().insert(Process { pid: PID + number, ..table_process() });
        table.on_exit(ExitEvent { pid: PID + number, start_boottime_ns: TICK_NS, unix_ns: 5 });
    }
    let state = table.state.lock();
    assert_eq!(state.processes.len(), alive + EXITED_MAX);
    assert!(!state.processes.contains_key(&PID), "the one that ended first went");
}

fn table_process() -> Process {
    Process {
        pid: PID,
        ppid: 1,
        start_ticks: 1,
        comm: "x".into(),
        exe: None,
        cmdline: None,
        uid: 0,
        gid: 0,
        cgroup_id: None,
        container_id: None,
        exited_unix_ns: None,
    }
}

#[test]
fn a_upid_is_stable_and_differs_by_pid_start_and_boot() {
    let table = table();
    let upid = table.upid(10, 5 * TICK_NS);
    assert!(upid >= 0);
    assert_eq!(upid, table.upid(10, 5 * TICK_NS + TICK_NS - 1), "a tick is one start");
    let other_boot = Processes { boot_id: table.boot_id ^ 1, ..self::table() };
    for other in [table.upid(11, 5 * TICK_NS), table.upid(10, 6 * TICK_NS), other_boot.upid(10, 5 * TICK_NS)] {
        assert_ne!(upid, other);
    }
    let fixed = Processes { boot_id: 1, ..self::table() };
    assert_eq!(fixed.upid_of_ticks(2, 3), 7_146_778_071_209_253_792, "stored rows carry it, so it may never change");
}

#[test]
fn our_own_upid_is_the_same_from_proc_and_from_the_kernel() {
    let table = table();
    let pid = std::process::id() as i32;
    let (own, upid, started_unix_ns) =
        table.list().into_iter().find(|(process, ..)| process.pid == pid).expect("we are alive");
    assert_eq!(upid, table.upid(pid, own.start_ticks * TICK_NS));
    let age_ns = unix_now_ns() - started_unix_ns;
    assert!((0..3_600_000_000_000).contains(&age_ns), "started {age_ns} ns ago");
}
