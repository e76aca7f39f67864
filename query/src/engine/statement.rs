//! What a running statement may ask: its snapshot, its session, the catalog it sees.

use std::any::Any;
use std::fmt;
use std::sync::{Arc, OnceLock};

use datafusion::common::config::{ConfigEntry, ConfigExtension, ConfigOptions, ExtensionOptions};
use datafusion::common::{DataFusionError, Result, exec_datafusion_err, internal_datafusion_err};
use parking_lot::Mutex;

use super::Engine;
use super::interrupt::Ended;
use super::session::SessionShared;
use crate::losses::Scanned;
use crate::pg_catalog::Snapshot;
use crate::scan::Pin;

/// One execution of one statement. It travels in the planner's options, so that scans and functions find it.
#[derive(Clone)]
pub struct Statement {
    inner: Arc<Inner>,
}

struct Inner {
    engine: Arc<Engine>,
    session: Arc<SessionShared>,
    pin: Pin,
    /// Made when the statement first asks for PostgreSQL's catalog.
    catalog: OnceLock<Arc<Snapshot>>,
    /// The probes' tables its plan reads.
    scanned: Mutex<Vec<Scanned>>,
    ended: Ended,
}

impl Statement {
    /// A statement that starts now: it sees what is in tail and manifest at this moment, or what its transaction has seen before.
    pub(super) fn start(engine: &Arc<Engine>, session: &Arc<SessionShared>) -> Statement {
        let pin =
            session.snapshot.lock().clone().unwrap_or_else(|| engine.pin()).with_own(session.pending.lock().batches());
        let (engine, session) = (Arc::clone(engine), Arc::clone(session));
        let (catalog, scanned, ended) = (OnceLock::new(), Mutex::default(), Ended::default());
        Statement { inner: Arc::new(Inner { engine, session, pin, catalog, scanned, ended }) }
    }

    /// The statement these options belong to.
    pub fn of(options: &ConfigOptions) -> Result<&Statement> {
        options.extensions.get::<Statement>().ok_or_else(|| internal_datafusion_err!("no statement is running here"))
    }

    /// Its snapshot.
    pub fn pin(&self) -> &Pin {
        &self.inner.pin
    }

    /// Whose it is.
    pub fn session(&self) -> &SessionShared {
        &self.inner.session
    }

    /// The engine it runs on.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.inner.engine
    }

    /// Whether anybody still waits for it.
    pub(super) fn ended(&self) -> &Ended {
        &self.inner.ended
    }

    /// Notes that its plan reads a probe's table.
    pub fn reads(&self, scanned: Scanned) {
        self.inner.scanned.lock().push(scanned);
    }

    /// The probes' tables that its plan reads: known when it is planned.
    pub(super) fn take_scanned(&self) -> Vec<Scanned> {
        std::mem::take(&mut self.inner.scanned.lock())
    }

    /// PostgreSQL's catalog at this statement's snapshot.
    pub fn catalog(&self) -> &Arc<Snapshot> {
        self.inner
            .catalog
            .get_or_init(|| Arc::new(Snapshot::new(&self.inner.engine, &self.inner.session, &self.inner.pin)))
    }
}

impl fmt::Debug for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Statement").field("sequence", &self.inner.pin.sequence()).finish_non_exhaustive()
    }
}

impl ConfigExtension for Statement {
    const PREFIX: &'static str = "probepilot_statement";
}

impl ExtensionOptions for Statement {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }

    fn cloned(&self) -> Box<dyn ExtensionOptions> {
        Box::new(self.clone())
    }

    fn set(&mut self, key: &str, _value: &str) -> Result<()> {
        let error: DataFusionError = exec_datafusion_err!("{key} cannot be set");
        Err(error)
    }

    fn entries(&self) -> Vec<ConfigEntry> {
        Vec::new()
    }
}
