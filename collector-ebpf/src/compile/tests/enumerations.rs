//! Enumerations are text to the user and numbers to the kernel; elements of arrays are numbers.

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;

use super::rows::{CLOCK, record};
use super::{compile_on, fixture_kernel};
use crate::compile::{CompiledProbe, OutputColumn};
use probepilot_sql::{SqlError, SqlType};

fn exits(select: &str, filter: &str) -> Result<CompiledProbe, SqlError> {
    let sql = format!("SELECT {select} FROM tp_btf.sched_process_exit WHERE {filter}");
    compile_on(&fixture_kernel(), &sql, false)
}

/// What a select item is for processes that `exited_as` these numbers.
fn texts(select: &str, numbers: &[i64]) -> Vec<Option<String>> {
    let probe = exits(&format!("{select} AS x"), "group_dead").unwrap();
    let mut decoder = probe.decoder();
    for number in numbers {
        decoder.push(&record(&probe, 0, &[("p.exited_as#number", *number)], &[])).unwrap();
    }
    let batch = decoder.finish(&CLOCK).unwrap();
    batch.column(0).as_string_view().iter().map(|text| text.map(str::to_owned)).collect()
}

#[test]
fn a_value_is_shown_by_its_name_or_its_number() {
    let some = |texts: &[&str]| texts.iter().map(|text| Some((*text).to_owned())).collect::<Vec<_>>();
    assert_eq!(texts("p.exited_as", &[-1, 0, 1, 7]), some(&["PIDTYPE_NONE", "PIDTYPE_PID", "PIDTYPE_TGID", "7"]));
    assert_eq!(texts("lower(p.exited_as)", &[0]), some(&["pidtype_pid"]));
    assert_eq!(
        texts("CASE p.exited_as WHEN 'PIDTYPE_PID' THEN 'one' WHEN '7' THEN 'new' END", &[0, 7, 1]),
        [Some("one".into()), Some("new".into()), None]
    );
    let columns = exits("p.exited_as", "group_dead").unwrap().columns;
    let [OutputColumn { name, sql_type: SqlType::Text, comment: Some(comment), .. }] = columns.as_slice() else {
        panic!("{columns:?}")
    };
    assert_eq!((name.as_str(), comment.as_str()), ("exited_as", "enum pid_type exited_as"));
}

#[test]
fn comparisons_with_names_and_numbers_run_in_the_kernel() {
    for filter in [
        "p.exited_as = 'PIDTYPE_PID'",
        "'PIDTYPE_PID' <> p.exited_as",
        "p.exited_as IN ('PIDTYPE_PID', 'PIDTYPE_TGID', '9')",
        "p.exited_as NOT IN ('PIDTYPE_PID', NULL)",
        "p.exited_as IS NOT NULL AND p.exited_as > 0",
        "p.exited_as = 1",
        "p.exited_as BETWEEN 0 AND 1",
        "p.mask = 'BIG_MASK'",
        "p.exited_as = p.real_parent.exited_as",
        "CASE p.exited_as WHEN 'PIDTYPE_PID' THEN true ELSE false END",
        "CASE WHEN p.exited_as = 'PIDTYPE_PID' THEN 1 ELSE 2 END = 1",
        "CAST(p.exited_as AS bigint) & 1 = 1",
    ] {
        let probe = exits("pid", filter).unwrap_or_else(|error| panic!("{filter}: {error}"));
        let split = &probe.split;
        assert!(split.after_filters.is_empty() && !split.kernel_filters.is_empty(), "{filter}: {}", probe.summary);
        assert!(probe.split.record.iter().all(|column| column.name == "pid"), "{filter}");
    }
    let after = exits("pid", "p.exited_as LIKE '%TGID'").unwrap();
    assert_eq!((after.split.kernel_filters.len(), after.split.after_filters.len()), (0, 1));
}

#[test]
fn a_text_that_is_no_value_is_refused_with_the_nearest() {
    let error = exits("pid", "p.exited_as = 'PIDTYPE_TGIDS'").unwrap_err();
    assert_eq!((error.state.0, error.position), ("22P02", Some(49)));
    assert!(error.hint.as_deref().unwrap().contains("PIDTYPE_TGID"), "{error:?}");
    let error = exits("pid", "p.exited_as IN ('zzz')").unwrap_err();
    assert!(error.hint.as_deref().unwrap().contains("PIDTYPE_NONE, PIDTYPE_PID"), "{error:?}");
    assert_eq!(exits("pid", "p.exited_as = '0'").unwrap_err().state.0, "22P02", "0 is shown by its name");
}

#[test]
fn an_integer_with_a_table_of_names_stays_a_number_and_has_a_label() {
    let from = "FROM tracepoint.inet_sock_set_state";
    let sql = format!(
        "SELECT label(newstate) AS state, newstate {from} WHERE label(newstate) <> 'TCP_CLOSE' OR newstate = 2"
    );
    let probe = compile_on(&fixture_kernel(), &sql, false).unwrap();
    assert!(probe.split.after_filters.is_empty(), "{}", probe.summary);
    assert_eq!(probe.columns[1].sql_type, SqlType::Integer);
    let mut decoder = probe.decoder();
    for state in [1, 2] {
        decoder.push(&record(&probe, 0, &[("newstate", state)], &[])).unwrap();
    }
    let batch = decoder.finish(&CLOCK).unwrap();
    let states: Vec<_> = batch.column(0).as_string_view().iter().flatten().collect();
    assert_eq!(states, ["TCP_ESTABLISHED", "2"]);
    let error = compile_on(&fixture_kernel(), &format!("SELECT label(sport) {from}"), false).unwrap_err();
    assert_eq!(error.state.0, "42809");
}

#[test]
fn an_element_of_an_array_is_a_number() {
    let sql = "SELECT args[1], e.args[6] AS last FROM tracepoint.raw_syscalls.sys_enter e WHERE args[2] << 1 > 4";
    let probe = compile_on(&fixture_kernel(), sql, false).unwrap();
    assert!(probe.split.after_filters.is_empty());
    let names: Vec<_> = probe.columns.iter().map(|column| (column.name.as_str(), column.sql_type)).collect();
    assert_eq!(names, [("args", SqlType::BigInt), ("last", SqlType::BigInt)]);
    let mut decoder = probe.decoder();
    decoder.push(&record(&probe, 0, &[("args[1]", 11), ("args[6]", 66)], &[])).unwrap();
    let batch = decoder.finish(&CLOCK).unwrap();
    let value = |column: usize| batch.column(column).as_primitive::<Int64Type>().value(0);
    assert_eq!((value(0), value(1), batch.num_rows()), (11, 66, 1));
    let member = "SELECT sk.__sk_common.skc_v6_daddr.s6_addr32[4] AS low, sk->__sk_common->skc_v6_daddr.s6_addr[16] AS byte \
        FROM tp_btf.inet_sock_set_state";
    let probe = compile_on(&fixture_kernel(), member, false).unwrap();
    let names: Vec<_> = probe.columns.iter().map(|column| (column.name.as_str(), column.sql_type)).collect();
    assert_eq!(names, [("low", SqlType::BigInt), ("byte", SqlType::SmallInt)]);
}

#[test]
fn an_element_that_is_not_there_is_refused() {
    let refused = |item: &str| {
        let sql = format!("SELECT {item} FROM tracepoint.raw_syscalls.sys_enter");
        let error = compile_on(&fixture_kernel(), &sql, false).expect_err(item);
        (error.state.0, error.position)
    };
    assert_eq!(refused("args[0]"), ("2202E", Some(8)));
    assert_eq!(refused("args[7]"), ("2202E", Some(8)));
    assert_eq!(refused("id[1]"), ("42804", Some(8)));
    assert_eq!(refused("args[id]"), ("0A000", Some(8)));
    assert_eq!(refused("args[1:2]"), ("0A000", Some(8)));
    assert_eq!(refused("args"), ("0A000", Some(8)));
}

#[test]
fn an_enumeration_of_either_hook_of_a_join_is_text() {
    let sql = "SELECT s.p.exited_as AS before, e.p.exited_as AS after FROM tp_btf.sched_process_exec s \
        JOIN tp_btf.sched_process_exit e ON s.pid = e.pid WHERE e.p.exited_as <> 'PIDTYPE_NONE'";
    let probe = compile_on(&fixture_kernel(), sql, false).unwrap();
    let types: Vec<SqlType> = probe.columns.iter().map(|column| column.sql_type).collect();
    assert_eq!(types, [SqlType::Text, SqlType::Text]);
    assert!(probe.split.after_filters.is_empty(), "{}", probe.summary);
    let error = compile_on(&fixture_kernel(), &sql.replace("PIDTYPE_NONE", "NONE"), false).unwrap_err();
    assert_eq!(error.state.0, "22P02");
}
