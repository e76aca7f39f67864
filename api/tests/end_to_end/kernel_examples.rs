//! Every question of `sql-examples/` says what it costs, and is answered by a server with the starter probes.

use std::path::Path;

use crate::support::Server;

/// So many questions are answered at least.
const EXAMPLES_MIN: usize = 40;

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
            let mut lines = sql.lines();
            let question = lines.next().and_then(|line| line.strip_prefix("-- ")).expect("it says what it answers");
            assert!(question.contains('?'), "no question: {question}");
            assert!(lines.next().is_some_and(|line| line.starts_with("-- Cost: ")), "it does not say what it costs");
            server.psql(&sql);
            examples += 1;
        }
    }
    assert!(examples >= EXAMPLES_MIN, "{examples} examples in {}", directory.display());
}
