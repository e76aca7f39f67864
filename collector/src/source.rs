//! Rows made from a seed, the same every time: what was stored can be compared with what was sent.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringViewArray, TimestampNanosecondArray};
use probepilot_catalog::table::{Column, TableDefinition, TableKind, TableName, arrow_schema};
use probepilot_sql::SqlType;

/// A source of rows numbered from 0.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    /// What texts and values are made from.
    pub seed: u64,
    /// `time` of row 0, Unix nanoseconds.
    pub start_unix_ns: i64,
    /// From one row to the next, nanoseconds.
    pub step_ns: i64,
}

impl Source {
    /// One row a millisecond from the beginning of 2026 on.
    pub fn new(seed: u64) -> Source {
        Source { seed, start_unix_ns: 1_767_225_600_000_000_000, step_ns: 1_000_000 }
    }

    /// The table its rows fit.
    pub fn table(name: &str) -> TableDefinition {
        TableDefinition {
            name: TableName::public(name),
            kind: TableKind::Events,
            columns: Source::columns(),
            comment: Some("Rows of the deterministic source.".into()),
        }
    }

    fn columns() -> Vec<Column> {
        vec![
            Column::new("time", SqlType::Timestamptz, false, "when the row happened"),
            Column::new("n", SqlType::BigInt, false, "the row's number"),
            Column::new("text", SqlType::Text, false, "one of 1,000 texts"),
            Column::new("value", SqlType::DoublePrecision, true, "a number; NULL in one row of seven"),
        ]
    }

    /// `time` of a row: mostly rising, as rows of several rings are.
    pub fn time(self, n: u64) -> i64 {
        let late = (self.random(n) % 3) as i64;
        self.start_unix_ns + (n as i64 - late) * self.step_ns
    }

    /// `text` of a row.
    pub fn text(self, n: u64) -> String {
        format!("/var/lib/something/{}", self.random(n) % 1_000)
    }

    /// `value` of a row.
    pub fn value(self, n: u64) -> Option<f64> {
        (!n.is_multiple_of(7)).then(|| (self.random(n) % 10_000) as f64 / 8.0)
    }

    /// The rows `from..from + count`.
    pub fn rows(self, from: u64, count: u64) -> RecordBatch {
        let numbers = from..from + count;
        let times = TimestampNanosecondArray::from_iter_values(numbers.clone().map(|n| self.time(n)));
        let columns: Vec<ArrayRef> = vec![
            Arc::new(times.with_timezone("UTC")),
            Arc::new(Int64Array::from_iter_values(numbers.clone().map(|n| n as i64))),
            Arc::new(StringViewArray::from_iter_values(numbers.clone().map(|n| self.text(n)))),
            Arc::new(Float64Array::from_iter(numbers.map(|n| self.value(n)))),
        ];
        RecordBatch::try_new(arrow_schema(&Source::columns()), columns).expect("the columns are those of the table")
    }

    /// Mixes seed and number: Steele, Lea and Flood's splitmix64.
    fn random(self, n: u64) -> u64 {
        let mut mixed = self.seed.wrapping_add(n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
