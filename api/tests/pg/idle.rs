//! Limits of time: of statements, of transactions that wait for their client, of clients that say nothing.

use std::time::Duration;

use tokio::time::Instant;

use crate::raw::{Raw, bind, error, execute, firsts, kinds, parse, sync};
use crate::server::Server;

/// Sets the limits and waits for the goodbye; gives its code and how long it took.
async fn goodbye(texts: &[&str]) -> (String, Duration) {
    let server = Server::start().await;
    let (mut raw, _) = Raw::login(&server).await;
    for text in texts {
        raw.query(text).await;
    }
    let begin = Instant::now();
    let replies = raw.until_ready().await;
    assert_eq!(replies[0].field(b'S').as_deref(), Some("FATAL"));
    assert!(raw.next().await.is_none());
    (error(&replies), begin.elapsed())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_client_is_sent_away() {
    let (code, after) = goodbye(&["SET idle_session_timeout = '200ms'"]).await;
    assert_eq!(code, "57P05");
    assert!(after >= Duration::from_millis(150), "{after:?}");
    let (code, after) = goodbye(&["SET idle_in_transaction_session_timeout = 200; BEGIN"]).await;
    assert_eq!(code, "25P03");
    assert!(after >= Duration::from_millis(150), "{after:?}");
    // A block that has failed keeps its client waiting no less.
    let (code, _) = goodbye(&["SET idle_in_transaction_session_timeout = 200", "BEGIN; SELECT 1 / 0"]).await;
    assert_eq!(code, "25P03");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_limit_of_silence_is_for_its_own_state() {
    let server = Server::start().await;
    let (mut raw, _) = Raw::login(&server).await;
    // In a block the limit of sessions does not count, outside the other one.
    raw.query("SET idle_session_timeout = '150ms'; BEGIN").await;
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(kinds(&raw.query("SET idle_session_timeout = 0; COMMIT").await), "CCZ");
    raw.query("SET idle_in_transaction_session_timeout = '150ms'").await;
    tokio::time::sleep(Duration::from_millis(400)).await;
    // While a statement runs, or before Sync, the client is not idle.
    raw.query("SET idle_session_timeout = '300ms'").await;
    raw.send(&[parse("", "SELECT 1"), bind("", "", &[]), execute("", 0)].concat()).await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    raw.send(&sync()).await;
    assert_eq!(kinds(&raw.until_ready().await), "12DCZ");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_time_of_a_statement_is_that_of_its_message() {
    let server = Server::start().await;
    let (mut raw, _) = Raw::login(&server).await;
    raw.query("SET statement_timeout = '250ms'").await;
    raw.query("BEGIN; DECLARE c CURSOR FOR SELECT * FROM generate_series(1, 5)").await;
    assert_eq!(firsts(&raw.query("FETCH 2 FROM c").await), ["1", "2"]);
    tokio::time::sleep(Duration::from_millis(400)).await;
    // The cursor's query began longer ago than a statement may run, but has not worked since.
    assert_eq!(firsts(&raw.query("FETCH 2 FROM c").await), ["3", "4"]);
    let long = "SELECT count(*) FROM generate_series(1, 100000000000)";
    raw.send(&[parse("", long), bind("", "", &[]), execute("", 0), sync()].concat()).await;
    let replies = raw.until_ready().await;
    assert_eq!((kinds(&replies).as_str(), error(&replies).as_str()), ("12EZ", "57014"));
    raw.query("ROLLBACK").await;
    // In a text each statement has its own time.
    let replies = raw.query(&format!("SELECT 1; {long}; SELECT 2")).await;
    assert_eq!((kinds(&replies).as_str(), error(&replies).as_str()), ("TDCTEZ", "57014"));
    assert_eq!(firsts(&raw.query("SELECT 7").await), ["7"]);
}
