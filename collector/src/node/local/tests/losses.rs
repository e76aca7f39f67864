//! Rows that come out of the rings and cannot go on: each is counted.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema};
use probepilot_catalog::probe::ProbeSpec;
use probepilot_catalog::table::arrow_schema;

use super::*;

/// Its table wants a value in each row, and the probe has none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_do_not_fit_their_table_are_counted_as_detached_to_the_row() {
    let Some(test) = test_node(RING_BYTES_DEFAULT).await else {
        return;
    };
    let name = unique_name("misfit");
    let sql = format!(
        "CREATE PROBE calls AS SELECT comm, CASE WHEN uid < 0 THEN 1 END AS never \
         FROM tracepoint.sys_enter_getppid WHERE comm = '{name}'"
    );
    let probe = create_probe(&sql);
    let plan = test.node.plan(&probe).await.expect("it compiles");
    let fields = arrow_schema(&plan.columns);
    let strict = fields
        .fields()
        .iter()
        .map(|field| Field::clone(field).with_nullable(field.name() != "never" && field.is_nullable()));
    let spec = ProbeSpec {
        id: ProbeId(1),
        version: 1,
        name: "calls".into(),
        sql: sql.clone(),
        table: TABLE,
        schema: Arc::new(Schema::new(strict.collect::<Vec<_>>())),
        rows_per_second_max: UNLIMITED,
        cpu_percent_max: None,
    };
    test.node.start(spec).await.expect("it starts");
    let calls = 1_000;
    call_getppid(&name, calls);
    wait_for(|| test.report(1).health.rows_lost >= calls).await;
    let health = test.report(1).health;
    assert_eq!((health.events, health.rows, health.rows_lost), (calls, 0, calls));
    test.node.shutdown().await;
    let losses = test.log.rows(HEALTH.loss);
    let counts = losses.iter().flat_map(|rows| {
        rows.column_by_name("count").expect("a column").as_primitive::<Int64Type>().iter().collect::<Vec<_>>()
    });
    let last = texts(&losses, "cause").into_iter().zip(counts).last();
    assert_eq!(last, Some(("detached".to_owned(), Some(calls as i64))));
}
