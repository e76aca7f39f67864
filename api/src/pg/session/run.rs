//! A portal from its first to its last row.

use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use datafusion::sql::sqlparser::ast::{self, Expr};
use pgwire::messages::PgWireBackendMessage;
use pgwire::messages::copy::CopyOutResponse;
use pgwire::messages::data::{FieldDescription, RowDescription};
use probepilot_sql::ddl::Ddl;
use probepilot_sql::statement::{Fetch, Statement};
use probepilot_sql::{SqlError, SqlState};

use super::Connection;
use super::block::Status;
use super::command::Command;
use super::copy::CopyFormat;
use super::link::Failure;
use super::portal::{Portal, Prepared, State};
use super::rows::{Framing, RowSource, text_rows, wire_columns};
use super::scroll::Kept;
use crate::pg::backend::{Outcome, Plan};
use crate::pg::encode::WireColumn;
use crate::pg::wire::Severity;

/// What is sent before the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Show {
    /// Their description, as the simple protocol wants.
    Described,
    /// Nothing: the client has asked for the description before.
    Rows,
}

impl Connection {
    /// Plans a statement, unless the client cancels or leaves meanwhile.
    pub(super) async fn plan(
        &mut self,
        text: &Arc<str>,
        statement: &Statement,
        types: &[Option<DataType>],
    ) -> Result<Arc<dyn Plan>, Failure> {
        Ok(self.link.guard(self.session.prepare(text, statement, types)).await??)
    }

    /// Refuses what a ROLLBACK could not take back.
    pub(super) fn refuse_changes_in_block(&self, text: &str, statement: &Statement) -> Result<(), SqlError> {
        if self.block.status == Status::Idle {
            return Ok(());
        }
        let name = match statement {
            Statement::CreateProbe(_) => "CREATE PROBE",
            Statement::AlterProbe { .. } => "ALTER PROBE",
            Statement::DropProbe { .. } => "DROP PROBE",
            Statement::AlterTableSet { .. } => "ALTER TABLE",
            Statement::CommentOnProbe { .. } => "COMMENT ON PROBE",
            Statement::Sql(sql) => match Ddl::of(sql, text)? {
                Some(ddl) => ddl.tag(),
                None => return Ok(()),
            },
            _ => return Ok(()),
        };
        let message = format!("{name} cannot run inside a transaction block");
        Err(SqlError::new(SqlState::ACTIVE_SQL_TRANSACTION, message)
            .hint("It takes effect at once. In drivers that begin blocks by themselves, turn autocommit on."))
    }

    /// Refuses what changes anything where only reading is wanted.
    fn refuse_changes_in_read_only(&self, text: &str, statement: &Statement) -> Result<(), SqlError> {
        let setting =
            if self.block.status == Status::Idle { "default_transaction_read_only" } else { "transaction_read_only" };
        if self.session.setting(setting).as_deref() != Some("on") {
            return Ok(());
        }
        let name = match statement {
            Statement::CreateProbe(_) => "CREATE PROBE",
            Statement::AlterProbe { .. } => "ALTER PROBE",
            Statement::DropProbe { .. } => "DROP PROBE",
            Statement::AlterTableSet { .. } => "ALTER TABLE",
            Statement::CommentOnProbe { .. } => "COMMENT",
            Statement::Sql(sql) => match sql.as_ref() {
                ast::Statement::Insert(_) => "INSERT",
                ast::Statement::Copy { to: false, .. } => "COPY FROM",
                sql => match Ddl::of(sql, text)? {
                    Some(ddl) => ddl.tag(),
                    None => return Ok(()),
                },
            },
            _ => return Ok(()),
        };
        Err(SqlError::new(SqlState("25006"), format!("cannot execute {name} in a read-only transaction")))
    }

    /// The columns of the rows it gives; `None` when it gives none.
    pub(super) fn row_schema(&self, prepared: &Prepared) -> Result<Option<SchemaRef>, SqlError> {
        let Some((_, command)) = &prepared.parsed else { return Ok(None) };
        Ok(match command.as_ref() {
            Command::Run => prepared.query_schema(),
            Command::Fetch(Fetch { name, send: true, .. }) => {
                let cursor = self.portals.cursor(&probepilot_sql::names::folded(name))?;
                cursor.prepared.query_schema()
            }
            Command::Execute { name, .. } => self.statements.get(name)?.query_schema(),
            Command::Show(name) => Some(text_rows(&[shown_name(name)], &[]).schema),
            Command::ShowAll => Some(text_rows(&["name", "setting", "description"], &[]).schema),
            _ => None,
        })
    }

    pub(super) fn put_row_description(&mut self, columns: &[WireColumn]) {
        let fields = columns
            .iter()
            .map(|column| {
                let WireColumn { field, wire, format } = column;
                // A zero byte would end the name on the wire.
                let name = field.name().replace('\0', "");
                FieldDescription::new(name, 0, 0, wire.oid, wire.length, wire.modifier, format.code())
            })
            .collect();
        self.link.outbox.put(&PgWireBackendMessage::RowDescription(RowDescription::new(fields)));
    }

    /// Runs a portal, or runs it on, until `rows_max` of its rows were sent.
    pub(super) async fn run(&mut self, portal: &mut Portal, rows_max: Option<u64>, show: Show) -> Result<(), Failure> {
        let Some((statement, command)) = portal.prepared.parsed.clone() else {
            self.link.outbox.put_empty(b'I');
            return Ok(());
        };
        self.block.allows(&command)?;
        self.refuse_changes_in_read_only(&portal.prepared.text, &statement)?;
        match command.as_ref() {
            Command::Run => {
                self.refuse_changes_in_block(&portal.prepared.text, &statement)?;
                if self.open(portal, &statement).await? {
                    self.stream(portal, rows_max, show).await?;
                }
            }
            Command::Show(name) => {
                let rows = vec![vec![self.shown(name)?]];
                self.open_text(portal, &statement, &[shown_name(name)], &rows);
                self.stream(portal, rows_max, show).await?;
            }
            Command::ShowAll => {
                let rows: Vec<Vec<String>> = self.session.settings().into_iter().map(Vec::from).collect();
                self.open_text(portal, &statement, &["name", "setting", "description"], &rows);
                self.stream(portal, rows_max, show).await?;
            }
            Command::Copy { format, .. } => self.copy_out(portal, &statement, format).await?,
            Command::CopyIn { table, columns, format } => self.copy_in(portal, table, columns, format).await?,
            Command::Fetch(fetch) => self.fetch(portal, fetch, rows_max, show).await?,
            Command::Execute { name, arguments } => {
                let mut inner = match std::mem::replace(&mut portal.state, State::Finished) {
                    State::Executing(inner) => inner,
                    _ => Box::new(self.executed(name, arguments, &portal.formats).await?),
                };
                Box::pin(self.run(&mut inner, rows_max, show)).await?;
                portal.state = State::Executing(inner);
            }
            control => {
                let tag = self.control(&portal.prepared, control).await?;
                portal.state = State::Finished;
                self.link.outbox.put_tag(&tag);
            }
        }
        Ok(())
    }

    /// The portal of a prepared statement with the values of EXECUTE's arguments.
    async fn executed(&mut self, name: &str, arguments: &[Expr], formats: &[i16]) -> Result<Portal, Failure> {
        let prepared = self.statements.get(name)?.clone();
        if !prepared.is_query() {
            return Err(SqlError::unsupported("EXECUTE of a statement that is no query is not supported").into());
        }
        let parameters = self.arguments(name, &prepared, arguments).await?;
        Ok(Portal::new(prepared, parameters, formats.to_vec()))
    }

    fn open_text(&self, portal: &mut Portal, statement: &Statement, names: &[&str], rows: &[Vec<String>]) {
        if matches!(portal.state, State::Ready) {
            let rows = RowSource::new(text_rows(names, rows), statement, None);
            portal.state = State::Streaming(Box::new(rows), "SHOW");
        }
    }

    /// Starts the portal's plan if it has not run. Says whether there are rows; otherwise the client was told all.
    pub(super) async fn open(&mut self, portal: &mut Portal, statement: &Statement) -> Result<bool, Failure> {
        if !matches!(portal.state, State::Ready) {
            return Ok(true);
        }
        let plan = portal.prepared.plan.clone().expect("what is run or copied was planned");
        let run = plan.run(portal.parameters.clone());
        // Work on rows can be dropped; a change cannot stop half way, and is awaited.
        let outcome = if plan.can_stop() { self.link.guard(run).await?? } else { run.await? };
        match outcome {
            Outcome::Rows { stream, tag } => {
                let kept = portal.scroll.then(|| Kept::new(Arc::clone(&self.cursor_memory)));
                portal.state = State::Streaming(Box::new(RowSource::new(stream, statement, kept)), tag);
                Ok(true)
            }
            Outcome::Done { tag, notices } => {
                self.commit_statement().await?;
                for notice in notices {
                    self.link.outbox.put_notice(Severity::Notice, &SqlError::new(SqlState("00000"), notice));
                }
                self.link.outbox.put_tag(&tag);
                portal.state = State::Finished;
                Ok(false)
            }
        }
    }

    /// Sends the rows of a portal that was started.
    async fn stream(&mut self, portal: &mut Portal, rows_max: Option<u64>, show: Show) -> Result<(), Failure> {
        let Some(schema) = self.row_schema(&portal.prepared)? else {
            return match &portal.state {
                State::Finished => {
                    Err(SqlError::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, "portal cannot be run again").into())
                }
                _ => Err(SqlError::internal("a statement without columns gave rows", "no schema in its plan").into()),
            };
        };
        let columns = wire_columns(&schema, &portal.formats)?;
        if show == Show::Described {
            self.put_row_description(&columns);
        }
        let zone = self.zone();
        let State::Streaming(rows, tag) = &mut portal.state else {
            self.link.outbox.put_tag("SELECT 0");
            return Ok(());
        };
        let tag = *tag;
        let sent = rows.send(&mut self.link, &columns, &zone, rows_max, Framing::Rows).await?;
        if !sent.finished {
            self.link.outbox.put_empty(b's');
            return Ok(());
        }
        portal.state = State::Finished;
        if tag == "SELECT" {
            self.link.outbox.put_tag(&format!("SELECT {}", sent.rows));
        } else {
            self.link.outbox.put_tag(tag);
        }
        Ok(())
    }

    async fn copy_out(
        &mut self,
        portal: &mut Portal,
        statement: &Statement,
        format: &CopyFormat,
    ) -> Result<(), Failure> {
        if !self.open(portal, statement).await? {
            return Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, "COPY needs a query that gives rows").into());
        }
        let schema = portal.prepared.plan.as_ref().and_then(|plan| plan.schema());
        let State::Streaming(rows, _) = &mut portal.state else {
            return Err(SqlError::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, "portal cannot be run again").into());
        };
        let schema = schema.ok_or_else(|| SqlError::internal("a copy gave rows without columns", "no schema"))?;
        let codes = [format.value_format().code()];
        let columns = wire_columns(&schema, &codes)?;
        let count = columns.len();
        let response = CopyOutResponse::new(codes[0] as i8, count as i16, vec![codes[0]; count]);
        self.link.outbox.put(&PgWireBackendMessage::CopyOutResponse(response));
        format.begin(&columns, &mut self.link.outbox.buffer);
        let zone = self.zone();
        let sent = rows.send(&mut self.link, &columns, &zone, None, Framing::Copy(format)).await?;
        format.end(sent.rows, &mut self.link.outbox.buffer);
        self.link.outbox.put_empty(b'c');
        self.link.outbox.put_tag(&format!("COPY {}", sent.rows));
        portal.state = State::Finished;
        Ok(())
    }
}

/// The column name of SHOW: the setting as PostgreSQL spells it.
fn shown_name(name: &str) -> &str {
    const SPELLED: [&str; 3] = ["TimeZone", "DateStyle", "IntervalStyle"];
    SPELLED.iter().find(|spelled| spelled.eq_ignore_ascii_case(name)).copied().unwrap_or(name)
}
