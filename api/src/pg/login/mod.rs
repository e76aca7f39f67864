//! From the first byte of a connection to a client that is let in.

mod greet; // Encryption, and requests to cancel.
pub mod scram; // Passwords that the server never sees.
pub mod startup; // The startup packet's settings.

use std::io;
use std::time::Duration;

use bytes::{Buf, Bytes};
use pgwire::messages::PgWireBackendMessage;
use pgwire::messages::startup::{Authentication, NegotiateProtocolVersion};
use probepilot_sql::{SqlError, SqlState};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use self::greet::Greeted;
use self::scram::{Exchange, Mechanism};
use super::Door;
use super::backend::Client;
use super::wire::{Inbox, Message, Outbox, Severity};

pub use greet::Socket;

/// A client that has not logged in after this time is disconnected.
pub const LOGIN_WAIT_MAX: Duration = Duration::from_secs(60);

/// The account that a server's first start creates.
const FIRST_ACCOUNT: &str = "admin";

/// Where a client comes from.
#[derive(Clone, Debug)]
pub struct Origin {
    /// An address, or `local` for the Unix socket.
    pub address: String,
    /// On the Unix socket, the user id that the kernel vouches for.
    pub peer_uid: Option<u32>,
}

/// A client that was let in, and what its startup packet asked for.
pub struct Login {
    /// Messages from the client.
    pub inbox: Inbox,
    /// Messages to the client.
    pub outbox: Outbox,
    /// Who it is; the number of its connection is not known yet.
    pub client: Client,
    /// Settings from the packet, in the order in which they apply.
    pub settings: Vec<(String, String)>,
}

/// Why nobody came in.
pub enum Refused {
    /// The client left, asked only for a cancel, or took too long: there is nobody to tell.
    Silently,
    /// The client is told, and disconnected.
    Told(SqlError),
}

impl From<io::Error> for Refused {
    fn from(_: io::Error) -> Refused {
        Refused::Silently
    }
}

impl From<SqlError> for Refused {
    fn from(error: SqlError) -> Refused {
        Refused::Told(error)
    }
}

/// Runs the startup phase. A client that is not let in was told why, as far as it listens.
pub async fn login(door: &Door, origin: &Origin, socket: Socket, shutdown: &CancellationToken) -> Option<Login> {
    let greeted = shutdown.run_until_cancelled(timeout(LOGIN_WAIT_MAX, greet::greet(door, socket))).await;
    let Some(Ok(Ok(mut greeted))) = greeted else { return None };
    let admitted = timeout(LOGIN_WAIT_MAX, admit(door, origin, &mut greeted));
    let admitted = match shutdown.run_until_cancelled(admitted).await {
        Some(admitted) => admitted.unwrap_or(Err(Refused::Silently)),
        None => Err(SqlError::new(SqlState::CANNOT_CONNECT_NOW, "the database system is shutting down").into()),
    };
    let Greeted { inbox, mut outbox, .. } = greeted;
    match admitted {
        Ok((client, settings)) => Some(Login { inbox, outbox, client, settings }),
        Err(Refused::Silently) => None,
        Err(Refused::Told(error)) => {
            refuse(&mut outbox, &error).await;
            None
        }
    }
}

/// Who the client is and which settings it starts with.
async fn admit(
    door: &Door,
    origin: &Origin,
    greeted: &mut Greeted,
) -> Result<(Client, Vec<(String, String)>), Refused> {
    let unknown = startup::protocol_options(&greeted.packet);
    if greeted.version.1 > 0 || !unknown.is_empty() {
        let message = NegotiateProtocolVersion::new(startup::PROTOCOL_3_0, unknown);
        greeted.outbox.put(&PgWireBackendMessage::NegotiateProtocolVersion(message));
    }
    let startup = startup::read(&greeted.packet)?;
    if door.is_full() {
        return Err(too_many().into());
    }
    let role = authenticate(door, origin, &startup.user, greeted).await?;
    if !door.backend.has_database(&startup.database).await? {
        let message = format!("database \"{}\" does not exist", startup.database);
        return Err(SqlError::new(SqlState::INVALID_CATALOG_NAME, message)
            .hint(format!("The database is named \"{}\".", door.options.database))
            .into());
    }
    let client = Client {
        user: startup.user,
        role,
        database: startup.database,
        address: origin.address.clone(),
        application_name: startup.application_name,
        process_id: 0,
    };
    Ok((client, startup.settings))
}

/// All places are taken.
pub fn too_many() -> SqlError {
    SqlError::new(SqlState::TOO_MANY_CONNECTIONS, "sorry, too many clients already")
}

/// Finds out whether the client is who it says, and what its role is.
async fn authenticate(door: &Door, origin: &Origin, user: &str, greeted: &mut Greeted) -> Result<String, Refused> {
    // Our own user and root could read the catalog anyway: on the Unix socket the kernel's word is enough.
    if let Some(uid) = origin.peer_uid
        && (uid == 0 || uid == door.own_uid)
    {
        if user == FIRST_ACCOUNT {
            let account = door.backend.account(user).await?;
            greeted.outbox.put(&PgWireBackendMessage::Authentication(Authentication::Ok));
            return Ok(account.map_or_else(|| FIRST_ACCOUNT.to_owned(), |account| account.role));
        }
        if door.backend.account(user).await?.is_none() {
            // Nothing is given away: this client may read the list of accounts.
            return Err(SqlError::new(SqlState::INVALID_AUTHORIZATION, format!("role \"{user}\" does not exist"))
                .hint(first_account_hint())
                .into());
        }
    }
    let wait = door.back_off.wait(&origin.address, user);
    let role = password(door, user, wait, greeted).await;
    match &role {
        Ok(_) => door.back_off.succeeded(&origin.address, user),
        Err(Refused::Told(error)) if error.state == SqlState::INVALID_PASSWORD => {
            tracing::info!(user, address = origin.address, "login failed: wrong password or unknown account");
            door.back_off.failed(&origin.address, user);
        }
        Err(_) => {}
    }
    role
}

fn first_account_hint() -> String {
    format!("The first account is \"{FIRST_ACCOUNT}\": connect with -U {FIRST_ACCOUNT}.")
}

/// The SCRAM exchange.
async fn password(door: &Door, user: &str, wait: Duration, greeted: &mut Greeted) -> Result<String, Refused> {
    let Greeted { inbox, outbox, end_point, .. } = greeted;
    let account = door.backend.account(user).await?;
    let role = account.as_ref().map(|account| account.role.clone());
    let verifier = account.and_then(|account| account.verifier);
    let known = verifier.is_some();
    let verifier = verifier.unwrap_or_else(|| scram::mock_verifier(&door.mock_secret, user));

    // A client that can bind its login to the certificate takes the first.
    let offered = if end_point.is_some() { &[Mechanism::Plus, Mechanism::Plain][..] } else { &[Mechanism::Plain] };
    let names = offered.iter().map(|mechanism| mechanism.name().to_owned()).collect();
    outbox.put(&PgWireBackendMessage::Authentication(Authentication::SASL(names)));
    outbox.flush().await?;
    let (mechanism, first) = sasl_initial(answer(inbox).await?, offered)?;
    let exchange = Exchange::begin(&first, verifier, mechanism, end_point.as_deref())?;
    let challenge = Authentication::SASLContinue(exchange.challenge().to_owned().into());
    outbox.put(&PgWireBackendMessage::Authentication(challenge));
    outbox.flush().await?;
    let proof = exchange.finish(&answer(inbox).await?)?;
    tokio::time::sleep(wait).await;
    match (proof, role) {
        (Some(proof), Some(role)) if known => {
            outbox.put(&PgWireBackendMessage::Authentication(Authentication::SASLFinal(proof.into())));
            outbox.put(&PgWireBackendMessage::Authentication(Authentication::Ok));
            Ok(role)
        }
        _ => {
            let mut error = SqlError::new(
                SqlState::INVALID_PASSWORD,
                format!("password authentication failed for user \"{user}\""),
            );
            // The same for accounts that exist and those that do not.
            if user != FIRST_ACCOUNT {
                error = error.hint(first_account_hint());
            }
            Err(error.into())
        }
    }
}

async fn answer(inbox: &mut Inbox) -> Result<Bytes, Refused> {
    match inbox.message().await? {
        None | Some(Ok(Message::Terminate)) => Err(Refused::Silently),
        Some(Ok(Message::Password(body))) => Ok(body),
        Some(Ok(_)) => Err(SqlError::new(SqlState::PROTOCOL_VIOLATION, "expected SASL response").into()),
        Some(Err(error)) => Err(error.into()),
    }
}

/// The mechanism's name, a length, and the first message.
fn sasl_initial(mut body: Bytes, offered: &[Mechanism]) -> Result<(Mechanism, Bytes), SqlError> {
    let malformed = || SqlError::new(SqlState::PROTOCOL_VIOLATION, "invalid SASL initial response");
    let end = body.iter().position(|byte| *byte == 0).ok_or_else(malformed)?;
    let mechanism = body.split_to(end);
    body.advance(1);
    let Some(mechanism) = offered.iter().find(|offered| offered.name().as_bytes() == &*mechanism) else {
        return Err(SqlError::new(SqlState::PROTOCOL_VIOLATION, "client selected an invalid SASL mechanism"));
    };
    if body.len() < 4 || usize::try_from(body.get_i32()).ok() != Some(body.len()) {
        return Err(malformed());
    }
    Ok((*mechanism, body))
}

/// Tells a client why it is not let in, as far as it still listens.
pub async fn refuse(outbox: &mut Outbox, error: &SqlError) {
    outbox.put_error(Severity::Fatal, error);
    if let Err(error) = outbox.close().await {
        tracing::debug!(%error, "the client left before it was told why it is refused");
    }
}
