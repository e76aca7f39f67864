//! Where a plan that has become pointless ends, because its statement was cancelled, is too late, or has lost its reader.
//!
//! A task ends where it pauses. Operators pause where they wait for rows, and joins do not: they compute on what they hold.
//! So each join is made to pause between its batches. What it does within one batch may be billions of comparisons: that ends with
//! the next call of its condition, and long before it lets other plans have another thread.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, FieldRef, Schema};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::execution_plan::SchedulingType;
use datafusion::physical_plan::joins::utils::JoinFilter;
use datafusion::physical_plan::joins::{HashJoinExec, NestedLoopJoinExec, NestedLoopJoinExecBuilder};

use super::statement::Statement;

/// Says whether a statement has ended; shared by who runs it and all parts of its plan.
#[derive(Clone, Debug, Default)]
pub struct Ended(Arc<AtomicBool>);

impl Ended {
    fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Held by who reads a statement's rows: the statement has ended when it is dropped.
#[derive(Debug)]
pub(super) struct EndsStatement(Ended);

impl EndsStatement {
    pub fn new(statement: &Statement) -> EndsStatement {
        EndsStatement(statement.ended().clone())
    }
}

impl Drop for EndsStatement {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Relaxed);
    }
}

/// The rule that makes plans end. It comes last: rules behind it would not know the joins any more.
#[derive(Debug)]
pub(super) struct Interruptible;

impl PhysicalOptimizerRule for Interruptible {
    fn name(&self) -> &'static str {
        "Interruptible"
    }

    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        let ended = Statement::of(config)?.ended();
        let ends = |plan: Arc<dyn ExecutionPlan>| {
            let joins = plan.children().len() > 1;
            if !joins || plan.properties().scheduling_type == SchedulingType::Cooperative {
                return Ok(Transformed::no(plan));
            }
            let plan = with_condition(plan, ended)?;
            Ok(Transformed::yes(Arc::new(CooperativeExec::new(plan)) as Arc<dyn ExecutionPlan>))
        };
        Ok(plan.transform_up(ends)?.data)
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// A join whose condition fails once the statement has ended; other operators as they are.
fn with_condition(plan: Arc<dyn ExecutionPlan>, ended: &Ended) -> Result<Arc<dyn ExecutionPlan>> {
    let checked = |filter: &JoinFilter| {
        let (inner, ended) = (Arc::clone(filter.expression()), ended.clone());
        let condition = Arc::new(UntilEnded::new(inner, ended));
        Some(JoinFilter::new(condition, filter.column_indices().to_vec(), Arc::clone(filter.schema())))
    };
    if let Some(join) = plan.downcast_ref::<NestedLoopJoinExec>()
        && let Some(filter) = join.filter()
    {
        return Ok(Arc::new(NestedLoopJoinExecBuilder::from(join).with_filter(checked(filter)).build()?));
    }
    if let Some(join) = plan.downcast_ref::<HashJoinExec>()
        && let Some(filter) = join.filter()
    {
        return join.builder().with_filter(checked(filter)).build_exec();
    }
    Ok(plan)
}

/// A condition that fails once the statement has ended.
#[derive(Debug)]
struct UntilEnded {
    inner: Arc<dyn PhysicalExpr>,
    ended: Ended,
    calls: AtomicU32,
}

/// Conditions of so many batches are a few milliseconds of work.
const CALLS_ON_A_SHARED_THREAD: u32 = 64;

impl UntilEnded {
    fn new(inner: Arc<dyn PhysicalExpr>, ended: Ended) -> UntilEnded {
        UntilEnded { inner, ended, calls: AtomicU32::new(0) }
    }
}

impl PhysicalExpr for UntilEnded {
    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        if self.ended.is_set() {
            return exec_err!("the statement has ended");
        }
        if self.calls.fetch_add(1, Ordering::Relaxed) % CALLS_ON_A_SHARED_THREAD == CALLS_ON_A_SHARED_THREAD - 1 {
            // Who else waits for this thread gets another one.
            tokio::task::block_in_place(|| ());
        }
        self.inner.evaluate(batch)
    }

    fn data_type(&self, input_schema: &Schema) -> Result<DataType> {
        self.inner.data_type(input_schema)
    }

    fn nullable(&self, input_schema: &Schema) -> Result<bool> {
        self.inner.nullable(input_schema)
    }

    fn return_field(&self, input_schema: &Schema) -> Result<FieldRef> {
        self.inner.return_field(input_schema)
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.inner]
    }

    fn with_new_children(self: Arc<Self>, mut children: Vec<Arc<dyn PhysicalExpr>>) -> Result<Arc<dyn PhysicalExpr>> {
        let inner = children.pop().unwrap_or_else(|| Arc::clone(&self.inner));
        Ok(Arc::new(UntilEnded::new(inner, self.ended.clone())))
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt_sql(f)
    }
}

impl fmt::Display for UntilEnded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl PartialEq for UntilEnded {
    fn eq(&self, other: &Self) -> bool {
        self.inner.eq(&other.inner)
    }
}

impl Eq for UntilEnded {}

impl Hash for UntilEnded {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.inner.hash(state);
    }
}
