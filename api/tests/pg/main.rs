//! The Postgres door with real clients, over a small engine of its own: protocol, types, limits.

mod backend; // Accounts and sessions over a plain DataFusion context.
mod server; // A door on a free port, with a temporary directory.
mod raw; // A client that says exactly what a test wants.
mod login; // Who comes in.
mod tls; // Encryption.
mod protocol; // Messages in every order.
mod transactions; // Blocks, cursors, prepared statements, settings.
mod streaming; // Memory, cancel, time, live rows.
mod psql; // The real psql.
mod psql_commands; // psql 15 and 16 with their backslash commands.
mod drivers; // Python's drivers.
mod settings; // Settings and the transactions that take them back.
mod idle; // Time limits of statements and of silence.
mod oracle; // A real PostgreSQL 16.
mod replay; // What clients were seen to send, answered as PostgreSQL answers it.
mod cursors; // Cursors in every direction.
mod copy_in; // COPY FROM STDIN.
mod clients; // DuckDB, SQLAlchemy and JDBC on tables and views.
mod grafana; // Grafana: its drivers, its queries, the dashboards.
#[path = "../grafana/mod.rs"]
mod grafana_model; // What Grafana makes of a query before it sends it.
