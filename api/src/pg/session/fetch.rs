//! FETCH and MOVE: rows of a cursor, in the direction that is wanted.

use probepilot_sql::SqlError;
use probepilot_sql::statement::Fetch;

use super::Connection;
use super::link::Failure;
use super::portal::{Portal, State};
use super::rows::{Framing, RowSource, forward_only, wire_columns};
use super::run::Show;
use super::scroll::{Step, steps};
use crate::pg::encode::{WireColumn, Zone};

impl Connection {
    /// Takes rows from a cursor. `portal` is the FETCH itself, whose formats count unless the cursor is binary.
    pub(super) async fn fetch(
        &mut self,
        portal: &mut Portal,
        fetch: &Fetch,
        rows_max: Option<u64>,
        show: Show,
    ) -> Result<(), Failure> {
        let (word, name) = (if fetch.send { "FETCH" } else { "MOVE" }, probepilot_sql::names::folded(&fetch.name));
        if matches!(portal.state, State::Finished) {
            self.link.outbox.put_tag(&format!("{word} 0"));
            return Ok(());
        }
        self.portals.cursor(&name)?;
        let mut cursor = self.portals.take("cursor", &name)?;
        let Some((statement, _)) = cursor.prepared.parsed.clone() else {
            return Err(SqlError::internal("a cursor has no query", "it was declared empty").into());
        };
        let schema = cursor.prepared.query_schema();
        let schema = schema.ok_or_else(|| SqlError::internal("a cursor has no columns", "its plan has no schema"))?;
        let formats = if cursor.formats.is_empty() { &portal.formats } else { &cursor.formats };
        let columns = wire_columns(&schema, formats)?;
        self.open(&mut cursor, &statement).await?;
        let zone = self.zone();
        // A cursor that is a portal and was read to its end by Execute has nothing left.
        let mut done = (Step::Nothing, 0);
        if let State::Streaming(rows, _) = &mut cursor.state {
            done = match portal.state {
                State::Fetching(step, taken) => (step, taken),
                _ => (self.pass_over(rows, fetch, &columns, &zone).await?, 0),
            };
        }
        if show == Show::Described && fetch.send {
            self.put_row_description(&columns);
        }
        if let State::Streaming(rows, _) = &mut cursor.state {
            let framing = if fetch.send { Framing::Rows } else { Framing::Skip };
            // What is passed over is no row of the portal's.
            let rows_max = rows_max.filter(|_| fetch.send);
            let (step, taken) = done;
            let sent = rows.step(step, &mut self.link, &columns, &zone, rows_max, framing).await?;
            done = (if sent.finished { Step::Nothing } else { step.less(sent.rows) }, taken + sent.rows);
        }
        let (left, taken) = done;
        self.portals.put_back(name, cursor);
        if left.is_done() {
            portal.state = State::Finished;
            self.link.outbox.put_tag(&format!("{word} {taken}"));
        } else {
            portal.state = State::Fetching(left, taken);
            self.link.outbox.put_empty(b's');
        }
        Ok(())
    }

    /// Goes to where the wanted rows begin; gives the step that takes them.
    async fn pass_over(
        &mut self,
        rows: &mut RowSource,
        fetch: &Fetch,
        columns: &[WireColumn],
        zone: &Zone,
    ) -> Result<Step, Failure> {
        let [first, second, last] = steps(fetch.motion, rows.place);
        let goes_back = [first, second, last].iter().any(|step| step.goes_back(rows.place));
        if goes_back && !rows.can_go_back() {
            if last == Step::Again && !fetch.send {
                // MOVE 0 asks only whether the cursor is on a row, which it is.
                return Ok(Step::Stay);
            }
            return Err(forward_only().into());
        }
        for step in [first, second] {
            rows.step(step, &mut self.link, columns, zone, None, Framing::Skip).await?;
        }
        Ok(last)
    }
}
