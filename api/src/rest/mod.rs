//! The REST door: JSON over HTTP under `/api/v1`.

mod problem; // What a client is told when a request fails.
mod auth; // Who asks: tokens and passwords.
mod rows; // Arrow rows as JSON.
mod queries; // POST /queries
mod probes; // /probes
mod health; // /health and /info

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{StatusCode, Uri};
use axum::routing::{delete, get, post};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::backoff::BackOff;
use crate::execute::Executor;

use auth::Tokens;
use problem::Problem;

/// Bytes of a request's body at most; more is refused with 413.
const BODY_BYTES_MAX: usize = 4 << 20;

/// What the handlers share.
pub struct Rest {
    executor: Arc<Executor>,
    tokens: Tokens,
    back_off: Arc<BackOff>,
    started: std::time::Instant,
    node: String,
}

impl Rest {
    /// Over the executor; tokens are signed with a key from the catalog.
    pub fn new(executor: Arc<Executor>, signing_key: &[u8], back_off: Arc<BackOff>, node: String) -> Rest {
        Rest { executor, tokens: Tokens::new(signing_key), back_off, started: std::time::Instant::now(), node }
    }
}

fn router(rest: Arc<Rest>) -> Router {
    let api = Router::new()
        .route("/auth/login", post(auth::login))
        .route("/auth/refresh", post(auth::refresh))
        .route("/auth/me", get(auth::me))
        .route("/queries", post(queries::run))
        .route("/probes", get(probes::list).post(probes::create))
        .route("/probes/{id}", delete(probes::remove).get(probes::read))
        .route("/health", get(health::health))
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::health))
        .route("/info", get(health::info))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX));
    Router::new()
        .nest("/api/v1", api)
        .fallback(|uri: Uri| async move {
            Problem::new(StatusCode::NOT_FOUND, format!("there is nothing at {}", uri.path()))
        })
        .method_not_allowed_fallback(|| async {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this route does not take that method")
        })
        .with_state(rest)
}

/// Serves until `shutdown`; requests under way may finish.
pub async fn serve(listener: TcpListener, rest: Arc<Rest>, shutdown: CancellationToken) -> std::io::Result<()> {
    let service = router(rest).into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, service).with_graceful_shutdown(shutdown.cancelled_owned()).await
}
