//! The read path: the tail, scans over segments and tail at one snapshot, planning, PostgreSQL's catalog, sessions.

pub mod tail; // Logged rows that no committed segment holds yet.
pub mod losses; // What was lost in the time a query looked at: the notice at its end.
pub mod scan; // A table as one provider: pruned segments and tail at one snapshot.
pub mod functions; // SQL functions that DataFusion lacks or spells differently.
mod gapfill; // Rows for buckets of time that have none.
pub mod pg_catalog; // PostgreSQL's catalog over ours.
pub mod rewrite; // What PostgreSQL's clients write, in the terms of the planner.
pub mod insert; // INSERT: where rows go, and how values become those of their columns.
pub mod engine; // Sessions: statements prepared, executed, watched, cancelled.

pub use engine::session::{Prepared, Session, SessionOptions};
pub use engine::{Engine, EngineOptions};
