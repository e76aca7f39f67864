//! Tables whose rows are made when they are read.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{DataFusionError, Result};
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use probepilot_catalog::ports::LiveTable;
use probepilot_catalog::table::arrow_schema;

/// A [`LiveTable`] as the planner sees it.
pub struct LiveProvider {
    table: Arc<dyn LiveTable>,
    schema: SchemaRef,
}

impl LiveProvider {
    /// The provider of `table`.
    pub fn new(table: Arc<dyn LiveTable>) -> LiveProvider {
        let schema = arrow_schema(&table.columns());
        LiveProvider { table, schema }
    }
}

impl fmt::Debug for LiveProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiveProvider").field("table", &self.table.name()).finish()
    }
}

#[async_trait]
impl TableProvider for LiveProvider {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let batches = self.table.rows().await.map_err(|error| DataFusionError::External(Box::new(error)))?;
        let source = MemorySourceConfig::try_new(&[batches], Arc::clone(&self.schema), projection.cloned())?;
        Ok(datafusion::datasource::source::DataSourceExec::from_data_source(source.with_limit(limit)))
    }
}
