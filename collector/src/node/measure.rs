//! `EXPLAIN ANALYZE`: what a query costs and how much it would write, without writing anything.
//!
//! The program is the one that counts its records instead of sending them, so there is no row in any ring, queue or
//! table. What sending costs is measured apart and added. State that is needed to know how many rows there are (starts of
//! pairs that wait, groups of a window) is in maps of its own, with their usual bounds, and goes with the program.

use std::fmt;
use std::time::Instant;

use arrow::array::Array;
use probepilot_collector_ebpf::compile::CompiledProbe;
use probepilot_collector_ebpf::compile::aggregate::plan::Bucket;
use probepilot_collector_ebpf::decode::ClockOffset;
use probepilot_collector_ebpf::load::{Counters, LoadError, LoadOptions, LoadedProbe, Rings, Runs, ring_ns};
use probepilot_collector_ebpf::windows::Window;
use probepilot_sql::{SqlError, SqlState};

use crate::node::clock::unix_now_ns;

/// Bytes of the rings that a loader wants, though nothing is sent: the least there are.
const RING_BYTES: usize = 1;

const SECONDS_A_DAY: f64 = 86_400.0;

/// What a query did while it was attached.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    /// Events that its filter in the kernel let through.
    pub events: u64,
    /// Rows it would have written; of windows, those of one that is as long as the measurement.
    pub rows: u64,
    /// A filter after the kernel was not asked: there may be fewer rows.
    pub rows_at_most: bool,
    /// Bytes of these rows before compression: of records as they are in a ring, of windows as they are in memory.
    pub row_bytes: u64,
    /// Mean time of a run of its programs, with what sending records costs.
    pub ns_per_event: f64,
    /// Share of one core, percent.
    pub cpu_percent: f64,
    /// How long it was attached.
    pub seconds: f64,
    /// Its windows.
    bucket: Option<Bucket>,
}

/// Loads a program that [only counts](probepilot_collector_ebpf::compile::compile_counting), attaches it while `attached`
/// runs, and says what it did. Blocks.
///
/// # Errors
/// The kernel's refusal.
pub fn measure(counting: &CompiledProbe, attached: impl FnOnce()) -> Result<Measured, SqlError> {
    let failed = |source| {
        LoadError::Refused { what: "say what a program that was measured has counted".to_owned(), source }.to_sql()
    };
    let rings = Rings::new(RING_BYTES)
        .map_err(|error| SqlError::new(SqlState::INSUFFICIENT_RESOURCES, error.to_string()).caused_by(error))?;
    let common = rings.common();
    let options = LoadOptions { probe_id: 0, rows_per_second_max: u32::MAX };
    let mut program = LoadedProbe::load(&counting.object, &common, options).map_err(|error| error.to_sql())?;
    let (began_unix_ns, began) = (unix_now_ns(), Instant::now());
    let runs = {
        let _measuring = common.measure_runs();
        program.attach().map_err(|error| error.to_sql())?;
        attached();
        program.runs()
    };
    program.detach();
    let seconds = began.elapsed().as_secs_f64();
    let counters = program.counters().map_err(failed)?;
    let (rows, row_bytes) = match (counting.window_decoder(), program.windows()) {
        (Some(mut decoder), Some(mut reader)) => {
            reader.take_open(|key, states| decoder.push(key, states)).map_err(failed)?;
            let width_ns = unix_now_ns() - began_unix_ns;
            let window = Window { start_unix_ns: began_unix_ns, width_ns, complete: false, keep: 0 };
            let made = decoder.finish(window, &ClockOffset::now());
            let rows = made.map_err(|error| SqlError::internal("the rows of a window could not be made", error))?.rows;
            let bytes = rows.columns().iter().map(|column| column.to_data().get_slice_memory_size().unwrap_or(0));
            (rows.num_rows() as u64, bytes.sum::<usize>() as u64)
        }
        _ => (counters.rows, counters.row_bytes),
    };
    let Cost { ns_per_event, cpu_percent } = cost(&runs, &counters, seconds);
    let bucket = counting.window_decoder().and_then(|decoder| decoder.bucket());
    let (events, rows_at_most) = (counters.events, counting.filters_after_kernel());
    Ok(Measured { events, rows, rows_at_most, row_bytes, ns_per_event, cpu_percent, seconds, bucket })
}

struct Cost {
    ns_per_event: f64,
    cpu_percent: f64,
}

fn cost(runs: &Runs, counters: &Counters, seconds: f64) -> Cost {
    let mean_bytes = counters.row_bytes.checked_div(counters.rows).unwrap_or(0);
    let send_ns = ring_ns(u32::try_from(mean_bytes).unwrap_or(u32::MAX)).unwrap_or_else(|error| {
        tracing::debug!(%error, "what sending a record costs is not known, and left out");
        0.0
    });
    let run_ns = runs.time_ns as f64 + counters.rows as f64 * send_ns;
    Cost { ns_per_event: run_ns / runs.count.max(1) as f64, cpu_percent: run_ns / (seconds * 1e9) * 100.0 }
}

impl Measured {
    /// Bytes in a day, if all of it is as while it was measured.
    pub fn bytes_a_day(&self) -> f64 {
        let bytes_a_row = self.row_bytes as f64 / self.rows.max(1) as f64;
        let rows_a_day = match self.bucket {
            None => self.rows as f64 / self.seconds * SECONDS_A_DAY,
            Some(bucket) => {
                let width_seconds = bucket.width_ns.max(1) as f64 / 1e9;
                // A window that is shorter than the measurement has a group for each of its events at most.
                let events_a_window = (self.events as f64 / self.seconds * width_seconds).max(1.0);
                let rows = self.rows as f64;
                let rows = if width_seconds < self.seconds { rows.min(events_a_window) } else { rows };
                rows * SECONDS_A_DAY / width_seconds
            }
        };
        rows_a_day * bytes_a_row
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Measured { events, rows, rows_at_most, ns_per_event, cpu_percent, .. } = self;
        let at_most = if *rows_at_most { "at most " } else { "" };
        write!(
            f,
            "Measured for one second: {events} events, {at_most}{rows} rows, {ns_per_event:.0} ns an event, \
             {cpu_percent:.2} % of a core, {at_most}{:.1} MB a day before compression; no row was written",
            self.bytes_a_day() / 1e6
        )
    }
}

#[cfg(test)]
mod tests;
