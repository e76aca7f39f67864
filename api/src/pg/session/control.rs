//! Statements that are the door's own business: transactions, cursors, prepared statements, settings.

use std::sync::Arc;

use arrow::array::Array;
use datafusion::scalar::ScalarValue;
use datafusion::sql::sqlparser::ast::{self, Expr, SelectItem, SetExpr};
use futures::StreamExt;
use probepilot_sql::statement::Statement;
use probepilot_sql::{SqlError, SqlState};

use super::Connection;
use super::block::{self, Status};
use super::command::{Command, Declare};
use super::extended::as_statement;
use super::link::Failure;
use super::portal::{Portal, Prepared};
use crate::pg::backend::Outcome;
use crate::pg::wire::Severity;

impl Connection {
    /// Runs a statement that has no rows and needs no executor; gives its tag.
    pub(super) async fn control(&mut self, prepared: &Prepared, command: &Command) -> Result<String, Failure> {
        let session = self.session.as_ref();
        let tag = match command {
            Command::Begin { tag, modes } => {
                let warning = self.block.begin();
                if warning.is_none() {
                    block::set_modes(session, modes)?;
                }
                self.warn(warning);
                tag
            }
            Command::SetTransaction { session: true, modes } => {
                for (name, value) in modes.settings() {
                    session.set(&format!("default_transaction_{name}"), value)?;
                }
                "SET"
            }
            Command::SetTransaction { session: false, modes } => {
                if self.block.status == Status::Idle && !self.implicit_block {
                    let message = "SET TRANSACTION can only be used in transaction blocks";
                    self.warn(Some(SqlError::new(SqlState::NO_ACTIVE_SQL_TRANSACTION, message)));
                } else {
                    for (name, value) in modes.settings() {
                        session.set_local(&format!("transaction_{name}"), value)?;
                    }
                }
                "SET"
            }
            Command::Commit { chain } => {
                if self.block.status != Status::Failed
                    && let Err(error) = self.session.commit().await
                {
                    self.end_block(false, false)?;
                    return Err(error.into());
                }
                self.end_block(true, *chain)?
            }
            Command::Rollback { chain } => self.end_block(false, *chain)?,
            Command::Savepoint(name) => {
                self.block.savepoint(session, name)?;
                "SAVEPOINT"
            }
            Command::Release(name) => {
                self.block.release(name)?;
                "RELEASE"
            }
            Command::RollbackTo(name) => {
                self.block.rollback_to(session, name)?;
                "ROLLBACK"
            }
            Command::Declare(declare) => {
                self.declare(prepared, declare).await?;
                "DECLARE CURSOR"
            }
            Command::Close(None) => {
                self.portals.clear();
                "CLOSE CURSOR ALL"
            }
            Command::Close(Some(name)) => {
                self.portals.take("cursor", name)?;
                "CLOSE CURSOR"
            }
            Command::Prepare { name, types, statement } => {
                let statement = statement.as_ref().clone();
                let inner = Box::pin(self.prepare(&prepared.text, Some(statement), types)).await?;
                if !inner.is_query() {
                    return Err(SqlError::unsupported("only queries can be prepared by PREPARE").into());
                }
                if name.is_empty() {
                    return Err(SqlError::new(SqlState::INVALID_SQL_STATEMENT_NAME, "the name is empty").into());
                }
                self.statements.insert(name.clone(), inner)?;
                "PREPARE"
            }
            Command::Deallocate(None) => {
                self.statements.clear();
                "DEALLOCATE ALL"
            }
            Command::Deallocate(Some(name)) => {
                self.statements.get(name)?;
                self.statements.remove(name);
                "DEALLOCATE"
            }
            Command::Set { name, value, local } => {
                match (value, local) {
                    (Some(value), true) => session.set_local(name, value)?,
                    (Some(value), false) => session.set(name, value)?,
                    (None, _) => session.reset(name)?,
                }
                if *local && self.block.status == Status::Idle && !self.implicit_block {
                    let message = "SET LOCAL can only be used in transaction blocks";
                    self.warn(Some(SqlError::new(SqlState::NO_ACTIVE_SQL_TRANSACTION, message)));
                }
                "SET"
            }
            Command::Reset(Some(name)) => {
                session.reset(name)?;
                "RESET"
            }
            Command::Reset(None) => {
                session.reset_all();
                "RESET"
            }
            Command::DiscardAll => {
                if self.block.status != Status::Idle || self.implicit_block {
                    let message = "DISCARD ALL cannot run inside a transaction block";
                    return Err(SqlError::new(SqlState::ACTIVE_SQL_TRANSACTION, message).into());
                }
                session.reset_all();
                self.portals.clear();
                self.statements.clear();
                "DISCARD ALL"
            }
            Command::Accept(tag) => tag,
            Command::Fetch(_)
            | Command::Execute { .. }
            | Command::Show(_)
            | Command::ShowAll
            | Command::Copy { .. }
            | Command::CopyIn { .. }
            | Command::Run => {
                return Err(SqlError::internal("a statement came to the wrong place", format!("{command:?}")).into());
            }
        };
        Ok(tag.to_owned())
    }

    /// The value of a setting for SHOW.
    pub(super) fn shown(&self, name: &str) -> Result<String, SqlError> {
        self.session.setting(name).ok_or_else(|| {
            let message = format!("unrecognized configuration parameter \"{name}\"");
            SqlError::new(SqlState::UNDEFINED_OBJECT, message)
        })
    }

    fn warn(&mut self, warning: Option<SqlError>) {
        if let Some(warning) = warning {
            self.link.outbox.put_notice(Severity::Warning, &warning);
        }
    }

    fn end_block(&mut self, commit: bool, chain: bool) -> Result<&'static str, SqlError> {
        let (tag, warning) = self.block.end(self.session.as_ref(), commit, chain)?;
        self.portals.end_transaction(tag == "COMMIT");
        self.warn(warning);
        Ok(tag)
    }

    async fn declare(&mut self, prepared: &Prepared, declare: &Declare) -> Result<(), Failure> {
        if !declare.hold && self.block.status == Status::Idle && !self.implicit_block {
            let message = "DECLARE CURSOR can only be used in transaction blocks";
            return Err(SqlError::new(SqlState::NO_ACTIVE_SQL_TRANSACTION, message).into());
        }
        let statement = as_statement(&declare.query);
        let query = Box::pin(self.prepare(&prepared.text, Some(statement), &[])).await?;
        if !query.parameter_oids.is_empty() {
            return Err(SqlError::unsupported("a cursor's query cannot have parameters").into());
        }
        if !query.is_query() {
            return Err(SqlError::unsupported("a cursor needs a query that gives rows").into());
        }
        let formats = if declare.binary { vec![1] } else { Vec::new() };
        let mut cursor = Portal::new(query, Vec::new(), formats);
        cursor.hold = declare.hold;
        cursor.scroll = declare.scroll;
        Ok(self.portals.insert(declare.name.clone(), cursor)?)
    }

    /// The values of EXECUTE's arguments, computed by the executor as the row of a SELECT.
    pub(super) async fn arguments(
        &mut self,
        name: &str,
        prepared: &Prepared,
        arguments: &[Expr],
    ) -> Result<Vec<ScalarValue>, Failure> {
        let types = prepared.plan.as_ref().map_or(&[][..], |plan| plan.parameters());
        if arguments.len() != prepared.parameter_oids.len() {
            let message = format!("wrong number of parameters for prepared statement \"{name}\"");
            let (wanted, given) = (prepared.parameter_oids.len(), arguments.len());
            return Err(SqlError::new(SqlState::SYNTAX_ERROR, message)
                .detail(format!("Expected {wanted} parameters but got {given}."))
                .into());
        }
        if arguments.is_empty() {
            return Ok(Vec::new());
        }
        let text: Arc<str> = "SELECT 1".into();
        let statement = select(&text, arguments)?;
        let plan = self.plan(&text, &statement, &[]).await?;
        let Outcome::Rows { mut stream, .. } = self.link.guard(plan.run(Vec::new())).await?? else {
            return Err(SqlError::internal("arguments gave no rows", "a SELECT without rows").into());
        };
        let mut batch = None;
        while let Some(next) = self.link.guard(stream.batches.next()).await? {
            batch = Some(next?).filter(|batch| batch.num_rows() > 0).or(batch);
        }
        let batch = batch.ok_or_else(|| SqlError::internal("arguments gave no rows", "an empty SELECT"))?;
        let values = batch.columns().iter().zip(types).map(|(column, data_type)| {
            ScalarValue::try_from_array(column, 0).and_then(|value| value.cast_to(data_type)).map_err(|error| {
                let message = format!("a parameter of type {} does not fit", column.data_type());
                SqlError::new(SqlState::DATATYPE_MISMATCH, message).caused_by(error)
            })
        });
        Ok(values.collect::<Result<_, _>>()?)
    }
}

/// `SELECT` of the expressions.
fn select(pattern: &str, expressions: &[Expr]) -> Result<Statement, SqlError> {
    let mut statement = probepilot_sql::parse_one(pattern)?;
    let Statement::Sql(sql) = &mut statement else { return Ok(statement) };
    if let ast::Statement::Query(query) = sql.as_mut()
        && let SetExpr::Select(select) = query.body.as_mut()
    {
        select.projection = expressions
            .iter()
            .enumerate()
            .map(|(index, expression)| SelectItem::ExprWithAlias {
                expr: expression.clone(),
                alias: ast::Ident::new(format!("argument_{index}")),
            })
            .collect();
    }
    Ok(statement)
}
