//! The engine over a small lake in memory.

mod support; // The lake.
mod scan; // Rows of segments and tail.
mod newest; // The newest rows first: what is read for them, and that they are the right ones.
mod psql; // What psql sends.
mod statements; // Names, errors, settings, parameters, cancel.
