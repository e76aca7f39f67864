//! Grafana's two drivers, as they speak: lib/pq, which older versions have, and pgx.

use bytes::{Buf, BufMut, BytesMut};

use crate::raw::{Raw, Reply, describe, execute, kinds, message, query, startup, sync};
use crate::server::Server;

/// Oids of the types whose binary form pgx prefers: numbers, booleans and times.
const BINARY_OIDS: [u32; 11] = [16, 20, 21, 23, 26, 700, 701, 1082, 1114, 1184, 1700];

/// A driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    /// `lib/pq`
    LibPq,
    /// `jackc/pgx/v5`
    Pgx,
}

/// Both.
pub const DRIVERS: [Driver; 2] = [Driver::LibPq, Driver::Pgx];

/// A connection of a driver's.
pub struct Connection {
    driver: Driver,
    raw: Raw,
    /// What the server told at the start: the parameters' names and values.
    pub parameters: Vec<(String, String)>,
    statements: usize,
    /// What a request to cancel shows: the process id and the secret.
    key: Vec<u8>,
}

/// A result.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Frame {
    /// The columns' names and type oids.
    pub columns: Vec<(String, u32)>,
    /// The rows as text, whatever form they came in.
    pub rows: Vec<Vec<Option<String>>>,
    /// The command tag.
    pub tag: String,
}

impl Frame {
    /// The columns as `name type`, with the types' short names.
    pub fn columns(&self) -> Vec<String> {
        self.columns.iter().map(|(name, oid)| format!("{name} {}", type_name(*oid))).collect()
    }

    /// The rows as lines, with `|` between values and `NULL` where there is none.
    pub fn lines(&self) -> Vec<String> {
        let line = |row: &Vec<Option<String>>| {
            row.iter().map(|value| value.as_deref().unwrap_or("NULL")).collect::<Vec<_>>().join("|")
        };
        self.rows.iter().map(line).collect()
    }
}

/// PostgreSQL's short name of a type, by the oids that it has built in.
pub fn type_name(oid: u32) -> &'static str {
    match oid {
        16 => "bool",
        17 => "bytea",
        19 => "name",
        20 => "int8",
        21 => "int2",
        23 => "int4",
        25 => "text",
        114 => "json",
        700 => "float4",
        701 => "float8",
        869 => "inet",
        1009 => "_text",
        1043 => "varchar",
        1082 => "date",
        1114 => "timestamp",
        1184 => "timestamptz",
        1186 => "interval",
        1700 => "numeric",
        3802 => "jsonb",
        other => panic!("a type that Grafana does not know: {other}"),
    }
}

impl Connection {
    /// Logs in as the driver does.
    pub async fn open(server: &Server, driver: Driver) -> Connection {
        let mut raw = Raw::open(server).await;
        let mut pairs = vec![("user", "admin"), ("database", "probepilot")];
        if driver == Driver::LibPq {
            pairs.extend([("client_encoding", "UTF8"), ("datestyle", "ISO, MDY"), ("extra_float_digits", "2")]);
        }
        raw.send(&startup(196_608, &pairs)).await;
        let replies = raw.until_ready().await;
        assert_eq!(replies.last().map(|reply| reply.kind), Some(b'Z'), "{driver:?} is let in: {replies:?}");
        let parameters = replies.iter().filter(|reply| reply.kind == b'S').map(|reply| {
            let text = String::from_utf8(reply.body.to_vec()).unwrap();
            let mut parts = text.split('\0');
            (parts.next().unwrap().to_owned(), parts.next().unwrap().to_owned())
        });
        let key = replies.iter().find(|reply| reply.kind == b'K').expect("a session has a key").body.to_vec();
        Connection { driver, parameters: parameters.collect(), raw, statements: 0, key }
    }

    /// A parameter that the server told at the start.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// What the driver does to see whether the server is there; the answer's messages.
    pub async fn ping(&mut self) -> String {
        let text = if self.driver == Driver::LibPq { ";" } else { "-- ping" };
        kinds(&self.raw.query(text).await)
    }

    /// Sends a query and does not wait for it.
    pub async fn begin(&mut self, sql: &str) {
        self.raw.send(&query(sql)).await;
    }

    /// What pgx does with a query that takes too long: it asks on a connection of its own that it be cancelled, and leaves.
    pub async fn abandon(mut self, server: &Server) {
        let request = [&16_i32.to_be_bytes()[..], &80_877_102_i32.to_be_bytes(), &self.key].concat();
        Raw::open(server).await.send(&request).await;
        self.raw.send(&message(b'X', &[])).await;
    }

    /// A user's query: a simple one by either driver. A frame for each result.
    pub async fn frames(&mut self, sql: &str) -> Result<Vec<Frame>, String> {
        self.raw.send(&query(sql)).await;
        frames(&self.raw.until_ready().await, &[])
    }

    /// A user's query with one result.
    pub async fn frame(&mut self, sql: &str) -> Frame {
        let mut frames = self.frames(sql).await.unwrap_or_else(|error| panic!("{error}\n{sql}"));
        assert_eq!(frames.len(), 1, "{sql}");
        frames.remove(0)
    }

    /// pgx's own way: prepared under a name, described, and bound with the forms of results that it prefers.
    pub async fn prepared(&mut self, sql: &str, parameters: &[&str]) -> Result<Frame, String> {
        assert_eq!(self.driver, Driver::Pgx, "lib/pq asks nothing with parameters");
        self.statements += 1;
        let name = format!("stmtcache_{:048x}", self.statements);
        let parse = message(b'P', &[name.as_bytes(), b"\0", sql.as_bytes(), b"\0\0\0"].concat());
        self.raw.send(&[parse, describe(b'S', &name), sync()].concat()).await;
        let replies = self.raw.until_ready().await;
        let described = frames(&replies, &[])?;
        let types: Vec<u32> = replies
            .iter()
            .find(|reply| reply.kind == b't')
            .map(|reply| {
                let mut body = reply.body.clone();
                (0..body.get_i16()).map(|_| body.get_u32()).collect()
            })
            .expect("a described statement tells its parameters");
        assert!(types.iter().all(|oid| [19, 25, 1043].contains(oid)), "parameters are texts: {types:?}");
        let forms: Vec<bool> = described[0].columns.iter().map(|(_, oid)| BINARY_OIDS.contains(oid)).collect();
        let execute = execute("", 0);
        self.raw.send(&[bind(&name, parameters, &forms), describe(b'P', ""), execute, sync()].concat()).await;
        let mut frames = frames(&self.raw.until_ready().await, &forms)?;
        Ok(frames.remove(0))
    }
}

/// `Bind` of the unnamed portal with text parameters, and a form for each column: binary or text.
fn bind(statement: &str, parameters: &[&str], binary: &[bool]) -> Vec<u8> {
    let mut body = BytesMut::new();
    body.put_u8(0);
    body.put_slice(statement.as_bytes());
    body.put_u8(0);
    body.put_i16(parameters.len() as i16);
    parameters.iter().for_each(|_| body.put_i16(0));
    body.put_i16(parameters.len() as i16);
    for parameter in parameters {
        body.put_i32(parameter.len() as i32);
        body.put_slice(parameter.as_bytes());
    }
    body.put_i16(binary.len() as i16);
    binary.iter().for_each(|binary| body.put_i16(i16::from(*binary)));
    message(b'B', &body)
}

/// The results in messages: an error is the first one's SQLSTATE and text. `binary` says which columns are.
fn frames(replies: &[Reply], binary: &[bool]) -> Result<Vec<Frame>, String> {
    let (mut frames, mut frame, mut open) = (Vec::new(), Frame::default(), false);
    for reply in replies {
        match reply.kind {
            b'T' => (frame.columns, open) = (reply.columns(), true),
            b'D' => frame.rows.push(row(reply, &frame.columns, binary)),
            b'C' => {
                frame.tag = reply.text();
                frames.push(std::mem::take(&mut frame));
                open = false;
            }
            b'E' => return Err(format!("{} {}", reply.field(b'C').unwrap(), reply.field(b'M').unwrap())),
            _ => {}
        }
    }
    if open {
        frames.push(frame); // A statement that was only described.
    }
    Ok(frames)
}

fn row(reply: &Reply, columns: &[(String, u32)], binary: &[bool]) -> Vec<Option<String>> {
    let mut body = reply.body.clone();
    (0..usize::from(body.get_u16()))
        .map(|index| {
            let length = usize::try_from(body.get_i32()).ok()?;
            let mut value = body.split_to(length);
            if !binary.get(index).is_some_and(|binary| *binary) {
                return Some(String::from_utf8(value.to_vec()).unwrap());
            }
            Some(match columns[index].1 {
                16 => (value.get_u8() == 1).to_string(),
                20 => value.get_i64().to_string(),
                21 => value.get_i16().to_string(),
                23 => value.get_i32().to_string(),
                701 => value.get_f64().to_string(),
                1114 | 1184 => format!("{} µs after 2000", value.get_i64()),
                other => panic!("no binary form of {} is read here", type_name(other)),
            })
        })
        .collect()
}
