//! SQL by example: every file in `slt/` is run through the Postgres door in both protocols, answer by answer, and those in
//! `slt/postgresql/` by a real PostgreSQL too.

use std::fmt;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use sqllogictest::{AsyncDB, DBOutput, DefaultColumnType, Runner};

use crate::oracle::{self, Oracle};
use crate::raw::{self, Raw, Reply};
use crate::support::Server;

/// How statements are sent.
#[derive(Clone, Copy, Debug)]
enum Protocol {
    Simple,
    Extended,
}

/// One connection to a server.
struct Door {
    raw: Raw,
    protocol: Protocol,
}

/// What a server refused with.
#[derive(Debug)]
struct Refused {
    state: String,
    message: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.state, self.message)
    }
}

impl std::error::Error for Refused {}

impl Door {
    async fn open(folder: &Path, port: u16, protocol: Protocol) -> Result<Door, Refused> {
        let mut raw = Raw::at(folder, port).await;
        answer(&raw.log_in().await)?;
        Ok(Door { raw, protocol })
    }
}

/// The rows and how many columns they have, or the error.
fn answer(replies: &[Reply]) -> Result<DBOutput<DefaultColumnType>, Refused> {
    if let Some(error) = replies.iter().find(|reply| reply.kind == b'E') {
        let field = |code| error.field(code).unwrap_or_default();
        return Err(Refused { state: field(b'C'), message: field(b'M') });
    }
    let Some(description) = replies.iter().find(|reply| reply.kind == b'T') else {
        return Ok(DBOutput::StatementComplete(0));
    };
    let columns = usize::from(u16::from_be_bytes([description.body[0], description.body[1]]));
    let rows = replies
        .iter()
        .filter(|reply| reply.kind == b'D')
        .map(|reply| reply.row().into_iter().map(|value| value.unwrap_or_else(|| "NULL".to_owned())).collect());
    Ok(DBOutput::Rows { types: vec![DefaultColumnType::Any; columns], rows: rows.collect() })
}

#[async_trait]
impl AsyncDB for Door {
    type Error = Refused;
    type ColumnType = DefaultColumnType;

    async fn run(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>, Refused> {
        let replies = match self.protocol {
            Protocol::Simple => self.raw.query(sql).await,
            Protocol::Extended => {
                let messages = [
                    raw::parse("", sql),
                    raw::bind("", "", &[]),
                    raw::describe(b'P', ""),
                    raw::execute("", 0),
                    raw::sync(),
                ];
                self.raw.send(&messages.concat()).await;
                self.raw.until_ready().await
            }
        };
        answer(&replies)
    }

    async fn shutdown(&mut self) {}

    fn error_sql_state(error: &Refused) -> Option<String> {
        Some(error.state.clone())
    }
}

/// The files of a folder of the examples.
fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/end_to_end/slt").join(folder);
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|end| end == "slt")).collect();
    assert!(!files.is_empty(), "no file of answers was found");
    files
}

/// Runs files against a server whose socket is in `folder`, in both protocols; every file that fails is told.
fn check(files: &[PathBuf], folder: &Path, port: u16) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let mut failures = Vec::new();
    for protocol in [Protocol::Simple, Protocol::Extended] {
        for file in files {
            let mut runner = Runner::new(|| Door::open(folder, port, protocol));
            if let Err(error) = runtime.block_on(runner.run_file_async(file)) {
                failures.push(format!("{protocol:?}: {}", error.display(false)));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn every_answer_in_slt_is_given() {
    let server = Server::without_probes();
    let files = [files(""), files("postgresql")].concat();
    check(&files, server.data_dir(), server.address("postgres").port());
}

#[test]
fn a_real_postgresql_gives_the_answers_that_are_its_own() {
    let Some(oracle) = Oracle::start() else { return };
    check(&files("postgresql"), oracle.folder.path(), oracle::PORT);
}
