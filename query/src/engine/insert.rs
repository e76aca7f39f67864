//! INSERT on a session: prepared, run into the session's pending rows, and committed.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::array::timezone::Tz;
use arrow::datatypes::{DataType, Schema};
use datafusion::common::{ScalarValue, TableReference};
use datafusion::sql::sqlparser::ast::{self, Spanned, Statement as Ast, TableObject};
use futures::TryStreamExt;
use probepilot_sql::{SqlError, SqlState, ddl, position};

use super::session::{Prepared, Session, Work};
use super::stream::{self, Executed};
use super::{errors, plan};
use crate::insert::{self, CopyIn, SHOWN_WAIT_MAX, Source, Target, Written};

/// An INSERT that was prepared.
#[derive(Clone, Debug)]
pub(super) struct Insert {
    target: Target,
    source: Source,
}

impl Session {
    pub(super) fn prepare_insert(
        &self,
        text: Arc<str>,
        insert: &ast::Insert,
        parameter_types: &[Option<DataType>],
    ) -> Result<Prepared, SqlError> {
        insert::check(insert, &text)?;
        let TableObject::TableName(name) = &insert.table else {
            return Err(SqlError::unsupported("INSERT needs the name of a table"));
        };
        let columns = insert::plain(&insert.columns, &text)?;
        let mut target = self.target(&text, name, &columns)?;
        let mut types = parameter_types.to_vec();
        let (source, parameters) = match insert::read(insert, &mut target, &mut types, &text)? {
            Written::Cells(cells) => {
                let count = cells.parameters().max(types.len());
                let given = |index: usize| types.get(index).cloned().flatten().unwrap_or(DataType::Utf8);
                (Source::Cells(cells), (0..count).map(given).collect())
            }
            Written::Query(query) => {
                let (plan, schema, parameters) = self.plan(&text, &Ast::Query(query.clone()), &types)?;
                let origins = insert::origins(&query, &plan, &text);
                let places: Vec<_> = origins.iter().map(|origin| origin.at).collect();
                target.fit(schema.fields().len(), &places)?;
                // Types are told now, also when there will be no rows.
                target.rows(&RecordBatch::new_empty(schema), &origins, self.zone()?)?;
                (Source::Query { plan: Box::new(plan), origins }, parameters)
            }
        };
        let work = Work::Insert(Box::new(Insert { target, source }));
        let schema = Arc::new(Schema::empty());
        Ok(Prepared { schema, parameters, returns_rows: false, tag: "INSERT", text, work })
    }

    /// The table of a name, with the columns that are given: 42P01 when there is none, 0A000 when others fill it.
    pub(crate) fn target(
        &self,
        text: &str,
        name: &ast::ObjectName,
        columns: &[ast::Ident],
    ) -> Result<Target, SqlError> {
        let at = position::of_span(text, name.span());
        let Some(written) = ddl::name(name) else {
            let message = format!("improper qualified name (too many dotted names): {name}");
            return Err(SqlError::new(SqlState::SYNTAX_ERROR, message).at(at));
        };
        let reference = match written.schema {
            Some(schema) => TableReference::partial(schema, written.name),
            None => TableReference::bare(written.name),
        };
        let (statement, _) = self.state();
        let table = self.names(&statement).stored(&reference).map_err(|error| error.at(at))?;
        let target = Target::new(table, columns, text)?;
        target.takes_rows(at)?;
        Ok(target)
    }

    /// Runs a prepared INSERT and returns how many rows it has inserted: this session sees them at once, others when they
    /// are committed.
    pub async fn insert(&self, prepared: &Prepared, parameters: Vec<ScalarValue>) -> Result<u64, SqlError> {
        let Work::Insert(insert) = &prepared.work else {
            return Err(SqlError::internal("a query was run as an INSERT", "it inserts nothing"));
        };
        let Insert { target, source } = insert.as_ref();
        let zone = self.zone()?;
        let (plan, origins) = match source {
            Source::Cells(cells) => {
                let batch = cells.rows(target, &parameters, zone, &prepared.text)?;
                let rows = batch.rows.num_rows() as u64;
                self.shared.pending.lock().add(batch)?;
                return Ok(rows);
            }
            Source::Query { plan, origins } => (plan, origins),
        };
        let text = &prepared.text;
        let (running, deadline) = self.start(text);
        let caught_up = async { self.catch_up(plan).await.map_err(|error| errors::translate(error, text)) };
        stream::guarded(&running, deadline, caught_up).await?;
        let (statement, state) = self.state();
        let plan =
            plan::bind(plan, &prepared.parameters, parameters).map_err(|error| errors::translate(error, text))?;
        let executed = async {
            let executed = Executed::start(&self.engine, &statement, state, plan).await;
            executed.map_err(|error| errors::translate(error, text))
        };
        let mut executed = stream::guarded(&running, deadline, executed).await?;
        let (mark, mut count) = (self.shared.pending.lock().mark(), 0);
        loop {
            let next = async { executed.rows.try_next().await.map_err(|error| errors::translate(error, text)) };
            let added = match stream::guarded(&running, deadline, next).await {
                Ok(Some(batch)) => target.rows(&batch, origins, zone).and_then(|batch| {
                    count += batch.rows.num_rows() as u64;
                    self.shared.pending.lock().add(batch)
                }),
                Ok(None) => return Ok(count),
                Err(error) => Err(error),
            };
            if let Err(error) = added {
                // A statement is done as a whole, or not at all.
                self.shared.pending.lock().truncate(mark);
                return Err(error);
            }
        }
    }

    /// How much the transaction has inserted: where [`Session::forget_inserted`] goes back to.
    pub fn inserted(&self) -> usize {
        self.shared.pending.lock().mark()
    }

    /// Forgets what was inserted since.
    pub fn forget_inserted(&self, since: usize) {
        self.shared.pending.lock().truncate(since);
    }

    /// A COPY into a table, in the columns that are named, or all. `text` is the whole text that the spans refer to.
    pub fn copy_in(&self, text: &str, table: &ast::ObjectName, columns: &[ast::Ident]) -> Result<CopyIn, SqlError> {
        Ok(CopyIn::new(self.target(text, table, columns)?, self.zone()?))
    }

    /// Adds the rows of a COPY to the transaction, all of them or none.
    pub fn finish_copy(&self, rows: CopyIn) -> Result<(), SqlError> {
        let mut pending = self.shared.pending.lock();
        let mark = pending.mark();
        for batch in rows.into_batches() {
            if let Err(error) = pending.add(batch) {
                pending.truncate(mark);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Keeps what was inserted: when it returns, the rows are on the disk and every statement sees them. All of them or,
    /// when it fails, none.
    pub async fn commit(&self) -> Result<(), SqlError> {
        let (manifest, mut batches) = (self.engine.pin(), Vec::new());
        {
            let mut pending = self.shared.pending.lock();
            if pending.mark() > 0 {
                batches = pending.take(manifest.manifest())?;
            }
        }
        if batches.is_empty() {
            return Ok(());
        }
        let sequence = self.engine.lanes.append(self.engine.rows.as_ref(), batches).await?;
        if tokio::time::timeout(SHOWN_WAIT_MAX, self.engine.feed.reach(sequence)).await.is_err() {
            tracing::warn!(sequence, "inserted rows are kept, but the tail has no room to show them yet");
        }
        Ok(())
    }

    pub(crate) fn zone(&self) -> Result<Tz, SqlError> {
        let name = self.shared.settings.lock().known("TimeZone");
        name.parse().map_err(|error| SqlError::internal("the session's time zone is not known", error))
    }
}
