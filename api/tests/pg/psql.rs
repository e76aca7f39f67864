//! The real psql, over the Unix socket.

use std::process::Command;

use crate::server::Server;

/// What psql prints for the commands, both streams together; nothing when psql is not installed.
async fn psql(server: &Server, commands: &[&str], options: &[&str]) -> Option<String> {
    let mut command = Command::new("psql");
    command.arg("-h").arg(server.directory.path()).arg("-p").arg(server.address.port().to_string());
    command.args(["-U", "admin", "-d", "probepilot", "-X", "-v", "VERBOSITY=verbose"]).args(options);
    for text in commands {
        command.args(["-c", text]);
    }
    command.env_clear().env("PATH", std::env::var("PATH").unwrap()).env("PGCONNECT_TIMEOUT", "10");
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap();
    match output {
        Ok(output) => {
            let text = [output.stdout, output.stderr].concat();
            Some(String::from_utf8(text).unwrap())
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            println!("skipped: needs psql");
            None
        }
        Err(error) => panic!("psql: {error}"),
    }
}

async fn check(commands: &[&str], options: &[&str], expected: &str) {
    let server = Server::start().await;
    if let Some(printed) = psql(&server, commands, options).await {
        assert_eq!(printed, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_are_printed() {
    let expected = " n |  t   \n---+------\n 1 | x\n   | \n(2 rows)\n\n";
    check(
        &["SELECT * FROM (VALUES (1, 'x'), (NULL, NULL)) v(n, t)"],
        &[],
        &expected.replace("|  t   ", "| t ").replace("+------", "+---"),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_point_at_the_place() {
    let expected = "ERROR:  42601: syntax error at or near \"FORM\"\nLINE 1: SELECT 1 x FORM t\n                   ^\n";
    let server = Server::start().await;
    if let Some(printed) = psql(&server, &["SELECT 1 x FORM t"], &[]).await {
        assert!(printed.starts_with(expected), "{printed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fetch_count_reads_through_a_cursor() {
    let commands = ["\\set FETCH_COUNT 3", "SELECT value FROM generate_series(1, 8)"];
    check(&commands, &["-At"], "1\n2\n3\n4\n5\n6\n7\n8\n").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn copy_writes_every_format() {
    let rows = "SELECT value AS n, CASE value WHEN 1 THEN 'a,\"b' WHEN 2 THEN '' END AS t FROM generate_series(1, 3)";
    let csv = format!("COPY ({rows}) TO STDOUT WITH (FORMAT csv, HEADER)");
    check(&[&csv], &[], "n,t\n1,\"a,\"\"b\"\n2,\"\"\n3,\n").await;
    let text = format!("COPY ({rows}) TO STDOUT (DELIMITER ';', NULL '-', HEADER)");
    check(&[&text], &[], "n;t\n1;a,\"b\n2;\n3;-\n").await;
    let old = format!("COPY ({rows}) TO STDOUT CSV HEADER QUOTE ''''");
    check(&[&old], &[], "n,t\n1,'a,\"b'\n2,''\n3,\n").await;
    check(&["\\copy (SELECT 'x' AS a) to stdout csv header"], &[], "a\nx\n").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_statements_and_their_tags() {
    check(&["BEGIN; SELECT 1 AS n; COMMIT"], &["-At"], "BEGIN\n1\nCOMMIT\n").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_commands_with_variables_works() {
    let server = Server::start().await;
    if let Some(printed) = psql(&server, &["SELECT 41 + 1 AS answer \\gset", "\\echo :answer"], &["-At"]).await {
        assert!(printed.contains("42"), "{printed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_account_is_told_of_the_first_one() {
    let server = Server::start().await;
    if let Some(printed) = psql(&server, &["SELECT 1"], &["-U", "root"]).await {
        assert!(printed.contains("FATAL:  role \"root\" does not exist"), "{printed}");
        assert!(printed.contains("HINT:  The first account is \"admin\": connect with -U admin."), "{printed}");
    }
}
