//! Settings: who is told of a change, and what takes it back.

use crate::raw::{Raw, bind, error, execute, firsts, kinds, parse, query, startup, sync, tags};
use crate::server::Server;

/// What SHOW prints.
async fn shown(raw: &mut Raw, name: &str) -> String {
    firsts(&raw.query(&format!("SHOW {name}")).await).remove(0)
}

/// What the client was told of settings, as `name=value`.
fn told(replies: &[crate::raw::Reply]) -> Vec<String> {
    let status = replies.iter().filter(|reply| reply.kind == b'S');
    status.map(|reply| String::from_utf8_lossy(&reply.body).trim_end_matches('\0').replace('\0', "=")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_text_takes_its_settings_back() {
    let server = Server::start().await;
    let (mut raw, _) = Raw::login(&server).await;
    let replies = raw.query("SET search_path TO a; SELECT 1 / 0").await;
    assert_eq!(error(&replies), "22012");
    assert_eq!(shown(&mut raw, "search_path").await, "\"$user\", public");
    // What was committed in the middle of the text stays.
    raw.query("SET search_path TO a; COMMIT; SET search_path TO b; SELECT 1 / 0").await;
    assert_eq!(shown(&mut raw, "search_path").await, "a");
    // In the extended protocol the transaction ends with Sync.
    let run = |text: &str| [parse("", text), bind("", "", &[]), execute("", 0)].concat();
    raw.send(&[run("SET search_path TO c"), run("SELECT 1 / 0"), sync()].concat()).await;
    assert_eq!(error(&raw.until_ready().await), "22012");
    assert_eq!(shown(&mut raw, "search_path").await, "a");
    raw.send(&[run("SET search_path TO c"), sync(), run("SELECT 1 / 0"), sync()].concat()).await;
    raw.until_ready().await;
    raw.until_ready().await;
    assert_eq!(shown(&mut raw, "search_path").await, "c");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_savepoint_takes_settings_back() {
    let server = Server::start().await;
    let (mut raw, _) = Raw::login(&server).await;
    raw.query("BEGIN; SET search_path TO a; SAVEPOINT s; SET search_path TO b; SET LOCAL jit = on").await;
    raw.query("ROLLBACK TO s").await;
    assert_eq!(shown(&mut raw, "search_path").await, "a");
    assert_eq!(shown(&mut raw, "jit").await, "off");
    // An error is at once as if the savepoint had been gone back to.
    raw.query("SET timezone = 'Asia/Kolkata'; SAVEPOINT t; SET timezone = 'Europe/Berlin'").await;
    let replies = raw.query("SELECT 1 / 0").await;
    assert_eq!(told(&replies), ["TimeZone=Asia/Kolkata"]);
    raw.query("ROLLBACK TO t; COMMIT").await;
    assert_eq!(shown(&mut raw, "timezone").await, "Asia/Kolkata");
    assert_eq!(shown(&mut raw, "search_path").await, "a");
    let replies = raw.query("BEGIN; SET timezone = 'UTC'; ROLLBACK").await;
    assert_eq!(told(&replies), Vec::<String>::new(), "nothing has changed when the client may go on");
}

#[tokio::test(flavor = "multi_thread")]
async fn set_local_ends_with_the_transaction() {
    let server = Server::start().await;
    let (mut raw, _) = Raw::login(&server).await;
    let replies = raw.query("SET LOCAL search_path TO a").await;
    assert_eq!(kinds(&replies), "NCZ");
    assert_eq!(replies[0].field(b'C').as_deref(), Some("25P01"));
    assert_eq!(shown(&mut raw, "search_path").await, "\"$user\", public");
    let replies = raw.query("SET LOCAL search_path TO a; SHOW search_path").await;
    assert_eq!((kinds(&replies).as_str(), firsts(&replies)), ("CTDCZ", vec!["a".to_owned()]));
    assert_eq!(shown(&mut raw, "search_path").await, "\"$user\", public");
    // The value that was set before SET LOCAL is what stays, and SET after it wins.
    raw.query("BEGIN; SET search_path TO b; SET LOCAL search_path TO c; COMMIT").await;
    assert_eq!(shown(&mut raw, "search_path").await, "b");
    raw.query("BEGIN; SET LOCAL search_path TO c; SET search_path TO d; COMMIT").await;
    assert_eq!(shown(&mut raw, "search_path").await, "d");
    raw.query("BEGIN; SET LOCAL search_path TO e; COMMIT AND CHAIN").await;
    assert_eq!(shown(&mut raw, "search_path").await, "d");
    assert_eq!(tags(&raw.query("ROLLBACK").await), ["ROLLBACK"]);
    assert_eq!(error(&raw.query("SET LOCAL nothing = 1").await), "42704");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_told_of_what_changes() {
    let server = Server::start().await;
    let mut raw = Raw::open(&server).await;
    let options = "-c timezone=Asia/Kolkata --application-name=of\\ options -cjit=on";
    let pairs = [("user", "admin"), ("database", "probepilot"), ("options", options), ("search_path", "x")];
    raw.send(&startup(196_608, &pairs)).await;
    let start = told(&raw.until_ready().await);
    for expected in ["TimeZone=Asia/Kolkata", "application_name=of options", "scram_iterations=4096"] {
        assert!(start.iter().any(|told| told == expected), "{expected} is not in {start:?}");
    }
    assert_eq!((shown(&mut raw, "jit").await, shown(&mut raw, "search_path").await), ("on".into(), "x".into()));
    for (text, expected) in [
        ("SET application_name TO 'x y'", &["application_name=x y"][..]),
        ("SET default_transaction_read_only = 'on'", &["default_transaction_read_only=on"]),
        ("SET search_path TO y", &[]),
        ("SET timezone = 'Asia/Kolkata'", &[]),
        ("SET timezone TO 'UTC'; SET timezone TO 'Asia/Kolkata'", &[]),
        ("SET timezone TO DEFAULT; SET application_name = DEFAULT", &["application_name=of options"]),
        ("BEGIN; SET LOCAL timezone = 'UTC'", &["TimeZone=UTC"]),
        ("COMMIT", &["TimeZone=Asia/Kolkata"]),
        ("DISCARD ALL", &["default_transaction_read_only=off"]),
    ] {
        assert_eq!(told(&raw.query(text).await), expected, "{text}");
    }
    raw.send(&query("RESET ALL")).await;
    raw.until_ready().await;
    assert_eq!(shown(&mut raw, "jit").await, "on", "RESET goes back to the startup packet's value");
    for (options, code) in [("-c nothing=1", "42704"), ("-x", "42601"), ("-c jit", "42601")] {
        let mut raw = Raw::open(&server).await;
        raw.send(&startup(196_608, &[("user", "admin"), ("database", "probepilot"), ("options", options)])).await;
        assert_eq!(error(&raw.until_ready().await), code, "{options}");
    }
}
