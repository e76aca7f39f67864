//! Rows have the time of their events, also when the wall clock is set while records gather.

use arrow::datatypes::TimestampNanosecondType;

use super::*;
use crate::node::clock::unix_now_ns;

const HOUR_NS: i64 = 3_600_000_000_000;

/// Events of each part.
const EVENTS: usize = 100;

/// Sets the wall clock by so much, and back when it is dropped.
struct Shifted(i64);

impl Shifted {
    fn by(step_ns: i64) -> Shifted {
        set_clock(unix_now_ns() + step_ns);
        Shifted(step_ns)
    }
}

impl Drop for Shifted {
    fn drop(&mut self) {
        set_clock(unix_now_ns() - self.0);
    }
}

fn set_clock(unix_ns: i64) {
    let time = libc::timespec { tv_sec: unix_ns / 1_000_000_000, tv_nsec: unix_ns % 1_000_000_000 };
    // SAFETY: the time lives through the call.
    let result = unsafe { libc::clock_settime(libc::CLOCK_REALTIME, &raw const time) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

#[tokio::test]
#[ignore = "sets the wall clock an hour ahead for some milliseconds, which everything on this machine sees"]
async fn rows_from_before_and_after_a_step_have_the_times_of_their_events() {
    let Some(test) = test_node(RING_BYTES_DEFAULT).await else {
        return;
    };
    let name = unique_name("steps");
    let sql = format!("CREATE PROBE calls AS SELECT comm FROM tracepoint.sys_enter_getppid WHERE comm = '{name}'");
    let call = || call_getppid(&name, EVENTS as u64);
    test.start(1, 1, &sql, UNLIMITED).await.expect("it starts");
    let began = unix_now_ns();
    call();
    let shifted = Shifted::by(HOUR_NS);
    // The step ends the gathering of those before it.
    let rows = test.rows(EVENTS).await;
    call();
    drop(shifted);
    let before: usize = rows.iter().map(arrow::array::RecordBatch::num_rows).sum();
    test.rows(2 * EVENTS).await;
    call();
    let ended = unix_now_ns();
    let rows = test.rows(3 * EVENTS).await;
    let times: Vec<i64> = rows
        .iter()
        .flat_map(|rows| {
            rows.column_by_name("time").expect("a column").as_primitive::<TimestampNanosecondType>().values().to_vec()
        })
        .collect();
    assert_eq!((before, times.len()), (EVENTS, 3 * EVENTS));
    for (part, step_ns) in [0, HOUR_NS, 0].into_iter().enumerate() {
        let times = &times[part * EVENTS..][..EVENTS];
        let (least, greatest) = (times.iter().min().expect("events"), times.iter().max().expect("events"));
        assert!(began + step_ns <= *least && *greatest <= ended + step_ns, "part {part}: {least} to {greatest}");
    }
    test.node.shutdown().await;
}
