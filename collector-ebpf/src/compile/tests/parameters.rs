//! Parameters of live queries: their types follow from what they stand beside.

use arrow::datatypes::DataType::{self, Int16, Int32, Int64, Utf8, Utf8View};
use probepilot_sql::SqlError;

use super::{compile_on, facts, fixture_kernel, probe_query};
use crate::compile::CompileOptions;
use crate::compile::parameters::{Described, describe};

fn described(sql: &str, given: &[Option<DataType>]) -> Result<Described, SqlError> {
    let options = CompileOptions {
        name: "test".into(),
        node: "here".into(),
        excluded_tgid: None,
        stored: false,
        weighted: false,
    };
    describe(&probe_query(sql), &fixture_kernel(), &facts(), &options, given)
}

#[track_caller]
fn check(sql: &str, given: &[Option<DataType>], expected: &[DataType]) {
    let described = described(sql, given).unwrap_or_else(|error| panic!("{sql}: {error}"));
    assert_eq!(described.parameters, expected, "{sql}");
}

#[test]
fn a_parameter_has_the_type_of_what_it_is_compared_with() {
    let open = "FROM tracepoint.sys_enter_openat";
    check(&format!("SELECT comm {open} WHERE pid = $1"), &[], &[Int32]);
    check(&format!("SELECT comm {open} WHERE $2 < nsecs AND pid IN ($1, 7)"), &[], &[Int32, Int64]);
    check(&format!("SELECT comm {open} WHERE comm LIKE $1 AND flags BETWEEN $2 AND 5"), &[], &[Utf8View, Int32]);
    check(&format!("SELECT $1 AS tag, $2::int AS number {open} LIMIT $3"), &[], &[Utf8, Int32, Int64]);
    check(&format!("SELECT comm {open} WHERE pid = $2"), &[], &[Utf8, Int32]);
    check(&format!("SELECT comm {open} WHERE pid = $1"), &[Some(Int16), None], &[Int16, Utf8]);
    check(&format!("SELECT comm {open}"), &[Some(Int64), None], &[Int64, Utf8]);
    let counted =
        "SELECT comm, count(*) FROM tp_btf.sched_switch WHERE pid = $1 AND time < now() + interval '1 s' GROUP BY comm";
    check(&format!("{counted} HAVING count(*) > $2"), &[], &[Int32, Int64]);
    let pair = "FROM tracepoint.sys_enter_openat e JOIN tracepoint.sys_exit_openat x ON e.tid = x.tid AND e.pid = $1";
    check(&format!("SELECT x.ret {pair} WHERE x.ret < $2"), &[], &[Int32, Int64]);
}

#[test]
fn columns_have_the_types_that_they_have_with_values() {
    let sql = "SELECT pid + $1 AS sum, upper($2) AS name, $3::int AS number FROM tracepoint.sys_enter_openat";
    let schema = described(sql, &[]).unwrap().example.schema();
    let valued = sql.replace("$1", "CAST(5 AS INTEGER)").replace("$2", "'x'").replace("$3", "CAST(5 AS INTEGER)");
    let valued = compile_on(&fixture_kernel(), &valued, false).unwrap().schema();
    assert_eq!(schema, valued);
}

#[test]
fn without_values_parameters_are_refused_at_their_place() {
    let sql = "SELECT comm FROM tracepoint.sys_enter_openat WHERE pid = $1";
    for stored in [false, true] {
        let error = compile_on(&fixture_kernel(), sql, stored).unwrap_err();
        assert_eq!((error.state.0, error.position), ("0A000", Some(58)));
    }
    let error = described(&sql.replace("$1", "$x"), &[]).unwrap_err();
    assert_eq!((error.state.0, error.position), ("42P02", Some(58)));
}
