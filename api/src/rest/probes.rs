//! `/probes`: deploy, list, read, remove.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use probepilot_catalog::control::ProbeRow;
use probepilot_catalog::probe::ProbeReport;
use probepilot_sql::names::folded;
use probepilot_sql::statement::Statement;
use probepilot_sql::{SqlError, SqlState};
use serde::{Deserialize, Serialize};

use super::Rest;
use super::auth::Caller;
use super::problem::Problem;
use crate::execute::Outcome;

/// A probe as clients see it.
#[derive(Serialize)]
pub(super) struct ProbeBody {
    id: i64,
    name: String,
    query: String,
    version: u32,
    state: &'static str,
    owner: String,
    created_at: String,
    nodes: Vec<NodeBody>,
    health: Option<HealthBody>,
}

#[derive(Serialize)]
struct NodeBody {
    node: String,
    state: &'static str,
    reason: Option<String>,
}

#[derive(Serialize)]
struct HealthBody {
    events: u64,
    rows: u64,
    rows_lost: u64,
    events_per_second: f64,
    rows_per_second: f64,
    ns_per_event: Option<f64>,
    cpu_percent: Option<f64>,
    kernel_bytes: u64,
}

fn body(probe: ProbeRow, reports: &[ProbeReport]) -> ProbeBody {
    let mine: Vec<&ProbeReport> = reports.iter().filter(|report| report.id == probe.id).collect();
    let state = match mine.first() {
        _ if !probe.enabled => "disabled",
        Some(report) => report.state.as_str(),
        None => "pending",
    };
    let created_at = chrono::DateTime::from_timestamp_nanos(probe.created_at_ns);
    ProbeBody {
        id: probe.id.0,
        name: probe.name,
        query: probe.sql,
        version: probe.version,
        state,
        owner: probe.owner,
        created_at: created_at.to_rfc3339_opts(chrono::SecondsFormat::Nanos, true),
        nodes: mine
            .iter()
            .map(|report| NodeBody {
                node: report.node.clone(),
                state: report.state.as_str(),
                reason: report.reason.clone(),
            })
            .collect(),
        health: mine.first().map(|report| {
            let health = report.health;
            HealthBody {
                events: health.events,
                rows: health.rows,
                rows_lost: health.rows_lost,
                events_per_second: health.events_per_second,
                rows_per_second: health.rows_per_second,
                ns_per_event: health.ns_per_event,
                cpu_percent: health.cpu_percent,
                kernel_bytes: health.kernel_bytes,
            }
        }),
    }
}

impl Rest {
    /// The probe that an id or a name stands for.
    async fn probe(&self, id: &str) -> Result<ProbeRow, Problem> {
        let probes = self.executor.probes.all().await?;
        let by_id = id.parse().ok();
        probes
            .into_iter()
            .find(|probe| Some(probe.id.0) == by_id || probe.name == id)
            .ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, format!("there is no probe {id}")))
    }
}

#[derive(Serialize)]
pub(super) struct Listing {
    probes: Vec<ProbeBody>,
}

/// `GET /probes`
pub(super) async fn list(State(rest): State<Arc<Rest>>, Caller(_): Caller) -> Result<Json<Listing>, Problem> {
    let reports = rest.executor.probes.node().reports();
    let mut probes: Vec<ProbeBody> =
        rest.executor.probes.all().await?.into_iter().map(|probe| body(probe, &reports)).collect();
    probes.sort_by(|left, right| left.name.cmp(&right.name));
    Ok(Json(Listing { probes }))
}

/// `GET /probes/{id}`
pub(super) async fn read(
    State(rest): State<Arc<Rest>>,
    Caller(_): Caller,
    Path(id): Path<String>,
) -> Result<Json<ProbeBody>, Problem> {
    let probe = rest.probe(&id).await?;
    Ok(Json(body(probe, &rest.executor.probes.node().reports())))
}

/// The whole statement, or the parts it is made of.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum NewProbe {
    Sql {
        sql: String,
    },
    Parts {
        name: String,
        query: String,
        #[serde(default)]
        options: serde_json::Map<String, serde_json::Value>,
        nodes: Option<String>,
    },
}

impl NewProbe {
    fn sql(self) -> String {
        match self {
            NewProbe::Sql { sql } => sql,
            NewProbe::Parts { name, query, options, nodes } => {
                let nodes = nodes.map(|nodes| format!(" ON NODES WHERE {nodes}")).unwrap_or_default();
                let literal = |value: &serde_json::Value| match value {
                    serde_json::Value::String(text) => format!("'{}'", text.replace('\'', "''")),
                    other => other.to_string(),
                };
                let options: Vec<String> =
                    options.iter().map(|(name, value)| format!("{} = {}", quoted(name), literal(value))).collect();
                let with = if options.is_empty() { String::new() } else { format!(" WITH ({})", options.join(", ")) };
                format!("CREATE PROBE {}{nodes}{with} AS {query}", quoted(&name))
            }
        }
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// `POST /probes`: 201 with the probe once it is attached.
pub(super) async fn create(
    State(rest): State<Arc<Rest>>,
    Caller(who): Caller,
    request: Result<Json<NewProbe>, JsonRejection>,
) -> Result<Response, Problem> {
    let Json(request) = request.map_err(|_| {
        Problem::bad_request("the body is neither {\"sql\"} nor {\"name\",\"query\"[,\"options\",\"nodes\"]}")
    })?;
    let sql = request.sql();
    let Statement::CreateProbe(probe) = probepilot_sql::parse_one(&sql)? else {
        return Err(SqlError::new(SqlState::SYNTAX_ERROR, "the sql is not a CREATE PROBE statement").into());
    };
    let name = folded(&probe.name);
    run(&rest, who, &sql).await?;
    let probe = rest.probe(&name).await?;
    let location = format!("/api/v1/probes/{}", probe.id);
    let mut response = (StatusCode::CREATED, Json(body(probe, &rest.executor.probes.node().reports()))).into_response();
    if let Ok(location) = HeaderValue::from_str(&location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

#[derive(Deserialize)]
pub(super) struct Removal {
    #[serde(default)]
    with_data: bool,
}

/// `DELETE /probes/{id}[?with_data=true]`
pub(super) async fn remove(
    State(rest): State<Arc<Rest>>,
    Caller(who): Caller,
    Path(id): Path<String>,
    Query(removal): Query<Removal>,
) -> Result<StatusCode, Problem> {
    let probe = rest.probe(&id).await?;
    let with_data = if removal.with_data { " WITH DATA" } else { "" };
    run(&rest, who, &format!("DROP PROBE {}{with_data}", quoted(&probe.name))).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Runs a statement of ours as every other door does, so that rights and audit are the same.
async fn run(rest: &Rest, who: crate::execute::Who, sql: &str) -> Result<Outcome, Problem> {
    let connection = rest.executor.connect(who, None);
    let text: Arc<str> = sql.into();
    let statement = probepilot_sql::parse_one(sql)?;
    let plan = rest.executor.prepare(&connection, &text, &statement, &[]).await?;
    Ok(rest.executor.run(&connection, &plan, Vec::new()).await?)
}
