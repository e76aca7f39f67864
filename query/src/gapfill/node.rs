//! The node in a logical plan.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::datatypes::Field;
use datafusion::common::{DFSchema, DFSchemaRef, Result, plan_datafusion_err};
use datafusion::logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNodeCore};

use super::Fill;
use super::range::Bound;

/// Fills the gaps of a grouped query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct GapFill {
    pub(super) input: LogicalPlan,
    /// The input's columns; all but the keys may be NULL.
    pub(super) schema: DFSchemaRef,
    /// The column with the begin of the bucket.
    pub(super) time: usize,
    /// The columns of the other keys.
    pub(super) keys: Vec<usize>,
    /// Columns that are filled, and how.
    pub(super) fills: Vec<(usize, Fill)>,
    /// The width of the buckets, and the zone where there is one.
    pub(super) buckets: Vec<Expr>,
    /// Where the range begins and ends.
    pub(super) bounds: Vec<Bound>,
}

impl GapFill {
    /// The node over `input`, whose first columns are the keys.
    pub(super) fn new(
        input: LogicalPlan,
        time: usize,
        keys: Vec<usize>,
        fills: Vec<(usize, Fill)>,
        buckets: Vec<Expr>,
        bounds: Vec<Bound>,
    ) -> Result<GapFill> {
        let fields = input.schema().iter().enumerate().map(|(index, (qualifier, field))| {
            let nullable = field.is_nullable() || !(index == time || keys.contains(&index));
            (qualifier.cloned(), Arc::new(Field::clone(field).with_nullable(nullable)))
        });
        let schema = DFSchema::new_with_metadata(fields.collect(), input.schema().metadata().clone())?;
        Ok(GapFill { schema: Arc::new(schema), input, time, keys, fills, buckets, bounds })
    }
}

impl Hash for GapFill {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let GapFill { input, schema: _, time, keys, fills, buckets, bounds } = self;
        (input, time, keys, fills, buckets, bounds).hash(state);
    }
}

impl PartialOrd for GapFill {
    /// Equal or not to be compared: nothing sorts plans by what they fill.
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self == other).then_some(Ordering::Equal)
    }
}

impl UserDefinedLogicalNodeCore for GapFill {
    fn name(&self) -> &str {
        "GapFill"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        self.buckets.iter().cloned().chain(self.bounds.iter().map(|bound| bound.expr.clone())).collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let time = self.schema.field(self.time).name();
        write!(f, "GapFill: {time}")?;
        for bound in &self.bounds {
            write!(f, ", {bound}")?;
        }
        Ok(())
    }

    fn with_exprs_and_inputs(&self, mut exprs: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> Result<Self> {
        let GapFill { input: _, schema: _, time, keys, fills, buckets, bounds } = self;
        let input = inputs.pop().ok_or_else(|| plan_datafusion_err!("GapFill has one input"))?;
        let exprs_of_bounds = exprs.split_off(buckets.len());
        let bounds = bounds.iter().zip(exprs_of_bounds).map(|(bound, expr)| Bound { expr, ..bound.clone() });
        GapFill::new(input, *time, keys.clone(), fills.clone(), exprs, bounds.collect())
    }
}
