//! The probes that come with us, as their SQL files.

/// A probe that is created once when a database is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Builtin {
    /// Its name and its table's.
    pub name: &'static str,
    /// `CREATE PROBE …`, with the comment before it that says what it is and what it costs.
    pub sql: &'static str,
    /// Whether it runs from the start.
    pub enabled: bool,
}

macro_rules! builtin {
    ($name:literal, $enabled:literal) => {
        Builtin { name: $name, sql: include_str!(concat!("../probes/", $name, ".sql")), enabled: $enabled }
    };
}

const BUILTIN: &[Builtin] = &[
    builtin!("process_exec", true),
    builtin!("process_exit", true),
    builtin!("security_exec", true),
    builtin!("signal", true),
    builtin!("oom_kill", true),
    builtin!("tcp_flow", true),
    builtin!("tcp_retransmit_rate", true),
    builtin!("packet_drop", true),
    builtin!("block_latency", true),
    builtin!("block_slow", true),
    builtin!("run_queue_latency", true),
    builtin!("cpu_profile", true),
    builtin!("process_fork", false),
    builtin!("file_open", false),
    builtin!("io_slow", false),
    builtin!("io_latency", false),
    builtin!("block_io", false),
    builtin!("connect_latency", false),
    builtin!("tcp_state", false),
    builtin!("tcp_retransmit", false),
    builtin!("syscall_errors", false),
    builtin!("syscall_error_rate", false),
    builtin!("syscall_latency", false),
    builtin!("page_fault", false),
    builtin!("softirq_latency", false),
    builtin!("hardirq_latency", false),
];

/// All of them, in the order they are created.
pub fn builtin() -> &'static [Builtin] {
    BUILTIN
}

#[cfg(test)]
mod tests {
    use probepilot_sql::statement::Statement;

    use super::*;
    use crate::compile::tests::{compile_on, fixture_kernel};
    use crate::kernel::Kernel;

    /// Columns that every built-in table of events has first.
    const FACE: [&str; 13] =
        ["time", "node", "upid", "pid", "tid", "ppid", "uid", "gid", "comm", "exe", "container_id", "cgroup_id", "cpu"];

    /// Columns that every built-in table of windows has first.
    const WINDOWS_FACE: [&str; 4] = ["time", "node", "window_ns", "complete"];

    fn check_all(kernel: &Kernel) {
        for probe in builtin() {
            let Ok(Statement::CreateProbe(parsed)) = probepilot_sql::parse_one(probe.sql) else {
                panic!("{} is no CREATE PROBE", probe.name);
            };
            assert_eq!(parsed.name.value, probe.name);
            let compiled = compile_on(kernel, probe.sql, true)
                .unwrap_or_else(|error| panic!("{}: {error} {:?} at {:?}", probe.name, error.hint, error.position));
            let names: Vec<&str> = compiled.columns.iter().map(|column| column.name.as_str()).collect();
            if compiled.windows.is_some() {
                assert_eq!(names[..WINDOWS_FACE.len()], WINDOWS_FACE, "{}", probe.name);
                assert!(names.contains(&"events"), "{} does not say how many events a row stands for", probe.name);
            } else {
                assert_eq!(names[..FACE.len()], FACE, "{}", probe.name);
            }
            for column in &compiled.columns {
                assert!(column.comment.is_some(), "{}.{} has no comment", probe.name, column.name);
            }
        }
    }

    #[test]
    fn every_probe_compiles_on_the_fixture_kernel_with_face_and_comments() {
        check_all(&fixture_kernel());
    }

    #[test]
    fn every_probe_compiles_on_this_kernel() {
        match Kernel::of_host() {
            Ok(kernel) => check_all(&kernel),
            Err(error) => println!("skipped: needs the kernel's types and tracefs ({error})"),
        }
    }

    #[test]
    fn every_file_is_listed() {
        let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("probes");
        let mut files: Vec<String> = std::fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
            .collect();
        files.sort();
        let mut names: Vec<&str> = builtin().iter().map(|probe| probe.name).collect();
        names.sort_unstable();
        assert_eq!(files, names);
    }
}
