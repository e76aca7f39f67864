//! Every query of Grafana's dashboards, on a server with the starter probes and what they saw of this test.

use std::collections::BTreeMap;

use crate::grafana_model::dashboards::{self, Query};
use crate::grafana_model::macros::{Range, Timescale, Value, interpolate};
use crate::support::Server;

/// An hour.
const HOUR_NS: i64 = 3_600_000_000_000;

/// Panels of events that every host has: they show something on any.
const NEVER_EMPTY: [&str; 6] = [
    "host: What happened",
    "host: Probes",
    "network: Who talks to whom",
    "network: Peers",
    "processes: Processes that took longest",
    "processes: A process",
];

/// Runs a query of a dashboard and gives what psql prints.
fn ask(server: &Server, query: &Query, variables: &BTreeMap<String, Value>) -> String {
    let now_ns = chrono::Utc::now().timestamp_nanos_opt().unwrap();
    let range = Range { from_ns: now_ns - HOUR_NS, to_ns: now_ns, interval_ms: 10_000 };
    println!("{}", query.place);
    server.psql(&range.expand(&interpolate(&query.sql, variables), Timescale::Off))
}

#[test]
fn kernel_every_dashboard_is_answered() {
    let Some(server) = Server::with_probes("") else { return };
    assert!(!std::process::Command::new("/bin/false").status().unwrap().success());
    // Each psql is a connection; the window in which the first one ended is closed within ten seconds.
    server.wait_for("SELECT count(*) > 0 FROM tcp_flow", "t");
    for dashboard in dashboards::all() {
        let mut variables = dashboard.defaults();
        for (name, query) in dashboard.variable_queries() {
            let values = ask(&server, &query, &variables);
            // The profile's first window is closed after a minute: no program is known before.
            assert!(name == "program" || !values.is_empty(), "{name} has no values");
        }
        variables.extend(dashboard.every());
        for query in dashboard.queries() {
            let answer = ask(&server, &query, &variables);
            let must_have_rows = query.kind == "stat" || NEVER_EMPTY.contains(&query.place.as_str());
            assert!(!must_have_rows || !answer.is_empty(), "{}: nothing to show", query.place);
        }
    }
    let failed = "SELECT count(*) > 0 FROM grafana_logs WHERE body LIKE 'false (%) ended with status 1'";
    assert_eq!(server.psql(failed), "t");
}
