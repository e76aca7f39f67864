//! The catalog on PostgreSQL: probes, accounts and manifest are there, and a restart finds them.

use probepilot_catalog::testing::Postgres;

use crate::support::{Numbered, Server, may_attach, numbered_probe};

#[test]
fn kernel_probes_and_segments_are_found_again_in_postgresql() {
    if !may_attach() {
        return;
    }
    let Some(postgres) = Postgres::start() else { return };
    let directory = tempfile::tempdir().unwrap();
    let url = postgres.url();
    let server = Server::start(directory.path(), &["--catalog", &url]);
    server.psql(&numbered_probe());
    let events = Numbered::start(1_000);
    server.wait_for("SELECT count(*) > 500 FROM numbered", "t");
    let made = events.stop();
    server.wait_for("SELECT count(*) FROM numbered", &made.to_string());
    server.psql("CHECKPOINT");
    let facts = "SELECT count(*), count(DISTINCT number), min(nsecs), max(nsecs) FROM numbered";
    let before = server.psql(facts);
    server.kill();

    assert!(!directory.path().join("control.sqlite").exists(), "nothing is kept in SQLite");
    let again = Server::start(directory.path(), &["--catalog", &url]);
    assert_eq!(again.psql(facts), before);
    assert_eq!(again.psql("SELECT state, origin FROM system.probes WHERE name = 'numbered'"), "running|user");
}
