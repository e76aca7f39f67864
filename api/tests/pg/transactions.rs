//! Blocks, cursors, prepared statements, settings.

use crate::raw::{self, Raw, Reply, error, firsts, kinds, tags};
use crate::server::Server;

fn status(replies: &[Reply]) -> char {
    char::from(replies.last().unwrap().body[0])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_block_ends_with_rollback() {
    let server = Server::start().await;
    let (mut raw, _) = Raw::login(&server).await;
    assert_eq!(status(&raw.query("BEGIN READ ONLY").await), 'T');
    assert_eq!(status(&raw.query("SELECT * FROM nowhere").await), 'E');
    let replies = raw.query("SELECT 1").await;
    assert_eq!((error(&replies).as_str(), status(&replies)), ("25P02", 'E'));
    let replies = raw.query("COMMIT").await;
    assert_eq!((tags(&replies), status(&replies)), (vec!["ROLLBACK".to_owned()], 'I'));
    raw.query("BEGIN; SELECT * FROM nowhere").await;
    assert_eq!(status(&raw.query("ABORT").await), 'I');
}

#[tokio::test(flavor = "multi_thread")]
async fn savepoints_bring_a_failed_block_back() {
    let server = Server::start().await;
    let (mut raw, _) = Raw::login(&server).await;
    assert_eq!(error(&raw.query("SAVEPOINT a").await), "25P01");
    let replies = raw.query("START TRANSACTION; SAVEPOINT a; SELECT * FROM nowhere").await;
    assert_eq!((tags(&replies), status(&replies)), (vec!["START TRANSACTION".into(), "SAVEPOINT".into()], 'E'));
    assert_eq!(error(&raw.query("ROLLBACK TO b").await), "3B001");
    assert_eq!(status(&raw.query("ROLLBACK TO SAVEPOINT a").await), 'T');
    assert_eq!(tags(&raw.query("RELEASE a").await), ["RELEASE"]);
    assert_eq!(status(&raw.query("END").await), 'I');
}

#[tokio::test(flavor = "multi_thread")]
async fn blocks_out_of_place_are_warned_of() {
    let server = Server::start().await;
    let (mut raw, _) = Raw::login(&server).await;
    let warning = |replies: &[Reply]| {
        let notice = replies.iter().find(|reply| reply.kind == b'N').unwrap();
        (notice.field(b'S').unwrap(), notice.field(b'C').unwrap())
    };
    assert_eq!(warning(&raw.query("COMMIT").await), ("WARNING".into(), "25P01".into()));
    assert_eq!(warning(&raw.query("BEGIN; BEGIN").await), ("WARNING".into(), "25001".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_refused_in_a_block() {
    let server = Server::start().await;
    let (mut raw, _) = Raw::login(&server).await;
    let create = "CREATE PROBE p AS SELECT time FROM tracepoint.sched_process_exec";
    assert_eq!(tags(&raw.query(create).await), ["CREATE PROBE"]);
    raw.query("BEGIN").await;
    assert_eq!(error(&raw.query(create).await), "25001");
}

#[tokio::test(flavor = "multi_thread")]
async fn cursors_are_read_forward() {
    let server = Server::start().await;
    let (mut raw, _) = Raw::login(&server).await;
    let declare = "DECLARE c NO SCROLL CURSOR FOR SELECT * FROM generate_series(1, 10)";
    assert_eq!(error(&raw.query(declare).await), "25P01");
    raw.query("BEGIN").await;
    assert_eq!(tags(&raw.query(declare).await), ["DECLARE CURSOR"]);
    let replies = raw.query("FETCH FORWARD 2 FROM c").await;
    assert_eq!((kinds(&replies).as_str(), firsts(&replies)), ("TDCZ", vec!["1".to_owned(), "2".to_owned()]));
    assert_eq!(tags(&replies), ["FETCH 2"]);
    assert_eq!(firsts(&raw.query("FETCH NEXT FROM c").await), ["3"]);
    assert_eq!(firsts(&raw.query("FETCH ABSOLUTE 6 FROM c").await), ["6"]);
    assert_eq!(firsts(&raw.query("FETCH 2 IN c").await), ["7", "8"]);
    assert_eq!(firsts(&raw.query("FETCH ALL FROM c").await), ["9", "10"]);
    let replies = raw.query("FETCH 5 FROM c").await;
    assert_eq!((kinds(&replies).as_str(), tags(&replies)), ("TCZ", vec!["FETCH 0".to_owned()]));
    assert_eq!(tags(&raw.query("CLOSE c").await), ["CLOSE CURSOR"]);
    assert_eq!(error(&raw.query("FETCH 1 FROM c").await), "34000");
    raw.query("ROLLBACK").await;
    raw.query(&format!("BEGIN; {declare}")).await;
    assert_eq!(error(&raw.query("FETCH PRIOR FROM c").await), "55000");
}

#[tokio::test(flavor = "multi_thread")]
async fn cursors_end_with_their_transaction_unless_held() {
    let server = Server::start().await;
    let (mut raw, _) = Raw::login(&server).await;
    let query = "CURSOR FOR SELECT * FROM generate_series(1, 3)";
    raw.query(&format!("BEGIN; DECLARE a {query}; COMMIT")).await;
    assert_eq!(error(&raw.query("FETCH 1 FROM a").await), "34000");
    let declare = "DECLARE b CURSOR WITH HOLD FOR SELECT * FROM generate_series(1, 3)";
    assert_eq!(tags(&raw.query(declare).await), ["DECLARE CURSOR"]);
    assert_eq!(error(&raw.query(declare).await), "42P03");
    assert_eq!(firsts(&raw.query("FETCH 2 FROM b").await), ["1", "2"]);
    assert_eq!(firsts(&raw.query("FETCH 2 FROM b").await), ["3"]);
    assert_eq!(tags(&raw.query("CLOSE ALL").await), ["CLOSE CURSOR ALL"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_are_prepared_executed_and_forgotten() {
    let server = Server::start().await;
    let (mut raw, _) = Raw::login(&server).await;
    assert_eq!(tags(&raw.query("PREPARE p (bigint) AS SELECT $1 + 1").await), ["PREPARE"]);
    let replies = raw.query("EXECUTE p (40 + 1)").await;
    assert_eq!((firsts(&replies), tags(&replies)), (vec!["42".to_owned()], vec!["SELECT 1".to_owned()]));
    assert_eq!(error(&raw.query("EXECUTE p").await), "42601");
    assert_eq!(error(&raw.query("PREPARE p AS SELECT 1").await), "42P05");
    assert_eq!(tags(&raw.query("DEALLOCATE p").await), ["DEALLOCATE"]);
    assert_eq!(error(&raw.query("EXECUTE p (1)").await), "26000");
    assert_eq!(tags(&raw.query("DEALLOCATE ALL").await), ["DEALLOCATE ALL"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_cannot_name_each_other_in_a_circle() {
    let server = Server::start().await;
    let (mut raw, _) = Raw::login(&server).await;
    raw.query("BEGIN; PREPARE f AS SELECT 1").await;
    let bind = [raw::parse("s", "EXECUTE f"), raw::bind("x", "s", &[]), raw::sync()].concat();
    raw.send(&bind).await;
    assert_eq!(kinds(&raw.until_ready().await), "12Z");
    assert_eq!(error(&raw.query("DEALLOCATE f; PREPARE f AS FETCH 1 FROM x").await), "0A000");
    raw.query("ROLLBACK; BEGIN").await;
    raw.send(&[raw::parse("", "SHOW timezone"), raw::bind("y", "", &[]), raw::sync()].concat()).await;
    raw.until_ready().await;
    assert_eq!(error(&raw.query("FETCH 1 FROM y").await), "0A000");
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_are_shown_changed_and_taken_back() {
    let server = Server::start().await;
    let (mut raw, _) = Raw::login(&server).await;
    let replies = raw.query("SET TIME ZONE 'Asia/Kolkata'").await;
    assert_eq!(kinds(&replies), "CSZ", "a change of TimeZone is reported");
    let at = "SELECT arrow_cast(0, 'Timestamp(Second, Some(\"UTC\"))')";
    assert_eq!(firsts(&raw.query(at).await), ["1970-01-01 05:30:00+05:30"]);
    let replies = raw.query("SHOW TIME ZONE").await;
    assert_eq!((firsts(&replies), tags(&replies)), (vec!["Asia/Kolkata".to_owned()], vec!["SHOW".to_owned()]));
    raw.query("BEGIN; SET timezone = 'UTC'; SET LOCAL search_path TO a, b").await;
    assert_eq!(firsts(&raw.query("SHOW search_path").await), ["a, b"]);
    raw.query("ROLLBACK").await;
    assert_eq!(firsts(&raw.query("SHOW timezone").await), ["Asia/Kolkata"]);
    raw.query("BEGIN; SET timezone = 'Europe/Berlin'; SET LOCAL search_path TO c; COMMIT").await;
    assert_eq!(firsts(&raw.query("SHOW timezone").await), ["Europe/Berlin"]);
    assert_eq!(firsts(&raw.query("SHOW search_path").await), ["\"$user\", public"]);
    assert_eq!(error(&raw.query("SHOW nothing").await), "42704");
    assert_eq!(error(&raw.query("SET nothing = 1").await), "42704");
    assert_eq!(tags(&raw.query("RESET timezone").await), ["RESET"]);
    assert_eq!(firsts(&raw.query("SHOW timezone").await), ["UTC"]);
    assert!(firsts(&raw.query("SHOW ALL").await).contains(&"search_path".to_owned()));
    assert_eq!(tags(&raw.query("DISCARD ALL").await), ["DISCARD ALL"]);
    // What asyncpg's pool sends after each use.
    let reset = "CLOSE ALL;\nUNLISTEN *;\nRESET ALL;";
    assert_eq!(tags(&raw.query(reset).await), ["CLOSE CURSOR ALL", "UNLISTEN", "RESET"]);
}
