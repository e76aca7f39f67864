//! Envelopes as payloads of log entries: Arrow IPC with the schema once per file and table.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::buffer::Buffer;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::ipc::MetadataVersion;
use arrow::ipc::reader::StreamDecoder;
use arrow::ipc::writer::{DictionaryTracker, IpcDataGenerator, IpcWriteOptions, StreamEncoder};
use arrow::record_batch::RecordBatch;
use probepilot_catalog::batch::{Batch, Envelope};
use probepilot_catalog::table::TableId;

use super::format::{ALIGNMENT_BYTES, EntryHeader, EntryKind, HEADER_BYTES, encode_entry_header, padding};

/// Why a payload whose checksum is right cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The payload ends too early or its numbers contradict each other.
    #[error("the payload is malformed")]
    Malformed,
    /// The entry with the schema was damaged.
    #[error("the schema of table {0} was lost with an earlier entry of the file")]
    SchemaLost(TableId),
    /// Arrow refuses the message.
    #[error("the rows cannot be decoded")]
    Arrow(#[from] ArrowError),
}

/// Who sent an envelope, and which of theirs it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// [`Envelope::producer`]
    pub producer: Arc<str>,
    /// [`Envelope::epoch`]
    pub epoch: u64,
    /// [`Envelope::number`]
    pub number: u64,
}

/// Writes entries of one file.
#[derive(Default)]
pub struct EntryEncoder {
    /// The schema each table's batches had last.
    tables: HashMap<TableId, TableEncoder>,
    /// The number the next schema of this file gets.
    schema_next: u32,
}

struct TableEncoder {
    schema: SchemaRef,
    number: u32,
    encoder: StreamEncoder,
}

impl EntryEncoder {
    /// Appends the envelope's entry to `out`, and before it those of schemas this file does not hold yet.
    ///
    /// On an error `out` is as before, and the file's schemas are written anew when they are next needed.
    pub fn encode(&mut self, sequence: u64, envelope: &Envelope, out: &mut Vec<u8>) -> Result<(), ArrowError> {
        let start = out.len();
        let result = self.encode_or_leave_partly(sequence, envelope, out);
        if result.is_err() {
            out.truncate(start);
            self.tables.clear();
        }
        result
    }

    fn encode_or_leave_partly(
        &mut self,
        sequence: u64,
        envelope: &Envelope,
        out: &mut Vec<u8>,
    ) -> Result<(), ArrowError> {
        for batch in &envelope.batches {
            self.encode_schema(sequence, batch, out)?;
        }
        let entry = begin_entry(out);
        let Envelope { producer, epoch, number, batches } = envelope;
        out.extend_from_slice(&epoch.to_le_bytes());
        out.extend_from_slice(&number.to_le_bytes());
        out.extend_from_slice(&length_u32(producer.len())?.to_le_bytes());
        out.extend_from_slice(&length_u32(batches.len())?.to_le_bytes());
        out.extend_from_slice(producer.as_bytes());
        pad(out);
        for batch in batches {
            let table = self.tables.get_mut(&batch.table).expect("its schema was encoded above");
            let message = table.encoder.encode(&batch.rows)?;
            write_message(out, batch.table, table.number, &message)?;
        }
        let rows = u32::try_from(envelope.row_count()).unwrap_or(u32::MAX);
        end_entry(out, entry, sequence, rows, EntryKind::Envelope)
    }

    fn encode_schema(&mut self, sequence: u64, batch: &Batch, out: &mut Vec<u8>) -> Result<(), ArrowError> {
        let schema = batch.rows.schema_ref();
        let known = self
            .tables
            .get(&batch.table)
            .is_some_and(|table| Arc::ptr_eq(&table.schema, schema) || table.schema == *schema);
        if known {
            return Ok(());
        }
        let options = IpcWriteOptions::try_new(ALIGNMENT_BYTES, false, MetadataVersion::V5)?;
        let mut encoder = StreamEncoder::try_new_with_options(schema, options.clone())?;
        let mut dictionaries = DictionaryTracker::new(false);
        let message =
            IpcDataGenerator::default().schema_to_bytes_with_dictionary_tracker(schema, &mut dictionaries, &options);
        let mut bytes = Vec::new();
        arrow::ipc::writer::write_message(&mut bytes, message, &options)?;
        // The encoder gives the schema before the first batch; ours is an entry of its own.
        encoder.encode(&RecordBatch::new_empty(schema.clone()))?;
        let number = self.schema_next;
        self.schema_next += 1;
        let entry = begin_entry(out);
        write_message(out, batch.table, number, &[bytes.into()])?;
        end_entry(out, entry, sequence, 0, EntryKind::Schema)?;
        self.tables.insert(batch.table, TableEncoder { schema: schema.clone(), number, encoder });
        Ok(())
    }
}

fn begin_entry(out: &mut Vec<u8>) -> usize {
    let entry = out.len();
    out.extend_from_slice(&[0; HEADER_BYTES]);
    entry
}

fn end_entry(out: &mut [u8], entry: usize, sequence: u64, rows: u32, kind: EntryKind) -> Result<(), ArrowError> {
    let payload = &out[entry + HEADER_BYTES..];
    let header = EntryHeader {
        sequence,
        payload_bytes: length_u32(payload.len())?,
        payload_crc: crc32fast::hash(payload),
        rows,
        kind,
    };
    out[entry..entry + HEADER_BYTES].copy_from_slice(&encode_entry_header(&header));
    Ok(())
}

/// Table, schema number, length, and the bytes of IPC messages.
fn write_message(out: &mut Vec<u8>, table: TableId, schema: u32, message: &[Buffer]) -> Result<(), ArrowError> {
    let length = message.iter().map(Buffer::len).sum::<usize>();
    out.extend_from_slice(&table.0.to_le_bytes());
    out.extend_from_slice(&schema.to_le_bytes());
    out.extend_from_slice(&length_u32(length)?.to_le_bytes());
    for buffer in message {
        out.extend_from_slice(buffer);
    }
    pad(out);
    Ok(())
}

fn pad(out: &mut Vec<u8>) {
    out.resize(out.len() + padding(out.len()), 0);
}

fn length_u32(length: usize) -> Result<u32, ArrowError> {
    u32::try_from(length).map_err(|_| ArrowError::InvalidArgumentError("an entry of 4 GiB or more".into()))
}

/// Reads entries of one file, in order.
#[derive(Default)]
pub struct EntryDecoder {
    /// The decoder of each schema of this file.
    schemas: HashMap<u32, StreamDecoder>,
}

impl EntryDecoder {
    /// Takes in a schema's payload.
    pub fn schema(&mut self, payload: &Buffer) -> Result<(), DecodeError> {
        let mut cursor = Cursor { payload, at: 0 };
        let (_, number, mut message) = cursor.message()?;
        let mut decoder = StreamDecoder::new();
        decoder.decode(&mut message)?;
        self.schemas.insert(number, decoder);
        Ok(())
    }

    /// The envelope in a payload; its arrays share the payload's memory.
    pub fn envelope(&mut self, payload: &Buffer) -> Result<Envelope, DecodeError> {
        let mut cursor = Cursor { payload, at: 0 };
        let (Identity { producer, epoch, number }, batch_count) = cursor.identity()?;
        let mut batches = Vec::new();
        for _ in 0..batch_count {
            let (table, schema, mut message) = cursor.message()?;
            let decoder = self.schemas.get_mut(&schema).ok_or(DecodeError::SchemaLost(table))?;
            let rows = decoder.decode(&mut message)?.ok_or(DecodeError::Malformed)?;
            batches.push(Batch { table, rows });
        }
        Ok(Envelope { producer, epoch, number, batches })
    }
}

/// Who sent the envelope in a payload, without decoding its rows.
pub fn identity(payload: &Buffer) -> Result<Identity, DecodeError> {
    Cursor { payload, at: 0 }.identity().map(|(identity, _)| identity)
}

struct Cursor<'a> {
    payload: &'a Buffer,
    at: usize,
}

impl Cursor<'_> {
    fn take(&mut self, length: usize) -> Result<&[u8], DecodeError> {
        let end = self.at.checked_add(length).ok_or(DecodeError::Malformed)?;
        let bytes = self.payload.get(self.at..end).ok_or(DecodeError::Malformed)?;
        self.at = end;
        Ok(bytes)
    }

    fn u32(&mut self) -> Result<u32, DecodeError> {
        Ok(u32::from_le_bytes(self.take(4)?.try_into().expect("four bytes were taken")))
    }

    fn u64(&mut self) -> Result<u64, DecodeError> {
        Ok(u64::from_le_bytes(self.take(8)?.try_into().expect("eight bytes were taken")))
    }

    fn align(&mut self) {
        self.at += padding(self.at);
    }

    fn identity(&mut self) -> Result<(Identity, u32), DecodeError> {
        let epoch = self.u64()?;
        let number = self.u64()?;
        let producer_length = self.u32()? as usize;
        let batch_count = self.u32()?;
        let producer = std::str::from_utf8(self.take(producer_length)?).map_err(|_| DecodeError::Malformed)?.into();
        self.align();
        Ok((Identity { producer, epoch, number }, batch_count))
    }

    fn message(&mut self) -> Result<(TableId, u32, Buffer), DecodeError> {
        let table = TableId(self.u64()? as i64);
        let schema = self.u32()?;
        let length = self.u32()? as usize;
        let at = self.at;
        self.take(length)?;
        self.align();
        Ok((table, schema, self.payload.slice_with_length(at, length)))
    }
}
