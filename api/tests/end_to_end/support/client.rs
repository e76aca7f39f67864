//! A connection to the server as `admin`.

use tokio::task::JoinHandle;
use tokio_postgres::{Client, Error, NoTls};

use super::Server;

/// Connects; the connection runs on the current runtime until the client is dropped.
pub async fn connect(server: &Server) -> Client {
    connected(server).await.expect("admin comes in").0
}

/// As [`connect`], with what the connection ends with.
pub async fn connected(server: &Server) -> Result<(Client, JoinHandle<Result<(), Error>>), Error> {
    let address = server.address("postgres");
    let (client, connection) = tokio_postgres::Config::new()
        .host(address.ip().to_string())
        .port(address.port())
        .user("admin")
        .password(server.password("admin"))
        .dbname("probepilot")
        .connect(NoTls)
        .await?;
    Ok((client, tokio::spawn(connection)))
}
