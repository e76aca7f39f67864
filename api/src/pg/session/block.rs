//! Transaction blocks: their status, savepoints, and the settings that a ROLLBACK takes back.

use probepilot_sql::{SqlError, SqlState};

use super::command::Command;
use crate::pg::backend::Session;

/// Savepoints of one block; one more is refused (53400).
const SAVEPOINTS_MAX: usize = 10_000;

/// A connection's transaction status, as `ReadyForQuery` tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Outside a block.
    Idle,
    /// In a block.
    Open,
    /// In a block in which a statement failed.
    Failed,
}

impl Status {
    /// The byte on the wire.
    pub fn code(self) -> u8 {
        match self {
            Status::Idle => b'I',
            Status::Open => b'T',
            Status::Failed => b'E',
        }
    }
}

/// A connection's transaction block.
pub struct Block {
    /// Whether there is one.
    pub status: Status,
    savepoints: Vec<String>,
    /// Settings as they were before the block changed them, in order; the flag marks SET LOCAL.
    undo: Vec<(String, Option<String>, bool)>,
}

impl Block {
    /// Outside a block.
    pub fn new() -> Block {
        Block { status: Status::Idle, savepoints: Vec::new(), undo: Vec::new() }
    }

    /// Refuses what may not run in a block that has failed.
    pub fn allows(&self, command: &Command) -> Result<(), SqlError> {
        if self.status == Status::Failed && !command.ends_failed_block() {
            let message = "current transaction is aborted, commands ignored until end of transaction block";
            return Err(SqlError::new(SqlState::IN_FAILED_SQL_TRANSACTION, message));
        }
        Ok(())
    }

    /// A statement failed.
    pub fn fail(&mut self) {
        if self.status == Status::Open {
            self.status = Status::Failed;
        }
    }

    /// `BEGIN`; a warning when there is a block already.
    pub fn begin(&mut self) -> Option<SqlError> {
        if self.status == Status::Idle {
            self.status = Status::Open;
            return None;
        }
        Some(SqlError::new(SqlState::ACTIVE_SQL_TRANSACTION, "there is already a transaction in progress"))
    }

    /// `COMMIT` or `ROLLBACK`: gives the tag, and a warning when there is no block.
    pub fn end(
        &mut self,
        session: &dyn Session,
        commit: bool,
        chain: bool,
    ) -> Result<(&'static str, Option<SqlError>), SqlError> {
        let tag = if commit && self.status != Status::Failed { "COMMIT" } else { "ROLLBACK" };
        if self.status == Status::Idle {
            let none = SqlError::new(SqlState::NO_ACTIVE_SQL_TRANSACTION, "there is no transaction in progress");
            if chain {
                let message = format!("{tag} AND CHAIN can only be used in transaction blocks");
                return Err(SqlError::new(SqlState::NO_ACTIVE_SQL_TRANSACTION, message));
            }
            return Ok((tag, Some(none)));
        }
        let keep = tag == "COMMIT";
        for (name, value, local) in self.undo.drain(..).rev() {
            if keep && !local {
                continue;
            }
            let undone = match value {
                Some(value) => session.set(&name, &value),
                None => session.reset(&name),
            };
            if let Err(error) = undone {
                tracing::warn!(%error, setting = name, "a setting could not be put back");
            }
        }
        self.savepoints.clear();
        self.status = if chain { Status::Open } else { Status::Idle };
        Ok((tag, None))
    }

    /// Remembers a setting's value before it is changed.
    pub fn before_set(&mut self, session: &dyn Session, name: &str, local: bool) {
        // Only the first value of each kind is put back, so the list is as long as there are settings.
        if self.status != Status::Idle && !self.undo.iter().any(|(known, _, kind)| known == name && *kind == local) {
            self.undo.push((name.to_owned(), session.setting(name), local));
        }
    }

    /// `SAVEPOINT name`
    pub fn savepoint(&mut self, name: &str) -> Result<(), SqlError> {
        self.in_block("SAVEPOINT")?;
        if self.savepoints.len() >= SAVEPOINTS_MAX {
            let message = format!("a transaction may have at most {SAVEPOINTS_MAX} savepoints");
            return Err(SqlError::new(SqlState::CONFIGURATION_LIMIT_EXCEEDED, message));
        }
        self.savepoints.push(name.to_owned());
        Ok(())
    }

    /// `RELEASE name`
    pub fn release(&mut self, name: &str) -> Result<(), SqlError> {
        self.in_block("RELEASE SAVEPOINT")?;
        let place = self.find(name)?;
        self.savepoints.truncate(place);
        Ok(())
    }

    /// `ROLLBACK TO name`: a block that has failed goes on.
    pub fn rollback_to(&mut self, name: &str) -> Result<(), SqlError> {
        self.in_block("ROLLBACK TO SAVEPOINT")?;
        let place = self.find(name)?;
        self.savepoints.truncate(place + 1);
        self.status = Status::Open;
        Ok(())
    }

    fn find(&self, name: &str) -> Result<usize, SqlError> {
        self.savepoints
            .iter()
            .rposition(|known| known == name)
            .ok_or_else(|| SqlError::new(SqlState("3B001"), format!("savepoint \"{name}\" does not exist")))
    }

    fn in_block(&self, statement: &str) -> Result<(), SqlError> {
        if self.status == Status::Idle {
            let message = format!("{statement} can only be used in transaction blocks");
            return Err(SqlError::new(SqlState::NO_ACTIVE_SQL_TRANSACTION, message));
        }
        Ok(())
    }
}
