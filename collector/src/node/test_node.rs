//! A node on this kernel for tests: probes from SQL text, rows in memory, a workload whose count is known.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{AsArray, RecordBatch};
use probepilot_catalog::ports::Node as _;
use probepilot_catalog::probe::{ProbeId, ProbeReport, ProbeSpec};
use probepilot_catalog::table::{TableId, arrow_schema};
use probepilot_collector_ebpf::capability;
use probepilot_sql::SqlError;
use probepilot_sql::parse::parse_one;
use probepilot_sql::statement::{CreateProbe, Statement};

use crate::node::cmdline::CmdlineSetting;
use crate::node::health::HealthTables;
use crate::node::local::{Node, NodeOptions};
use crate::node::test_log::TestLog;

/// Where the tests' probes write.
pub const TABLE: TableId = TableId(1);

/// `system.probe_health` and `system.probe_loss` of the tests.
pub const HEALTH: HealthTables = HealthTables { health: TableId(2), loss: TableId(3) };

/// What tells a copy of the test program to be the workload: how many system calls to make.
const CALLS_VARIABLE: &str = "PROBEPILOT_TEST_CALLS";

/// What the workload calls itself.
const NAME_VARIABLE: &str = "PROBEPILOT_TEST_NAME";

/// Bound of every wait in tests.
const WAIT_MAX: Duration = Duration::from_secs(20);

/// A node with its log.
pub struct TestNode {
    /// The node.
    pub node: Arc<Node>,
    /// What it wrote.
    pub log: Arc<TestLog>,
}

/// A node with these rings, or `None` and a line that says what it needs.
pub async fn test_node(ring_bytes_total: usize) -> Option<TestNode> {
    if let Some(missing) = capability::missing() {
        println!("skipped: needs {}", missing.capabilities.join(", "));
        return None;
    }
    let log = Arc::new(TestLog::default());
    let node = Node::start(NodeOptions {
        name: "test".into(),
        rows: log.clone(),
        ring_bytes_total,
        queue_bytes_max: crate::node::outbox::QUEUE_BYTES_DEFAULT,
        probes_enabled: true,
        cmdline: CmdlineSetting::Redacted,
        // The tests flood it.
        cpu_percent_max: 100.0,
        health: Some(HEALTH),
    })
    .await;
    assert!(node.unavailable().is_none(), "{:?}", node.unavailable());
    Some(TestNode { node, log })
}

impl TestNode {
    /// Starts a version of a probe, with the table its own columns need.
    pub async fn start(&self, id: i64, version: u32, sql: &str, rows_per_second_max: u32) -> Result<String, SqlError> {
        let probe = create_probe(sql);
        let plan = self.node.plan(&probe).await?;
        let spec = ProbeSpec {
            id: ProbeId(id),
            version,
            name: probe.name.value.clone(),
            sql: sql.to_owned(),
            table: TABLE,
            schema: arrow_schema(&plan.columns),
            rows_per_second_max,
            cpu_percent_max: None,
        };
        self.node.start(spec).await.map(|started| started.notice)
    }

    /// The report of a probe.
    pub fn report(&self, id: i64) -> ProbeReport {
        self.node.reports().into_iter().find(|report| report.id == ProbeId(id)).expect("the probe was started")
    }

    /// Waits until the table has at least so many rows.
    pub async fn rows(&self, count: usize) -> Vec<RecordBatch> {
        wait_for(|| self.log.row_count(TABLE) >= count).await;
        self.log.rows(TABLE)
    }
}

/// The statement of a text.
pub fn create_probe(sql: &str) -> CreateProbe {
    match parse_one(sql).expect("the text parses") {
        Statement::CreateProbe(probe) => *probe,
        other => panic!("{other:?} is not CREATE PROBE"),
    }
}

/// Waits for a condition, for a bounded time.
pub async fn wait_for(condition: impl Fn() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < WAIT_MAX, "the condition did not come true in {WAIT_MAX:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The values of a text column; NULL as "".
pub fn texts(batches: &[RecordBatch], column: &str) -> Vec<String> {
    let columns = batches.iter().map(|rows| rows.column_by_name(column).expect("the column is there"));
    columns.flat_map(|column| column.as_string_view().iter().map(|text| text.unwrap_or_default().to_owned())).collect()
}

/// A name no other test's workload has, at most 15 bytes.
pub fn unique_name(stem: &str) -> String {
    format!("{stem}{}", std::process::id())
}

/// Lets a process of this name call `getppid` exactly so many times.
pub fn call_getppid(name: &str, calls: u64) {
    let own = std::env::current_exe().expect("a test is a program");
    let status = Command::new(own)
        .args(["--exact", "node::test_node::workload", "--nocapture", "--test-threads=1"])
        .env(CALLS_VARIABLE, calls.to_string())
        .env(NAME_VARIABLE, name)
        .stdout(Stdio::null())
        .status()
        .expect("a copy of this test starts");
    assert!(status.success());
}

/// Not a test: what a copy of the test program does for [`call_getppid`].
#[test]
fn workload() {
    let (Ok(calls), Ok(name)) = (std::env::var(CALLS_VARIABLE), std::env::var(NAME_VARIABLE)) else {
        return;
    };
    let name = std::ffi::CString::new(name).expect("a name without NUL");
    // SAFETY: the name ends with NUL and the kernel copies it.
    unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
    for _ in 0..calls.parse().expect("a number") {
        // SAFETY: no arguments, no effect.
        unsafe { libc::syscall(libc::SYS_getppid) };
    }
}
