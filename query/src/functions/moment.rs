//! Texts that are times: `timestamptz_in(text)`, on the clock of the session's zone where none is written, and `timestamp_in`.

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::{DataFusionError, Result, ScalarValue};
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
        let (local, zone) = read(written, "timestamp with time zone")?;
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

/// `timestamp_in(text)`: a time of a wall clock; a zone behind it is not looked at.
pub(crate) fn timestamp_in() -> ScalarUDF {
    let local = DataType::Timestamp(TimeUnit::Nanosecond, None);
    let function = ByRow::new("timestamp_in", 1, 1, local, |_, values| {
        let Some(written) = text(&values[0]) else { return wrong("timestamp_in", &values[0]) };
        let (local, _) = read(written, "timestamp")?;
        Ok(ScalarValue::TimestampNanosecond(Some(local), None))
    });
    function.into_udf()
}

fn read(text: &str, type_name: &str) -> Result<(i64, Option<Zone>)> {
    written::time(text).ok_or_else(|| {
        let message = format!("invalid input syntax for type {type_name}: \"{text}\"");
        DataFusionError::External(Box::new(SqlError::new(SqlState("22007"), message)))
    })
}
