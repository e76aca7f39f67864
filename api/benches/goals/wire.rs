//! G8: rows a second over the Postgres protocol, beside PostgreSQL 15 with the same table.
//!
//! Both are asked over a Unix socket by a client that keeps nothing, turn by turn. PostgreSQL has the table in its buffers;
//! ours reads it from Parquet each time.

use std::path::Path;

use probepilot_catalog::testing::Postgres;

use crate::figures::{median, percentile, show};
use crate::pg_client::{Format, PgClient};
use crate::support::Server;

const ROWS: u64 = 2_000_000;

/// Rows of one INSERT.
const INSERT_ROWS: u64 = 100_000;

const RUNS: usize = 9;
const WARM_UP: usize = 2;

const TABLE: &str =
    "CREATE TABLE wire (time timestamptz, id bigint, host text, status integer, seconds double precision)";

/// How rows are asked for.
const WAYS: [(&str, Way); 4] = [
    ("SELECT, text", Way::Select(Format::Text)),
    ("SELECT, binary", Way::Select(Format::Binary)),
    ("COPY, text", Way::Copy("COPY wire TO STDOUT")),
    ("COPY, binary", Way::Copy("COPY wire TO STDOUT (FORMAT binary)")),
];

#[derive(Clone, Copy)]
enum Way {
    Select(Format),
    Copy(&'static str),
}

pub fn run() {
    let Some(postgres) = Postgres::start_with(&["shared_buffers=1GB", "max_wal_size=4GB"]) else { return };
    let server = Server::without_probes();
    let mut ours = ours(&server);
    let mut theirs = PgClient::connect(postgres.socket_folder(), 5432, "postgres", "postgres");
    for client in [&mut ours, &mut theirs] {
        done(client, TABLE);
        for from in (0..ROWS).step_by(INSERT_ROWS as usize) {
            done(client, &insert(from, from + INSERT_ROWS));
        }
    }
    done(&mut ours, "CHECKPOINT");
    // Its rows are marked as seen, its pages written.
    done(&mut theirs, "VACUUM (ANALYZE) wire");
    done(&mut theirs, "CHECKPOINT");
    for (name, way) in WAYS {
        let (mut our_rates, mut their_rates) = (Vec::new(), Vec::new());
        for run in 0..RUNS {
            let rates = [rate(&mut ours, way), rate(&mut theirs, way)];
            if run >= WARM_UP {
                our_rates.push(rates[0]);
                their_rates.push(rates[1]);
            }
        }
        let of = |rates: &[f64]| {
            let [slowest, fastest] = [1.0, 100.0].map(|percent| percentile(rates, percent) / 1e6);
            format!("{:.2} M rows/s ({slowest:.2} to {fastest:.2})", median(rates) / 1e6)
        };
        let ratio = median(&our_rates) / median(&their_rates);
        let found = format!("{}; PostgreSQL 15 {}; {ratio:.2} times", of(&our_rates), of(&their_rates));
        show(&format!("G8 {name}, {ROWS} rows of five columns"), &found);
    }
}

/// A connection to a server of ours.
pub fn ours(server: &Server) -> PgClient {
    let (folder, port) = socket(server);
    PgClient::connect(folder, port, "admin", "probepilot")
}

/// Where its socket is.
pub fn socket(server: &Server) -> (&Path, u16) {
    (server.data_dir(), server.address("postgres").port())
}

/// Runs what must succeed.
pub fn done(client: &mut PgClient, statement: &str) {
    let answer = client.simple(statement);
    assert!(answer.error.is_none(), "{statement}: {answer:?}");
}

fn insert(from: u64, to: u64) -> String {
    format!(
        "INSERT INTO wire SELECT '2026-01-01'::timestamptz + n * interval '1 ms', n, 'host-' || n % 200, (n % 5 * 100)::integer, \
         n * 0.001::double precision FROM generate_series({from}::bigint, {}::bigint) AS s(n)",
        to - 1
    )
}

/// Rows a second.
fn rate(client: &mut PgClient, way: Way) -> f64 {
    let answer = match way {
        Way::Select(format) => client.extended("SELECT * FROM wire", format),
        Way::Copy(text) => client.simple(text),
    };
    let rows: u64 = answer.tag.rsplit(' ').next().and_then(|count| count.parse().ok()).unwrap_or_default();
    assert_eq!(rows, ROWS, "{answer:?}");
    rows as f64 / answer.time.as_secs_f64()
}
