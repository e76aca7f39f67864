//! The probes that are wanted. Each keeps its versions; a shipped one remembers what somebody did to it.

use chrono::Utc;

use super::settings::next_probe_id;
use super::{Control, TURNSTILE};
use crate::database::{Row, Transaction, parameters};
use crate::error::CatalogError;
use crate::probe::{Origin, ProbeId};
use crate::table::TableId;

/// A probe before it is stored.
#[derive(Clone, Debug)]
pub struct NewProbe {
    /// Its name and its table's.
    pub name: String,
    /// The whole `CREATE PROBE` statement; for a built-in probe, as shipped.
    pub sql: String,
    /// The account that created it.
    pub owner: String,
    /// Shipped, or created by a user.
    pub origin: Origin,
    /// Whether it is to run.
    pub enabled: bool,
    /// Where its rows go.
    pub table: TableId,
}

/// A stored probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeRow {
    /// Never used again.
    pub id: ProbeId,
    /// Its name.
    pub name: String,
    /// From 1; rises with every text.
    pub version: u32,
    /// The whole `CREATE PROBE` statement.
    pub sql: String,
    /// The account that created it.
    pub owner: String,
    /// Shipped, or created by a user.
    pub origin: Origin,
    /// Whether it is to run.
    pub enabled: bool,
    /// Where its rows go.
    pub table: TableId,
    /// What `COMMENT ON PROBE` says.
    pub comment: Option<String>,
    /// When it was created, Unix nanoseconds.
    pub created_at_ns: i64,
    /// When its text was changed or it was enabled or disabled last, Unix nanoseconds.
    pub changed_at_ns: i64,
}

/// How a shipped probe stands in this catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shipped {
    /// Never seen: create it.
    New,
    /// As shipped.
    Current(ProbeRow),
    /// Of an older binary and changed by nobody: [`Control::update_builtin`].
    Outdated(ProbeRow),
    /// Somebody changed it: leave it.
    Changed(ProbeRow),
    /// Somebody dropped it: leave it so.
    Dropped,
    /// A user's own probe has its name: leave that.
    NameTaken(ProbeRow),
}

const COLUMNS: &str =
    "probe_id, name, version, sql, owner, origin, enabled, table_id, comment, created_ns, changed_ns, changed_by_user,
     dropped";

impl Control {
    /// Stores a new probe.
    pub async fn insert_probe(&self, probe: NewProbe) -> Result<ProbeRow, CatalogError> {
        let mut transaction = self.database.write("store a probe", TURNSTILE).await?;
        refuse_taken_name(&mut transaction, &probe.name).await?;
        let id = next_probe_id(&mut transaction).await?;
        let NewProbe { name, sql, owner, origin, enabled, table } = probe;
        let now_ns = now_ns();
        let shipped = origin == Origin::Builtin;
        let (shipped_name, shipped_sql) = (shipped.then(|| name.clone()), shipped.then(|| sql.clone()));
        if shipped {
            // Someone who creates a shipped probe that was dropped wants it back.
            let forget = "DELETE FROM pp_probe WHERE shipped_name = $1 AND dropped";
            transaction.execute(forget, parameters![name.as_str()]).await?;
        }
        let row = parameters![
            id,
            name.as_str(),
            1,
            sql.as_str(),
            owner.as_str(),
            origin_word(origin),
            enabled,
            table.0,
            now_ns,
            now_ns,
            shipped_name,
            shipped_sql,
            false,
            false
        ];
        let into = "pp_probe (probe_id, name, version, sql, owner, origin, enabled, table_id, created_ns, changed_ns,
            shipped_name, shipped_sql, changed_by_user, dropped)";
        transaction.insert(into, vec![row]).await?;
        insert_version(&mut transaction, id, 1, &sql).await?;
        transaction.commit().await?;
        let id = ProbeId(id);
        Ok(ProbeRow {
            id,
            name,
            version: 1,
            sql,
            owner,
            origin,
            enabled,
            table,
            comment: None,
            created_at_ns: now_ns,
            changed_at_ns: now_ns,
        })
    }

    /// Gives a probe another text: its next version.
    pub async fn replace_probe(&self, id: ProbeId, sql: &str) -> Result<ProbeRow, CatalogError> {
        let mut transaction = self.database.write("replace a probe", TURNSTILE).await?;
        let update = "UPDATE pp_probe SET version = version + 1, sql = $2, changed_ns = $3, changed_by_user = TRUE
                      WHERE probe_id = $1 AND NOT dropped";
        transaction.execute(update, parameters![id.0, sql, now_ns()]).await?;
        self.finish_version(transaction, id).await
    }

    /// Gives a built-in probe that nobody changed the text of a newer binary.
    pub async fn update_builtin(&self, id: ProbeId, shipped_sql: &str) -> Result<ProbeRow, CatalogError> {
        let mut transaction = self.database.write("update a built-in probe", TURNSTILE).await?;
        let update = "UPDATE pp_probe SET version = version + 1, sql = $2, shipped_sql = $2, changed_ns = $3
                      WHERE probe_id = $1 AND origin = 'builtin' AND NOT changed_by_user AND NOT dropped";
        transaction.execute(update, parameters![id.0, shipped_sql, now_ns()]).await?;
        self.finish_version(transaction, id).await
    }

    async fn finish_version(&self, mut transaction: Transaction, id: ProbeId) -> Result<ProbeRow, CatalogError> {
        let probe = live(&mut transaction, id).await?;
        insert_version(&mut transaction, id.0, probe.version, &probe.sql).await?;
        transaction.commit().await?;
        Ok(probe)
    }

    /// Says whether a probe is to run.
    pub async fn set_enabled(&self, id: ProbeId, enabled: bool) -> Result<ProbeRow, CatalogError> {
        let mut transaction = self.database.write("switch a probe", TURNSTILE).await?;
        let update = "UPDATE pp_probe SET enabled = $2, changed_ns = $3 WHERE probe_id = $1 AND NOT dropped";
        transaction.execute(update, parameters![id.0, enabled, now_ns()]).await?;
        let probe = live(&mut transaction, id).await?;
        transaction.commit().await?;
        Ok(probe)
    }

    /// Gives a probe another name, and the text that says so.
    pub async fn rename_probe(&self, id: ProbeId, name: &str, sql: &str) -> Result<ProbeRow, CatalogError> {
        let mut transaction = self.database.write("rename a probe", TURNSTILE).await?;
        refuse_taken_name(&mut transaction, name).await?;
        let update =
            "UPDATE pp_probe SET version = version + 1, name = $2, sql = $3, changed_ns = $4, changed_by_user = TRUE
                      WHERE probe_id = $1 AND NOT dropped";
        transaction.execute(update, parameters![id.0, name, sql, now_ns()]).await?;
        self.finish_version(transaction, id).await
    }

    /// Sets or removes a probe's comment.
    pub async fn comment_on_probe(&self, id: ProbeId, comment: Option<&str>) -> Result<(), CatalogError> {
        let mut transaction = self.database.write("comment on a probe", TURNSTILE).await?;
        let update = "UPDATE pp_probe SET comment = $2 WHERE probe_id = $1 AND NOT dropped";
        transaction.execute(update, parameters![id.0, comment]).await?;
        live(&mut transaction, id).await?;
        transaction.commit().await
    }

    /// Drops a probe. A built-in one is remembered as dropped.
    pub async fn drop_probe(&self, id: ProbeId) -> Result<(), CatalogError> {
        let mut transaction = self.database.write("drop a probe", TURNSTILE).await?;
        let probe = live(&mut transaction, id).await?;
        match probe.origin {
            Origin::Builtin => {
                let mark = "UPDATE pp_probe SET dropped = TRUE, enabled = FALSE, changed_ns = $2 WHERE probe_id = $1";
                transaction.execute(mark, parameters![id.0, now_ns()]).await?;
            }
            Origin::User => delete(&mut transaction, id).await?,
        }
        transaction.commit().await
    }

    /// Takes back [`Control::insert_probe`], of a probe that could not be started: as if it had never been.
    pub async fn remove_probe(&self, id: ProbeId) -> Result<(), CatalogError> {
        let mut transaction = self.database.write("remove a probe", TURNSTILE).await?;
        delete(&mut transaction, id).await?;
        transaction.commit().await
    }

    /// Every probe that is not dropped, by name.
    pub async fn probes(&self) -> Result<Vec<ProbeRow>, CatalogError> {
        let mut transaction = self.database.read("read the probes").await?;
        let query = format!("SELECT {COLUMNS} FROM pp_probe WHERE NOT dropped ORDER BY name");
        transaction.rows(query, vec![]).await?.iter().map(probe_row).collect()
    }

    /// The probe of this name, unless it is dropped.
    pub async fn probe_by_name(&self, name: &str) -> Result<Option<ProbeRow>, CatalogError> {
        let mut transaction = self.database.read("read a probe").await?;
        by_name(&mut transaction, name).await
    }

    /// Every text a probe had, with its version, oldest first.
    pub async fn probe_versions(&self, id: ProbeId) -> Result<Vec<(u32, String)>, CatalogError> {
        let mut transaction = self.database.read("read a probe's versions").await?;
        let query = "SELECT version, sql FROM pp_probe_version WHERE probe_id = $1 ORDER BY version";
        let rows = transaction.rows(query, parameters![id.0]).await?;
        rows.iter().map(|row| Ok((version(row.get(0)?)?, row.get(1)?))).collect()
    }

    /// How the probe that the binary ships under `name` with text `sql` stands here.
    pub async fn shipped(&self, name: &str, sql: &str) -> Result<Shipped, CatalogError> {
        let mut transaction = self.database.read("read a built-in probe").await?;
        let query = format!("SELECT {COLUMNS}, shipped_sql FROM pp_probe WHERE shipped_name = $1");
        let Some(row) = transaction.row(query, parameters![name]).await? else {
            let taken = by_name(&mut transaction, name).await?;
            return Ok(taken.map_or(Shipped::New, Shipped::NameTaken));
        };
        let (changed_by_user, dropped): (bool, bool) = (row.get(11)?, row.get(12)?);
        let shipped_sql: Option<String> = row.get(13)?;
        let probe = probe_row(&row)?;
        Ok(match (dropped, changed_by_user) {
            (true, _) => Shipped::Dropped,
            (false, true) => Shipped::Changed(probe),
            (false, false) if shipped_sql.as_deref() == Some(sql) => Shipped::Current(probe),
            (false, false) => Shipped::Outdated(probe),
        })
    }
}

/// Unix nanoseconds.
pub(super) fn now_ns() -> i64 {
    Utc::now().timestamp_nanos_opt().expect("64 bits of nanoseconds last until 2262")
}

fn origin_word(origin: Origin) -> &'static str {
    match origin {
        Origin::Builtin => "builtin",
        Origin::User => "user",
    }
}

fn version(stored: i64) -> Result<u32, CatalogError> {
    u32::try_from(stored).map_err(|_| CatalogError::Corrupt(format!("a probe has the version {stored}")))
}

fn probe_row(row: &Row) -> Result<ProbeRow, CatalogError> {
    let origin: String = row.get(5)?;
    Ok(ProbeRow {
        id: ProbeId(row.get(0)?),
        name: row.get(1)?,
        version: version(row.get(2)?)?,
        sql: row.get(3)?,
        owner: row.get(4)?,
        origin: if origin == "builtin" { Origin::Builtin } else { Origin::User },
        enabled: row.get(6)?,
        table: TableId(row.get(7)?),
        comment: row.get(8)?,
        created_at_ns: row.get(9)?,
        changed_at_ns: row.get(10)?,
    })
}

async fn by_name(transaction: &mut Transaction, name: &str) -> Result<Option<ProbeRow>, CatalogError> {
    let query = format!("SELECT {COLUMNS} FROM pp_probe WHERE name = $1 AND NOT dropped");
    transaction.row(query, parameters![name]).await?.as_ref().map(probe_row).transpose()
}

async fn live(transaction: &mut Transaction, id: ProbeId) -> Result<ProbeRow, CatalogError> {
    let query = format!("SELECT {COLUMNS} FROM pp_probe WHERE probe_id = $1 AND NOT dropped");
    match transaction.row(query, parameters![id.0]).await? {
        Some(row) => probe_row(&row),
        None => Err(CatalogError::UnknownProbe(id.to_string())),
    }
}

async fn refuse_taken_name(transaction: &mut Transaction, name: &str) -> Result<(), CatalogError> {
    match by_name(transaction, name).await? {
        Some(_) => Err(CatalogError::ProbeExists(name.to_owned())),
        None => Ok(()),
    }
}

async fn insert_version(transaction: &mut Transaction, id: i64, version: u32, sql: &str) -> Result<(), CatalogError> {
    let row = parameters![id, i64::from(version), sql, now_ns()];
    transaction.insert("pp_probe_version (probe_id, version, sql, created_ns)", vec![row]).await
}

async fn delete(transaction: &mut Transaction, id: ProbeId) -> Result<(), CatalogError> {
    for of in ["pp_probe_version", "pp_probe"] {
        transaction.execute(format!("DELETE FROM {of} WHERE probe_id = $1"), parameters![id.0]).await?;
    }
    Ok(())
}
