//! What the compiler refuses, with the SQLSTATE, the place and the hint.

use super::{compile_on, fixture_kernel};

/// The query is refused with this code, at the first place where `at` stands in it, with this in message or hint.
#[track_caller]
fn check(stored: bool, sql: &str, state: &str, at: &str, says: &str) {
    let error = compile_on(&fixture_kernel(), sql, stored).expect_err(sql);
    assert_eq!(error.state.0, state, "{sql}: {error}");
    let all = format!("{error} {}", error.hint.as_deref().unwrap_or_default());
    assert!(all.contains(says), "{sql}: {all}");
    let place = sql.find(at).unwrap_or_else(|| panic!("{at} is not in {sql}")) as u32 + 1;
    assert_eq!(error.position, Some(place), "{sql}: {all}");
}

#[test]
fn a_misspelt_name_gets_the_nearest_ones() {
    check(false, "SELECT pidd FROM tracepoint.sched_process_exec", "42703", "pidd", "pid");
    check(false, "SELECT pid FROM tracepoint.sched_proces_exec", "42P01", "tracepoint.", "sched_process_exec");
    check(false, "SELECT usr_string(filename) FROM tracepoint.sys_enter_openat", "42883", "usr_", "user_string");
    check(false, "SELECT args.filenam FROM tracepoint.sys_enter_openat", "42703", "args", "filename");
    check(false, "SELECT 1\n  FROM tracepoint.sched_process_exec WHERE comn = 'x'", "42703", "comn", "comm");
}

#[test]
fn what_is_not_done_yet_is_refused_at_its_place() {
    let exec = "FROM tracepoint.sched_process_exec";
    check(false, &format!("SELECT comm {exec} ORDER BY pid"), "0A000", "pid", "ORDER BY");
    check(false, &format!("SELECT DISTINCT comm {exec}"), "0A000", "SELECT", "DISTINCT");
    check(false, &format!("SELECT row_number() OVER () {exec}"), "0A000", "row_number", "window");
    check(false, &format!("SELECT pid {exec} WHERE pid IN (SELECT 1)"), "0A000", "SELECT 1", "subquery");
    check(false, &format!("SELECT pid {exec} LIMIT 1 OFFSET 2"), "0A000", "1 OFFSET", "OFFSET");
}

#[test]
fn aggregates_that_have_no_answer_are_refused_at_their_place() {
    let exec = "FROM tracepoint.sched_process_exec";
    let hook = "tracepoint.";
    let until = "WHERE time < now() + interval '1 s'";
    for (sql, state, at, says) in [
        (format!("SELECT count(*) {exec}"), "0A000", hook, "time < now() + interval '5 s'"),
        (format!("SELECT count(*) {exec} LIMIT 3"), "0A000", hook, "time_bucket"),
        (format!("SELECT pid {exec} {until} GROUP BY comm"), "42803", "pid", "GROUP BY"),
        (format!("SELECT count(*) {exec} {until} AND count(*) > 1"), "42803", "count(*) > 1", "aggregate"),
        (format!("SELECT count(*) {exec} {until} GROUP BY 2"), "42P10", "2", "select list"),
        (format!("SELECT median(pid) {exec} {until}"), "0A000", "median", "approx_percentile"),
        (format!("SELECT sum(DISTINCT pid) {exec} {until}"), "0A000", "sum", "DISTINCT"),
        (format!("SELECT sum(max(pid)) {exec} {until}"), "42803", "sum", "nested"),
        (format!("SELECT approx_percentile(pid, 99) {exec} {until}"), "22023", "approx_percentile", "0.99"),
        (format!("SELECT count(*), time_bucket('1 s', time) {exec} {until}"), "42803", "time_bucket", "GROUP BY"),
        (format!("SELECT count(*) {exec} GROUP BY time_bucket('1 month', time)"), "22023", "'1 month'", "weeks"),
        (format!("SELECT count(*) {exec} GROUP BY time_bucket('1 us', time)"), "22023", "'1 us'", "millisecond"),
        (format!("SELECT *, count(*) {exec} {until} GROUP BY pid"), "42803", "*", "GROUP BY"),
        (format!("SELECT count(*) {exec} WHERE time < now() - interval '1 s'"), "0A000", "time <", "to come"),
        (format!("SELECT count(*) {exec} {until} AND time > now() + interval '1 h'"), "0A000", "time > now", "at once"),
    ] {
        check(false, &sql, state, at, says);
    }
    check(true, &format!("SELECT count(*) AS n {exec} WHERE time < '2200-01-01'"), "0A000", hook, "run_for");
    check(true, &format!("SELECT count(*) AS complete {exec}"), "42939", "count(*)", "AS");
    check(
        true,
        &format!("SELECT count(*) {exec} GROUP BY user_string(filename, 4096)"),
        "54000",
        "user_string",
        "4096",
    );
}

#[test]
fn a_probe_has_as_many_maps_of_lists_as_the_kernel_allows() {
    let query = |lists: i64| {
        let columns: Vec<String> =
            (0..lists).map(|list| format!("pid IN ({list}, 100, 200, 300, 400) AS list_{list}")).collect();
        format!("SELECT {} FROM tracepoint.sched_process_exec", columns.join(", "))
    };
    assert_eq!(compile_on(&fixture_kernel(), &query(32), false).unwrap().object.sets.len(), 32);
    check(false, &query(33), "54000", "tracepoint.", "at most 32 lists");
}

#[test]
fn a_stored_probe_has_no_moment_and_no_end() {
    let exec = "FROM tracepoint.sched_process_exec";
    check(true, &format!("SELECT pid {exec} WHERE time > now()"), "0A000", "now", "now");
    check(true, &format!("SELECT random() AS r {exec}"), "0A000", "random", "random");
    check(true, &format!("SELECT pid {exec} LIMIT 3"), "0A000", "3", "LIMIT");
    check(true, &format!("SELECT pid + 1 {exec}"), "42601", "pid + 1", "AS");
    check(true, &format!("SELECT pid, tid AS pid {exec}"), "42701", "tid", "pid");
}

#[test]
fn a_bare_pointer_gets_the_function_that_reads_it() {
    check(false, "SELECT filename FROM tracepoint.sys_enter_openat", "42804", "filename", "user_string(filename)");
    check(
        false,
        "SELECT kernel_string(filename) FROM tracepoint.sys_enter_openat",
        "42804",
        "kernel_string",
        "user_string(filename)",
    );
}

#[test]
fn bytes_are_read_from_an_address_the_kernel_knows() {
    let open = "FROM tracepoint.sys_enter_openat";
    check(false, &format!("SELECT user_bytes(comm, 3) {open}"), "42804", "user_bytes", "pointer");
    check(false, &format!("SELECT user_bytes(filename, 0) {open}"), "22023", "user_bytes", "between 1 and 4096");
    check(false, &format!("SELECT user_bytes(filename, flags, 5000) {open}"), "22023", "user_bytes", "4096");
    check(false, &format!("SELECT user_bytes(filename, length(comm)) {open}"), "0A000", "user_bytes", "user_string");
    check(false, &format!("SELECT user_bytes(filename, pid) {open}"), "0A000", "user_bytes", "of the event");
    check(
        false,
        "SELECT user_bytes(e.filename, x.ret) FROM tracepoint.sys_enter_openat e JOIN tracepoint.sys_exit_openat x ON e.tid = x.tid",
        "0A000",
        "user_bytes",
        "that event's number",
    );
}

#[test]
fn types_that_do_not_fit_are_refused() {
    let exec = "FROM tracepoint.sched_process_exec";
    check(false, &format!("SELECT tid {exec} WHERE pid"), "42804", "pid", "boolean");
}

#[test]
fn joins_that_are_no_pairs_are_refused_at_their_place() {
    let enter = "tracepoint.sys_enter_openat e";
    let exit = "tracepoint.sys_exit_openat x";
    let on = "ON e.tid = x.tid";
    let both =
        "SELECT tid, ret FROM tracepoint.sys_exit_openat UNION ALL SELECT tid, ret FROM tracepoint.sys_exit_read";
    for (sql, state, at, says) in [
        (format!("SELECT x.ret FROM {enter} LEFT JOIN {exit} {on}"), "0A000", exit, "inner"),
        (format!("SELECT x.ret FROM {enter} FULL JOIN {exit} {on}"), "0A000", exit, "inner"),
        (format!("SELECT x.ret FROM {enter} JOIN {exit}"), "0A000", exit, "ON"),
        (format!("SELECT x.ret FROM {enter}, {exit}"), "0A000", exit, "JOIN"),
        (format!("SELECT x.ret FROM {enter} JOIN {exit} ON e.tid < x.tid"), "0A000", "e.tid <", "equalities"),
        (format!("SELECT x.ret FROM {enter} JOIN {exit} {on} AND e.pid < x.pid"), "0A000", "e.pid", "WHERE"),
        (format!("SELECT x.ret FROM {enter} JOIN {exit} ON e.pid = 5"), "0A000", exit, "equality"),
        (format!("SELECT x.ret FROM {enter} JOIN {exit} {on} AND x.ret / x.ret = 1"), "0A000", "x.ret /", "WHERE"),
        (format!("SELECT x.ret FROM {enter} JOIN {exit} ON e.comm = x.comm"), "0A000", "e.comm", "integers"),
        (format!("SELECT x.ret FROM {enter} JOIN files x ON e.tid = x.id"), "0A000", "files", "no hook"),
        (
            format!("SELECT x.ret FROM {enter} JOIN {exit} {on} JOIN {exit}2 {on}2"),
            "0A000",
            "tracepoint.sys_exit_openat x2",
            "Make a probe of each pair",
        ),
        (format!("SELECT x.ret FROM {enter} JOIN ({both}) x {on}"), "0A000", both, "one hook before JOIN"),
        (format!("SELECT x.ret FROM ({both}) e JOIN {exit} {on}"), "0A000", both, "one hook before JOIN"),
        (format!("SELECT x.ret FROM {enter} JOIN ({exit} JOIN {exit}2 {on}) {on}"), "0A000", exit, "UNION ALL"),
        (
            format!("SELECT e.pid FROM {enter} UNION ALL SELECT pid FROM tp_btf.sched_switch"),
            "0A000",
            "SELECT",
            "UNION ALL",
        ),
        (
            format!("SELECT ret FROM {exit} JOIN {exit} ON x.tid = x.tid"),
            "42712",
            "tracepoint.sys_exit_openat x ON",
            "specified",
        ),
        (format!("SELECT pid FROM {enter} JOIN {exit} {on}"), "42702", "pid", "e.pid or x.pid"),
        (format!("SELECT x.filename FROM {enter} JOIN {exit} {on}"), "42703", "x.filename", "does not exist"),
        (format!("SELECT y.* FROM {enter} JOIN {exit} {on}"), "42P01", "y.*", "y"),
        (format!("SELECT e.filename FROM {enter} JOIN {exit} {on}"), "42804", "e.filename", "user_string(e.filename)"),
        (
            "SELECT c.error FROM tp_btf.block_rq_issue i JOIN tp_btf.block_rq_complete c ON i.tid = c.tid".to_owned(),
            "0A000",
            "i.tid",
            "bystander",
        ),
    ] {
        check(false, &sql, state, at, says);
    }
}

#[test]
fn casts_of_what_is_no_pointer_or_to_what_is_no_struct_are_refused() {
    let from = "FROM tracepoint.inet_sock_set_state";
    for (column, state, at, says) in [
        ("(skaddr::no_such).sk_err", "42704", "skaddr", "no struct \"no_such\""),
        ("(skaddr::sock).sk_er", "42703", "skaddr", "sk_err"),
        ("(oldstate::sock).sk_err", "42809", "oldstate", "does not point"),
        ("(skaddr::sock).sk_err.more", "42809", "skaddr", "not a struct"),
        ("skaddr.sk_err", "42809", "skaddr", "::type"),
    ] {
        check(false, &format!("SELECT {column} {from}"), state, at, says);
    }
}

#[test]
fn names_that_one_hook_has_need_no_alias() {
    let sql = "SELECT ret, flags, x.* FROM tracepoint.sys_enter_openat e JOIN tracepoint.sys_exit_openat x USING (tid)";
    let probe = compile_on(&fixture_kernel(), sql, false).unwrap();
    let names: Vec<&str> = probe.columns.iter().map(|column| column.name.as_str()).collect();
    assert_eq!(names[..3], ["ret", "flags", "time"]);
    assert!(!names.contains(&"filename"), "{names:?}");
}

#[test]
fn samples_that_make_no_sense_are_refused_at_the_argument() {
    for (from, state, at, says) in [
        ("profile()", "22023", "profile", "profile(99)"),
        ("profile(1, 2)", "22023", "profile", "one argument"),
        ("profile(0)", "22023", "0)", "1 to 10000"),
        ("profile(-7)", "22023", "7)", "not -7"),
        ("profile(10001)", "22023", "10001", "1 to 10000"),
        ("profile(99999999999999999999999)", "22023", "9999", "no whole number"),
        ("profile(9.5)", "22023", "9.5", "no whole number"),
        ("profile('99')", "22023", "'99'", "no whole number"),
        ("profile(pid)", "0A000", "pid)", "no literal"),
        ("profile(50 + 49)", "0A000", "50", "no literal"),
        ("profile($1)", "0A000", "$1", "no literal"),
        ("profile(hertz => 9)", "0A000", "hertz", "argument"),
        ("perf()", "22023", "perf", "perf('page-faults', 100)"),
        ("perf('page-faults')", "22023", "perf", "two arguments"),
        ("perf('page-fault', 1)", "22023", "'page-fault'", "page-faults"),
        ("perf('cycles', 1)", "22023", "'cycles'", "context-switches"),
        ("perf(7, 1)", "22023", "7", "text"),
        ("perf(comm, 1)", "0A000", "comm", "no literal"),
        ("perf('page-faults', 0)", "22023", "0)", "1 to"),
        ("perf('page-faults', 9223372036854775807)", "22023", "9223372036854775807", "1 to"),
        ("perf('cpu-clock', 99999)", "22023", "99999", "100000"),
        ("profile", "0A000", "profile", "profile(99)"),
        ("generate_series(1, 2)", "0A000", "generate_series", "anything but a hook"),
        ("profile(9) a JOIN profile(99) b ON a.pid = b.pid", "0A000", "profile(9)", "join with samples"),
        ("tracepoint.sched_process_exec a JOIN perf('page-faults', 1) b ON a.pid = b.pid", "0A000", "perf", "samples"),
    ] {
        check(true, &format!("SELECT 1 AS one FROM {from}"), state, at, says);
    }
    check(false, "SELECT addres FROM perf('page-faults', 1)", "42703", "addres", "address");
    check(false, "SELECT address FROM profile(99)", "42703", "address", "SELECT * FROM profile(99) LIMIT 1");
}

#[test]
fn stacks_that_cannot_be_are_refused_at_their_place() {
    let exec = "FROM tracepoint.sched_process_exec";
    for (sql, state, at, says) in [
        (format!("SELECT kernel_stack(0) {exec}"), "22023", "kernel_stack", "1 to 126"),
        (format!("SELECT kstack(127) {exec}"), "22023", "kstack", "kernel_stack keeps"),
        (format!("SELECT user_stack('all') {exec}"), "22023", "user_stack", "whole number"),
        (format!("SELECT ustack(pid) {exec}"), "22023", "ustack", "whole number"),
        (format!("SELECT kernel_stak() {exec}"), "42883", "kernel_stak", "kernel_stack"),
        (format!("SELECT kernel_frames(3) {exec}"), "42883", "kernel_frames", "does not exist"),
        (format!("SELECT symbol(comm) {exec}"), "42804", "symbol", "symbol"),
    ] {
        check(false, &sql, state, at, says);
    }
    check(false, &format!("SELECT user_stack(1, 2) {exec}"), "42883", "user_stack", "or nothing");
}
