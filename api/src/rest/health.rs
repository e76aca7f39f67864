//! `/health` and `/info`: public, without a login.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use probepilot_catalog::probe::ProbeState;
use serde_json::json;

use super::Rest;

/// `GET /health/live`: the process answers.
pub(super) async fn live() -> Json<serde_json::Value> {
    Json(json!({ "status": "ok" }))
}

/// `GET /health` and `/health/ready`: readiness by part; 503 when the catalog cannot be read.
pub(super) async fn health(State(rest): State<Arc<Rest>>) -> Response {
    let catalog = rest.executor.probes.all().await;
    let reports = rest.executor.probes.node().reports();
    let count = |state: ProbeState| reports.iter().filter(|report| report.state == state).count();
    let (running, failed) = (count(ProbeState::Running), count(ProbeState::Failed));
    let (status, word) = match (&catalog, failed) {
        (Err(_), _) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
        (Ok(_), 0) => (StatusCode::OK, "ok"),
        (Ok(_), _) => (StatusCode::OK, "degraded"),
    };
    let body = json!({
        "status": word,
        "parts": {
            "catalog": if catalog.is_ok() { "ok" } else { "unavailable" },
            "log": { "head": rest.executor.rows.head() },
            "probes": { "running": running, "failed": failed },
        },
    });
    (status, Json(body)).into_response()
}

/// `GET /info`
pub(super) async fn info(State(rest): State<Arc<Rest>>) -> Json<serde_json::Value> {
    Json(json!({
        "name": "probepilot",
        "version": env!("CARGO_PKG_VERSION"),
        "node": rest.node,
        "roles": ["collector", "query", "api"],
        "uptime_seconds": rest.started.elapsed().as_secs(),
    }))
}
