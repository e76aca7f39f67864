//! The engine over a small lake in memory.

mod support; // The lake.
mod scan; // Rows of segments and tail.
mod psql; // What psql sends.
mod statements; // Names, errors, settings, parameters, cancel.
