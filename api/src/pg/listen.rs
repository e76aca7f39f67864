//! Sockets, and a task for each connection.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::login::{self, Origin, Socket};
use super::session;
use super::{Door, DoorOptions};

/// Connections that may be in the startup phase beside those that are logged in; the next ones wait in the kernel.
const LOGINS_MAX: usize = 64;
/// How long connections may take to say goodbye when the server stops; then they are cut.
const GOODBYE_WAIT_MAX: Duration = Duration::from_secs(5);
/// A pause after `accept` fails, so that a shortage of file descriptors does not become a busy loop.
const ACCEPT_RETRY_WAIT: Duration = Duration::from_millis(100);
/// A client that was silent for so long is asked by the kernel whether it lives.
const KEEP_ALIVE_IDLE_SECONDS: libc::c_int = 60;
/// Pause between two such questions.
const KEEP_ALIVE_INTERVAL_SECONDS: libc::c_int = 10;
/// So many questions without an answer, and the client has left.
const KEEP_ALIVE_PROBES_MAX: libc::c_int = 6;
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
            let (socket, origin) = tokio::select! {
                () = shutdown.cancelled() => break,
                accepted = tcp.accept() => match accepted {
                    Ok((stream, address)) => {
                        // A row should not wait for a full packet. Failing only costs latency.
                        let _ = stream.set_nodelay(true);
                        keep_alive(&stream);
                        (Socket::Tcp(stream), Origin { address: address.ip().to_string(), peer_uid: None })
                    }
                    Err(error) => {
                        accept_failed(&error).await;
                        continue;
                    }
                },
                accepted = accept_unix(unix.as_ref()) => match accepted {
                    Ok((stream, _)) => {
                        let peer_uid = stream.peer_cred().ok().map(|peer| peer.uid());
                        (Socket::Unix(stream), Origin { address: "local".to_owned(), peer_uid })
                    }
                    Err(error) => {
                        accept_failed(&error).await;
                        continue;
                    }
                },
            };
            let connection = connection(Arc::clone(&door), origin, socket, shutdown.clone());
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

/// Lets the kernel ask a client that is silent whether it still lives; failing only costs a place that stays taken.
fn keep_alive(stream: &TcpStream) {
    for (level, option, value) in [
        (libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1),
        (libc::IPPROTO_TCP, libc::TCP_KEEPIDLE, KEEP_ALIVE_IDLE_SECONDS),
        (libc::IPPROTO_TCP, libc::TCP_KEEPINTVL, KEEP_ALIVE_INTERVAL_SECONDS),
        (libc::IPPROTO_TCP, libc::TCP_KEEPCNT, KEEP_ALIVE_PROBES_MAX),
    ] {
        // SAFETY: the descriptor is open as long as `stream` lives, and the value is an int, as all four options take.
        let code = unsafe {
            let value = std::ptr::from_ref(&value).cast();
            libc::setsockopt(stream.as_raw_fd(), level, option, value, size_of::<libc::c_int>() as libc::socklen_t)
        };
        if code != 0 {
            tracing::debug!(error = %io::Error::last_os_error(), option, "a socket takes no keep-alive");
        }
    }
}

async fn connection(door: Arc<Door>, origin: Origin, socket: Socket, shutdown: CancellationToken) {
    let Some(mut login) = login::login(&door, &origin, socket, &shutdown).await else { return };
    let Ok(place) = Arc::clone(&door.places).try_acquire_owned() else {
        return login::refuse(&mut login.outbox, &login::too_many()).await;
    };
    session::serve(&door, login, shutdown).await;
    drop(place);
}

impl DoorOptions {
    /// The most sockets the door holds at once.
    pub fn sockets_max(&self) -> usize {
        self.connections_max + LOGINS_MAX
    }
}
