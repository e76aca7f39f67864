//! The doors of ProbePilot, and what joins them to the rest of the server.

pub mod size; // Sizes as people write them.
pub mod memory; // How `--memory` is shared out.
pub mod config; // Arguments, environment and configuration file.
pub mod directory; // The data directory and its lock.
pub mod listen; // Sockets of doors.
pub mod backoff; // Failed logins slow down.
mod accounts; // The first accounts and their password files.
mod store; // Where segments are kept.
pub mod probes; // The life of probes on this server.
mod relations; // Schemas and tables that users make.
pub mod execute; // One executor behind every door.
pub mod pg; // PostgreSQL's wire protocol.
mod backend; // The executor as that door sees it.
pub mod rest; // JSON over HTTP.
pub mod compose; // Starts the parts in the order they need each other.
pub mod inspect; // `explain` and `hooks`: without a server.
