//! What is lost is told: in its table, and at the end of every query whose range has losses.

use crate::support::{Numbered, Server, may_attach, numbered_probe, wait_until};

/// A probe that lets through far fewer rows than the events made here.
fn probe() -> String {
    numbered_probe().replace("max_rows_per_second = 1000000", "max_rows_per_second = 100")
}

#[test]
fn kernel_a_query_ends_with_what_was_lost_in_its_range() {
    let Some(server) = Server::with_probes(&probe()) else { return };
    let numbered = Numbered::start(20_000);
    std::thread::sleep(std::time::Duration::from_millis(300));
    let made = numbered.stop();
    // The counters are written within two seconds: then rows and losses are all that was made.
    let (rows, lost) = wait_until("rows and losses to be all events", || {
        let rows: u64 = server.psql("SELECT count(*) FROM numbered").parse().expect("a count");
        let lost =
            "SELECT coalesce(max(count), 0) FROM system.probe_loss WHERE probe = 'numbered' AND cause = 'rate_limited'";
        let lost: u64 = server.psql(lost).parse().expect("a count");
        if rows + lost == made { Ok((rows, lost)) } else { Err(format!("{rows} rows and {lost} lost of {made}")) }
    });
    assert!(lost > 0 && rows >= 100, "{rows} rows, {lost} lost");

    let told = [format!("NOTICE:  lost {lost} events (rate_limited) in this range")];
    assert_eq!(notices(&server, "SELECT count(*) FROM numbered"), told);
    assert_eq!(notices(&server, "SELECT * FROM numbered WHERE time > now() - interval '1 hour' LIMIT 1"), told);
    let joined = "SELECT count(*) FROM numbered a JOIN numbered b ON a.number = b.number";
    assert_eq!(notices(&server, joined), told);
    for quiet in [
        "SELECT count(*) FROM numbered WHERE time < now() - interval '1 hour'",
        "SELECT count(*) FROM process_exec",
        "SELECT count(*) FROM system.probe_loss",
    ] {
        assert_eq!(notices(&server, quiet), Vec::<String>::new(), "{quiet}");
    }
}

/// The notices psql prints for a statement.
fn notices(server: &Server, sql: &str) -> Vec<String> {
    let output = server.psql_command().args(["-c", sql]).output().expect("psql runs");
    assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stderr).lines().map(str::to_owned).collect()
}

#[test]
fn kernel_a_restart_says_since_when_rows_are_missing_and_that_their_number_is_unknown() {
    if !may_attach() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[]);
    server.psql(&numbered_probe());
    let events = Numbered::start_from(0, 1_000);
    server.wait_for("SELECT count(*) > 100 FROM numbered", "t");
    events.stop();
    let newest = server.psql("SELECT max(time) FROM numbered");
    server.kill();
    let server = Server::start(directory.path(), &[]);
    server.wait_for(
        "SELECT count(*), min(count), min(since), min(time > since) FROM system.probe_loss \
         WHERE cause = 'restart' AND probe = 'numbered'",
        &format!("1||{newest}|t"),
    );
}
