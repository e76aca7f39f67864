//! Who comes in, and what the others are told.

use std::time::Duration;

use probepilot_api::pg::DoorOptions;
use tokio::time::Instant;
use tokio_postgres::NoTls;

use crate::backend::PASSWORD;
use crate::raw::{self, Raw, error, kinds, startup};
use crate::server::{Server, state};

async fn refused(server: &Server, user: &str, password: &str, database: &str) -> tokio_postgres::Error {
    match server.config(user, password, database).connect(NoTls).await {
        Ok(_) => panic!("{user} was let in"),
        Err(error) => error,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_right_password_is_let_in_and_others_look_alike() {
    let server = Server::start().await;
    let client = server.client().await;
    let one: i64 = client.query_one("SELECT 1::bigint", &[]).await.unwrap().get(0);
    assert_eq!(one, 1);
    let wrong = refused(&server, "analyst", "wrong", "probepilot").await;
    let nobody = refused(&server, "nobody", "wrong", "probepilot").await;
    for (error, user) in [(wrong, "analyst"), (nobody, "nobody")] {
        let told = error.as_db_error().unwrap();
        assert_eq!(told.code().code(), "28P01");
        assert_eq!(told.message(), format!("password authentication failed for user \"{user}\""));
        assert_eq!(told.hint(), Some("The first account is \"admin\": connect with -U admin."));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_database_is_named() {
    let server = Server::start().await;
    let error = refused(&server, "admin", PASSWORD, "admin").await;
    assert_eq!(state(&error), "3D000");
    assert_eq!(error.as_db_error().unwrap().message(), "database \"admin\" does not exist");
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_logins_slow_down() {
    let server = Server::start().await;
    let begin = Instant::now();
    for _ in 0..4 {
        refused(&server, "analyst", "wrong", "probepilot").await;
    }
    // 0, 100, 200 and 400 ms.
    assert!(begin.elapsed() >= Duration::from_millis(600), "{:?}", begin.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_unix_socket_believes_the_kernel_for_admin_alone() {
    let server = Server::start().await;
    let (_raw, replies) = Raw::login(&server).await;
    assert_eq!(replies.first().map(|reply| (reply.kind, &reply.body[..])), Some((b'R', &[0_u8, 0, 0, 0][..])));
    let mut raw = Raw::open(&server).await;
    raw.send(&startup(196_608, &[("user", "root"), ("database", "probepilot")])).await;
    let replies = raw.until_ready().await;
    assert_eq!(error(&replies), "28000");
    assert!(replies[0].field(b'H').unwrap().contains("-U admin"));
    // Other accounts are asked for their password: authentication by SASL is code 10.
    let mut raw = Raw::open(&server).await;
    raw.send(&startup(196_608, &[("user", "analyst"), ("database", "probepilot")])).await;
    assert_eq!(&raw.next().await.unwrap().body[..4], &[0, 0, 0, 10]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_says_what_postgresql_16_says() {
    let server = Server::start().await;
    let (_raw, replies) = Raw::login(&server).await;
    let parameters: Vec<String> = replies
        .iter()
        .filter(|reply| reply.kind == b'S')
        .map(|reply| String::from_utf8_lossy(&reply.body).replace('\0', "=").trim_end_matches('=').to_owned())
        .collect();
    for expected in [
        "server_version=16.14",
        "server_encoding=UTF8",
        "client_encoding=UTF8",
        "DateStyle=ISO, MDY",
        "TimeZone=UTC",
        "integer_datetimes=on",
        "standard_conforming_strings=on",
        "is_superuser=on",
        "session_authorization=admin",
        "IntervalStyle=postgres",
        "in_hot_standby=off",
        "scram_iterations=4096",
        "default_transaction_read_only=off",
    ] {
        assert!(parameters.iter().any(|parameter| parameter == expected), "{expected} is not in {parameters:?}");
    }
    assert!(kinds(&replies).ends_with("KZ"), "{}", kinds(&replies));
}

#[tokio::test(flavor = "multi_thread")]
async fn startup_settings_apply_and_wrong_ones_are_refused() {
    let server = Server::start().await;
    let mut raw = Raw::open(&server).await;
    let pairs = [
        ("user", "admin"),
        ("database", "probepilot"),
        ("TimeZone", "Asia/Kolkata"),
        ("options", "-c statement_timeout=7s"),
    ];
    raw.send(&startup(196_608, &pairs)).await;
    raw.until_ready().await;
    assert_eq!(raw::firsts(&raw.query("SHOW timezone").await), ["Asia/Kolkata"]);
    assert_eq!(raw::firsts(&raw.query("SHOW statement_timeout").await), ["7s"]);
    let mut raw = Raw::open(&server).await;
    raw.send(&startup(196_608, &[("user", "admin"), ("database", "probepilot"), ("no_such", "1")])).await;
    assert_eq!(error(&raw.until_ready().await), "42704");
}

#[tokio::test(flavor = "multi_thread")]
async fn newer_protocols_are_negotiated_and_older_ones_refused() {
    let server = Server::start().await;
    let mut raw = Raw::open(&server).await;
    raw.send(&startup(196_610, &[("user", "admin"), ("database", "probepilot"), ("_pq_.new", "1")])).await;
    let replies = raw.until_ready().await;
    assert_eq!(replies[0].kind, b'v');
    assert_eq!(&replies[0].body[..], b"\0\x03\0\0\0\0\0\x01_pq_.new\0");
    let mut raw = Raw::open(&server).await;
    raw.send(&startup(131_072, &[])).await;
    assert_eq!(error(&raw.until_ready().await), "0A000");
}

#[tokio::test(flavor = "multi_thread")]
async fn noise_instead_of_a_startup_packet_ends_the_connection() {
    let server = Server::start().await;
    for noise in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\0\0\0\x03", b"\xff\xff\xff\xff\0\0\0\0", b"\0\0\0\x08\0\x03\0\0"] {
        let mut raw = Raw::open(&server).await;
        raw.send(noise).await;
        let replies = raw.until_ready().await;
        assert!(!kinds(&replies).contains('Z'), "{noise:?}: {replies:?}");
    }
    server.client().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_client_too_many_is_told_so() {
    let server = Server::with(DoorOptions { connections_max: 2, ..DoorOptions::default() }).await;
    let first = Raw::login(&server).await;
    let _second = Raw::login(&server).await;
    assert_eq!(error(&Raw::login(&server).await.1), "53300");
    drop(first);
    // The place is free as soon as the server has seen the client leave.
    for attempt in 0.. {
        if kinds(&Raw::login(&server).await.1).ends_with('Z') {
            break;
        }
        assert!(attempt < 100, "the place stays taken");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stops_says_goodbye() {
    let server = Server::start().await;
    let (mut idle, _) = Raw::login(&server).await;
    let (mut busy, _) = Raw::login(&server).await;
    busy.send(&raw::query("SHOW HOOKS")).await;
    busy.next().await.unwrap();
    server.shutdown.cancel();
    assert_eq!(error(&idle.until_ready().await), "57P01");
    assert_eq!(error(&busy.until_ready().await), "57P01");
    server.stopped().await;
}
