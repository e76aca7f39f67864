//! SIGTERM: what the kernel's rings still hold is drained, and everything is committed.

use std::time::{Duration, Instant};

use crate::support::{Numbered, Server, may_attach, numbered_probe};

#[test]
fn kernel_sigterm_drains_the_rings_and_commits_every_row() {
    let Some(server) = Server::with_probes(&numbered_probe()) else { return };
    let events = Numbered::start(2_000);
    while events.made() < 2_000 {
        std::thread::sleep(Duration::from_millis(10));
    }
    let made = events.stop();
    // At once: the last rows are in a ring, in a batch, or in the tail.
    let (status, printed, directory) = server.terminate();
    assert!(status.success(), "{status}\n{printed}");

    let directory = directory.expect("the directory was the server's own");
    let again = Server::start(directory.path(), &["--no-probes"]);
    assert_eq!(again.psql("SELECT count(*), count(DISTINCT number) FROM numbered"), format!("{made}|{made}"));
    let committed = again.psql("SELECT sum(rows) FROM system.segments WHERE table_name = 'numbered'");
    assert_eq!(committed, made.to_string(), "every row was in a committed segment when it stopped");
}

#[test]
fn kernel_a_second_sigterm_stops_at_once_and_loses_no_logged_row() {
    if !may_attach() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::start(directory.path(), &[]);
    server.psql(&numbered_probe());
    let events = Numbered::start(2_000);
    server.wait_for("SELECT count(*) > 1000 FROM numbered", "t");
    let seen: u64 = server.psql("SELECT count(*) FROM numbered").parse().unwrap();
    server.signal(libc::SIGTERM);
    server.signal(libc::SIGTERM);
    let start = Instant::now();
    server.wait_for_end();
    assert!(start.elapsed() < Duration::from_secs(5), "it took {:?}", start.elapsed());
    drop(events);

    let again = Server::start(directory.path(), &["--no-probes"]);
    let kept = again.psql("SELECT count(*), count(DISTINCT number) FROM numbered");
    let (count, distinct) = kept.split_once('|').unwrap();
    assert_eq!(count, distinct, "a row came back twice");
    assert!(count.parse::<u64>().unwrap() >= seen, "{seen} rows were visible, {count} are left");
}
