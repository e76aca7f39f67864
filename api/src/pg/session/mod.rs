//! What a client does once it is in: the loop over its messages, and the state between them.

mod link; // The connection while something runs for it.
mod command; // What a statement is to the door.
mod block; // Transaction blocks.
mod portal; // Prepared statements and portals.
pub(super) mod parameters; // Values of parameters from the wire.
mod simple; // Query: text, all at once.
mod extended; // Parse, Bind, Describe, Execute, Sync.
mod run; // A portal from its first to its last row.
mod fetch; // Rows of a cursor.
pub(super) mod scroll; // Where a cursor is, and the rows it can go back to.
mod control; // Statements that are the door's own business.
mod rows; // Rows on their way to the client.
mod copy; // COPY … TO STDOUT.
mod copy_in; // COPY … FROM STDIN.
mod copy_split; // Bytes of a COPY FROM as records and fields.

use std::sync::Arc;
use std::time::Duration;

use bytes::BufMut;
use pgwire::messages::PgWireBackendMessage;
use pgwire::messages::startup::{BackendKeyData, ParameterStatus, SecretKey};
use probepilot_sql::{SqlError, SqlState};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use self::block::{Block, Status};
use self::link::{Failure, Link};
use self::portal::{Portals, Statements};
use self::scroll::CursorMemory;
use super::backend::Session;
use super::encode::Zone;
use super::login::{self, Login};
use super::wire::{Message, Outbox, Severity};
use super::{Door, SERVER_VERSION};

/// How long a client that is told of the end of its connection may take to read it.
const FAREWELL_WAIT_MAX: Duration = Duration::from_secs(2);

/// Settings whose values a client is told at the start and after each change: those that PostgreSQL 16 reports and a
/// client can set.
const REPORTED: [&str; 8] = [
    "application_name",
    "client_encoding",
    "DateStyle",
    "default_transaction_read_only",
    "IntervalStyle",
    "scram_iterations",
    "standard_conforming_strings",
    "TimeZone",
];

/// A logged-in connection.
struct Connection {
    session: Box<dyn Session>,
    link: Link,
    statements: Statements,
    portals: Portals,
    /// What the cursors of all connections have taken.
    cursor_memory: Arc<CursorMemory>,
    block: Block,
    /// The values of [`REPORTED`] that the client knows.
    reported: [Option<String>; REPORTED.len()],
    /// After an error in the extended protocol everything up to the next Sync is passed over.
    skip_to_sync: bool,
    /// The last statement of a Query message runs: outside a block it ends their transaction.
    ends_text: bool,
    /// Whether a Query message has more than one statement: then they are one implicit transaction.
    implicit_block: bool,
    /// The client was told that it may go on, and has not: it is idle.
    idle: bool,
}

/// Serves a client until it leaves or the server stops.
pub async fn serve(door: &Arc<Door>, login: Login, shutdown: CancellationToken) {
    let registered = door.registry.register();
    let Login { inbox, mut outbox, mut client, settings } = login;
    client.process_id = registered.process_id;
    let (user, is_superuser) = (client.user.clone(), client.role == "admin");
    let session = match door.backend.connect(client).await {
        Ok(session) => session,
        Err(error) => return login::refuse(&mut outbox, &error).await,
    };
    for (name, value) in &settings {
        if let Err(error) = session.set_startup(name, value) {
            return login::refuse(&mut outbox, &error).await;
        }
    }
    let fixed = [
        ("in_hot_standby", "off"),
        ("integer_datetimes", "on"),
        ("is_superuser", if is_superuser { "on" } else { "off" }),
        ("session_authorization", &user),
        ("server_version", SERVER_VERSION),
        ("server_encoding", "UTF8"),
    ];
    for (name, value) in fixed {
        // What SHOW says is what the client is told; these two are the account's.
        let of_account = matches!(name, "is_superuser" | "session_authorization");
        let shown = if of_account { None } else { session.setting(name) };
        put_parameter(&mut outbox, name, shown.as_deref().unwrap_or(value));
    }
    let link = Link::new(inbox, outbox, registered, shutdown);
    let mut connection = Connection {
        session,
        link,
        statements: Statements::default(),
        portals: Portals::default(),
        cursor_memory: Arc::clone(&door.cursor_memory),
        block: Block::new(),
        reported: Default::default(),
        skip_to_sync: false,
        ends_text: false,
        implicit_block: false,
        idle: false,
    };
    let (pid, secret) = (connection.link.registered.process_id, connection.link.registered.secret);
    let key = BackendKeyData::new(pid, SecretKey::I32(secret));
    connection.report_settings();
    connection.link.outbox.put(&PgWireBackendMessage::BackendKeyData(key));
    connection.ready();
    connection.run_to_end().await;
}

fn put_parameter(outbox: &mut Outbox, name: &str, value: &str) {
    let status = ParameterStatus::new(name.to_owned(), value.to_owned());
    outbox.put(&PgWireBackendMessage::ParameterStatus(status));
}

impl Connection {
    async fn run_to_end(&mut self) {
        let failure = loop {
            let idle = if self.idle { self.idle_limit() } else { None };
            let message = match self.link.next(idle).await {
                Ok(Some(Ok(message))) => message,
                Ok(Some(Err(error))) => break Failure::Fatal(error),
                Ok(None) => return,
                Err(failure) => break failure,
            };
            if matches!(message, Message::Terminate) {
                return;
            }
            if let Err(failure) = self.message(message).await {
                break failure;
            }
        };
        // Streams are dropped before the goodbye: nobody reads their rows any longer.
        self.portals.clear();
        if let Failure::Fatal(error) | Failure::Statement(error) = failure {
            self.link.outbox.put_error(Severity::Fatal, &error);
            // A client that does not read is not waited for.
            let _ = timeout(FAREWELL_WAIT_MAX, self.link.outbox.close()).await;
        }
    }

    /// Answers one message. An error ends the connection.
    async fn message(&mut self, message: Message) -> Result<(), Failure> {
        self.idle = false;
        if self.skip_to_sync && !matches!(message, Message::Sync) {
            return Ok(());
        }
        match message {
            Message::Query(text) => self.query(text).await,
            Message::Sync => {
                self.skip_to_sync = false;
                if let Err(error) = self.commit_implicit().await {
                    self.failed(error.into())?;
                }
                self.end_implicit();
                self.ready();
                Ok(())
            }
            Message::Flush => Ok(self.link.outbox.flush().await?),
            Message::Password(_) => {
                let message = "the client is logged in already";
                Err(Failure::Fatal(SqlError::new(SqlState::PROTOCOL_VIOLATION, message)))
            }
            // Rows of a COPY that has ended, as after an error.
            Message::CopyData(_) | Message::CopyDone | Message::CopyFail(_) | Message::Terminate => Ok(()),
            Message::FunctionCall => {
                let error = SqlError::unsupported("the function call message is not supported");
                self.failed(error.into())?;
                self.ready();
                Ok(())
            }
            message => {
                self.link.begin();
                let done = self.extended(message).await;
                self.link.end();
                if let Err(failure) = done {
                    self.failed(failure)?;
                    self.skip_to_sync = true;
                }
                Ok(())
            }
        }
    }

    /// Tells the client that its statement failed; passes on what ends the connection.
    fn failed(&mut self, failure: Failure) -> Result<(), Failure> {
        let Failure::Statement(error) = failure else { return Err(failure) };
        if error.state == SqlState::INTERNAL_ERROR {
            let cause = error.cause.as_deref().map(|cause| cause.to_string());
            tracing::error!(message = error.message, cause, "a statement failed by a fault of ours");
        }
        self.block.fail(self.session.as_ref());
        if self.block.status == Status::Idle {
            self.portals.end_transaction(false);
        }
        self.link.outbox.put_error(Severity::Error, &error);
        Ok(())
    }

    /// Keeps what the statements of a Query message have inserted when the last one is done, unless there is a block: that the
    /// client is told it is done means that all are kept.
    async fn commit_statement(&mut self) -> Result<(), SqlError> {
        if self.ends_text { self.commit_implicit().await } else { Ok(()) }
    }

    /// Keeps what was inserted outside a block.
    async fn commit_implicit(&mut self) -> Result<(), SqlError> {
        if self.block.status == Status::Idle { self.session.commit().await } else { Ok(()) }
    }

    /// Ends the transaction that single statements make.
    fn end_implicit(&mut self) {
        if self.block.status == Status::Idle {
            self.portals.end_transaction(true);
        }
        self.block.end_implicit(self.session.as_ref());
    }

    /// Tells the client that it may go on.
    fn ready(&mut self) {
        self.report_settings();
        self.idle = true;
        let out = &mut self.link.outbox.buffer;
        out.put_u8(b'Z');
        out.put_i32(5);
        out.put_u8(self.block.status.code());
    }

    /// Tells the client which settings have changed.
    fn report_settings(&mut self) {
        for (name, known) in REPORTED.iter().zip(&mut self.reported) {
            let value = self.session.setting(name);
            if value != *known {
                put_parameter(&mut self.link.outbox, name, value.as_deref().unwrap_or_default());
                *known = value;
            }
        }
    }

    /// The session's zone.
    fn zone(&self) -> Zone {
        self.session.setting("TimeZone").and_then(|name| Zone::find(&name)).unwrap_or(Zone::UTC)
    }

    /// How long a statement may run; `None` is without end.
    fn statement_timeout(&self) -> Option<Duration> {
        self.time_setting("statement_timeout")
    }

    /// How long the client may be silent now, and what it is told afterwards.
    fn idle_limit(&self) -> Option<(Duration, SqlError)> {
        let (name, state, what) = if self.block.status == Status::Idle {
            ("idle_session_timeout", SqlState("57P05"), "idle-session")
        } else {
            ("idle_in_transaction_session_timeout", SqlState("25P03"), "idle-in-transaction")
        };
        let message = || format!("terminating connection due to {what} timeout");
        self.time_setting(name).map(|time| (time, SqlError::new(state, message())))
    }

    /// A setting that is a time; `None` when it is zero or not there.
    fn time_setting(&self, name: &str) -> Option<Duration> {
        self.session.setting(name).and_then(|text| duration(&text)).filter(|time| !time.is_zero())
    }
}

/// A duration as settings have it: `5000` milliseconds, `5s`, `1 min`.
fn duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let end = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..end].parse().ok()?;
    let factor_ms = match text[end..].trim() {
        "" | "ms" => 1,
        "s" => 1_000,
        "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    Some(Duration::from_millis(number.saturating_mul(factor_ms)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units_and_milliseconds_by_default() {
        let check = |text, ms| assert_eq!(duration(text), Some(Duration::from_millis(ms)), "{text}");
        check("0", 0);
        check("250", 250);
        check("5s", 5_000);
        check("2 min", 120_000);
        assert_eq!(duration("soon"), None);
    }
}
