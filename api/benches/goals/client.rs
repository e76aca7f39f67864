//! A connection to the server as `admin`.

use tokio_postgres::{Client, NoTls};

use crate::support::Server;

/// Connects; the connection runs on the current runtime until the client is dropped.
pub async fn connect(server: &Server) -> Client {
    let address = server.address("postgres");
    let (client, connection) = tokio_postgres::Config::new()
        .host(address.ip().to_string())
        .port(address.port())
        .user("admin")
        .password(server.password("admin"))
        .dbname("probepilot")
        .connect(NoTls)
        .await
        .expect("admin comes in");
    tokio::spawn(connection);
    client
}
