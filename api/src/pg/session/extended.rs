//! The extended protocol: Parse, Bind, Describe, Execute, Close, in any order and in pipelines.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use datafusion::scalar::ScalarValue;
use datafusion::sql::sqlparser::ast;
use pgwire::messages::PgWireBackendMessage;
use pgwire::messages::data::ParameterDescription;
use probepilot_sql::statement::Statement;
use probepilot_sql::{SqlError, SqlState};

use super::command::Command;
use super::link::Failure;
use super::portal::{Portal, Prepared};
use super::rows::wire_columns;
use super::run::Show;
use super::{Connection, parameters};
use crate::pg::encode::{WireType, oids};
use crate::pg::wire::{Message, Object};

impl Connection {
    pub(super) async fn extended(&mut self, message: Message) -> Result<(), Failure> {
        self.block.start(self.session.as_ref());
        let limit = self.statement_timeout();
        self.link.limit(limit);
        match message {
            Message::Parse { name, query, parameter_oids } => self.parse(name, query, &parameter_oids).await,
            Message::Bind { portal, statement, formats, parameters, results } => {
                let prepared = self.statements.get(&statement)?.clone();
                self.bind(portal, &statement, prepared, &formats, &parameters, results)
            }
            Message::Describe(Object::Statement, name) => {
                let prepared = self.statements.get(&name)?.clone();
                let description = ParameterDescription::new(prepared.parameter_oids.clone());
                self.link.outbox.put(&PgWireBackendMessage::ParameterDescription(description));
                self.describe(&prepared, &[])
            }
            Message::Describe(Object::Portal, name) => {
                let portal = self.portals.get(&name)?;
                let (prepared, formats) = (portal.prepared.clone(), portal.formats.clone());
                self.describe(&prepared, &formats)
            }
            Message::Execute { portal: name, rows_max } => {
                let mut portal = self.portals.take("portal", &name)?;
                let rows_max = u64::try_from(rows_max).ok().filter(|rows_max| *rows_max > 0);
                self.run(&mut portal, rows_max, Show::Rows).await?;
                // A portal that a COMMIT inside it has ended, or that failed, does not come back.
                self.portals.put_back(name, portal);
                Ok(())
            }
            Message::Close(object, name) => {
                match object {
                    Object::Statement => {
                        self.statements.remove(&name);
                    }
                    Object::Portal => self.portals.remove(&name),
                }
                self.link.outbox.put_empty(b'3');
                Ok(())
            }
            other => Err(SqlError::internal("a message came to the wrong place", format!("{other:?}")).into()),
        }
    }

    async fn parse(&mut self, name: String, query: String, oids: &[u32]) -> Result<(), Failure> {
        if name.is_empty() {
            self.statements.remove("");
        }
        let text: Arc<str> = query.into();
        let mut statements = probepilot_sql::parse(&text)?;
        if statements.len() > 1 {
            let message = "cannot insert multiple commands into a prepared statement";
            return Err(SqlError::new(SqlState::SYNTAX_ERROR, message).into());
        }
        let prepared = self.prepare(&text, statements.pop().map(|parsed| parsed.statement), oids).await?;
        self.statements.insert(name, prepared)?;
        self.link.outbox.put_empty(b'1');
        Ok(())
    }

    /// Sorts and plans a statement.
    pub(super) async fn prepare(
        &mut self,
        text: &Arc<str>,
        statement: Option<Statement>,
        oids: &[u32],
    ) -> Result<Prepared, Failure> {
        let Some(statement) = statement else {
            let parameter_oids = oids.to_vec();
            return Ok(Prepared { text: Arc::clone(text), parsed: None, plan: None, parameter_oids });
        };
        let command = Command::of(&statement)?;
        self.block.allows(&command)?;
        self.refuse_changes_in_block(text, &statement)?;
        let types: Vec<Option<DataType>> = oids.iter().map(|oid| oids::parameter_type(*oid)).collect();
        let plan = match &command {
            Command::Run => Some(self.plan(text, &statement, &types).await?),
            Command::Copy { query, .. } => {
                let query = as_statement(query);
                Some(self.plan(text, &query, &types).await?)
            }
            _ => None,
        };
        let mut parameter_oids = oids.to_vec();
        for (index, data_type) in plan.iter().flat_map(|plan| plan.parameters().iter().enumerate()) {
            let oid = WireType::of_field(&Field::new("parameter", data_type.clone(), true)).oid;
            match parameter_oids.get_mut(index) {
                None => parameter_oids.push(oid),
                Some(named) if *named == 0 => *named = oid,
                Some(_) => {}
            }
        }
        // A parameter that the client counts but the statement does not use.
        parameter_oids.iter_mut().filter(|oid| **oid == 0).for_each(|oid| *oid = oids::TEXT);
        let parsed = Some((Arc::new(statement), Arc::new(command)));
        Ok(Prepared { text: Arc::clone(text), parsed, plan, parameter_oids })
    }

    fn bind(
        &mut self,
        name: String,
        statement: &str,
        prepared: Prepared,
        formats: &[i16],
        values: &[Option<bytes::Bytes>],
        results: Vec<i16>,
    ) -> Result<(), Failure> {
        if let Some((_, command)) = &prepared.parsed {
            self.block.allows(command)?;
        }
        if name.is_empty() {
            self.portals.remove("");
        }
        let violation = |message: String| SqlError::new(SqlState::PROTOCOL_VIOLATION, message);
        let (given, wanted) = (values.len(), prepared.parameter_oids.len());
        if given != wanted {
            return Err(violation(format!(
                "bind message supplies {given} parameters, but prepared statement \"{statement}\" requires {wanted}"
            ))
            .into());
        }
        if formats.len() > 1 && formats.len() != given {
            let count = formats.len();
            return Err(violation(format!("bind message has {count} parameter formats but {given} parameters")).into());
        }
        let zone = self.zone();
        let types = prepared.plan.as_ref().map_or(&[][..], |plan| plan.parameters());
        let mut parameters: Vec<ScalarValue> = Vec::with_capacity(given);
        for (index, (value, oid)) in values.iter().zip(&prepared.parameter_oids).enumerate() {
            let format = *formats.get(index).or(formats.first()).unwrap_or(&0);
            let value = parameters::read(value.as_deref(), format, *oid, types.get(index), &zone)
                .map_err(|error| error.detail(format!("This is parameter ${}.", index + 1)))?;
            // Parameters that the statement does not use are checked, and left out.
            if index < types.len() {
                parameters.push(value);
            }
        }
        if let Some(schema) = self.row_schema(&prepared)? {
            wire_columns(&schema, &results)?;
        }
        self.portals.insert(name, Portal::new(prepared, parameters, results))?;
        self.link.outbox.put_empty(b'2');
        Ok(())
    }

    /// Sends `RowDescription`, or `NoData` for what has no rows.
    fn describe(&mut self, prepared: &Prepared, formats: &[i16]) -> Result<(), Failure> {
        match self.row_schema(prepared)? {
            Some(schema) => {
                // As PostgreSQL: what has no rows may be described in a failed block, so that drivers can end it.
                if let Some((_, command)) = &prepared.parsed {
                    self.block.allows(command)?;
                }
                let columns = wire_columns(&schema, formats)?;
                self.put_row_description(&columns);
            }
            None => self.link.outbox.put_empty(b'n'),
        }
        Ok(())
    }
}

/// A query as a statement of its own.
pub(super) fn as_statement(query: &ast::Query) -> Statement {
    Statement::Sql(Box::new(ast::Statement::Query(Box::new(query.clone()))))
}
