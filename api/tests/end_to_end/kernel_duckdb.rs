//! DuckDB attaches the lake while we write, and counts the rows of each CHECKPOINT.

use crate::support::{Numbered, Python, Server, numbered_probe};

/// Attaches the catalog read-only and answers one question about the lake.
pub const SCRIPT: &str = r#"
import sys, duckdb, pathlib
from importlib.util import find_spec
def extension(package, name):
    root = pathlib.Path(find_spec(package).submodule_search_locations[0])
    return str(next(root.glob(f"extensions/*/{name}.duckdb_extension")))
catalog, sql = sys.argv[1:]
c = duckdb.connect()
c.execute(f"LOAD '{extension('duckdb_extension_sqlite_scanner', 'sqlite_scanner')}'")
c.execute(f"LOAD '{extension('duckdb_extension_ducklake', 'ducklake')}'")
c.execute("SET TimeZone = 'UTC'")
c.execute(f"ATTACH 'ducklake:sqlite:{catalog}' AS lake (READ_ONLY)")
for row in c.execute(sql).fetchall():
    print(*row, sep="|")
"#;

#[test]
fn kernel_duckdb_counts_the_committed_rows_while_we_write() {
    let Some(python) = Python::find() else { return };
    let Some(server) = Server::with_probes(&numbered_probe()) else { return };
    let catalog = server.data_dir().join("lake/probepilot/catalog.sqlite");
    let duckdb = |sql: &str| python.run(SCRIPT, &[catalog.to_str().unwrap(), sql]);

    let events = Numbered::start(2_000);
    for round in 1..=3 {
        server.wait_for(&format!("SELECT count(*) > {} FROM numbered", round * 1_000), "t");
        let before: u64 = server.psql("SELECT count(*) FROM numbered").parse().unwrap();
        server.psql("CHECKPOINT");
        let after: u64 = server.psql("SELECT count(*) FROM numbered").parse().unwrap();
        let counts = duckdb("SELECT count(*), count(DISTINCT number) FROM lake.main.numbered");
        let (count, distinct) = counts.split_once('|').unwrap();
        assert_eq!(count, distinct, "a row is in the lake twice");
        let count: u64 = count.parse().unwrap();
        assert!((before..=after).contains(&count), "{count} is not between {before} and {after}");
    }
    let made = events.stop();
    server.wait_for("SELECT count(*) FROM numbered", &made.to_string());
    server.psql("CHECKPOINT");
    assert_eq!(duckdb("SELECT count(*) FROM lake.main.numbered"), made.to_string());
    // The same values, not only the same count.
    let facts = "SELECT min(number), max(number), sum(number), count(DISTINCT pid), max(nsecs) - min(nsecs) FROM ";
    assert_eq!(duckdb(&format!("{facts} lake.main.numbered")), server.psql(&format!("{facts} numbered")));
    let times = duckdb("SELECT epoch_ns(min(time)), epoch_ns(max(time)) FROM lake.main.numbered");
    assert_eq!(times, server.psql("SELECT epoch_ns(min(time)), epoch_ns(max(time)) FROM numbered"));
}
