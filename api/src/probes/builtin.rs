//! The probes that are shipped: created once, as ordinary probes.

use std::sync::Arc;

use probepilot_sql::SqlError;
use probepilot_sql::statement::Statement;

use super::Probes;

/// Owner of the shipped probes.
const OWNER: &str = "admin";

/// Creates the shipped probes that this catalog has never seen.
///
/// One that somebody dropped or disabled stays so; one whose shipped text changed is replaced unless somebody changed it.
pub async fn install(probes: &Arc<Probes>) -> Result<Vec<(String, SqlError)>, SqlError> {
    let mut failed = Vec::new();
    for builtin in probepilot_collector_ebpf::probes::builtin() {
        if let Err(error) = install_one(probes, builtin.name, builtin.sql, builtin.enabled).await {
            failed.push((builtin.name.to_owned(), error));
        }
    }
    Ok(failed)
}

async fn install_one(probes: &Arc<Probes>, name: &str, sql: &str, enabled: bool) -> Result<(), SqlError> {
    let Statement::CreateProbe(probe) = probepilot_sql::parse_one(sql)? else {
        return Err(SqlError::internal(format!("the shipped probe {name} is no CREATE PROBE"), "wrong statement"));
    };
    probes.declare(OWNER, name, &probe, enabled).await
}
