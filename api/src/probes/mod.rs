//! The life of probes on this server: one place for every door.

pub(crate) mod options; // What WITH and SET say.
pub mod deadlines; // When run_for is over.
mod listing; // SHOW PROBES and system.probes.
mod builtin; // The library that is shipped.

use std::sync::Arc;

use datafusion::sql::sqlparser::ast::Ident;
use probepilot_catalog::Lake;
use probepilot_catalog::control::{Control, NewProbe, ProbeRow, Shipped};
use probepilot_catalog::manifest::{Table, TableSettings};
use probepilot_catalog::ports::Node;
use probepilot_catalog::probe::{Origin, ProbeId, ProbePlan, ProbeSpec};
use probepilot_catalog::table::{Column, TableDefinition, TableKind, TableName};
use probepilot_sql::names::folded;
use probepilot_sql::statement::{CreateProbe, ProbeOption, ProbeQuery, Statement};
use probepilot_sql::{SqlError, SqlState, definition, hooks, position};
use tokio::sync::Mutex;

use deadlines::Deadlines;
use options::ProbeSettings;

use crate::relations::refuse_dependents;
pub use builtin::install as install_builtin;

pub use listing::{ProbesTable, show_probes, show_probes_schema};

/// What a statement about probes did.
#[derive(Debug)]
pub struct Done {
    /// For the client: how it was attached, what was left alone.
    pub notices: Vec<String>,
}

/// Creates, changes and ends probes.
pub struct Probes {
    control: Control,
    lake: Lake,
    node: Arc<dyn Node>,
    /// One change at a time: a name is checked and taken in several steps. Waiters queue; each step is bounded.
    changing: Mutex<()>,
    deadlines: Deadlines,
}

impl Probes {
    /// Over the catalog and this node.
    pub fn new(control: Control, lake: Lake, node: Arc<dyn Node>) -> Probes {
        Probes { control, lake, node, changing: Mutex::new(()), deadlines: Deadlines::default() }
    }

    /// The node that runs the probes.
    pub fn node(&self) -> &Arc<dyn Node> {
        &self.node
    }

    /// `CREATE PROBE`: returns when it is attached on this node; an error leaves nothing behind.
    pub async fn create(&self, owner: &str, probe: &CreateProbe) -> Result<Done, SqlError> {
        let _changing = self.changing.lock().await;
        let name = probe_name(&probe.name)?;
        let at = position::of_span(&probe.query.text, probe.name.span);
        if let Some(existing) = self.control.probe_by_name(&name).await? {
            if probe.if_not_exists {
                return Ok(Done { notices: vec![format!("probe \"{name}\" already exists, skipping")] });
            }
            if probe.or_replace {
                return self.replace(&existing, probe).await;
            }
            return Err(taken(&name).hint("CREATE OR REPLACE PROBE replaces it.").at(at));
        }
        if probe.nodes.is_some() {
            return Err(SqlError::unsupported("ON NODES needs a cluster, and this server is one node"));
        }
        let settings = options::of_probe(&probe.options, &probe.query.text)?;
        let plan = self.node.plan(probe).await?;
        let (table, created) = self.table_for(&name, &plan, settings.table).await.map_err(|error| error.at(at))?;
        let outcome = self.register_and_start(owner, &name, probe, &table, &settings).await;
        if outcome.is_err() && created {
            // The table was made for this probe a moment ago and holds nothing.
            self.lake.drop_table(table.id).await?;
        }
        outcome
    }

    async fn register_and_start(
        &self,
        owner: &str,
        name: &str,
        probe: &CreateProbe,
        table: &Arc<Table>,
        settings: &ProbeSettings,
    ) -> Result<Done, SqlError> {
        let new = NewProbe {
            name: name.to_owned(),
            sql: probe.source.to_string(),
            owner: owner.to_owned(),
            origin: Origin::User,
            enabled: true,
            table: table.id,
        };
        let row = self.control.insert_probe(new).await?;
        match self.node.start(spec(&row, table, settings)).await {
            Ok(started) => {
                self.deadlines.note(&row, settings);
                Ok(Done { notices: vec![started.notice] })
            }
            Err(error) => {
                self.control.remove_probe(row.id).await?;
                Err(error)
            }
        }
    }

    /// Creates or updates a probe that is shipped, without attaching it.
    async fn declare(&self, owner: &str, name: &str, probe: &CreateProbe, enabled: bool) -> Result<(), SqlError> {
        let shipped = self.control.shipped(name, &probe.source).await?;
        if !matches!(shipped, Shipped::New | Shipped::Outdated(_)) {
            return Ok(());
        }
        let settings = options::of_probe(&probe.options, &probe.query.text)?;
        let plan = self.node.plan(probe).await?;
        let (table, _) = self.table_for(name, &plan, settings.table).await?;
        match shipped {
            Shipped::Outdated(outdated) => self.control.update_builtin(outdated.id, &probe.source).await?,
            _ => {
                let (name, sql, owner) = (name.to_owned(), probe.source.to_string(), owner.to_owned());
                let new = NewProbe { name, sql, owner, origin: Origin::Builtin, enabled, table: table.id };
                self.control.insert_probe(new).await?
            }
        };
        Ok(())
    }

    /// `CREATE OR REPLACE PROBE` of one that exists.
    async fn replace(&self, existing: &ProbeRow, probe: &CreateProbe) -> Result<Done, SqlError> {
        let settings = options::of_probe(&probe.options, &probe.query.text)?;
        self.supersede(existing, probe, &probe.source, settings).await
    }

    /// The new version takes over from the running one before it is stored; if it fails the old one goes on.
    ///
    /// `probe` says where mistakes stand in what the user wrote; `sql` is the statement that is stored and run.
    async fn supersede(
        &self,
        existing: &ProbeRow,
        probe: &CreateProbe,
        sql: &str,
        settings: ProbeSettings,
    ) -> Result<Done, SqlError> {
        let plan = self.node.plan(probe).await?;
        let (table, _) = self.table_for(&existing.name, &plan, settings.table).await?;
        let mut next = existing.clone();
        next.version += 1;
        next.sql = sql.to_owned();
        let mut notices = Vec::new();
        if existing.enabled {
            notices.push(self.node.start(spec(&next, &table, &settings)).await?.notice);
        }
        let stored = self.control.replace_probe(existing.id, sql).await?;
        if stored.enabled {
            self.deadlines.note(&stored, &settings);
        }
        Ok(Done { notices })
    }

    /// `ALTER PROBE … AS`: another query, with the options the probe has.
    ///
    /// `source` is the statement, `query` what stands in it.
    pub async fn set_query(&self, name: &str, query: &ProbeQuery, source: &str) -> Result<Done, SqlError> {
        let _changing = self.changing.lock().await;
        let existing = self.find(name).await?;
        let stored = stored_statement(&existing)?;
        let settings = options::of_probe(&stored.options, &stored.query.text)?;
        let text = definition::query_text(source);
        let sql = definition::create_text(&stored, &existing.name, &stored.options, text);
        let asked = CreateProbe { query: query.clone(), ..stored };
        self.supersede(&existing, &asked, &sql, settings).await
    }

    /// `ALTER PROBE … SET`: other options, with the query the probe has. `text` is the statement, for positions.
    pub async fn set_options(&self, name: &str, changes: &[ProbeOption], text: &str) -> Result<Done, SqlError> {
        let _changing = self.changing.lock().await;
        let existing = self.find(name).await?;
        options::of_probe(changes, text)?;
        let stored = stored_statement(&existing)?;
        let options = definition::changed_options(&stored.options, changes);
        let settings = options::of_probe(&options, text)?;
        let query = definition::query_text(&stored.source);
        let sql = definition::create_text(&stored, &existing.name, &options, query);
        self.supersede(&existing, &stored, &sql, settings).await
    }

    /// `ALTER PROBE … RENAME TO`: the probe and its table, which keeps its rows. What runs goes on.
    pub async fn rename(&self, name: &str, to: &Ident, text: &str) -> Result<Done, SqlError> {
        let _changing = self.changing.lock().await;
        let existing = self.find(name).await?;
        let new_name = probe_name(to)?;
        let at = position::of_span(text, to.span);
        if self.control.probe_by_name(&new_name).await?.is_some() {
            return Err(taken(&new_name).at(at));
        }
        let stored = stored_statement(&existing)?;
        let query = definition::query_text(&stored.source);
        let sql = definition::create_text(&stored, &new_name, &stored.options, query);
        // The table first: it may meet a table or view of that name. A table that was dropped is no hindrance.
        let table = self.table_of(&existing);
        if let Some(table) = &table {
            self.lake.rename_table(table.id, &new_name).await.map_err(|error| SqlError::from(error).at(at))?;
        }
        if let Err(error) = self.control.rename_probe(existing.id, &new_name, &sql).await {
            if let Some(table) = &table {
                self.lake.rename_table(table.id, &existing.name).await?;
            }
            return Err(error.into());
        }
        self.node.rename(existing.id, &new_name);
        Ok(Done { notices: Vec::new() })
    }

    /// `DROP PROBE`: stops it and keeps its table, or drops both.
    pub async fn remove(&self, name: &str, if_exists: bool, with_data: bool) -> Result<Done, SqlError> {
        let _changing = self.changing.lock().await;
        let Some(probe) = self.control.probe_by_name(name).await? else {
            if if_exists {
                return Ok(Done { notices: vec![format!("probe \"{name}\" does not exist, skipping")] });
            }
            return Err(self.unknown(name).await);
        };
        if with_data {
            refuse_dependents(&self.lake.manifest(), &[probe.table.0], &format!("table {name}"), None)?;
        }
        self.node.stop(probe.id).await?;
        self.deadlines.forget(probe.id);
        self.control.drop_probe(probe.id).await?;
        if with_data {
            self.lake.drop_table(probe.table).await?;
        }
        Ok(Done { notices: Vec::new() })
    }

    /// `ALTER PROBE … ENABLE` and `DISABLE`.
    pub async fn set_enabled(&self, name: &str, enabled: bool) -> Result<Done, SqlError> {
        let _changing = self.changing.lock().await;
        let probe = self.find(name).await?;
        let settings = options::of_stored(&probe);
        let mut notices = Vec::new();
        if enabled && !probe.enabled {
            let started = self.start(&probe, &settings).await?;
            notices.push(started);
        } else if !enabled && probe.enabled {
            self.node.stop(probe.id).await?;
        }
        let stored = self.control.set_enabled(probe.id, enabled).await?;
        if enabled {
            self.deadlines.note(&stored, &settings);
        } else {
            self.deadlines.forget(probe.id);
        }
        Ok(Done { notices })
    }

    /// Disables a probe whose `run_for` is over.
    async fn end(&self, id: ProbeId) -> Result<(), SqlError> {
        let _changing = self.changing.lock().await;
        let probe = self
            .all()
            .await?
            .into_iter()
            .find(|probe| probe.id == id && deadlines::is_over(probe, &options::of_stored(probe)));
        let Some(probe) = probe else {
            // Somebody dropped it or gave it more time just now.
            return Ok(());
        };
        self.node.stop(id).await?;
        self.control.set_enabled(id, false).await?;
        self.deadlines.forget(id);
        tracing::info!(probe = probe.name, "the probe's run_for is over: it is disabled");
        Ok(())
    }

    /// `COMMENT ON PROBE`.
    pub async fn comment(&self, name: &str, comment: Option<&str>) -> Result<Done, SqlError> {
        let probe = self.find(name).await?;
        self.control.comment_on_probe(probe.id, comment).await?;
        Ok(Done { notices: Vec::new() })
    }

    /// Attaches every enabled probe; what fails is reported and does not keep the others back.
    pub async fn start_all(&self) -> Result<(usize, Vec<(String, SqlError)>), SqlError> {
        let (mut attached, mut failed) = (0, Vec::new());
        for probe in self.control.probes().await?.into_iter().filter(|probe| probe.enabled) {
            let settings = options::of_stored(&probe);
            if deadlines::is_over(&probe, &settings) {
                self.control.set_enabled(probe.id, false).await?;
                continue;
            }
            match self.start(&probe, &settings).await {
                Ok(_) => {
                    self.deadlines.note(&probe, &settings);
                    attached += 1;
                }
                Err(error) => failed.push((probe.name, error)),
            }
        }
        Ok((attached, failed))
    }

    async fn start(&self, probe: &ProbeRow, settings: &ProbeSettings) -> Result<String, SqlError> {
        let table = self.table_of(probe).ok_or_else(|| {
            SqlError::new(
                SqlState::UNDEFINED_TABLE,
                format!("the table of probe \"{}\" does not exist any more", probe.name),
            )
            .hint(format!("DROP PROBE {0} and create it again.", probe.name))
        })?;
        let error = match self.node.start(spec(probe, &table, settings)).await {
            Ok(started) => return Ok(started.notice),
            Err(error) if error.state == SqlState::DATATYPE_MISMATCH => error,
            Err(error) => return Err(error),
        };
        // This version of the server may make columns that the table, made by an older one, has not.
        let plan = self.node.plan(&stored_statement(probe)?).await?;
        if added_columns(&table, &plan.columns)?.is_empty() {
            return Err(error);
        }
        let (table, _) = self.table_for(&table.definition.name.name, &plan, TableSettings::default()).await?;
        Ok(self.node.start(spec(probe, &table, settings)).await?.notice)
    }

    fn table_of(&self, probe: &ProbeRow) -> Option<Arc<Table>> {
        self.lake.manifest().table(probe.table).cloned()
    }

    /// The probe of this name, or 42704 with the nearest names.
    pub async fn find(&self, name: &str) -> Result<ProbeRow, SqlError> {
        match self.control.probe_by_name(name).await? {
            Some(probe) => Ok(probe),
            None => Err(self.unknown(name).await),
        }
    }

    /// Every probe that is not dropped.
    pub async fn all(&self) -> Result<Vec<ProbeRow>, SqlError> {
        Ok(self.control.probes().await?)
    }

    async fn unknown(&self, name: &str) -> SqlError {
        let error = SqlError::new(SqlState::UNDEFINED_OBJECT, format!("probe \"{name}\" does not exist"));
        match self.control.probes().await {
            Ok(probes) if !probes.is_empty() => {
                let names: Vec<&str> = probes.iter().map(|probe| probe.name.as_str()).take(20).collect();
                error.hint(format!("The probes are {}.", names.join(", ")))
            }
            _ => error,
        }
    }

    /// The table a probe writes to: the one of its name when its columns fit, else a new one. Says whether it is new.
    async fn table_for(
        &self,
        name: &str,
        plan: &ProbePlan,
        settings: TableSettings,
    ) -> Result<(Arc<Table>, bool), SqlError> {
        let table_name = TableName::public(name);
        let existing = self.lake.manifest().tables.get(&table_name).cloned();
        let Some(table) = existing else {
            let definition =
                TableDefinition { name: table_name, kind: plan.kind, columns: plan.columns.clone(), comment: None };
            return Ok((self.lake.create_table(definition, settings).await?, true));
        };
        if table.definition.kind == TableKind::Inserted {
            let message = format!("relation \"{name}\" already exists");
            return Err(SqlError::new(SqlState::DUPLICATE_TABLE, message)
                .detail("Clients fill it, and a probe's rows need a table of their own."));
        }
        let added = added_columns(&table, &plan.columns)?;
        if !added.is_empty() {
            self.lake.add_columns(table.id, added).await?;
        }
        if settings != TableSettings::default() {
            self.lake.set_table_settings(table.id, settings).await?;
        }
        let table = self.lake.manifest().table(table.id).cloned();
        Ok((
            table.ok_or_else(|| {
                SqlError::new(SqlState::UNDEFINED_TABLE, format!("table \"{name}\" was dropped meanwhile"))
            })?,
            false,
        ))
    }
}

/// The columns a table lacks for a probe; 42804 when one it has is of another type.
pub fn added_columns(table: &Table, wanted: &[Column]) -> Result<Vec<Column>, SqlError> {
    let mut added = Vec::new();
    for column in wanted {
        match table.definition.columns.iter().find(|existing| existing.name == column.name) {
            Some(existing) if existing.sql_type == column.sql_type => {}
            Some(existing) => {
                return Err(SqlError::new(
                    SqlState::DATATYPE_MISMATCH,
                    format!(
                        "column \"{}\" of the existing table {} is {}, and the probe's is {}",
                        column.name,
                        table.definition.name,
                        existing.sql_type.sql(),
                        column.sql_type.sql()
                    ),
                )
                .hint("Cast the column, name it otherwise, or drop the table first."));
            }
            // Old rows have no value for it.
            None => added.push(Column { nullable: true, ..column.clone() }),
        }
    }
    Ok(added)
}

fn taken(name: &str) -> SqlError {
    SqlError::new(SqlState::DUPLICATE_TABLE, format!("probe \"{name}\" already exists"))
}

/// The statement that a probe is stored as.
pub fn stored_statement(probe: &ProbeRow) -> Result<CreateProbe, SqlError> {
    match probepilot_sql::parse_one(&probe.sql)? {
        Statement::CreateProbe(create) => Ok(*create),
        _ => Err(SqlError::new(
            SqlState::DATA_CORRUPTED,
            format!("the stored text of probe \"{}\" is no CREATE PROBE", probe.name),
        )),
    }
}

fn spec(probe: &ProbeRow, table: &Table, settings: &ProbeSettings) -> ProbeSpec {
    ProbeSpec {
        id: probe.id,
        version: probe.version,
        name: probe.name.clone(),
        sql: probe.sql.clone(),
        table: table.id,
        schema: Arc::clone(&table.schema),
        rows_per_second_max: settings.rows_per_second_max,
        cpu_percent_max: settings.cpu_percent_max,
    }
}

/// A probe's name as it is stored; the schemas of hooks and of the system are reserved.
fn probe_name(ident: &Ident) -> Result<String, SqlError> {
    let name = folded(ident);
    let reserved = hooks::SCHEMAS.contains(&name.as_str())
        || ["system", "public", "pg_catalog", "information_schema"].contains(&name.as_str());
    if reserved || name.starts_with("pg_") {
        return Err(SqlError::new(SqlState::RESERVED_NAME, format!("the name \"{name}\" is reserved"))
            .hint("Give the probe another name."));
    }
    if name.is_empty() || name.len() > 63 {
        return Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, "a probe's name has 1 to 63 bytes"));
    }
    Ok(name)
}
