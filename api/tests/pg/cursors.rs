//! Cursors: every motion, what is kept to go back, and what outlives a transaction.

use crate::raw::{Raw, bind, error, execute, firsts, kinds, parse, sync, tags};
use crate::server::Server;

/// A block with a cursor over the numbers from 1 to 5.
async fn with_cursor(server: &Server, scroll: &str) -> Raw {
    let (mut raw, _) = Raw::login(server).await;
    raw.query("BEGIN").await;
    let declare = format!("DECLARE c {scroll} CURSOR FOR SELECT value FROM generate_series(1, 5)");
    assert_eq!(tags(&raw.query(&declare).await), ["DECLARE CURSOR"]);
    raw
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scroll_cursor_goes_everywhere() {
    let server = Server::start().await;
    let mut raw = with_cursor(&server, "SCROLL").await;
    // A motion, and the rows that PostgreSQL 16 sends for it in this order.
    for (motion, expected) in [
        ("PRIOR", ""),
        ("0", ""),
        ("2", "1 2"),
        ("0", "2"),
        ("RELATIVE 0", "2"),
        ("PRIOR", "1"),
        ("PRIOR", ""),
        ("NEXT", "1"),
        ("ALL", "2 3 4 5"),
        ("NEXT", ""),
        ("RELATIVE 0", ""),
        ("PRIOR", "5"),
        ("BACKWARD 2", "4 3"),
        ("FORWARD -1", "2"),
        ("BACKWARD -2", "3 4"),
        ("BACKWARD ALL", "3 2 1"),
        ("LAST", "5"),
        ("FIRST", "1"),
        ("ABSOLUTE 4", "4"),
        ("ABSOLUTE -2", "4"),
        ("ABSOLUTE -5", "1"),
        ("ABSOLUTE -6", ""),
        ("NEXT", "1"),
        ("ABSOLUTE 9", ""),
        ("PRIOR", "5"),
        ("ABSOLUTE 0", ""),
        ("RELATIVE 3", "3"),
        ("RELATIVE -2", "1"),
        ("RELATIVE -1", ""),
        ("-3", ""),
        ("FORWARD 9", "1 2 3 4 5"),
        ("-9", "5 4 3 2 1"),
    ] {
        let replies = raw.query(&format!("FETCH {motion} FROM c")).await;
        assert_eq!(firsts(&replies).join(" "), expected, "{motion}");
        let count = expected.split_whitespace().count();
        assert_eq!(tags(&replies), [format!("FETCH {count}")], "{motion}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn move_goes_without_sending() {
    let server = Server::start().await;
    for scroll in ["SCROLL", "NO SCROLL", ""] {
        let mut raw = with_cursor(&server, scroll).await;
        for (motion, tag) in
            [("2", "MOVE 2"), ("0", "MOVE 1"), ("RELATIVE 2", "MOVE 1"), ("ALL", "MOVE 1"), ("0", "MOVE 0")]
        {
            let replies = raw.query(&format!("MOVE {motion} FROM c")).await;
            assert_eq!((kinds(&replies).as_str(), tags(&replies)), ("CZ", vec![tag.to_owned()]), "{scroll} {motion}");
        }
    }
    let mut raw = with_cursor(&server, "SCROLL").await;
    raw.query("MOVE LAST c").await;
    assert_eq!(tags(&raw.query("MOVE BACKWARD ALL c").await), ["MOVE 4"]);
    assert_eq!(firsts(&raw.query("FETCH c").await), ["1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_scroll_nothing_goes_back() {
    let server = Server::start().await;
    for scroll in ["NO SCROLL", ""] {
        for motion in ["PRIOR", "LAST", "0", "ABSOLUTE 2", "ABSOLUTE 0", "FIRST", "BACKWARD ALL", "-1", "RELATIVE -1"] {
            let mut raw = with_cursor(&server, scroll).await;
            assert_eq!(firsts(&raw.query("FETCH ABSOLUTE 2 c").await), ["2"]);
            let replies = raw.query(&format!("FETCH {motion} FROM c")).await;
            assert_eq!((kinds(&replies).as_str(), error(&replies).as_str()), ("EZ", "55000"), "{motion}");
            assert!(replies[0].field(b'H').unwrap().contains("SCROLL"));
        }
        let mut raw = with_cursor(&server, scroll).await;
        assert_eq!(tags(&raw.query("FETCH ABSOLUTE 0 c").await), ["FETCH 0"]);
        assert_eq!(firsts(&raw.query("FETCH FIRST c").await), ["1"]);
        assert_eq!(firsts(&raw.query("FETCH RELATIVE 2 c").await), ["3"]);
        assert_eq!(firsts(&raw.query("FETCH ABSOLUTE 9 c").await), Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_batches_are_read_both_ways_in_parts() {
    let server = Server::start().await;
    let (mut raw, _) = Raw::login(&server).await;
    raw.query("BEGIN").await;
    raw.query("DECLARE c SCROLL CURSOR FOR SELECT value FROM generate_series(1, 30000)").await;
    assert_eq!(tags(&raw.query("MOVE ALL c").await), ["MOVE 30000"]);
    let back = raw.query("FETCH BACKWARD ALL c").await;
    let expected: Vec<String> = (1..=30_000).rev().map(|n| n.to_string()).collect();
    assert!(firsts(&back) == expected, "30,000 rows backwards");
    assert_eq!(firsts(&raw.query("FETCH ABSOLUTE 20000 c").await), ["20000"]);
    let part = || execute("p", 2);
    let text = "FETCH BACKWARD 5 FROM c";
    raw.send(&[parse("", text), bind("p", "", &[]), part(), part(), part(), part(), sync()].concat()).await;
    let replies = raw.until_ready().await;
    assert_eq!(kinds(&replies), "12DsDsDCCZ");
    assert_eq!(firsts(&replies), ["19999", "19998", "19997", "19996", "19995"]);
    assert_eq!(firsts(&raw.query("FETCH 2 c").await), ["19996", "19997"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_into_memory_is_refused() {
    let server = Server::start().await;
    let (mut raw, _) = Raw::login(&server).await;
    raw.query("BEGIN").await;
    raw.query("DECLARE c SCROLL CURSOR FOR SELECT value FROM generate_series(1, 100000000)").await;
    assert_eq!(firsts(&raw.query("FETCH 2 c").await), ["1", "2"]);
    let replies = raw.query("MOVE ALL c").await;
    assert_eq!(error(&replies), "53400");
    raw.query("ROLLBACK; BEGIN").await;
    // The same rows are read by a cursor that keeps none.
    raw.query("DECLARE c NO SCROLL CURSOR FOR SELECT value FROM generate_series(1, 20000000)").await;
    assert_eq!(tags(&raw.query("MOVE ALL c").await), ["MOVE 20000000"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_cursor_stays_if_its_transaction_does() {
    let server = Server::start().await;
    let (mut raw, _) = Raw::login(&server).await;
    let declare =
        |name: &str| format!("DECLARE {name} SCROLL CURSOR WITH HOLD FOR SELECT value FROM generate_series(1, 3)");
    raw.query(&format!("BEGIN; {}; ROLLBACK", declare("a"))).await;
    assert_eq!(error(&raw.query("FETCH a").await), "34000");
    raw.query(&format!("{}; SELECT 1 / 0", declare("b"))).await;
    assert_eq!(error(&raw.query("FETCH b").await), "34000");
    raw.query(&format!("BEGIN; {}; FETCH c; COMMIT", declare("c"))).await;
    // Later transactions do not concern it, however they end.
    raw.query("BEGIN; SELECT 1; ROLLBACK").await;
    raw.query("SELECT 1 / 0").await;
    assert_eq!(firsts(&raw.query("FETCH ALL c").await), ["2", "3"]);
    assert_eq!(firsts(&raw.query("FETCH BACKWARD ALL c").await), ["3", "2", "1"]);
    assert_eq!(tags(&raw.query("CLOSE c").await), ["CLOSE CURSOR"]);
}
