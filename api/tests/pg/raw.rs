//! A client that says exactly what a test wants: over the Unix socket, where no password is asked, or any other stream.

use std::path::Path;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;

/// A connection without a driver.
pub struct Raw {
    socket: Box<dyn Socket>,
    buffer: BytesMut,
}

/// What bytes go over.
pub trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Socket for T {}

/// A server's message.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Its type.
    pub kind: u8,
    /// The rest.
    pub body: Bytes,
}

impl Reply {
    /// A field of an error or notice.
    pub fn field(&self, code: u8) -> Option<String> {
        self.body
            .split(|byte| *byte == 0)
            .find(|field| field.first() == Some(&code))
            .map(|field| String::from_utf8(field[1..].to_vec()).unwrap())
    }

    /// The body up to the first zero: a command tag.
    pub fn text(&self) -> String {
        let end = self.body.iter().position(|byte| *byte == 0).unwrap_or(self.body.len());
        String::from_utf8(self.body[..end].to_vec()).unwrap()
    }

    /// The names of a row description's columns, and the oids of their types.
    pub fn columns(&self) -> Vec<(String, u32)> {
        let mut body = self.body.clone();
        (0..body.get_i16())
            .map(|_| {
                let end = body.iter().position(|byte| *byte == 0).expect("a name ends with a zero");
                let name = String::from_utf8(body.split_to(end).to_vec()).unwrap();
                body.advance(1 + 4 + 2);
                let oid = body.get_u32();
                body.advance(2 + 4 + 2);
                (name, oid)
            })
            .collect()
    }

    /// The values of a row, as text.
    pub fn row(&self) -> Vec<Option<String>> {
        let mut body = self.body.clone();
        (0..body.get_i16())
            .map(|_| {
                let length = usize::try_from(body.get_i32()).ok()?;
                Some(String::from_utf8(body.split_to(length).to_vec()).unwrap())
            })
            .collect()
    }
}

/// A message with its length.
pub fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut message = vec![kind];
    message.extend((body.len() as u32 + 4).to_be_bytes());
    message.extend(body);
    message
}

/// `Query`
pub fn query(text: &str) -> Vec<u8> {
    message(b'Q', &[text.as_bytes(), b"\0"].concat())
}

/// `Parse` without types.
pub fn parse(name: &str, text: &str) -> Vec<u8> {
    message(b'P', &[name.as_bytes(), b"\0", text.as_bytes(), b"\0\0\0"].concat())
}

/// `Bind` with text parameters and text results.
pub fn bind(portal: &str, statement: &str, parameters: &[&str]) -> Vec<u8> {
    let mut body = BytesMut::new();
    for name in [portal, statement] {
        body.put_slice(name.as_bytes());
        body.put_u8(0);
    }
    body.put_i16(0);
    body.put_i16(parameters.len() as i16);
    for parameter in parameters {
        body.put_i32(parameter.len() as i32);
        body.put_slice(parameter.as_bytes());
    }
    body.put_i16(0);
    message(b'B', &body)
}

/// `Execute`
pub fn execute(portal: &str, rows_max: i32) -> Vec<u8> {
    message(b'E', &[portal.as_bytes(), b"\0", &rows_max.to_be_bytes()].concat())
}

/// `Describe`
pub fn describe(what: u8, name: &str) -> Vec<u8> {
    message(b'D', &[&[what], name.as_bytes(), b"\0"].concat())
}

/// `Sync`
pub fn sync() -> Vec<u8> {
    message(b'S', &[])
}

impl Raw {
    /// Opens the socket of a server, ours or another, in a folder.
    pub async fn at(folder: &Path, port: u16) -> Raw {
        let path = folder.join(format!(".s.PGSQL.{port}"));
        Raw::over(UnixStream::connect(path).await.unwrap())
    }

    /// Speaks over a stream.
    pub fn over(socket: impl Socket + 'static) -> Raw {
        Raw { socket: Box::new(socket), buffer: BytesMut::new() }
    }

    /// Logs in as `admin`; gives what the server said.
    pub async fn log_in(&mut self) -> Vec<Reply> {
        self.send(&startup(196_608, &[("user", "admin"), ("database", "probepilot")])).await;
        self.until_ready().await
    }

    /// Sends bytes.
    pub async fn send(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).await.unwrap();
        self.socket.flush().await.unwrap();
    }

    /// The next message; `None` when the server has closed. Fails after ten seconds.
    pub async fn next(&mut self) -> Option<Reply> {
        tokio::time::timeout(Duration::from_secs(10), async {
            loop {
                if self.buffer.len() >= 5 {
                    let length = (&self.buffer[1..5]).get_u32() as usize;
                    if self.buffer.len() > length {
                        let mut frame = self.buffer.split_to(length + 1).freeze();
                        let kind = frame.get_u8();
                        frame.advance(4);
                        return Some(Reply { kind, body: frame });
                    }
                }
                if self.socket.read_buf(&mut self.buffer).await.ok()? == 0 {
                    return None;
                }
            }
        })
        .await
        .expect("the server answers")
    }

    /// All messages up to `ReadyForQuery`, or to the end.
    pub async fn until_ready(&mut self) -> Vec<Reply> {
        let mut replies = Vec::new();
        while let Some(reply) = self.next().await {
            let done = reply.kind == b'Z';
            replies.push(reply);
            if done {
                break;
            }
        }
        replies
    }

    /// Sends a query and gives the answer.
    pub async fn query(&mut self, text: &str) -> Vec<Reply> {
        self.send(&query(text)).await;
        self.until_ready().await
    }
}

/// A startup packet.
pub fn startup(version: u32, pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut body = version.to_be_bytes().to_vec();
    for (key, value) in pairs {
        body.extend([key.as_bytes(), b"\0", value.as_bytes(), b"\0"].concat());
    }
    body.push(0);
    let mut packet = (body.len() as u32 + 4).to_be_bytes().to_vec();
    packet.extend(body);
    packet
}

/// The types of messages as a word, runs of rows as one `D`.
pub fn kinds(replies: &[Reply]) -> String {
    let mut kinds: Vec<u8> = replies.iter().map(|reply| reply.kind).collect();
    kinds.dedup_by(|a, b| *a == b'D' && *b == b'D');
    String::from_utf8(kinds).unwrap()
}

/// The command tags.
pub fn tags(replies: &[Reply]) -> Vec<String> {
    replies.iter().filter(|reply| reply.kind == b'C').map(Reply::text).collect()
}

/// The SQLSTATE of the only error.
pub fn error(replies: &[Reply]) -> String {
    let errors: Vec<_> = replies.iter().filter(|reply| reply.kind == b'E').collect();
    assert_eq!(errors.len(), 1, "{replies:?}");
    errors[0].field(b'C').unwrap()
}

/// The first values of all rows.
pub fn firsts(replies: &[Reply]) -> Vec<String> {
    let rows = replies.iter().filter(|reply| reply.kind == b'D');
    rows.map(|reply| reply.row()[0].clone().unwrap_or_else(|| "NULL".to_owned())).collect()
}
