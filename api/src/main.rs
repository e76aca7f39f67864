//! The binary `probepilot`: reads arguments, then calls one composition root.

use std::process::ExitCode;

use clap::Parser;
use probepilot_api::config::{Arguments, Command, Config, LogFormat};
use probepilot_api::{compose, inspect};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        // Who reads the output has seen enough, as `head` does.
        Err(error) if error.downcast_ref().is_some_and(is_broken_pipe) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("probepilot: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Lets each of malloc's arenas keep some memory that is free. Every few milliseconds batches are made in one thread and freed in
/// another: by default the arenas grow and shrink each time, which takes system calls and page faults.
fn keep_freed_memory() {
    const TOP_PAD_BYTES: libc::c_int = 1 << 20;
    const TRIM_BYTES: libc::c_int = 16 << 20;
    #[cfg(target_env = "gnu")]
    // SAFETY: two settings of the allocator, before there is another thread.
    unsafe {
        libc::mallopt(libc::M_TOP_PAD, TOP_PAD_BYTES);
        libc::mallopt(libc::M_TRIM_THRESHOLD, TRIM_BYTES);
    }
}

fn is_broken_pipe(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::BrokenPipe
}

fn run() -> anyhow::Result<()> {
    keep_freed_memory();
    // Two back ends may be linked in; every TLS user of the process takes this one.
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.install_default().map_err(|_| anyhow::anyhow!("a TLS back end is installed already"))?;
    match Arguments::parse().command {
        Command::Serve(arguments) => {
            let config = Config::resolve(*arguments)?;
            init_log(config.log_format);
            tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(compose::serve(config))
        }
        Command::Explain { file, verbose } => inspect::explain(&file, verbose, &mut std::io::stdout().lock()),
        Command::Hooks { verbose, pattern } => inspect::hooks(&pattern, verbose, &mut std::io::stdout().lock()),
        Command::Version => {
            println!("probepilot {}", env!("CARGO_PKG_VERSION"));
            Ok(())
        }
    }
}

/// The log goes to standard error; `RUST_LOG` says how much of it.
fn init_log(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,datafusion=warn,sqlx=warn"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().init(),
    }
}
