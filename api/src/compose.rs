//! The composition root: starts the parts in the order they need each other, and stops them in reverse.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use probepilot_catalog::Lake;
use probepilot_catalog::control::{self, Control};
use probepilot_catalog::manifest::TableSettings;
use probepilot_catalog::ports::{Hooks, LiveTable, Rows};
use probepilot_catalog::table::{TableDefinition, TableId};
use probepilot_collector::node::cmdline::CmdlineSetting;
use probepilot_collector::node::{HealthTables, Node, NodeOptions};
use probepilot_collector::writer::{Writer, WriterOptions};
use probepilot_query::engine::Account;
use probepilot_query::{Engine, EngineOptions};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::accounts;
use crate::backend::DoorBackend;
use crate::backoff::BackOff;
use crate::config::Config;
use crate::directory::{DATABASE, DataDirectory};
use crate::execute::Executor;
use crate::listen;
use crate::pg::tls::Tls;
use crate::pg::{Bound, Door, DoorOptions, SocketOptions};
use crate::probes::{self, Probes, ProbesTable};
use crate::relations::Relations;
use crate::rest::{self, Rest};
use crate::size::Size;
use crate::store::{self, Store};

/// How long clients may finish what runs when the server stops.
const DRAIN_MAX: Duration = Duration::from_secs(10);

/// Runs the server until SIGTERM or SIGINT; a second signal stops at once.
pub async fn serve(config: Config) -> anyhow::Result<()> {
    let mut signals = Signals::listen()?;
    // A certificate that cannot be used stops the start: nobody is served in the clear by mistake.
    let tls = config.tls_files.clone().map(Tls::open).transpose().context("cannot use TLS")?.map(Arc::new);
    let directory = DataDirectory::open(&config.data_dir)?;
    // The port of the door without state first: a second server that was not kept out by the lock stops here.
    let http = listen::bind("HTTP", "--http-listen", config.http_listen).await?;
    let http_address = http.local_addr()?;

    directory.make_folders()?;
    let store = store::open(config.store.as_deref(), &directory.lake_data())?;
    let (control, lake) = open_catalog(&config, &directory, &store).await?;
    accounts::ensure(&control, &directory, config.admin_password.as_deref()).await?;

    let mut options =
        WriterOptions::new(directory.log(), lake.clone(), Arc::clone(&store.objects), store.local.clone());
    options.space.disk_bytes_max = config.disk_bytes_max;
    let memory = config.memory;
    options.log.queue_bytes_max = memory.queue as usize;
    options.log.behind_bytes_max = memory.queue;
    options.segments.cut_bytes = memory.cut as usize;
    options.merge.memory_bytes_max = (memory.merge / 2) as usize;
    options.merge.bytes_max = memory.merge;
    let stream = options.stream.clone();
    let writer = Writer::start(options).await.context("cannot start the write path")?;
    let rows: Arc<dyn Rows> = Arc::clone(&writer) as _;

    let node = Node::start(NodeOptions {
        name: config.node_name.clone(),
        rows: Arc::clone(&rows),
        ring_bytes_total: memory.rings as usize,
        queue_bytes_max: memory.queue as usize,
        probes_enabled: config.probes,
        cmdline: CmdlineSetting::default(),
        cpu_percent_max: config.probe_cpu_percent_max,
        health: Some(health_tables(&lake).await?),
    })
    .await;
    let probes = Arc::new(Probes::new(control.clone(), lake.clone(), Arc::clone(&node) as _));

    tokio::spawn(probes::deadlines::watch(Arc::downgrade(&probes)));

    let mut live_tables: Vec<Arc<dyn LiveTable>> = node.live_tables();
    live_tables.push(Arc::new(ProbesTable(Arc::clone(&probes))));
    let engine = Engine::start(EngineOptions {
        manifest: lake.watch(),
        store: Arc::clone(&store.objects),
        rows: Arc::clone(&rows),
        gathering: Some(Arc::clone(&node) as _),
        stream,
        live_tables,
        accounts: engine_accounts(&control),
        memory_bytes: memory.queries as usize,
        tail_bytes: memory.tail as usize,
        spill_dir: Some(directory.path().join("spill")),
        spill_bytes_max: memory.queries,
        version: env!("CARGO_PKG_VERSION").to_owned(),
    })
    .await
    .context("cannot start the query engine")?;

    let hooks: Arc<dyn Hooks> = Arc::clone(&node) as _;
    let relations = Relations::new(lake.clone(), control.clone());
    let executor =
        Arc::new(Executor { engine, hooks, probes: Arc::clone(&probes), relations, control: control.clone(), rows });
    let back_off = Arc::new(BackOff::default());
    let doors = CancellationToken::new();
    let door_options = DoorOptions { tls: config.tls, ..DoorOptions::default() };
    let backend = Arc::new(DoorBackend(Arc::clone(&executor)));
    let door = Door::new(backend, Arc::clone(&back_off), door_options, tls.clone());
    let renewing = tls.map(renew_certificate).transpose()?;
    let sockets = SocketOptions { listen: config.pg_listen, socket_directory: Some(directory.path().to_owned()) };
    let bound = Bound::open(door, &sockets).await?;
    let (pg_address, has_socket) = (bound.address(), bound.socket_path().is_some());
    let signing_key = control.signing_key().await.context("cannot read the key that signs tokens")?;
    let rest = Arc::new(Rest::new(Arc::clone(&executor), &signing_key, back_off, config.node_name.clone()));
    let serving_postgres = tokio::spawn(bound.serve(doors.child_token()));
    let serving_http = tokio::spawn(rest::serve(http, rest, doors.child_token()));

    println!("ProbePilot {}", env!("CARGO_PKG_VERSION"));
    println!("  data      {} (at most {} on disk)", directory.path().display(), Size(writer.status().disk_bytes_max));
    println!("  postgres  {pg_address}");
    println!("  http      {http_address}");
    println!(
        "  psql \"postgresql://admin@{pg_address}/{DATABASE}?passfile={}\"",
        directory.passfile("admin").display()
    );
    if has_socket {
        println!("  psql -h {} -p {} -U admin {DATABASE}", directory.path().display(), pg_address.port());
    }
    note_restarts(&executor, &node).await;
    note_damage(&writer, &node);
    start_probes(&config, &probes).await?;

    signals.first().await;
    println!("stopping: running statements may finish, rows in memory are committed; a second signal stops at once");
    let stop = async {
        doors.cancel();
        renewing.iter().for_each(tokio::task::JoinHandle::abort);
        let drained = async { tokio::join!(serving_postgres, serving_http) };
        if tokio::time::timeout(DRAIN_MAX, drained).await.is_err() {
            tracing::warn!("clients were still connected after {DRAIN_MAX:?}");
        }
        node.shutdown().await;
        writer.shutdown().await;
        lake.close().await;
        control.close().await;
    };
    tokio::select! {
        () = stop => {}
        () = signals.first() => std::process::exit(130),
    }
    println!("stopped");
    Ok(())
}

async fn open_catalog(config: &Config, directory: &DataDirectory, store: &Store) -> anyhow::Result<(Control, Lake)> {
    match &config.catalog {
        None => {
            let control = Control::open_sqlite(&directory.control()).await.context("cannot open the catalog")?;
            let lake = Lake::open_sqlite(&directory.lake_catalog(), &store.data_path)
                .await
                .context("cannot open the manifest")?;
            Ok((control, lake))
        }
        Some(url) => {
            let control = Control::open_postgres(url, "probepilot_control").await.context("cannot open the catalog")?;
            let lake = Lake::open_postgres(url, &format!("lake_{DATABASE}"), &store.data_path)
                .await
                .context("cannot open the manifest")?;
            Ok((control, lake))
        }
    }
}

/// The accounts as `pg_roles` lists them, read when a statement asks.
fn engine_accounts(control: &Control) -> probepilot_query::engine::Accounts {
    let (control, runtime) = (control.clone(), tokio::runtime::Handle::current());
    Arc::new(move || {
        // Planning is not async; this thread's other work moves on while it waits for the catalog.
        let accounts = tokio::task::block_in_place(|| runtime.block_on(control.accounts())).unwrap_or_else(|error| {
            tracing::warn!("cannot read the accounts: {error}");
            Vec::new()
        });
        let account =
            |account: control::Account| Account { name: account.name, role: account.role.as_str().to_owned() };
        accounts.into_iter().map(account).collect()
    })
}

/// The tables of health and losses, made at the first start.
async fn health_tables(lake: &Lake) -> anyhow::Result<HealthTables> {
    let [health, loss] = probepilot_collector::node::table_definitions();
    Ok(HealthTables { health: table(lake, health).await?, loss: table(lake, loss).await? })
}

async fn table(lake: &Lake, definition: TableDefinition) -> anyhow::Result<TableId> {
    let name = definition.name.to_string();
    let known = lake.manifest().tables.get(&definition.name).cloned();
    if let Some(table) = known {
        let added = probes::added_columns(&table, &definition.columns)?;
        if !added.is_empty() {
            let grown = lake.add_columns(table.id, added).await;
            grown.with_context(|| format!("cannot add the columns of this version to the table {name}"))?;
        }
        return Ok(table.id);
    }
    let table = lake.create_table(definition, TableSettings::default()).await;
    Ok(table.with_context(|| format!("cannot create the table {name}"))?.id)
}

/// Writes down that each probe that ran before was not attached since its last row: what that cost nobody knows.
async fn note_restarts(executor: &Executor, node: &Node) {
    let probes = executor.probes.all().await.unwrap_or_default();
    for probe in probes.into_iter().filter(|probe| probe.enabled) {
        match executor.newest_row_ns(&probe.name).await {
            Ok(Some(newest)) => node.note_restart(probe.id, &probe.name, newest),
            Ok(None) => {}
            Err(error) => tracing::warn!(probe = probe.name, "cannot read when its last row came: {error}"),
        }
    }
}

/// Writes down the rows that the log held and could not give back.
fn note_damage(writer: &Arc<Writer>, node: &Node) {
    let damage = writer.status().damage;
    let counted: u64 = damage.iter().filter_map(|damage| damage.rows).sum();
    if counted > 0 {
        node.note_log_damage(Some(counted));
    }
    if damage.iter().any(|damage| damage.rows.is_none()) {
        node.note_log_damage(None);
    }
    if !damage.is_empty() {
        // Once what is around the damage is committed, the next start does not find and count it again.
        let writer = Arc::clone(writer);
        tokio::spawn(async move {
            if let Err(error) = writer.checkpoint().await {
                tracing::warn!("the damaged log cannot be left behind yet: {error}");
            }
        });
    }
}

/// Attaches the probes and says in one line what runs, or what is missing for it.
async fn start_probes(config: &Config, probes: &Arc<Probes>) -> anyhow::Result<()> {
    if !config.probes {
        println!("  probes    none, as --no-probes says");
        return Ok(());
    }
    if let Some(missing) = probepilot_collector_ebpf::capability::missing() {
        println!("  probes    none. {} {}", missing.sentence(), missing.advice());
        return Ok(());
    }
    for (name, error) in probes::install_builtin(probes).await? {
        tracing::warn!(probe = name, "the shipped probe cannot run on this kernel: {error}");
    }
    let (attached, failed) = probes.start_all().await?;
    for (name, error) in &failed {
        tracing::warn!(probe = name, "the probe cannot be attached: {error}");
    }
    println!(
        "  probes    {attached} attached{}",
        if failed.is_empty() { String::new() } else { format!(", {} failed: see SHOW PROBES", failed.len()) }
    );
    Ok(())
}

/// Reads the certificate again at each SIGHUP. One that cannot be used is logged, and the old one stays.
fn renew_certificate(tls: Arc<Tls>) -> anyhow::Result<tokio::task::JoinHandle<()>> {
    let mut hang_up = signal(SignalKind::hangup())?;
    Ok(tokio::spawn(async move {
        while hang_up.recv().await.is_some() {
            match tls.reload() {
                Ok(()) => tracing::info!("the certificate was read again"),
                Err(error) => tracing::warn!("the certificate was not renewed: {error:#}"),
            }
        }
    }))
}

/// The signals that stop the server.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> anyhow::Result<Signals> {
        Ok(Signals { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn first(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
