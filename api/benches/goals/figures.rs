//! Medians, percentiles, the machine.

/// The middle value; 0 of none.
pub fn median(values: &[f64]) -> f64 {
    percentile(values, 50.0)
}

/// The value that `percent` of all are at or below; 0 of none.
pub fn percentile(values: &[f64], percent: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (percent / 100.0 * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
}

/// Processor, CPUs, kernel: what stands beside every figure.
pub fn machine() -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).and_then(|rest| rest.split_once(':'));
    let model = model.map_or("unknown processor", |(_, name)| name.trim());
    // All CPUs, not those this process is pinned to.
    // SAFETY: sysconf takes a number and touches no memory.
    let cpus = unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) };
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{model}, {cpus} CPUs, Linux {}", kernel.trim())
}

/// Prints a figure: its name, what was found, the machine.
pub fn show(name: &str, found: &str) {
    println!("{name}: {found} | {}", machine());
}

/// CPU time a process used so far, its ended threads included, nanoseconds.
pub fn process_cpu_ns(pid: u32) -> u64 {
    let pid = libc::pid_t::try_from(pid).expect("process ids are positive 32-bit numbers");
    let mut clock: libc::clockid_t = 0;
    // SAFETY: the pointer is to a number of ours that lives through the call.
    let result = unsafe { libc::clock_getcpuclockid(pid, &raw mut clock) };
    assert_eq!(result, 0, "process {pid} runs");
    clock_ns(clock)
}

/// CPU time the calling thread used so far, nanoseconds.
pub fn thread_cpu_ns() -> u64 {
    clock_ns(libc::CLOCK_THREAD_CPUTIME_ID)
}

/// The kernel's monotonic clock, nanoseconds: what `nsecs` of an event holds.
pub fn monotonic_ns() -> i64 {
    clock_ns(libc::CLOCK_MONOTONIC) as i64
}

fn clock_ns(clock: libc::clockid_t) -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a timespec of ours that lives through the call.
    unsafe { libc::clock_gettime(clock, &raw mut now) };
    (now.tv_sec * 1_000_000_000 + now.tv_nsec) as u64
}
