//! Programs in the running kernel: loaded, attached, counted, drained, and gone afterwards.

mod host; // The kernel the tests run on.
mod by_hand; // Programs without a compiler.

use std::collections::HashMap;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use probepilot_collector_ebpf::capability;
use probepilot_collector_ebpf::kernel::{Hook, Kernel};
use probepilot_collector_ebpf::load::{Counters, LoadError, LoadOptions, LoadedProbe, Rings, Runs};
use probepilot_collector_ebpf::object::{Insn, MapRef, ProgramObject};
use probepilot_sql::{SqlError, SqlState};

use by_hand::{SYSCALL, program};
use host::host;

const PROBE_ID: u32 = 4_000_000_007;

/// How long the kernel may take to free what nobody holds (it waits for all CPUs first).
const FREED_WITHIN: Duration = Duration::from_secs(10);

/// The two kinds of hooks at which our one system call is seen.
fn hooks(kernel: &Kernel) -> [Arc<Hook>; 2] {
    [kernel.hook(&["tracepoint", "sys_enter_getppid"]).unwrap(), kernel.hook(&["tp_btf", "sys_enter"]).unwrap()]
}

const OPTIONS: LoadOptions = LoadOptions { probe_id: PROBE_ID, rows_per_second_max: 1_000 };

fn call(times: usize) {
    for _ in 0..times {
        // SAFETY: the call takes nothing and cannot fail. By number, so that no library answers from memory.
        unsafe { libc::syscall(SYSCALL) };
    }
}

/// Numbers of kernel objects whose name starts so: (commands to walk and open programs, maps).
fn objects_named(prefix: &str) -> Vec<(String, u32)> {
    let mut found = Vec::new();
    for (next, open, name_at) in [(11, 13, 64), (12, 14, 24)] {
        let mut id = 0_u32;
        loop {
            let mut walk = [id, 0, 0];
            // SAFETY: the attributes are three words and hold no addresses.
            if unsafe { libc::syscall(libc::SYS_bpf, next, &raw mut walk, 12) } < 0 {
                break;
            }
            id = walk[1];
            let mut by_id = [id, 0, 0];
            // SAFETY: as above.
            let fd = unsafe { libc::syscall(libc::SYS_bpf, open, &raw mut by_id, 12) };
            if fd < 0 {
                continue; // gone since
            }
            // SAFETY: the kernel has just given us this descriptor.
            let fd = unsafe { OwnedFd::from_raw_fd(fd as i32) };
            let mut answer = [0_u8; 128];
            let mut ask = (fd.as_raw_fd().cast_unsigned(), 128_u32, answer.as_mut_ptr() as u64);
            // SAFETY: the kernel writes at most 128 bytes to the answer, which lives through the call.
            unsafe { libc::syscall(libc::SYS_bpf, 15, &raw mut ask, 16) };
            let name: Vec<u8> = answer[name_at..name_at + 16].iter().copied().take_while(|byte| *byte != 0).collect();
            let name = String::from_utf8(name).unwrap();
            if name.starts_with(prefix) {
                found.push((name, id));
            }
        }
    }
    found
}

fn word(record: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(record[at..at + 8].try_into().unwrap())
}

#[test]
fn records_of_both_kinds_of_hooks_arrive_to_the_unit() {
    let Some(kernel) = host() else { return };
    for hook in hooks(&kernel) {
        let mut rings = Rings::new(1 << 20).unwrap();
        let mut probe = LoadedProbe::load(&program(&hook, "arrive"), &rings.common(), OPTIONS).unwrap();
        call(10);
        assert!(!rings.wait(Duration::ZERO), "nothing comes before {hook} is attached");
        probe.attach().unwrap();
        call(1_000);
        assert!(rings.wait(Duration::from_secs(5)), "the first record of an idle ring wakes us");
        let mut seen = 0;
        let count = rings.drain(|record| {
            assert_eq!(record.len(), 24);
            assert_eq!(word(record, 0), u64::from(PROBE_ID));
            assert_eq!(word(record, 8) >> 32, u64::from(std::process::id()));
            assert_eq!(word(record, 16), SYSCALL as u64);
            seen += 1;
        });
        assert_eq!((count, seen), (1_000, 1_000), "{hook}");
        assert!(!rings.wait(Duration::ZERO), "a drained ring is idle");
        probe.detach();
        call(10);
        assert_eq!(rings.drain(|_| ()), 0);
        let counters = probe.counters().unwrap();
        assert_eq!((counters.events, counters.rows, counters.ring_full), (1_000, 1_000, 0), "{hook}");
        let info = probe.info().unwrap();
        assert!(info.xlated_bytes > 0 && info.memory_bytes > 0 && info.id > 0, "{info:?}");
    }
}

#[test]
fn a_full_ring_loses_rows_that_are_counted_to_the_unit() {
    let Some(kernel) = host() else { return };
    for hook in hooks(&kernel) {
        // Pages of 4 KiB hold 128 records of 32 bytes each.
        let mut rings = Rings::new(1).unwrap();
        let mut probe = LoadedProbe::load(&program(&hook, "full"), &rings.common(), OPTIONS).unwrap();
        probe.attach().unwrap();
        let mut drained = 0;
        for _ in 0..5 {
            call(2_000);
            drained += rings.drain(|_| ());
        }
        probe.detach();
        drained += rings.drain(|_| ());
        let counters = probe.counters().unwrap();
        assert_eq!(counters.events, 10_000, "{hook}");
        assert_eq!(counters.events, counters.rows + counters.ring_full, "{hook}");
        assert_eq!(counters.rows, drained as u64, "{hook}");
        assert!(counters.ring_full > 5_000, "{hook} lost only {}", counters.ring_full);
    }
}

#[test]
fn a_reader_at_work_loses_nothing_and_misses_no_wake() {
    let Some(kernel) = host() else { return };
    const EVENTS: usize = 200_000;
    let [hook, _] = hooks(&kernel);
    let mut rings = Rings::new(8 << 20).unwrap();
    let mut probe = LoadedProbe::load(&program(&hook, "reader"), &rings.common(), OPTIONS).unwrap();
    probe.attach().unwrap();
    let reader = std::thread::spawn(move || {
        let mut per_thread: HashMap<u64, usize> = HashMap::new();
        let (mut count, started) = (0, Instant::now());
        while count < 2 * EVENTS && started.elapsed() < Duration::from_secs(60) {
            assert!(rings.wait(Duration::from_secs(20)), "slept through a record, {count} so far");
            count += rings.drain(|record| *per_thread.entry(word(record, 8)).or_default() += 1);
        }
        per_thread
    });
    let writers: Vec<_> = (0..2)
        .map(|_| {
            std::thread::spawn(|| {
                // Bursts with pauses, so that the ring falls idle again and again.
                for _ in 0..EVENTS / 100 {
                    call(100);
                    std::thread::sleep(Duration::from_micros(50));
                }
            })
        })
        .collect();
    for writer in writers {
        writer.join().unwrap();
    }
    let per_thread = reader.join().unwrap();
    assert_eq!(per_thread.values().copied().collect::<Vec<_>>(), [EVENTS, EVENTS]);
    probe.detach();
    let counters = probe.counters().unwrap();
    assert_eq!((counters.rows, counters.ring_full), (2 * EVENTS as u64, 0));
}

/// A thread that makes the system call without end, and counts.
struct Caller {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<u64>,
}

impl Caller {
    fn start() -> Caller {
        let stop = Arc::new(AtomicBool::new(false));
        let thread = std::thread::spawn({
            let stop = stop.clone();
            move || {
                let mut calls = 0;
                while !stop.load(Ordering::Relaxed) {
                    calls += 1;
                    // SAFETY: the call looks at no argument; the number is for the program, which sees it.
                    unsafe { libc::syscall(SYSCALL, calls) };
                }
                calls
            }
        });
        Caller { stop, thread }
    }

    /// How many calls it made.
    fn end(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// As [`program`], at `tp_btf.sys_enter`; the record's last word is the call's first argument: who calls numbers the events.
fn numbering_program(hook: &Arc<Hook>) -> ProgramObject {
    let mut object = program(hook, "numbering");
    let compare = object.insns.iter().position(|insn| insn.code == 0x55 && insn.dst == 7).unwrap();
    // r7 = regs->di, where the first argument of a system call is. Jumps over this place grow with it.
    let op = |code, dst, src, off| Insn { code, dst, src, off, imm: 0 };
    let added = [op(0x79, 7, 6, 0), op(0x79, 7, 7, FIRST_ARGUMENT_OFFSET)];
    for (at, insn) in object.insns.iter_mut().enumerate().take(compare + 1) {
        let is_jump = matches!(insn.code & 0x07, 0x05) && !matches!(insn.code, 0x85 | 0x95);
        if is_jump && at + 1 + insn.off as usize > compare {
            insn.off += added.len() as i16;
        }
    }
    object.insns.splice(compare + 1..=compare, added);
    let moved = |at: &mut usize| *at += if *at > compare { added.len() } else { 0 };
    object.map_uses.iter_mut().for_each(|(at, _)| moved(at));
    object.patches.iter_mut().for_each(|(at, _)| moved(at));
    object.lines.iter_mut().for_each(|line| moved(&mut line.insn));
    object
}

/// Bytes from `struct pt_regs` to the register with the first argument.
#[cfg(target_arch = "x86_64")]
const FIRST_ARGUMENT_OFFSET: i16 = 112;
#[cfg(target_arch = "aarch64")]
const FIRST_ARGUMENT_OFFSET: i16 = 0;

#[test]
fn a_thousand_versions_take_over_and_no_event_is_lost_or_doubled() {
    const SWAPS: u32 = 1_000;
    let Some(kernel) = host() else { return };
    let [_, hook] = hooks(&kernel);
    let object = numbering_program(&hook);
    let mut rings = Rings::new(64 << 20).unwrap();
    let load = |version| {
        let options = LoadOptions { probe_id: version, ..OPTIONS };
        LoadedProbe::load(&object, &rings.common(), options).unwrap()
    };
    let map = rings.common();
    let mut versions = vec![load(0)];
    versions[0].attach().unwrap();
    // Its first call is seen: the program is attached before.
    let caller = Caller::start();
    let (mut seen, mut of_version) = (Vec::new(), vec![0_u64; SWAPS as usize + 1]);
    let mut drain = |rings: &mut Rings, version: u32| {
        rings.drain(|record| {
            of_version[word(record, 0) as usize] += 1;
            seen.push(word(record, 16));
        });
        of_version[version as usize] > 0
    };
    for version in 1..=SWAPS {
        let options = LoadOptions { probe_id: version, ..OPTIONS };
        let mut next = LoadedProbe::load(&object, &map, options).unwrap();
        next.take_over(versions.last_mut().unwrap()).unwrap();
        versions.push(next);
        // Every version sees some of the flood, also on a machine that has much else to do.
        while !drain(&mut rings, version) {
            std::thread::yield_now();
        }
    }
    let calls = caller.end();
    map.wait_for_programs().unwrap();
    drain(&mut rings, SWAPS);
    let counters: Vec<_> = versions.iter().map(|version| version.counters().unwrap()).collect();
    assert_eq!(counters.iter().map(|counters| counters.ring_full).sum::<u64>(), 0, "the rings are large enough");
    // The library of tests may make the same call: what counts is the caller's numbers, each once.
    seen.sort_unstable();
    assert!(seen.iter().copied().eq(1..=calls), "{} records for {calls} calls", seen.len());
    assert_eq!(of_version, counters.iter().map(|counters| counters.rows).collect::<Vec<_>>());
    println!("{SWAPS} swaps, {calls} calls");
    assert!(versions[..SWAPS as usize].iter().all(|version| !version.is_attached()));
}

#[test]
fn probes_come_and_go_and_those_beside_them_miss_no_event() {
    const VISITS: usize = 300;
    let Some(kernel) = host() else { return };
    let [_, hook] = hooks(&kernel);
    let mut rings = Rings::new(64 << 20).unwrap();
    let load = |object: &ProgramObject, probe_id| {
        LoadedProbe::load(object, &rings.common(), LoadOptions { probe_id, ..OPTIONS }).unwrap()
    };
    let mut stays = load(&numbering_program(&hook), 0);
    stays.attach().unwrap();
    // Its first call is seen: the program is attached before.
    let caller = Caller::start();
    let visitor = program(&hook, "visitor");
    let mut guests = std::collections::VecDeque::new();
    for visit in 1..=VISITS {
        let mut guest = load(&visitor, visit as u32);
        guest.attach().unwrap();
        guests.push_back(guest);
        if guests.len() > 3 {
            // They go in another order than they came.
            let mut gone = guests.swap_remove_front(visit % 3).unwrap();
            gone.detach();
            let counters = gone.counters().unwrap();
            assert_eq!(counters.events, counters.rows + counters.ring_full);
            assert_eq!(gone.counters().unwrap(), counters, "it runs nowhere any more");
        }
    }
    let calls = caller.end();
    drop(guests);
    let mut seen = Vec::new();
    let mut drain = |rings: &mut Rings| {
        rings.drain(|record| {
            if word(record, 0) == 0 {
                seen.push(word(record, 16));
            }
        })
    };
    rings.common().wait_for_programs().unwrap();
    drain(&mut rings);
    let Counters { events, rows, ring_full, .. } = stays.counters().unwrap();
    assert_eq!((events, rows + ring_full), (calls, calls), "each call was an event, whoever came and went");
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len() as u64, rows, "each once");
}

#[test]
fn a_hundred_probes_of_one_hook_see_each_event_and_go_one_by_one() {
    const PROBES: u32 = 100;
    let Some(kernel) = host() else { return };
    // The kernel itself lets 64 programs share a tracepoint.
    for hook in hooks(&kernel) {
        let rings = Rings::new(1 << 20).unwrap();
        let mut probes: Vec<LoadedProbe> = (0..PROBES)
            .map(|probe_id| {
                let options = LoadOptions { probe_id, ..OPTIONS };
                LoadedProbe::load(&program(&hook, "many"), &rings.common(), options).unwrap()
            })
            .collect();
        probes.iter_mut().for_each(|probe| probe.attach().unwrap());
        call(7);
        for (index, probe) in probes.iter_mut().enumerate().step_by(2) {
            probe.detach();
            assert_eq!(probe.counters().unwrap().events, 7, "{hook} {index}");
        }
        call(5);
        for (index, probe) in probes.iter().enumerate() {
            let Counters { events, recursion, .. } = probe.counters().unwrap();
            assert_eq!((events, recursion), (if index % 2 == 0 { 7 } else { 12 }, 0), "{hook} {index}");
        }
    }
}

#[test]
fn a_version_takes_over_only_where_the_old_one_sits() {
    let Some(kernel) = host() else { return };
    let [tracepoint, typed] = hooks(&kernel);
    let rings = Rings::new(1 << 20).unwrap();
    let mut old = LoadedProbe::load(&program(&tracepoint, "old"), &rings.common(), OPTIONS).unwrap();
    let mut new = LoadedProbe::load(&program(&typed, "new"), &rings.common(), OPTIONS).unwrap();
    assert!(new.take_over(&mut old).is_err(), "the old one is not attached");
    old.attach().unwrap();
    assert!(old.sits_at(&tracepoint) && !old.sits_at(&typed));
    assert!(new.take_over(&mut old).is_err(), "the old one is at another hook");
    assert!(old.is_attached() && !new.is_attached());
    call(3);
    assert_eq!(old.counters().unwrap().events, 3, "the old one goes on");
}

#[test]
fn nothing_stays_in_the_kernel() {
    let Some(kernel) = host() else { return };
    let [tracepoint, typed] = hooks(&kernel);
    let name = format!("g{}", std::process::id());
    let rings = Rings::new(1).unwrap();
    let mut probes: Vec<LoadedProbe> = [&tracepoint, &typed, &typed]
        .into_iter()
        .map(|hook| LoadedProbe::load(&program(hook, &name), &rings.common(), OPTIONS).unwrap())
        .collect();
    // The last is only loaded, never attached.
    for probe in &mut probes[..2] {
        probe.attach().unwrap();
    }
    let ours = |prefix: &str| objects_named(prefix).len();
    assert_eq!(ours(&format!("pp_{name}")), 3);
    let programs: Vec<u32> = probes.iter().map(|probe| probe.info().unwrap().id).collect();
    drop(probes);
    drop(rings);
    let deadline = Instant::now() + FREED_WITHIN;
    while ours(&format!("pp_{name}")) > 0 {
        assert!(Instant::now() < deadline, "programs {programs:?} are still there");
        std::thread::sleep(Duration::from_millis(20));
    }
    // Maps carry no probe's name, so ask through this process's descriptors: none is left.
    let left = std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok())
        .filter(|target| target.to_string_lossy().contains("bpf"))
        .count();
    assert_eq!(left, 0, "descriptors of maps, programs and links");
}

#[test]
fn a_refused_program_quotes_the_verifier_and_the_sql() {
    let Some(kernel) = host() else { return };
    let rings = Rings::new(1).unwrap();
    let [hook, _] = hooks(&kernel);
    let mut object = program(&hook, "refused");
    // Without the check of the reserved record the store below it is unsafe.
    let reserve = object.insns.iter().position(|insn| insn.code == 0x85 && insn.imm == 131).unwrap();
    object.insns[reserve + 1] = Insn { code: 0xb7, dst: 5, ..Insn::default() };
    let error = LoadedProbe::load(&object, &rings.common(), OPTIONS).unwrap_err();
    let LoadError::Verifier { program, reason, source_line, .. } = &error else { panic!("{error:?}") };
    assert_eq!(program, "refused");
    assert!(reason.contains("invalid mem access"), "{reason}");
    assert_eq!(source_line.as_ref().unwrap().text, "SELECT pid, id");
    assert!(error.to_sql().message.contains("\"refused\""));
}

#[test]
fn a_malformed_object_never_reaches_the_verifier() {
    let Some(kernel) = host() else { return };
    let rings = Rings::new(1).unwrap();
    let [hook, _] = hooks(&kernel);
    for at in [0, 10_000] {
        let mut object = program(&hook, "malformed");
        object.map_uses.push((at, MapRef::Bucket));
        let error = LoadedProbe::load(&object, &rings.common(), OPTIONS).unwrap_err();
        assert!(matches!(error, LoadError::Malformed { .. }), "{error:?}");
    }
}

#[test]
fn runs_are_measured_while_somebody_asks() {
    let Some(kernel) = host() else { return };
    let rings = Rings::new(1 << 20).unwrap();
    let [hook, _] = hooks(&kernel);
    let mut probes = ["measured", "measured_too"]
        .map(|name| LoadedProbe::load(&program(&hook, name), &rings.common(), OPTIONS).unwrap());
    probes.iter_mut().for_each(|probe| probe.attach().unwrap());
    call(100);
    assert!(probes.iter().all(|probe| probe.runs() == Runs::default()), "nobody has asked yet");
    let measuring = rings.common().measure_runs();
    call(500);
    drop(measuring);
    call(100);
    for probe in &mut probes {
        probe.detach();
        let (runs, info) = (probe.runs(), probe.info().unwrap());
        // The call is this test's alone in our process, but other processes may make it too.
        assert!(runs.count >= 500 && runs.time_ns > 0 && info.verified_insns > 0, "{runs:?} {info:?}");
    }
}

/// What the next test runs in a process of its own: tries all that probes need, and prints what works and what is missing.
#[test]
fn what_works_as_this_user() {
    let Some(root_process) = std::env::var_os("PROBEPILOT_TEST_ROOT_PROCESS") else { return };
    // SAFETY: takes nothing.
    assert_ne!(unsafe { libc::geteuid() }, 0, "this is to run as an ordinary user");
    if let Some(missing) = capability::missing() {
        println!("missing {}", missing.capabilities.join(","));
    }
    let told = |step: &str, error: &SqlError| {
        assert_eq!(error.state, SqlState::INSUFFICIENT_PRIVILEGE, "{step}: {error:?}");
        assert!(error.hint.is_some(), "{step}: {error:?}");
    };
    let executable = std::path::Path::new("/proc").join(root_process).join("exe");
    if std::fs::read_link(executable).is_ok() {
        println!("works: executable");
    }
    let mut rings = match Rings::new(1) {
        Ok(rings) => rings,
        Err(error) => return told("rings", &error.to_sql()),
    };
    println!("works: rings");
    let kernel = Kernel::of_host().unwrap();
    for name in [["tp_btf", "sys_enter"], ["tracepoint", "sys_enter_getppid"]] {
        let loaded = kernel.hook(&name).and_then(|hook| {
            let mut probe =
                LoadedProbe::load(&program(&hook, "user"), &rings.common(), OPTIONS).map_err(|e| e.to_sql())?;
            probe.attach().map_err(|e| e.to_sql())?;
            Ok(probe)
        });
        match loaded {
            Ok(probe) => {
                call(5);
                assert_eq!(rings.drain(|_| ()), 5, "{name:?}");
                assert!(probe.info().unwrap().memory_bytes > 0, "{name:?}");
                println!("works: {}", name[0]);
            }
            Err(error) => told(name[0], &error),
        }
    }
}

#[test]
fn the_capabilities_we_name_are_enough_and_each_is_needed() {
    if host().is_none() {
        return;
    }
    // SAFETY: takes nothing.
    if unsafe { libc::geteuid() } != 0 || Command::new("setpriv").arg("--version").output().is_err() {
        return println!("skipped: needs root and setpriv");
    }
    // A copy: an ordinary user may not even see the directory this test was built in.
    let directory = tempfile::tempdir().unwrap();
    let binary = directory.path().join("test");
    std::fs::copy(std::env::current_exe().unwrap(), &binary).unwrap();
    std::os::unix::fs::chown(directory.path(), Some(65_534), Some(65_534)).unwrap();
    let run = |capabilities: &[&str]| {
        let given: String = capabilities.iter().map(|capability| format!(",+{capability}")).collect();
        let output = Command::new("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .args([format!("--inh-caps=-all{given}"), format!("--ambient-caps=-all{given}")])
            .arg(&binary)
            .args(["--exact", "what_works_as_this_user", "--nocapture"])
            .env("PROBEPILOT_TEST_ROOT_PROCESS", std::process::id().to_string())
            .current_dir("/")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{capabilities:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
        let says = |start| move |line: &str| line.strip_prefix(start).map(str::to_string);
        let works: Vec<String> = text.lines().filter_map(says("works: ")).collect();
        (text.lines().find_map(says("missing ")).unwrap_or_default(), works)
    };
    let check = |capabilities: &[&str], missing: &str, works: &[&str]| {
        let (seen_missing, seen_works) = run(capabilities);
        assert_eq!((seen_missing.as_str(), seen_works), (missing, works.iter().map(|w| (*w).to_string()).collect()));
    };
    let all = ["dac_read_search", "sys_ptrace", "perfmon", "bpf"];
    check(&all, "", &["executable", "rings", "tp_btf", "tracepoint"]);
    check(&["sys_ptrace", "perfmon", "bpf"], "cap_dac_read_search", &["executable", "rings", "tp_btf"]);
    check(&["dac_read_search", "perfmon", "bpf"], "cap_sys_ptrace", &["rings", "tp_btf", "tracepoint"]);
    check(&["dac_read_search", "sys_ptrace", "bpf"], "cap_perfmon", &["executable", "rings"]);
    check(&["dac_read_search", "sys_ptrace", "perfmon"], "cap_bpf", &["executable"]);
    check(&[], "cap_dac_read_search,cap_sys_ptrace,cap_perfmon,cap_bpf", &[]);

    // And the very command we print, without the rights it is run with.
    let command = capability::Missing { capabilities: Vec::new(), in_user_namespace: false }.setcap_command(&binary);
    let mut words = command.split(' ').skip_while(|word| *word == "sudo");
    match Command::new(words.next().unwrap()).args(words).status() {
        Ok(status) if status.success() => check(&[], "", &["executable", "rings", "tp_btf", "tracepoint"]),
        other => println!("skipped the printed command: needs setcap and a file system that keeps it: {other:?}"),
    }
}
