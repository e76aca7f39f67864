//! Python's drivers: psycopg2, psycopg 3 and asyncpg, from an environment that has them.

use std::process::Command;

use probepilot_catalog::testing;

use crate::backend::PASSWORD;
use crate::server::Server;

/// Runs a program with `dsn` set, which prints `ok` at its end.
async fn check(module: &str, program: &str) {
    check_on(Server::start().await, module, program).await;
}

/// The same against a server of the test's own.
pub async fn check_on(server: Server, module: &str, program: &str) {
    let Some(python) = testing::python() else { return };
    let port = server.address.port();
    let mut command = Command::new(python);
    let dsn = format!("host=127.0.0.1 port={port} user=admin password='{PASSWORD}' dbname=probepilot");
    let begin = format!("import {module}\ndsn = \"{dsn}\"\nport = {port}\npassword = '{PASSWORD}'\n");
    command.arg("-c").arg(begin + program + "\nprint('ok')\n");
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().expect("the interpreter starts");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && output.stdout.ends_with(b"ok\n"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn psycopg2_reads_values_and_named_cursors() {
    let program = r#"
c = psycopg2.connect(dsn)
k = c.cursor()
k.execute("SELECT 1::bigint, 'x', NULL, 1.5::double, true, [1,2]::bigint[]")
assert k.fetchone() == (1, 'x', None, 1.5, True, [1, 2])
k.execute("SELECT %s + 1, %s", (41, "it's"))
assert k.fetchone() == (42, "it's")
n = c.cursor(name='named')
n.itersize = 20
n.execute("SELECT value FROM generate_series(1, 55)")
assert [r[0] for r in n] == list(range(1, 56))
n.close()
c.rollback()
try:
    k.execute("SELECT * FROM nowhere")
    raise SystemExit("no error")
except psycopg2.errors.UndefinedTable:
    c.rollback()
import io
out = io.StringIO()
k.copy_expert("COPY (SELECT 1, 'a') TO STDOUT CSV", out)
assert out.getvalue() == "1,a\n", out.getvalue()
c.close()
"#;
    check("psycopg2", program).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn psycopg3_reads_both_forms_and_server_cursors() {
    let program = r#"
with psycopg.connect(dsn, autocommit=True) as c:
    for binary in (False, True):
        k = c.cursor(binary=binary)
        k.execute("SELECT %s::bigint, %s::text, %s::double, %s::boolean, [1,NULL]::bigint[]", (5, 'ü', 2.5, True))
        assert k.fetchone() == (5, 'ü', 2.5, True, [1, None])
        k.execute("SELECT TIMESTAMP '2026-01-02 03:04:05.000006', INTERVAL '1 day 2 hours', 12.50::decimal(6,2)")
        import datetime, decimal
        row = k.fetchone()
        assert row[0] == datetime.datetime(2026, 1, 2, 3, 4, 5, 6), row
        assert row[1] == datetime.timedelta(days=1, hours=2), row
        assert row[2] == decimal.Decimal('12.50') and str(row[2]) == '12.50', row
    for i in range(8):
        assert c.execute("SELECT %s::bigint", (i,)).fetchone() == (i,)
    with c.transaction():
        with c.cursor(name='srv') as s:
            s.execute("SELECT value FROM generate_series(1, 250)")
            assert s.fetchmany(3) == [(1,), (2,), (3,)]
            assert len(s.fetchall()) == 247
    with c.cursor().copy("COPY (SELECT value FROM generate_series(1, 3)) TO STDOUT (FORMAT binary)") as copy:
        copy.set_types(['int8'])
        assert list(copy.rows()) == [(1,), (2,), (3,)]
    with c.pipeline():
        ks = [c.execute("SELECT %s::bigint", (i,)) for i in range(5)]
        assert [k.fetchone()[0] for k in ks] == list(range(5))
    try:
        c.execute("SELECT * FROM nowhere")
        raise SystemExit("no error")
    except psycopg.errors.UndefinedTable:
        pass
"#;
    check("psycopg", program).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn asyncpg_prepares_fetches_and_cancels() {
    let program = r#"
import asyncio
async def main():
    c = await asyncpg.connect(host='127.0.0.1', port=port, user='admin', password=password, database='probepilot')
    assert await c.fetchval("SELECT $1::bigint + 1", 41) == 42
    assert await c.fetchval("SELECT value FROM generate_series(1, 1000)") == 1
    rows = await c.fetch("SELECT value, 'v' || value FROM generate_series(1, 3)")
    assert [tuple(r) for r in rows] == [(1, 'v1'), (2, 'v2'), (3, 'v3')]
    async with c.transaction():
        got = [r['value'] async for r in c.cursor("SELECT value FROM generate_series(1, 35)", prefetch=10)]
    assert got == list(range(1, 36))
    try:
        await c.fetch("SELECT count(*) FROM generate_series(1, 100000000000)", timeout=0.3)
        raise SystemExit("no timeout")
    except asyncio.TimeoutError:
        pass
    assert await c.fetchval("SELECT 7::bigint") == 7
    await c.execute("CLOSE ALL;\nUNLISTEN *;\nRESET ALL;")
    await c.close()
asyncio.run(main())
"#;
    check("asyncpg", program).await;
}
