//! What exists: tables, batches, probes, accounts, segments; and the traits by which the parts meet.

pub mod batch; // Rows under way.
pub mod manifest;
pub mod ports; // The traits that join collector, query and api.
pub mod probe; // Probes: definition, state, health.
pub mod table; // Tables and columns. // One committed state of the lake: tables, segments, watermark.
