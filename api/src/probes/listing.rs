//! Probes as rows: `SHOW PROBES` and `system.probes`.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringViewArray,
    TimestampNanosecondArray,
};
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use probepilot_catalog::control::ProbeRow;
use probepilot_catalog::manifest::Manifest;
use probepilot_catalog::ports::LiveTable;
use probepilot_catalog::probe::{Origin, ProbeId, ProbeReport, ProbeState};
use probepilot_catalog::table::{Column, TableName, arrow_schema};
use probepilot_sql::{SqlError, SqlType};

use super::Probes;

const DAY_NS: f64 = 86_400e9;

/// A probe with what its node says and what its table holds.
struct Listed {
    probe: ProbeRow,
    report: Option<ProbeReport>,
    bytes: u64,
    bytes_per_day: Option<f64>,
}

impl Listed {
    fn state(&self) -> &'static str {
        match &self.report {
            _ if !self.probe.enabled => ProbeState::Disabled.as_str(),
            Some(report) => report.state.as_str(),
            None => ProbeState::Pending.as_str(),
        }
    }
}

async fn list(probes: &Probes) -> Result<Vec<Listed>, SqlError> {
    let manifest = probes.lake.manifest();
    let mut reports: HashMap<ProbeId, ProbeReport> =
        probes.node.reports().into_iter().map(|report| (report.id, report)).collect();
    let mut listed: Vec<Listed> = probes
        .all()
        .await?
        .into_iter()
        .map(|probe| {
            let (bytes, bytes_per_day) = stored(&manifest, &probe);
            Listed { report: reports.remove(&probe.id), probe, bytes, bytes_per_day }
        })
        .collect();
    listed.sort_by(|left, right| left.probe.name.cmp(&right.probe.name));
    Ok(listed)
}

/// Bytes of the probe's segments, and bytes a day over the time they span.
fn stored(manifest: &Manifest, probe: &ProbeRow) -> (u64, Option<f64>) {
    let Some(table) = manifest.table(probe.table) else { return (0, None) };
    let bytes: u64 = table.segments.iter().map(|segment| segment.bytes).sum();
    let first = table.segments.iter().map(|segment| segment.time_min).min();
    let last = table.segments.iter().map(|segment| segment.time_max).max();
    let per_day = first.zip(last).and_then(|(first, last)| {
        let span_ns = (last - first) as f64;
        (span_ns > 0.0).then(|| bytes as f64 / span_ns * DAY_NS)
    });
    (bytes, per_day)
}

fn column<T>(listed: &[Listed], value: impl Fn(&Listed) -> Option<T>) -> Vec<Option<T>> {
    listed.iter().map(value).collect()
}

fn health<T>(listed: &[Listed], value: impl Fn(&ProbeReport) -> Option<T>) -> Vec<Option<T>> {
    listed.iter().map(|probe| probe.report.as_ref().and_then(&value)).collect()
}

fn text<'a>(listed: &'a [Listed], value: impl Fn(&'a Listed) -> Option<&'a str>) -> ArrayRef {
    Arc::new(listed.iter().map(value).collect::<StringViewArray>())
}

fn time(listed: &[Listed], value: impl Fn(&Listed) -> Option<i64>) -> ArrayRef {
    Arc::new(column(listed, value).into_iter().collect::<TimestampNanosecondArray>().with_timezone("UTC"))
}

fn int(values: Vec<Option<i64>>) -> ArrayRef {
    Arc::new(Int64Array::from(values))
}

fn float(values: Vec<Option<f64>>) -> ArrayRef {
    Arc::new(Float64Array::from(values))
}

fn show_columns() -> Vec<Column> {
    let column = |name: &str, sql_type, comment: &str| Column::new(name, sql_type, true, comment);
    vec![
        column("name", SqlType::Text, "the probe and its table"),
        column("state", SqlType::Text, "its state on this node"),
        column("events_per_s", SqlType::DoublePrecision, "events its filter let through; per second"),
        column("rows_per_s", SqlType::DoublePrecision, "rows handed on; per second"),
        column("lost", SqlType::BigInt, "rows lost since it was attached, all causes; rows"),
        column("cpu_percent", SqlType::DoublePrecision, "time in its program; percent of one core"),
        column("bytes", SqlType::BigInt, "size of its segments; bytes"),
        column("bytes_per_day", SqlType::DoublePrecision, "growth over the time stored; bytes a day"),
        column("since", SqlType::Timestamptz, "when it was attached"),
    ]
}

/// The columns of `SHOW PROBES`.
pub fn show_probes_schema() -> SchemaRef {
    arrow_schema(&show_columns())
}

/// The rows of `SHOW PROBES`.
pub async fn show_probes(probes: &Probes) -> Result<RecordBatch, SqlError> {
    let listed = list(probes).await?;
    let columns: Vec<ArrayRef> = vec![
        text(&listed, |probe| Some(&probe.probe.name)),
        text(&listed, |probe| Some(probe.state())),
        float(health(&listed, |report| Some(report.health.events_per_second))),
        float(health(&listed, |report| Some(report.health.rows_per_second))),
        int(health(&listed, |report| Some(report.health.rows_lost as i64))),
        float(health(&listed, |report| report.health.cpu_percent)),
        int(column(&listed, |probe| Some(probe.bytes as i64))),
        float(column(&listed, |probe| probe.bytes_per_day)),
        time(&listed, |probe| probe.report.as_ref().map(|report| report.health.since_unix_ns)),
    ];
    batch(&show_columns(), columns)
}

fn batch(columns: &[Column], arrays: Vec<ArrayRef>) -> Result<RecordBatch, SqlError> {
    RecordBatch::try_new(arrow_schema(columns), arrays)
        .map_err(|error| SqlError::internal("cannot list the probes", error))
}

/// `system.probes`: every probe with its definition, state and counters.
pub struct ProbesTable(pub Arc<Probes>);

#[async_trait]
impl LiveTable for ProbesTable {
    fn name(&self) -> TableName {
        TableName::system("probes")
    }

    fn comment(&self) -> &str {
        "one row per probe: definition, state on this node, counters since it was attached"
    }

    fn columns(&self) -> Vec<Column> {
        let column = |name: &str, sql_type, comment: &str| Column::new(name, sql_type, true, comment);
        vec![
            column("id", SqlType::BigInt, "never used again"),
            column("name", SqlType::Text, "the probe and its table"),
            column("version", SqlType::Integer, "rises with every change of the query"),
            column("origin", SqlType::Text, "builtin or user"),
            column("owner", SqlType::Text, "who created it"),
            column("enabled", SqlType::Boolean, "whether it is meant to run"),
            column("node", SqlType::Text, "the node the state is of"),
            column(
                "state",
                SqlType::Text,
                "pending, compiling, verifying, attaching, running, degraded, detaching, disabled or failed",
            ),
            column("reason", SqlType::Text, "why it failed or is degraded"),
            column("events", SqlType::BigInt, "events its filter let through since it was attached"),
            column("rows", SqlType::BigInt, "rows handed on since it was attached"),
            column("rows_lost", SqlType::BigInt, "rows lost since it was attached, all causes"),
            column("ns_per_event", SqlType::DoublePrecision, "mean time of one run of the program; ns"),
            column("cpu_percent", SqlType::DoublePrecision, "time in its program; percent of one core"),
            column("kernel_bytes", SqlType::BigInt, "memory of its program and maps; bytes"),
            column("since", SqlType::Timestamptz, "when it was attached"),
            column("created_at", SqlType::Timestamptz, "when it was created"),
            column("comment", SqlType::Text, "COMMENT ON PROBE"),
            column("sql", SqlType::Text, "the CREATE PROBE statement"),
        ]
    }

    async fn rows(&self) -> Result<Vec<RecordBatch>, SqlError> {
        let listed = list(&self.0).await?;
        let columns: Vec<ArrayRef> = vec![
            int(column(&listed, |probe| Some(probe.probe.id.0))),
            text(&listed, |probe| Some(&probe.probe.name)),
            Arc::new(listed.iter().map(|probe| Some(probe.probe.version as i32)).collect::<Int32Array>()),
            text(&listed, |probe| Some(if probe.probe.origin == Origin::Builtin { "builtin" } else { "user" })),
            text(&listed, |probe| Some(&probe.probe.owner)),
            Arc::new(listed.iter().map(|probe| Some(probe.probe.enabled)).collect::<BooleanArray>()),
            text(&listed, |probe| probe.report.as_ref().map(|report| report.node.as_str())),
            text(&listed, |probe| Some(probe.state())),
            text(&listed, |probe| probe.report.as_ref().and_then(|report| report.reason.as_deref())),
            int(health(&listed, |report| Some(report.health.events as i64))),
            int(health(&listed, |report| Some(report.health.rows as i64))),
            int(health(&listed, |report| Some(report.health.rows_lost as i64))),
            float(health(&listed, |report| report.health.ns_per_event)),
            float(health(&listed, |report| report.health.cpu_percent)),
            int(health(&listed, |report| Some(report.health.kernel_bytes as i64))),
            time(&listed, |probe| probe.report.as_ref().map(|report| report.health.since_unix_ns)),
            time(&listed, |probe| Some(probe.probe.created_at_ns)),
            text(&listed, |probe| probe.probe.comment.as_deref()),
            text(&listed, |probe| Some(&probe.probe.sql)),
        ];
        Ok(vec![batch(&self.columns(), columns)?])
    }
}
