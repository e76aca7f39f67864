//! A query sees every event that happened before it began, although records gather for longer than a query takes.

use crate::support::{FIRST, Server, connect, make};

/// Queries, each right behind an event.
const QUERIES: u64 = 300;

#[tokio::test]
async fn kernel_a_query_sees_every_event_that_happened_before_it() {
    let Some(server) = Server::with_probes("") else { return };
    let pid = std::process::id();
    server.psql(&format!(
        "CREATE PROBE fresh AS SELECT who AS number FROM tracepoint.sys_enter_getpriority WHERE which = 0 AND pid = {pid}"
    ));
    let client = connect(&server).await;
    let counting = client.prepare("SELECT count(*), max(number)::bigint FROM fresh").await.unwrap();
    let nothing = client.prepare("SELECT 1").await.unwrap();

    let (mut seen, mut last) = (Vec::new(), Vec::new());
    for event in 0..QUERIES {
        make(FIRST + event);
        let row = client.query_one(&counting, &[]).await.unwrap();
        seen.push(row.get::<_, i64>(0) as u64);
        last.push(row.get::<_, i64>(1) as u64);
        // Others come and go meanwhile.
        client.query_one(&nothing, &[]).await.unwrap();
    }
    assert_eq!(seen, (1..=QUERIES).collect::<Vec<_>>());
    assert_eq!(last, (FIRST..FIRST + QUERIES).collect::<Vec<_>>());
}
