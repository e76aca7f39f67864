//! Rows as they come: memory, cancel, time limits, clients that leave, live queries.

use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use tokio::time::Instant;

use crate::raw::{self, Raw, error, execute, kinds, message, parse, query};
use crate::server::{Server, state};

/// Bytes of this process in memory.
fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_million_rows_do_not_grow_memory() {
    let server = Server::start().await;
    let client = server.client().await;
    client.query("SELECT * FROM generate_series(1, 100000)", &[]).await.unwrap();
    let before = resident_bytes();
    let begin = Instant::now();
    let rows = client.query_raw("SELECT * FROM generate_series(1, 10000000)", Vec::<i64>::new()).await.unwrap();
    let mut rows = std::pin::pin!(rows);
    let (mut count, mut most, mut first) = (0_u64, before, None);
    while let Some(row) = rows.next().await {
        row.unwrap();
        first.get_or_insert_with(|| begin.elapsed());
        count += 1;
        if count % 500_000 == 0 {
            most = most.max(resident_bytes());
        }
    }
    assert_eq!(count, 10_000_000);
    let grown = most.saturating_sub(before);
    println!("10 M rows in {:?}, first after {first:?}, grown by {} KiB", begin.elapsed(), grown >> 10);
    assert!(grown < 64 << 20, "memory has grown by {} MiB", grown >> 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_holds_the_stream_back() {
    let server = Server::start().await;
    let (mut raw, _) = Raw::login(&server).await;
    let before = resident_bytes();
    raw.send(&query("SELECT * FROM generate_series(1, 100000000)")).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < 64 << 20, "memory has grown by {} MiB", grown >> 20);
}

async fn check_cancel(text: &'static str, first_row: bool) {
    let server = Server::start().await;
    let client = server.client().await;
    let token = client.cancel_token();
    let running = tokio::spawn(async move {
        let rows = client.query_raw(text, Vec::<i64>::new()).await?;
        rows.try_for_each(|_| async { Ok(()) }).await
    });
    if first_row {
        tokio::time::sleep(Duration::from_millis(200)).await;
    } else {
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let begin = Instant::now();
    token.cancel_query(tokio_postgres::NoTls).await.unwrap();
    let error = tokio::time::timeout(Duration::from_secs(20), running).await.unwrap().unwrap().unwrap_err();
    assert_eq!(state(&error), "57014");
    assert_eq!(error.as_db_error().unwrap().message(), "canceling statement due to user request");
    // 100 ms are the goal of a release build on an idle machine.
    assert!(begin.elapsed() < Duration::from_millis(1_000), "cancelled after {:?}", begin.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn cancel_stops_rows_under_way() {
    check_cancel("SELECT * FROM generate_series(1, 1000000000)", true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cancel_stops_work_before_the_first_row() {
    check_cancel("SELECT count(*) FROM generate_series(1, 100000000000)", false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_request_with_a_wrong_secret_does_nothing() {
    let server = Server::start().await;
    let (mut raw, replies) = Raw::login(&server).await;
    let key = replies.iter().find(|reply| reply.kind == b'K').unwrap().body.clone();
    raw.send(&query("SHOW HOOKS")).await;
    raw.next().await.unwrap();
    let cancel = |key: &[u8]| [&16_u32.to_be_bytes()[..], &80_877_102_u32.to_be_bytes(), key].concat();
    let mut wrong = key.to_vec();
    wrong[7] ^= 1;
    let mut other = Raw::open(&server).await;
    other.send(&cancel(&wrong)).await;
    assert!(other.next().await.is_none(), "a cancel request has no answer");
    for _ in 0..5 {
        assert_eq!(raw.next().await.unwrap().kind, b'D');
    }
    let mut other = Raw::open(&server).await;
    other.send(&cancel(&key)).await;
    assert_eq!(error(&raw.until_ready().await), "57014");
    assert_eq!(kinds(&raw.query("SELECT 1").await), "TDCZ");
}

#[tokio::test(flavor = "multi_thread")]
async fn statement_timeout_ends_a_statement() {
    let server = Server::start().await;
    let client = server.client().await;
    client.batch_execute("SET statement_timeout = '150ms'").await.unwrap();
    let begin = Instant::now();
    let error = client.simple_query("SHOW HOOKS").await.unwrap_err();
    assert_eq!(state(&error), "57014");
    assert_eq!(error.as_db_error().unwrap().message(), "canceling statement due to statement timeout");
    assert!(begin.elapsed() >= Duration::from_millis(150));
    client.batch_execute("SET statement_timeout = 0").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn live_rows_are_sent_one_by_one() {
    let server = Server::start().await;
    let (mut raw, _) = Raw::login(&server).await;
    raw.send(&query("SHOW HOOKS")).await;
    assert_eq!(raw.next().await.unwrap().kind, b'T');
    let begin = Instant::now();
    for n in 0..5 {
        let row = raw.next().await.unwrap().row();
        assert_eq!(row[0].as_deref(), Some(n.to_string().as_str()));
    }
    // Five rows of a stream that gives one each 20 ms: none was kept for a full buffer.
    assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
}

async fn wait_for_streams(server: &Server, expected: usize) {
    for _ in 0..250 {
        if server.live_streams.load(Ordering::SeqCst) == expected {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{} live streams, not {expected}", server.live_streams.load(Ordering::SeqCst));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_ends_its_stream() {
    let server = Server::start().await;
    let (mut raw, _) = Raw::login(&server).await;
    raw.send(&query("SHOW HOOKS")).await;
    raw.next().await.unwrap();
    wait_for_streams(&server, 1).await;
    drop(raw);
    wait_for_streams(&server, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_portal_that_is_closed_ends_its_stream() {
    let server = Server::start().await;
    let (mut raw, _) = Raw::login(&server).await;
    raw.query("BEGIN").await;
    let take = [parse("", "SHOW HOOKS"), raw::bind("p", "", &[]), execute("p", 1), raw::sync()].concat();
    raw.send(&take).await;
    assert_eq!(kinds(&raw.until_ready().await), "12DsZ");
    wait_for_streams(&server, 1).await;
    raw.send(&[message(b'C', b"Pp\0"), raw::sync()].concat()).await;
    assert_eq!(kinds(&raw.until_ready().await), "3Z");
    wait_for_streams(&server, 0).await;
}
