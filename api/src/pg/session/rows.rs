//! Rows on their way from a stream to the client: never more of them in memory than one batch and one buffer.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::sql::sqlparser::ast;
use futures::{FutureExt, StreamExt};
use probepilot_catalog::ports::RowStream;
use probepilot_sql::statement::Statement;
use probepilot_sql::{SqlError, SqlState};

use super::copy::CopyFormat;
use super::link::{Failure, Link};
use super::scroll::{Kept, Place, Step};
use crate::pg::encode::{Format, WireColumn, WireType, Zone, data_rows};
use crate::pg::wire::{FLUSH_BYTES, Severity};

/// PostgreSQL's limit on the columns of a result.
const COLUMNS_MAX: usize = 1_664;

/// How rows are sent.
#[derive(Clone, Copy)]
pub enum Framing<'a> {
    /// As a query's rows.
    Rows,
    /// As a copy's.
    Copy(&'a CopyFormat),
    /// Not at all: they are passed over.
    Skip,
}

/// A stream that is being read, and how far.
pub struct RowSource {
    stream: RowStream,
    /// A batch of which rows from the second value on were not sent yet.
    batch: Option<(RecordBatch, usize)>,
    /// The stream has ended.
    finished: bool,
    /// Rows that were passed, of a cursor that can go back.
    kept: Option<Kept>,
    /// Where the reader is.
    pub place: Place,
    /// Turns the two columns of the engine's plans into lines.
    plans: bool,
}

/// What [`RowSource::send`] did.
pub struct Sent {
    /// Rows that were taken.
    pub rows: u64,
    /// There are no more.
    pub finished: bool,
}

impl RowSource {
    /// The beginning of `stream`, the rows of `statement`, which are kept in `kept` if they must be read again.
    pub fn new(stream: RowStream, statement: &Statement, kept: Option<Kept>) -> RowSource {
        let plans = is_plan(statement, &stream.schema);
        RowSource { stream, batch: None, finished: false, kept, place: Place::default(), plans }
    }

    /// Takes rows until `rows_max` and sends them, as soon as 64 KiB are collected or no further row is there yet.
    pub async fn send(
        &mut self,
        link: &mut Link,
        columns: &[WireColumn],
        zone: &Zone,
        rows_max: Option<u64>,
        framing: Framing<'_>,
    ) -> Result<Sent, Failure> {
        let mut sent = 0;
        while rows_max.is_none_or(|rows_max| sent < rows_max) {
            let Some((batch, next)) = self.take_batch(link).await? else {
                self.place.at_end = true;
                return Ok(Sent { rows: sent, finished: true });
            };
            if batch.num_columns() != columns.len() {
                let message = "the statement's columns have changed since it was prepared";
                return Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, message).into());
            }
            let left = rows_max.map_or(u64::MAX, |rows_max| rows_max - sent);
            let end = batch.num_rows().min(next.saturating_add(usize::try_from(left).unwrap_or(usize::MAX)));
            let out = &mut link.outbox.buffer;
            let taken = match framing {
                Framing::Rows => data_rows(columns, &batch, next..end, zone, FLUSH_BYTES, out)?,
                Framing::Copy(format) => {
                    format.rows(columns, &batch, next..end, self.place.row, zone, FLUSH_BYTES, out)?
                }
                Framing::Skip => end - next,
            };
            sent += taken as u64;
            self.place.row += taken as u64;
            if self.kept.is_none() && next + taken < batch.num_rows() {
                self.batch = Some((batch, next + taken));
            }
            if link.outbox.buffer.len() >= FLUSH_BYTES {
                link.flush().await?;
            }
        }
        Ok(Sent { rows: sent, finished: false })
    }

    /// Whether rows that were passed can be read again.
    pub fn can_go_back(&self) -> bool {
        self.kept.is_some()
    }

    /// Does a step of a cursor, of which at most `rows_max` rows are taken.
    pub async fn step(
        &mut self,
        step: Step,
        link: &mut Link,
        columns: &[WireColumn],
        zone: &Zone,
        rows_max: Option<u64>,
        framing: Framing<'_>,
    ) -> Result<Sent, Failure> {
        match step {
            Step::Nothing => Ok(Sent { rows: 0, finished: true }),
            Step::Stay => Ok(Sent { rows: 1, finished: true }),
            Step::Forward(rows) => {
                let rows = rows.into_iter().chain(rows_max).min();
                self.send(link, columns, zone, rows, framing).await
            }
            Step::Backward(rows) => {
                let rows = rows.into_iter().chain(rows_max).min().unwrap_or(u64::MAX);
                self.send_back(link, columns, zone, rows, framing).await
            }
            Step::Before(row) => {
                let (before, known) = (row - 1, self.kept.as_ref().map_or(0, Kept::rows));
                if before <= known || before < self.place.row {
                    self.place = Place { row: before, at_end: false };
                    return Ok(Sent { rows: 0, finished: true });
                }
                let passed = Some(before - self.place.row);
                self.send(link, columns, zone, passed, Framing::Skip).await
            }
            Step::Again => {
                let Place { row, at_end } = self.place;
                if row > 0 && !at_end {
                    self.place.row = row + 1;
                    self.send_back(link, columns, zone, 1, framing).await?;
                    return Ok(Sent { rows: 1, finished: true });
                }
                Ok(Sent { rows: 0, finished: true })
            }
        }
    }

    /// Takes up to `rows` rows backwards from the one before the current.
    async fn send_back(
        &mut self,
        link: &mut Link,
        columns: &[WireColumn],
        zone: &Zone,
        rows: u64,
        framing: Framing<'_>,
    ) -> Result<Sent, Failure> {
        let kept = self.kept.as_ref().ok_or_else(forward_only)?;
        let Place { row, at_end } = self.place;
        // How many rows there are up to the next one that is taken.
        let mut left = if at_end { row } else { row.saturating_sub(1) };
        let mut sent = 0;
        while sent < rows && left > 0 {
            tokio::task::consume_budget().await;
            link.check()?;
            let Some(batch) = kept.reversed(left - 1, rows - sent)? else { break };
            let mut next = 0;
            while matches!(framing, Framing::Rows) && next < batch.num_rows() {
                next += data_rows(columns, &batch, next..batch.num_rows(), zone, FLUSH_BYTES, &mut link.outbox.buffer)?;
                if link.outbox.buffer.len() >= FLUSH_BYTES {
                    link.flush().await?;
                }
            }
            sent += batch.num_rows() as u64;
            left -= batch.num_rows() as u64;
        }
        let finished = sent < rows;
        if rows > 0 {
            self.place = Place { row: if finished { 0 } else { left + 1 }, at_end: false };
        }
        Ok(Sent { rows: sent, finished })
    }

    async fn take_batch(&mut self, link: &mut Link) -> Result<Option<(RecordBatch, usize)>, Failure> {
        if let Some(found) = self.kept.as_ref().and_then(|kept| kept.find(self.place.row)) {
            return Ok(Some(found));
        }
        if let Some(rest) = self.batch.take() {
            return Ok(Some(rest));
        }
        while !self.finished {
            // A stream that is always ready must not keep the other tasks, or a cancel request, from their turn.
            tokio::task::consume_budget().await;
            link.check()?;
            let next = match self.stream.batches.next().now_or_never() {
                Some(next) => next,
                None => {
                    link.flush().await?;
                    link.guard(self.stream.batches.next()).await?
                }
            };
            match next {
                None => {
                    self.finished = true;
                    // The work behind the stream is over: its memory and its pins are not needed any longer.
                    self.stream.batches = futures::stream::empty().boxed();
                    for notice in self.stream.notices.lock().drain(..) {
                        link.outbox.put_notice(Severity::Notice, &SqlError::new(SqlState("00000"), notice));
                    }
                }
                Some(batch) => {
                    let batch = batch?;
                    let batch = if self.plans { plan_lines(&batch)? } else { batch };
                    if batch.num_rows() > 0 {
                        if let Some(kept) = &mut self.kept {
                            kept.push(batch.clone())?;
                        }
                        return Ok(Some((batch, 0)));
                    }
                }
            }
        }
        Ok(None)
    }
}

/// A cursor without SCROLL is asked for rows that it has passed.
pub fn forward_only() -> SqlError {
    SqlError::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, "cursor can only scan forward")
        .hint("Declare it with SCROLL: then it keeps its rows.")
}

/// The columns as the client is told of them. `formats` are the codes of Bind: none for all text, one for all, or one
/// for each.
pub fn wire_columns(schema: &Schema, formats: &[i16]) -> Result<Vec<WireColumn>, SqlError> {
    let count = schema.fields().len();
    if count > COLUMNS_MAX {
        let message = format!("target lists can have at most {COLUMNS_MAX} entries");
        return Err(SqlError::new(SqlState("54011"), message));
    }
    if formats.len() > 1 && formats.len() != count {
        return Err(SqlError::new(
            SqlState::PROTOCOL_VIOLATION,
            format!("bind message has {} result formats but query has {count} columns", formats.len()),
        ));
    }
    let format = |index: usize| match formats.get(index).or(formats.first()) {
        None | Some(0) => Ok(Format::Text),
        Some(1) => Ok(Format::Binary),
        Some(code) => Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, format!("unsupported format code: {code}"))),
    };
    schema
        .fields()
        .iter()
        .enumerate()
        .map(|(index, field)| {
            let wire = WireType::of_field(field);
            Ok(WireColumn { field: Arc::clone(field), wire, format: format(index)? })
        })
        .collect()
}

/// The columns of a statement's rows: as planned, except that the engine's plans become lines.
pub fn shown_schema(statement: &Statement, planned: SchemaRef) -> SchemaRef {
    if is_plan(statement, &planned) { plan_schema() } else { planned }
}

fn plan_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("QUERY PLAN", DataType::Utf8, true)]))
}

fn is_plan(statement: &Statement, schema: &Schema) -> bool {
    let explain = matches!(statement, Statement::Sql(sql) if matches!(**sql, ast::Statement::Explain { .. }));
    explain && schema.fields().iter().map(|field| field.name().as_str()).eq(["plan_type", "plan"])
}

/// `plan_type` and `plan`, which has line breaks, as PostgreSQL's one column of lines.
fn plan_lines(batch: &RecordBatch) -> Result<RecordBatch, SqlError> {
    let text = |index: usize| -> Result<ArrayRef, SqlError> {
        cast(batch.column(index), &DataType::Utf8).map_err(|error| SqlError::internal("a plan must be text", error))
    };
    let (kinds, plans) = (text(0)?, text(1)?);
    let (kinds, plans) = (kinds.as_string::<i32>(), plans.as_string::<i32>());
    let mut lines = Vec::new();
    for row in (0..batch.num_rows()).filter(|row| plans.is_valid(*row)) {
        if batch.num_rows() > 1 {
            lines.push(format!("{}:", kinds.value(row)));
        }
        lines.extend(plans.value(row).lines().map(str::to_owned));
    }
    let lines: ArrayRef = Arc::new(StringArray::from(lines));
    RecordBatch::try_new(plan_schema(), vec![lines]).map_err(|error| SqlError::internal("a plan must be text", error))
}

/// A stream of one batch of text columns.
pub fn text_rows(names: &[&str], rows: &[Vec<String>]) -> RowStream {
    let fields: Vec<Field> = names.iter().map(|name| Field::new(*name, DataType::Utf8, true)).collect();
    let columns = (0..names.len())
        .map(|column| Arc::new(StringArray::from_iter_values(rows.iter().map(|row| &row[column]))) as ArrayRef)
        .collect();
    let schema = Arc::new(Schema::new(fields));
    let batch = RecordBatch::try_new(Arc::clone(&schema), columns).expect("the columns are as long as there are rows");
    RowStream { schema, batches: futures::stream::iter([Ok(batch)]).boxed(), notices: Arc::default() }
}
