//! The doors of ProbePilot, and what joins them to the rest of the server.

pub mod pg; // PostgreSQL's wire protocol.
