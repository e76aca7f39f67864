//! Clients that read the catalog before they read rows: DuckDB's extension, SQLAlchemy, JDBC.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use probepilot_api::pg::DoorOptions;

use crate::backend::PASSWORD;
use crate::drivers;
use crate::replay::{EngineBackend, schema};
use crate::server::Server;

/// A server with tables of three schemas: `logs` and `spans`, `otel.metrics`, and ours.
async fn server() -> Server {
    let backend = Arc::new(EngineBackend(schema::engine().await));
    Server::over(backend, Arc::default(), DoorOptions::default(), None).await
}

#[tokio::test(flavor = "multi_thread")]
async fn duckdb_attaches_the_database() {
    let program = r#"
import pathlib
from importlib.util import find_spec
root = pathlib.Path(find_spec("duckdb_extension_postgres_scanner").submodule_search_locations[0])
c = duckdb.connect()
c.execute(f"LOAD '{next(root.glob('extensions/*/postgres_scanner.duckdb_extension'))}'")
c.execute(f"ATTACH '{dsn.replace(chr(39), chr(39) * 2)}' AS pp (TYPE postgres, READ_ONLY)")
def ask(sql):
    return c.execute(sql).fetchall()
tables = ask("SELECT table_schema, table_name FROM information_schema.tables WHERE table_catalog = 'pp' AND table_schema IN ('public', 'otel') ORDER BY ALL")
views = [("public", "grafana_" + name) for name in ("logs", "service_edges", "service_nodes", "traces")]
assert tables == [("otel", "metrics"), *views, ("public", "logs"), ("public", "spans")], tables
types = ask("SELECT column_name, data_type FROM information_schema.columns WHERE table_catalog = 'pp' AND table_name = 'metrics'")
assert types == [("time", "TIMESTAMP WITH TIME ZONE"), ("name", "VARCHAR"), ("value", "DOUBLE"), ("labels", "VARCHAR"),
                 ("count", "BIGINT"), ("bucket_counts", "VARCHAR")], types
assert ask("SELECT count(*), sum(severity_number) FROM pp.public.logs") == [(12, 66)]
assert ask("SELECT service_name FROM pp.logs WHERE severity_number > 9 ORDER BY 1") == [("service_name 10",), ("service_name 11",)]
rows = ask("SELECT epoch_us(time), name, value, count FROM pp.otel.metrics ORDER BY time LIMIT 2")
assert rows == [(1767225600000000, "name 0", 0.0, 0), (1767225601000000, "name 1", 1.0, 1)], rows
assert ask("SELECT count(*) FROM pp.grafana_logs") == [(0,)]
joined = ask("SELECT count(*) FROM pp.logs l JOIN pp.spans s ON l.timestamp::timestamp = s.start_time AT TIME ZONE 'UTC' AT TIME ZONE 'UTC' OR true")
assert joined == [(144,)], joined
assert ask("FROM postgres_query('pp', 'SELECT 42 AS answer, now() IS NOT NULL AS here')") == [(42, True)]
try:
    ask("FROM postgres_query('pp', 'SELECT * FROM nowhere')")
    raise SystemExit("no error")
except duckdb.Error as error:
    assert 'relation "nowhere" does not exist' in str(error), error
"#;
    drivers::check_on(server().await, "duckdb", program).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlalchemy_reflects_tables_and_views() {
    let program = r#"
import datetime
from sqlalchemy import URL, MetaData, create_engine, exc, func, inspect, select, text
utc = datetime.timezone.utc
for driver in ("psycopg2", "psycopg"):
    engine = create_engine(URL.create("postgresql+" + driver, "admin", password, "127.0.0.1", port, "probepilot"))
    seen = inspect(engine)
    assert seen.get_schema_names() == ["information_schema", "otel", "public", "system"], seen.get_schema_names()
    assert seen.default_schema_name == "public"
    assert sorted(seen.get_table_names()) == ["logs", "spans"]
    assert seen.get_table_names("otel") == ["metrics"]
    views = ["grafana_logs", "grafana_service_edges", "grafana_service_nodes", "grafana_traces"]
    assert sorted(seen.get_view_names()) == views
    assert "FROM" in seen.get_view_definition("grafana_traces")
    columns = [(c["name"], str(c["type"]), c["nullable"], c["comment"]) for c in seen.get_columns("metrics", "otel")]
    assert columns == [("time", "TIMESTAMP", False, None), ("name", "TEXT", True, None), ("value", "DOUBLE PRECISION", True, None),
                       ("labels", "TEXT", True, None), ("count", "BIGINT", True, None), ("bucket_counts", "TEXT", True, None)], columns
    spans = {c["name"]: c for c in seen.get_columns("grafana_traces")}
    assert str(spans["tags"]["type"]) == "JSONB" and spans["duration"]["comment"] == "how long it took; ms", spans
    assert seen.get_table_comment("grafana_logs")["text"].startswith("events worth reading")
    assert seen.get_pk_constraint("logs") == {"name": None, "constrained_columns": []}, seen.get_pk_constraint("logs")
    for listed in (seen.get_foreign_keys, seen.get_indexes, seen.get_unique_constraints, seen.get_check_constraints):
        assert listed("logs") == []
    assert seen.has_table("logs") and not seen.has_table("nothing")
    all = MetaData()
    all.reflect(engine, schema="otel")
    metrics = all.tables["otel.metrics"]
    with engine.connect() as connection:
        rows = connection.execute(select(metrics.c.time, metrics.c.name).where(metrics.c.value > 9.5).order_by(metrics.c.time))
        assert rows.all() == [(datetime.datetime(2026, 1, 1, 0, 0, s, tzinfo=utc), f"name {s}") for s in (10, 11)]
        count = select(func.count()).select_from(metrics).where(metrics.c.name.in_(["name 1", "name 2"]))
        assert connection.scalar(count) == 2
        stream = connection.execution_options(stream_results=True, yield_per=5).execute(select(metrics.c.count))
        assert [row[0] for row in stream] == list(range(12))
    with engine.connect() as connection:
        try:
            connection.execute(text("SELECT * FROM nowhere"))
            raise SystemExit("no error")
        except exc.ProgrammingError as error:
            state = getattr(error.orig, "pgcode", None) or error.orig.sqlstate
            assert state == "42P01", state
    engine.dispose()
"#;
    drivers::check_on(server().await, "sqlalchemy", program).await;
}

/// Where Debian keeps the driver.
const JDBC: &str = "/usr/share/java/postgresql.jar";

/// What the program below prints.
const JDBC_PRINTS: &str = "\
PostgreSQL 16
schema information_schema otel pg_catalog public system
table logs TABLE null
table spans TABLE null
view grafana_logs VIEW events worth reading, as lines for a panel of logs: filter by timestamp
column time timestamptz 93 NO
column name text 12 YES
column value float8 8 YES
column labels text 12 YES
column count int8 -5 YES
column bucket_counts text 12 YES
catalog probepilot
keys and indexes 0
words beyond the standard 189
42 ü 2.5 true 2026-01-02T03:04:05.000006Z [1, 2]
sum 500500
error 42P01
error 57014
metrics 12 2026-01-01T00:00:11Z
";

#[tokio::test(flavor = "multi_thread")]
async fn jdbc_reads_metadata_and_values() {
    if !Path::new(JDBC).exists() || Command::new("javac").arg("-version").output().is_err() {
        return println!("skipped: needs a JDK and libpostgresql-jdbc-java");
    }
    let server = server().await;
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("Client.java");
    std::fs::write(&source, include_str!("Client.java")).unwrap();
    let url = format!("jdbc:postgresql://{}/probepilot", server.address);
    let mut java = Command::new("java");
    java.args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", JDBC])
        .arg(&source)
        .args([&url, "admin", PASSWORD]);
    let output = tokio::task::spawn_blocking(move || java.output()).await.unwrap().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout), JDBC_PRINTS);
}
