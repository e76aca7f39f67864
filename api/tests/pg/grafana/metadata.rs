//! The health check, and what the query builder asks to fill its lists.

use std::time::{Duration, Instant};

use super::drivers::{Connection, DRIVERS, Driver};
use crate::replay::captured::{self, Statement};

/// What Grafana was seen to send, in the order of its file.
fn sent() -> Vec<Statement> {
    let grafana = captured::clients().into_iter().find(|client| client.name == "grafana");
    grafana.expect("Grafana is among the recorded clients").statements
}

/// The statement that has these words.
fn statement(statements: &[Statement], words: &str) -> &'static str {
    let mut found = statements.iter().filter(|statement| statement.sql.contains(words));
    let first = found.next().unwrap_or_else(|| panic!("nothing sent has {words}"));
    first.sql
}

#[tokio::test(flavor = "multi_thread")]
async fn both_drivers_log_in_and_find_the_server_healthy() {
    let server = super::recorded().await;
    for driver in DRIVERS {
        let mut connection = Connection::open(&server, driver).await;
        // pgx refuses simple queries without these two.
        assert_eq!(connection.parameter("standard_conforming_strings"), Some("on"));
        assert_eq!(connection.parameter("client_encoding"), Some("UTF8"));
        assert_eq!(connection.parameter("server_version").map(|version| &version[..3]), Some("16."));
        assert_eq!(connection.parameter("DateStyle"), Some("ISO, MDY"));
        assert_eq!(connection.ping().await, "IZ", "{driver:?}: an empty query, and nothing else");
        let frames = connection.frames("SHOW extra_float_digits").await.unwrap();
        let expected = if driver == Driver::LibPq { "2" } else { "1" };
        assert_eq!((frames[0].lines(), frames[0].tag.as_str()), (vec![expected.to_owned()], "SHOW"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_version_is_told_and_there_is_no_timescaledb() {
    let (server, sent) = (super::recorded().await, sent());
    for driver in DRIVERS {
        let mut connection = Connection::open(&server, driver).await;
        let version = connection.frame(statement(&sent, "server_version_num")).await;
        assert!(["version int4", "version int8"].contains(&version.columns()[0].as_str()), "a whole number");
        let number: i32 = version.rows[0][0].as_ref().unwrap().parse().unwrap();
        assert!((1_600..1_700).contains(&number), "{number}");
        let extension = connection.frame(statement(&sent, "timescaledb'")).await;
        assert_eq!((extension.columns(), extension.lines()), (vec!["extversion text".to_owned()], vec![]));
        assert_eq!(extension.tag, "SELECT 0");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn schemas_tables_and_columns_are_listed() {
    let (server, sent) = (super::recorded().await, sent());
    let views = ["grafana_logs", "grafana_service_edges", "grafana_service_nodes", "grafana_traces"];
    for driver in DRIVERS {
        let mut connection = Connection::open(&server, driver).await;
        let schemas = connection.frame(statement(&sent, "schema_name AS \"name\"")).await;
        assert_eq!(schemas.columns(), ["name name"]);
        assert_eq!(schemas.lines(), ["otel", "public", "system"]);

        let of_schema = connection.frame(statement(&sent, "quote_ident(table_schema) = 'public'")).await;
        assert_eq!(of_schema.columns(), ["table text"]);
        assert_eq!(of_schema.lines(), [&views[..], &["logs", "spans"]].concat());

        // Those of the search path by their bare names and first, the others with their schemas.
        let tables = connection.frame(statement(&sent, "THEN 0 ELSE 1 END, 1")).await;
        let others = ["otel.metrics", "system.queries", "system.segments", "system.tables"];
        assert_eq!(tables.columns(), ["table text"]);
        assert_eq!(tables.lines(), [&views[..], &["logs", "spans"], &others].concat());

        for table in ["parse_ident('spans')", "parse_ident('public.spans')"] {
            let columns = connection.frame(statement(&sent, table)).await;
            assert_eq!(columns.columns(), ["column text", "type text"]);
            let expected = [
                "trace_id|text",
                "span_id|text",
                "parent_span_id|text",
                "name|text",
                "kind|text",
                "start_time|timestamp without time zone",
                "end_time|timestamp without time zone",
                "duration_ns|bigint",
                "status_code|text",
                "attributes|text",
                "events|text",
                "tags|text",
            ];
            assert_eq!(columns.lines(), expected);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newer_backend_asks_by_prepared_statements() {
    let (server, sent) = (super::recorded().await, sent());
    let mut connection = Connection::open(&server, Driver::Pgx).await;
    let schemas = connection.prepared(statement(&sent, "NOT LIKE 'pg_%'"), &[]).await.unwrap();
    assert_eq!(
        (schemas.columns(), schemas.lines()),
        (vec!["schema_name name".into()], vec!["otel".to_owned(), "public".into(), "system".into()])
    );

    let tables = statement(&sent, "table_type IN ('BASE TABLE', 'VIEW')");
    let of_otel = connection.prepared(tables, &["otel"]).await.unwrap();
    assert_eq!((of_otel.columns(), of_otel.lines()), (vec!["table_name name".into()], vec!["metrics".to_owned()]));
    assert_eq!(connection.prepared(tables, &["nowhere"]).await.unwrap().lines(), Vec::<String>::new());

    let columns = connection.prepared(statement(&sent, "ordinal_position"), &["otel", "metrics"]).await.unwrap();
    let expected =
        ["column_name name", "data_type text", "udt_name name", "numeric_precision int4", "numeric_scale int4"];
    assert_eq!(columns.columns(), expected);
    let expected = [
        "time|timestamp with time zone|timestamptz|NULL|NULL",
        "name|text|text|NULL|NULL",
        "value|double precision|float8|53|NULL",
        "labels|text|text|NULL|NULL",
        "count|bigint|int8|64|0",
        "bucket_counts|text|text|NULL|NULL",
    ];
    assert_eq!(columns.lines(), expected);

    let values = connection.prepared(statement(&sent, "sub_1"), &[]).await.unwrap();
    assert_eq!(values.columns(), ["col_name text", "val text"]);
    let of = |column: &'static str| (0..12).map(move |row| format!("{column}|{column} {row}"));
    let mut lines = values.lines();
    lines.sort();
    let mut expected: Vec<String> = of("kind").chain(of("name")).collect();
    expected.sort();
    assert_eq!(lines, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn older_query_builders_find_tables_and_columns() {
    let (server, sent) = (super::recorded().await, sent());
    for driver in DRIVERS {
        let mut connection = Connection::open(&server, driver).await;
        // The one table of the search path with a time and a number with a fraction.
        let first = connection.frame(statement(&sent, "AS value_column")).await;
        assert_eq!(first.columns(), ["table_name text", "time_column text", "value_column text"]);
        assert_eq!(first.lines(), ["grafana_traces|\"time\"|\"startTime\""]);
        let tables = connection.frame(statement(&sent, "SELECT quote_ident(table_name) FROM")).await;
        assert_eq!(tables.columns(), ["quote_ident text"]);
        assert_eq!(tables.rows.len(), 6);
        let times = connection.frame(statement(&sent, "'timestamp without time zone','timestamp with")).await;
        assert_eq!(times.lines(), ["duration_ns", "end_time", "start_time"]);
        let values = connection.frame(statement(&sent, "column_name <> 'start_time'")).await;
        assert_eq!(values.lines(), ["duration_ns"]);
        let metrics = connection.frame(statement(&sent, "'character varying','uuid'")).await;
        assert_eq!(metrics.rows.len(), 9);
        let udt = connection.frame(statement(&sent, "AND column_name = 'start_time'")).await;
        assert_eq!((udt.columns(), udt.lines()), (vec!["udt_name name".to_owned()], vec!["timestamp".to_owned()]));
        let kinds = connection.frame(statement(&sent, "quote_literal(kind)")).await;
        assert_eq!(kinds.lines(), ["'kind 0'", "'kind 1'", "'kind 2'", "'kind 3'"]);
        let aggregates = connection.frame(statement(&sent, "pg_aggregate")).await;
        let names =
            ["avg", "max", "min", "stddev", "stddev_pop", "stddev_samp", "sum", "var_pop", "var_samp", "variance"];
        assert_eq!(
            (aggregates.columns(), aggregates.lines()),
            (vec!["proname name".to_owned()], names.map(str::to_owned).to_vec())
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_is_abandoned_stops() {
    let server = super::recorded().await;
    let mut other = Connection::open(&server, Driver::Pgx).await;
    let mut connection = Connection::open(&server, Driver::Pgx).await;
    connection.begin("SELECT count(*) AS endless FROM generate_series(1, 100000000000)").await;
    let running = "SELECT count(*) FROM system.queries WHERE query LIKE 'SELECT count(*) AS endless%'";
    wait_for(&mut other, running, "1").await;
    connection.abandon(&server).await;
    wait_for(&mut other, running, "0").await;
}

/// Asks until the answer is this one, for a second.
async fn wait_for(connection: &mut Connection, sql: &str, expected: &str) {
    let begun = Instant::now();
    while connection.frame(sql).await.lines() != [expected] {
        assert!(begun.elapsed() < Duration::from_secs(1), "{sql}: not {expected}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_pool_stays_connected() {
    let server = super::recorded().await;
    let mut pool = Vec::new();
    for _ in 0..100 {
        pool.push(Connection::open(&server, Driver::Pgx).await);
    }
    for connection in &mut pool {
        assert_eq!(connection.ping().await, "IZ");
    }
}
