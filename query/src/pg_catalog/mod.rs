//! PostgreSQL's catalog over ours: real tables and functions, so that clients find what they look for.

mod cells; // Values of catalog tables, and batches of them.
mod definitions; // Which tables there are, with their columns.
mod snapshot; // What the catalog describes, at a statement's snapshot.
mod built_in; // Rows that are the same in every database.
mod rows; // The rows of each table.
mod types; // pg_type and the names of types.
mod information_schema; // The standard's views.
pub mod functions; // What clients ask about oids.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::Result;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::datasource::source::DataSourceExec;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;

pub use definitions::Definition;
pub use snapshot::Snapshot;

use crate::engine::statement::Statement;

/// The schema of the catalog's tables.
pub const PG_CATALOG: &str = "pg_catalog";

/// The schema of the standard's views.
pub const INFORMATION_SCHEMA: &str = "information_schema";

/// The catalog's table of this name, if there is one.
pub fn provider(schema: &str, name: &str) -> Option<Arc<dyn TableProvider>> {
    let definition = definitions::all().iter().find(|table| table.schema == schema && table.name == name)?;
    Some(Arc::new(CatalogTable { definition }))
}

/// Every table of the catalog, with its schema.
pub fn table_names() -> impl Iterator<Item = String> {
    definitions::all().iter().map(|table| format!("{}.{}", table.schema, table.name))
}

/// `pg_get_keywords()`: SQL's words, as rows.
#[derive(Debug)]
pub struct Keywords;

impl TableFunctionImpl for Keywords {
    fn call_with_args(&self, _args: TableFunctionArgs) -> Result<Arc<dyn TableProvider>> {
        Ok(Arc::new(CatalogTable { definition: definitions::keywords() }))
    }
}

/// A table of the catalog as the planner sees it.
#[derive(Debug)]
struct CatalogTable {
    definition: &'static Definition,
}

#[async_trait]
impl TableProvider for CatalogTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.definition.arrow)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let made = |rows| cells::batch(&self.definition.columns, &self.definition.arrow, rows);
        let batch = match self.definition.fixed.get() {
            Some(batch) => batch.clone(),
            None if built_in::has(self.definition.name) => {
                let batch = made(&built_in::rows(self.definition))?;
                self.definition.fixed.get_or_init(|| batch).clone()
            }
            None => made(&(self.definition.rows)(Statement::of(state.config_options())?.catalog()))?,
        };
        let source = MemorySourceConfig::try_new(&[vec![batch]], self.schema(), projection.cloned())?;
        Ok(DataSourceExec::from_data_source(source.with_limit(limit)))
    }
}
