//! Answers, without what may differ: oids, and the order of rows that nobody asked for.

use std::fmt;

use super::captured::Statement;
use crate::raw::{Raw, Reply, bind, describe, execute, parse, query, sync};

/// Oids of PostgreSQL's types whose values are oids.
const OID_TYPES: [u32; 3] = [26, 1028, 30];

/// Rows that are shown of an answer.
const SHOWN_ROWS_MAX: usize = 12;

/// What a server answered to a statement.
#[derive(Debug, Default)]
pub struct Answer {
    /// Names and type oids of each result's columns.
    columns: Vec<(String, u32)>,
    rows: Vec<Vec<Option<String>>>,
    tags: Vec<String>,
    error: Option<(String, String)>,
    /// The server has closed the connection.
    pub closed: bool,
}

impl Answer {
    /// Sends a statement and reads the answer. One with parameters is only described.
    pub async fn of(raw: &mut Raw, statement: &Statement, sql: &str) -> Answer {
        let bytes = match (statement.extended, sql.contains("$1")) {
            (false, _) => query(sql),
            (true, true) => [parse("", sql), describe(b'S', ""), sync()].concat(),
            (true, false) => [parse("", sql), bind("", "", &[]), describe(b'P', ""), execute("", 0), sync()].concat(),
        };
        raw.send(&bytes).await;
        Answer::read(&raw.until_ready().await)
    }

    fn read(replies: &[Reply]) -> Answer {
        let mut answer = Answer { closed: replies.last().is_none_or(|reply| reply.kind != b'Z'), ..Answer::default() };
        for reply in replies {
            match reply.kind {
                b'T' => answer.columns.extend(reply.columns()),
                b'D' => answer.rows.push(reply.row()),
                b'd' => answer.rows.push(vec![Some(String::from_utf8_lossy(&reply.body).into_owned())]),
                b'C' => answer.tags.push(reply.text()),
                b'E' => answer.error = reply.field(b'C').zip(reply.field(b'M')),
                _ => {}
            }
        }
        answer
    }
}

/// What makes an answer another than PostgreSQL's, in a few words; `None` when nothing does.
pub fn difference(expected: &Answer, given: &Answer) -> Option<String> {
    match (&expected.error, &given.error) {
        (Some((expected, _)), Some((given, _))) if expected == given => return None,
        (Some((expected, _)), Some((given, message))) => return Some(format!("{given} not {expected}: {message}")),
        (None, Some((state, message))) => return Some(format!("{state} {}", message.lines().next().unwrap_or(""))),
        (Some((state, _)), None) => return Some(format!("no error {state}")),
        (None, None) => {}
    }
    let names = |answer: &Answer| answer.columns.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    if names(expected) != names(given) {
        return Some(format!("columns {:?}", names(given)));
    }
    let (theirs, ours) = (rows(expected, expected), rows(given, expected));
    if theirs != ours {
        if theirs.len() != ours.len() {
            return Some(format!("{} rows not {}", ours.len(), theirs.len()));
        }
        let differing = theirs.iter().zip(&ours).find(|(their, our)| their != our);
        let place = differing.and_then(|(their, our)| their.iter().zip(our).position(|(their, our)| their != our));
        let name = place.and_then(|place| expected.columns.get(place)).map_or("", |(name, _)| name.as_str());
        return Some(format!("value of {name}"));
    }
    (expected.tags != given.tags).then(|| format!("tags {:?}", given.tags))
}

/// The rows without oids, in an order of their own: which of two equal ones comes first is nobody's promise.
fn rows(answer: &Answer, expected: &Answer) -> Vec<Vec<Option<String>>> {
    let mut rows = answer.rows.clone();
    for row in &mut rows {
        for (value, (_, type_oid)) in row.iter_mut().zip(&expected.columns) {
            let zero = value.as_deref() == Some("0");
            if OID_TYPES.contains(type_oid) && value.is_some() && !zero {
                *value = Some("an oid".to_owned());
            }
        }
    }
    rows.sort();
    rows
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((state, message)) = &self.error {
            writeln!(f, "{state} {message}")?;
        }
        writeln!(f, "{:?}", self.columns)?;
        for row in rows(self, self).iter().take(SHOWN_ROWS_MAX) {
            let values: Vec<&str> = row.iter().map(|value| value.as_deref().unwrap_or("NULL")).collect();
            writeln!(f, "{}", values.join(" | "))?;
        }
        write!(f, "({} rows) {:?}", self.rows.len(), self.tags)
    }
}
