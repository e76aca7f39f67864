//! Sockets, and a task for each connection.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use probepilot_sql::{SqlError, SqlState};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::login::{self, Origin, Refused};
use super::session;
use super::wire::{Inbox, Outbox};
use super::{Door, DoorOptions};

/// Connections that may be in the startup phase beside those that are logged in; the next ones wait in the kernel.
const LOGINS_MAX: usize = 64;
/// How long connections may take to say goodbye when the server stops; then they are cut.
const GOODBYE_WAIT_MAX: Duration = Duration::from_secs(5);
/// A pause after `accept` fails, so that a shortage of file descriptors does not become a busy loop.
const ACCEPT_RETRY_WAIT: Duration = Duration::from_millis(100);
/// Longest path of a Unix socket, from `sockaddr_un`.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// Where the door is.
#[derive(Clone, Debug)]
pub struct SocketOptions {
    /// TCP address; port 0 lets the kernel choose.
    pub listen: SocketAddr,
    /// Directory of the Unix socket; `None` for TCP alone.
    pub socket_directory: Option<PathBuf>,
}

/// Sockets that are open; [`Bound::serve`] lets clients in.
pub struct Bound {
    door: Arc<Door>,
    tcp: TcpListener,
    unix: Option<(UnixListener, PathBuf)>,
    address: SocketAddr,
}

impl Bound {
    /// Opens the sockets: TCP, and `.s.PGSQL.<port>` in the directory, which every local user may open but which lets
    /// in by the kernel's word only root and our own user.
    ///
    /// A path that is too long for a Unix socket is logged, and TCP alone is served.
    pub async fn open(door: Arc<Door>, options: &SocketOptions) -> io::Result<Bound> {
        let tcp = crate::listen::bind("Postgres", "--pg-listen", options.listen).await?;
        let address = tcp.local_addr()?;
        let unix = match &options.socket_directory {
            Some(directory) => open_socket(&directory.join(format!(".s.PGSQL.{}", address.port())))?,
            None => None,
        };
        Ok(Bound { door, tcp, unix, address })
    }

    /// The TCP address, with the port that was chosen.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The path of the Unix socket, if there is one.
    pub fn socket_path(&self) -> Option<&Path> {
        self.unix.as_ref().map(|(_, path)| path.as_path())
    }

    /// Lets clients in until `shutdown`; then tells them (57P01), waits a bounded time for them to leave, and removes
    /// the socket.
    pub async fn serve(self, shutdown: CancellationToken) {
        let Bound { door, tcp, unix, .. } = self;
        let tasks = TaskTracker::new();
        let cut = CancellationToken::new();
        let sockets = Arc::new(Semaphore::new(door.options.connections_max + LOGINS_MAX));
        loop {
            let Some(permit) = shutdown.run_until_cancelled(Arc::clone(&sockets).acquire_owned()).await else { break };
            let permit = permit.expect("the semaphore is never closed");
            let (inbox, outbox, origin) = tokio::select! {
                () = shutdown.cancelled() => break,
                accepted = tcp.accept() => match accepted {
                    Ok((stream, address)) => {
                        // A row should not wait for a full packet. Failing only costs latency.
                        let _ = stream.set_nodelay(true);
                        let (reader, writer) = stream.into_split();
                        let origin = Origin { address: address.ip().to_string(), peer_uid: None };
                        (Inbox::new(reader), Outbox::new(writer), origin)
                    }
                    Err(error) => {
                        accept_failed(&error).await;
                        continue;
                    }
                },
                accepted = accept_unix(unix.as_ref()) => match accepted {
                    Ok((stream, _)) => {
                        let peer_uid = stream.peer_cred().ok().map(|peer| peer.uid());
                        let (reader, writer) = stream.into_split();
                        let origin = Origin { address: "local".to_owned(), peer_uid };
                        (Inbox::new(reader), Outbox::new(writer), origin)
                    }
                    Err(error) => {
                        accept_failed(&error).await;
                        continue;
                    }
                },
            };
            let connection = connection(Arc::clone(&door), origin, inbox, outbox, shutdown.clone());
            let cut = cut.clone();
            tasks.spawn(async move {
                cut.run_until_cancelled(connection).await;
                drop(permit);
            });
        }
        drop(tcp);
        tasks.close();
        if tokio::time::timeout(GOODBYE_WAIT_MAX, tasks.wait()).await.is_err() {
            tracing::info!(connections = tasks.len(), "cutting connections that did not leave");
            cut.cancel();
            tasks.wait().await;
        }
        if let Some((listener, path)) = unix {
            drop(listener);
            // Left behind it does no harm: the next start replaces it.
            let _ = std::fs::remove_file(path);
        }
    }
}

async fn accept_unix(
    unix: Option<&(UnixListener, PathBuf)>,
) -> io::Result<(tokio::net::UnixStream, tokio::net::unix::SocketAddr)> {
    match unix {
        Some((listener, _)) => listener.accept().await,
        None => std::future::pending().await,
    }
}

async fn accept_failed(error: &io::Error) {
    tracing::warn!(%error, "accepting a connection failed");
    tokio::time::sleep(ACCEPT_RETRY_WAIT).await;
}

fn open_socket(path: &Path) -> io::Result<Option<(UnixListener, PathBuf)>> {
    let path = std::path::absolute(path)?;
    if path.as_os_str().len() > SOCKET_PATH_BYTES_MAX {
        tracing::warn!(path = %path.display(), "the path is too long for a Unix socket; serving TCP alone");
        return Ok(None);
    }
    // The port is ours, so a socket of its name is what a server that crashed left behind.
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&path)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o777))?;
    Ok(Some((listener, path)))
}

async fn connection(
    door: Arc<Door>,
    origin: Origin,
    mut inbox: Inbox,
    mut outbox: Outbox,
    shutdown: CancellationToken,
) {
    let login = login::login(&door, &origin, &mut inbox, &mut outbox);
    let Some(login) = shutdown.run_until_cancelled(login).await else {
        let error = SqlError::new(SqlState::CANNOT_CONNECT_NOW, "the database system is shutting down");
        return login::refuse(&mut outbox, &error).await;
    };
    let login = match login {
        Ok(login) => login,
        Err(Refused::Silently) => return,
        Err(Refused::Told(error)) => return login::refuse(&mut outbox, &error).await,
    };
    let Ok(place) = Arc::clone(&door.places).try_acquire_owned() else {
        return login::refuse(&mut outbox, &login::too_many()).await;
    };
    session::serve(&door, login, inbox, outbox, shutdown).await;
    drop(place);
}

impl DoorOptions {
    /// The most sockets the door holds at once.
    pub fn sockets_max(&self) -> usize {
        self.connections_max + LOGINS_MAX
    }
}
