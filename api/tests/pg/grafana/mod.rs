//! Grafana: what its data source sends by both of its drivers, and the queries of the dashboards that are shipped.

mod drivers; // Its two drivers, as they speak.
mod fixture; // The tables of every shipped probe, with rows.
mod macros; // Queries as users write them, with macros.
mod metadata; // The health check, and what the query builder asks.
mod dashboards; // Every query of deploy/grafana.
mod views; // The views for its panels.

use std::sync::Arc;

use probepilot_api::pg::DoorOptions;

use crate::replay::{EngineBackend, schema};
use crate::server::Server;

/// A server with the tables that Grafana's queries were recorded with.
async fn recorded() -> Server {
    let backend = Arc::new(EngineBackend(schema::engine().await));
    Server::over(backend, Arc::default(), DoorOptions::default(), None).await
}

/// A server with the tables of the shipped probes.
async fn probes() -> Server {
    let backend = Arc::new(EngineBackend(schema::engine_of(fixture::tables()).await));
    Server::over(backend, Arc::default(), DoorOptions::default(), None).await
}
