//! The Postgres door: clients of PostgreSQL 16 log in, send SQL and read rows, and cannot tell.
//!
//! The connection's loop, the streaming of rows, cancel and COPY are our own; pgwire gives the messages. Its loop
//! collects a portal's rows before it sends the first, cancels only until the first row, and does not see a client
//! that leaves.

pub mod backend; // What the door needs of the rest of the server.
mod listen; // Sockets, and a task for each connection.
mod registry; // Connections by number, for cancel requests.
pub mod wire; // Messages from and to the socket.
pub mod tls; // The server's certificate.
pub mod login; // From the first byte to a client that is let in.
pub mod encode; // Rows as text and binary.
mod session; // What a client does once it is in.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::backoff::BackOff;

pub use listen::{Bound, SocketOptions};
pub use session::parameters::read as read_parameter;

use backend::Backend;
use registry::Registry;
use session::scroll::CursorMemory;
use tls::Tls;

/// The version of PostgreSQL that clients are told when the session has no setting `server_version`: drivers choose
/// their catalog queries by it.
pub const SERVER_VERSION: &str = "16.14";

/// Who may come in without encryption. The Unix socket needs none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TlsPolicy {
    /// Whoever does not ask for it.
    #[default]
    Optional,
    /// Nobody.
    Required,
}

/// How the door behaves.
#[derive(Clone, Debug)]
pub struct DoorOptions {
    /// Clients that may be logged in at the same time; one more is refused with 53300.
    pub connections_max: usize,
    /// The database's name, for hints.
    pub database: String,
    /// Who may come in without encryption.
    pub tls: TlsPolicy,
}

impl Default for DoorOptions {
    fn default() -> DoorOptions {
        DoorOptions { connections_max: 200, database: "probepilot".to_owned(), tls: TlsPolicy::default() }
    }
}

/// The state all connections of the door share.
pub struct Door {
    backend: Arc<dyn Backend>,
    options: DoorOptions,
    /// The certificate; `None` answers every request for encryption with no.
    tls: Option<Arc<Tls>>,
    registry: Arc<Registry>,
    back_off: Arc<BackOff>,
    cursor_memory: Arc<CursorMemory>,
    /// Places of clients that are logged in.
    places: Arc<Semaphore>,
    /// From which the salts of accounts that do not exist are made.
    mock_secret: [u8; 32],
    own_uid: u32,
}

impl Door {
    /// A door to `backend`; nothing listens yet: see [`Bound::open`].
    pub fn new(
        backend: Arc<dyn Backend>,
        back_off: Arc<BackOff>,
        options: DoorOptions,
        tls: Option<Arc<Tls>>,
    ) -> Arc<Door> {
        // SAFETY: geteuid has no preconditions and cannot fail.
        let own_uid = unsafe { libc::geteuid() };
        Arc::new(Door {
            backend,
            registry: Arc::new(Registry::default()),
            back_off,
            cursor_memory: Arc::default(),
            places: Arc::new(Semaphore::new(options.connections_max)),
            options,
            tls,
            mock_secret: rand::random(),
            own_uid,
        })
    }

    fn is_full(&self) -> bool {
        self.places.available_permits() == 0
    }
}
