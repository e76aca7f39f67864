//! A door on a free port, with a temporary directory for its socket.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use probepilot_api::pg::backend::Backend;
use probepilot_api::pg::tls::Tls;
use probepilot_api::pg::{Bound, Door, DoorOptions, SocketOptions};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_postgres::config::SslMode;
use tokio_postgres::{Client, NoTls};
use tokio_util::sync::CancellationToken;

use crate::backend::{PASSWORD, TestBackend};
use crate::raw::{Raw, Reply};

/// A door that serves until it is dropped.
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    /// Where its Unix socket is.
    pub directory: TempDir,
    /// Live streams that exist now.
    pub live_streams: Arc<AtomicUsize>,
    /// Stops it.
    pub shutdown: CancellationToken,
    serving: Option<JoinHandle<()>>,
}

impl Server {
    /// Opens a door.
    pub async fn start() -> Server {
        Server::with(DoorOptions::default()).await
    }

    /// Opens a door with options.
    pub async fn with(options: DoorOptions) -> Server {
        Server::with_tls(options, None).await
    }

    /// Opens a door with options and a certificate.
    pub async fn with_tls(options: DoorOptions, tls: Option<Arc<Tls>>) -> Server {
        let backend = TestBackend::default();
        let live_streams = Arc::clone(&backend.live_streams);
        Server::over(Arc::new(backend), live_streams, options, tls).await
    }

    /// Opens a door over a backend.
    pub async fn over(
        backend: Arc<dyn Backend>,
        live_streams: Arc<AtomicUsize>,
        options: DoorOptions,
        tls: Option<Arc<Tls>>,
    ) -> Server {
        let directory = tempfile::tempdir().unwrap();
        let door = Door::new(backend, Arc::default(), options, tls);
        let sockets = SocketOptions {
            listen: "127.0.0.1:0".parse().unwrap(),
            socket_directory: Some(directory.path().to_owned()),
        };
        let bound = Bound::open(door, &sockets).await.unwrap();
        let address = bound.address();
        assert_eq!(
            bound.socket_path().map(PathBuf::from),
            Some(directory.path().join(format!(".s.PGSQL.{}", address.port())))
        );
        let shutdown = CancellationToken::new();
        let serving = tokio::spawn(bound.serve(shutdown.clone()));
        Server { address, directory, live_streams, shutdown, serving: Some(serving) }
    }

    /// Settings of a client over TCP.
    pub fn config(&self, user: &str, password: &str, database: &str) -> tokio_postgres::Config {
        let mut config = tokio_postgres::Config::new();
        config.host("127.0.0.1").port(self.address.port()).ssl_mode(SslMode::Disable);
        config.user(user).password(password).dbname(database);
        config
    }

    /// A client over TCP, logged in as `admin`.
    pub async fn client(&self) -> Client {
        let (client, connection) = self.config("admin", PASSWORD, "probepilot").connect(NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }

    /// Waits until the door has told all clients goodbye.
    pub async fn stopped(mut self) {
        self.shutdown.cancel();
        self.serving.take().unwrap().await.unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// The SQLSTATE of an error, or the error if it is not the server's.
pub fn state(error: &tokio_postgres::Error) -> String {
    error.code().map_or_else(|| format!("{error:?}"), |code| code.code().to_owned())
}

impl Raw {
    /// Opens a door's socket and says nothing.
    pub async fn open(server: &Server) -> Raw {
        Raw::at(server.directory.path(), server.address.port()).await
    }

    /// Logs in as `admin`; gives what the server said.
    pub async fn login(server: &Server) -> (Raw, Vec<Reply>) {
        let mut raw = Raw::open(server).await;
        let replies = raw.log_in().await;
        (raw, replies)
    }
}
