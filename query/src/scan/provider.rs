//! A stored table as the planner sees it.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{DFSchema, DataFusionError, Result};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_expr::utils::conjunction_opt;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::{ExecutionPlan, PhysicalExpr};
use probepilot_catalog::manifest::Table;
use probepilot_catalog::table::{TableId, TableKind, TableName};
use probepilot_sql::{SqlError, SqlState};

use super::layout::Kept;
use super::prune::{RunBounds, SegmentBounds, keep};
use super::union::ScanUnion;
use super::{segments, tail_source};
use crate::engine::statement::Statement;
use crate::losses::{Scanned, TimeRange};
use crate::tail::Run;

/// A table of the lake. Its rows are those of the statement's [`super::Pin`].
#[derive(Debug)]
pub struct StoredTable {
    id: TableId,
    name: TableName,
    schema: SchemaRef,
}

impl StoredTable {
    /// The table as the manifest describes it when the statement is prepared.
    pub fn new(table: &Table) -> StoredTable {
        StoredTable { id: table.id, name: table.definition.name.clone(), schema: Arc::clone(&table.schema) }
    }

    /// Where it is found.
    pub fn name(&self) -> &TableName {
        &self.name
    }

    /// The table as this statement's snapshot has it, with the columns it was prepared with.
    fn at_snapshot(&self, statement: &Statement) -> Result<Arc<Table>> {
        let Some(table) = statement.pin().manifest().table(self.id) else {
            let gone = SqlError::new(SqlState::UNDEFINED_TABLE, format!("relation \"{}\" was dropped", self.name));
            return Err(DataFusionError::External(Box::new(gone)));
        };
        if table.schema == self.schema {
            return Ok(Arc::clone(table));
        }
        // Columns were added, removed or moved since: read with the columns of the plan, by name.
        let mut table = Table::clone(table);
        let ids = self.schema.fields().iter().map(|field| {
            table
                .schema
                .index_of(field.name())
                .ok()
                .and_then(|index| table.column_ids.get(index).copied())
                .unwrap_or(-1)
        });
        table.column_ids = ids.collect();
        table.schema = Arc::clone(&self.schema);
        Ok(Arc::new(table))
    }
}

#[async_trait]
impl TableProvider for StoredTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let statement = Statement::of(state.config_options())?;
        let table = self.at_snapshot(statement)?;
        let predicate = predicate(state, &self.schema, filters)?;

        if !matches!(table.definition.kind, TableKind::Health | TableKind::Inserted) {
            statement.reads(Scanned { table: table.definition.name.clone(), range: TimeRange::of(filters) });
        }
        let kept_segments = kept_segments(&table, predicate.as_ref());
        let runs = kept_runs(&self.schema, statement.pin().tail_runs(self.id), predicate.as_ref());

        let mut scans = Vec::with_capacity(2);
        if !runs.is_empty() {
            scans.push(tail_source::scan(&runs, &self.schema, projection, limit)?);
        }
        if kept_segments.len() > 0 {
            scans.push(segments::scan(state, kept_segments, projection, limit)?);
        }
        if scans.is_empty() {
            let schema = match projection {
                Some(columns) => Arc::new(self.schema.project(columns)?),
                None => Arc::clone(&self.schema),
            };
            return Ok(Arc::new(EmptyExec::new(schema)));
        }
        ScanUnion::try_new(scans)
    }
}

fn predicate(state: &dyn Session, schema: &SchemaRef, filters: &[Expr]) -> Result<Option<Arc<dyn PhysicalExpr>>> {
    if filters.is_empty() {
        return Ok(None);
    }
    let names = DFSchema::try_from(Arc::clone(schema))?;
    let filters = filters.iter().map(|filter| state.create_physical_expr(unqualified(filter.clone())?, &names));
    Ok(conjunction_opt(filters.collect::<Result<Vec<_>>>()?))
}

/// Filters name columns by the table's name or alias in the statement; here there is just the one table.
fn unqualified(filter: Expr) -> Result<Expr> {
    use datafusion::common::tree_node::{Transformed, TreeNode};
    filter
        .transform(|expr| {
            Ok(match expr {
                Expr::Column(column) if column.relation.is_some() => {
                    Transformed::yes(Expr::Column(datafusion::common::Column::from_name(column.name)))
                }
                other => Transformed::no(other),
            })
        })
        .map(|transformed| transformed.data)
}

fn kept_segments(table: &Arc<Table>, predicate: Option<&Arc<dyn PhysicalExpr>>) -> Kept {
    let bounds = SegmentBounds { table, segments: &table.segments };
    Kept::new(Arc::clone(table), &keep(predicate, &table.schema, &bounds))
}

fn kept_runs(schema: &SchemaRef, runs: Vec<Arc<Run>>, predicate: Option<&Arc<dyn PhysicalExpr>>) -> Vec<Arc<Run>> {
    let kept = keep(predicate, schema, &RunBounds { schema, runs: &runs });
    runs.into_iter().zip(kept).filter(|(_, keep)| *keep).map(|(run, _)| run).collect()
}
