//! Which results have `truncated` and `probe_error`, where they stand, and who else may be called so.

use super::{compile_on, fixture_kernel, probe_query};
use crate::compile::{CompileOptions, compile};

const OPEN: &str = "FROM tracepoint.sys_enter_openat";
const EXEC: &str = "FROM tracepoint.sched_process_exec";

/// The names of the result's columns from the third on.
#[track_caller]
fn check(stored: bool, sql: &str, expected: &[&str]) {
    let probe = compile_on(&fixture_kernel(), sql, stored).unwrap();
    let names: Vec<&str> = probe.columns.iter().map(|column| column.name.as_str()).collect();
    let own = if stored { &names[3..] } else { &names[..] };
    assert_eq!(own, expected, "{sql}");
}

#[test]
fn a_table_has_the_columns_that_can_tell_something() {
    check(true, &format!("SELECT pid {OPEN}"), &["pid"]);
    check(true, &format!("SELECT user_string(filename) AS path {OPEN}"), &["path", "truncated", "probe_error"]);
    check(true, &format!("SELECT length(user_string(filename)) AS n {OPEN}"), &["n", "truncated", "probe_error"]);
    check(true, &format!("SELECT user_string(filename) = 'x' AS is_x {OPEN}"), &["is_x", "truncated", "probe_error"]);
    // Bytes of a fixed number are never cut, and what lies in the event itself is always readable.
    check(true, &format!("SELECT user_bytes(filename, 3) AS three {OPEN}"), &["three", "probe_error"]);
    check(true, &format!("SELECT filename {EXEC}"), &["filename", "truncated"]);
    check(true, "SELECT p.comm AS name FROM tp_btf.sched_process_exit", &["name", "probe_error"]);
    // What only the filter reads is no value of the row.
    check(true, &format!("SELECT pid {OPEN} WHERE user_string(filename) LIKE '/etc/%'"), &["pid"]);
    // Of a window three columns are before these.
    let windows = format!("SELECT user_string(filename) AS path, count(*) AS n {OPEN} GROUP BY 1");
    check(true, &windows, &["complete", "path", "n", "other"]);
}

#[test]
fn a_select_list_is_what_the_user_wrote_and_a_star_is_everything() {
    check(false, &format!("SELECT user_string(filename) AS path {OPEN}"), &["path"]);
    check(false, &format!("SELECT truncated, user_string(filename) AS path {OPEN}"), &["truncated", "path"]);
    check(false, &format!("SELECT pid AS truncated {OPEN}"), &["truncated"]);
    let star = compile_on(&fixture_kernel(), &format!("SELECT * {OPEN}"), false).unwrap();
    let names: Vec<&str> = star.columns.iter().map(|column| column.name.as_str()).collect();
    assert_eq!(names[names.len() - 3..], ["mode", "truncated", "probe_error"]);
    check(
        false,
        "SELECT x.ret, truncated, e.probe_error, user_string(e.filename) AS path FROM tracepoint.sys_enter_openat e \
         JOIN tracepoint.sys_exit_openat x ON e.tid = x.tid",
        &["ret", "truncated", "probe_error", "path"],
    );
}

#[test]
fn they_stand_last_and_are_described() {
    let options =
        CompileOptions { name: "test".into(), node: "here".into(), excluded_tgid: None, stored: true, weighted: true };
    let query = probe_query(&format!("SELECT user_string(filename) AS path, probe_error AS why {OPEN}"));
    let probe = compile(&query, &fixture_kernel(), &super::facts(), &options).unwrap();
    let names: Vec<&str> = probe.columns.iter().map(|column| column.name.as_str()).collect();
    assert_eq!(names[3..], ["path", "why", "sample_weight", "truncated", "probe_error"]);
    assert!(probe.columns[6..].iter().all(|column| column.nullable && column.comment.is_some()));
}

#[test]
fn in_a_table_nothing_else_is_called_so() {
    let refused = |sql: &str, state: &str, at: &str| {
        let error = compile_on(&fixture_kernel(), sql, true).expect_err(sql);
        assert_eq!(error.state.0, state, "{sql}: {error}");
        assert_eq!(error.position, sql.find(at).map(|at| at as u32 + 1), "{sql}: {error}");
        assert!(error.hint.is_some(), "{sql}: {error}");
    };
    refused(&format!("SELECT pid AS truncated {OPEN}"), "42939", "pid");
    refused(&format!("SELECT comm AS probe_error {OPEN}"), "42939", "comm");
    refused(&format!("SELECT truncated AS probe_error {OPEN}"), "42939", "truncated");
    refused(&format!("SELECT truncated, count(*) AS n {OPEN} GROUP BY 1"), "0A000", "truncated");
}
