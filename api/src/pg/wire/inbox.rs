//! Messages from the client, read with every length checked.

use std::future::pending;
use std::io;

use bytes::{Buf, Bytes, BytesMut};
use probepilot_sql::{SqlError, SqlState};
use tokio::io::{AsyncRead, AsyncReadExt};

/// A message of at most this many bytes is read; a longer one ends the connection (08P01).
const MESSAGE_BYTES_MAX: usize = 64 << 20;
/// A message before authentication may have this many.
const STARTUP_BYTES_MAX: usize = 10_000;
/// While a statement runs, at most this much of what the client has already sent is read ahead. Beyond it we stop
/// reading, and notice a client that leaves only when we next write to it.
const READ_AHEAD_BYTES_MAX: usize = 1 << 20;

/// What a client says after the startup packet; the fields are those of the protocol's documentation.
#[expect(missing_docs, reason = "the names are those of the protocol's documentation, which says what they are")]
#[derive(Debug)]
pub enum Message {
    Query(String),
    Parse {
        name: String,
        query: String,
        parameter_oids: Vec<u32>,
    },
    Bind {
        portal: String,
        statement: String,
        formats: Vec<i16>,
        parameters: Vec<Option<Bytes>>,
        results: Vec<i16>,
    },
    Describe(Object, String),
    Execute {
        portal: String,
        rows_max: i32,
    },
    Close(Object, String),
    Flush,
    Sync,
    Terminate,
    /// A password, or a step of SASL.
    Password(Bytes),
    CopyData(Bytes),
    CopyDone,
    CopyFail(String),
    /// The fast-path call, which we do not have.
    FunctionCall,
}

/// What Describe and Close are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Object {
    /// A prepared statement.
    Statement,
    /// A portal or cursor.
    Portal,
}

/// The reading half of a connection.
pub struct Inbox {
    reader: Box<dyn AsyncRead + Send + Sync + Unpin>,
    buffer: BytesMut,
}

fn violation(message: impl Into<String>) -> SqlError {
    SqlError::new(SqlState::PROTOCOL_VIOLATION, message)
}

impl Inbox {
    /// Reads from `reader`, after what was read from it already.
    pub fn new(reader: impl AsyncRead + Send + Sync + Unpin + 'static, mut unread: BytesMut) -> Inbox {
        unread.reserve(8 << 10);
        Inbox { reader: Box::new(reader), buffer: unread }
    }

    /// Whether a whole message is here, so that nothing needs to be waited for.
    pub fn has_message(&self) -> bool {
        self.buffer.len() >= 5 && {
            let length = (&self.buffer[1..5]).get_u32() as usize;
            length > MESSAGE_BYTES_MAX || self.buffer.len() > length
        }
    }

    /// The next message; `None` when the client has left.
    ///
    /// Dropping the future loses nothing. After an error the connection cannot go on.
    pub async fn message(&mut self) -> io::Result<Option<Result<Message, SqlError>>> {
        loop {
            match take_message(&mut self.buffer) {
                Ok(None) => {}
                Ok(Some(message)) => return Ok(Some(Ok(message))),
                Err(error) => return Ok(Some(Err(error))),
            }
            if self.reader.read_buf(&mut self.buffer).await? == 0 {
                return Ok(None);
            }
        }
    }

    /// Completes when the client has left; what it sends meanwhile is kept.
    ///
    /// Dropping the future loses nothing.
    pub async fn closed(&mut self) {
        while self.buffer.len() < READ_AHEAD_BYTES_MAX {
            if !matches!(self.reader.read_buf(&mut self.buffer).await, Ok(bytes) if bytes > 0) {
                return;
            }
        }
        pending::<()>().await;
    }
}

/// Takes the code and body of a packet of the startup phase, which has no type byte, once it is all there.
pub fn take_packet(buffer: &mut BytesMut) -> Result<Option<(u32, Bytes)>, SqlError> {
    if buffer.len() < 4 {
        return Ok(None);
    }
    let length = (&buffer[..4]).get_u32() as usize;
    if !(8..=STARTUP_BYTES_MAX).contains(&length) {
        return Err(violation("invalid length of startup packet"));
    }
    if buffer.len() < length {
        return Ok(None);
    }
    let mut packet = buffer.split_to(length).freeze();
    packet.advance(4);
    let code = packet.get_u32();
    Ok(Some((code, packet)))
}

/// Takes the first message once it is all there. After an error nothing that follows can be read.
pub fn take_message(buffer: &mut BytesMut) -> Result<Option<Message>, SqlError> {
    if buffer.len() < 5 {
        return Ok(None);
    }
    let length = (&buffer[1..5]).get_u32() as usize;
    if !(4..=MESSAGE_BYTES_MAX).contains(&length) {
        return Err(violation("invalid message length"));
    }
    if buffer.len() <= length {
        return Ok(None);
    }
    let mut frame = buffer.split_to(length + 1).freeze();
    let kind = frame.get_u8();
    frame.advance(4);
    read_message(kind, frame).map(Some)
}

fn read_message(kind: u8, frame: Bytes) -> Result<Message, SqlError> {
    let mut body = Body(frame);
    let message = match kind {
        b'Q' => Message::Query(body.text()?),
        b'P' => Message::Parse {
            name: body.text()?,
            query: body.text()?,
            parameter_oids: body.list(4, |body| Ok(body.get_u32()))?,
        },
        b'B' => Message::Bind {
            portal: body.text()?,
            statement: body.text()?,
            formats: body.list(2, |body| Ok(body.get_i16()))?,
            parameters: body.list(4, |body| match body.get_i32() {
                -1 => Ok(None),
                length => {
                    let length = usize::try_from(length).ok().filter(|length| *length <= body.len());
                    Ok(Some(body.split_to(length.ok_or_else(short)?)))
                }
            })?,
            results: body.list(2, |body| Ok(body.get_i16()))?,
        },
        b'D' => Message::Describe(body.object()?, body.text()?),
        b'E' => Message::Execute { portal: body.text()?, rows_max: body.integer()? },
        b'C' => Message::Close(body.object()?, body.text()?),
        b'H' => Message::Flush,
        b'S' => Message::Sync,
        b'X' => Message::Terminate,
        b'p' => return Ok(Message::Password(body.0)),
        b'd' => return Ok(Message::CopyData(body.0)),
        b'c' => Message::CopyDone,
        b'f' => Message::CopyFail(body.text()?),
        b'F' => return Ok(Message::FunctionCall),
        other => return Err(violation(format!("invalid frontend message type {other}"))),
    };
    if body.0.is_empty() { Ok(message) } else { Err(violation("invalid message format")) }
}

fn short() -> SqlError {
    violation("insufficient data left in message")
}

/// A message's body; every read checks what is left.
struct Body(Bytes);

impl Body {
    fn text(&mut self) -> Result<String, SqlError> {
        let end = self.0.iter().position(|byte| *byte == 0).ok_or_else(|| violation("invalid string in message"))?;
        let text = self.0.split_to(end);
        self.0.advance(1);
        String::from_utf8(text.to_vec()).map_err(|error| {
            SqlError::new(SqlState("22021"), "invalid byte sequence for encoding \"UTF8\"").caused_by(error)
        })
    }

    fn integer(&mut self) -> Result<i32, SqlError> {
        if self.0.len() < 4 { Err(short()) } else { Ok(self.0.get_i32()) }
    }

    fn object(&mut self) -> Result<Object, SqlError> {
        match (!self.0.is_empty()).then(|| self.0.get_u8()) {
            Some(b'S') => Ok(Object::Statement),
            Some(b'P') => Ok(Object::Portal),
            _ => Err(violation("invalid object type in message")),
        }
    }

    /// A count of 16 bits and as many items, each of at least `bytes` bytes.
    fn list<T>(
        &mut self,
        bytes: usize,
        mut read: impl FnMut(&mut Bytes) -> Result<T, SqlError>,
    ) -> Result<Vec<T>, SqlError> {
        if self.0.len() < 2 {
            return Err(short());
        }
        let count = usize::from(self.0.get_u16());
        if self.0.len() < count * bytes {
            return Err(short());
        }
        let mut items = Vec::with_capacity(count);
        for _ in 0..count {
            if self.0.len() < bytes {
                return Err(short());
            }
            items.push(read(&mut self.0)?);
        }
        Ok(items)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cut_of_every_message_is_an_error_and_no_panic() {
        let bind = b"\0s\0\0\x01\0\x01\0\x02\0\0\0\x03abc\xff\xff\xff\xff\0\x01\0\0";
        let messages: [(u8, &[u8]); 6] = [
            (b'Q', b"SELECT 1\0"),
            (b'P', b"s\0SELECT\0\0\x01\0\0\0\x17"),
            (b'B', bind),
            (b'D', b"Sname\0"),
            (b'E', b"\0\0\0\0\x05"),
            (b'C', b"P\0"),
        ];
        for (kind, body) in messages {
            assert!(read_message(kind, Bytes::from_static(body)).is_ok(), "{}", kind as char);
            for end in 0..body.len() {
                let cut = read_message(kind, body.slice_to(end));
                assert!(cut.is_err(), "{} cut at {end}: {cut:?}", kind as char);
            }
        }
    }

    trait SliceTo {
        fn slice_to(&self, end: usize) -> Bytes;
    }

    impl SliceTo for [u8] {
        fn slice_to(&self, end: usize) -> Bytes {
            Bytes::copy_from_slice(&self[..end])
        }
    }

    #[test]
    fn text_that_is_no_utf8_is_refused_with_its_own_code() {
        let error = read_message(b'Q', Bytes::from_static(b"SELECT '\xff'\0")).unwrap_err();
        assert_eq!(error.state, SqlState("22021"));
    }
}
