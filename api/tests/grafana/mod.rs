//! What Grafana makes of a query before it sends it, and the dashboards that are shipped.
#![allow(dead_code, reason = "not every test needs all of it")]

pub mod dashboards; // The panels' queries.
pub mod macros; // Macros and variables.
