//! Arguments, environment and configuration file: flags win over variables, variables over the file.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, Parser, Subcommand, ValueEnum};
use probepilot_collector::node::local::RING_BYTES_DEFAULT;

use crate::memory::Memory;
use crate::pg::TlsPolicy;
use crate::pg::tls::TlsFiles;
use crate::size::Size;

/// The command line.
#[derive(Debug, Parser)]
#[command(
    name = "probepilot",
    version,
    about = "Observability in SQL: probes compiled to eBPF, rows queried from psql"
)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start everything in one process.
    Serve(Box<ServeArguments>),
    /// Show the plan and the program of the probes in a file, without loading anything.
    Explain {
        /// A file of CREATE PROBE statements or SELECTs on hooks.
        file: PathBuf,
        /// List the program's instructions too.
        #[arg(short, long)]
        verbose: bool,
    },
    /// List the hooks of this kernel.
    Hooks {
        /// Show each hook's columns too.
        #[arg(short, long)]
        verbose: bool,
        /// Names to list; `*` stands for anything.
        #[arg(default_value = "*")]
        pattern: String,
    },
    /// Print the version.
    Version,
}

/// Flags of `serve`; each has a variable and a key of the configuration file with the same name.
#[derive(Args, Debug, Default, serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ServeArguments {
    /// A TOML file with any of the settings below, named as the flags.
    #[arg(long, env = "PROBEPILOT_CONFIG")]
    #[serde(skip)]
    pub config: Option<PathBuf>,
    /// Where everything is kept [default: ./probepilot-data].
    #[arg(long, env = "PROBEPILOT_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
    /// Address of the Postgres door; port 0 takes a free one [default: 127.0.0.1:7432].
    #[arg(long, env = "PROBEPILOT_PG_LISTEN")]
    pub pg_listen: Option<SocketAddr>,
    /// Address of the HTTP door [default: 127.0.0.1:7430].
    #[arg(long, env = "PROBEPILOT_HTTP_LISTEN")]
    pub http_listen: Option<SocketAddr>,
    /// Address of the gRPC door [default: 127.0.0.1:7433]; nothing is served there yet.
    #[arg(long, env = "PROBEPILOT_GRPC_LISTEN")]
    pub grpc_listen: Option<SocketAddr>,
    /// Certificate of the Postgres door: PEM, the server's own first, then its chain. SIGHUP reads it again.
    #[arg(long, env = "PROBEPILOT_TLS_CERT")]
    pub tls_cert: Option<PathBuf>,
    /// Key of the certificate: PEM as PKCS#8, SEC1 or PKCS#1.
    #[arg(long, env = "PROBEPILOT_TLS_KEY")]
    pub tls_key: Option<PathBuf>,
    /// Whether clients of the Postgres door must encrypt; the Unix socket is exempt [default: optional].
    #[arg(long, env = "PROBEPILOT_TLS")]
    pub tls: Option<TlsPolicy>,
    /// Space on disk at most, log included [default: the smaller of 10 GiB and 10 % of the file system].
    #[arg(long, env = "PROBEPILOT_MAX_DISK")]
    pub max_disk: Option<Size>,
    /// Memory of the server at most, without the pages of its binary; every part of it has its share [default: the smaller of
    /// 2 GiB and half of the machine's].
    #[arg(long, env = "PROBEPILOT_MEMORY")]
    pub memory: Option<Size>,
    /// Of it for rows that no segment holds yet [default: a quarter of what is shared out, at most 512MiB].
    #[arg(long, env = "PROBEPILOT_TAIL_BYTES")]
    pub tail_bytes: Option<Size>,
    /// Of it for the kernel's ring buffers, all CPUs together [default: 64MiB].
    #[arg(long, env = "PROBEPILOT_RING_BYTES_TOTAL")]
    pub ring_bytes_total: Option<Size>,
    /// Share of the host's processors that the programs of all probes may take, percent; above it the dearest probes see fewer
    /// of their events, which is counted [default: 1].
    #[arg(long, env = "PROBEPILOT_PROBE_CPU_MAX_PERCENT", value_parser = percent)]
    pub probe_cpu_max_percent: Option<f64>,
    /// Where probes, accounts and the manifest are kept: `postgres://…` [default: SQLite in the data directory].
    #[arg(long, env = "PROBEPILOT_CATALOG")]
    pub catalog: Option<String>,
    /// Where segments are kept: `s3://bucket/path`, `file:///path` [default: the data directory].
    #[arg(long, env = "PROBEPILOT_STORE")]
    pub store: Option<String>,
    /// This host's name in the column `node` [default: the host name].
    #[arg(long, env = "PROBEPILOT_NODE_NAME")]
    pub node_name: Option<String>,
    /// Form of the log on standard error [default: text].
    #[arg(long, env = "PROBEPILOT_LOG_FORMAT")]
    pub log_format: Option<LogFormat>,
    /// Load no probe: serve what is stored.
    #[arg(long, env = "PROBEPILOT_NO_PROBES", value_parser = clap::builder::BoolishValueParser::new(), action = clap::ArgAction::SetTrue)]
    #[serde(default)]
    pub no_probes: bool,
}

/// Form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// A JSON object a line.
    Json,
}

/// Settings of `serve`, complete.
#[derive(Clone, Debug)]
pub struct Config {
    /// Absolute; created when it does not exist.
    pub data_dir: PathBuf,
    /// The Postgres door.
    pub pg_listen: SocketAddr,
    /// The HTTP door.
    pub http_listen: SocketAddr,
    /// The gRPC door.
    pub grpc_listen: SocketAddr,
    /// The certificate of the Postgres door; `None`: it does not encrypt.
    pub tls_files: Option<TlsFiles>,
    /// Whether clients of the Postgres door must encrypt.
    pub tls: TlsPolicy,
    /// Bytes on disk at most; `None`: decided by the size of the file system.
    pub disk_bytes_max: Option<u64>,
    /// What every part of the server may hold.
    pub memory: Memory,
    /// Percent of all processors that the programs of all probes may take.
    pub probe_cpu_percent_max: f64,
    /// `postgres://…`, or `None` for SQLite.
    pub catalog: Option<String>,
    /// An object store's URL, or `None` for the data directory.
    pub store: Option<String>,
    /// The column `node`.
    pub node_name: String,
    /// Form of the log.
    pub log_format: LogFormat,
    /// Whether probes are loaded.
    pub probes: bool,
    /// The first password of `admin`; a random one otherwise.
    pub admin_password: Option<String>,
}

impl Config {
    /// Completes what was given with the configuration file and the defaults.
    pub fn resolve(arguments: ServeArguments) -> anyhow::Result<Config> {
        let file = match &arguments.config {
            Some(path) => read_file(path)?,
            None => ServeArguments::default(),
        };
        let tls = arguments.tls.or(file.tls).unwrap_or_default();
        let tls_files = match (arguments.tls_cert.or(file.tls_cert), arguments.tls_key.or(file.tls_key)) {
            (Some(certificate), Some(key)) => Some(TlsFiles { certificate, key }),
            (None, None) => None,
            (Some(_), None) => anyhow::bail!("--tls-cert needs --tls-key"),
            (None, Some(_)) => anyhow::bail!("--tls-key needs --tls-cert"),
        };
        anyhow::ensure!(
            tls == TlsPolicy::Optional || tls_files.is_some(),
            "--tls required needs --tls-cert and --tls-key: nobody could come in"
        );
        let data_dir = arguments.data_dir.or(file.data_dir).unwrap_or_else(|| "probepilot-data".into());
        let loopback = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let bytes = |flag: Option<Size>, key: Option<Size>| flag.or(key).map(|size| size.0);
        let rings = bytes(arguments.ring_bytes_total, file.ring_bytes_total).unwrap_or(RING_BYTES_DEFAULT as u64);
        let tail = bytes(arguments.tail_bytes, file.tail_bytes);
        let memory = Memory::share(bytes(arguments.memory, file.memory), tail, rings)?;
        Ok(Config {
            data_dir: std::path::absolute(&data_dir)
                .with_context(|| format!("cannot make {} an absolute path", data_dir.display()))?,
            pg_listen: arguments.pg_listen.or(file.pg_listen).unwrap_or(loopback(7432)),
            http_listen: arguments.http_listen.or(file.http_listen).unwrap_or(loopback(7430)),
            grpc_listen: arguments.grpc_listen.or(file.grpc_listen).unwrap_or(loopback(7433)),
            tls_files,
            tls,
            disk_bytes_max: arguments.max_disk.or(file.max_disk).map(|size| size.0),
            memory,
            probe_cpu_percent_max: arguments.probe_cpu_max_percent.or(file.probe_cpu_max_percent).unwrap_or(1.0),
            catalog: arguments.catalog.or(file.catalog),
            store: arguments.store.or(file.store),
            node_name: arguments.node_name.or(file.node_name).unwrap_or_else(host_name),
            log_format: arguments.log_format.or(file.log_format).unwrap_or(LogFormat::Text),
            probes: !(arguments.no_probes || file.no_probes),
            admin_password: std::env::var("PROBEPILOT_ADMIN_PASSWORD").ok().filter(|password| !password.is_empty()),
        })
    }
}

fn percent(text: &str) -> Result<f64, String> {
    let percent = text.parse().ok().filter(|percent| *percent > 0.0 && *percent <= 100.0);
    percent.ok_or_else(|| format!("\"{text}\" is no percentage: write a number above 0, 100 at most"))
}

fn read_file(path: &Path) -> anyhow::Result<ServeArguments> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the configuration file {}", path.display()))?;
    toml::from_str(&text).with_context(|| format!("the configuration file {} is not valid", path.display()))
}

fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map_or_else(|_| "localhost".to_owned(), |name| name.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(arguments: &[&str]) -> anyhow::Result<Config> {
        let arguments = Arguments::try_parse_from(["probepilot", "serve"].iter().chain(arguments))?;
        let Command::Serve(serve) = arguments.command else { panic!("serve was asked for") };
        Config::resolve(*serve)
    }

    #[test]
    fn a_flag_wins_over_the_file_and_the_file_over_the_default() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("probepilot.toml");
        std::fs::write(&path, "memory = \"256MiB\"\nmax-disk = 1000\nlog-format = \"json\"\n").unwrap();
        let config = resolve(&["--config", path.to_str().unwrap(), "--memory", "1GB"]).unwrap();
        assert_eq!(config.memory, Memory::share(Some(1_000_000_000), None, 64 << 20).unwrap());
        assert_eq!(config.disk_bytes_max, Some(1_000));
        assert_eq!(config.log_format, LogFormat::Json);
        assert_eq!(config.pg_listen.port(), 7432);
        assert!(config.data_dir.is_absolute());
    }

    #[test]
    fn a_certificate_needs_its_key_and_required_needs_both() {
        for (arguments, reason) in [
            (&["--tls-cert", "c.pem"][..], "--tls-cert needs --tls-key"),
            (&["--tls-key", "k.pem"], "--tls-key needs --tls-cert"),
            (&["--tls", "required"], "--tls required needs --tls-cert and --tls-key"),
        ] {
            let error = resolve(arguments).unwrap_err().to_string();
            assert!(error.starts_with(reason), "{error}");
        }
        let config = resolve(&["--tls-cert", "c.pem", "--tls-key", "k.pem"]).unwrap();
        assert_eq!((config.tls_files.is_some(), config.tls), (true, TlsPolicy::Optional));
    }

    #[test]
    fn an_unknown_key_of_the_file_is_an_error_that_names_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("probepilot.toml");
        std::fs::write(&path, "memroy = 1\n").unwrap();
        let error = format!("{:#}", resolve(&["--config", path.to_str().unwrap()]).unwrap_err());
        assert!(error.contains("memroy"), "{error}");
    }
}
