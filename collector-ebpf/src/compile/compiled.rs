//! What comes out of the compiler: a program, and how its records become rows.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use probepilot_sql::SqlType;

use super::aggregate::WindowParts;
use super::layout::Layout;
use super::pair::Pair;
use super::split::Split;
use crate::after::AfterPart;
use crate::decode::RecordDecoder;
use crate::explain;
use crate::object::ProgramObject;
use crate::windows::WindowDecoder;

/// A column of the result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputColumn {
    /// Its name; not unique in a live query.
    pub name: String,
    /// Its type.
    pub sql_type: SqlType,
    /// Whether it can be NULL.
    pub nullable: bool,
    /// Meaning and unit.
    pub comment: Option<String>,
}

/// A query that can be loaded, and whose records can be decoded.
#[derive(Clone, Debug)]
pub struct CompiledProbe {
    /// The program.
    pub object: ProgramObject,
    /// The result's columns.
    pub columns: Vec<OutputColumn>,
    /// Rows after which the query ends; `None` for all.
    pub limit: Option<u64>,
    /// When the query ends, Unix nanoseconds; `None` for never.
    pub until_unix_ns: Option<i64>,
    /// What the user should be told though it is no error.
    pub notices: Vec<String>,
    /// What runs where, in a line: `filter in kernel; comm LIKE '%x' after it`.
    pub summary: String,
    pub(crate) split: Arc<Split>,
    pub(crate) layout: Arc<Layout>,
    pub(crate) pair: Option<Arc<Pair>>,
    pub(crate) stack_bytes: u16,
    pub(crate) windows: Option<Arc<WindowParts>>,
    pub(super) sample_keep: u32,
    pub(super) after: Arc<AfterPart>,
}

impl CompiledProbe {
    /// A decoder of its records.
    pub fn decoder(&self) -> RecordDecoder {
        RecordDecoder::new(Arc::clone(&self.layout), Arc::clone(&self.after))
    }

    /// What makes rows of its windows; `None` when it sends records.
    pub fn window_decoder(&self) -> Option<WindowDecoder> {
        let parts = self.windows.as_ref()?;
        Some(WindowDecoder::new(Arc::clone(&self.layout), Arc::clone(parts), self.decoder()))
    }

    /// Whether its rows are windows of groups.
    pub fn aggregates(&self) -> bool {
        self.windows.is_some()
    }

    /// Groups of a window with a row of their own, as the probe's options say.
    pub fn set_keys_max(&mut self, keys_max: u32) {
        if let Some(maps) = self.object.windows.as_mut().filter(|maps| maps.keys_max.is_none()) {
            maps.keys_max = Some(keys_max);
        }
    }

    /// What its `TABLESAMPLE` keeps of 2³² events; 0 for all.
    pub fn sample_keep(&self) -> u32 {
        self.sample_keep
    }

    /// Whether the kernel may let events through that become no row: what is after it decides as well.
    pub fn filters_after_kernel(&self) -> bool {
        !self.split.after_filters.is_empty()
    }

    /// Bytes of its longest record.
    pub fn record_bytes_max(&self) -> u32 {
        self.layout.bytes.into()
    }

    /// The schema of its rows.
    pub fn schema(&self) -> SchemaRef {
        self.after.output_schema()
    }

    /// What runs where and what it costs; with the program when `verbose`.
    pub fn explain(&self, verbose: bool) -> Vec<String> {
        explain::lines(self, verbose)
    }
}
