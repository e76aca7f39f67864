//! What operators on intervals call: `interval_times(interval, number)` multiplies or divides, `interval_length(interval)` is
//! what is compared.

use std::sync::Arc;

use arrow::array::{Array, AsArray, Decimal128Array, IntervalMonthDayNanoArray};
use arrow::compute::cast;
use arrow::datatypes::{
    DECIMAL128_MAX_PRECISION, DataType, Float64Type, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit,
};
use arrow::error::ArrowError;
use datafusion::common::{DataFusionError, Result, exec_datafusion_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};

const INTERVAL: DataType = DataType::Interval(IntervalUnit::MonthDayNano);

/// The function; users need not know it.
pub(crate) fn interval_times() -> ScalarUDF {
    let signature = Signature::one_of(vec![TypeSignature::Any(2), TypeSignature::Any(3)], Volatility::Immutable);
    ScalarUDF::new_from_impl(IntervalTimes { signature })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct IntervalTimes {
    signature: Signature,
}

impl ScalarUDFImpl for IntervalTimes {
    fn name(&self) -> &str {
        "interval_times"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(INTERVAL)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let divides = args.args.len() == 3;
        let arrays = ColumnarValue::values_to_arrays(&args.args[..2])?;
        let (intervals, numbers) = (cast(&arrays[0], &INTERVAL)?, cast(&arrays[1], &DataType::Float64)?);
        let numbers = numbers.as_primitive::<Float64Type>();
        let intervals = intervals.as_primitive::<IntervalMonthDayNanoType>();
        let results = (0..intervals.len()).map(|row| {
            if intervals.is_null(row) || numbers.is_null(row) {
                return Ok(None);
            }
            let (interval, number) = (intervals.value(row), numbers.value(row));
            if divides && number == 0.0 {
                return Err(DataFusionError::ArrowError(Box::new(ArrowError::DivideByZero), None));
            }
            let result =
                if divides { scaled(interval, |part| part / number) } else { scaled(interval, |part| part * number) };
            result.map(Some).ok_or_else(|| exec_datafusion_err!("interval out of range"))
        });
        let results: IntervalMonthDayNanoArray = results.collect::<Result<Vec<_>>>()?.into();
        Ok(ColumnarValue::Array(Arc::new(results)))
    }
}

/// How long an interval is, in nanoseconds, for comparisons and orders; users need not know the function.
pub(crate) fn length_of(interval: Expr) -> Expr {
    let signature = Signature::any(1, Volatility::Immutable);
    ScalarUDF::new_from_impl(IntervalLength { signature }).call(vec![interval])
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct IntervalLength {
    signature: Signature,
}

impl ScalarUDFImpl for IntervalLength {
    fn name(&self) -> &str {
        "interval_length"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Decimal128(DECIMAL128_MAX_PRECISION, 0))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let intervals = cast(&ColumnarValue::values_to_arrays(&args.args)?[0], &INTERVAL)?;
        let intervals = intervals.as_primitive::<IntervalMonthDayNanoType>();
        let lengths: Decimal128Array = intervals.iter().map(|interval| interval.map(length_ns)).collect();
        let lengths = lengths.with_precision_and_scale(DECIMAL128_MAX_PRECISION, 0)?;
        Ok(ColumnarValue::Array(Arc::new(lengths)))
    }
}

/// Months of 30 days, days of 24 hours: PostgreSQL's `interval_cmp_value`.
fn length_ns(interval: IntervalMonthDayNano) -> i128 {
    let days = i128::from(interval.months) * 30 + i128::from(interval.days);
    days * 86_400_000_000_000 + i128::from(interval.nanoseconds)
}

/// Each part by itself; fractions of months become days of 30, fractions of days become time, to the microsecond.
fn scaled(interval: IntervalMonthDayNano, scale: impl Fn(f64) -> f64) -> Option<IntervalMonthDayNano> {
    // Binary fractions such as 0.1 must not leave a day less a nanosecond behind.
    let exact = |value: f64| (value * 1e6).round() / 1e6;
    let months = scale(f64::from(interval.months));
    let days = scale(f64::from(interval.days));
    let more_days = exact(months.fract() * 30.0);
    let seconds = exact((days.fract() + more_days.fract()) * 86_400.0);
    let whole_days = days.trunc() + more_days.trunc() + (seconds / 86_400.0).trunc();
    let nanoseconds = (scale(interval.nanoseconds as f64) / 1_000.0 + seconds % 86_400.0 * 1e6).round() * 1_000.0;
    let fits = |value: f64, limit: f64| value.is_finite() && value.abs() <= limit;
    let fit = fits(months, f64::from(i32::MAX)) && fits(whole_days, f64::from(i32::MAX)) && fits(nanoseconds, 9.2e18);
    fit.then(|| IntervalMonthDayNano::new(months.trunc() as i32, whole_days as i32, nanoseconds as i64))
}
