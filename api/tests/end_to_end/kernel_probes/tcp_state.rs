//! The probe `tcp_state`: makes its event happen and finds exactly that row through psql.

use std::net::{TcpListener, TcpStream};

use crate::support::Server;

#[test]
fn kernel_tcp_state_shows_a_connection_open_and_close() {
    let Some(server) = Server::with_probes("ALTER PROBE tcp_state ENABLE") else { return };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let client_port = client.local_addr().unwrap().port();
    let ours = format!("FROM tcp_state WHERE local_port = {client_port} AND remote_port = {port}");
    server.wait_for(
        &format!("SELECT old_state, new_state, local_address, remote_address {ours} AND new_state = 'ESTABLISHED'"),
        "SYN_SENT|ESTABLISHED|127.0.0.1|127.0.0.1",
    );
    drop(client);
    server.wait_for(&format!("SELECT count(*) {ours} AND old_state = 'ESTABLISHED'"), "1");
    assert_eq!(server.psql(&format!("SELECT count(*) {ours}")), "2", "only the ways to and from ESTABLISHED are rows");
}
