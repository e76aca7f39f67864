//! The operator: reads all groups, which are few, and gives the series one by one.

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::{SortOptions, concat_batches};
use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, Statistics, internal_datafusion_err};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{
    Distribution, EquivalenceProperties, LexOrdering, OrderingRequirements, PhysicalExpr, PhysicalSortExpr,
};
use datafusion::physical_plan::execution_plan::{
    Boundedness, ChildrenPropertiesMode, EmissionType, ReplaceChildrenOptions,
};
use datafusion::physical_plan::statistics::StatisticsArgs;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, InputDistributionRequirements, Partitioning, PlanProperties,
};
use futures::{StreamExt, TryStreamExt};

use super::Fill;
use super::series::{Layout, Series};

/// Fills the gaps of groups.
#[derive(Clone, Debug)]
pub(super) struct GapFillExec {
    input: Arc<dyn ExecutionPlan>,
    layout: Arc<Layout>,
    /// By the keys, then by time.
    order: LexOrdering,
    properties: Arc<PlanProperties>,
}

impl GapFillExec {
    /// An operator that fills buckets which begin at the times of `grid`.
    pub(super) fn new(
        input: Arc<dyn ExecutionPlan>,
        schema: SchemaRef,
        time: usize,
        keys: Vec<usize>,
        fills: Vec<(usize, Fill)>,
        grid: Arc<[i64]>,
    ) -> Result<GapFillExec> {
        let ascending = SortOptions { descending: false, nulls_first: false };
        let columns = keys.iter().copied().chain([time]).map(|index| {
            let column = Arc::new(Column::new(schema.field(index).name(), index)) as Arc<dyn PhysicalExpr>;
            PhysicalSortExpr::new(column, ascending)
        });
        let order = LexOrdering::new(columns)
            .ok_or_else(|| internal_datafusion_err!("the time is always a column of the order"))?;
        let layout = Arc::new(Layout { schema, time, keys, fills, grid });
        Ok(GapFillExec::over(input, layout, order))
    }

    fn over(input: Arc<dyn ExecutionPlan>, layout: Arc<Layout>, order: LexOrdering) -> GapFillExec {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&layout.schema)),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Final,
            Boundedness::Bounded,
        );
        GapFillExec { input, layout, order, properties: Arc::new(properties) }
    }
}

/// The series, and the memory of their groups, which is given back when the last batch was taken.
struct Held {
    series: Series,
    _memory: MemoryReservation,
}

impl Iterator for Held {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Result<RecordBatch>> {
        self.series.next()
    }
}

impl DisplayAs for GapFillExec {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        match format {
            DisplayFormatType::Default | DisplayFormatType::Verbose => {
                write!(f, "GapFillExec: buckets={}", self.layout.grid.len())
            }
            DisplayFormatType::TreeRender => write!(f, "buckets={}", self.layout.grid.len()),
        }
    }
}

impl ExecutionPlan for GapFillExec {
    fn name(&self) -> &str {
        "GapFillExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        InputDistributionRequirements::new(vec![Distribution::SinglePartition])
    }

    fn required_input_ordering(&self) -> Vec<Option<OrderingRequirements>> {
        vec![Some(OrderingRequirements::from(self.order.clone()))]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn replace_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let input = children.pop().ok_or_else(|| internal_datafusion_err!("GapFillExec has one input"))?;
        Ok(Arc::new(GapFillExec::over(input, Arc::clone(&self.layout), self.order.clone())))
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn statistics_from_inputs(&self, _inputs: &[Arc<Statistics>], _args: &StatisticsArgs) -> Result<Arc<Statistics>> {
        Ok(Arc::new(Statistics::new_unknown(&self.layout.schema)))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let mut input = self.input.execute(partition, Arc::clone(&context))?;
        let layout = Arc::clone(&self.layout);
        let rows_max = context.session_config().batch_size();
        let reservation = MemoryConsumer::new("GapFill").register(context.memory_pool());
        let filled = async move {
            let mut batches = Vec::new();
            while let Some(batch) = input.next().await.transpose()? {
                // Once as it comes, once in one piece.
                reservation.try_grow(batch.get_array_memory_size() * 2)?;
                batches.push(batch);
            }
            let rows: RecordBatch = concat_batches(&input.schema(), &batches)?;
            let series = Series::new(layout, rows, rows_max)?;
            Ok::<_, datafusion::error::DataFusionError>(futures::stream::iter(Held { series, _memory: reservation }))
        };
        let stream = futures::stream::once(filled).try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.layout.schema), stream)))
    }
}
