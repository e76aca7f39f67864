//! What psql 15 sends for its backslash commands runs, and says what is true.

use crate::support::{Lake, rows, text};

/// Every query of psql's commands (`\d…`, `\l`, `\sv`, …), as psql 15 sends them to a server of version 16.
const QUERIES: &str = include_str!("psql15.sql");

fn queries() -> impl Iterator<Item = &'static str> {
    QUERIES.split(";\n").map(str::trim).filter(|query| !query.is_empty())
}

/// The queries that contain a piece of text, with the oid of `events` filled in.
async fn answer(lake: &Lake, piece: &str) -> String {
    let oid = lake.value("SELECT 'events'::regclass::oid").await;
    let query = queries().find(|query| query.contains(piece)).unwrap_or_else(|| panic!("no query has {piece}"));
    text(&lake.session(), &query.replace("$OID", &oid)).await
}

#[tokio::test]
async fn every_query_of_psql_runs() {
    let lake = Lake::start().await;
    lake.log_events(0, 10).await;
    let oid = lake.value("SELECT 'events'::regclass::oid").await;
    let session = lake.session();
    let mut failed = Vec::new();
    for query in queries() {
        let query = query.replace("$OID", &oid);
        if let Err(error) = rows(&session, &query).await {
            failed.push(format!("{query}\n  => {error:?}"));
        }
    }
    assert!(failed.is_empty(), "{} failed:\n{}", failed.len(), failed.join("\n\n"));
}

#[tokio::test]
async fn dt_lists_the_tables_that_are_visible() {
    let lake = Lake::start().await;
    let shown = answer(&lake, "WHERE c.relkind IN ('r','p','')\n      AND n.nspname <> 'pg_catalog'").await;
    assert!(shown.contains("| public | events | table | admin |"), "{shown}");
    assert!(!shown.contains("queries"), "{shown}");
    let details = answer(&lake, "c.relpersistence WHEN 'p' THEN 'permanent'").await;
    assert!(details.contains("Things that happened.") && details.contains("| permanent"), "{details}");
}

#[tokio::test]
async fn dp_lists_tables_without_privileges_of_their_own() {
    let lake = Lake::start().await;
    let shown = answer(&lake, "AS \"Column privileges\"").await;
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(shown.lines().any(|line| words(line).starts_with("| public | events | table |")), "{shown}");
}

#[tokio::test]
async fn d_describes_columns_with_types_and_comments() {
    let lake = Lake::start().await;
    let shown = answer(&lake, "pg_catalog.col_description(a.attrelid, a.attnum)").await;
    let lines: Vec<&str> = shown.lines().collect();
    for (line, name, type_name, not_null, comment) in [
        (3, "time", "timestamp with time zone", "true", "when it happened; ns"),
        (4, "n", "bigint", "true", "number, from 0"),
        (5, "host", "text", "false", "where; name"),
        (6, "address", "inet", "false", "peer; address"),
    ] {
        let cells: Vec<&str> = lines[line].split('|').map(str::trim).collect();
        assert_eq!((cells[1], cells[2], cells[4]), (name, type_name, not_null), "{shown}");
        assert!(cells.contains(&comment), "{shown}");
    }
    let found = answer(&lake, "c.relname OPERATOR(pg_catalog.~) '^(events)$'").await;
    assert!(found.contains("| public  | events  |"), "{found}");
}

#[tokio::test]
async fn oids_stay_the_same() {
    let (one, two) = (Lake::start().await, Lake::start().await);
    two.log_events(0, 10).await;
    let sql = "SELECT 'events'::regclass::oid";
    assert_eq!(one.value(sql).await, two.value(sql).await);
    assert_eq!(one.value("SELECT 'system.queries'::regclass").await, "system.queries");
    assert_eq!(one.value("SELECT 'pg_class'::regclass::oid").await, "1259");
}
