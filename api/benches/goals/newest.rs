//! G7: the newest rows that match, through the Postgres protocol, against DuckDB and stock DataFusion on the same files.
//!
//! Ours is timed from the query's text to the last row at the client. DuckDB runs in its own process and is timed around
//! `execute`, without making Python values of the rows; DataFusion runs in this process, with its defaults.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::TimestampNanosecondType;
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::listing::{ListingOptions, ListingTable, ListingTableConfig, ListingTableUrl};
use datafusion::prelude::SessionContext;
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::figures::{median, percentile, show};
use crate::lake;
use crate::support::{Server, connect};

/// Runs of each query, of which the first are thrown away.
const RUNS: usize = 22;
const WARM_UP: usize = 2;

const COLUMNS: [(&str, &str); 2] = [("narrow", "time, host, status"), ("SELECT *", "*")];
const PREDICATES: [(&str, &str); 3] =
    [("all rows", ""), ("one in ten", "WHERE level = 'warn' "), ("7 of all", "WHERE host = 'host-rare' ")];
const LIMITS: [usize; 3] = [5, 100, 1_000];

pub fn run() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(measure());
}

async fn measure() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    // The first start makes the folders.
    Server::start(directory.path(), &["--no-probes"]).terminate();
    lake::make(directory.path()).await;
    let server = Server::start(directory.path(), &["--no-probes"]);
    let client = connect(&server).await;
    let segments = "SELECT path FROM system.segments WHERE table_name = 'requests'";
    let files: Vec<PathBuf> = texts(&client, segments)
        .await
        .into_iter()
        .map(|path| lake::segments_folder(directory.path()).join(path))
        .collect();
    println!("  {} rows in {} segments, {} late ones in the tail", lake::ROWS, files.len(), lake::LATE_ROWS);
    let mut duckdb = DuckDb::start(&files);
    let stock = stock(&files).await;

    let (mut best, mut worst) = (f64::INFINITY, 0.0_f64);
    let (mut ratios, mut stock_ratios) = (Vec::new(), Vec::new());
    for (predicate, filter) in PREDICATES {
        for (width, columns) in COLUMNS {
            for limit in LIMITS {
                let query = format!("SELECT {columns} FROM requests {filter}ORDER BY time DESC LIMIT {limit}");
                check(&client, &stock, duckdb.as_mut(), &query).await;
                let (mut ours, mut theirs, mut plain) = (Vec::new(), Vec::new(), Vec::new());
                for run in 0..RUNS {
                    let times = [
                        ours_ms(&client, &query).await,
                        duckdb.as_mut().map_or(f64::NAN, |duckdb| duckdb.time_ms(&query)),
                        stock_ms(&stock, &query).await,
                    ];
                    if run >= WARM_UP {
                        ours.push(times[0]);
                        theirs.push(times[1]);
                        plain.push(times[2]);
                    }
                }
                let ratio = median(&ours) / median(&theirs);
                let stock_ratio = median(&plain) / median(&ours);
                ratios.push(ratio.ln());
                stock_ratios.push(stock_ratio.ln());
                (best, worst) = (best.min(ratio), worst.max(ratio));
                let of = |times: &[f64]| format!("{:.2} ms (p99 {:.2})", median(times), percentile(times, 99.0));
                show(
                    &format!("G7 newest {limit}, {predicate}, {width}"),
                    &format!(
                        "{}; DuckDB {}; ratio {ratio:.2}; stock DataFusion {}, {stock_ratio:.0} times ours",
                        of(&ours),
                        of(&theirs),
                        of(&plain)
                    ),
                );
            }
        }
    }
    let mean = |logarithms: &[f64]| (logarithms.iter().sum::<f64>() / logarithms.len() as f64).exp();
    show(
        "G7 newest N, geometric mean",
        &format!(
            "{:.2} of DuckDB's time, from {best:.2} to {worst:.2}; stock DataFusion takes {:.0} times ours",
            mean(&ratios),
            mean(&stock_ratios)
        ),
    );
}

async fn texts(client: &Client, query: &str) -> Vec<String> {
    let messages = client.simple_query(query).await.unwrap_or_else(|error| panic!("{query}: {error}"));
    let row = |message| match message {
        SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    };
    messages.into_iter().filter_map(row).collect()
}

async fn ours_ms(client: &Client, query: &str) -> f64 {
    let start = Instant::now();
    client.simple_query(query).await.unwrap_or_else(|error| panic!("{query}: {error}"));
    start.elapsed().as_secs_f64() * 1e3
}

/// DataFusion as it comes: a listing table over the files.
async fn stock(files: &[PathBuf]) -> SessionContext {
    let context = SessionContext::new();
    let urls = files.iter().map(|file| ListingTableUrl::parse(file.display().to_string()).expect("a path"));
    let options = ListingOptions::new(Arc::new(ParquetFormat::default()));
    let config = ListingTableConfig::new_with_multi_paths(urls.collect()).with_listing_options(options);
    let config = config.infer_schema(&context.state()).await.expect("the files have a schema");
    let table = ListingTable::try_new(config).expect("all is told");
    context.register_table("requests", Arc::new(table)).expect("a new name");
    context
}

async fn stock_ms(context: &SessionContext, query: &str) -> f64 {
    let start = Instant::now();
    let frame = context.sql(query).await.unwrap_or_else(|error| panic!("{query}: {error}"));
    frame.collect().await.unwrap_or_else(|error| panic!("{query}: {error}"));
    start.elapsed().as_secs_f64() * 1e3
}

/// The same rows before anything is timed: their number and their times, which are the first column.
async fn check(client: &Client, stock: &SessionContext, duckdb: Option<&mut DuckDb>, query: &str) {
    let frame = stock.sql(query).await.unwrap_or_else(|error| panic!("{query}: {error}"));
    let batches = frame.collect().await.unwrap_or_else(|error| panic!("{query}: {error}"));
    let times = |batch: &RecordBatch| batch.column(0).as_primitive::<TimestampNanosecondType>().values().to_vec();
    let expected_ns: Vec<i64> = batches.iter().flat_map(times).collect();
    let found = texts(client, query).await;
    assert_eq!(found.len(), expected_ns.len(), "{query}");
    for (found, expected_ns) in found.iter().zip(&expected_ns) {
        let time = chrono::DateTime::parse_from_str(found, "%Y-%m-%d %H:%M:%S%.f%#z").expect("PostgreSQL's form");
        let found_ns = time.timestamp_nanos_opt().expect("the year is before 2262");
        // PostgreSQL shows microseconds.
        assert!((found_ns - expected_ns).abs() < 1_000, "{query}: {found_ns} is not {expected_ns}");
    }
    if let Some(duckdb) = duckdb {
        let sum: i128 = expected_ns.iter().copied().map(i128::from).sum();
        assert_eq!(duckdb.ask(&format!("? SELECT sum(epoch_ns(time)) FROM ({query})")), sum.to_string(), "{query}");
    }
}

/// DuckDB in a Python process: a query a line, its time back.
struct DuckDb {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

/// Lines that begin with `?` ask for the answer, all others for the nanoseconds that it takes.
const SCRIPT: &str = r"
import sys, time, duckdb
c = duckdb.connect()
c.execute('SET parquet_metadata_cache = true')
c.execute('CREATE VIEW requests AS SELECT * FROM read_parquet(' + repr(sys.argv[1:]) + ')')
print(duckdb.__version__, flush=True)
for line in sys.stdin:
    if line.startswith('?'):
        print(c.execute(line[1:]).fetchone()[0], flush=True)
        continue
    start = time.perf_counter_ns()
    c.execute(line)
    print(time.perf_counter_ns() - start, flush=True)
";

impl DuckDb {
    /// `None`, with the reason printed, when it is not installed.
    fn start(files: &[PathBuf]) -> Option<DuckDb> {
        let mut python = Command::new(probepilot_catalog::testing::python()?);
        python.args(["-c", SCRIPT]).args(files).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = python.spawn().expect("the interpreter starts");
        let input = process.stdin.take().expect("it is piped");
        let output = BufReader::new(process.stdout.take().expect("it is piped"));
        let mut duckdb = DuckDb { process, input, output };
        println!("  DuckDB {}", duckdb.answer());
        Some(duckdb)
    }

    fn answer(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("the script runs");
        line.trim().to_owned()
    }

    fn ask(&mut self, line: &str) -> String {
        writeln!(self.input, "{line}").expect("the script reads");
        self.answer()
    }

    fn time_ms(&mut self, query: &str) -> f64 {
        let nanoseconds: f64 = self.ask(query).parse().unwrap_or_else(|error| panic!("{query}: {error}"));
        nanoseconds / 1e6
    }
}

impl Drop for DuckDb {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}
