//! kill -9 in a loop while rows arrive: what was visible is there afterwards, exactly once.

use std::time::Duration;

use crate::support::{Numbered, Server, may_attach, numbered_probe};

/// Kills: at moments that fall into appends, cuts and commits.
const ROUNDS: u64 = 6;

#[test]
fn kernel_rows_seen_before_a_kill_are_there_exactly_once_after_it() {
    if !may_attach() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[]);
    server.psql(&numbered_probe());
    server.kill();

    let mut kept = 0;
    for round in 0..ROUNDS {
        let server = Server::start(directory.path(), &[]);
        // What the rounds before left: nothing went, nothing came twice.
        assert_counts(&server, kept);
        // Fewer than a round's numbers apart, so that numbers never repeat over rounds.
        let events = Numbered::start_from(round * 1_000_000, 3_000);
        server.wait_for(&format!("SELECT count(*) > {} FROM numbered", kept + 500), "t");
        if round % 2 == 1 {
            // A commit under way at the time of the kill.
            let mut checkpoint = server.psql_command().args(["-c", "CHECKPOINT"]).spawn().unwrap();
            std::thread::sleep(Duration::from_millis(round * 7));
            kept = visible(&server);
            server.kill();
            checkpoint.wait().unwrap();
        } else {
            std::thread::sleep(Duration::from_millis(37 * round));
            kept = visible(&server);
            server.kill();
        }
        drop(events);
    }
    let server = Server::start(directory.path(), &["--no-probes"]);
    assert_counts(&server, kept);
    server.psql("CHECKPOINT");
    assert_counts(&server, kept);
}

fn visible(server: &Server) -> u64 {
    server.psql("SELECT count(*) FROM numbered").parse().unwrap()
}

/// At least `kept` rows, as some came between the last look and the kill, and none of them twice.
fn assert_counts(server: &Server, kept: u64) {
    let counts = server.psql("SELECT count(*), count(DISTINCT number) FROM numbered");
    let (count, distinct) = counts.split_once('|').unwrap();
    assert_eq!(count, distinct, "a row is there twice");
    assert!(count.parse::<u64>().unwrap() >= kept, "{kept} rows were visible, {count} are left");
}
