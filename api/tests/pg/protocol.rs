//! Messages in every order: what comes back, and with which code.

use crate::raw::{Raw, bind, describe, error, execute, firsts, kinds, message, parse, query, sync, tags};
use crate::server::{Server, state};

#[tokio::test(flavor = "multi_thread")]
async fn empty_texts_are_empty_queries() {
    let server = Server::start().await;
    let (mut raw, _) = Raw::login(&server).await;
    for text in ["", ";", "-- ping", " /* nothing */ ; ;"] {
        assert_eq!(kinds(&raw.query(text).await), "IZ", "{text}");
    }
    raw.send(&[parse("", ""), bind("", "", &[]), describe(b'P', ""), execute("", 0), sync()].concat()).await;
    assert_eq!(kinds(&raw.until_ready().await), "12nIZ");
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_of_one_text_are_answered_up_to_the_first_error() {
    let server = Server::start().await;
    let (mut raw, _) = Raw::login(&server).await;
    let replies = raw.query("SELECT 1; SELECT 2, 3; SELECT * FROM nowhere; SELECT 4").await;
    assert_eq!(kinds(&replies), "TDCTDCEZ");
    assert_eq!(firsts(&replies), ["1", "2"]);
    assert_eq!(error(&replies), "42P01");
    // A text that does not parse runs not at all.
    let replies = raw.query("SELECT 1; SELEC 2").await;
    assert_eq!(kinds(&replies), "EZ");
    assert_eq!(error(&replies), "42601");
    assert_eq!(replies[0].field(b'P').as_deref(), Some("11"));
    assert_eq!(replies[0].field(b'V').as_deref(), Some("ERROR"));
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_can_be_taken_in_parts() {
    let server = Server::start().await;
    let (mut raw, _) = Raw::login(&server).await;
    let text = "SELECT * FROM generate_series(1, 5)";
    raw.send(
        &[parse("", text), bind("p", "", &[]), execute("p", 2), execute("p", 2), execute("p", 2), sync()].concat(),
    )
    .await;
    let replies = raw.until_ready().await;
    assert_eq!(kinds(&replies), "12DsDsDCZ");
    assert_eq!(firsts(&replies), ["1", "2", "3", "4", "5"]);
    assert_eq!(tags(&replies), ["SELECT 1"]);
    // Outside a transaction the portal has ended with Sync.
    raw.send(&[execute("p", 0), sync()].concat()).await;
    assert_eq!(error(&raw.until_ready().await), "34000");
    // Inside one it lives on.
    raw.query("BEGIN").await;
    raw.send(&[parse("", text), bind("p", "", &[]), execute("p", 3), sync()].concat()).await;
    raw.until_ready().await;
    raw.send(&[execute("p", 0), sync()].concat()).await;
    assert_eq!(firsts(&raw.until_ready().await), ["4", "5"]);
    // A portal at its end gives no rows.
    raw.send(&[execute("p", 0), sync()].concat()).await;
    assert_eq!(tags(&raw.until_ready().await), ["SELECT 0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_only_flushes_is_answered() {
    let server = Server::start().await;
    let (mut raw, _) = Raw::login(&server).await;
    raw.send(&[parse("s", "SELECT $1::bigint + 1 AS n"), describe(b'S', "s"), message(b'H', &[])].concat()).await;
    let mut kinds = Vec::new();
    for _ in 0..3 {
        kinds.push(raw.next().await.unwrap().kind);
    }
    assert_eq!(kinds, b"1tT");
    raw.send(&[bind("", "s", &["41"]), execute("", 0), message(b'H', &[])].concat()).await;
    for expected in [b'2', b'D', b'C'] {
        let reply = raw.next().await.unwrap();
        assert_eq!(reply.kind, expected);
        if reply.kind == b'D' {
            assert_eq!(reply.row(), [Some("42".to_owned())]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_in_the_extended_protocol_have_postgresqls_codes() {
    let server = Server::start().await;
    let (mut raw, _) = Raw::login(&server).await;
    raw.send(&[parse("s", "SELECT $1::bigint"), sync()].concat()).await;
    raw.until_ready().await;
    let cases: [(Vec<u8>, &str); 9] = [
        (parse("s", "SELECT 1"), "42P05"),
        (parse("", "SELECT 1; SELECT 2"), "42601"),
        (bind("", "s", &[]), "08P01"),
        (bind("", "s", &["1", "2"]), "08P01"),
        (bind("", "s", &["one"]), "22P02"),
        (bind("", "nothing", &[]), "26000"),
        (describe(b'S', "nothing"), "26000"),
        (describe(b'P', "nothing"), "34000"),
        (execute("nothing", 0), "34000"),
    ];
    for (mistake, code) in cases {
        // Everything up to Sync is passed over after a mistake.
        raw.send(&[mistake.clone(), parse("", "SELECT 1"), bind("", "", &[]), execute("", 0), sync()].concat()).await;
        let replies = raw.until_ready().await;
        assert_eq!(kinds(&replies), "EZ", "{mistake:?}");
        assert_eq!(error(&replies), code, "{replies:?}");
    }
    // Wrong counts of result formats: two for one column.
    let body = b"\0s\0\0\0\0\x01\0\0\0\x011\0\x02\0\0\0\0";
    raw.send(&[message(b'B', body), sync()].concat()).await;
    assert_eq!(error(&raw.until_ready().await), "08P01");
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_messages_end_the_connection_and_nothing_else() {
    let server = Server::start().await;
    for noise in
        [message(b'P', b"no end"), message(b'B', b"\0\0\xff\xff"), message(b'?', b""), vec![b'Q', 0xff, 0, 0, 0]]
    {
        let (mut raw, _) = Raw::login(&server).await;
        raw.send(&noise).await;
        assert_eq!(error(&raw.until_ready().await), "08P01", "{noise:?}");
        assert!(raw.next().await.is_none());
    }
    server.client().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn types_go_both_ways_in_binary() {
    let server = Server::start().await;
    let client = server.client().await;
    let row = client
        .query_one(
            "SELECT $1::bigint AS a, $2::text AS b, $3::double AS c, $4::boolean AS d, $5::int AS e",
            &[&5_i64, &"ü", &1.5_f64, &true, &Some(7_i32)],
        )
        .await
        .unwrap();
    assert_eq!(row.get::<_, i64>("a"), 5);
    assert_eq!(row.get::<_, &str>("b"), "ü");
    assert!((row.get::<_, f64>("c") - 1.5).abs() < f64::EPSILON);
    assert!(row.get::<_, bool>("d"));
    assert_eq!(row.get::<_, i32>("e"), 7);
    let row = client.query_one("SELECT [1, 2, NULL]::bigint[] AS list, NULL::text AS nothing", &[]).await.unwrap();
    assert_eq!(row.get::<_, Vec<Option<i64>>>("list"), [Some(1), Some(2), None]);
    assert_eq!(row.get::<_, Option<&str>>("nothing"), None);
    let text = "SELECT TIMESTAMP '2026-01-02 03:04:05.678901' AS at, DATE '2026-01-02' AS day, X'00ff' AS bytes";
    let row = client.query_one(text, &[]).await.unwrap();
    let at: std::time::SystemTime = row.get("at");
    let since = at.duration_since(std::time::UNIX_EPOCH).unwrap();
    assert_eq!(since.as_micros(), 1_767_323_045_678_901);
    assert_eq!(row.get::<_, &[u8]>("bytes"), [0, 255]);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_came_before_an_error_are_delivered() {
    let server = Server::start().await;
    let client = server.client().await;
    let error = client.query("SELECT 1 / (value - value) FROM generate_series(1, 3)", &[]).await.unwrap_err();
    assert_eq!(state(&error), "22012");
    assert_eq!(client.query("SELECT 1", &[]).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_is_one_column_of_lines() {
    let server = Server::start().await;
    let (mut raw, _) = Raw::login(&server).await;
    let replies = raw.query("EXPLAIN SELECT 1").await;
    assert_eq!(tags(&replies), ["EXPLAIN"]);
    assert!(replies[0].body.windows(10).any(|name| name == b"QUERY PLAN"));
    let lines = firsts(&replies);
    assert!(lines.len() > 2 && lines.iter().all(|line| !line.contains('\n')), "{lines:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn notices_come_before_the_tag() {
    let server = Server::start().await;
    let (mut raw, _) = Raw::login(&server).await;
    let replies = raw.query("CHECKPOINT").await;
    assert_eq!(kinds(&replies), "NCZ");
    assert_eq!(replies[0].field(b'M').as_deref(), Some("it is done"));
    assert_eq!(replies[0].field(b'S').as_deref(), Some("NOTICE"));
}

#[tokio::test(flavor = "multi_thread")]
async fn copy_is_answered_in_both_protocols() {
    let server = Server::start().await;
    let (mut raw, _) = Raw::login(&server).await;
    let text = "COPY (SELECT value, 'a' || chr(9) || 'b', NULL FROM generate_series(1, 2)) TO STDOUT";
    let replies = raw.query(text).await;
    assert_eq!(kinds(&replies), "HddcCZ");
    assert_eq!(&replies[1].body[..], b"1\ta\\tb\t\\N\n");
    assert_eq!(tags(&replies), ["COPY 2"]);
    let text = "COPY (SELECT value FROM generate_series(1, 1)) TO STDOUT (FORMAT binary)";
    raw.send(&[parse("", text), describe(b'S', ""), bind("", "", &[]), execute("", 0), sync()].concat()).await;
    let replies = raw.until_ready().await;
    assert_eq!(kinds(&replies), "1tn2HddcCZ");
    let header = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0\0\x01\0\0\0\x08\0\0\0\0\0\0\0\x01";
    assert_eq!(&replies[5].body[..], header);
    assert_eq!(&replies[6].body[..], b"\xff\xff");
    // An error in the middle is an error, and the connection goes on.
    let replies = raw.query("COPY (SELECT 1 / (value - 2) FROM generate_series(1, 3)) TO STDOUT").await;
    assert_eq!(error(&replies), "22012");
    for (text, code) in [
        ("COPY (SELECT 1) TO STDOUT (FORMAT xml)", "22023"),
        ("COPY (SELECT 1) TO STDOUT (FORMAT binary, HEADER)", "0A000"),
        ("COPY (SELECT 1) TO '/tmp/x'", "42501"),
        ("COPY t FROM STDIN", "0A000"),
    ] {
        assert_eq!(error(&raw.query(text).await), code, "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_unnamed_statement_survives_sync_and_ends_with_a_query() {
    let server = Server::start().await;
    let (mut raw, _) = Raw::login(&server).await;
    raw.send(&[parse("", "SELECT 7"), sync(), describe(b'S', ""), sync()].concat()).await;
    assert_eq!(kinds(&raw.until_ready().await), "1Z");
    assert_eq!(kinds(&raw.until_ready().await), "tTZ");
    raw.send(&query("SELECT 1")).await;
    raw.until_ready().await;
    raw.send(&[describe(b'S', ""), sync()].concat()).await;
    assert_eq!(error(&raw.until_ready().await), "26000");
}

#[tokio::test(flavor = "multi_thread")]
async fn fetch_and_execute_give_as_many_rows_as_the_message_asks_for() {
    let server = Server::start().await;
    let (mut raw, _) = Raw::login(&server).await;
    raw.query("BEGIN").await;
    raw.query("DECLARE c CURSOR FOR SELECT value FROM generate_series(1, 9)").await;
    let two = || execute("p", 2);
    raw.send(&[parse("", "FETCH 5 FROM c"), bind("p", "", &[]), two(), two(), two(), two(), sync()].concat()).await;
    let replies = raw.until_ready().await;
    assert_eq!(kinds(&replies), "12DsDsDCCZ");
    assert_eq!(
        (firsts(&replies).join(" "), tags(&replies)),
        ("1 2 3 4 5".into(), vec!["FETCH 5".into(), "FETCH 0".into()])
    );
    raw.send(
        &[parse("", "FETCH ALL FROM c"), bind("p2", "", &[]), execute("p2", 1), execute("p2", 1), sync()].concat(),
    )
    .await;
    let replies = raw.until_ready().await;
    assert_eq!((kinds(&replies).as_str(), tags(&replies)), ("12DsDsZ", vec![]));

    raw.query("PREPARE s AS SELECT value FROM generate_series(1, 3)").await;
    raw.send(
        &[parse("", "EXECUTE s"), bind("q", "", &[]), execute("q", 2), execute("q", 2), execute("q", 2), sync()]
            .concat(),
    )
    .await;
    let replies = raw.until_ready().await;
    assert_eq!(kinds(&replies), "12DsDCCZ");
    assert_eq!(firsts(&replies).join(" "), "1 2 3");
    raw.query("COMMIT").await;
}
