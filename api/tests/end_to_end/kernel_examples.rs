//! Every question of `sql-examples/` is answered by a server with the starter probes.

use std::path::Path;

use crate::support::Server;

#[test]
fn kernel_every_example_runs() {
    let Some(server) = Server::with_probes("") else { return };
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sql-examples");
    let mut examples = 0;
    for entry in std::fs::read_dir(&directory).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "sql") {
            let sql = std::fs::read_to_string(&path).unwrap();
            println!("{}", path.display());
            server.psql(&sql);
            examples += 1;
        }
    }
    assert!(examples > 0, "no example in {}", directory.display());
}
