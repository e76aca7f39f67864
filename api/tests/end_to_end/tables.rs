//! Tables that users make: CREATE, INSERT, COPY, what clients see of them, and what is left after a kill.

use crate::support::{Python, Server};

/// The schema that the recorded clients ran against.
pub const FIXTURE: &str = "
create schema otel;
create table public.logs (timestamp timestamptz not null, observed_timestamp timestamptz, trace_id text, span_id text, severity_number int4, severity_text text, service_name text, body text, attributes jsonb, resource jsonb);
create table public.spans (trace_id text not null, span_id text not null, parent_span_id text, name text, kind text, start_time timestamp, end_time timestamp, duration_ns int8, status_code text, attributes jsonb, events jsonb[], tags text[]);
create table otel.metrics (time timestamptz not null, name text, value float8, labels jsonb, count numeric(20,0), bucket_counts int8[]);
create view public.errors as select * from public.logs where severity_number >= 17;
insert into logs select now() - (i||' s')::interval, now(), md5(i::text), left(md5(i::text),16), 9, 'INFO','svc'||i%3,'hello '||i,'{\"a\":1}','{}' from generate_series(1,50) i;
insert into spans select md5(i::text), left(md5(i::text),16), null,'GET /','SERVER',now(),now(),i*1000,'OK','{}',null,'{a,b}' from generate_series(1,50) i;
insert into otel.metrics select now() - (i||' s')::interval,'cpu',i,'{}',i,'{1,2}' from generate_series(1,50) i;
";

/// What the fixture's tables answer, before and after their rows are in segments.
fn check_fixture(server: &Server) {
    for (sql, expected) in [
        (
            "SELECT count(*), count(DISTINCT trace_id), min(severity_number), max(attributes) FROM logs",
            "50|50|9|{\"a\": 1}",
        ),
        (
            "SELECT body, service_name, resource FROM logs ORDER BY timestamp DESC LIMIT 2",
            "hello 1|svc1|{}\nhello 2|svc2|{}",
        ),
        ("SELECT count(*), sum(duration_ns), count(events), count(parent_span_id) FROM spans", "50|1275000|0|0"),
        ("SELECT DISTINCT name, kind, tags, attributes FROM spans", "GET /|SERVER|{a,b}|{}"),
        ("SELECT count(*), sum(value), sum(count), count(DISTINCT bucket_counts) FROM otel.metrics", "50|1275|1275|1"),
        ("SELECT value, count, bucket_counts FROM otel.metrics ORDER BY time DESC LIMIT 1", "1|1|{1,2}"),
    ] {
        assert_eq!(server.psql(sql), expected, "{sql}");
    }
}

#[test]
fn the_recorded_schema_loads_and_is_there_after_a_kill_and_in_duckdb() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &["--no-probes"]);
    server.psql(FIXTURE);
    check_fixture(&server);
    server.kill();
    let server = Server::start(directory.path(), &["--no-probes"]);
    check_fixture(&server);
    server.psql("CHECKPOINT");
    check_fixture(&server);
    server.psql("INSERT INTO otel.metrics (time, value) VALUES (now(), 0.5)");
    assert_eq!(server.psql("SELECT count(*), count(name) FROM otel.metrics"), "51|50");
    if let Some(python) = Python::find() {
        let catalog = directory.path().join("lake/probepilot/catalog.sqlite");
        let duckdb = |sql: &str| python.run(crate::kernel_duckdb::SCRIPT, &[catalog.to_str().unwrap(), sql]);
        assert_eq!(
            duckdb("SELECT count(*), sum(value), sum(count), min(bucket_counts) FROM lake.otel.metrics"),
            "50|1275.0|1275|[1, 2]"
        );
        assert_eq!(duckdb("SELECT DISTINCT tags, attributes FROM lake.main.spans"), "['a', 'b']|{}");
        assert_eq!(duckdb("SELECT count(*) FROM lake.main.logs WHERE service_name = 'svc1'"), "17");
    }
}

#[test]
fn what_clients_see_of_a_table_is_what_was_made() {
    let server = Server::without_probes();
    server.psql(FIXTURE);
    let described = server.psql("\\d otel.metrics");
    let expected = "time|timestamp with time zone||not null|\nname|text|||\nvalue|double precision|||\n\
                    labels|jsonb|||\ncount|numeric(20,0)|||\nbucket_counts|bigint[]|||";
    assert_eq!(described, expected);
    assert_eq!(server.psql("\\dn otel"), "otel|admin");
    assert!(server.psql("\\dt otel.*").contains("otel|metrics|table|admin"));
    let columns = "SELECT column_name, data_type, is_nullable, udt_name, numeric_precision, numeric_scale
                   FROM information_schema.columns WHERE table_name = 'metrics' ORDER BY ordinal_position";
    let expected = "time|timestamp with time zone|NO|timestamptz||\nname|text|YES|text||\n\
                    value|double precision|YES|float8|53|\nlabels|jsonb|YES|jsonb||\n\
                    count|numeric|YES|numeric|20|0\nbucket_counts|ARRAY|YES|_int8||";
    assert_eq!(server.psql(columns), expected);
    let insertable = "SELECT table_schema, table_name, is_insertable_into FROM information_schema.tables
                      WHERE table_schema IN ('public', 'otel') AND table_name NOT LIKE 'grafana%' ORDER BY 1, 2";
    assert_eq!(server.psql(insertable), "otel|metrics|YES\npublic|errors|NO\npublic|logs|YES\npublic|spans|YES");
}

#[test]
fn mistakes_have_postgresqls_codes_and_places() {
    let server = Server::without_probes();
    server.psql("CREATE SCHEMA s; CREATE TABLE t (a int NOT NULL, b text, c timestamptz)");
    for (sql, code, place) in [
        ("INSERT INTO t VALUES (NULL, 'x')", "23502", ""),
        ("INSERT INTO t (b) VALUES ('x')", "23502", ""),
        ("INSERT INTO t VALUES (1), ('abc')", "22P02", "('abc')"),
        ("INSERT INTO t VALUES (99999999999)", "22003", "(99999999999)"),
        ("INSERT INTO t VALUES (1, 'x', 'soon')", "22007", "'soon'"),
        ("INSERT INTO t VALUES (true)", "42804", "(true)"),
        ("INSERT INTO t SELECT b FROM t", "42804", "b FROM"),
        ("INSERT INTO t (a, nope) VALUES (1, 2)", "42703", "nope"),
        ("INSERT INTO t (a, a) VALUES (1, 2)", "42701", "a) VALUES"),
        ("INSERT INTO t (a, b) VALUES (1)", "42601", ""),
        ("INSERT INTO t VALUES (1, 'x', now(), 4)", "42601", "4)"),
        ("INSERT INTO nowhere VALUES (1)", "42P01", "nowhere"),
        ("INSERT INTO no_schema.t VALUES (1)", "42P01", "no_schema.t"),
        ("INSERT INTO system.probe_health SELECT * FROM system.probe_health", "0A000", "system.probe_health"),
        ("INSERT INTO t VALUES (1) ON CONFLICT DO NOTHING", "0A000", ""),
        ("INSERT INTO t VALUES (1) RETURNING a", "0A000", "a"),
        ("UPDATE t SET a = 1", "0A000", "UPDATE"),
        ("DELETE FROM t", "0A000", "DELETE"),
        ("CREATE TABLE t (a int)", "42P07", "t (a"),
        ("CREATE TABLE nowhere.t (a int)", "3F000", "nowhere.t"),
        ("CREATE TABLE system.t (a int)", "42501", "system.t"),
        ("CREATE TABLE u (a int PRIMARY KEY)", "0A000", "a int"),
        ("CREATE SCHEMA s", "42P06", "s"),
        ("CREATE SCHEMA pg_mine", "42939", "pg_mine"),
        ("DROP TABLE nowhere", "42P01", "nowhere"),
        ("DROP SCHEMA nowhere", "3F000", "nowhere"),
        ("DROP SCHEMA public", "2BP01", "public"),
        ("BEGIN; CREATE TABLE v (a int)", "25001", ""),
    ] {
        let complaint = server.psql_error(sql);
        assert!(complaint.contains(&format!("ERROR:  {code}:")), "{sql}: {complaint}");
        if !place.is_empty() {
            let lines: Vec<&str> = complaint.lines().collect();
            let marked =
                lines.iter().position(|line| line.starts_with("LINE 1: ")).unwrap_or_else(|| panic!("{complaint}"));
            let caret = lines[marked + 1].find('^').unwrap();
            let there = &lines[marked][caret..];
            let place = place.trim_start_matches('(');
            assert!(there.starts_with(place), "{sql}: {complaint}");
        }
    }
    assert_eq!(server.psql("SELECT count(*) FROM t"), "0", "a statement that fails inserts nothing");
}

#[test]
fn schemas_and_tables_come_and_go() {
    let server = Server::without_probes();
    server.psql("CREATE SCHEMA s; CREATE TABLE s.t (a int); INSERT INTO s.t VALUES (1), (2), (-3)");
    assert_eq!(server.psql("SET search_path = s, public; SELECT sum(a) FROM t"), "0");
    assert_eq!(server.psql("SET search_path = s, public; CREATE TABLE u (a int); INSERT INTO u SELECT a FROM t"), "");
    assert_eq!(server.psql("SELECT count(*) FROM s.u"), "3");
    assert!(server.psql_error("DROP SCHEMA s").contains("2BP01"));
    server.psql("CREATE TABLE IF NOT EXISTS s.t (b text); CREATE SCHEMA IF NOT EXISTS s; DROP TABLE IF EXISTS nowhere");
    server.psql("DROP TABLE s.t");
    assert!(server.psql_error("SELECT * FROM s.t").contains("42P01"));
    server.psql("CREATE TABLE s.t (a text); INSERT INTO s.t VALUES ('new')");
    assert_eq!(server.psql("SELECT a FROM s.t"), "new");
    server.psql("DROP SCHEMA s CASCADE");
    assert!(server.psql_error("SELECT * FROM s.u").contains("42P01"));
    assert_eq!(server.psql("SELECT count(*) FROM pg_namespace WHERE nspname = 's'"), "0");
}

#[test]
fn who_may_only_read_changes_nothing() {
    let server = Server::without_probes();
    server.psql("CREATE SCHEMA s; CREATE TABLE s.t (a int); INSERT INTO s.t VALUES (1)");
    let url = server.url().replace("admin", "grafana");
    let analyst = |sql: &str| {
        let output = std::process::Command::new("psql").args(["-XAt", "-c", sql]).arg(&url).output().unwrap();
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(analyst("SELECT a FROM s.t").0, "1\n");
    for (sql, told) in [
        ("CREATE TABLE u (a int)", "the role analyst may not CREATE TABLE"),
        ("DROP TABLE s.t", "the role analyst may not DROP TABLE"),
        ("CREATE VIEW v AS SELECT 1", "the role analyst may not CREATE VIEW"),
        ("COMMENT ON TABLE s.t IS 'mine'", "the role analyst may not COMMENT"),
        ("INSERT INTO s.t VALUES (2)", "the role analyst may not insert rows"),
        ("COPY s.t FROM STDIN", "the role analyst may not insert rows"),
    ] {
        let complaint = analyst(sql).1;
        assert!(complaint.contains(&format!("permission denied: {told}")), "{sql}: {complaint}");
    }
    assert_eq!(server.psql("SELECT count(*) FROM s.t"), "1");
}

#[test]
fn rows_are_kept_without_end_unless_a_table_says_otherwise() {
    let server = Server::without_probes();
    server.psql("CREATE SCHEMA s; CREATE TABLE s.t (a timestamptz NOT NULL); INSERT INTO s.t VALUES ('2001-02-03')");
    let retention = "SELECT retention_s FROM system.tables WHERE name = 't'";
    assert_eq!(server.psql(retention), "");
    server.psql("CHECKPOINT");
    assert_eq!(server.psql("SELECT a FROM s.t"), "2001-02-03 00:00:00+00");
    server.psql("SET search_path = s; ALTER TABLE t SET (retention = '30 days')");
    assert_eq!(server.psql(retention), "2592000");
}

#[test]
fn a_transaction_keeps_all_of_its_rows_or_none() {
    let server = Server::without_probes();
    server.psql("CREATE TABLE t (a int NOT NULL)");
    let counts = "BEGIN; INSERT INTO t VALUES (1); SELECT count(*) FROM t; INSERT INTO t VALUES (2);
                  SELECT count(*) FROM t; ROLLBACK; SELECT count(*) FROM t";
    assert_eq!(server.psql(counts), "1\n2\n0", "a session sees its own rows");
    let counts = "BEGIN; INSERT INTO t VALUES (1); SAVEPOINT a; INSERT INTO t VALUES (2); ROLLBACK TO a;
                  INSERT INTO t VALUES (3); COMMIT; SELECT a FROM t ORDER BY a";
    assert_eq!(server.psql(counts), "1\n3");
    server.psql_error("BEGIN; INSERT INTO t VALUES (4); INSERT INTO t VALUES (NULL); COMMIT");
    assert_eq!(server.psql("SELECT count(*) FROM t"), "2");
    server.psql_error("BEGIN; INSERT INTO t VALUES (5); SELECT 1/0");
    assert_eq!(server.psql("SELECT count(*) FROM t"), "2");
}

#[test]
fn a_transaction_is_as_it_is_asked_to_be() {
    let server = Server::without_probes();
    server.psql("CREATE TABLE t (a int)");
    // psql's \\! runs another client in the middle of the block.
    let other = format!("\\! psql -X -q -c 'INSERT INTO t VALUES (1)' '{}'", server.url());
    for (begin, seen) in [
        ("BEGIN", "0\n1\n1"),
        ("BEGIN ISOLATION LEVEL READ COMMITTED", "1\n2\n2"),
        ("BEGIN ISOLATION LEVEL REPEATABLE READ", "2\n2\n3"),
        ("START TRANSACTION READ ONLY, ISOLATION LEVEL SERIALIZABLE, DEFERRABLE", "3\n3\n4"),
        ("SET default_transaction_isolation = 'repeatable read';\nBEGIN", "4\n4\n5"),
        ("SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE;\nBEGIN", "5\n5\n6"),
        ("BEGIN;\nSET TRANSACTION ISOLATION LEVEL SERIALIZABLE", "6\n6\n7"),
    ] {
        let count = "SELECT count(*) FROM t;\n";
        assert_eq!(server.psql(&format!("{begin};\n{count}{other}\n{count}COMMIT;\n{count}")), seen, "{begin}");
    }
    let seen = "BEGIN ISOLATION LEVEL REPEATABLE READ;\nSELECT count(*) FROM t;\nINSERT INTO t VALUES (8);\nSELECT count(*) FROM t";
    assert_eq!(server.psql(seen), "7\n8", "a session sees its own rows");
    for change in [
        "BEGIN READ ONLY; INSERT INTO t VALUES (1)",
        "BEGIN; SET TRANSACTION READ ONLY; INSERT INTO t VALUES (1)",
        "SET default_transaction_read_only = on; CREATE TABLE u (a int)",
        "SET default_transaction_read_only = on; BEGIN; COPY t FROM STDIN",
    ] {
        let complaint = server.psql_error(change);
        assert!(complaint.contains("ERROR:  25006: cannot execute "), "{change}: {complaint}");
    }
    server.psql("SET default_transaction_read_only = on; BEGIN READ WRITE; INSERT INTO t VALUES (9); COMMIT");
    assert_eq!(server.psql("SELECT count(*) FROM t"), "8");
    let shown = "BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY DEFERRABLE; SHOW transaction_isolation;
                 SHOW transaction_read_only; SHOW transaction_deferrable; COMMIT; SHOW transaction_isolation";
    assert_eq!(server.psql(shown), "serializable\non\non\nread committed");
}

/// PostgreSQL's rule for a message of several statements: one transaction, cut by the COMMIT and ROLLBACK in it.
#[test]
fn statements_of_one_message_are_one_transaction() {
    let server = Server::without_probes();
    server.psql("CREATE TABLE t (a int NOT NULL)");
    let message = |sql: &str| {
        let output = server.psql_command().args(["-c", sql]).output().unwrap();
        (output.status.success(), String::from_utf8(output.stdout).unwrap())
    };
    for (sql, succeeds, kept) in [
        ("INSERT INTO t VALUES (1); INSERT INTO t VALUES (2)", true, "1,2"),
        ("INSERT INTO t VALUES (3); INSERT INTO t VALUES (NULL)", false, "1,2"),
        ("INSERT INTO t VALUES (3); SELECT 1/0", false, "1,2"),
        ("INSERT INTO t VALUES (3); COMMIT; INSERT INTO t VALUES (4); SELECT 1/0", false, "1,2,3"),
        ("INSERT INTO t VALUES (4); ROLLBACK; INSERT INTO t VALUES (5)", true, "1,2,3,5"),
        ("INSERT INTO t VALUES (6); BEGIN; INSERT INTO t VALUES (7); ROLLBACK", true, "1,2,3,5"),
        ("BEGIN; INSERT INTO t VALUES (6); COMMIT; INSERT INTO t VALUES (7); SELECT 1/0", false, "1,2,3,5,6"),
    ] {
        assert_eq!(message(sql).0, succeeds, "{sql}");
        assert_eq!(server.psql("SELECT string_agg(a::text, ',' ORDER BY a) FROM t"), kept, "{sql}");
    }
    let (_, printed) = message("INSERT INTO t VALUES (8); SELECT count(*) FROM t");
    assert_eq!(printed.trim(), "6", "the session sees its own rows");
    assert_eq!(server.psql("SELECT count(*) FROM t"), "6");
}

#[test]
fn copy_fills_a_table() {
    let server = Server::without_probes();
    server.psql("CREATE TABLE t (a int NOT NULL, b text[], c jsonb, d numeric(10,2))");
    server.psql("COPY t FROM STDIN;\n1\t{x,y}\t{\"k\":1}\t2.345\n2\t\\N\t\\N\t\\N\n\\.\n");
    assert_eq!(server.psql("SELECT * FROM t ORDER BY a"), "1|{x,y}|{\"k\": 1}|2.35\n2|||");
    server.psql("COPY t (d, a) FROM STDIN (FORMAT csv);\n1,3\n,4\n\\.\n");
    assert_eq!(server.psql("SELECT a, d FROM t WHERE a > 2 ORDER BY a"), "3|1.00\n4|");
    assert!(server.psql_error("COPY t FROM STDIN;\n5\t\\N\t{\t\\N\n\\.\n").contains("22P02"));
    assert!(server.psql_error("COPY t (b) FROM STDIN;\n{}\n\\.\n").contains("23502"));
    assert_eq!(server.psql("SELECT count(*) FROM t"), "4");
}

/// What the drivers insert, each in its own way.
const DRIVERS: &str = r#"
import sys, asyncio, datetime, decimal, json
dsn, host, port, password = sys.argv[1:]
moment = datetime.datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=datetime.timezone.utc)
import psycopg2, psycopg2.extras
c = psycopg2.connect(dsn)
k = c.cursor()
k.executemany("INSERT INTO t (n, who, at) VALUES (%s, %s, %s)", [(i, 'psycopg2', moment) for i in range(5)])
assert k.rowcount in (1, 5), k.rowcount
psycopg2.extras.execute_values(k, "INSERT INTO t (n, who, tags) VALUES %s", [(i, "it's", ['a', 'b']) for i in range(5, 1005)])
c.commit()
k.execute("INSERT INTO t (n, who) VALUES (0, 'gone')")
c.rollback()
c.close()
import psycopg
from psycopg.types.json import Jsonb
with psycopg.connect(dsn) as c:
    k = c.cursor()
    rows = [(i, 'psycopg3', moment, Jsonb({'i': i}), decimal.Decimal('12.50'), ['x', None], True) for i in range(100)]
    k.executemany("INSERT INTO t (n, who, at, data, price, tags, ok) VALUES (%s, %s, %s, %s, %s, %s, %s)", rows)
    assert k.rowcount == 100, k.rowcount
    with k.copy("COPY t (n, who) FROM STDIN") as copy:
        for i in range(10):
            copy.write_row((i, 'copied'))
with psycopg.connect(dsn) as c:
    row = c.execute("SELECT n, at, data, price, tags, ok FROM t WHERE who = 'psycopg3' AND n = 7").fetchone()
    assert row == (7, moment, {'i': 7}, decimal.Decimal('12.50'), ['x', None], True), row
import asyncpg
async def main():
    c = await asyncpg.connect(host=host, port=int(port), user='admin', password=password, database='probepilot')
    rows = [(i, 'asyncpg', moment, decimal.Decimal('1.25'), ['p', 'q'], i % 2 == 0) for i in range(200)]
    await c.executemany("INSERT INTO t (n, who, at, price, tags, ok) VALUES ($1, $2, $3, $4, $5, $6)", rows)
    assert await c.execute("INSERT INTO t (n, who) VALUES ($1, $2)", 1000, 'asyncpg') == 'INSERT 0 1'
    assert await c.fetchval("SELECT count(*) FROM t WHERE who = 'asyncpg'") == 201
    try:
        await c.executemany("INSERT INTO t (n, who) VALUES ($1, $2)", [(1, 'half'), (None, 'half')])
        raise SystemExit('no error')
    except asyncpg.exceptions.NotNullViolationError:
        pass
    assert await c.fetchval("SELECT count(*) FROM t WHERE who = 'half'") == 0
    await c.close()
asyncio.run(main())
"#;

#[test]
fn drivers_insert_in_their_own_ways() {
    let Some(python) = Python::with_drivers() else { return };
    let server = Server::without_probes();
    server.psql(
        "CREATE TABLE t (n int NOT NULL, who text, at timestamptz, data jsonb, price numeric(10,2), tags text[], ok bool)",
    );
    let address = server.address("postgres");
    let password = server.password("admin");
    let (host, port) = (address.ip().to_string(), address.port().to_string());
    let dsn = format!("host={host} port={port} user=admin password='{password}' dbname=probepilot");
    python.run(DRIVERS, &[&dsn, &host, &port, &password]);
    assert_eq!(
        server.psql("SELECT who, count(*) FROM t GROUP BY who ORDER BY who"),
        "asyncpg|201\ncopied|10\nit's|1000\npsycopg2|5\npsycopg3|100"
    );
}

#[test]
fn rows_that_were_told_are_there_exactly_once_after_kills() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &["--no-probes"]);
    server.psql("CREATE TABLE t (round int, n int NOT NULL)");
    server.kill();
    let mut told = 0;
    for round in 0..4 {
        let server = Server::start(directory.path(), &["--no-probes"]);
        let runtime = tokio::runtime::Runtime::new().unwrap();
        told += runtime.block_on(async {
            let client = crate::support::connect(&server).await;
            let insert = client.prepare("INSERT INTO t VALUES ($1, $2)").await.unwrap();
            let mut told = 0;
            for n in 0..100 {
                told += client.execute(&insert, &[&round, &n]).await.unwrap();
                if round % 2 == 1 && n == 50 {
                    client.batch_execute("CHECKPOINT").await.unwrap();
                }
            }
            // Never committed: gone with the server.
            client.batch_execute("BEGIN").await.unwrap();
            client.execute(&insert, &[&round, &1_000]).await.unwrap();
            told
        });
        server.kill();
    }
    let server = Server::start(directory.path(), &["--no-probes"]);
    for _ in 0..2 {
        assert_eq!(
            server.psql("SELECT count(*), count(DISTINCT round * 1000 + n), max(n) FROM t"),
            format!("{told}|{told}|99")
        );
        server.psql("CHECKPOINT");
    }
    assert_eq!(told, 400);
}
