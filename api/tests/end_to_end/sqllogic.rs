//! SQL by example: every file in `slt/` is run through the Postgres door, answer by answer.

use std::path::Path;

use async_trait::async_trait;
use sqllogictest::{AsyncDB, DBOutput, DefaultColumnType, Runner};
use tokio_postgres::SimpleQueryMessage;

use crate::support::{Server, connected};

/// One connection to the server.
struct Door(tokio_postgres::Client);

#[async_trait]
impl AsyncDB for Door {
    type Error = tokio_postgres::Error;
    type ColumnType = DefaultColumnType;

    async fn run(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>, tokio_postgres::Error> {
        let (mut rows, mut columns) = (Vec::new(), None);
        for message in self.0.simple_query(sql).await? {
            match message {
                SimpleQueryMessage::RowDescription(description) => columns = Some(description.len()),
                SimpleQueryMessage::Row(row) => {
                    let value = |index| row.get(index).unwrap_or("NULL").to_owned();
                    rows.push((0..row.len()).map(value).collect());
                }
                _ => {}
            }
        }
        Ok(match columns {
            Some(columns) => DBOutput::Rows { types: vec![DefaultColumnType::Any; columns], rows },
            None => DBOutput::StatementComplete(0),
        })
    }

    async fn shutdown(&mut self) {}

    fn error_sql_state(error: &tokio_postgres::Error) -> Option<String> {
        error.code().map(|code| code.code().to_owned())
    }
}

async fn connect(server: &Server) -> Result<Door, tokio_postgres::Error> {
    let (client, _) = connected(server).await?;
    Ok(Door(client))
}

#[test]
fn every_answer_in_slt_is_given() {
    let server = Server::without_probes();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/end_to_end/slt");
    let mut files = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let mut runner = Runner::new(|| connect(&server));
        runtime.block_on(runner.run_file_async(&path)).unwrap_or_else(|error| panic!("{}", error.display(true)));
        files += 1;
    }
    assert!(files > 0, "no file of answers was found");
}
