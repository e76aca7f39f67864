//! The views for Grafana's panels: they are there with and without tables, are listed as views, and have what they say.

use probepilot_query::engine::views;

use super::drivers::{Connection, Driver, Frame};

async fn answer(connection: &mut Connection, sql: &str) -> Vec<String> {
    connection.frame(sql).await.lines()
}

#[tokio::test(flavor = "multi_thread")]
async fn views_are_there_before_any_table_is() {
    let server = super::recorded().await;
    let mut connection = Connection::open(&server, Driver::Pgx).await;
    for view in views::all() {
        let frame: Frame = connection.frame(&format!("SELECT * FROM {}", view.name)).await;
        let expected: Vec<String> =
            view.columns.iter().map(|column| format!("{} {}", column.name, column.type_name)).collect();
        assert_eq!((frame.columns(), frame.rows.len()), (expected, 0), "{}", view.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn views_have_the_declared_columns_of_their_tables_rows() {
    let server = super::probes().await;
    let mut connection = Connection::open(&server, Driver::Pgx).await;
    for view in views::all() {
        let frame = connection.frame(&format!("SELECT * FROM public.{}", view.name)).await;
        let expected: Vec<String> =
            view.columns.iter().map(|column| format!("{} {}", column.name, column.type_name)).collect();
        assert_eq!(frame.columns(), expected, "{}", view.name);
        assert!(!frame.rows.is_empty());
        // The definition that the catalog shows is the query.
        let definition = answer(&mut connection, &format!("SELECT pg_get_viewdef('{}'::regclass)", view.name)).await;
        let count = |from: &str| format!("SELECT count(*) FROM {from}");
        let of_view = answer(&mut connection, &count(view.name)).await;
        assert_eq!(of_view, [frame.rows.len().to_string()]);
        assert_eq!(answer(&mut connection, &count(&format!("({}) AS d", definition[0]))).await, of_view);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_catalog_lists_them_as_views_with_comments() {
    let server = super::probes().await;
    let mut connection = Connection::open(&server, Driver::Pgx).await;
    let sql =
        "SELECT table_name, table_type FROM information_schema.tables WHERE table_name LIKE 'grafana%' ORDER BY 1";
    let names =
        ["grafana_logs|VIEW", "grafana_service_edges|VIEW", "grafana_service_nodes|VIEW", "grafana_traces|VIEW"];
    assert_eq!(answer(&mut connection, sql).await, names);
    let sql =
        "SELECT relkind, obj_description(oid, 'pg_class') IS NOT NULL FROM pg_class WHERE relname = 'grafana_traces'";
    assert_eq!(answer(&mut connection, sql).await, ["v|t"]);
    let sql = "SELECT col_description('grafana_traces'::regclass, 10)";
    assert_eq!(answer(&mut connection, sql).await, ["how long it took; ms"]);
    for sql in [
        "SELECT viewname FROM pg_views WHERE definition LIKE '%oom_kill%' AND schemaname = 'public'",
        "SELECT table_name FROM information_schema.views WHERE view_definition LIKE '%oom_kill%' AND table_schema = 'public'",
    ] {
        assert_eq!(answer(&mut connection, sql).await, ["grafana_logs"]);
    }
    let sql = "SELECT count(*) FROM pg_tables WHERE tablename LIKE 'grafana%'";
    assert_eq!(answer(&mut connection, sql).await, ["0"]);
    let error = connection.frames("SELECT 1 FROM grafana_log").await.unwrap_err();
    assert_eq!(error, "42P01 relation \"grafana_log\" does not exist");
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_edges_and_spans_are_those_of_the_rows() {
    let server = super::probes().await;
    let mut connection = Connection::open(&server, Driver::Pgx).await;
    // Row 19: by a signal, in no container; row 3: with a status; row 0 is in a container.
    let sql = "SELECT body, severity, labels FROM grafana_logs WHERE id LIKE 'process_exit beta 20 %'";
    let labels = r#"{"pid": 109, "uid": 1000, "comm": "postgres", "table": "process_exit", "container_id": null}"#;
    let line = format!("postgres (109) ended by SIGSEGV|error|{labels}");
    assert_eq!(answer(&mut connection, sql).await, [line]);
    let sql = "SELECT body, severity FROM grafana_logs WHERE id LIKE 'process_exit beta 4 %'";
    assert_eq!(answer(&mut connection, sql).await, ["nginx (103) ended with status 1|warning"]);
    let sql = "SELECT body FROM grafana_logs WHERE id LIKE 'tcp_flow%' AND timestamp = '2026-01-01T00:00:00Z'";
    assert_eq!(answer(&mut connection, sql).await, ["1 of 1 connections of nginx to 10.0.0.1:443 failed"]);
    let sql = "SELECT body FROM grafana_logs WHERE id LIKE 'oom_kill%' ORDER BY timestamp LIMIT 1";
    assert_eq!(answer(&mut connection, sql).await, ["worker (1) was killed for want of memory, with 0 MiB of its own"]);

    let sql = "SELECT id, source, target, mainstat, secondarystat, detail__failures FROM grafana_service_edges ORDER BY time LIMIT 2";
    let edges = [
        "c0ffeec0ffee/nginx → 10.0.0.1:443|c0ffeec0ffee/nginx|10.0.0.1:443|1|2|1",
        "10.0.0.2 → beta:443|10.0.0.2|beta:443|2|4|0",
    ];
    assert_eq!(answer(&mut connection, sql).await, edges);
    let sql = "SELECT id, title, subtitle FROM grafana_service_nodes WHERE time = '2026-01-01T00:00:10Z' ORDER BY id";
    assert_eq!(answer(&mut connection, sql).await, ["10.0.0.2|client|10.0.0.2", "beta:443|port 443|beta"]);

    let sql = r#"SELECT "spanID", "parentSpanID", "operationName", "serviceName", "startTime", duration, "statusCode"
        FROM grafana_traces WHERE "traceID" = '0000000000001001' ORDER BY "parentSpanID" IS NOT NULL, "operationName""#;
    let spans = [
        "0000000000001001|NULL|postgres|beta|1767225610000|2e-06|1",
        "exec 0000000000001001 1767225610000000000|0000000000001001|/usr/bin/postgres|beta|1767225610000|0|0",
        "connect 2 1767225610000000000|0000000000001001|connect|beta|1767225610000|2e-06|1",
        "write 2 1767225610000000000|0000000000001001|write|beta|1767225610000|2e-06|1",
    ];
    assert_eq!(answer(&mut connection, sql).await, spans);
}
