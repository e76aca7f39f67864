//! Lists of members, looked up in the kernel: exactly the events that are in the list become rows.

use std::process::Command;

use crate::support::Server;

const QUERY: &str = "SELECT user_string(filename) AS path FROM tracepoint.sys_enter_openat
    WHERE user_string(filename) IN ('/tmp/probepilot-list-1', '/tmp/probepilot-list-2', '/tmp/probepilot-list-3',
        '/tmp/probepilot-list-4', '/tmp/probepilot-list-last')";

/// Opens a file that nobody else does.
fn open(name: &str) {
    Command::new("cat").arg(format!("/tmp/probepilot-list-{name}")).output().expect("cat is there");
}

#[test]
fn members_of_a_list_are_rows_and_others_are_not() {
    let Some(server) = Server::with_probes(&format!("CREATE PROBE listed AS {QUERY}")) else { return };
    let explained = server.psql(&format!("EXPLAIN CREATE PROBE again AS {QUERY}"));
    let list = "List: a map of 5 entries, looked up in kernel; keys of 32 bytes, 160 bytes together";
    assert!(explained.contains(list), "{explained}");
    assert!(explained.contains("Filter in kernel: "), "{explained}");
    for _ in 0..3 {
        for name in ["1", "2", "3", "4", "5", "11", ""] {
            open(name);
        }
    }
    open("last");
    server.wait_for("SELECT count(*) FROM listed", "13");
    assert_eq!(
        server.psql("SELECT path, count(*) FROM listed GROUP BY path ORDER BY path"),
        "/tmp/probepilot-list-1|3\n/tmp/probepilot-list-2|3\n/tmp/probepilot-list-3|3\n/tmp/probepilot-list-4|3\n\
         /tmp/probepilot-list-last|1"
    );
}
