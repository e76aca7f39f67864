//! Segments in an S3 store, here moto's: written, read back, read after a restart.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command};

use crate::support::{Numbered, Python, Server, may_attach, numbered_probe};

const SCRIPT: &str = r#"
import boto3, time
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
host, port = server.get_host_and_port()
endpoint = f"http://{host}:{port}"
s3 = boto3.client("s3", endpoint_url=endpoint, aws_access_key_id="test", aws_secret_access_key="test", region_name="us-east-1")
s3.create_bucket(Bucket="lake")
print(endpoint, flush=True)
time.sleep(300)
"#;

const LIST: &str = r#"
import boto3, sys
s3 = boto3.client("s3", endpoint_url=sys.argv[1], aws_access_key_id="test", aws_secret_access_key="test", region_name="us-east-1")
for found in s3.list_objects_v2(Bucket="lake").get("Contents", []):
    print(found["Key"])
"#;

/// The store's process; it goes with the test.
struct Store {
    process: Child,
    endpoint: String,
}

impl Store {
    fn start(python: &Python) -> Store {
        let mut process = python.spawn(SCRIPT, &[]);
        let mut endpoint = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut endpoint).unwrap();
        Store { process, endpoint: endpoint.trim().to_owned() }
    }

    fn serve(&self, directory: &std::path::Path) -> Server {
        let mut program = Command::new(env!("CARGO_BIN_EXE_probepilot"));
        program
            .env("AWS_ENDPOINT", &self.endpoint)
            .env("AWS_ALLOW_HTTP", "true")
            .env("AWS_REGION", "us-east-1")
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test");
        Server::spawn(program, directory, &["--store", "s3://lake/rows"])
            .unwrap_or_else(|ended| panic!("the server ended: {}\n{}", ended.status, ended.printed))
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

#[test]
fn kernel_segments_live_in_an_s3_store() {
    let Some(python) = Python::find() else { return };
    if !may_attach() {
        return;
    }
    let store = Store::start(&python);
    assert!(store.endpoint.starts_with("http://"), "the store did not start");
    let directory = tempfile::tempdir().unwrap();
    let server = store.serve(directory.path());
    server.psql(&numbered_probe());
    let events = Numbered::start(2_000);
    while events.made() < 2_000 {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let made = events.stop();
    server.wait_for("SELECT count(*) FROM numbered", &made.to_string());
    server.psql("CHECKPOINT");
    let objects = python.run(LIST, &[&store.endpoint]);
    assert!(
        objects.lines().any(|key| key.starts_with("rows/") && key.contains("numbered/") && key.ends_with(".parquet")),
        "{objects}"
    );
    let facts = "SELECT count(*), count(DISTINCT number), sum(number) FROM numbered";
    let before = server.psql(facts);
    assert!(before.starts_with(&format!("{made}|{made}|")), "{before}");
    server.kill();
    assert_eq!(store.serve(directory.path()).psql(facts), before);
}
