//! COPY FROM: rows that a client sends, on their way into its transaction.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::array::timezone::Tz;
use arrow::datatypes::{Schema, SchemaRef};
use probepilot_catalog::batch::Batch;
use probepilot_sql::SqlError;

use super::Target;
use super::assign::Origin;
use super::pending::Pending;

/// Rows of a COPY; they are forgotten when it is dropped.
#[derive(Debug)]
pub struct CopyIn {
    target: Target,
    schema: SchemaRef,
    origins: Vec<Origin>,
    zone: Tz,
    rows: Pending,
}

impl CopyIn {
    pub(crate) fn new(target: Target, zone: Tz) -> CopyIn {
        let fields = target.indexes.iter().map(|&index| Arc::clone(&target.table.schema.fields()[index]));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        // What stands in a file is a text, whatever its column is.
        let origins = vec![Origin { unknown: true, at: None }; target.indexes.len()];
        CopyIn { target, schema, origins, zone, rows: Pending::default() }
    }

    /// The table's name.
    pub fn name(&self) -> &str {
        &self.target.table.definition.name.name
    }

    /// The columns that are given.
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// Takes rows of that schema.
    pub fn write(&mut self, rows: &RecordBatch) -> Result<(), SqlError> {
        self.rows.add(self.target.rows(rows, &self.origins, self.zone)?)
    }

    /// The rows of the table.
    pub(crate) fn into_batches(self) -> Vec<Batch> {
        self.rows.into_batches()
    }
}
