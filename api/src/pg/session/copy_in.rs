//! COPY FROM STDIN: what the client sends becomes batches of the table's columns, all of them or none.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use datafusion::scalar::ScalarValue;
use datafusion::sql::sqlparser::ast::{Ident, ObjectName};
use pgwire::messages::PgWireBackendMessage;
use pgwire::messages::copy::CopyInResponse;
use probepilot_sql::{SqlError, SqlState};

use super::Connection;
use super::copy::{CopyFormat, Kind};
use super::copy_split::{Field, NullRule, Splitter, bad};
use super::link::Failure;
use super::parameters;
use super::portal::{Portal, State};
use crate::pg::backend::CopyTarget;
use crate::pg::encode::{WireType, Zone};
use crate::pg::wire::Message;

/// Rows that are handed on together.
const BATCH_ROWS_MAX: usize = 8_192;
/// Bytes of input after which rows are handed on, however few.
const BATCH_BYTES_MAX: usize = 4 << 20;
/// Characters of a value or line that an error quotes.
const QUOTED_CHARACTERS_MAX: usize = 100;

impl Connection {
    /// Takes rows from the client into a table.
    pub(super) async fn copy_in(
        &mut self,
        portal: &mut Portal,
        table: &ObjectName,
        columns: &[Ident],
        format: &CopyFormat,
    ) -> Result<(), Failure> {
        let text = Arc::clone(&portal.prepared.text);
        let mut target = self.link.guard(self.session.copy_in(&text, table, columns)).await??;
        let mut rows = Rows::new(target.as_ref(), format.clone(), self.zone())?;
        let code = format.value_format().code();
        let count = rows.columns.len();
        let response = CopyInResponse::new(code as i8, count as i16, vec![code; count]);
        self.link.outbox.put(&PgWireBackendMessage::CopyInResponse(response));
        self.link.flush().await?;
        loop {
            let last = match self.link.receive().await? {
                Message::CopyData(bytes) => {
                    rows.splitter.push(&bytes);
                    false
                }
                Message::CopyDone => true,
                Message::CopyFail(why) => {
                    let message = format!("COPY from stdin failed: {why}");
                    return Err(SqlError::new(SqlState::QUERY_CANCELED, message).into());
                }
                // Drivers that pipeline send them early.
                Message::Flush | Message::Sync => continue,
                Message::Terminate => return Err(Failure::Gone),
                _ => {
                    let message = "unexpected message during COPY from stdin";
                    return Err(SqlError::new(SqlState::PROTOCOL_VIOLATION, message).into());
                }
            };
            while rows.take(last)? {
                self.link.check()?;
                target.write(rows.batch()?).await?;
                tokio::task::consume_budget().await;
            }
            if last {
                break;
            }
        }
        if rows.waiting > 0 {
            target.write(rows.batch()?).await?;
        }
        // From here on the rows are the table's: this cannot stop half way, and is awaited.
        target.finish().await?;
        self.commit_statement().await?;
        portal.state = State::Finished;
        self.link.outbox.put_tag(&format!("COPY {}", rows.count));
        Ok(())
    }
}

struct Column {
    name: String,
    wire: WireType,
    nullable: bool,
    values: Vec<ScalarValue>,
}

/// Rows on their way from bytes to a batch.
struct Rows {
    splitter: Splitter,
    table: String,
    schema: SchemaRef,
    columns: Vec<Column>,
    binary: bool,
    zone: Zone,
    /// Rows that wait for the next batch, and the bytes they came from.
    waiting: usize,
    waiting_bytes: usize,
    /// All rows so far.
    count: u64,
}

impl Rows {
    fn new(target: &dyn CopyTarget, format: CopyFormat, zone: Zone) -> Result<Rows, SqlError> {
        let schema = target.schema();
        let null_rules = null_rules(&schema, &format)?;
        let columns = schema.fields().iter().map(|field| Column {
            name: field.name().clone(),
            wire: WireType::of_field(field),
            nullable: field.is_nullable(),
            values: Vec::new(),
        });
        Ok(Rows {
            columns: columns.collect(),
            table: target.name().to_owned(),
            binary: format.kind == Kind::Binary,
            splitter: Splitter::new(format, null_rules),
            schema,
            zone,
            waiting: 0,
            waiting_bytes: 0,
            count: 0,
        })
    }

    /// Reads rows until there are enough for a batch, and says whether there are.
    fn take(&mut self, last: bool) -> Result<bool, SqlError> {
        loop {
            let next = self.splitter.next(self.columns.len(), last);
            let next = next.map_err(|error| error.within(format!("COPY {}, line {}", self.table, self.splitter.line)));
            let Some((fields, record)) = next? else { return Ok(false) };
            self.waiting_bytes += fields.iter().flatten().map(Bytes::len).sum::<usize>();
            self.row(&fields, &record)?;
            self.waiting += 1;
            self.count += 1;
            if self.waiting >= BATCH_ROWS_MAX || self.waiting_bytes >= BATCH_BYTES_MAX {
                return Ok(true);
            }
        }
    }

    fn row(&mut self, fields: &[Field], record: &Bytes) -> Result<(), SqlError> {
        let place = format!("COPY {}, line {}", self.table, self.splitter.line);
        let in_record = |error: SqlError| {
            if self.binary { error.within(&place) } else { error.within(format!("{place}: \"{}\"", quoted(record))) }
        };
        if let Some(column) = self.columns.get(fields.len()) {
            return Err(in_record(bad(format!("missing data for column \"{}\"", column.name))));
        }
        if fields.len() > self.columns.len() {
            return Err(in_record(bad("extra data after last expected column")));
        }
        for ((column, field), value) in self.columns.iter_mut().zip(self.schema.fields()).zip(fields) {
            if value.is_none() && !column.nullable {
                let message = format!(
                    "null value in column \"{}\" of relation \"{}\" violates not-null constraint",
                    column.name, self.table
                );
                return Err(in_record(SqlError::new(SqlState("23502"), message)));
            }
            let format = i16::from(self.binary);
            let read = parameters::read(value.as_deref(), format, column.wire.oid, Some(field.data_type()), &self.zone);
            column.values.push(read.map_err(|error| {
                let in_column = format!("{place}, column {}", column.name);
                match value {
                    Some(value) if !self.binary => error.within(format!("{in_column}: \"{}\"", quoted(value))),
                    _ => error.within(in_column),
                }
            })?);
        }
        Ok(())
    }

    /// The rows that wait.
    fn batch(&mut self) -> Result<RecordBatch, SqlError> {
        (self.waiting, self.waiting_bytes) = (0, 0);
        let wrong = |error| SqlError::internal("values of a COPY do not fit their column", error);
        let arrays = self.columns.iter_mut().map(|column| ScalarValue::iter_to_array(column.values.drain(..)));
        let arrays = arrays.collect::<Result<Vec<ArrayRef>, _>>().map_err(wrong)?;
        RecordBatch::try_new(Arc::clone(&self.schema), arrays).map_err(|error| wrong(error.into()))
    }
}

/// When fields of the columns are NULL, as FORCE_NULL and FORCE_NOT_NULL say.
fn null_rules(schema: &SchemaRef, format: &CopyFormat) -> Result<Vec<NullRule>, SqlError> {
    for (option, names) in [("FORCE_NULL", &format.force_null), ("FORCE_NOT_NULL", &format.force_not_null)] {
        if let Some(name) = names.iter().find(|name| schema.index_of(name).is_err()) {
            let message = format!("{option} column \"{name}\" not referenced by COPY");
            return Err(SqlError::new(SqlState("42P10"), message));
        }
    }
    let rule = |name: &String| NullRule {
        quoted: format.force_null.contains(name),
        plain: !format.force_not_null.contains(name),
    };
    Ok(schema.fields().iter().map(|field| rule(field.name())).collect())
}

/// The beginning of a value or line.
fn quoted(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    match text.char_indices().nth(QUOTED_CHARACTERS_MAX) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.into_owned(),
    }
}
