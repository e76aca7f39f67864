//! What accounts, probes and settings promise.

use super::*;
use crate::probe::Origin;
use crate::table::TableId;
use crate::testing::on_both;

#[test]
fn the_first_accounts_are_made_once_and_their_passwords_open() {
    on_both(async |place| {
        let control = place.control().await;
        let created = control.ensure_first_accounts(Some("given")).await.unwrap();
        let names: Vec<_> = created.iter().map(|account| (account.name.as_str(), account.role)).collect();
        assert_eq!(names, [("admin", Role::Admin), ("grafana", Role::Analyst)]);
        assert_eq!(created[0].password, "given");
        assert!(control.ensure_first_accounts(None).await.unwrap().is_empty());
        assert_eq!(control.verify_password("admin", "given").await.unwrap(), Some(Role::Admin));
        assert_eq!(control.verify_password("grafana", &created[1].password).await.unwrap(), Some(Role::Analyst));
        assert_eq!(control.verify_password("grafana", "given").await.unwrap(), None);
        assert_eq!(control.verify_password("nobody", "given").await.unwrap(), None);
    });
}

#[test]
fn a_password_changes_and_is_kept_nowhere() {
    on_both(async |place| {
        let control = place.control().await;
        control.create_account("eve", Role::Operator, "first secret").await.unwrap();
        let first = control.scram_verifier("eve").await.unwrap().unwrap();
        assert_eq!(first.iterations, 4096);
        control.set_password("eve", "second secret").await.unwrap();
        let second = control.scram_verifier("eve").await.unwrap().unwrap();
        assert_ne!(first.salt, second.salt);
        assert_ne!(first.stored_key, second.stored_key);
        assert_eq!(control.verify_password("eve", "first secret").await.unwrap(), None);
        assert_eq!(control.verify_password("eve", "second secret").await.unwrap(), Some(Role::Operator));
        assert!(control.scram_verifier("nobody").await.unwrap().is_none());
        assert_eq!(control.accounts().await.unwrap().len(), 1);

        let again = control.create_account("eve", Role::Admin, "x").await;
        assert!(matches!(again, Err(CatalogError::AccountExists(name)) if name == "eve"));
        assert!(matches!(control.set_password("nobody", "x").await, Err(CatalogError::UnknownAccount(_))));
        for unusable in ["", &"x".repeat(1025)] {
            assert!(matches!(control.set_password("eve", unusable).await, Err(CatalogError::InvalidPassword(_))));
        }
        assert_eq!(control.verify_password("eve", &"x".repeat(1025)).await.unwrap(), None);
    });
}

#[test]
fn settings_and_the_signing_key_outlive_a_restart() {
    on_both(async |place| {
        let control = place.control().await;
        let other = place.control().await;
        let (key, same) = tokio::join!(control.signing_key(), other.signing_key());
        let key = key.unwrap();
        assert_eq!(key.len(), 32);
        assert_eq!(same.unwrap(), key);
        assert_eq!(control.setting("node").await.unwrap(), None);
        assert_eq!(control.setting_or("node", "first").await.unwrap(), "first");
        assert_eq!(other.setting_or("node", "second").await.unwrap(), "first");
        control.set_setting("node", "third").await.unwrap();
        control.close().await;
        let again = place.control().await;
        assert_eq!(again.setting("node").await.unwrap().as_deref(), Some("third"));
        assert_eq!(again.signing_key().await.unwrap(), key);
        again.set_setting("signing_key", "damaged").await.unwrap();
        assert!(matches!(again.signing_key().await, Err(CatalogError::Corrupt(_))));
    });
}

#[tokio::test]
async fn only_the_owner_may_read_the_file() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let control = Control::open_sqlite(&folder.path().join("control.sqlite")).await.unwrap();
    control.signing_key().await.unwrap();
    for file in ["control.sqlite", "control.sqlite-wal", "control.sqlite-shm"] {
        let mode = std::fs::metadata(folder.path().join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
}

#[test]
fn a_user_s_drop_and_change_of_a_shipped_probe_last() {
    on_both(async |place| {
        let control = place.control().await;
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
    });
}

#[test]
fn a_probe_of_a_user_changes_and_goes_without_trace() {
    on_both(async |place| {
        let control = place.control().await;
        let new = NewProbe {
            name: "p".into(),
            sql: "v1".into(),
            owner: "eve".into(),
            origin: Origin::User,
            enabled: true,
            table: TableId(4),
        };
        let probe = control.insert_probe(new.clone()).await.unwrap();
        assert_eq!(control.probe_by_name("p").await.unwrap(), Some(probe.clone()));
        control.comment_on_probe(probe.id, Some("what it is for")).await.unwrap();
        let renamed = control.rename_probe(probe.id, "q", "CREATE PROBE q AS SELECT 1").await.unwrap();
        assert_eq!((renamed.name.as_str(), renamed.comment.as_deref()), ("q", Some("what it is for")));
        assert_eq!(control.probe_by_name("p").await.unwrap(), None);
        assert_eq!(control.shipped("q", "any").await.unwrap(), Shipped::NameTaken(renamed.clone()));
        assert_eq!(control.probes().await.unwrap(), [renamed]);

        control.drop_probe(probe.id).await.unwrap();
        assert!(control.probe_versions(probe.id).await.unwrap().is_empty());
        assert!(matches!(control.drop_probe(probe.id).await, Err(CatalogError::UnknownProbe(_))));
        assert!(matches!(control.replace_probe(probe.id, "v2").await, Err(CatalogError::UnknownProbe(_))));
        let next = control.insert_probe(new).await.unwrap();
        assert!(next.id > probe.id);
        control.remove_probe(next.id).await.unwrap();
        assert!(control.probes().await.unwrap().is_empty());
    });
}
