//! The simple protocol: a text of statements, each streamed before the next begins.

use std::sync::Arc;

use probepilot_sql::parse::Parsed;
use probepilot_sql::statement::Statement;
use probepilot_sql::{SqlError, SqlState};

use super::Connection;
use super::link::Failure;
use super::portal::Portal;
use super::run::Show;

impl Connection {
    /// Answers a Query message. The first error ends it; what came before has been sent.
    pub(super) async fn query(&mut self, text: String) -> Result<(), Failure> {
        self.statements.remove("");
        self.portals.remove("");
        self.link.begin();
        let done = self.texts(text.into()).await;
        self.link.end();
        (self.ends_text, self.implicit_block) = (false, false);
        if let Err(failure) = done {
            self.failed(failure)?;
        }
        self.end_implicit();
        self.ready();
        Ok(())
    }

    async fn texts(&mut self, text: Arc<str>) -> Result<(), Failure> {
        let statements = probepilot_sql::parse(&text)?;
        if statements.is_empty() {
            self.link.outbox.put_empty(b'I');
            return Ok(());
        }
        self.implicit_block = statements.len() > 1;
        let last = statements.len() - 1;
        for (index, Parsed { statement, .. }) in statements.into_iter().enumerate() {
            self.block.start(self.session.as_ref());
            self.ends_text = index == last;
            self.text(&text, statement).await?;
        }
        // The last one may have been a query.
        Ok(self.commit_implicit().await?)
    }

    async fn text(&mut self, text: &Arc<str>, statement: Statement) -> Result<(), Failure> {
        let limit = self.statement_timeout();
        self.link.limit(limit);
        let prepared = self.prepare(text, Some(statement), &[]).await?;
        if !prepared.parameter_oids.is_empty() {
            return Err(SqlError::new(SqlState("42P02"), "there is no parameter $1").into());
        }
        let mut portal = Portal::new(prepared, Vec::new(), Vec::new());
        self.run(&mut portal, None, Show::Described).await
    }
}
