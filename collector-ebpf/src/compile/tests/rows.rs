//! Records become rows: the decoder and the part after the kernel, on records made by hand.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int32Type, Int64Type, TimestampNanosecondType};

use super::{compile_on, fixture_kernel};
use crate::after::AfterCounts;
use crate::compile::CompiledProbe;
use crate::compile::layout::{Cell, MARKS_OFFSET, NSECS_OFFSET, NULLS_OFFSET};
use crate::decode::{ClockOffset, RecordError};

/// A record of `probe` as a program would write it: columns by name; what is not named is NULL.
pub fn record(probe: &CompiledProbe, nsecs: u64, numbers: &[(&str, i64)], texts: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = vec![0xee; usize::from(probe.layout.bytes)];
    let mut nulls = 0_u64;
    for (index, (column, cell)) in probe.split.record.iter().zip(&probe.layout.cells).enumerate() {
        let offset = usize::from(cell.offset());
        let number = numbers.iter().find(|(name, _)| *name == column.name).map(|(_, number)| *number);
        let text = texts.iter().find(|(name, _)| *name == column.name).map(|(_, text)| *text);
        match (cell, number, text) {
            (Cell::Integer { bytes: width, .. }, Some(number), _) => {
                let width = usize::from(*width);
                bytes[offset..offset + width].copy_from_slice(&number.to_le_bytes()[..width]);
            }
            (Cell::Boolean { .. }, Some(number), _) => bytes[offset] = number as u8,
            (Cell::Text { .. } | Cell::Bytes { .. }, _, Some(text)) => {
                bytes[offset..offset + text.len()].copy_from_slice(text);
                if let Some(end) = bytes.get_mut(offset + text.len()) {
                    *end = 0;
                }
            }
            (Cell::Time | Cell::Nsecs | Cell::Mark(_), ..) => {}
            _ => nulls |= 1 << index,
        }
    }
    bytes[MARKS_OFFSET as usize..][..4].fill(0);
    bytes[NSECS_OFFSET as usize..][..8].copy_from_slice(&nsecs.to_le_bytes());
    bytes[NULLS_OFFSET as usize..][..8].copy_from_slice(&nulls.to_le_bytes());
    bytes
}

/// A clock that is far from zero.
pub const CLOCK: ClockOffset = ClockOffset { unix_minus_monotonic_ns: 1_700_000_000_000_000_000 };

fn rows(probe: &CompiledProbe, records: &[Vec<u8>]) -> (RecordBatch, AfterCounts) {
    let mut decoder = probe.decoder();
    for record in records {
        decoder.push(record).unwrap();
    }
    assert_eq!(decoder.rows(), records.len());
    let batch = decoder.finish(&CLOCK).unwrap();
    assert_eq!(decoder.rows(), 0);
    assert_eq!(batch.schema(), probe.schema());
    (batch, decoder.counts())
}

#[test]
fn a_step_of_the_wall_clock_moves_the_rows_after_it_and_none_before() {
    const HOUR_NS: i64 = 3_600_000_000_000;
    let probe = compile_on(&fixture_kernel(), "SELECT nsecs FROM tracepoint.sys_enter_openat", true).unwrap();
    let mut decoder = probe.decoder();
    // The monotonic clock goes on; between batches the wall clock is set forward, then back; then the host sleeps for an hour,
    // in which only the wall clock goes.
    let steps = [0, HOUR_NS, -2 * HOUR_NS, HOUR_NS];
    let mut offset = CLOCK.unix_minus_monotonic_ns;
    for (batch, step) in steps.into_iter().enumerate() {
        offset += step;
        let monotonic = 1_000 + 1_000 * batch as i64;
        for nsecs in [monotonic, monotonic + 1] {
            decoder.push(&record(&probe, nsecs.cast_unsigned(), &[], &[])).unwrap();
        }
        let rows = decoder.finish(&ClockOffset { unix_minus_monotonic_ns: offset }).unwrap();
        let times = rows.column_by_name("time").unwrap().as_primitive::<TimestampNanosecondType>();
        assert_eq!(times.values()[..], [offset + monotonic, offset + monotonic + 1], "batch {batch}");
        let nsecs = rows.column_by_name("nsecs").unwrap().as_primitive::<Int64Type>();
        assert_eq!(nsecs.values()[..], [monotonic, monotonic + 1], "batch {batch}");
    }
}

#[test]
fn a_stored_row_has_time_node_and_columns_in_order() {
    let sql = "SELECT pid, comm, user_string(filename) AS path FROM tracepoint.sys_enter_openat";
    let probe = compile_on(&fixture_kernel(), sql, true).unwrap();
    let path = "user_string(filename)";
    let mut full = record(&probe, 5, &[("pid", 42), ("#start_boottime", 9)], &[("comm", b"bash"), (path, b"/etc/x")]);
    // A program sends only as much of the last string as there is.
    let offset = probe.layout.cells[probe.layout.last_string.unwrap()].offset();
    let short = full[..usize::from(offset) + 3].to_vec();
    let mut unread = record(&probe, 6, &[("pid", 43)], &[("comm", b"zsh")])[..usize::from(offset)].to_vec();
    full[MARKS_OFFSET as usize] = 0b01;
    unread[MARKS_OFFSET as usize] = 0b10;
    let (batch, counts) = rows(&probe, &[full, short, unread]);
    let names: Vec<_> = batch.schema().fields().iter().map(|field| field.name().clone()).collect();
    assert_eq!(names, ["time", "node", "upid", "pid", "comm", "path", "truncated", "probe_error"]);
    let times = batch.column(0).as_primitive::<TimestampNanosecondType>();
    assert_eq!(times.value(0), CLOCK.unix_minus_monotonic_ns + 5);
    assert_eq!(batch.column(1).as_string_view().value(2), "here");
    assert!(batch.column(2).is_valid(0) && batch.column(2).is_null(2));
    assert_eq!(batch.column(3).as_primitive::<Int32Type>().values(), &[42, 42, 43]);
    let paths = batch.column(5).as_string_view();
    assert_eq!((paths.value(0), paths.value(1), paths.is_null(2)), ("/etc/x", "/et", true));
    let cut: Vec<_> = batch.column(6).as_boolean().iter().collect();
    assert_eq!(cut, [Some(true), Some(false), Some(false)]);
    let errors: Vec<_> = batch.column(7).as_string_view().iter().collect();
    assert_eq!(errors, [None, None, Some("path: unreadable")]);
    assert_eq!(counts, AfterCounts::default());
}

#[test]
fn a_filter_after_the_kernel_drops_and_counts() {
    let sql = "SELECT pid FROM tracepoint.sched_process_exec WHERE comm ILIKE '%SH' AND length(comm) > 2";
    let probe = compile_on(&fixture_kernel(), sql, false).unwrap();
    let records =
        [&b"bash"[..], b"cat", b"sh"].map(|comm| record(&probe, 0, &[("pid", comm.len() as i64)], &[("comm", comm)]));
    let (batch, counts) = rows(&probe, &records);
    assert_eq!(batch.column(0).as_primitive::<Int32Type>().values(), &[4]);
    assert_eq!(counts, AfterCounts { filtered: 2, expression_error: 0 });
}

#[test]
fn what_fails_for_a_row_is_null_there_and_counted() {
    let sql = "SELECT CAST(comm AS bigint) AS number, upper(comm) AS upper_comm FROM tracepoint.sched_process_exec";
    let probe = compile_on(&fixture_kernel(), sql, false).unwrap();
    let records = [&b"17"[..], b"x", b"-3"].map(|comm| record(&probe, 0, &[], &[("comm", comm)]));
    let (batch, counts) = rows(&probe, &records);
    let numbers = batch.column(0).as_primitive::<Int64Type>();
    assert_eq!(numbers.iter().collect::<Vec<_>>(), [Some(17), None, Some(-3)]);
    assert_eq!(batch.column(1).as_string_view().value(1), "X");
    assert_eq!(counts, AfterCounts { filtered: 0, expression_error: 1 });
}

#[test]
fn scalar_expressions_that_only_datafusion_knows_work() {
    let kernel = fixture_kernel();
    for item in [
        "comm || '-' || pid",
        "comm ~ '^b'",
        "time + interval '1 hour'",
        "date_trunc('second', time)",
        "extract(hour from time)",
        "regexp_replace(comm, 'a', 'b')",
        "concat_ws(',', comm, exe(pid))",
        "nullif(pid, 0)",
        "pid::text",
        "pid::double precision / 3",
        "md5(comm)",
        "CASE WHEN pid > 1 THEN comm ELSE 'init' END",
        "comm IN ('a', upper(comm))",
        "pid >> 2",
        "greatest(pid, tid)",
        "signal_name(pid)",
        "pid IS DISTINCT FROM tid",
        "1",
        "NULL",
        "'x'",
    ] {
        let sql = format!("SELECT {item} AS value FROM tracepoint.sys_enter_openat");
        let probe = compile_on(&kernel, &sql, true).unwrap_or_else(|error| panic!("{sql}: {error}"));
        let (batch, counts) = rows(&probe, &[record(&probe, 0, &[("pid", 7), ("tid", 8)], &[("comm", b"bash")])]);
        assert_eq!(batch.num_rows(), 1, "{sql}");
        assert_eq!(counts.expression_error, 0, "{sql}");
    }
}

#[test]
fn addresses_keep_their_type() {
    let sql = "SELECT inet(daddr_v6) AS remote_address FROM tracepoint.tcp_retransmit_skb";
    let probe = compile_on(&fixture_kernel(), sql, false).unwrap();
    assert_eq!(probe.columns[0].sql_type, probepilot_sql::SqlType::Inet);
    let mut address = [0; 16];
    address[15] = 1;
    let (batch, _) = rows(&probe, &[record(&probe, 0, &[], &[("daddr_v6", &address)])]);
    assert_eq!(batch.column(0).as_string_view().value(0), "::1");
}

#[test]
fn a_record_that_is_too_short_is_refused() {
    let probe = compile_on(&fixture_kernel(), "SELECT pid FROM tracepoint.sys_enter_openat", false).unwrap();
    let mut decoder = probe.decoder();
    assert_eq!(decoder.push(&[0; 8]), Err(RecordError::Short { bytes: 8, least: 32 }));
    assert_eq!(decoder.rows(), 0);
    assert_eq!(decoder.finish(&CLOCK).unwrap().num_rows(), 0);
}
