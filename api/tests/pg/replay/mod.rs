//! Queries that real clients were seen to send, on us and on a real PostgreSQL 16 with the same schema: column names and
//! rows are equal but for oids, or the query is in `differs.txt` with the reason.

pub mod captured; // The clients and their statements.
mod compare; // Answers, without what may differ.
pub mod schema; // The same tables on both sides.
mod engine; // Our engine as the door's backend.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use probepilot_api::pg::DoorOptions;

use crate::oracle::{self, Oracle};
use crate::raw::Raw;
use crate::server::Server;
use captured::Captured;
use compare::{Answer, difference};
pub use engine::EngineBackend;

/// The queries that are known to differ, a line each: client, number, what differs. Written anew by a run with
/// `PROBEPILOT_REPLAY_WRITE` set, which also leaves what differs in the file it names.
const DIFFERS: &str = include_str!("differs.txt");

fn differs() -> BTreeMap<(String, usize), String> {
    let lines = DIFFERS.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let mut words = line.splitn(3, ' ');
            let (client, number) = (words.next().unwrap().to_owned(), words.next().unwrap().parse().unwrap());
            ((client, number), words.next().expect("every line ends with a reason").to_owned())
        })
        .collect()
}

/// Sends everything a client sent; an answer for each statement.
async fn replay(client: &Captured, open: impl AsyncFn() -> Raw, oids: &[(&str, String)]) -> Vec<Answer> {
    let mut raw = open().await;
    let mut answers = Vec::new();
    for statement in &client.statements {
        let mut sql = statement.sql.to_owned();
        for (name, oid) in oids {
            sql = sql.replace(&format!("{{{name}}}"), oid);
        }
        let answer = Answer::of(&mut raw, statement, &sql).await;
        if answer.closed {
            raw = open().await;
        }
        answers.push(answer);
    }
    answers
}

async fn oids(raw: &mut Raw) -> Vec<(&'static str, String)> {
    let mut oids = vec![("errors", "999999".to_owned())];
    for (name, relation) in [("logs", "public.logs"), ("spans", "public.spans"), ("metrics", "otel.metrics")] {
        let replies = raw.query(&format!("SELECT '{relation}'::regclass::oid")).await;
        oids.push((name, crate::raw::firsts(&replies).remove(0)));
    }
    oids
}

#[tokio::test(flavor = "multi_thread")]
async fn captured_queries_are_answered_as_by_postgresql() {
    let Some(oracle) = Oracle::start() else { return };
    let engine = schema::engine().await;
    oracle.psql("probepilot", &schema::sql(&engine));
    let server =
        Server::over(Arc::new(engine::EngineBackend(engine)), Arc::default(), DoorOptions::default(), None).await;

    let ours = async || Raw::login(&server).await.0;
    let theirs = async || {
        let mut raw = Raw::at(oracle.folder.path(), oracle::PORT).await;
        raw.send(&crate::raw::startup(196_608, &[("user", "admin"), ("database", "probepilot")])).await;
        raw.until_ready().await;
        raw
    };
    let our_oids = oids(&mut ours().await).await;
    let their_oids = oids(&mut theirs().await).await;

    let (mut total, mut found, mut report) = (0, BTreeMap::new(), String::new());
    for client in captured::clients() {
        let expected = replay(&client, &theirs, &their_oids).await;
        let given = replay(&client, &ours, &our_oids).await;
        for (index, (expected, given)) in expected.iter().zip(&given).enumerate() {
            total += 1;
            let Some(reason) = difference(expected, given) else { continue };
            let statement = &client.statements[index];
            let _ = writeln!(
                report,
                "=== {} {index}: {reason}\n{}\n--- PostgreSQL\n{expected}\n--- we\n{given}\n",
                client.name, statement.sql
            );
            found.insert((client.name.to_owned(), index), reason);
        }
    }
    let equal = total - found.len();
    println!("{equal} of {total} captured statements are answered as by PostgreSQL 16");
    if let Some(path) = std::env::var_os("PROBEPILOT_REPLAY_WRITE") {
        std::fs::write(path, report).unwrap();
        let head = DIFFERS.lines().filter(|line| line.starts_with('#')).map(|line| format!("{line}\n"));
        let lines = found.iter().map(|((client, number), reason)| format!("{client} {number} {reason}\n"));
        let text: String = head.chain(lines).collect();
        std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/pg/replay/differs.txt"), text).unwrap();
        return;
    }
    let known = differs();
    let fresh: Vec<_> = found.iter().filter(|(query, _)| !known.contains_key(*query)).collect();
    let mended: Vec<_> = known.keys().filter(|query| !found.contains_key(*query)).collect();
    assert!(fresh.is_empty(), "these were equal before: {fresh:#?}");
    assert!(mended.is_empty(), "these are equal now, take them out of differs.txt: {mended:?}");
}
