//! ALTER PROBE and EXPLAIN through psql: what changes, what stays, and what is refused.

use std::process::Command;

use crate::support::Server;

const CREATE: &str = "CREATE PROBE opens AS SELECT pid, user_string(filename) AS path -- the file
    FROM tracepoint.sys_enter_openat WHERE user_string(filename) LIKE '/tmp/probepilot-alter-%'";

/// Opens a file that nobody else does.
fn open(name: &str) {
    Command::new("cat").arg(format!("/tmp/probepilot-alter-{name}")).output().expect("cat is there");
}

#[test]
fn a_probe_is_altered_while_it_runs() {
    let Some(server) = Server::with_probes(CREATE) else { return };
    open("one");
    server.wait_for("SELECT path FROM opens", "/tmp/probepilot-alter-one");

    server.psql(
        "ALTER PROBE opens AS SELECT pid, comm, user_string(filename) AS path FROM tracepoint.sys_enter_openat
         WHERE user_string(filename) LIKE '/tmp/probepilot-alter-%'",
    );
    open("two");
    server.wait_for("SELECT comm, path FROM opens WHERE comm IS NOT NULL", "cat|/tmp/probepilot-alter-two");
    assert_eq!(server.psql("SELECT count(*) FROM opens WHERE comm IS NULL"), "1", "old rows have no value");
    assert_eq!(server.psql("SELECT version, state FROM system.probes WHERE name = 'opens'"), "2|running");

    server.psql("ALTER PROBE opens SET (max_rows_per_second = 7, retention = '3 days')");
    let created = server.psql("SHOW CREATE PROBE opens");
    assert!(created.contains("max_rows_per_second = '7', retention = '3 days'"), "{created}");

    server.psql("ALTER PROBE opens RENAME TO opened");
    open("three");
    server.wait_for("SELECT count(*) FROM opened", "3");
    assert!(server.psql("SHOW CREATE PROBE opened").starts_with("CREATE PROBE opened WITH"));
    let error = server.psql_error("SELECT * FROM opens");
    assert!(error.contains("42P01"), "{error}");
    let explained = server.psql("EXPLAIN PROBE opened");
    assert!(explained.contains("State: running, version "), "{explained}");
    assert!(explained.contains(" rows, 0 lost"), "{explained}");
}

#[test]
fn an_alteration_that_fails_leaves_the_probe_as_it_was() {
    let Some(server) = Server::with_probes(CREATE) else { return };
    for (change, state) in [
        ("AS SELECT pid::text AS pid FROM tracepoint.sys_enter_openat", "42804"),
        ("AS SELECT nothing FROM tracepoint.sys_enter_openat", "42703"),
        ("SET (colour = 'red')", "22023"),
        ("RENAME TO process_exec", "42P07"),
        ("RENAME TO tracepoint", "42939"),
    ] {
        let error = server.psql_error(&format!("ALTER PROBE opens {change}"));
        assert!(error.contains(state), "{change}: {error}");
    }
    open("still");
    server.wait_for("SELECT path FROM opens", "/tmp/probepilot-alter-still");
    assert_eq!(server.psql("SELECT version, state FROM system.probes WHERE name = 'opens'"), "1|running");
}

#[test]
fn a_select_on_a_hook_is_explained_with_its_limit() {
    let Some(server) = Server::with_probes(CREATE) else { return };
    let explained = server.psql("EXPLAIN SELECT comm FROM tracepoint.sched_process_exec LIMIT 3");
    assert!(explained.contains("Hook: tracepoint.sched_process_exec"), "{explained}");
    assert!(explained.contains("Limit: ends after 3 rows"), "{explained}");
    assert!(explained.contains("Verifier: "), "{explained}");
    let measured = server.psql("EXPLAIN ANALYZE CREATE PROBE x AS SELECT comm FROM tp_btf.sched_switch");
    assert!(measured.contains("Measured for one second: "), "{measured}");
    assert_eq!(server.psql("SELECT count(*) FROM system.probes WHERE name = 'x'"), "0");
}
