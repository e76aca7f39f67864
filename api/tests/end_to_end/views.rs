//! Views and comments that users make.

use crate::kernel_duckdb::SCRIPT;
use crate::support::{Python, Server};
use crate::tables::FIXTURE;

#[test]
fn a_view_is_what_it_was_made_as_in_every_session_and_after_a_kill() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &["--no-probes"]);
    server.psql(FIXTURE);
    server.psql(
        "CREATE SCHEMA s; CREATE TABLE s.t (a int, b text); INSERT INTO s.t VALUES (1, 'one'), (2, 'two');
         SET search_path = s, public;
         CREATE VIEW doubled (twice) AS SELECT a * 2, b FROM t;
         CREATE VIEW s.top AS WITH t AS (SELECT max(twice) AS m FROM doubled) SELECT m AS \"Most\" FROM t;",
    );
    let check = |server: &Server| {
        assert_eq!(server.psql("SELECT count(*) FROM errors"), "0");
        assert_eq!(server.psql("SELECT twice, b FROM s.doubled ORDER BY twice"), "2|one\n4|two");
        assert_eq!(server.psql("SELECT \"Most\" FROM s.top"), "4");
        assert_eq!(server.psql("SELECT count(*) FROM s.doubled JOIN s.t ON twice = a"), "1");
    };
    check(&server);
    server.psql("INSERT INTO logs (timestamp, severity_number, body) VALUES (now(), 17, 'broken')");
    assert_eq!(server.psql("SELECT body, severity_number FROM errors"), "broken|17");
    server.psql("INSERT INTO s.t VALUES (10, 'ten')");
    assert_eq!(server.psql("SELECT \"Most\" FROM s.top"), "20");
    server.kill();
    let server = Server::start(directory.path(), &["--no-probes"]);
    assert_eq!(server.psql("SELECT \"Most\" FROM s.top"), "20");
    assert_eq!(server.psql("SELECT body FROM errors"), "broken");
    server.psql("CHECKPOINT");
    assert_eq!(server.psql("SELECT \"Most\" FROM s.top"), "20");
    if let Some(python) = Python::find() {
        let catalog = directory.path().join("lake/probepilot/catalog.sqlite");
        let duckdb = |sql: &str| python.run(SCRIPT, &[catalog.to_str().unwrap(), sql]);
        assert_eq!(duckdb("USE lake; SELECT body FROM lake.main.errors"), "broken");
        assert_eq!(duckdb("USE lake; SELECT \"Most\" FROM lake.s.top"), "20");
        assert_eq!(duckdb("SELECT count(*) FROM duckdb_views() WHERE database_name = 'lake' AND NOT internal"), "3");
    }
}

#[test]
fn clients_see_views_with_their_columns() {
    let server = Server::without_probes();
    server.psql(FIXTURE);
    server.psql("CREATE VIEW otel.v AS SELECT time, labels, count, bucket_counts, value > 1 AS big FROM otel.metrics");
    let described = server.psql("\\d otel.v");
    let expected = "time|timestamp with time zone|||\nlabels|jsonb|||\ncount|numeric(20,0)|||\n\
                    bucket_counts|bigint[]|||\nbig|boolean|||";
    assert_eq!(described, expected);
    assert_eq!(server.psql("\\dv otel.*"), "otel|v|view|admin");
    assert_eq!(server.psql("\\dv errors"), "public|errors|view|admin");
    assert_eq!(
        server.psql("SELECT definition FROM pg_views WHERE viewname = 'errors'"),
        " SELECT * FROM public.logs WHERE severity_number >= 17;"
    );
    assert_eq!(
        server.psql(
            "SELECT table_name, table_type FROM information_schema.tables WHERE table_schema = 'otel' ORDER BY 1"
        ),
        "metrics|BASE TABLE\nv|VIEW"
    );
    let count = "SELECT count(*) FROM information_schema.columns WHERE table_name = 'errors'";
    assert_eq!(server.psql(count), "10");
}

#[test]
fn mistakes_with_views_have_postgresqls_codes() {
    let server = Server::without_probes();
    server.psql(
        "CREATE TABLE t (a int, b text); CREATE VIEW v AS SELECT a FROM t; CREATE VIEW w AS SELECT a + 1 AS c FROM v",
    );
    for (sql, code) in [
        ("CREATE VIEW v AS SELECT 1", "42P07"),
        ("CREATE VIEW t AS SELECT 1", "42P07"),
        ("CREATE TABLE v (a int)", "42P07"),
        ("CREATE OR REPLACE VIEW t AS SELECT 1", "42809"),
        ("CREATE OR REPLACE VIEW v AS SELECT b FROM t", "42P16"),
        ("CREATE OR REPLACE VIEW v AS SELECT b AS a FROM t", "42P16"),
        ("CREATE OR REPLACE VIEW v AS SELECT c AS a FROM w", "42P17"),
        ("CREATE VIEW x AS SELECT nope FROM t", "42703"),
        ("CREATE VIEW x AS SELECT a FROM nowhere", "42P01"),
        ("CREATE VIEW x AS SELECT a, a FROM t", "42701"),
        ("CREATE VIEW x (p, q) AS SELECT a FROM t", "42601"),
        ("CREATE VIEW nowhere.x AS SELECT a FROM t", "3F000"),
        ("CREATE MATERIALIZED VIEW x AS SELECT a FROM t", "0A000"),
        ("CREATE VIEW x AS SELECT * FROM tracepoint.sched_switch", "0A000"),
        ("INSERT INTO v VALUES (1)", "55000"),
        ("DROP TABLE t", "2BP01"),
        ("DROP VIEW v", "2BP01"),
        ("DROP TABLE v", "42809"),
        ("DROP VIEW t", "42809"),
        ("DROP VIEW nowhere", "42P01"),
        ("COMMENT ON TABLE v IS 'x'", "42809"),
        ("COMMENT ON COLUMN t.nope IS 'x'", "42703"),
        ("COMMENT ON TABLE nowhere IS 'x'", "42P01"),
        ("COMMENT ON SCHEMA nowhere IS 'x'", "3F000"),
        ("COMMENT ON TABLE system.probe_health IS 'x'", "42501"),
        ("BEGIN; CREATE VIEW x AS SELECT 1", "25001"),
    ] {
        let complaint = server.psql_error(sql);
        assert!(complaint.contains(&format!("ERROR:  {code}:")), "{sql}: {complaint}");
    }
    let complaint = server.psql_error("DROP TABLE t");
    assert!(complaint.contains("view v depends on table t; view w depends on table t"), "{complaint}");
    server.psql("CREATE OR REPLACE VIEW v AS SELECT a + a AS a, b FROM t; INSERT INTO t VALUES (1, 'x')");
    assert_eq!(server.psql("SELECT a, b, c FROM v, w"), "2|x|3");
    server.psql("DROP TABLE t CASCADE");
    assert_eq!(server.psql("SELECT count(*) FROM pg_class WHERE relname IN ('t', 'v', 'w')"), "0");
    server.psql("CREATE TABLE t (a int); CREATE VIEW v AS SELECT a FROM t; DROP VIEW v, v; DROP TABLE t");
}

#[test]
fn comments_are_seen_until_they_are_taken_back() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &["--no-probes"]);
    server.psql(FIXTURE);
    server.psql(
        "COMMENT ON SCHEMA otel IS 'what collectors send'; COMMENT ON TABLE otel.metrics IS 'one row per point';
         COMMENT ON COLUMN otel.metrics.value IS 'the value; its unit is in labels';
         COMMENT ON VIEW errors IS 'what went wrong'; COMMENT ON COLUMN errors.body IS 'what it said'",
    );
    server.kill();
    let server = Server::start(directory.path(), &["--no-probes"]);
    assert_eq!(server.psql("\\dn+ otel"), "otel|admin||what collectors send");
    assert!(server.psql("\\dt+ otel.metrics").ends_with("|one row per point"));
    assert!(
        server.psql("\\d+ otel.metrics").contains("value|double precision||||plain|||the value; its unit is in labels")
    );
    assert!(server.psql("\\dv+ errors").ends_with("|what went wrong"));
    let on_columns = "SELECT a.attname, col_description(a.attrelid, a.attnum) FROM pg_attribute a
                      WHERE a.attrelid = 'errors'::regclass AND col_description(a.attrelid, a.attnum) IS NOT NULL";
    assert_eq!(server.psql(on_columns), "body|what it said");
    let described = "SELECT count(*) FROM pg_description WHERE description IN
        ('what collectors send', 'one row per point', 'what went wrong', 'what it said')";
    assert_eq!(server.psql(described), "4");
    server.psql("CREATE OR REPLACE VIEW errors AS SELECT * FROM logs WHERE severity_number >= 18");
    assert_eq!(server.psql(on_columns), "body|what it said");
    assert!(server.psql("\\dv+ errors").ends_with("|what went wrong"));
    if let Some(python) = Python::find() {
        let catalog = directory.path().join("lake/probepilot/catalog.sqlite");
        let duckdb = |sql: &str| python.run(SCRIPT, &[catalog.to_str().unwrap(), sql]);
        let comment = "SELECT comment FROM duckdb_tables() WHERE database_name = 'lake' AND table_name = 'metrics'";
        assert_eq!(duckdb(comment), "one row per point");
    }
    server.psql(
        "COMMENT ON SCHEMA otel IS NULL; COMMENT ON TABLE otel.metrics IS NULL; COMMENT ON VIEW errors IS '';
         COMMENT ON COLUMN otel.metrics.value IS NULL; COMMENT ON COLUMN errors.body IS NULL",
    );
    assert_eq!(server.psql(described), "0");
    assert_eq!(server.psql(on_columns), "");
}
