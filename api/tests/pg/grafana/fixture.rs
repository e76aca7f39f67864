//! The tables of every shipped probe, with rows whose values follow from their number.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float32Array, Float64Array, Int16Array, Int32Array, Int64Array, RecordBatch,
    StringViewArray, TimestampNanosecondArray, new_null_array,
};
use async_trait::async_trait;
use probepilot_catalog::ports::LiveTable;
use probepilot_catalog::table::{Column, TableName, arrow_schema};
use probepilot_collector_ebpf::compile::{CompileOptions, compile};
use probepilot_collector_ebpf::functions::ProcessFacts;
use probepilot_collector_ebpf::functions::process::NoFacts;
use probepilot_collector_ebpf::kernel::Kernel;
use probepilot_collector_ebpf::probes;
use probepilot_sql::statement::Statement;
use probepilot_sql::{SqlError, SqlType};

/// Rows of each table.
pub const ROWS: i64 = 120;

/// Between two rows: the length of most windows.
pub const STEP_NS: i64 = 10_000_000_000;

/// The time of the first row: 2026-01-01.
pub const START_NS: i64 = 1_767_225_600_000_000_000;

/// A table.
struct ProbeTable {
    name: TableName,
    columns: Vec<Column>,
    comment: String,
}

/// Every table that a dashboard may read: those of the shipped probes, compiled for the fixture kernel, and ours.
pub fn tables() -> Vec<Arc<dyn LiveTable>> {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../collector-ebpf/tests/fixture");
    let btf = std::fs::read(fixture.join("vmlinux.btf")).unwrap();
    let kernel = Kernel::from_parts(fixture.join("events"), btf).unwrap();
    let facts: Arc<dyn ProcessFacts> = Arc::new(NoFacts);
    let probes = probes::builtin().iter().map(|builtin| {
        let Statement::CreateProbe(probe) = probepilot_sql::parse_one(builtin.sql).unwrap() else {
            panic!("{} is a CREATE PROBE", builtin.name)
        };
        let options = CompileOptions {
            name: builtin.name.into(),
            node: "alpha".into(),
            excluded_tgid: None,
            stored: true,
            weighted: false,
        };
        let compiled = compile(&probe.query, &kernel, &facts, &options).unwrap();
        let columns = compiled.columns.into_iter().map(|column| Column {
            name: column.name,
            sql_type: column.sql_type,
            nullable: column.nullable,
            comment: column.comment,
        });
        let comment = format!("rows of the probe {}", builtin.name);
        ProbeTable { name: TableName::public(builtin.name), columns: columns.collect(), comment }
    });
    let health = probepilot_collector::node::table_definitions().into_iter().map(|definition| ProbeTable {
        name: definition.name,
        columns: definition.columns,
        comment: definition.comment.unwrap_or_default(),
    });
    // These two are made by a running node; the columns that dashboards ask for are here.
    let column = |name: &str, sql_type| Column::new(name, sql_type, true, "");
    let listed = ProbeTable {
        name: TableName::system("probes"),
        columns: vec![
            column("name", SqlType::Text),
            column("node", SqlType::Text),
            column("enabled", SqlType::Boolean),
            column("state", SqlType::Text),
            column("reason", SqlType::Text),
            column("events", SqlType::BigInt),
            column("rows", SqlType::BigInt),
            column("rows_lost", SqlType::BigInt),
            column("ns_per_event", SqlType::DoublePrecision),
            column("cpu_percent", SqlType::DoublePrecision),
            column("kernel_bytes", SqlType::BigInt),
        ],
        comment: String::new(),
    };
    let processes = ProbeTable {
        name: TableName::system("processes"),
        columns: vec![
            column("pid", SqlType::Integer),
            column("comm", SqlType::Text),
            column("container_id", SqlType::Text),
            column("started", SqlType::Timestamptz),
            column("exited", SqlType::Timestamptz),
        ],
        comment: String::new(),
    };
    let all = probes.chain(health).chain([listed, processes]);
    all.map(|table| Arc::new(table) as Arc<dyn LiveTable>).collect()
}

/// One of the words, in turn.
fn turn(words: &[&'static str], row: i64) -> Option<String> {
    Some(words[row as usize % words.len()].to_owned())
}

/// The text of a column in a row; rows count from 0.
fn text(column: &str, row: i64) -> Option<String> {
    match column {
        "node" => turn(&["alpha", "beta"], row),
        "comm" | "issued_by" => turn(&["nginx", "postgres", "sh"], row),
        "target_comm" => turn(&["worker"], row),
        // Every fifth is in a container.
        "container_id" => (row % 5 == 0).then(|| "c0ffee".repeat(10) + "c0ff"),
        "direction" => turn(&["out", "in"], row),
        "operation" => turn(&["read", "write"], row),
        "remote_address" => turn(&["10.0.0.1", "10.0.0.2", "10.0.0.3"], row),
        "reason" => turn(&["NO_SOCKET", "TCP_RESET"], row),
        // One program is not seen before its row.
        "filename" if row == 50 => turn(&["/usr/local/bin/fresh"], row),
        "filename" if row % 20 == 0 => Some("/tmp/dropper".to_owned()),
        "filename" | "exe" => turn(&["/usr/bin/nginx", "/usr/bin/postgres", "/bin/sh"], row),
        "cmdline" => turn(&["nginx -g 'daemon off;'", "postgres", "sh -c \"true\""], row),
        // Every tenth ended by a signal.
        "exit_signal" => (row % 10 == 9).then(|| "SIGSEGV".to_owned()),
        "signal" => turn(&["SIGTERM", "SIGKILL"], row),
        "result" => turn(&["delivered"], row),
        "syscall" => turn(&["read", "write"], row),
        "error" => (row % 4 == 3).then(|| "ECONNREFUSED".to_owned()),
        "path" => turn(&["/etc/shadow", "/etc/hosts"], row),
        "user_stack" => turn(&["main;serve;parse", "main;serve;answer"], row),
        "kernel_stack" => (row % 4 == 3).then(|| "entry;ksys_read".to_owned()),
        "probe" | "name" => turn(&["process_exec", "tcp_flow"], row),
        "cause" => turn(&["ring_full"], row),
        "kind" => turn(&["rows"], row),
        "state" => turn(&["running"], row),
        _ => None,
    }
}

/// The number of a column in a row.
fn number(column: &str, row: i64) -> i64 {
    match column {
        "window_ns" => STEP_NS,
        // Every fourth ended with a status.
        "exit_code" => i64::from(row % 4 == 3),
        "uid" => row % 2 * 1_000,
        "upid" => 4_096 + row,
        "pid" => 100 + row % 10,
        "device_major" => 8,
        "device_minor" => 0,
        "port" | "remote_port" => 443,
        "failures" => i64::from(row % 6 == 0),
        "probe_id" | "epoch" | "cgroup_id" => 1,
        _ => row + 1,
    }
}

fn boolean(column: &str) -> bool {
    matches!(column, "complete" | "enabled")
}

#[async_trait]
impl LiveTable for ProbeTable {
    fn name(&self) -> TableName {
        self.name.clone()
    }

    fn columns(&self) -> Vec<Column> {
        self.columns.clone()
    }

    fn comment(&self) -> &str {
        &self.comment
    }

    async fn rows(&self) -> Result<Vec<RecordBatch>, SqlError> {
        let arrays = self.columns.iter().map(|Column { name, sql_type, .. }| -> ArrayRef {
            let numbers = || (0..ROWS).map(|row| number(name, row));
            match sql_type {
                _ if name == "exited" => new_null_array(&sql_type.arrow(), ROWS as usize),
                SqlType::Timestamptz => {
                    let times = (0..ROWS).map(|row| START_NS + row * STEP_NS);
                    Arc::new(TimestampNanosecondArray::from_iter_values(times).with_timezone("UTC"))
                }
                SqlType::Text | SqlType::Inet => {
                    Arc::new((0..ROWS).map(|row| text(name, row)).collect::<StringViewArray>())
                }
                SqlType::SmallInt => Arc::new(numbers().map(|number| Some(number as i16)).collect::<Int16Array>()),
                SqlType::Integer => Arc::new(numbers().map(|number| Some(number as i32)).collect::<Int32Array>()),
                SqlType::BigInt => Arc::new(numbers().map(Some).collect::<Int64Array>()),
                SqlType::Real => Arc::new(numbers().map(|number| Some(number as f32)).collect::<Float32Array>()),
                SqlType::DoublePrecision => {
                    Arc::new(numbers().map(|number| Some(number as f64)).collect::<Float64Array>())
                }
                SqlType::Boolean => Arc::new(BooleanArray::from(vec![boolean(name); ROWS as usize])),
                other => new_null_array(&other.arrow(), ROWS as usize),
            }
        });
        let arrays = arrays.collect();
        Ok(vec![RecordBatch::try_new(arrow_schema(&self.columns), arrays).unwrap()])
    }
}
