//! Statements as clients see them: names, errors with code and place, settings, parameters, cancel.

use std::time::{Duration, Instant};

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use futures::{StreamExt, TryStreamExt};
use probepilot_sql::statement::Statement;

use crate::support::{Lake, rows, text};

#[tokio::test]
async fn columns_have_postgresqls_names() {
    let lake = Lake::start().await;
    for (sql, expected) in [
        ("SELECT 1, 2, count(*), max(n) FROM events", vec!["?column?", "?column?", "count", "max"]),
        ("SELECT e.n, e.n, e.* FROM events e", vec!["n", "n", "time", "n", "host", "address"]),
        ("SELECT count FROM (SELECT count(*) FROM events) s", vec!["count"]),
        ("SELECT 1 UNION SELECT 2", vec!["?column?"]),
        ("SHOW timezone", vec!["TimeZone"]),
        ("EXPLAIN SELECT 1", vec!["QUERY PLAN"]),
    ] {
        let stream = lake.session().query(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        let names: Vec<&str> = stream.schema.fields().iter().map(|field| field.name().as_str()).collect();
        assert_eq!(names, expected, "{sql}");
    }
}

#[tokio::test]
async fn errors_have_code_place_and_hint() {
    let lake = Lake::start().await;
    lake.log_events(0, 10).await;
    for (sql, state, position, hint) in [
        ("SELECT hots FROM events", "42703", Some(8), Some("\"host\"")),
        ("SELECT n FROM\n  evnts", "42P01", Some(17), Some("\"events\"")),
        ("SELECT n, lowr(host) FROM events", "42883", Some(11), Some("\"lower\"")),
        ("SELECT 1 / (n - n) FROM events", "22012", None, None),
        ("SELECT 'x'::int", "22P02", None, None),
        ("SELECT n FROM events, events AS b", "42702", Some(8), None),
        ("SELECT n FROM tracepoint.sys_enter_openat, events", "42P01", Some(15), None),
        ("SELECT n FROM events WHERE", "42601", None, None),
        ("DELETE FROM events", "0A000", None, None),
        ("SELECT (SELECT n FROM events)", "21000", None, None),
        ("SELECT current_setting('nothing')", "42704", None, None),
        ("SHOW nothing", "42704", None, None),
    ] {
        let error = lake.error(sql).await;
        assert_eq!(error.state.0, state, "{sql}: {error:?}");
        if position.is_some() {
            assert_eq!(error.position, position, "{sql}: {error:?}");
        }
        if let Some(hint) = hint {
            assert!(error.hint.as_deref().is_some_and(|text| text.contains(hint)), "{sql}: {error:?}");
        }
    }
}

#[tokio::test]
async fn correlated_subqueries_with_any_condition() {
    let lake = Lake::start().await;
    lake.log_events(0, 6).await;
    let sql =
        "SELECT a.n, (SELECT b.n FROM events b WHERE b.n > a.n AND b.n < a.n + 2) AS next FROM events a ORDER BY 1";
    let shown = text(&lake.session(), sql).await;
    let cells: Vec<Vec<&str>> =
        shown.lines().skip(3).take(6).map(|line| line.split('|').map(str::trim).collect()).collect();
    for (n, row) in cells.iter().enumerate() {
        let next = if n < 5 { (n + 1).to_string() } else { String::new() };
        assert_eq!((row[1], row[2]), (n.to_string().as_str(), next.as_str()), "{shown}");
    }
    let two = "SELECT (SELECT b.n FROM events b WHERE b.n > a.n) FROM events a";
    assert_eq!(lake.error(two).await.state.0, "21000");
}

#[tokio::test]
async fn settings_are_the_sessions_own() {
    let lake = Lake::start().await;
    let (one, two) = (lake.session(), lake.session());
    for sql in ["SET timezone = 'Europe/Berlin'", "SET application_name TO me", "SET statement_timeout = '5s'"] {
        rows(&one, sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }
    assert!(text(&one, "SHOW TimeZone").await.contains("Europe/Berlin"));
    assert!(text(&one, "SELECT current_setting('application_name')").await.contains("| me "));
    assert!(text(&two, "SHOW TIME ZONE").await.contains("UTC"));
    let midnight = "SELECT date_trunc('day', '2026-07-01T00:30:00Z'::timestamptz)";
    // Midnight in Berlin, as a moment.
    assert!(text(&one, midnight).await.contains("2026-06-30T22:00:00Z"), "{}", text(&one, midnight).await);
    rows(&one, "RESET ALL").await.unwrap();
    assert!(text(&one, "SHOW statement_timeout").await.contains("| 0 "));
}

#[tokio::test]
async fn parameters_get_their_types_from_the_statement() {
    let lake = Lake::start().await;
    lake.log_events(0, 100).await;
    let session = lake.session();
    let sql = "SELECT count(*) FROM events WHERE n < $1 AND host = $2";
    let Statement::Sql(statement) = probepilot_sql::parse_one(sql).unwrap() else { panic!("not plain SQL") };
    let prepared = session.prepare(sql, &statement, &[]).await.unwrap();
    assert_eq!(prepared.parameters[0], DataType::Int64);
    for (below, expected) in [(30, "9"), (60, "18")] {
        let values = vec![ScalarValue::Int64(Some(below)), ScalarValue::from("host-0")];
        let batches: Vec<_> = session.execute(&prepared, values).await.unwrap().batches.try_collect().await.unwrap();
        assert_eq!(arrow::util::display::array_value_to_string(batches[0].column(0), 0).unwrap(), expected);
    }
    let error = session.execute(&prepared, Vec::new()).await.err().unwrap();
    assert_eq!(error.state.0, "08P01");
}

/// Runs for hours when nobody stops it.
const ENDLESS: &str =
    "SELECT count(*) FROM generate_series(1, 10000000000) a(x), generate_series(1, 1000) b(y) WHERE x % 7 = y";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_statement_is_listed_and_cancelled_at_once() {
    let lake = Lake::start().await;
    let (session, other) = (lake.session(), lake.session());
    let mut stream = session.query(ENDLESS).await.unwrap();
    assert!(text(&other, "SELECT query FROM system.queries").await.contains("10000000000"));
    let task = tokio::spawn(async move { stream.batches.next().await });
    tokio::time::sleep(Duration::from_millis(50)).await;
    let started = Instant::now();
    session.cancel();
    let error = task.await.unwrap().unwrap().unwrap_err();
    assert_eq!(error.state.0, "57014", "{error:?}");
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    assert!(!text(&other, "SELECT query FROM system.queries").await.contains("10000000000,"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_ends_at_its_timeout() {
    let lake = Lake::start().await;
    let session = lake.session();
    rows(&session, "SET statement_timeout = 100").await.unwrap();
    let error = rows(&session, ENDLESS).await.unwrap_err();
    assert_eq!((error.state.0, error.message.contains("statement timeout")), ("57014", true));
}

#[tokio::test]
async fn time_buckets_group_rows() {
    let lake = Lake::start().await;
    lake.log_events(0, 120).await;
    let sql = "SELECT time_bucket('1 minute', time) AS minute, count(*) FROM events GROUP BY 1 ORDER BY 1";
    let shown = text(&lake.session(), sql).await;
    assert!(
        shown.contains("| 2026-01-01T00:00:00Z | 60 ") && shown.contains("| 2026-01-01T00:01:00Z | 60 "),
        "{shown}"
    );
    let same = "SELECT count(*) FROM events WHERE time_bucket(interval '1 minute', time) = '2026-01-01T00:01:00Z'";
    assert_eq!(lake.value(same).await, "60");
    assert_eq!(lake.value("SELECT max(epoch_ns(time)) FROM events").await, "1767225719000000000");
}

#[tokio::test]
async fn a_correlated_subquery_stands_within_another() {
    let lake = Lake::start().await;
    let sql = "SELECT o.a, \
        (SELECT m.b + (SELECT max(i.c) FROM (VALUES (1, 10), (2, 20), (2, 30)) AS i(b, c) WHERE i.b = m.b) \
        FROM (VALUES (1, 1), (3, 2)) AS m(a, b) WHERE m.a = o.a) AS nested, \
        (SELECT max(m.b) FROM (VALUES (1, 1), (3, 5)) AS m(a, b) WHERE m.a = o.a AND m.b > \
        (SELECT max(i.b) FROM (VALUES (0), (4)) AS i(b) WHERE i.b <> m.b)) AS filtered \
        FROM (VALUES (1), (2), (3)) AS o(a) ORDER BY 1";
    let shown = text(&lake.session(), sql).await;
    let rows: Vec<Vec<&str>> = shown
        .lines()
        .map(|line| line.split('|').map(str::trim).filter(|cell| !cell.is_empty()).collect())
        .filter(|row: &Vec<&str>| row.first().is_some_and(|cell| cell.parse::<i64>().is_ok()))
        .collect();
    // As PostgreSQL answers; NULL is shown as nothing.
    assert_eq!(rows, [vec!["1", "11"], vec!["2"], vec!["3", "32", "5"]], "{shown}");
}
