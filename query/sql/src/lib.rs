//! One grammar for all our statements, one table of types, our functions, and the one error users see.
//!
//! Nothing here touches a kernel, a disk or a network.

pub mod error; // What a user is told.
pub mod types; // SQL ↔ Arrow ↔ DuckLake ↔ OID.
pub mod statement; // Our statements as trees.
pub mod dialect; // PostgreSQL's, with an arrow that binds.
pub mod names; // Names as they are compared.
pub mod position; // Lines and columns to character positions.
pub mod cursor; // FETCH and MOVE.
pub mod transaction; // How a transaction is asked to be.
pub mod comments; // Comments after select items.
pub mod parse; // Text to statements.
pub mod ddl; // Statements that make and drop schemas and tables.
pub mod definition; // A probe's text, taken apart and put together.
pub mod parameters; // $1 and what it stands for.
pub mod hooks; // Which names are hooks of the kernel.
pub mod buckets; // Log-linear buckets of histograms, the same in windows of the kernel and in queries.
pub mod sample; // What share of rows TABLESAMPLE keeps.

pub use error::{SqlError, SqlState};
pub use parse::{parse, parse_one};
pub use types::SqlType;
