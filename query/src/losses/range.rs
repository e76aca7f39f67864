//! The time that filters leave: a span of the column `time`, never smaller than what they let through.

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{Between, BinaryExpr, Expr, Operator};
use probepilot_catalog::table::TIME_COLUMN;

/// From one moment to another, both included, Unix nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeRange {
    /// The first moment.
    pub from_ns: i64,
    /// The last moment.
    pub until_ns: i64,
}

impl TimeRange {
    /// All of time.
    pub const ALL: TimeRange = TimeRange { from_ns: i64::MIN, until_ns: i64::MAX };

    /// What a scan's filters, all of which hold, leave of time. Filters it does not understand leave everything.
    pub fn of(filters: &[Expr]) -> TimeRange {
        let mut range = TimeRange::ALL;
        for filter in filters.iter().flat_map(split_conjunction) {
            range.narrow(filter);
        }
        range
    }

    /// The smallest range that has both.
    pub fn with(&self, other: &TimeRange) -> TimeRange {
        TimeRange { from_ns: self.from_ns.min(other.from_ns), until_ns: self.until_ns.max(other.until_ns) }
    }

    /// Whether it has a moment of another one.
    pub fn meets(&self, from_ns: i64, until_ns: i64) -> bool {
        self.from_ns <= until_ns && from_ns <= self.until_ns
    }

    fn narrow(&mut self, filter: &Expr) {
        match filter {
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
                let (op, moment) = match (is_time(left), is_time(right)) {
                    (true, false) => (Some(*op), moment_ns(right)),
                    (false, true) => (op.swap(), moment_ns(left)),
                    _ => return,
                };
                if let (Some(op), Some(ns)) = (op, moment) {
                    self.compare(op, ns);
                }
            }
            Expr::Between(Between { expr, negated: false, low, high }) if is_time(expr) => {
                if let Some(ns) = moment_ns(low) {
                    self.compare(Operator::GtEq, ns);
                }
                if let Some(ns) = moment_ns(high) {
                    self.compare(Operator::LtEq, ns);
                }
            }
            _ => {}
        }
    }

    fn compare(&mut self, op: Operator, ns: i64) {
        match op {
            Operator::Gt => self.from_ns = self.from_ns.max(ns.saturating_add(1)),
            Operator::GtEq => self.from_ns = self.from_ns.max(ns),
            Operator::Lt => self.until_ns = self.until_ns.min(ns.saturating_sub(1)),
            Operator::LtEq => self.until_ns = self.until_ns.min(ns),
            Operator::Eq => {
                self.compare(Operator::GtEq, ns);
                self.compare(Operator::LtEq, ns);
            }
            _ => {}
        }
    }
}

fn is_time(expr: &Expr) -> bool {
    matches!(expr, Expr::Column(column) if column.name == TIME_COLUMN)
}

fn moment_ns(expr: &Expr) -> Option<i64> {
    let Expr::Literal(value, _) = expr else { return None };
    match value.cast_to(&DataType::Timestamp(TimeUnit::Nanosecond, None)).ok()? {
        ScalarValue::TimestampNanosecond(ns, _) => ns,
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use datafusion::prelude::{col, lit};

    use super::*;

    fn at(ns: i64) -> Expr {
        lit(ScalarValue::TimestampNanosecond(Some(ns), Some("UTC".into())))
    }

    #[track_caller]
    fn check(filters: &[Expr], from_ns: i64, until_ns: i64) {
        assert_eq!(TimeRange::of(filters), TimeRange { from_ns, until_ns });
    }

    #[test]
    fn comparisons_narrow_the_range_from_both_sides() {
        check(&[], i64::MIN, i64::MAX);
        check(&[col("time").gt(at(5))], 6, i64::MAX);
        check(&[at(5).gt_eq(col("time")), col("time").gt_eq(at(2))], 2, 5);
        check(&[col("time").gt(at(1)).and(col("time").lt(at(9))).and(col("pid").eq(lit(7)))], 2, 8);
        check(&[col("e.time").eq(at(4))], 4, 4);
        check(&[col("time").between(at(3), at(6))], 3, 6);
    }

    #[test]
    fn what_is_not_understood_leaves_everything() {
        check(&[col("time").gt(at(5)).or(col("pid").eq(lit(7)))], i64::MIN, i64::MAX);
        check(&[col("time").not_between(at(3), at(6)), col("other").gt(at(5))], i64::MIN, i64::MAX);
        check(&[col("time").not_eq(at(5)), col("time").gt(col("other"))], i64::MIN, i64::MAX);
    }
}
