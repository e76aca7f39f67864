//! Rows of the tail as a scan, with exact time bounds.

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, Statistics};
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::datasource::source::{DataSource, DataSourceExec, OpenArgs};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_plan::execution_plan::SchedulingType;
use datafusion::physical_plan::projection::ProjectionExprs;
use datafusion::physical_plan::sort_pushdown::SortOrderPushdownResult;
use datafusion::physical_plan::{DisplayFormatType, ExecutionPlan, Partitioning};
use probepilot_catalog::table::time_column;

use super::newest::{NewestSource, falling};
use super::statistics;
use crate::tail::Run;

/// A scan of the given runs.
pub(super) fn scan(
    runs: &[Arc<Run>],
    schema: &SchemaRef,
    projection: Option<&Vec<usize>>,
    limit: Option<usize>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let batches = runs.iter().map(|run| adapt(run.rows(), schema)).collect::<Result<Vec<_>>>()?;
    let time_bounds = runs.iter().map(|run| run.time_bounds()).reduce(|a, b| {
        let ((a_min, a_max), (b_min, b_max)) = (a?, b?);
        Some((a_min.min(b_min), a_max.max(b_max)))
    });
    let memory = MemorySourceConfig::try_new(&[batches], Arc::clone(schema), projection.cloned())?.with_limit(limit);
    let time = time_column(schema).map(|index| schema.field(index).name().as_str().into());
    Ok(DataSourceExec::from_data_source(TailSource { memory, time, time_bounds: time_bounds.flatten() }))
}

/// Rows with the columns the table has now: those that were added since are NULL.
fn adapt(rows: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    if rows.schema_ref() == schema {
        return Ok(rows.clone());
    }
    let columns = schema.fields().iter().map(|field| -> Result<ArrayRef> {
        Ok(match rows.column_by_name(field.name()) {
            Some(column) if column.data_type() == field.data_type() => Arc::clone(column),
            Some(column) => cast(column, field.data_type())?,
            None => new_null_array(field.data_type(), rows.num_rows()),
        })
    });
    Ok(RecordBatch::try_new(Arc::clone(schema), columns.collect::<Result<Vec<_>>>()?)?)
}

/// Rows in memory whose earliest and latest time are known.
#[derive(Clone, Debug)]
pub(super) struct TailSource {
    memory: MemorySourceConfig,
    /// The column whose bounds they are.
    time: Option<Arc<str>>,
    time_bounds: Option<(i64, i64)>,
}

impl TailSource {
    /// Its rows with the columns of the output, and where the time is among them, for an order that begins with falling
    /// time.
    pub(super) fn newest_first(&self, order: &[PhysicalSortExpr]) -> Option<(usize, Vec<RecordBatch>)> {
        let output = self.eq_properties();
        let column = falling(order)?;
        let field = output.schema().fields().get(column.index())?;
        if self.time.as_deref() != Some(field.name().as_str()) || self.memory.fetch().is_some() {
            return None;
        }
        let projection = self.memory.projection().as_ref();
        let rows = self.memory.partitions().iter().flatten().map(|rows| match projection {
            Some(columns) => rows.project(columns).ok(),
            None => Some(rows.clone()),
        });
        Some((column.index(), rows.collect::<Option<Vec<_>>>()?))
    }

    fn wrap(&self, source: Arc<dyn DataSource>) -> Arc<dyn DataSource> {
        match source.downcast_ref::<MemorySourceConfig>() {
            Some(memory) => {
                let (time, time_bounds) = (self.time.clone(), self.time_bounds);
                Arc::new(TailSource { memory: memory.clone(), time, time_bounds })
            }
            None => source,
        }
    }
}

impl DataSource for TailSource {
    fn open(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        self.memory.open(partition, context)
    }

    fn open_with_args(&self, args: OpenArgs) -> Result<SendableRecordBatchStream> {
        self.memory.open_with_args(args)
    }

    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        if !matches!(format, DisplayFormatType::TreeRender) {
            f.write_str("tail, ")?;
        }
        self.memory.fmt_as(format, f)
    }

    fn output_partitioning(&self) -> Partitioning {
        self.memory.output_partitioning()
    }

    fn eq_properties(&self) -> EquivalenceProperties {
        self.memory.eq_properties()
    }

    fn scheduling_type(&self) -> SchedulingType {
        self.memory.scheduling_type()
    }

    fn partition_statistics(&self, partition: Option<usize>) -> Result<Arc<Statistics>> {
        let mut statistics = Arc::unwrap_or_clone(self.memory.partition_statistics(partition)?);
        let schema = Arc::clone(self.memory.eq_properties().schema());
        if let Some(Ok(index)) = self.time.as_ref().map(|time| schema.index_of(time))
            && self.time_bounds.is_some()
            && self.memory.fetch().is_none()
        {
            statistics.column_statistics[index] =
                statistics::of_time(schema.field(index).data_type(), self.time_bounds);
        }
        Ok(Arc::new(statistics))
    }

    fn with_fetch(&self, limit: Option<usize>) -> Option<Arc<dyn DataSource>> {
        self.memory.with_fetch(limit).map(|source| self.wrap(source))
    }

    fn fetch(&self) -> Option<usize> {
        self.memory.fetch()
    }

    fn try_pushdown_sort(&self, order: &[PhysicalSortExpr]) -> Result<SortOrderPushdownResult<Arc<dyn DataSource>>> {
        let Some((time, rows)) = self.newest_first(order) else { return self.memory.try_pushdown_sort(order) };
        let partitions = self.output_partitioning().partition_count();
        let newest = NewestSource::new(rows, None, &self.eq_properties(), time, partitions);
        Ok(SortOrderPushdownResult::Inexact { inner: Arc::new(newest) })
    }

    fn try_swapping_with_projection(&self, projection: &ProjectionExprs) -> Result<Option<Arc<dyn DataSource>>> {
        Ok(self.memory.try_swapping_with_projection(projection)?.map(|source| self.wrap(source)))
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.memory.apply_expressions(f)
    }
}
