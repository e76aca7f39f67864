//! A client's connection while something runs for it: what may interrupt the work, and who must be told.

use std::future::Future;
use std::io;
use std::time::Duration;

use probepilot_sql::{SqlError, SqlState};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::pg::registry::Registered;
use crate::pg::wire::{Inbox, Message, Outbox};

/// Why a statement, or the connection, does not go on.
#[derive(Debug)]
pub enum Failure {
    /// The statement failed: the client is told, and goes on.
    Statement(SqlError),
    /// The connection ends: the client is told.
    Fatal(SqlError),
    /// The client has left.
    Gone,
}

impl From<SqlError> for Failure {
    fn from(error: SqlError) -> Failure {
        Failure::Statement(error)
    }
}

impl From<io::Error> for Failure {
    fn from(_: io::Error) -> Failure {
        Failure::Gone
    }
}

/// Both halves of the connection, and what may interrupt the work for it.
pub struct Link {
    /// Messages from the client.
    pub inbox: Inbox,
    /// Messages to the client.
    pub outbox: Outbox,
    /// The connection's number and secret.
    pub registered: Registered,
    /// Set by a cancel request for what runs now.
    cancel: CancellationToken,
    /// The server stops.
    shutdown: CancellationToken,
    /// When the statement that runs has used up its time.
    deadline: Option<Instant>,
}

fn shut_down() -> Failure {
    let message = "terminating connection due to administrator command";
    Failure::Fatal(SqlError::new(SqlState::ADMIN_SHUTDOWN, message))
}

fn canceled(why: &str) -> Failure {
    SqlError::new(SqlState::QUERY_CANCELED, format!("canceling statement due to {why}")).into()
}

impl Link {
    /// A connection on which nothing runs.
    pub fn new(inbox: Inbox, outbox: Outbox, registered: Registered, shutdown: CancellationToken) -> Link {
        Link { inbox, outbox, registered, cancel: CancellationToken::new(), shutdown, deadline: None }
    }

    /// Marks the beginning of something that a cancel request may end.
    pub fn begin(&mut self) {
        self.cancel = self.registered.running.begin();
    }

    /// Marks its end.
    pub fn end(&mut self) {
        self.registered.running.end();
        self.deadline = None;
    }

    /// Gives the next statement its time; `None` is without end.
    pub fn limit(&mut self, time: Option<Duration>) {
        self.deadline = time.map(|time| Instant::now() + time);
    }

    /// Says whether what runs must stop, without waiting.
    pub fn check(&self) -> Result<(), Failure> {
        if self.cancel.is_cancelled() {
            return Err(canceled("user request"));
        }
        if self.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            return Err(canceled("statement timeout"));
        }
        if self.shutdown.is_cancelled() { Err(shut_down()) } else { Ok(()) }
    }

    /// Waits for `work`, unless the client cancels or leaves, the time is up, or the server stops: then `work` is
    /// dropped at once.
    pub async fn guard<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Failure> {
        let Link { inbox, cancel, shutdown, deadline, .. } = self;
        tokio::select! {
            biased;
            () = cancel.cancelled() => Err(canceled("user request")),
            () = shutdown.cancelled() => Err(shut_down()),
            () = until(*deadline) => Err(canceled("statement timeout")),
            done = work => Ok(done),
            () = inbox.closed() => Err(Failure::Gone),
        }
    }

    /// Sends what was collected, under the same conditions; what was not sent is kept.
    pub async fn flush(&mut self) -> Result<(), Failure> {
        self.check()?;
        let Link { outbox, cancel, shutdown, deadline, .. } = self;
        tokio::select! {
            biased;
            sent = outbox.flush() => Ok(sent?),
            () = cancel.cancelled() => Err(canceled("user request")),
            () = shutdown.cancelled() => Err(shut_down()),
            () = until(*deadline) => Err(canceled("statement timeout")),
        }
    }

    /// Waits for the next message of a client that a statement asks for more.
    pub async fn receive(&mut self) -> Result<Message, Failure> {
        self.check()?;
        let Link { inbox, cancel, shutdown, deadline, .. } = self;
        tokio::select! {
            biased;
            () = cancel.cancelled() => Err(canceled("user request")),
            () = shutdown.cancelled() => Err(shut_down()),
            () = until(*deadline) => Err(canceled("statement timeout")),
            message = inbox.message() => match message? {
                None => Err(Failure::Gone),
                Some(message) => message.map_err(Failure::Fatal),
            },
        }
    }

    /// Waits for the client's next message, and sends what it is waiting for first. `idle` is how long it may be silent, and
    /// the error that ends the connection then.
    pub async fn next(
        &mut self,
        idle: Option<(Duration, SqlError)>,
    ) -> Result<Option<Result<Message, SqlError>>, Failure> {
        let Link { inbox, outbox, shutdown, .. } = self;
        let next = async {
            if !inbox.has_message() {
                outbox.flush().await?;
            }
            inbox.message().await
        };
        let (time, error) = idle.unzip();
        tokio::select! {
            biased;
            () = shutdown.cancelled() => Err(shut_down()),
            next = next => Ok(next?),
            () = until(time.map(|time| Instant::now() + time)) => {
                Err(Failure::Fatal(error.expect("there is an error for the time that has passed")))
            }
        }
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
