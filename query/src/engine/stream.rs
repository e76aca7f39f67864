//! Rows as they come: renamed for the client, counted, ended by cancel or timeout.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow::array::RecordBatch;
use arrow::compute::cast;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatchOptions;
use datafusion::common::DataFusionError;
use datafusion::execution::session_state::SessionState;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::ExecutionPlan;
use futures::{FutureExt, StreamExt, stream};
use parking_lot::Mutex;
use probepilot_catalog::ports::RowStream;
use probepilot_sql::{SqlError, SqlState};
use tokio::time::Instant;

use super::interrupt::EndsStatement;
use super::queries::Running;
use super::statement::Statement;
use super::{Engine, errors};
use crate::scan::find_damaged;

/// Until when a statement may run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline {
    pub at: Instant,
}

pub(super) fn cancelled() -> SqlError {
    SqlError::new(SqlState::QUERY_CANCELED, "canceling statement due to user request")
}

pub(super) fn too_late() -> SqlError {
    SqlError::new(SqlState::QUERY_CANCELED, "canceling statement due to statement timeout")
}

/// Runs a future until it is done, cancelled or too late. Dropping it stops the work behind it.
pub(super) async fn guarded<T>(
    running: &Running,
    deadline: Option<Deadline>,
    work: impl Future<Output = Result<T, SqlError>>,
) -> Result<T, SqlError> {
    let late = async {
        match deadline {
            Some(deadline) => tokio::time::sleep_until(deadline.at).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        () = running.query.cancel.cancelled() => Err(cancelled()),
        () = late => Err(too_late()),
        // A panic below (a decoder on damaged bytes) ends the statement, not the server.
        result = AssertUnwindSafe(work).catch_unwind() => result.unwrap_or_else(|_| {
            Err(SqlError::new(SqlState::INTERNAL_ERROR, "the statement failed by a fault of the server"))
        }),
    }
}

/// A plan that runs.
pub(super) struct Executed {
    /// What it gives.
    pub rows: SendableRecordBatchStream,
    /// The plan.
    plan: Arc<dyn ExecutionPlan>,
    /// What it runs in.
    context: Arc<TaskContext>,
    _ends: EndsStatement,
}

impl Executed {
    /// Makes the plan, and lets it run.
    pub async fn start(
        engine: &Engine,
        statement: &Statement,
        state: SessionState,
        plan: LogicalPlan,
    ) -> Result<Executed, DataFusionError> {
        let ends = EndsStatement::new(statement);
        let planned = async move { state.create_physical_plan(&plan).await.map(|plan| (plan, state.task_ctx())) };
        let (plan, context) = engine.workers.run(planned).await?;
        let rows = engine.workers.execute(Arc::clone(&plan), Arc::clone(&context));
        Ok(Executed { rows, plan, context, _ends: ends })
    }

    /// Its failure as the user is told; a damaged segment by name.
    async fn failure(&mut self, error: DataFusionError, text: &str) -> SqlError {
        if errors::is_unnamed_damage(&error)
            && let Some(segment) = find_damaged(&self.plan, &self.context).await
        {
            return errors::segment(&segment).caused_by(error);
        }
        errors::translate(error, text)
    }
}

struct State {
    executed: Executed,
    running: Running,
    deadline: Option<Deadline>,
    schema: SchemaRef,
    text: Arc<str>,
}

/// The stream of a query that runs.
pub(super) fn row_stream(
    executed: Executed,
    running: Running,
    deadline: Option<Deadline>,
    schema: SchemaRef,
    text: Arc<str>,
) -> RowStream {
    let state = State { executed, running, deadline, schema: Arc::clone(&schema), text };
    let batches = stream::unfold(Some(state), |state| async {
        let mut state = state?;
        let State { executed, running, deadline, schema, text } = &mut state;
        let next = async {
            match executed.rows.next().await {
                Some(Ok(batch)) => Ok(Some(shaped(&batch, schema)?)),
                Some(Err(error)) => Err(executed.failure(error, text).await),
                None => Ok(None),
            }
        };
        match guarded(running, *deadline, next).await {
            Ok(Some(batch)) => {
                state.running.query.rows.fetch_add(batch.num_rows() as u64, Ordering::Relaxed);
                Some((Ok(batch), Some(state)))
            }
            Ok(None) => None,
            Err(error) => Some((Err(error), None)),
        }
    });
    RowStream { schema, batches: batches.boxed(), notices: Arc::new(Mutex::new(Vec::new())) }
}

/// A stream of batches that are already there.
pub(super) fn ready(schema: SchemaRef, batches: Vec<RecordBatch>) -> RowStream {
    let batches = stream::iter(batches.into_iter().map(Ok)).boxed();
    RowStream { schema, batches, notices: Arc::new(Mutex::new(Vec::new())) }
}

/// The batch under the names and types the client was told.
fn shaped(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, SqlError> {
    let columns = batch.columns().iter().zip(schema.fields()).map(|(column, field)| {
        if column.data_type() == field.data_type() { Ok(Arc::clone(column)) } else { cast(column, field.data_type()) }
    });
    let columns = columns.collect::<Result<Vec<_>, _>>();
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    columns
        .and_then(|columns| RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options))
        .map_err(|error| SqlError::internal("the result does not have the promised columns", error))
}
