//! The dashboards of `deploy/grafana`: how they are made, and every query of theirs with what it answers.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt::Write as _;

use probepilot_collector_ebpf::probes;
use serde_json::Value as Json;

use super::drivers::{Connection, Driver, Frame};
use super::fixture::{START_NS, STEP_NS};
use crate::grafana_model::dashboards::{self, Dashboard, Query};
use crate::grafana_model::macros::{Range, Timescale, Value, interpolate};

/// What every query answers on the fixture: columns, number of rows, the first row. A change of a dashboard or of the SQL
/// that it needs shows here. Written anew by a run with `PROBEPILOT_GRAFANA_WRITE` set.
const ANSWERS: &str = include_str!("dashboards.txt");

/// Rows 10 to 109 of each table.
const RANGE: Range = Range { from_ns: START_NS + 10 * STEP_NS, to_ns: START_NS + 109 * STEP_NS, interval_ms: 60_000 };

const NUMBERS: [&str; 6] = ["int2", "int4", "int8", "float4", "float8", "numeric"];

#[test]
fn every_dashboard_is_well_made() {
    let provisioned =
        std::fs::read_to_string(dashboards::folder().join("provisioning/datasources/probepilot.yaml")).unwrap();
    assert!(provisioned.contains("uid: probepilot\n"), "the data source that the dashboards name is provisioned");
    let all = dashboards::all();
    let uids: HashSet<String> = all.iter().map(|dashboard| dashboard.json["uid"].to_string()).collect();
    assert_eq!((all.len(), uids.len()), (6, 6));
    for dashboard in &all {
        let mut ids = HashSet::new();
        let mut cells = HashSet::new();
        for panel in dashboard.panels() {
            let place = format!("{}: {}", dashboard.name, panel["title"]);
            assert!(ids.insert(panel["id"].to_string()), "{place}: its id is another panel's too");
            assert!(panel["description"].as_str().is_some_and(|text| text.len() > 5), "{place}: no description");
            let position = |key: &str| panel["gridPos"][key].as_u64().unwrap();
            for x in position("x")..position("x") + position("w") {
                assert!(x < 24, "{place}: it is wider than the page");
                for y in position("y")..position("y") + position("h") {
                    assert!(cells.insert((x, y)), "{place}: it covers another panel");
                }
            }
            let kind = panel["type"].as_str().unwrap();
            if ["timeseries", "stat"].contains(&kind) {
                assert!(panel["fieldConfig"]["defaults"]["unit"].is_string(), "{place}: no unit");
            }
            for target in panel["targets"].as_array().unwrap() {
                assert_eq!(target["datasource"]["uid"], "probepilot", "{place}");
            }
        }
    }
}

#[test]
fn a_panel_says_which_probe_it_needs() {
    let off: Vec<&str> = probes::builtin().iter().filter(|probe| !probe.enabled).map(|probe| probe.name).collect();
    for query in dashboards::all().iter().flat_map(Dashboard::queries) {
        let words: HashSet<&str> = query.sql.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').collect();
        for probe in off.iter().filter(|probe| words.contains(**probe)) {
            let note = format!("ALTER PROBE {probe} ENABLE");
            assert!(query.description.contains(&note), "{}: it needs the probe {probe}", query.place);
        }
    }
}

/// Sends a query of a dashboard with its variables.
async fn ask(connection: &mut Connection, query: &Query, variables: &BTreeMap<String, Value>) -> Frame {
    let sql = RANGE.expand(&interpolate(&query.sql, variables), Timescale::Off);
    let frames = connection.frames(&sql).await;
    let mut frames = frames.unwrap_or_else(|error| panic!("{}: {error}\n{sql}", query.place));
    assert_eq!(frames.len(), 1, "{}", query.place);
    frames.remove(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_query_is_answered_as_its_panel_needs() {
    let server = super::probes().await;
    let mut connection = Connection::open(&server, Driver::Pgx).await;
    let mut answers: String =
        ANSWERS.lines().take_while(|line| line.starts_with('#')).map(|line| format!("{line}\n")).collect();
    for dashboard in dashboards::all() {
        let fixed = dashboard.defaults();
        let mut open = fixed.clone();
        open.extend(dashboard.every());
        // Once with all values of each variable by their name, and once with each of them chosen.
        let mut chosen = fixed.clone();
        for (name, query) in dashboard.variable_queries() {
            let frame = ask(&mut connection, &query, &fixed).await;
            suits(&query, &frame);
            note(&mut answers, &query, &frame);
            chosen.insert(name, Value::Several(frame.rows.into_iter().map(|mut row| row.remove(0).unwrap()).collect()));
        }
        let mut graph: Option<Frame> = None;
        for query in dashboard.queries() {
            let frame = ask(&mut connection, &query, &open).await;
            suits(&query, &frame);
            note(&mut answers, &query, &frame);
            assert_eq!(ask(&mut connection, &query, &chosen).await, frame, "{}: all, one by one", query.place);
            match query.format.as_str() {
                "nodes" => graph = Some(frame),
                "edges" => edges_join_nodes(&frame, &graph.take().expect("the nodes come first")),
                _ => {}
            }
        }
    }
    if std::env::var_os("PROBEPILOT_GRAFANA_WRITE").is_some() {
        std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/pg/grafana/dashboards.txt"), &answers).unwrap();
        return;
    }
    for (expected, given) in ANSWERS.lines().zip(answers.lines()) {
        assert_eq!(given, expected);
    }
    assert_eq!(answers.lines().count(), ANSWERS.lines().count());
}

fn note(answers: &mut String, query: &Query, frame: &Frame) {
    let first = frame.lines().into_iter().next().unwrap_or_default();
    let (place, kind, columns) = (&query.place, &query.kind, frame.columns().join(", "));
    let _ = writeln!(answers, "\n{place} ({kind})\n{columns}\n{} rows, the first: {first}", frame.rows.len());
}

/// The place of a column and its type.
fn column<'a>(frame: &'a Frame, columns: &'a [String], name: &str) -> (usize, &'a str) {
    let found = frame.columns.iter().position(|(known, _)| known == name);
    let place = found.unwrap_or_else(|| panic!("no column {name} in {columns:?}"));
    (place, columns[place].rsplit(' ').next().unwrap())
}

/// An answer is what its panel can draw.
fn suits(query: &Query, frame: &Frame) {
    let columns = frame.columns();
    let place = &query.place;
    let type_of = |name: &str| column(frame, &columns, name).1;
    let is_number = |column: &String| NUMBERS.contains(&column.rsplit(' ').next().unwrap());
    assert!(!frame.rows.is_empty(), "{place}: no rows");
    match query.kind.as_str() {
        "timeseries" => {
            assert_eq!(query.format, "time_series", "{place}");
            assert!(["float8", "timestamptz"].contains(&type_of("time")), "{place}");
            let others: Vec<&String> = columns.iter().filter(|column| !column.starts_with("time ")).collect();
            let texts = others.iter().filter(|column| !is_number(column)).map(|column| column.as_str());
            assert!(texts.into_iter().all(|column| column == "metric text"), "{place}: {columns:?}");
            assert!(others.iter().any(|column| is_number(column)), "{place}: nothing to draw");
            let times: Vec<f64> = frame.rows.iter().map(|row| row[0].as_ref().unwrap().parse().unwrap()).collect();
            assert!(times.is_sorted(), "{place}: a time series is sorted");
            assert!(times.iter().all(|time| time % 60.0 == 0.0), "{place}: whole intervals");
        }
        "stat" => {
            assert_eq!(frame.rows.len(), 1, "{place}");
            assert!(columns.len() == 1 && is_number(&columns[0]), "{place}: {columns:?}");
        }
        "logs" => {
            assert_eq!(columns[..2], ["timestamp timestamptz", "body text"], "{place}");
            assert_eq!((type_of("severity"), type_of("id"), type_of("labels")), ("text", "text", "jsonb"));
            let labels = column(frame, &columns, "labels").0;
            frame.rows.iter().for_each(|row| assert!(json(row[labels].as_deref()).is_object(), "{place}: {row:?}"));
            unique(place, frame, &columns, "id");
        }
        "flamegraph" => {
            assert_eq!((type_of("label"), type_of("level")), ("text", "int8"), "{place}");
            assert!(columns[2..].iter().all(is_number), "{place}: {columns:?}");
            nested_set(frame);
        }
        "nodeGraph" => {
            assert_eq!((type_of("id"), type_of("mainstat")), ("text", "int8"), "{place}");
            unique(place, frame, &columns, "id");
        }
        "traces" => spans(frame, &columns),
        "annotation" => assert_eq!(columns, ["time timestamptz", "text text", "tags text"], "{place}"),
        "variable" => assert_eq!(columns[0].rsplit(' ').next(), Some("text"), "{place}"),
        "table" => assert_eq!(query.format, "table", "{place}"),
        other => panic!("{place}: nothing is known of panels of the type {other}"),
    }
}

fn json(text: Option<&str>) -> Json {
    serde_json::from_str(text.expect("it is not NULL")).unwrap()
}

fn unique(place: &str, frame: &Frame, columns: &[String], name: &str) {
    let index = column(frame, columns, name).0;
    let ids: HashSet<_> = frame.rows.iter().map(|row| &row[index]).collect();
    assert_eq!(ids.len(), frame.rows.len(), "{place}: {name} comes twice");
}

/// Edges begin and end at nodes.
fn edges_join_nodes(edges: &Frame, nodes: &Frame) {
    let known: BTreeSet<&String> = nodes.rows.iter().map(|row| row[0].as_ref().unwrap()).collect();
    let columns = edges.columns();
    for end in ["source", "target"] {
        let index = column(edges, &columns, end).0;
        for row in &edges.rows {
            assert!(known.contains(row[index].as_ref().unwrap()), "no node {:?}", row[index]);
        }
    }
}

/// Each bar stands on the one before it or on one of those below, and is as wide as its own part and the bars on it.
fn nested_set(frame: &Frame) {
    let number = |row: &Vec<Option<String>>, index: usize| row[index].as_ref().unwrap().parse::<i64>().unwrap();
    // The rest of each bar that is still open: what its children have not taken.
    let mut open: Vec<i64> = Vec::new();
    for row in &frame.rows {
        let (level, value, own) = (number(row, 1) as usize, number(row, 2), number(row, 3));
        assert!(level <= open.len() && (level > 0 || open.is_empty()), "{row:?} stands on nothing");
        for rest in open.drain(level..) {
            assert_eq!(rest, 0, "a bar before {row:?} is wider than what stands on it");
        }
        if let Some(below) = open.last_mut() {
            *below -= value;
        }
        open.push(value - own);
    }
    assert!(open.iter().all(|rest| *rest == 0), "{open:?}");
}

/// The spans of one trace: one is its root, the others are in it, and tags are lists of keys and values.
fn spans(frame: &Frame, columns: &[String]) {
    let place = |name: &str| column(frame, columns, name).0;
    assert_eq!(column(frame, columns, "startTime").1, "float8");
    assert_eq!(column(frame, columns, "duration").1, "float8");
    let (trace, span, parent) = (place("traceID"), place("spanID"), place("parentSpanID"));
    let roots: Vec<_> = frame.rows.iter().filter(|row| row[parent].is_none()).collect();
    assert_eq!(roots.len(), 1, "one process");
    for row in &frame.rows {
        assert_eq!(row[trace], roots[0][trace]);
        assert!(row[parent].is_none() || row[parent] == roots[0][span]);
        for tags in [place("tags"), place("serviceTags")] {
            assert!(column(frame, columns, "tags").1 == "jsonb");
            let list = json(row[tags].as_deref());
            let list = list.as_array().expect("tags are a list");
            assert!(!list.is_empty() && list.iter().all(|tag| tag["key"].is_string() && tag.get("value").is_some()));
        }
    }
    let ids: HashSet<_> = frame.rows.iter().map(|row| &row[span]).collect();
    assert_eq!(ids.len(), frame.rows.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn single_figures_are_those_of_the_rows() {
    let server = super::probes().await;
    let mut connection = Connection::open(&server, Driver::LibPq).await;
    // Of rows 10 to 109: every fourth has a status (25), every tenth a signal (10), five have both; every sixth of the
    // windows has a failure (12, 18, … 108: 17); the counter of losses rises from 9 to 109 and from 10 to 110.
    let expected = [
        ("host: Programs started", "100"),
        ("host: Processes failed", "30"),
        ("host: Killed for want of memory", "100"),
        ("host: Connections that failed", "17"),
        ("host: Rows lost", "200"),
        ("network: Connections", "6050"), // 11 + 12 + … + 110
        ("security: Crashes", "10"),
        ("security: Programs from writable places", "5"),
        ("security: Kills", "50"),
        ("security: Peers", "3"),
    ];
    let mut figures = BTreeMap::new();
    for dashboard in dashboards::all() {
        let mut variables = dashboard.defaults();
        variables.extend(dashboard.every());
        for query in dashboard.queries().iter().filter(|query| query.kind == "stat") {
            let frame = ask(&mut connection, query, &variables).await;
            figures.insert(query.place.clone(), frame.lines().remove(0));
        }
    }
    for (place, expected) in expected {
        assert_eq!(figures[place], expected, "{place}");
    }
}
