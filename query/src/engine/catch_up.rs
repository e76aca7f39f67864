//! Before a statement takes its snapshot: what still gathers is appended to the log, and the tail shows it.

use std::any::Any;
use std::time::Duration;

use datafusion::common::Result;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::datasource::source_as_provider;
use datafusion::logical_expr::LogicalPlan;

use super::Engine;
use crate::scan::StoredTable;

/// How long a statement waits for the tail to show what is in the log. It waits longer only when the tail has no room left;
/// then the statement sees what is there.
const TAIL_WAIT_MAX: Duration = Duration::from_millis(20);

impl Engine {
    /// Waits, for a bounded time, until a snapshot shows every event that happened before this call. A plan without stored
    /// tables has nothing to wait for.
    pub(super) async fn catch_up(&self, plan: &LogicalPlan) -> Result<()> {
        let Some(gathering) = &self.gathering else { return Ok(()) };
        if !reads_stored_tables(plan)? {
            return Ok(());
        }
        let sequence = gathering.settle().await;
        if tokio::time::timeout(TAIL_WAIT_MAX, self.feed.reach(sequence)).await.is_err() {
            tracing::debug!(sequence, "a statement began before the tail showed all that is in the log");
        }
        Ok(())
    }
}

fn reads_stored_tables(plan: &LogicalPlan) -> Result<bool> {
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            let provider = source_as_provider(&scan.source)?;
            found |= (&*provider as &dyn Any).is::<StoredTable>();
        }
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(found)
}
