//! The CPUs that a test runs on.

/// Those that this thread may use.
pub fn own_cpus() -> Vec<usize> {
    // SAFETY: the set is plain bits, zero is none of them.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set lives through the call and is as long as we say.
    let result = unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set) };
    assert_eq!(result, 0);
    // SAFETY: the number is below the set's size.
    (0..libc::CPU_SETSIZE as usize).filter(|cpu| unsafe { libc::CPU_ISSET(*cpu, &set) }).collect()
}

/// Lets this thread run on these alone.
pub fn stay_on(cpus: &[usize]) {
    // SAFETY: the set is plain bits, zero is none of them.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the numbers were in such a set.
    cpus.iter().for_each(|cpu| unsafe { libc::CPU_SET(*cpu, &mut set) });
    // SAFETY: the set lives through the call and is as long as we say.
    let result = unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) };
    assert_eq!(result, 0);
}
