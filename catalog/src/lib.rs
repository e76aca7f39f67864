//! What exists: tables, batches, probes, accounts, segments; and the traits by which the parts meet.

pub mod table; // Tables and columns.
pub mod batch; // Rows under way.
pub mod manifest; // One committed state of the lake: tables, segments, watermark.
pub mod error; // What can go wrong in the catalog.
mod database; // SQLite or PostgreSQL behind one face.
pub mod lake; // The DuckLake manifest of one tenant.
pub mod control; // Accounts, probes and settings.
pub mod probe; // Probes: definition, state, health.
pub mod ports; // The traits that join collector, query and api.
#[cfg(any(test, feature = "testing"))]
pub mod testing; // For tests: both databases.

pub use control::Control;
pub use error::CatalogError;
pub use lake::Lake;
