//! Messages to the client, collected and sent together.

use std::io;

use bytes::{Buf, BufMut, BytesMut};
use pgwire::messages::PgWireBackendMessage;
use pgwire::messages::response::{ErrorResponse, NoticeResponse};
use probepilot_sql::SqlError;
use tokio::io::{AsyncWrite, AsyncWriteExt};

/// What is collected at most before it is sent; a single row may be larger.
pub const FLUSH_BYTES: usize = 64 << 10;

/// How bad an error or notice is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The statement failed.
    Error,
    /// The connection ends.
    Fatal,
    /// Something to know.
    Notice,
    /// Something that is probably a mistake.
    Warning,
}

impl Severity {
    fn word(self) -> &'static str {
        match self {
            Severity::Error => "ERROR",
            Severity::Fatal => "FATAL",
            Severity::Notice => "NOTICE",
            Severity::Warning => "WARNING",
        }
    }
}

/// The writing half of a connection.
pub struct Outbox {
    writer: Box<dyn AsyncWrite + Send + Sync + Unpin>,
    /// What was not sent yet: whole messages.
    pub buffer: BytesMut,
}

impl Outbox {
    /// Writes to `writer`.
    pub fn new(writer: impl AsyncWrite + Send + Sync + Unpin + 'static) -> Outbox {
        Outbox { writer: Box::new(writer), buffer: BytesMut::with_capacity(8 << 10) }
    }

    /// Adds a message.
    pub fn put(&mut self, message: &PgWireBackendMessage) {
        // pgwire refuses only messages that are too long for a client, and ours are bounded: see `put_tag`, `put_error`.
        message.encode(&mut self.buffer).expect("our messages are within the protocol's bounds");
    }

    /// Adds a message that has no body.
    pub fn put_empty(&mut self, kind: u8) {
        self.buffer.put_u8(kind);
        self.buffer.put_i32(4);
    }

    /// Adds `CommandComplete`.
    pub fn put_tag(&mut self, tag: &str) {
        let end = tag.char_indices().nth(200).map_or(tag.len(), |(end, _)| end);
        self.buffer.put_u8(b'C');
        self.buffer.put_i32((end + 5) as i32);
        self.buffer.put_slice(&tag.as_bytes()[..end]);
        self.buffer.put_u8(0);
    }

    /// Adds an error: all fields PostgreSQL's clients look at.
    pub fn put_error(&mut self, severity: Severity, error: &SqlError) {
        self.put(&PgWireBackendMessage::ErrorResponse(ErrorResponse::new(fields(severity, error))));
    }

    /// Adds a notice or warning.
    pub fn put_notice(&mut self, severity: Severity, notice: &SqlError) {
        self.put(&PgWireBackendMessage::NoticeResponse(NoticeResponse::new(fields(severity, notice))));
    }

    /// Sends all that was added. Waits as long as the client does not read.
    ///
    /// Dropping the future loses nothing: what was not sent stays in the buffer.
    pub async fn flush(&mut self) -> io::Result<()> {
        while self.buffer.has_remaining() {
            if self.writer.write_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
        }
        // One wide row should not keep its memory for the rest of the connection.
        if self.buffer.capacity() > 4 * FLUSH_BYTES {
            self.buffer = BytesMut::with_capacity(FLUSH_BYTES);
        }
        self.writer.flush().await
    }

    /// Sends what is left and closes the socket's writing side.
    pub async fn close(&mut self) -> io::Result<()> {
        self.flush().await?;
        self.writer.shutdown().await
    }
}

fn fields(severity: Severity, error: &SqlError) -> Vec<(u8, String)> {
    // A zero byte ends a field on the wire.
    let clean = |text: &str| text.replace('\0', "\\0");
    let word = severity.word().to_owned();
    let mut fields =
        vec![(b'S', word.clone()), (b'V', word), (b'C', error.state.0.to_owned()), (b'M', clean(&error.message))];
    fields.extend(error.detail.as_deref().map(|detail| (b'D', clean(detail))));
    fields.extend(error.hint.as_deref().map(|hint| (b'H', clean(hint))));
    fields.extend(error.context.as_ref().map(|context| (b'W', clean(&context.0))));
    fields.extend(error.position.map(|position| (b'P', position.to_string())));
    fields
}
