//! Our statements as trees. Spans count lines and columns of the whole text that was parsed.

use std::sync::Arc;

use datafusion::sql::sqlparser::ast::{self, Ident};
use datafusion::sql::sqlparser::tokenizer::Span;

pub use crate::cursor::Fetch;
pub use crate::transaction::TransactionModes;

/// A statement: one of ours, or plain SQL.
#[derive(Clone, Debug)]
pub enum Statement {
    /// `CREATE PROBE …`
    CreateProbe(Box<CreateProbe>),
    /// `ALTER PROBE name …`
    AlterProbe {
        /// The probe.
        name: Ident,
        /// What changes.
        change: ProbeChange,
    },
    /// `DROP PROBE [IF EXISTS] name [WITH DATA]`
    DropProbe {
        /// The probe.
        name: Ident,
        /// No error when it does not exist.
        if_exists: bool,
        /// Drops the probe's table too.
        with_data: bool,
    },
    /// `EXPLAIN [VERBOSE | ANALYZE] CREATE PROBE …` and `EXPLAIN [VERBOSE | ANALYZE] PROBE name`
    ExplainProbe {
        /// What is explained.
        target: ExplainTarget,
        /// Program listing too.
        verbose: bool,
        /// Attach and measure.
        analyze: bool,
    },
    /// `SHOW PROBES`
    ShowProbes,
    /// `SHOW CREATE PROBE name`
    ShowCreateProbe(Ident),
    /// `SHOW HOOKS [LIKE 'pattern']`
    ShowHooks {
        /// A LIKE pattern.
        like: Option<String>,
    },
    /// `SHOW COLUMNS FROM hook_or_table`
    ShowColumns(ast::ObjectName),
    /// `COMMENT ON PROBE name IS 'text' | NULL`
    CommentOnProbe {
        /// The probe.
        name: Ident,
        /// `None` removes it.
        comment: Option<String>,
    },
    /// `CHECKPOINT`
    Checkpoint,
    /// `BEGIN …` and `START TRANSACTION …`
    Begin {
        /// The command tag.
        tag: &'static str,
        /// What the transaction shall be.
        modes: TransactionModes,
    },
    /// `SET TRANSACTION …` and `SET SESSION CHARACTERISTICS AS TRANSACTION …`
    SetTransaction {
        /// All transactions from now on, not only this one.
        session: bool,
        /// What they shall be.
        modes: TransactionModes,
    },
    /// `FETCH …` and `MOVE …`
    Fetch(Fetch),
    /// `ALTER TABLE name SET (retention = …, max_bytes = …)`
    AlterTableSet {
        /// The table.
        name: ast::ObjectName,
        /// The settings, in order.
        options: Vec<ProbeOption>,
    },
    /// Everything else, as sqlparser reads it.
    Sql(Box<ast::Statement>),
}

/// `CREATE [OR REPLACE] PROBE [IF NOT EXISTS] name [ON NODES WHERE …] [WITH (…)] AS query`
#[derive(Clone, Debug)]
pub struct CreateProbe {
    /// The probe's name and its table's.
    pub name: Ident,
    /// `OR REPLACE`
    pub or_replace: bool,
    /// `IF NOT EXISTS`
    pub if_not_exists: bool,
    /// `ON NODES WHERE predicate`
    pub nodes: Option<ast::Expr>,
    /// `WITH (name = value, …)`
    pub options: Vec<ProbeOption>,
    /// The query on hooks.
    pub query: ProbeQuery,
    /// The statement's own text, as it is stored: without what stands before and after it.
    pub source: Arc<str>,
}

/// A query on hooks with its text, so that errors and programs can quote it.
#[derive(Clone, Debug)]
pub struct ProbeQuery {
    /// The whole statement's text; the query's spans refer to it.
    pub text: Arc<str>,
    /// The query.
    pub query: Box<ast::Query>,
    /// The comment after each select item (`-- meaning; unit`), in order; shorter than the items when the rest has none.
    pub comments: Vec<Option<String>>,
}

/// One `name = value` of a `WITH` or `SET` list.
#[derive(Clone, Debug, PartialEq)]
pub struct ProbeOption {
    /// Lower case.
    pub name: String,
    /// The literal's text without quotes: `5000`, `7 days`.
    pub value: String,
    /// Where the value stands.
    pub span: Span,
}

/// What `ALTER PROBE` changes.
#[derive(Clone, Debug)]
pub enum ProbeChange {
    /// `AS query`
    Query {
        /// The query on hooks.
        query: ProbeQuery,
        /// The statement's own text: without what stands before and after it.
        source: Arc<str>,
    },
    /// `SET (…)`
    Set(Vec<ProbeOption>),
    /// `ENABLE`
    Enable,
    /// `DISABLE`
    Disable,
    /// `RENAME TO name`
    Rename(Ident),
}

/// What `EXPLAIN` explains.
#[derive(Clone, Debug)]
pub enum ExplainTarget {
    /// A probe that is not created.
    Create(Box<CreateProbe>),
    /// A probe that exists.
    Existing(Ident),
}
