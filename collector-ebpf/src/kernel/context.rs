//! Whose task is current at which hook.
//!
//! The kernel does not say it, so this is a list. What is not listed may run anywhere: then pid and comm read NULL,
//! which is better than blaming whoever was interrupted.

use super::hook::HookContext;

/// Groups whose events fire in the task that causes them. File systems' workers are tasks too: kernel threads.
const TASK_GROUPS: [&str; 22] = [
    "avc",
    "btrfs",
    "capability",
    "cgroup",
    "compaction",
    "erofs",
    "ext4",
    "filelock",
    "fs_dax",
    "fuse",
    "huge_memory",
    "io_uring",
    "jbd2",
    "mmap",
    "mmap_lock",
    "module",
    "oom",
    "raw_syscalls",
    "signal",
    "syscalls",
    "task",
    "vmscan",
];

/// Groups whose events fire in an interrupt.
const IRQ_GROUPS: [&str; 4] = ["irq", "irq_vectors", "nmi", "irq_matrix"];

/// Single events in the causing task, in groups where others are not.
///
/// At `sched_switch` the current task is still the one that leaves.
const TASK_EVENTS: [&str; 3] = ["sched_switch", "sched_prepare_exec", "page_fault_user"];

/// Single events in an interrupt: requests complete on whichever CPU the device interrupts.
const IRQ_EVENTS: [&str; 3] = ["block_rq_complete", "block_rq_error", "hrtimer_expire_entry"];

/// The context of an event; `group` is empty when not known.
///
/// Signals count as the sender's: those the kernel itself raises from a timer's interrupt are told apart by their `code`.
pub fn of(group: &str, name: &str) -> HookContext {
    if IRQ_EVENTS.contains(&name) {
        return HookContext::Irq;
    }
    let system_call = name.starts_with("sys_enter") || name.starts_with("sys_exit");
    if system_call || name.starts_with("sched_process_") || TASK_EVENTS.contains(&name) {
        return HookContext::Task;
    }
    if TASK_GROUPS.contains(&group) {
        HookContext::Task
    } else if IRQ_GROUPS.contains(&group) {
        HookContext::Irq
    } else {
        HookContext::Any
    }
}

#[cfg(test)]
mod tests {
    use super::of;
    use crate::kernel::HookContext;

    #[test]
    fn the_interrupted_task_is_never_taken_for_the_cause() {
        for (group, name, expected) in [
            ("sched", "sched_process_exec", HookContext::Task),
            ("syscalls", "sys_enter_openat", HookContext::Task),
            ("signal", "signal_generate", HookContext::Task),
            ("", "sys_enter", HookContext::Task),
            ("sched", "sched_wakeup", HookContext::Any),
            ("sock", "inet_sock_set_state", HookContext::Any),
            ("tcp", "tcp_retransmit_skb", HookContext::Any),
            ("block", "block_rq_issue", HookContext::Any),
            ("block", "block_rq_complete", HookContext::Irq),
            ("irq", "softirq_entry", HookContext::Irq),
            ("unheard_of", "thing", HookContext::Any),
        ] {
            assert_eq!(of(group, name), expected, "{group}:{name}");
        }
    }
}
