//! What accounts, probes and settings promise.

use super::*;
use crate::probe::Origin;
use crate::table::TableId;

async fn control() -> (tempfile::TempDir, Control) {
    let folder = tempfile::tempdir().unwrap();
    let control = Control::open_sqlite(&folder.path().join("control.sqlite")).await.unwrap();
    (folder, control)
}

#[tokio::test]
async fn the_first_accounts_are_made_once_and_their_passwords_open() {
    let (_folder, control) = control().await;
    let created = control.ensure_first_accounts(Some("given")).await.unwrap();
    let names: Vec<_> = created.iter().map(|account| (account.name.as_str(), account.role)).collect();
    assert_eq!(names, [("admin", Role::Admin), ("grafana", Role::Analyst)]);
    assert_eq!(created[0].password, "given");
    assert!(control.ensure_first_accounts(None).await.unwrap().is_empty());
    assert_eq!(control.verify_password("admin", "given").await.unwrap(), Some(Role::Admin));
    assert_eq!(control.verify_password("grafana", &created[1].password).await.unwrap(), Some(Role::Analyst));
    assert_eq!(control.verify_password("grafana", "given").await.unwrap(), None);
    assert_eq!(control.verify_password("nobody", "given").await.unwrap(), None);
}

#[tokio::test]
async fn a_user_s_drop_and_change_of_a_shipped_probe_last() {
    let (_folder, control) = control().await;
    let new = |name: &str, sql: &str, origin| NewProbe {
        name: name.into(),
        sql: sql.into(),
        owner: "admin".into(),
        origin,
        enabled: true,
        table: TableId(1),
    };
    assert_eq!(control.shipped("a", "v1").await.unwrap(), Shipped::New);
    let probe = control.insert_probe(new("a", "v1", Origin::Builtin)).await.unwrap();
    assert_eq!(control.shipped("a", "v1").await.unwrap(), Shipped::Current(probe.clone()));

    let disabled = control.set_enabled(probe.id, false).await.unwrap();
    assert_eq!(control.shipped("a", "v2").await.unwrap(), Shipped::Outdated(disabled));
    let updated = control.update_builtin(probe.id, "v2").await.unwrap();
    assert_eq!((updated.version, updated.enabled), (2, false));

    control.replace_probe(probe.id, "mine").await.unwrap();
    assert!(matches!(control.shipped("a", "v3").await.unwrap(), Shipped::Changed(mine) if mine.sql == "mine"));
    let versions = control.probe_versions(probe.id).await.unwrap();
    assert_eq!(versions, [(1, "v1".to_owned()), (2, "v2".to_owned()), (3, "mine".to_owned())]);

    control.drop_probe(probe.id).await.unwrap();
    assert_eq!(control.shipped("a", "v3").await.unwrap(), Shipped::Dropped);
    assert!(control.probes().await.unwrap().is_empty());
    let own = control.insert_probe(new("a", "own", Origin::User)).await.unwrap();
    assert_ne!(own.id, probe.id);
    assert_eq!(control.shipped("a", "v3").await.unwrap(), Shipped::Dropped);
    assert!(matches!(
        control.insert_probe(new("a", "again", Origin::User)).await,
        Err(CatalogError::ProbeExists(name)) if name == "a"
    ));
}
