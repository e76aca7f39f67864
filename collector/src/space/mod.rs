//! Space: retention and size of each table, the cap of all together, and a floor of free space.

mod disk; // What is on the disk.
mod choose; // Which segments go.
mod keep; // The task that keeps to the limits.
mod orphans; // Files that no commit names.

pub(crate) use self::keep::Keeper;
pub use self::keep::{SpaceOptions, SpaceState};
