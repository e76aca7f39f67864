//! psql 15 and 16 with their backslash commands, on us and on a real PostgreSQL 16 with the same schema: what they print is
//! the same, or the command is among those that differ for a reason.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use probepilot_api::pg::DoorOptions;

use crate::oracle::{Oracle, PORT};
use crate::replay::{EngineBackend, schema};
use crate::server::Server;

/// Commands that print the same.
#[rustfmt::skip]
const SAME: &[&str] = &[
    "\\d", "\\d logs", "\\d+ logs", "\\d spans", "\\d otel.metrics", "\\d grafana_logs", "\\d nothing", "\\dS logs",
    "\\dt", "\\dt otel.*", "\\dv", "\\dv+ grafana_*", "\\dm", "\\ds", "\\di", "\\dE", "\\l", "\\du", "\\du+", "\\dg",
    "\\df", "\\df+ now", "\\da", "\\do", "\\dC", "\\dA", "\\dAc", "\\db", "\\dO", "\\dT", "\\dD", "\\dy",
    "\\des", "\\dew", "\\det", "\\deu", "\\dl", "\\dp logs", "\\z spans", "\\drds", "\\ddp", "\\dRp", "\\dRs", "\\dX",
    "\\dP", "\\dd", "\\sv nothing", "\\dconfig TimeZone", "\\conninfo", "\\encoding", "\\gdesc",
];

/// Commands that print something else, and no error: sizes and owners that are ours, text search and extensions that we do
/// not have, views of the catalog that are tables here, families of operators and a view's query.
#[rustfmt::skip]
const OTHER: &[&str] = &[
    "\\l+", "\\dn", "\\dn+", "\\dt+", "\\dt *.*s", "\\dF", "\\dx", "\\dL", "\\dAf", "\\dAo", "\\dAp",
    "\\d+ grafana_traces", "\\sv grafana_logs",
];

/// What psql prints for a command, both streams together.
fn prints(psql: &Path, folder: &Path, port: u16, command: &str) -> String {
    let mut run = Command::new(psql);
    run.arg("-h").arg(folder).args(["-p", &port.to_string(), "-U", "admin", "-d", "probepilot", "-X"]);
    run.env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("LC_ALL", "C.UTF-8")
        .env("PGCONNECT_TIMEOUT", "10");
    // A command that describes a query has it before it.
    let command = if command == "\\gdesc" { "SELECT time, value FROM otel.metrics \\gdesc" } else { command };
    run.args(["-c", "SET search_path TO public, otel"]).stdin(std::process::Stdio::null());
    let script = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(script.path(), format!("{command}\n")).unwrap();
    let output = run.arg("-q").arg("-f").arg(script.path()).output().unwrap();
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    // The folder, the port and the script's name are the test's.
    text.replace(&folder.display().to_string(), "FOLDER")
        .replace(&port.to_string(), "PORT")
        .replace(&script.path().display().to_string(), "SCRIPT")
}

#[tokio::test(flavor = "multi_thread")]
async fn backslash_commands_print_what_postgresql_16_lets_them() {
    let Some(oracle) = Oracle::start() else { return };
    let engine = schema::engine().await;
    oracle.psql("probepilot", &schema::sql(&engine));
    let server = Server::over(Arc::new(EngineBackend(engine)), Arc::default(), DoorOptions::default(), None).await;
    let clients = [PathBuf::from("psql"), oracle.psql_16()];
    let folder = server.directory.path().to_owned();
    let port = server.address.port();
    let compare = move || {
        let (mut differing, mut others) = (Vec::new(), BTreeSet::new());
        for psql in &clients {
            for command in SAME.iter().chain(OTHER) {
                let given = prints(psql, &folder, port, command);
                let expected = prints(psql, oracle.folder.path(), PORT, command);
                let same = SAME.contains(command);
                if same && given != expected {
                    differing.push(format!("{} {command}\n--- PostgreSQL\n{expected}--- we\n{given}", psql.display()));
                }
                if given != expected {
                    others.insert(command);
                }
                let refused = given.contains("ERROR") && !expected.contains("ERROR");
                assert!(!refused, "{} {command}\n{given}", psql.display());
            }
        }
        assert!(differing.is_empty(), "{}", differing.join("\n"));
        let same_after_all: Vec<_> = OTHER.iter().filter(|command| !others.contains(command)).collect();
        assert!(same_after_all.is_empty(), "these print the same now: {same_after_all:?}");
    };
    tokio::task::spawn_blocking(compare).await.unwrap();
}
