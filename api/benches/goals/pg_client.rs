//! A client of the Postgres protocol that reads as fast as rows come and keeps none of them: the figures are the server's.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

const BUFFER_BYTES: usize = 1 << 20;

/// How values of a SELECT come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Text,
    Binary,
}

/// What an answer was.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// Rows of a SELECT, or messages of a COPY.
    pub rows: u64,
    /// All that came.
    pub bytes: u64,
    /// From the query to the first row.
    pub first_row: Option<Duration>,
    /// From the query to the end.
    pub time: Duration,
    /// The command tag.
    pub tag: String,
    /// The SQLSTATE, when it failed.
    pub error: Option<String>,
}

/// A connection over a Unix socket, where no password is asked.
pub struct PgClient {
    socket: UnixStream,
    buffer: Vec<u8>,
    /// What cancels it: process id and secret.
    key: [u8; 8],
}

impl PgClient {
    /// Connects to the server with its socket in `folder`.
    pub fn connect(folder: &Path, port: u16, user: &str, database: &str) -> PgClient {
        let mut socket = open(folder, port);
        let mut body = 196_608_u32.to_be_bytes().to_vec();
        for word in ["user", user, "database", database, ""] {
            body.extend(word.as_bytes());
            body.push(0);
        }
        socket.write_all(&packet(&body)).expect("the server listens");
        let mut client = PgClient { socket, buffer: vec![0; BUFFER_BYTES], key: [0; 8] };
        let mut key = [0; 8];
        let answer = client.read(Instant::now(), |kind, body| {
            if kind == b'K' {
                key.copy_from_slice(&body[..8]);
            }
        });
        assert!(answer.error.is_none(), "{user} was not let in: {answer:?}");
        client.key = key;
        client
    }

    /// Runs a statement by the simple protocol, which is all COPY needs.
    pub fn simple(&mut self, text: &str) -> Answer {
        let begun = Instant::now();
        self.socket.write_all(&message(b'Q', &[text.as_bytes(), b"\0"].concat())).expect("the server reads");
        self.read(begun, |_, _| ())
    }

    /// Runs a statement by the extended protocol.
    pub fn extended(&mut self, text: &str, format: Format) -> Answer {
        let begun = Instant::now();
        let code: &[u8] = if format == Format::Binary { &[0, 1, 0, 1] } else { &[0, 0] };
        let messages = [
            message(b'P', &[b"\0", text.as_bytes(), b"\0\0\0"].concat()),
            message(b'B', &[b"\0\0\0\0\0\0", code].concat()),
            message(b'E', b"\0\0\0\0\0"),
            message(b'S', b""),
        ];
        self.socket.write_all(&messages.concat()).expect("the server reads");
        self.read(begun, |_, _| ())
    }

    /// What another connection sends to cancel this one.
    pub fn cancel_packet(&self) -> Vec<u8> {
        packet(&[&80_877_102_u32.to_be_bytes()[..], &self.key].concat())
    }

    /// Reads until the server is ready again. `other` gets the messages that are not rows.
    fn read(&mut self, begun: Instant, mut other: impl FnMut(u8, &[u8])) -> Answer {
        let mut answer = Answer::default();
        let (mut start, mut end) = (0, 0);
        loop {
            while end - start >= 5 {
                let length = &self.buffer[start + 1..start + 5];
                let frame_end = start + 1 + u32::from_be_bytes(length.try_into().expect("four bytes")) as usize;
                if frame_end > end {
                    break;
                }
                let (kind, body) = (self.buffer[start], &self.buffer[start + 5..frame_end]);
                match kind {
                    b'D' | b'd' => {
                        answer.rows += 1;
                        answer.first_row.get_or_insert_with(|| begun.elapsed());
                    }
                    b'C' => answer.tag = String::from_utf8_lossy(&body[..body.len() - 1]).into_owned(),
                    b'E' => answer.error = field(body, b'C'),
                    b'Z' => {
                        answer.time = begun.elapsed();
                        return answer;
                    }
                    _ => other(kind, body),
                }
                start = frame_end;
            }
            self.buffer.copy_within(start..end, 0);
            (start, end) = (0, end - start);
            assert!(end < self.buffer.len(), "a message is longer than {BUFFER_BYTES} bytes");
            let read = self.socket.read(&mut self.buffer[end..]).expect("the server writes");
            assert!(read > 0, "the server has closed the connection: {answer:?}");
            answer.bytes += read as u64;
            end += read;
        }
    }
}

/// Sends a cancel request; returns when the server has taken it.
pub fn cancel(folder: &Path, port: u16, request: &[u8]) {
    let mut socket = open(folder, port);
    socket.write_all(request).expect("the server listens");
    // It answers by closing.
    socket.read_to_end(&mut Vec::new()).ok();
}

fn open(folder: &Path, port: u16) -> UnixStream {
    let path = folder.join(format!(".s.PGSQL.{port}"));
    UnixStream::connect(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn packet(body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32 + 4).to_be_bytes(), body].concat()
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind][..], &packet(body)].concat()
}

fn field(body: &[u8], code: u8) -> Option<String> {
    let field = body.split(|byte| *byte == 0).find(|field| field.first() == Some(&code))?;
    Some(String::from_utf8_lossy(&field[1..]).into_owned())
}
