//! The first accounts: made once, their passwords in files that only the owner can read.

use anyhow::Context;
use probepilot_catalog::control::Control;

use crate::directory::DataDirectory;

/// Makes `admin` and `grafana` when the catalog has no account yet.
///
/// `given` is the password of `admin` that the operator wants; without it, and for `grafana`, it is random.
pub async fn ensure(control: &Control, directory: &DataDirectory, given: Option<&str>) -> anyhow::Result<()> {
    let created = control.ensure_first_accounts(given).await.context("cannot create the first accounts")?;
    for account in created {
        directory.write_passfile(&account.name, &account.password)?;
    }
    Ok(())
}
