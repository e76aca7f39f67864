//! The threads that plans run on.
//!
//! An operator may compute for seconds before it gives its thread back. On the doors' own threads two such queries would keep
//! everybody waiting, their own cancel requests too.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use datafusion::common::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::RecordBatchReceiverStreamBuilder;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use futures::StreamExt;
use tokio::runtime::{Builder, Runtime};
use tokio_util::task::AbortOnDropHandle;

/// Batches that a plan may be ahead of who reads its rows: one on its way, one being made.
const BATCHES_AHEAD: usize = 1;

/// Threads for each processor. A sort or a join's preparation may take a thread for a second; the system shares processors out among
/// threads, so that short plans go on beside it.
const THREADS_PER_PROCESSOR: usize = 4;

/// The threads.
pub(super) struct Workers {
    /// `None` when it has been shut down.
    runtime: Option<Runtime>,
}

impl Workers {
    /// Starts the threads.
    pub fn start() -> std::io::Result<Workers> {
        let number = AtomicUsize::new(0);
        let name = move || format!("query-{}", number.fetch_add(1, Ordering::Relaxed));
        let threads = THREADS_PER_PROCESSOR * std::thread::available_parallelism()?.get();
        let runtime = Builder::new_multi_thread().worker_threads(threads).enable_all().thread_name_fn(name).build()?;
        Ok(Workers { runtime: Some(runtime) })
    }

    fn runtime(&self) -> &Runtime {
        self.runtime.as_ref().expect("it is taken only when the workers are dropped")
    }

    /// Works on a thread of ours. Dropping the future ends the work at its next pause; a panic goes on in who waits.
    pub async fn run<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> T {
        match AbortOnDropHandle::new(self.runtime().spawn(work)).await {
            Ok(done) => done,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The workers are gone, and with them the engine.
                Err(_) => std::future::pending().await,
            },
        }
    }

    /// The rows of a plan that runs on our threads. Dropping the stream ends the plan at its next pause.
    pub fn execute(&self, plan: Arc<dyn ExecutionPlan>, context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let mut stream = RecordBatchReceiverStreamBuilder::new(plan.schema(), BATCHES_AHEAD);
        let sender = stream.tx();
        let run = async move {
            let mut rows = execute_stream(plan, context)?;
            while let Some(batch) = rows.next().await {
                if sender.send(Ok(batch?)).await.is_err() {
                    break; // Nobody reads any more.
                }
            }
            Result::Ok(())
        };
        stream.spawn_on(run, self.runtime().handle());
        stream.build()
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        // It may be dropped where nobody may wait for threads.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
