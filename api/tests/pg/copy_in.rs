//! COPY FROM STDIN: three formats, both protocols, and what is told of input that is wrong.

use crate::drivers;
use crate::raw::{Raw, bind, describe, error, execute, firsts, kinds, message, parse, query, sync, tags};
use crate::server::Server;

/// `CopyData`
fn data(bytes: &[u8]) -> Vec<u8> {
    message(b'd', bytes)
}

/// `CopyDone`
fn done() -> Vec<u8> {
    message(b'c', &[])
}

/// Sends a statement and its input; gives the answer.
async fn copy(raw: &mut Raw, statement: &str, input: &[u8]) -> Vec<crate::raw::Reply> {
    raw.send(&query(statement)).await;
    raw.send(&[data(input), done()].concat()).await;
    raw.until_ready().await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_format_fills_the_table() {
    let server = Server::start().await;
    let (mut raw, _) = Raw::login(&server).await;
    let binary = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0\0\x02\0\0\0\x08\0\0\0\0\0\0\0\x07\0\0\0\x01x\xff\xff".to_vec();
    for (statement, input, rows) in [
        ("COPY copied (n, t) FROM STDIN", b"7\tx\n8\t\\N\n".to_vec(), &["7 x", "8 -"][..]),
        ("COPY copied (n, t) FROM STDIN (FORMAT csv, HEADER)", b"n,t\n7,\"a,\nb\"\n8,\n".to_vec(), &["7 a,\nb", "8 -"]),
        ("COPY copied (n, t) FROM STDIN WITH (FORMAT binary)", binary, &["7 x"]),
        (
            "COPY copied (n, t) FROM STDIN (FORMAT csv, FORCE_NULL (t))",
            b"7,\"\"\n8,\n9,x\n".to_vec(),
            &["7 -", "8 -", "9 x"],
        ),
        ("COPY copied (n, t) FROM STDIN (FORMAT csv, FORCE_NOT_NULL (t))", b"7,\"\"\n8,\n".to_vec(), &["7 ", "8 "]),
        (
            "COPY copied (n, t) FROM STDIN (FORMAT csv, FORCE_NOT_NULL (t), FORCE_NULL (t), NULL 'none')",
            b"7,\"none\"\n8,none\n".to_vec(),
            &["7 -", "8 none"],
        ),
        ("COPY copied (n, t) FROM STDIN CSV FORCE NOT NULL t", b"7,\n".to_vec(), &["7 "]),
        ("COPY copied (n, t) FROM STDIN;", b"".to_vec(), &[]),
    ] {
        let replies = copy(&mut raw, statement, &input).await;
        assert_eq!(
            (kinds(&replies).as_str(), tags(&replies)),
            ("GCZ", vec![format!("COPY {}", rows.len())]),
            "{statement}"
        );
        let shown = firsts(&raw.query("SELECT n || ' ' || coalesce(t, '-') FROM copied ORDER BY n").await);
        assert_eq!(shown, rows, "{statement}");
    }
    // The extended protocol, with input in pieces and a statement behind it in the same text.
    let piece = |bytes: &[u8]| data(bytes);
    raw.send(
        &[parse("", "COPY copied (n) FROM STDIN"), bind("", "", &[]), describe(b'P', ""), execute("", 0)].concat(),
    )
    .await;
    raw.send(&[piece(b"1"), piece(b"2\n1"), message(b'H', &[]), piece(b"3\n"), done(), sync()].concat()).await;
    let replies = raw.until_ready().await;
    assert_eq!((kinds(&replies).as_str(), tags(&replies)), ("12nGCZ", vec!["COPY 2".to_owned()]));
    let replies = copy(&mut raw, "COPY copied (n) FROM STDIN; SELECT sum(n) FROM copied", b"1\n2\n3").await;
    assert_eq!((kinds(&replies).as_str(), firsts(&replies)), ("GCTDCZ", vec!["6".to_owned()]));
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_input_is_named_by_its_line_and_leaves_the_table() {
    let server = Server::start().await;
    let (mut raw, _) = Raw::login(&server).await;
    copy(&mut raw, "COPY copied FROM STDIN", b"42\t\\N\t\\N\t\\N\t\\N\n").await;
    // Codes, messages and contexts of PostgreSQL.
    for (options, input, code, context) in [
        ("", "1\ta\n", "22P04", "COPY copied, line 1: \"1\ta\""),
        ("", "1\ta\t1\t\\N\tt\n2\tb\t1\t\\N\tt\tx\n", "22P04", "COPY copied, line 2: \"2\tb\t1\t\\N\tt\tx\""),
        ("", "1\ta\t1\t\\N\tt\none\tb\t1\t\\N\tt\n", "22P02", "COPY copied, line 2, column n: \"one\""),
        ("", "1\ta\tlong\t\\N\tt\n", "22P02", "COPY copied, line 1, column f: \"long\""),
        ("", "1\ta\t1\tnoon\tt\n", "22007", "COPY copied, line 1, column at: \"noon\""),
        (
            "",
            "99999999999999999999\ta\t1\t\\N\tt\n",
            "22003",
            "COPY copied, line 1, column n: \"99999999999999999999\"",
        ),
        ("", "\\N\ta\t1\t\\N\tt\n", "23502", "COPY copied, line 1: \"\\N\ta\t1\t\\N\tt\""),
        ("CSV", "1,\"a,1,,t\n", "22P04", "COPY copied, line 1"),
        ("(FORMAT binary)", "1\n", "22P04", "COPY copied, line 0"),
    ] {
        let replies = copy(&mut raw, &format!("COPY copied FROM STDIN {options}"), input.as_bytes()).await;
        let told = replies.iter().find(|reply| reply.kind == b'E').expect("it is wrong");
        assert_eq!(kinds(&replies), "GEZ", "{input:?}");
        assert_eq!((error(&replies).as_str(), told.field(b'W').as_deref()), (code, Some(context)), "{input:?}");
        // The rest of the input was passed over, and nothing of it is in the table.
        assert_eq!(firsts(&raw.query("SELECT n FROM copied").await), ["42"]);
    }
    raw.send(&query("COPY copied FROM STDIN")).await;
    raw.send(&[data(b"1\t"), message(b'f', b"no more\0")].concat()).await;
    let replies = raw.until_ready().await;
    assert_eq!(error(&replies), "57014");
    assert_eq!(replies[1].field(b'M').as_deref(), Some("COPY from stdin failed: no more"));
    // In the extended protocol everything up to Sync is passed over.
    let begin = [parse("", "COPY copied FROM STDIN"), bind("", "", &[]), execute("", 0)].concat();
    raw.send(&[begin, data(b"x\n"), data(b"y\n"), done(), sync()].concat()).await;
    assert_eq!(kinds(&raw.until_ready().await), "12GEZ");
    assert_eq!(firsts(&raw.query("SELECT n FROM copied").await), ["42"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_takes_no_rows_is_pointed_at() {
    let server = Server::start().await;
    let (mut raw, _) = Raw::login(&server).await;
    let replies = raw.query("SELECT 1;\n COPY other FROM STDIN").await;
    assert_eq!((kinds(&replies).as_str(), error(&replies).as_str()), ("TDCEZ", "0A000"));
    let told = replies.iter().find(|reply| reply.kind == b'E').unwrap();
    assert_eq!(told.field(b'P').as_deref(), Some("17"));
    for options in [
        "(FORMAT xml)",
        "(FORCE_QUOTE (n))",
        "(FORMAT binary, HEADER)",
        "(FORCE_NULL (t))",
        "(FORMAT csv, FORCE_NULL (nope))",
    ] {
        let replies = raw.query(&format!("COPY copied FROM STDIN {options}")).await;
        assert_eq!(kinds(&replies), "EZ", "{options}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_can_be_cancelled_and_runs_out_of_time() {
    let server = Server::start().await;
    let (mut raw, _) = Raw::login(&server).await;
    raw.query("SET statement_timeout = '200ms'").await;
    raw.send(&[query("COPY copied (n) FROM STDIN"), data(b"1\n")].concat()).await;
    let replies = raw.until_ready().await;
    assert_eq!((kinds(&replies).as_str(), error(&replies).as_str()), ("GEZ", "57014"));
    raw.send(&[data(b"2\n"), done()].concat()).await;
    assert_eq!(firsts(&raw.query("SELECT 7").await), ["7"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn drivers_copy_in() {
    let program = r#"
import datetime
with psycopg.connect(dsn, autocommit=True) as c:
    rows = [(n, None if n % 3 else f"t\t{n}\n", n / 4, datetime.datetime(2026, 1, 2, 3, 4, 5, n % 1000), n % 2 == 0)
            for n in range(20000)]
    for options in ("", "(FORMAT binary)"):
        with c.cursor().copy(f"COPY copied FROM STDIN {options}") as copy:
            copy.set_types(["int8", "text", "float8", "timestamp", "bool"])
            for row in rows:
                copy.write_row(row)
        assert c.execute("SELECT * FROM copied ORDER BY n").fetchall() == rows, options
    try:
        with c.cursor().copy("COPY copied (n) FROM STDIN") as copy:
            copy.write("1\nx\n")
        raise SystemExit("no error")
    except psycopg.errors.InvalidTextRepresentation as error:
        assert error.diag.context == 'COPY copied, line 2, column n: "x"', error.diag.context
"#;
    drivers::check_on(Server::start().await, "psycopg", program).await;
    let program = r#"
import io
c = psycopg2.connect(dsn)
k = c.cursor()
k.copy_expert("COPY copied (n, t) FROM STDIN CSV", io.StringIO('1,"a,b"\n2,\n'))
assert k.rowcount == 2
k.execute("SELECT n, t FROM copied ORDER BY n")
assert k.fetchall() == [(1, 'a,b'), (2, None)]
"#;
    drivers::check_on(Server::start().await, "psycopg2", program).await;
}
