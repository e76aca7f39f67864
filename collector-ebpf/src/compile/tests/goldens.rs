//! Plan split, record layout and costs on the fixture kernel, against goldens: what we decide, never what a kernel says.

use std::fmt::Write;
use std::path::Path;

use super::{compile_on, fixture_kernel};
use crate::explain;

/// What the compiler decides for a query, against `tests/golden/NAME.txt`; `UPDATE_GOLDEN=1` writes the file.
#[track_caller]
fn check(name: &str, reason: &str, stored: bool, sql: &str) {
    let probe = compile_on(&fixture_kernel(), sql, stored).unwrap();
    let mut text = format!("{reason}\n\n{sql}\n\nsummary: {}\n", probe.summary);
    for line in probe.explain(false).into_iter().chain(explain::record_cells(&probe)) {
        writeln!(text, "{line}").unwrap();
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(format!("{name}.txt"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &text).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, golden, "{} differs; UPDATE_GOLDEN=1 writes it", path.display());
}

#[test]
fn a_filter_on_a_user_string_runs_in_the_kernel() {
    check(
        "open_prefix",
        "The prefix of a path is compared in the kernel, in scratch memory, and only rows that pass are copied.",
        true,
        "SELECT time, pid, comm, user_string(filename) AS path FROM tracepoint.sys_enter_openat \
         WHERE user_string(filename) LIKE '/etc/%'",
    );
}

#[test]
fn a_list_of_more_than_four_is_one_lookup() {
    check(
        "list",
        "Up to four members are compared; more are keys of a map.",
        false,
        "SELECT pid, sig FROM tracepoint.signal_generate WHERE sig IN (1, 2, 3, 6, 9, 15) \
         AND comm IN ('bash', 'dash', 'fish', 'sh', 'zsh') AND errno IN (0, 1)",
    );
}

#[test]
fn what_the_kernel_cannot_do_runs_after_it() {
    check(
        "split",
        "One conjunct for the kernel, one for after it; of an expression that is not the kernel's only its columns \
         are carried.",
        false,
        "SELECT pid, upper(comm) AS upper_comm, pid * 2 AS twice FROM tracepoint.sched_process_exec \
         WHERE pid > 100 AND comm LIKE '%sh'",
    );
}

#[test]
fn a_row_of_small_columns_is_built_in_the_ring() {
    check(
        "in_ring",
        "No long string: the record is built in place in the reserved slot.",
        false,
        "SELECT pid, tid, uid, comm, cpu, args.pid AS target, sig FROM tracepoint.signal_generate WHERE sig IN (9, 15)",
    );
}

#[test]
fn the_current_task_is_null_in_interrupts() {
    check(
        "interrupt",
        "A completion interrupts whoever runs: pid and comm are NULL and take no room in the record.",
        true,
        "SELECT pid, comm, cpu, dev, sector FROM tracepoint.block_rq_complete",
    );
}

#[test]
fn members_are_followed_by_dots() {
    check(
        "members",
        "Typed pointers are loaded directly, each tested for NULL on the way.",
        false,
        "SELECT p.tgid AS pid, p.comm AS name, p.real_parent.tgid AS parent FROM tp_btf.sched_process_exit \
         WHERE p.real_parent.tgid > 1",
    );
}

#[test]
fn a_star_reads_strings_and_leaves_pointers_out() {
    check(
        "star",
        "A star gives the current task's columns, then the event's; one that collides gets a prefix.",
        false,
        "SELECT * FROM tracepoint.sched_process_exec WHERE filename = '/bin/sh'",
    );
}

#[test]
fn a_call_and_its_return_pair_in_the_thread() {
    check(
        "pair_thread",
        "The start keeps what the row needs of it with the thread; what the key makes equal is tested at both ends.",
        true,
        "SELECT x.pid, x.comm, user_string(e.filename) AS path, e.flags, x.ret, x.nsecs - e.nsecs AS latency_ns, \
         e.time AS began FROM tracepoint.sys_enter_openat e JOIN tracepoint.sys_exit_openat x ON e.tid = x.tid \
         WHERE e.pid > 1 AND user_string(e.filename) LIKE '/etc/%' AND x.ret < 0 AND x.nsecs - e.nsecs > 1000",
    );
}

#[test]
fn a_request_and_its_completion_pair_by_address() {
    check(
        "pair_object",
        "The key is a pointer; the end runs in an interrupt, where only what the start kept says whose event it is.",
        false,
        "SELECT c.time, c.rq.__data_len AS bytes, c.error, i.cpu AS issued_on, c.nsecs - i.nsecs AS latency_ns \
         FROM tp_btf.block_rq_issue i JOIN tp_btf.block_rq_complete c ON i.rq = c.rq WHERE i.rq.__data_len > 0",
    );
}

#[test]
fn groups_are_counted_in_the_kernel() {
    check(
        "windows",
        "Keys and numbers of the kernel; what it cannot evaluate is a key and computed over its groups.",
        true,
        "SELECT time_bucket('1 second', time) AS time, comm, upper(comm) AS name, count(*) AS events, \
         sum(args.pid) AS total, avg(args.pid) AS mean, approx_percentile(sig, 0.99) AS high, count(DISTINCT sig) AS kinds \
         FROM tracepoint.signal_generate WHERE sig > 0 GROUP BY 1, 2, name HAVING count(*) > 1 ORDER BY events DESC LIMIT 5",
    );
}

#[test]
fn samples_are_counted_by_whoever_was_interrupted() {
    check(
        "samples",
        "A function in FROM: an event of each CPU's clock, about the task that it interrupted.",
        true,
        "SELECT p.pid, p.comm, p.ip, count(*) AS samples FROM profile(19) p WHERE p.pid > 0 GROUP BY 1, 2, 3",
    );
}

#[test]
fn stacks_are_taken_in_the_kernel_and_named_after_it() {
    check(
        "stack",
        "Addresses come with the record, of the process's stack with its id; names are put to them where rows are made.",
        false,
        "SELECT next.comm AS name, kstack() AS kernel, concat_ws(';', comm, user_stack(10)) AS process, symbol(42) AS known \
         FROM tp_btf.sched_switch WHERE kernel_stack() LIKE '%futex%'",
    );
}

#[test]
fn the_shipped_probes_are_split_as_they_were() {
    for probe in crate::probes::builtin() {
        let reason = "A shipped probe: what it costs in the kernel, and what is left for after it.";
        check(&format!("probes/{}", probe.name), reason, true, probe.sql);
    }
}
