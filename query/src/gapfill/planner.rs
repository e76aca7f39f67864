//! The node's operator, with its range computed.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::array::RecordBatchOptions;
use arrow::datatypes::{DataType, Schema, TimeUnit};
use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::{DFSchema, DataFusionError, Result, ScalarValue, internal_err};
use datafusion::execution::context::QueryPlanner;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNode};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::{DefaultPhysicalPlanner, ExtensionPlanner, PhysicalPlanner};
use probepilot_sql::{SqlError, SqlState};

use super::ROWS_MADE_MAX;
use super::node::GapFill;
use super::operator::GapFillExec;
use super::range::End;
use crate::engine::errors::FunctionError;
use crate::functions::bucket::{Buckets, GAPFILL};

/// DataFusion's planner, which knows our node too.
#[derive(Debug)]
pub(crate) struct GapFillPlanner;

#[async_trait]
impl QueryPlanner for GapFillPlanner {
    async fn create_physical_plan(&self, plan: &LogicalPlan, session: &dyn Session) -> Result<Arc<dyn ExecutionPlan>> {
        let planner = DefaultPhysicalPlanner::with_extension_planners(vec![Arc::new(Nodes)]);
        planner.create_physical_plan(plan, session).await
    }
}

struct Nodes;

#[async_trait]
impl ExtensionPlanner for Nodes {
    async fn plan_extension(
        &self,
        _planner: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        _logical_inputs: &[&LogicalPlan],
        inputs: &[Arc<dyn ExecutionPlan>],
        session: &dyn Session,
        _context: &PhysicalPlanningContext,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let Some(node) = node.as_any().downcast_ref::<GapFill>() else { return Ok(None) };
        let grid = grid(node, session)?;
        let schema = Arc::new(node.schema.as_arrow().clone());
        let [input] = inputs else { return internal_err!("GapFill has one input") };
        let operator =
            GapFillExec::new(Arc::clone(input), schema, node.time, node.keys.clone(), node.fills.clone(), grid)?;
        Ok(Some(Arc::new(operator)))
    }
}

/// The begin of each bucket of the range.
fn grid(node: &GapFill, session: &dyn Session) -> Result<Arc<[i64]>> {
    let settings = node.buckets.iter().map(|expr| value(expr, session)).collect::<Result<Vec<_>>>()?;
    let Some(buckets) = Buckets::new(&settings[0], &settings[1..])? else { return Err(null("bucket_width")) };
    let (mut start, mut finish) = (i64::MIN, i64::MAX);
    for bound in &node.bounds {
        let nanoseconds = |zone| DataType::Timestamp(TimeUnit::Nanosecond, zone);
        let value = value(&bound.expr, session)?;
        let zone = match value.data_type() {
            DataType::Timestamp(_, zone) => zone,
            _ => None,
        };
        let ScalarValue::TimestampNanosecond(Some(time), _) = value.cast_to(&nanoseconds(zone))? else {
            return Err(null(if bound.end == End::Start { "start" } else { "finish" }));
        };
        let time = time.saturating_add(bound.add_ns);
        match bound.end {
            End::Start => start = start.max(time),
            End::Finish => finish = finish.min(time),
        }
    }
    let mut grid = Vec::new();
    let mut next = buckets.begin(start);
    while let Some(begin) = next.filter(|begin| *begin < finish) {
        if grid.len() == ROWS_MADE_MAX {
            return Err(too_many());
        }
        grid.push(begin);
        next = buckets.next(begin);
    }
    Ok(grid.into())
}

/// The value of an expression without columns.
fn value(expr: &Expr, session: &dyn Session) -> Result<ScalarValue> {
    let physical = session.create_physical_expr(expr.clone(), &DFSchema::empty())?;
    let options = RecordBatchOptions::new().with_row_count(Some(1));
    let row = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), Vec::new(), &options)?;
    match physical.evaluate(&row)? {
        datafusion::logical_expr::ColumnarValue::Scalar(value) => Ok(value),
        datafusion::logical_expr::ColumnarValue::Array(array) => ScalarValue::try_from_array(&array, 0),
    }
}

fn null(argument: &str) -> DataFusionError {
    let error = SqlError::new(SqlState::INVALID_PARAMETER_VALUE, format!("{argument} of {GAPFILL} must not be NULL"));
    FunctionError::wrap(GAPFILL, error)
}

/// More rows than a statement may make.
pub(super) fn too_many() -> DataFusionError {
    let message = format!("{GAPFILL} would make more than {ROWS_MADE_MAX} rows");
    let error = SqlError::new(SqlState("54000"), message).hint("Take wider buckets, a narrower range or fewer series.");
    FunctionError::wrap(GAPFILL, error)
}
