//! The probe `connect_latency`: makes its event happen and finds exactly that row through psql.

use std::net::{TcpListener, TcpStream};

use crate::support::Server;

#[test]
fn kernel_connect_latency_shows_what_was_connected_and_what_was_refused() {
    let Some(server) = Server::with_probes("ALTER PROBE connect_latency ENABLE") else { return };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(TcpStream::connect(address).unwrap());
    drop(listener);
    TcpStream::connect(address).unwrap_err();
    // SAFETY: the call takes nothing.
    let thread = unsafe { libc::gettid() };
    server.wait_for(
        &format!(
            "SELECT error, pid = {}, fd > 2, latency_ns > 0 FROM connect_latency WHERE tid = {thread} ORDER BY time",
            std::process::id()
        ),
        "|t|t|t\nECONNREFUSED|t|t|t",
    );
}
