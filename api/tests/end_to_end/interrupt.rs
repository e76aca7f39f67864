//! Statements that would compute for hours: nobody else waits for them, and they end when they are told to.

use std::time::Duration;

use tokio_postgres::{NoTls, SimpleQueryMessage};

use crate::support::{Server, connect, wait_until};

/// What never ends by itself. None of it waits for anything.
const ENDLESS: [(&str, &str); 6] = [
    (
        "a join by comparing, of which little comes",
        "SELECT count(*) FROM generate_series(1, 3000000) a(x) JOIN generate_series(1, 3000000) b(y) ON a.x * 7 < b.y - 20999990",
    ),
    (
        "a join by comparing, of which much comes",
        "SELECT count(*) FROM generate_series(1, 3000000) a(x) JOIN generate_series(1, 3000000) b(y) ON a.x <= b.y",
    ),
    ("all pairs", "SELECT sum(x + y) FROM generate_series(1, 3000000) a(x), generate_series(1, 3000000) b(y)"),
    (
        "a join by a key that all rows share",
        "SELECT count(*) FROM (SELECT x, x % 1 AS k FROM generate_series(1, 300000) a(x)) a
         JOIN (SELECT y, y % 1 AS k FROM generate_series(1, 300000) b(y)) b ON a.k = b.k AND a.x + b.y < 0",
    ),
    ("a recursion", "WITH RECURSIVE r AS (SELECT 1::bigint AS n UNION ALL SELECT n + 1 FROM r) SELECT count(*) FROM r"),
    (
        "sorting all pairs",
        "SELECT x, y FROM generate_series(1, 3000000) a(x), generate_series(1, 3000000) b(y) ORDER BY x * y % 7919, y",
    ),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endless_statements_keep_nobody_waiting_and_end_when_they_are_cancelled() {
    let server = Server::without_probes();
    for (what, endless) in ENDLESS {
        let mut running = Vec::new();
        // More of them than there are processors.
        for _ in 0..std::thread::available_parallelism().unwrap().get() + 1 {
            let client = connect(&server).await;
            let token = client.cancel_token();
            running.push((token, tokio::spawn(async move { client.simple_query(endless).await })));
        }
        let other = connect(&server).await;
        let started = "SELECT count(*) FROM system.queries WHERE query NOT LIKE '%system.queries%'";
        let count = running.len().to_string();
        for attempt in 0.. {
            let answer = other.simple_query(started).await.unwrap();
            if answer
                .iter()
                .any(|message| matches!(message, SimpleQueryMessage::Row(row) if row.get(0) == Some(&count)))
            {
                break;
            }
            assert!(attempt < 1_000, "{what}: the statements never ran together");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        other.simple_query("SELECT 1").await.unwrap();
        for (token, statement) in running {
            assert!(!statement.is_finished(), "{what} is not endless");
            token.cancel_query(NoTls).await.unwrap();
            let ended = tokio::time::timeout(Duration::from_secs(20), statement).await;
            let error = ended.unwrap_or_else(|_| panic!("{what} went on when it was cancelled")).unwrap().unwrap_err();
            assert_eq!(error.code().map(|code| code.code()), Some("57014"), "{what}: {error:?}");
        }
        at_rest(&server, what);
    }
    // The timeout ends them too, and so does a client that is gone.
    for (what, endless) in &ENDLESS[..2] {
        let client = connect(&server).await;
        client.simple_query("SET statement_timeout = '200ms'").await.unwrap();
        let error = client.simple_query(endless).await.unwrap_err();
        assert_eq!(error.code().map(|code| code.code()), Some("57014"), "{what}: {error:?}");
        let mut psql = server.psql_command().args(["-c", endless]).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(500));
        psql.kill().unwrap();
        psql.wait().unwrap();
        at_rest(&server, what);
    }
}

#[test]
fn endless_statements_do_not_keep_the_server_from_stopping() {
    let server = Server::without_probes();
    let endless = |(_, statement): &(&str, &str)| server.psql_command().args(["-c", statement]).spawn().unwrap();
    let clients: Vec<_> = ENDLESS[..3].iter().map(endless).collect();
    std::thread::sleep(Duration::from_millis(700));
    let (status, printed, _) = server.terminate();
    assert!(status.success(), "{status}\n{printed}");
    for mut client in clients {
        assert!(!client.wait().unwrap().success());
    }
}

/// Waits until the server uses less than a tenth of one processor.
fn at_rest(server: &Server, after: &str) {
    wait_until(&format!("the server to rest after {after}"), || {
        let before = cpu_ticks(server.pid());
        std::thread::sleep(Duration::from_millis(500));
        // A tick is 10 ms.
        match cpu_ticks(server.pid()) - before {
            0..5 => Ok(()),
            ticks => Err(format!("{ticks} ticks in 500 ms")),
        }
    });
}

/// What a process has used, from its line in `/proc`.
fn cpu_ticks(pid: u32) -> u64 {
    let line = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the server runs");
    let fields: Vec<&str> = line.rsplit_once(')').expect("a name in parentheses").1.split_whitespace().collect();
    // utime and stime, numbers 14 and 15 of all, proc_pid_stat(5); the name is number 2.
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}
