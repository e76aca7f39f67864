//! `system.processes`: the table of processes as rows.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Builder, Int64Builder, RecordBatch, StringViewBuilder, TimestampNanosecondBuilder};
use async_trait::async_trait;
use probepilot_catalog::ports::LiveTable;
use probepilot_catalog::table::{Column, TableName, arrow_schema};
use probepilot_sql::{SqlError, SqlType};

use crate::node::processes::{Process, Processes};

/// `system.processes`.
pub struct ProcessTable {
    processes: Arc<Processes>,
}

impl ProcessTable {
    /// The rows of `processes`.
    pub fn new(processes: Arc<Processes>) -> ProcessTable {
        ProcessTable { processes }
    }
}

#[async_trait]
impl LiveTable for ProcessTable {
    fn name(&self) -> TableName {
        TableName::system("processes")
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            Column::new("pid", SqlType::Integer, false, "process id in the host's namespace"),
            Column::new("ppid", SqlType::Integer, false, "parent's process id when last seen; 0 for none"),
            Column::new(
                "upid",
                SqlType::BigInt,
                false,
                "hash of boot, pid and start: process ids come again, this does not",
            ),
            Column::new("comm", SqlType::Text, false, "name of the first thread, at most 15 bytes"),
            Column::new(
                "exe",
                SqlType::Text,
                true,
                "path of the executable; NULL for kernel threads and where not allowed to look",
            ),
            Column::new(
                "cmdline",
                SqlType::Text,
                true,
                "arguments joined by spaces, secrets hidden; NULL for kernel threads",
            ),
            Column::new("uid", SqlType::BigInt, false, "real user when last seen"),
            Column::new("gid", SqlType::BigInt, false, "real group when last seen"),
            Column::new(
                "container_id",
                SqlType::Text,
                true,
                "container, from the path of the cgroup; NULL on the host",
            ),
            Column::new("cgroup_id", SqlType::BigInt, true, "cgroup in the unified hierarchy"),
            Column::new("started", SqlType::Timestamptz, false, "when the process was started, exact to a clock tick"),
            Column::new("exited", SqlType::Timestamptz, true, "when it ended; NULL while it lives"),
        ]
    }

    fn comment(&self) -> &str {
        "processes of this node, and for a minute those that ended"
    }

    async fn rows(&self) -> Result<Vec<RecordBatch>, SqlError> {
        let processes = self.processes.clone();
        let batch = tokio::task::spawn_blocking(move || {
            processes.refresh();
            batch(&processes.list())
        });
        let columns = batch.await.map_err(|error| SqlError::internal("could not list processes", error))?;
        let batch = RecordBatch::try_new(arrow_schema(&self.columns()), columns)
            .map_err(|error| SqlError::internal("could not build system.processes", error))?;
        Ok(vec![batch])
    }
}

/// The columns, in the order of [`ProcessTable::columns`].
fn batch(processes: &[(Process, i64, i64)]) -> Vec<ArrayRef> {
    let (mut pids, mut ppids) = (Int32Builder::new(), Int32Builder::new());
    let (mut upids, mut uids, mut gids, mut cgroups) =
        (Int64Builder::new(), Int64Builder::new(), Int64Builder::new(), Int64Builder::new());
    let mut texts: [StringViewBuilder; 4] = std::array::from_fn(|_| StringViewBuilder::new());
    let mut times: [TimestampNanosecondBuilder; 2] =
        std::array::from_fn(|_| TimestampNanosecondBuilder::new().with_timezone("UTC"));
    for (process, upid, started_unix_ns) in processes {
        let Process {
            pid,
            ppid,
            start_ticks: _,
            comm,
            exe,
            cmdline,
            uid,
            gid,
            cgroup_id,
            container_id,
            exited_unix_ns,
        } = process;
        pids.append_value(*pid);
        ppids.append_value(*ppid);
        upids.append_value(*upid);
        uids.append_value(i64::from(*uid));
        gids.append_value(i64::from(*gid));
        cgroups.append_option(cgroup_id.map(|id| id as i64));
        texts[0].append_value(comm);
        texts[1].append_option(exe.as_deref());
        texts[2].append_option(cmdline.as_deref());
        texts[3].append_option(container_id.as_deref());
        times[0].append_value(*started_unix_ns);
        times[1].append_option(*exited_unix_ns);
    }
    let [comms, exes, cmdlines, containers] = texts.map(|mut builder| Arc::new(builder.finish()) as ArrayRef);
    let [started, exited] = times.map(|mut builder| Arc::new(builder.finish()) as ArrayRef);
    vec![
        Arc::new(pids.finish()),
        Arc::new(ppids.finish()),
        Arc::new(upids.finish()),
        comms,
        exes,
        cmdlines,
        Arc::new(uids.finish()),
        Arc::new(gids.finish()),
        containers,
        Arc::new(cgroups.finish()),
        started,
        exited,
    ]
}

#[cfg(test)]
mod tests {
    use arrow::array::{AsArray, Int32Array};

    use super::*;
    use crate::node::cmdline::CmdlineSetting;

    #[tokio::test]
    async fn it_is_never_empty_and_holds_ourselves() {
        let table = ProcessTable::new(Arc::new(Processes::of_host(CmdlineSetting::Redacted)));
        let batches = table.rows().await.expect("/proc is readable");
        let rows = &batches[0];
        let pids: &Int32Array = rows.column_by_name("pid").expect("a column").as_primitive();
        let own = pids.values().iter().position(|&pid| pid == std::process::id() as i32).expect("we are alive");
        let exe = rows.column_by_name("exe").expect("a column").as_string_view().value(own);
        assert_eq!(exe, std::env::current_exe().expect("we have one").to_string_lossy());
        assert!(rows.column_by_name("exited").expect("a column").is_null(own));
    }
}
