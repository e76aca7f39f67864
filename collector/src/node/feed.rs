//! The events that keep the table of processes: three small programs of our own, beside any probe.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, AsArray, Int64Array, RecordBatch, StringViewArray, TimestampNanosecondArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, TimeUnit};
use probepilot_collector_ebpf::compile::{CompileOptions, CompiledProbe, compile};
use probepilot_collector_ebpf::functions::ProcessFacts;
use probepilot_collector_ebpf::kernel::Kernel;
use probepilot_sql::parse::parse_one;
use probepilot_sql::statement::Statement;
use probepilot_sql::{SqlError, SqlState};

use crate::node::drain::{DrainOptions, Settler};
use crate::node::engine::{Engine, RunOptions, Running};
use crate::node::loss::Tally;
use crate::node::processes::{ExecEvent, ExitEvent, ForkEvent, Processes};
use crate::node::slot::Target;

/// Bytes of the feeds' rings, together. When they are full, `/proc` answers for what was lost.
const RING_BYTES: usize = 4 << 20;

/// Events of the feeds do not gather: the executable's path is read from `/proc` while the process still begins to run,
/// some 100 µs after its start. Two milliseconds later every third short command is gone.
const GATHER: Duration = Duration::ZERO;

/// Events of one feed in a second; on a host with more of them `/proc` answers for the rest.
const EVENTS_PER_SECOND_MAX: u32 = 100_000;

/// A process becomes another program. Its start is its first thread's: another thread that calls exec becomes the first.
/// Its arguments are read where the kernel has just put them: a short process is gone before `/proc` could be asked. One
/// byte more than is shown tells that they were cut.
const EXEC: &str =
    "CREATE PROBE pp_exec AS SELECT p.tgid AS process, p.group_leader.start_boottime AS started, ppid AS parent,
    comm AS name, uid AS user_id, gid AS group_id, cgroup_id AS cgroup, kernel_string(bprm.filename, 255) AS filename,
    user_bytes(p.mm.arg_start, p.mm.arg_end - p.mm.arg_start, 4096) AS arguments
    FROM tp_btf.sched_process_exec";

/// A process makes another; a thread that makes a thread is left out.
const FORK: &str = "CREATE PROBE pp_fork AS SELECT parent.tgid AS parent_process, child.tgid AS process, child.start_boottime AS started
    FROM tp_btf.sched_process_fork WHERE child.pid = child.tgid";

/// The last thread of a process ends.
const EXIT: &str =
    "CREATE PROBE pp_exit AS SELECT p.tgid AS process, p.group_leader.start_boottime AS started, time AS ended
    FROM tp_btf.sched_process_exit WHERE p.signal.live.counter = 0";

/// The programs that tell `processes` what happens, attached while this lives.
pub struct Feed {
    programs: Vec<Running>,
    engine: Arc<Engine>,
}

type Take = fn(&Processes, &RecordBatch) -> Option<()>;

impl Feed {
    /// Compiles, loads and attaches. Blocks: up to 60 ms.
    pub fn start(kernel: &Kernel, processes: &Arc<Processes>) -> Result<Feed, SqlError> {
        let drain = DrainOptions { gather: GATHER, outbox: None, settler: None };
        let engine = Engine::start(RING_BYTES, drain)
            .map_err(|error| SqlError::new(SqlState::INSUFFICIENT_RESOURCES, error.to_string()).caused_by(error))?;
        let engine = Arc::new(engine);
        let mut feed = Feed { programs: Vec::new(), engine: engine.clone() };
        // The ends first: a process whose start is told has its end told.
        let all: [(&str, Take); 3] = [(EXIT, take_exits), (FORK, take_forks), (EXEC, take_execs)];
        for (text, take) in all {
            let compiled = compiled(text, kernel, processes)?;
            let processes = processes.clone();
            let target = Target::Feed(Box::new(move |rows| {
                if take(&processes, rows).is_none() {
                    tracing::error!(columns = ?rows.schema(), "a feed of processes has other columns than it was compiled with");
                }
            }));
            let tally = Arc::new(Tally::default());
            let options = RunOptions { rows_per_second_max: EVENTS_PER_SECOND_MAX, target, tally, waiting: false };
            feed.programs.push(Running::start(&engine, &compiled, options).map_err(|error| error.to_sql())?);
        }
        // What happened between the seed and now.
        processes.refresh();
        Ok(feed)
    }

    /// What a drain waits with until everything that happened was told.
    pub fn settler(&self) -> Settler {
        self.engine.settler()
    }

    /// Detaches all programs. Blocks.
    pub fn stop(self) {
        for program in self.programs {
            program.stop();
        }
    }
}

fn compiled(text: &str, kernel: &Kernel, processes: &Arc<Processes>) -> Result<CompiledProbe, SqlError> {
    let Statement::CreateProbe(probe) = parse_one(text)? else {
        return Err(SqlError::new(SqlState::INTERNAL_ERROR, "a feed of processes is not a probe"));
    };
    let facts: Arc<dyn ProcessFacts> = processes.clone();
    let name = probe.name.value.trim_start_matches("pp_").to_owned();
    let options = CompileOptions { name, node: String::new(), excluded_tgid: None, stored: false, weighted: false };
    compile(&probe.query, kernel, &facts, &options)
}

impl ProcessFacts for Processes {
    fn exe(&self, pid: i32) -> Option<Arc<str>> {
        self.fact(pid, |process| process.exe.clone())
    }

    fn cmdline(&self, pid: i32) -> Option<Arc<str>> {
        self.fact(pid, |process| process.cmdline.clone())
    }

    fn container(&self, cgroup_id: u64) -> Option<Arc<str>> {
        Processes::container(self, cgroup_id)
    }

    fn upid(&self, pid: i32, start_boottime_ns: u64) -> i64 {
        Processes::upid(self, pid, start_boottime_ns)
    }
}

fn take_execs(processes: &Processes, rows: &RecordBatch) -> Option<()> {
    let [process, started, parent, user, group, cgroup] =
        integers(rows, ["process", "started", "parent", "user_id", "group_id", "cgroup"])?;
    let (name, filename) = (text(rows, "name")?, text(rows, "filename")?);
    let arguments = rows.column_by_name("arguments")?.as_binary_view_opt()?;
    for row in 0..rows.num_rows() {
        processes.on_exec(ExecEvent {
            pid: process.value(row) as i32,
            ppid: parent.value(row) as i32,
            start_boottime_ns: started.value(row) as u64,
            comm: name.value(row).into(),
            filename: filename.is_valid(row).then(|| filename.value(row).into()),
            arguments: arguments.is_valid(row).then(|| arguments.value(row).to_vec()),
            uid: user.value(row) as u32,
            gid: group.value(row) as u32,
            cgroup_id: cgroup.value(row) as u64,
        });
    }
    Some(())
}

fn take_forks(processes: &Processes, rows: &RecordBatch) -> Option<()> {
    let [parent, process, started] = integers(rows, ["parent_process", "process", "started"])?;
    for row in 0..rows.num_rows() {
        processes.on_fork(ForkEvent {
            ppid: parent.value(row) as i32,
            pid: process.value(row) as i32,
            start_boottime_ns: started.value(row) as u64,
        });
    }
    Some(())
}

fn take_exits(processes: &Processes, rows: &RecordBatch) -> Option<()> {
    let [process, started] = integers(rows, ["process", "started"])?;
    let time = DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()));
    let ended = cast(rows.column_by_name("ended")?, &time).ok()?;
    let ended: &TimestampNanosecondArray = ended.as_primitive_opt()?;
    for row in 0..rows.num_rows() {
        processes.on_exit(ExitEvent {
            pid: process.value(row) as i32,
            start_boottime_ns: started.value(row) as u64,
            unix_ns: ended.value(row),
        });
    }
    Some(())
}

/// Columns of integers of any width, NULL as 0.
fn integers<const COUNT: usize>(rows: &RecordBatch, names: [&str; COUNT]) -> Option<[Int64Array; COUNT]> {
    let column = |name: &str| cast(rows.column_by_name(name)?, &DataType::Int64).ok()?.as_primitive_opt().cloned();
    let columns: Vec<Int64Array> = names.into_iter().map(column).collect::<Option<_>>()?;
    columns.try_into().ok()
}

fn text(rows: &RecordBatch, name: &str) -> Option<StringViewArray> {
    cast(rows.column_by_name(name)?, &DataType::Utf8View).ok()?.as_string_view_opt().cloned()
}
