//! `timestamptz_in(text)`: a time with zone as it is written; without one it is on the clock of the session's zone.

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::ScalarUDF;
use probepilot_sql::{SqlError, SqlState};

use super::by_row::{ByRow, fail, text, wrong};
use super::written;
use super::zone::Zone;

/// The function's name, for calls that are made of literals.
pub(crate) const TIMESTAMPTZ_IN: &str = "timestamptz_in";

/// The function.
pub(crate) fn timestamptz_in() -> ScalarUDF {
    let moment = DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()));
    let function = ByRow::new(TIMESTAMPTZ_IN, 1, 1, moment, |statement, values| {
        let Some(written) = text(&values[0]) else { return wrong(TIMESTAMPTZ_IN, &values[0]) };
        let Some((local, zone)) = written::time(written) else {
            let message = format!("invalid input syntax for type timestamp with time zone: \"{written}\"");
            return fail(SqlError::new(SqlState("22007"), message));
        };
        let zone = match zone {
            Some(zone) => zone,
            None => Zone::named(&statement.session().settings.lock().known("TimeZone"))?,
        };
        match zone.unix_ns(local) {
            Some(time) => Ok(ScalarValue::TimestampNanosecond(Some(time), Some("UTC".into()))),
            None => fail(SqlError::new(SqlState("22008"), format!("timestamp out of range: \"{written}\""))),
        }
    });
    function.into_udf()
}
