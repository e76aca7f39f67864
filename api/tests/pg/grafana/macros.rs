//! Queries as users and the query builder write them, for each format: macros filled in as Grafana does, sent by both drivers.

use super::drivers::{Connection, DRIVERS, Frame};
use crate::grafana_model::macros::{Range, Timescale};

/// The first six seconds of the recorded tables, whose rows are a second apart; `interval` is 5 s.
const RANGE: Range = Range { from_ns: 1_767_225_600_000_000_000, to_ns: 1_767_225_605_500_000_000, interval_ms: 5_000 };

/// Sends a query by both drivers; the answers are the same, and are this.
async fn check(sql: &str, columns: &[&str], lines: &[&str]) {
    check_on(Timescale::Off, sql, columns, lines).await;
}

async fn check_on(timescale: Timescale, sql: &str, columns: &[&str], lines: &[&str]) {
    let server = super::recorded().await;
    let sql = RANGE.expand(sql, timescale);
    let mut frames: Vec<Frame> = Vec::new();
    for driver in DRIVERS {
        frames.push(Connection::open(&server, driver).await.frame(&sql).await);
    }
    assert_eq!(frames[0].columns(), columns, "{sql}");
    assert_eq!(frames[0].lines(), lines, "{sql}");
    assert_eq!(frames[0], frames[1], "the drivers differ in their start alone: {sql}");
    assert_eq!(frames[0].tag, format!("SELECT {}", lines.len()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_series_has_its_time_first() {
    let sql = "SELECT $__time(time), name AS metric, value FROM otel.metrics WHERE $__timeFilter(time) AND value < 2 ORDER BY 1";
    let lines = ["2026-01-01 00:00:00+00|name 0|0", "2026-01-01 00:00:01+00|name 1|1"];
    check(sql, &["time timestamptz", "metric text", "value float8"], &lines).await;
    let epoch = "SELECT $__timeEpoch(time), value FROM otel.metrics WHERE $__timeFilter(time) AND value < 2 ORDER BY 1";
    check(epoch, &["time float8", "value float8"], &["1767225600|0", "1767225601|1"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn times_are_grouped() {
    // Seconds 0 to 5 are in the range: five in the first group, one in the second.
    let lines = ["1767225600|2|5", "1767225605|5|1"];
    let columns = ["time float8", "avg float8", "rows int8"];
    for group in [
        "$__timeGroupAlias(time,'5s')",
        "$__timeGroup(time, $__interval, NULL) AS \"time\"",
        "$__timeGroup(time,'5s'), 1::int8 AS x",
    ] {
        let sql = format!(
            "SELECT {group}, avg(value), count(*) AS rows FROM otel.metrics WHERE $__timeFilter(time) GROUP BY 1 ORDER BY 1"
        );
        match group.ends_with('x') {
            false => check(&sql, &columns, &lines).await,
            true => {
                let columns = ["time float8", "x int8", "avg float8", "rows int8"];
                check(&sql, &columns, &["1767225600|1|2|5", "1767225605|1|5|1"]).await;
            }
        }
    }
    let half = "SELECT $__timeGroupAlias(time,'500ms',0), max(value) AS value FROM otel.metrics WHERE time <= $__timeFrom() GROUP BY 1 ORDER BY 1";
    check(half, &["time float8", "value float8"], &["1767225600|0"]).await;
    // Spans' times have no zone.
    let plain = "SELECT $__timeGroupAlias(start_time,'5s'), sum(duration_ns) AS total FROM spans WHERE $__timeFilter(start_time) GROUP BY 1 ORDER BY 1";
    check(plain, &["time float8", "total int8"], &["1767225600|10", "1767225605|5"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn times_are_grouped_by_buckets_where_the_box_is_ticked() {
    let sql = "SELECT $__timeGroupAlias(time,'5s'), sum(value) AS value FROM otel.metrics WHERE $__timeFilter(time) GROUP BY 1 ORDER BY 1";
    let lines = ["2026-01-01 00:00:00+00|10", "2026-01-01 00:00:05+00|5"];
    check_on(Timescale::On, sql, &["time timestamptz", "value float8"], &lines).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unix_times_are_filtered_and_grouped() {
    let epochs = "(SELECT extract(epoch FROM time)::bigint AS at, value FROM otel.metrics) AS m";
    let sql = format!(
        "SELECT $__unixEpochGroupAlias(at,'5s'), sum(value) AS value FROM {epochs} WHERE $__unixEpochFilter(at) GROUP BY 1 ORDER BY 1"
    );
    check(&sql, &["time float8", "value float8"], &["1767225600|10", "1767225605|5"]).await;
    let nanos = "(SELECT (extract(epoch FROM time) * 1000)::bigint * 1000000 AS at, value FROM otel.metrics) AS m";
    let sql = format!(
        "SELECT count(*) AS rows, $__unixEpochNanoTo() - $__unixEpochNanoFrom() AS ns, $__unixEpochTo() - $__unixEpochFrom() AS s FROM {nanos} WHERE $__unixEpochNanoFilter(at)"
    );
    let frame = ["rows int8", "ns int8", "s int8"];
    // The whole seconds are small enough for the planner to keep as int8 too.
    check(&sql, &frame, &["6|5500000000|5"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_query_builder_writes_is_answered() {
    let raw = "SELECT \"time\" AS \"time\", value, name AS metric FROM otel.metrics WHERE $__timeFilter(\"time\") ORDER BY \"time\" LIMIT 1";
    check(raw, &["time timestamptz", "value float8", "metric text"], &["2026-01-01 00:00:00+00|0|name 0"]).await;
    let aggregated = "SELECT AVG(value) AS \"mean\", COUNT(DISTINCT name), name FROM otel.metrics WHERE (name = 'name 3' AND value >= 1) GROUP BY name LIMIT 50 ";
    check(aggregated, &["mean float8", "count int8", "name text"], &["3|1|name 3"]).await;
    check(
        "SELECT * FROM otel.metrics LIMIT 0",
        &["time timestamptz", "name text", "value float8", "labels text", "count int8", "bucket_counts text"],
        &[],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_logs_annotations_variables_and_alerts_have_their_columns() {
    let table = "SELECT service_name, severity_number, count(*) FROM logs WHERE $__timeFilter(timestamp) AND severity_number > 4 GROUP BY 1, 2";
    check(table, &["service_name text", "severity_number int4", "count int8"], &["service_name 5|5|1"]).await;
    let logs = "SELECT timestamp AS time, body, severity_text AS level, service_name FROM logs WHERE $__timeFilter(timestamp) ORDER BY timestamp DESC LIMIT 1";
    let columns = ["time timestamptz", "body text", "level text", "service_name text"];
    check(logs, &columns, &["2026-01-01 00:00:05+00|body 5|severity_text 5|service_name 5"]).await;
    let annotations = "SELECT start_time AS time, end_time AS timeend, name AS text, concat_ws(',', kind, status_code) AS tags FROM spans WHERE $__timeFilter(start_time) ORDER BY time LIMIT 1";
    let columns = ["time timestamp", "timeend timestamp", "text text", "tags text"];
    check(annotations, &columns, &["2026-01-01 00:00:00|2026-01-01 00:00:00|name 0|kind 0,status_code 0"]).await;
    let variable = "SELECT DISTINCT name AS __text, trace_id AS __value FROM spans WHERE $__timeFilter(start_time) ORDER BY 1 DESC LIMIT 1";
    check(variable, &["__text text", "__value text"], &["name 5|trace_id 5"]).await;
    let alert = "SELECT service_name, sum(severity_number) AS errors FROM logs WHERE $__timeFilter(timestamp) GROUP BY 1 HAVING sum(severity_number) > 4 ORDER BY 1";
    check(alert, &["service_name text", "errors int8"], &["service_name 5|5"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_statements_give_several_results() {
    let server = super::recorded().await;
    for driver in DRIVERS {
        let mut connection = Connection::open(&server, driver).await;
        let frames = connection.frames("SELECT 10 AS n; SELECT 20 AS n").await.unwrap();
        let lines: Vec<_> = frames.iter().flat_map(Frame::lines).collect();
        assert_eq!((lines, frames[1].tag.as_str()), (vec!["10".to_owned(), "20".to_owned()], "SELECT 1"));
        let frames =
            connection.frames("SET TIMEZONE TO 'Asia/Tokyo'; select time from otel.metrics limit 1").await.unwrap();
        assert_eq!((frames[0].tag.as_str(), frames[0].columns.len()), ("SET", 0));
        assert_eq!(frames[1].lines(), ["2026-01-01 09:00:00+09"]);
        let explained = connection.frame("EXPLAIN SELECT 1").await;
        assert_eq!((explained.columns(), explained.tag.as_str()), (vec!["QUERY PLAN text".to_owned()], "EXPLAIN"));
        let error = connection.frames("SELECT nothing FROM logs").await.unwrap_err();
        assert_eq!(error, "42703 column \"nothing\" does not exist");
        assert_eq!(connection.frame("SELECT 1 AS still").await.lines(), ["1"]);
    }
}
