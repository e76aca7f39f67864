//! The probe `tcp_retransmit_rate`: segments that the kernel's own counter counts, found through psql.

use crate::support::{Hole, Server, wait_until};

#[test]
fn kernel_tcp_retransmit_rate_counts_what_the_kernel_counts() {
    let Some(server) = Server::with_probes("") else { return };
    let hole = Hole::create("rate");
    // The first SYN is repeated after a second, and so on.
    let connect = format!("exec 3<>/dev/tcp/{}/4243", Hole::ADDRESS);
    let mut client = hole.command(&["bash", "-c", &connect]).spawn().unwrap();
    wait_until("three segments to be sent again", || match hole.segments_sent_again() {
        3.. => Ok(()),
        fewer => Err(fewer.to_string()),
    });
    client.kill().ok();
    client.wait().unwrap();
    let sent_again = hole.segments_sent_again();
    server.wait_for(
        &format!(
            "SELECT state, sum(events), bool_or(other), count(cgroup_id) > 0 FROM tcp_retransmit_rate
             WHERE remote_address = '{}' AND remote_port = 4243 GROUP BY 1",
            Hole::ADDRESS
        ),
        &format!("SYN_SENT|{sent_again}|f|t"),
    );
}
