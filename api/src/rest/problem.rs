//! Errors over HTTP: `application/problem+json` (RFC 9457) with the SQLSTATE when SQL is at fault.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use probepilot_sql::{SqlError, SqlState};
use serde::Serialize;

/// What a client is told when a request fails.
#[derive(Debug)]
pub struct Problem {
    status: StatusCode,
    detail: String,
    sql: Option<Box<SqlError>>,
}

#[derive(Serialize)]
struct Body<'a> {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    sqlstate: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'a str>,
    request_id: String,
}

impl Problem {
    /// A problem that SQL has no part in.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Problem {
        Problem { status, detail: detail.into(), sql: None }
    }

    /// The request's body or path is not what the route takes.
    pub fn bad_request(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, detail)
    }

    /// Nobody is logged in, or the token is not valid.
    pub fn unauthorized(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::UNAUTHORIZED, detail)
    }
}

impl From<SqlError> for Problem {
    fn from(error: SqlError) -> Problem {
        let detail = match &error.detail {
            Some(detail) => format!("{}: {detail}", error.message),
            None => error.message.clone(),
        };
        Problem { status: status_of(error.state), detail, sql: Some(Box::new(error)) }
    }
}

/// The HTTP status for a SQLSTATE, by its class where one status fits the class.
fn status_of(state: SqlState) -> StatusCode {
    match state {
        SqlState::INSUFFICIENT_PRIVILEGE => StatusCode::FORBIDDEN,
        SqlState::INVALID_PASSWORD | SqlState::INVALID_AUTHORIZATION => StatusCode::UNAUTHORIZED,
        SqlState::UNDEFINED_TABLE | SqlState::UNDEFINED_OBJECT => StatusCode::NOT_FOUND,
        SqlState::DUPLICATE_TABLE | SqlState::DUPLICATE_OBJECT => StatusCode::CONFLICT,
        SqlState::QUERY_CANCELED => StatusCode::REQUEST_TIMEOUT,
        SqlState::FEATURE_NOT_SUPPORTED => StatusCode::NOT_IMPLEMENTED,
        state => match &state.0[..2] {
            "53" => StatusCode::SERVICE_UNAVAILABLE,
            "57" => StatusCode::SERVICE_UNAVAILABLE,
            "58" | "XX" => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::BAD_REQUEST,
        },
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let request_id = uuid::Uuid::now_v7().to_string();
        if self.status.is_server_error() {
            tracing::error!(request_id, error = ?self.sql, "request failed: {}", self.detail);
        }
        let sql = self.sql.as_deref();
        let body = Body {
            r#type: "about:blank", // The title says no more than the status, as the RFC has it for this type.
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            detail: &self.detail,
            sqlstate: sql.map(|error| error.state.0),
            position: sql.and_then(|error| error.position),
            hint: sql.and_then(|error| error.hint.as_deref()),
            request_id,
        };
        let mut response = (self.status, axum::Json(&body)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer, Basic realm=\"probepilot\""));
        }
        response
    }
}
