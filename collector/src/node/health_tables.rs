//! `system.probe_health` and `system.probe_loss`: ordinary tables that this node writes through the log.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Float64Builder, Int32Builder, Int64Builder, RecordBatch, StringViewBuilder, TimestampNanosecondBuilder,
};
use arrow::error::ArrowError;
use probepilot_catalog::probe::ProbeReport;
use probepilot_catalog::table::{Column, TableDefinition, TableKind, TableName, arrow_schema};
use probepilot_sql::SqlType;

use crate::node::loss::Cause;

/// The tables this node writes: `system.probe_health`, then `system.probe_loss`. They exist before the node starts.
pub fn table_definitions() -> [TableDefinition; 2] {
    [health_definition(), loss_definition()]
}

fn health_definition() -> TableDefinition {
    let columns = vec![
        Column::new("time", SqlType::Timestamptz, false, "when the counters were read"),
        Column::new("node", SqlType::Text, false, "node the probe runs on"),
        Column::new("probe", SqlType::Text, false, "probe's name"),
        Column::new("probe_id", SqlType::BigInt, false, "probe's id, never used again"),
        Column::new("version", SqlType::Integer, false, "version that runs"),
        Column::new("state", SqlType::Text, false, "running, degraded, failed, …"),
        Column::new("reason", SqlType::Text, true, "why it is degraded or failed"),
        Column::new("events", SqlType::BigInt, false, "events the filter let through since it was attached"),
        Column::new("rows", SqlType::BigInt, false, "rows the log has taken since it was attached"),
        Column::new("rows_lost", SqlType::BigInt, false, "rows lost since it was attached, all causes"),
        Column::new("events_per_second", SqlType::DoublePrecision, false, "events in the last second; 1/s"),
        Column::new("rows_per_second", SqlType::DoublePrecision, false, "rows in the last second; 1/s"),
        Column::new(
            "ns_per_event",
            SqlType::DoublePrecision,
            true,
            "mean time of a run of the program, measured a thirtieth of the time; ns",
        ),
        Column::new("cpu_percent", SqlType::DoublePrecision, true, "share of one core in the last seconds; percent"),
        Column::new("kernel_bytes", SqlType::BigInt, false, "memory the kernel holds for its programs and maps; bytes"),
        Column::new(
            "lag_ms",
            SqlType::DoublePrecision,
            false,
            "from event to log for the oldest row of the last batch; ms",
        ),
        // Columns that came later stand last, and older tables have no values for them.
        Column::new("aggregated", SqlType::BigInt, true, "events in rows of windows, or in the window that is open"),
        Column::new(
            "filtered",
            SqlType::BigInt,
            true,
            "events that the part of the filter after the kernel did not let through",
        ),
        Column::new("starts", SqlType::BigInt, true, "events of the first hook of a pair that its filter let through"),
        Column::new("paired", SqlType::BigInt, true, "starts that met their end"),
        Column::new(
            "map_fill_percent",
            SqlType::DoublePrecision,
            true,
            "how full the map of groups was when the last window was closed, or the map of starts that wait; percent",
        ),
    ];
    let comment = Some("how each probe is: written every ten seconds when something changed".to_owned());
    TableDefinition { name: TableName::system("probe_health"), kind: TableKind::Health, columns, comment }
}

fn loss_definition() -> TableDefinition {
    let columns = vec![
        Column::new("time", SqlType::Timestamptz, false, "when the counter was read"),
        Column::new("node", SqlType::Text, false, "node the probe runs on"),
        Column::new("probe", SqlType::Text, false, "probe's name; * where the rows of several were lost together"),
        Column::new("probe_id", SqlType::BigInt, false, "probe's id, never used again; 0 for *"),
        Column::new(
            "epoch",
            SqlType::BigInt,
            false,
            "start of the collector, Unix time; ns; counters begin at 0 in each",
        ),
        Column::new("cause", SqlType::Text, false, "ring_full, rate_limited, queue_full, …"),
        Column::new(
            "kind",
            SqlType::Text,
            false,
            "rows: a row is missing; values: the row is there with a value NULL or cut",
        ),
        Column::new("count", SqlType::BigInt, true, "how many in this epoch so far; NULL when it cannot be known"),
        Column::new(
            "since",
            SqlType::Timestamptz,
            true,
            "where what was lost begins: the probe's start in this epoch, or the last row before a restart",
        ),
    ];
    let comment =
        Some("rows and values lost by each probe, counted by cause: written where something was lost".to_owned());
    TableDefinition { name: TableName::system("probe_loss"), kind: TableKind::Health, columns, comment }
}

/// A probe's report with what the report does not say.
#[derive(Clone, Debug)]
pub struct HealthRow {
    /// The probe's name.
    pub probe: String,
    /// State and counters.
    pub report: ProbeReport,
    /// From event to log for the oldest row of the last batch, nanoseconds.
    pub lag_ns: u64,
}

/// A cumulative counter of one probe and cause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LossRow {
    /// The probe's name.
    pub probe: String,
    /// The probe's id.
    pub probe_id: i64,
    /// The cause.
    pub cause: Cause,
    /// How many so far; `None` when it cannot be known.
    pub count: Option<u64>,
    /// Where the interval begins, Unix nanoseconds.
    pub since_unix_ns: Option<i64>,
}

/// Rows of `system.probe_health`.
pub fn health_batch(time_unix_ns: i64, rows: &[HealthRow]) -> Result<RecordBatch, ArrowError> {
    let reports = || rows.iter().map(|row| &row.report);
    let health = || rows.iter().map(|row| row.report.health);
    let columns = vec![
        times(rows.iter().map(|_| Some(time_unix_ns))),
        texts(reports().map(|report| Some(report.node.as_str()))),
        texts(rows.iter().map(|row| Some(row.probe.as_str()))),
        integers(reports().map(|report| Some(report.id.0))),
        versions(reports().map(|report| report.version)),
        texts(reports().map(|report| Some(report.state.as_str()))),
        texts(reports().map(|report| report.reason.as_deref())),
        integers(health().map(|health| Some(health.events as i64))),
        integers(health().map(|health| Some(health.rows as i64))),
        integers(health().map(|health| Some(health.rows_lost as i64))),
        floats(health().map(|health| Some(health.events_per_second))),
        floats(health().map(|health| Some(health.rows_per_second))),
        floats(health().map(|health| health.ns_per_event)),
        floats(health().map(|health| health.cpu_percent)),
        integers(health().map(|health| Some(health.kernel_bytes as i64))),
        floats(rows.iter().map(|row| Some(row.lag_ns as f64 / 1e6))),
        integers(health().map(|health| Some(health.aggregated as i64))),
        integers(health().map(|health| Some(health.filtered as i64))),
        integers(health().map(|health| Some(health.starts as i64))),
        integers(health().map(|health| Some(health.paired as i64))),
        floats(health().map(|health| health.map_fill_percent)),
    ];
    RecordBatch::try_new(arrow_schema(&health_definition().columns), columns)
}

/// Rows of `system.probe_loss`.
pub fn loss_batch(time_unix_ns: i64, node: &str, epoch: u64, rows: &[LossRow]) -> Result<RecordBatch, ArrowError> {
    let kind = |cause: Cause| if cause.loses_row() { "rows" } else { "values" };
    let columns = vec![
        times(rows.iter().map(|_| Some(time_unix_ns))),
        texts(rows.iter().map(|_| Some(node))),
        texts(rows.iter().map(|row| Some(row.probe.as_str()))),
        integers(rows.iter().map(|row| Some(row.probe_id))),
        integers(rows.iter().map(|_| Some(epoch as i64))),
        texts(rows.iter().map(|row| Some(row.cause.as_str()))),
        texts(rows.iter().map(|row| Some(kind(row.cause)))),
        integers(rows.iter().map(|row| row.count.map(|count| count as i64))),
        times(rows.iter().map(|row| row.since_unix_ns)),
    ];
    RecordBatch::try_new(arrow_schema(&loss_definition().columns), columns)
}

fn times(values: impl Iterator<Item = Option<i64>>) -> ArrayRef {
    let mut builder = TimestampNanosecondBuilder::new().with_timezone("UTC");
    values.for_each(|value| builder.append_option(value));
    Arc::new(builder.finish())
}

fn texts<'a>(values: impl Iterator<Item = Option<&'a str>>) -> ArrayRef {
    let mut builder = StringViewBuilder::new();
    values.for_each(|value| builder.append_option(value));
    Arc::new(builder.finish())
}

fn integers(values: impl Iterator<Item = Option<i64>>) -> ArrayRef {
    let mut builder = Int64Builder::new();
    values.for_each(|value| builder.append_option(value));
    Arc::new(builder.finish())
}

fn versions(values: impl Iterator<Item = u32>) -> ArrayRef {
    let mut builder = Int32Builder::new();
    values.for_each(|value| builder.append_value(value as i32));
    Arc::new(builder.finish())
}

fn floats(values: impl Iterator<Item = Option<f64>>) -> ArrayRef {
    let mut builder = Float64Builder::new();
    values.for_each(|value| builder.append_option(value));
    Arc::new(builder.finish())
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, AsArray};
    use arrow::datatypes::Int64Type;
    use probepilot_catalog::probe::{ProbeHealth, ProbeId, ProbeState};

    use super::*;

    #[test]
    fn a_health_row_has_every_column_of_its_table() {
        let report = ProbeReport {
            id: ProbeId(3),
            version: 2,
            node: "n".into(),
            state: ProbeState::Running,
            reason: None,
            health: ProbeHealth { events: 10, rows: 8, rows_lost: 2, ..ProbeHealth::default() },
        };
        let rows = [HealthRow { probe: "p".into(), report, lag_ns: 2_500_000 }];
        let batch = health_batch(5, &rows).expect("the columns fit");
        assert_eq!(batch.schema(), arrow_schema(&table_definitions()[0].columns));
        let value = |name| batch.column_by_name(name).expect("a column").as_primitive::<Int64Type>().value(0);
        assert_eq!((value("events"), value("rows"), value("rows_lost")), (10, 8, 2));
        assert!(batch.column_by_name("ns_per_event").expect("a column").is_null(0));
    }

    #[test]
    fn a_loss_row_says_what_kind_it_is() {
        let row = |cause, count| LossRow { probe: "p".into(), probe_id: 3, cause, count, since_unix_ns: Some(1) };
        let rows = [row(Cause::RingFull, Some(7)), row(Cause::Unreadable, Some(1)), row(Cause::Restart, None)];
        let batch = loss_batch(5, "n", 9, &rows).expect("the columns fit");
        assert_eq!(batch.schema(), arrow_schema(&table_definitions()[1].columns));
        let kinds = batch.column_by_name("kind").expect("a column").as_string_view();
        assert_eq!(kinds.iter().flatten().collect::<Vec<_>>(), ["rows", "values", "rows"]);
        assert!(batch.column_by_name("count").expect("a column").is_null(2));
    }
}
