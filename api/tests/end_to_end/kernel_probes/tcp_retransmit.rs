//! The probe `tcp_retransmit`: makes its event happen and finds exactly that row through psql.

use std::process::{Command, Stdio};

use crate::support::Server;

/// A network namespace in which one address is a hole: its frames go to a neighbour that does not answer.
struct Hole(String);

impl Hole {
    /// The address nobody owns.
    const ADDRESS: &str = "10.231.7.2";

    fn create() -> Hole {
        let hole = Hole(format!("pp_test_{}", std::process::id()));
        let ip = |line: String| {
            let output = Command::new("ip").args(line.split(' ')).output().expect("iproute2 is installed");
            assert!(output.status.success(), "ip {line}: {}", String::from_utf8_lossy(&output.stderr));
        };
        let name = &hole.0;
        ip(format!("netns add {name}"));
        ip(format!("-n {name} link add pp_a type veth peer name pp_b"));
        ip(format!("-n {name} address add 10.231.7.1/24 dev pp_a"));
        ip(format!("-n {name} link set pp_a up"));
        ip(format!("-n {name} link set pp_b up"));
        ip(format!("-n {name} neighbour add {} lladdr 02:00:00:00:00:01 dev pp_a nud permanent", Hole::ADDRESS));
        hole
    }
}

impl Drop for Hole {
    fn drop(&mut self) {
        Command::new("ip").args(["netns", "delete", &self.0]).stderr(Stdio::null()).status().ok();
    }
}

#[test]
fn kernel_tcp_retransmit_shows_where_the_segment_went() {
    let Some(server) = Server::with_probes("") else { return };
    let hole = Hole::create();
    // The first SYN is repeated after a second.
    let connect = format!("exec 3<>/dev/tcp/{}/4242", Hole::ADDRESS);
    let mut client = Command::new("ip")
        .args(["netns", "exec", &hole.0, "bash", "-c", &connect])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
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
