//! The probe `tcp_retransmit`: makes its event happen and finds exactly that row through psql.

use crate::support::{Hole, Server};

#[test]
fn kernel_tcp_retransmit_shows_where_the_segment_went() {
    let Some(server) = Server::with_probes("ALTER PROBE tcp_retransmit ENABLE") else { return };
    let hole = Hole::create("rows");
    // The first SYN is repeated after a second.
    let connect = format!("exec 3<>/dev/tcp/{}/4242", Hole::ADDRESS);
    let mut client = hole.command(&["bash", "-c", &connect]).spawn().unwrap();
    server.wait_for(
        &format!(
            "SELECT DISTINCT remote_address, remote_port, local_address, state FROM tcp_retransmit \
             WHERE remote_address = '{}' AND remote_port = 4242",
            Hole::ADDRESS
        ),
        &format!("{}|4242|10.231.7.1|SYN_SENT", Hole::ADDRESS),
    );
    client.kill().ok();
    client.wait().unwrap();
}
