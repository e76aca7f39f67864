//! Queries on hooks with parameters: through drivers, in text and binary.

use tokio_postgres::types::Type;

use crate::support::{Numbered, Python, Server, connected};

/// The number of the first event that [`Numbered`] makes.
const FIRST: i32 = 1_000_000_000;

/// How far ahead of the events a query asks: it is attached before they come.
const AHEAD: i32 = 3_000;

fn own_pid() -> i32 {
    std::process::id().cast_signed()
}

#[test]
fn kernel_parameters_of_a_query_on_a_hook_have_types_and_values() {
    let Some(server) = Server::with_probes("") else { return };
    let events = Numbered::start(2_000);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let (client, connection) = connected(&server).await.unwrap();
        let rows = client
            .prepare(
                "SELECT who AS number, $3 AS tag, $6::int + 1 AS next FROM tracepoint.sys_enter_getpriority \
                 WHERE pid = $1 AND who >= $2 AND which BETWEEN $4 AND 0 LIMIT $5",
            )
            .await
            .unwrap();
        let wanted = [Type::INT4, Type::INT4, Type::TEXT, Type::INT4, Type::INT8, Type::INT4];
        assert_eq!(rows.params(), wanted);
        let columns: Vec<_> = rows.columns().iter().map(|column| (column.name(), column.type_().clone())).collect();
        assert_eq!(columns, [("number", Type::INT4), ("tag", Type::TEXT), ("next", Type::INT8)]);
        for (tag, count) in [("it's one", 5), ("two", 3)] {
            let first = FIRST + i32::try_from(events.made()).unwrap() + AHEAD;
            let found =
                client.query(&rows, &[&own_pid(), &first, &tag, &0_i32, &i64::from(count), &41_i32]).await.unwrap();
            let found: Vec<(i32, &str, i64)> = found.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect();
            let expected: Vec<_> = (first..first + count).map(|number| (number, tag, 42)).collect();
            assert_eq!(found, expected, "the events from the one that was asked for on");
        }
        let counted = "SELECT count(*) FROM tracepoint.sys_enter_getpriority \
             WHERE pid = $1 AND time < now() + interval '300 ms'";
        let nothing: i64 = client.query_one(counted, &[&None::<i32>]).await.unwrap().get(0);
        let some: i64 = client.query_one(counted, &[&own_pid()]).await.unwrap().get(0);
        assert!(nothing == 0 && some > 0, "{nothing} of no process and {some} of this one");
        let explained = client.query("EXPLAIN SELECT comm FROM tp_btf.sched_switch WHERE pid = $1", &[&7_i32]);
        assert!(!explained.await.unwrap().is_empty());
        let refused = client.prepare("CREATE PROBE x AS SELECT comm FROM tp_btf.sched_switch WHERE pid = $1").await;
        let refused = match refused {
            Ok(statement) => client.query(&statement, &[]).await.unwrap_err(),
            Err(error) => error,
        };
        assert_eq!(refused.code().map(|code| code.code()), Some("0A000"), "{refused:?}");
        drop(client);
        connection.await.unwrap().unwrap();
    });
    let unbound = server.psql_error("SELECT comm FROM tp_btf.sched_switch WHERE pid = $1");
    assert!(unbound.contains("42P02"), "{unbound}");
}

#[test]
fn kernel_drivers_pass_parameters_to_a_query_on_a_hook() {
    let Some(python) = Python::find() else { return };
    let Some(server) = Server::with_probes("") else { return };
    let _events = Numbered::start(2_000);
    let program = r#"
import sys, asyncio
port, pid, password = sys.argv[1:4]
sql = ("SELECT who, {} FROM tracepoint.sys_enter_getpriority WHERE pid = {} AND who >= {} AND which = {} LIMIT {}")
def check(rows, tag):
    numbers = [row[0] for row in rows]
    assert len(numbers) == 4 and numbers == list(range(numbers[0], numbers[0] + 4)), numbers
    assert all(row[1] == tag for row in rows), rows
try:
    import psycopg
    dsn = f"host=127.0.0.1 port={port} user=admin password={password} dbname=probepilot"
    with psycopg.connect(dsn, autocommit=True) as connection:
        for form in ('%s', '%t', '%b'):
            values = ("it's", int(pid), 1000000000, 0, 4)
            check(connection.execute(sql.format(*[form] * 5), values).fetchall(), "it's")
except ModuleNotFoundError:
    print("without psycopg")
try:
    import asyncpg
    async def main():
        connection = await asyncpg.connect(host='127.0.0.1', port=int(port), user='admin', password=password, database='probepilot')
        text = sql.format('$1::text', '$2', '$3', '$4', '$5')
        check([tuple(row) for row in await connection.fetch(text, 'ü', int(pid), 1000000000, 0, 4)], 'ü')
        await connection.close()
    asyncio.run(main())
except ModuleNotFoundError:
    print("without asyncpg")
print("ok")
"#;
    let arguments = [server.address("postgres").port().to_string(), own_pid().to_string(), server.password("admin")];
    let printed = python.run(program, &arguments.each_ref().map(String::as_str));
    println!("{printed}");
    assert!(printed.ends_with("ok"));
}
