//! The probe `tcp_flow`: connections whose number and bytes the test knows, found through psql from both sides.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use crate::support::Server;

const CONNECTIONS: u64 = 40;
const REFUSED: u64 = 5;
const ASKED_BYTES: usize = 1_234;
const ANSWERED_BYTES: usize = 56_789;

/// A name that no other thread of the machine has.
const CLIENT: &str = "pp-flow-client";

fn talk(port: u16) {
    for _ in 0..CONNECTIONS {
        let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        client.write_all(&[7; ASKED_BYTES]).unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).unwrap();
        assert_eq!(answer.len(), ANSWERED_BYTES);
    }
}

#[test]
fn kernel_tcp_flow_counts_connections_and_bytes_of_both_sides() {
    let Some(server) = Server::with_probes("") else { return };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let client = std::thread::Builder::new().name(CLIENT.to_owned()).spawn(move || talk(port)).unwrap();
    for _ in 0..CONNECTIONS {
        let (mut peer, _) = listener.accept().unwrap();
        peer.read_exact(&mut [0; ASKED_BYTES]).unwrap();
        peer.write_all(&[9; ANSWERED_BYTES]).unwrap();
    }
    client.join().unwrap();
    drop(listener);
    let refused = move || (0..REFUSED).for_each(|_| drop(TcpStream::connect(("127.0.0.1", port)).unwrap_err()));
    std::thread::Builder::new().name(CLIENT.to_owned()).spawn(refused).unwrap().join().unwrap();

    let columns = "direction, comm, remote_address, sum(events), sum(failures), sum(sent_bytes), sum(received_bytes)";
    let (asked, answered) = (CONNECTIONS * ASKED_BYTES as u64, CONNECTIONS * ANSWERED_BYTES as u64);
    server.wait_for(
        &format!("SELECT {columns} FROM tcp_flow WHERE port = {port} GROUP BY 1, 2, 3 ORDER BY 1"),
        &format!(
            "in||127.0.0.1|{CONNECTIONS}|0|{answered}|{asked}\n\
             out|{CLIENT}|127.0.0.1|{}|{REFUSED}|{asked}|{answered}",
            CONNECTIONS + REFUSED
        ),
    );
    let checks = format!(
        "SELECT count(DISTINCT cgroup_id), bool_and(cgroup_id > 0), bool_and(duration_mean_ns > 0),
             bool_and(duration_mean_ns <= duration_max_ns), bool_or(other) FROM tcp_flow WHERE port = {port}"
    );
    assert_eq!(server.psql(&checks), "1|t|t|t|f");
}
