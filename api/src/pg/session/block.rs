//! Transactions: their status, savepoints, and the settings that an error or a ROLLBACK takes back.

use probepilot_sql::statement::TransactionModes;
use probepilot_sql::{SqlError, SqlState};

use super::command::Command;
use crate::pg::backend::{SavedSettings, Session};

/// Savepoints of one block; one more is refused (53400).
const SAVEPOINTS_MAX: usize = 1_000;

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

/// What a block that begins is: as it is asked for, else as the session's defaults say.
pub fn set_modes(session: &dyn Session, modes: &TransactionModes) -> Result<(), SqlError> {
    for name in ["isolation", "read_only", "deferrable"] {
        let asked = modes.settings().into_iter().find_map(|(mode, value)| (mode == name).then(|| value.to_owned()));
        let value = asked.or_else(|| session.setting(&format!("default_transaction_{name}")));
        if let Some(value) = value {
            session.set_local(&format!("transaction_{name}"), &value)?;
        }
    }
    Ok(())
}

/// A connection's transaction: a block, or a single statement.
pub struct Block {
    /// Whether there is a block.
    pub status: Status,
    /// Settings as they were when the transaction began; `None` between transactions.
    begun: Option<SavedSettings>,
    /// Savepoints with the settings they go back to.
    savepoints: Vec<(String, SavedSettings)>,
}

impl Block {
    /// Outside a block.
    pub fn new() -> Block {
        Block { status: Status::Idle, begun: None, savepoints: Vec::new() }
    }

    /// Something is about to run: a transaction begins, unless there is one.
    pub fn start(&mut self, session: &dyn Session) {
        self.begun.get_or_insert_with(|| session.save_settings());
    }

    /// What was about to run has ended, and with it the transaction, unless it is a block.
    pub fn end_implicit(&mut self, session: &dyn Session) {
        if self.status == Status::Idle {
            self.close(session);
        }
    }

    fn close(&mut self, session: &dyn Session) {
        self.begun = None;
        self.savepoints.clear();
        session.end_transaction();
    }

    /// Refuses what may not run in a block that has failed.
    pub fn allows(&self, command: &Command) -> Result<(), SqlError> {
        if self.status == Status::Failed && !command.ends_failed_block() {
            let message = "current transaction is aborted, commands ignored until end of transaction block";
            return Err(SqlError::new(SqlState::IN_FAILED_SQL_TRANSACTION, message));
        }
        Ok(())
    }

    /// A statement failed: settings go back to the last savepoint, or to the beginning.
    pub fn fail(&mut self, session: &dyn Session) {
        if let Some(saved) = self.savepoints.last().map(|(_, saved)| saved).or(self.begun.as_ref()) {
            session.restore_settings(saved);
        }
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
        let mut warning = None;
        if self.status == Status::Idle {
            if chain {
                let message = format!("{tag} AND CHAIN can only be used in transaction blocks");
                return Err(SqlError::new(SqlState::NO_ACTIVE_SQL_TRANSACTION, message));
            }
            let message = "there is no transaction in progress";
            warning = Some(SqlError::new(SqlState::NO_ACTIVE_SQL_TRANSACTION, message));
        }
        if let Some(begun) = self.begun.as_ref().filter(|_| tag == "ROLLBACK") {
            session.restore_settings(begun);
        }
        self.close(session);
        self.start(session);
        self.status = if chain { Status::Open } else { Status::Idle };
        Ok((tag, warning))
    }

    /// `SAVEPOINT name`
    pub fn savepoint(&mut self, session: &dyn Session, name: &str) -> Result<(), SqlError> {
        self.in_block("SAVEPOINT")?;
        if self.savepoints.len() >= SAVEPOINTS_MAX {
            let message = format!("a transaction may have at most {SAVEPOINTS_MAX} savepoints");
            return Err(SqlError::new(SqlState::CONFIGURATION_LIMIT_EXCEEDED, message));
        }
        self.savepoints.push((name.to_owned(), session.save_settings()));
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
    pub fn rollback_to(&mut self, session: &dyn Session, name: &str) -> Result<(), SqlError> {
        self.in_block("ROLLBACK TO SAVEPOINT")?;
        let place = self.find(name)?;
        self.savepoints.truncate(place + 1);
        session.restore_settings(&self.savepoints[place].1);
        self.status = Status::Open;
        Ok(())
    }

    fn find(&self, name: &str) -> Result<usize, SqlError> {
        self.savepoints
            .iter()
            .rposition(|(known, _)| known == name)
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
