//! Prepared statements and portals: what a connection keeps between messages.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::scalar::ScalarValue;
use probepilot_sql::statement::Statement;
use probepilot_sql::{SqlError, SqlState};

use super::command::Command;
use super::rows::{RowSource, shown_schema};
use super::scroll::Step;
use crate::pg::backend::Plan;

/// Prepared statements of one connection; one more is refused (53400).
const STATEMENTS_MAX: usize = 10_000;
/// Portals and cursors of one connection; one more is refused (53400).
const PORTALS_MAX: usize = 1_000;

/// A statement that was parsed and planned.
#[derive(Clone)]
pub struct Prepared {
    /// The text that positions refer to.
    pub text: Arc<str>,
    /// The statement; `None` for an empty one.
    pub parsed: Option<(Arc<Statement>, Arc<Command>)>,
    /// The executor's plan, for statements that are run or copied.
    pub plan: Option<Arc<dyn Plan>>,
    /// OIDs of the parameters, those that the client named and those that were inferred.
    pub parameter_oids: Vec<u32>,
}

impl Prepared {
    /// Whether the executor runs it and it gives rows: what a cursor and EXECUTE need. Nothing else may stand behind a
    /// name that another statement uses, so that no two statements can name each other.
    pub fn is_query(&self) -> bool {
        self.query_schema().is_some()
    }

    /// The columns of a query's rows; `None` for anything else.
    pub fn query_schema(&self) -> Option<SchemaRef> {
        match (&self.parsed, &self.plan) {
            (Some((statement, command)), Some(plan)) if matches!(**command, Command::Run) => {
                Some(shown_schema(statement, plan.schema()?))
            }
            _ => None,
        }
    }
}

/// A prepared statement with its parameters, and how far it has run.
pub struct Portal {
    /// What runs.
    pub prepared: Prepared,
    /// A value for each parameter.
    pub parameters: Vec<ScalarValue>,
    /// The codes of Bind for the result's columns.
    pub formats: Vec<i16>,
    /// How far it is.
    pub state: State,
    /// It outlives its transaction.
    pub hold: bool,
    /// Its transaction has ended, or it has none to end with.
    pub settled: bool,
    /// It keeps its rows to go back.
    pub scroll: bool,
}

/// How far a portal has run.
pub enum State {
    /// Not at all.
    Ready,
    /// Some of its rows may have been sent; the tag for when they are all sent.
    Streaming(Box<RowSource>, &'static str),
    /// A FETCH of which rows were sent: what is left of it, and how many were taken.
    Fetching(Step, u64),
    /// An EXECUTE: the prepared statement's own portal.
    Executing(Box<Portal>),
    /// To its end.
    Finished,
}

impl Portal {
    /// A portal that has not run.
    pub fn new(prepared: Prepared, parameters: Vec<ScalarValue>, formats: Vec<i16>) -> Portal {
        Portal { prepared, parameters, formats, state: State::Ready, hold: false, settled: false, scroll: false }
    }
}

/// The prepared statements of a connection. The unnamed one has an empty name.
#[derive(Default)]
pub struct Statements(HashMap<String, Prepared>);

impl Statements {
    /// Keeps a statement; 42P05 when the name is taken.
    pub fn insert(&mut self, name: String, prepared: Prepared) -> Result<(), SqlError> {
        if !name.is_empty() && self.0.contains_key(&name) {
            let message = format!("prepared statement \"{name}\" already exists");
            return Err(SqlError::new(SqlState::DUPLICATE_PREPARED_STATEMENT, message));
        }
        if self.0.len() >= STATEMENTS_MAX {
            let message = format!("a connection may have at most {STATEMENTS_MAX} prepared statements");
            return Err(SqlError::new(SqlState::CONFIGURATION_LIMIT_EXCEEDED, message)
                .hint("Close or DEALLOCATE those that are not needed."));
        }
        self.0.insert(name, prepared);
        Ok(())
    }

    /// The statement; 26000 when there is none.
    pub fn get(&self, name: &str) -> Result<&Prepared, SqlError> {
        self.0.get(name).ok_or_else(|| {
            let message = match name {
                "" => "unnamed prepared statement does not exist".to_owned(),
                name => format!("prepared statement \"{name}\" does not exist"),
            };
            SqlError::new(SqlState::INVALID_SQL_STATEMENT_NAME, message)
        })
    }

    /// Forgets a statement; says whether there was one.
    pub fn remove(&mut self, name: &str) -> bool {
        self.0.remove(name).is_some()
    }

    /// Forgets them all.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

/// The portals and cursors of a connection, which share their names. The unnamed one has an empty name.
#[derive(Default)]
pub struct Portals(HashMap<String, Portal>);

impl Portals {
    /// Keeps a portal; 42P03 when the name is taken.
    pub fn insert(&mut self, name: String, portal: Portal) -> Result<(), SqlError> {
        if !name.is_empty() && self.0.contains_key(&name) {
            return Err(SqlError::new(SqlState::DUPLICATE_CURSOR, format!("cursor \"{name}\" already exists")));
        }
        if self.0.len() >= PORTALS_MAX {
            let message = format!("a connection may have at most {PORTALS_MAX} portals");
            return Err(SqlError::new(SqlState::CONFIGURATION_LIMIT_EXCEEDED, message));
        }
        self.0.insert(name, portal);
        Ok(())
    }

    /// Puts back a portal that was taken out.
    pub fn put_back(&mut self, name: String, portal: Portal) {
        self.0.insert(name, portal);
    }

    /// The portal; 34000 when there is none.
    pub fn get(&self, name: &str) -> Result<&Portal, SqlError> {
        self.0.get(name).ok_or_else(|| missing("portal", name))
    }

    /// The portal, which must be a query's; 34000 when there is none.
    pub fn cursor(&self, name: &str) -> Result<&Portal, SqlError> {
        let portal = self.0.get(name).ok_or_else(|| missing("cursor", name))?;
        if !portal.prepared.is_query() {
            return Err(SqlError::unsupported(format!("portal \"{name}\" is no query and cannot be fetched from")));
        }
        Ok(portal)
    }

    /// Takes a portal out, so that it is dropped when running it fails; 34000 when there is none, which `word` names.
    pub fn take(&mut self, word: &str, name: &str) -> Result<Portal, SqlError> {
        self.0.remove(name).ok_or_else(|| missing(word, name))
    }

    /// Forgets a portal.
    pub fn remove(&mut self, name: &str) {
        self.0.remove(name);
    }

    /// Forgets those that end with their transaction: all but those that are held, and those too if it is taken back.
    pub fn end_transaction(&mut self, committed: bool) {
        self.0.retain(|_, portal| portal.settled || portal.hold && committed);
        self.0.values_mut().for_each(|portal| portal.settled = true);
    }

    /// Forgets them all.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

fn missing(word: &str, name: &str) -> SqlError {
    SqlError::new(SqlState::INVALID_CURSOR_NAME, format!("{word} \"{name}\" does not exist"))
}
