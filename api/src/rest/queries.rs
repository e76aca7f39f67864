//! `POST /queries`: SQL in, rows out, as one JSON document or as NDJSON while they come.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use datafusion::common::ScalarValue;
use futures::{StreamExt, TryStreamExt};
use probepilot_catalog::ports::RowStream;
use probepilot_sql::{SqlError, SqlState, SqlType};
use serde::Deserialize;

use super::Rest;
use super::auth::Caller;
use super::problem::Problem;
use super::rows::{self, Int64Form};
use crate::execute::Outcome;

/// Rows of a JSON answer when the request does not say.
const LIMIT_DEFAULT: usize = 10_000;

/// Rows of a JSON answer at most: it is made in memory. NDJSON has no limit.
const LIMIT_MAX: usize = 1_000_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Request {
    sql: String,
    #[serde(default)]
    params: Vec<serde_json::Value>,
    limit: Option<usize>,
    timeout_ms: Option<u64>,
}

#[derive(Default, Deserialize)]
pub(super) struct Form {
    int64: Option<String>,
}

impl Form {
    fn int64(&self) -> Result<Int64Form, Problem> {
        match self.int64.as_deref() {
            None | Some("number") => Ok(Int64Form::Number),
            Some("string") => Ok(Int64Form::Text),
            Some(other) => Err(Problem::bad_request(format!("int64={other} is neither number nor string"))),
        }
    }
}

/// `POST /queries`
pub(super) async fn run(
    State(rest): State<Arc<Rest>>,
    Query(form): Query<Form>,
    headers: HeaderMap,
    Caller(who): Caller,
    request: Result<Json<Request>, JsonRejection>,
) -> Result<Response, Problem> {
    let Json(request) = request.map_err(|rejection| Problem::new(rejection.status(), rejection.body_text()))?;
    let form = form.int64()?;
    let started = Instant::now();
    let connection = rest.executor.connect(who, None);
    let text: Arc<str> = request.sql.into();
    let mut statements = probepilot_sql::parse(&text)?;
    let (Some(parsed), true) = (statements.pop(), statements.is_empty()) else {
        return Err(SqlError::new(SqlState::SYNTAX_ERROR, "a request runs exactly one statement").into());
    };
    let work = async {
        let plan = rest.executor.prepare(&connection, &text, &parsed.statement, &[]).await?;
        let parameters = parameters(&request.params, &plan.parameters)?;
        let outcome = rest.executor.run(&connection, &plan, parameters).await?;
        connection.session.commit().await?;
        Ok::<Outcome, SqlError>(outcome)
    };
    let deadline = request.timeout_ms.map(|milliseconds| started + Duration::from_millis(milliseconds));
    let outcome = before(deadline, work).await?;
    let (stream, tag) = match outcome {
        Outcome::Done { tag, notices } => {
            return Ok(Json(serde_json::json!({ "status": tag, "notices": notices })).into_response());
        }
        Outcome::Rows { stream, tag } => (stream, tag),
    };
    tracing::debug!(tag, "rows over HTTP");
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    if accept.contains("application/x-ndjson") || accept.contains("application/jsonl") {
        return Ok(lines(stream, form, request.limit, deadline));
    }
    let snapshot = rest.executor.engine.pin().manifest().snapshot;
    let limit = request.limit.unwrap_or(LIMIT_DEFAULT).min(LIMIT_MAX);
    let document = before(deadline, document(stream, form, limit)).await?;
    let body = format!(
        "{{\"query_id\":\"{}\",{document},\"elapsed_ms\":{},\"snapshot\":{snapshot},\"fresh_to\":\"{}\"}}",
        uuid::Uuid::now_v7(),
        started.elapsed().as_millis(),
        chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Nanos, true),
    );
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

async fn before<T>(deadline: Option<Instant>, work: impl Future<Output = Result<T, SqlError>>) -> Result<T, SqlError> {
    match deadline {
        None => work.await,
        Some(deadline) => tokio::time::timeout_at(deadline.into(), work).await.unwrap_or_else(|_| Err(timed_out())),
    }
}

fn timed_out() -> SqlError {
    SqlError::new(SqlState::QUERY_CANCELED, "canceling statement due to statement timeout")
        .hint("Give more timeout_ms, or ask for less.")
}

/// `"columns":…,"rows":…,"row_count":…[,"truncated":true][,"notices":[…]]`
async fn document(mut stream: RowStream, form: Int64Form, limit: usize) -> Result<String, SqlError> {
    let columns: Vec<_> = stream
        .schema
        .fields()
        .iter()
        .map(|field| {
            let type_name = SqlType::of_field(field)
                .map_or_else(|| field.data_type().to_string(), |sql_type| sql_type.sql().to_owned());
            serde_json::json!({ "name": field.name(), "type": type_name })
        })
        .collect();
    let (mut rows, mut row_count, mut truncated) = (String::new(), 0, false);
    while let Some(batch) = stream.batches.try_next().await? {
        let wanted = limit - row_count;
        truncated = batch.num_rows() > wanted;
        let batch = batch.slice(0, batch.num_rows().min(wanted));
        let bytes =
            rows::arrays(&batch, form).map_err(|error| SqlError::internal("cannot write the rows as JSON", error))?;
        if !bytes.is_empty() {
            if row_count > 0 {
                rows.push(',');
            }
            rows.push_str(&String::from_utf8_lossy(&bytes));
        }
        row_count += batch.num_rows();
        if truncated {
            break; // Dropping the stream ends the work behind it.
        }
    }
    let mark = if truncated { ",\"truncated\":true" } else { "" };
    let told = std::mem::take(&mut *stream.notices.lock());
    let notices =
        if told.is_empty() { String::new() } else { format!(",\"notices\":{}", serde_json::Value::from(told)) };
    Ok(format!(
        "\"columns\":{},\"rows\":[{rows}],\"row_count\":{row_count}{mark}{notices}",
        serde_json::Value::from(columns)
    ))
}

/// Rows as they come; an error after the first row ends the body with an object that says so.
fn lines(stream: RowStream, form: Int64Form, limit: Option<usize>, deadline: Option<Instant>) -> Response {
    let mut left = limit.unwrap_or(usize::MAX);
    let cut = async move {
        match deadline {
            Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
            None => futures::future::pending().await,
        }
    };
    let bodies = stream
        .batches
        .take_until(cut)
        .map(move |batch| {
            let batch = batch?;
            let batch = batch.slice(0, batch.num_rows().min(left));
            left -= batch.num_rows();
            let bytes = rows::lines(&batch, form)
                .map_err(|error| SqlError::internal("cannot write the rows as JSON", error))?;
            Ok::<_, SqlError>((bytes, left == 0))
        })
        .scan(false, |ended, line| {
            let item = match (*ended, line) {
                (true, _) => None,
                (false, Ok((bytes, last))) => {
                    *ended = last;
                    Some(bytes)
                }
                (false, Err(error)) => {
                    *ended = true;
                    let line = serde_json::json!({ "error": { "sqlstate": error.state.0, "detail": error.message } });
                    Some(format!("{line}\n").into_bytes())
                }
            };
            futures::future::ready(item)
        })
        .map(Ok::<_, std::convert::Infallible>);
    ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(bodies)).into_response()
}

fn parameters(
    given: &[serde_json::Value],
    wanted: &[arrow::datatypes::DataType],
) -> Result<Vec<ScalarValue>, SqlError> {
    if given.len() != wanted.len() {
        return Err(SqlError::new(
            SqlState::PROTOCOL_VIOLATION,
            format!("the statement has {} parameters, and params has {}", wanted.len(), given.len()),
        ));
    }
    given.iter().zip(wanted).enumerate().map(|(index, (value, data_type))| parameter(index, value, data_type)).collect()
}

fn parameter(
    index: usize,
    value: &serde_json::Value,
    data_type: &arrow::datatypes::DataType,
) -> Result<ScalarValue, SqlError> {
    let text = match value {
        serde_json::Value::Null => {
            return ScalarValue::try_from(data_type).map_err(|error| SqlError::internal("cannot make a NULL", error));
        }
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Bool(_) | serde_json::Value::Number(_) => value.to_string(),
        _ => {
            return Err(SqlError::new(
                SqlState::INVALID_PARAMETER_VALUE,
                format!("parameter ${} is neither null, text, number nor boolean", index + 1),
            ));
        }
    };
    ScalarValue::try_from_string(text.clone(), data_type).map_err(|error| {
        SqlError::new(
            SqlState::INVALID_TEXT_REPRESENTATION,
            format!("parameter ${} is no {data_type}: \"{text}\"", index + 1),
        )
        .caused_by(error)
    })
}
