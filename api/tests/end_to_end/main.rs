//! The server as its users have it: the real binary in a process of its own, spoken to through psql and curl's protocol.

mod support; // Starts the server, runs psql, makes events happen.
mod first_start; // What a newcomer sees.
mod refusals; // Wrong input and a second server.
mod rest; // REST with curl.
mod tables; // Tables that users make.
mod views; // Views and comments that users make.
mod interrupt; // Statements that would not end by themselves.
#[allow(dead_code)] // The tests of the door use all of it.
#[path = "../pg/oracle.rs"]
mod oracle; // A real PostgreSQL.
#[allow(dead_code)] // The tests of the door use all of it.
#[path = "../pg/raw.rs"]
mod raw; // A client without a driver.
mod sqllogic; // SQL by example.
mod differential; // Random calls, compared with a real PostgreSQL.
mod kernel_shutdown; // SIGTERM drains and commits.
mod kernel_fresh; // A query sees what happened before it.
mod kernel_pairs; // Two hooks joined.
mod kernel_windows; // Aggregates in the kernel.
mod kernel_budgets; // Probes that take too much, and those whose time is over.
mod kernel_losses; // What is lost is told at the end of a query.
mod kernel_crash; // kill -9 in a loop while rows arrive.
mod kernel_damage; // A damaged log and a damaged segment at start.
mod kernel_full_disk; // The disk fills up and is emptied again.
mod kernel_duckdb; // DuckDB reads the lake while we write.
mod kernel_s3; // Segments in an S3 store.
mod kernel_postgres_catalog; // The catalog on PostgreSQL.
mod kernel_capabilities; // An ordinary user with the capabilities the server asks for.
mod kernel_newcomer; // What the README shows, line by line.
mod kernel_alter; // Probes changed while they run.
mod kernel_parameters; // Queries on hooks with parameters.
mod kernel_marks; // What was cut and what could not be read.
mod kernel_lists; // Members of a list, looked up in the kernel.
mod kernel_examples; // Every question of sql-examples is answered.
mod kernel_grafana; // Every query of the dashboards is answered.
#[path = "../grafana/mod.rs"]
mod grafana_model; // What Grafana makes of a query before it sends it.
mod kernel_probes; // One test per built-in probe.
