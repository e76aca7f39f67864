//! Named values that outlive a restart.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{Control, TURNSTILE};
use crate::database::{Transaction, parameters};
use crate::error::CatalogError;

/// Name of the key that signs tokens.
const SIGNING_KEY: &str = "signing_key";

/// Name of the last probe id that was given.
const PROBE_ID: &str = "probe_id";

/// As HMAC-SHA-256 wants it.
const SIGNING_KEY_BYTES: usize = 32;

impl Control {
    /// The value of a setting.
    pub async fn setting(&self, name: &str) -> Result<Option<String>, CatalogError> {
        let mut transaction = self.database.read("read a setting").await?;
        get(&mut transaction, name).await
    }

    /// Sets a value.
    pub async fn set_setting(&self, name: &str, value: &str) -> Result<(), CatalogError> {
        let mut transaction = self.database.write("store a setting", TURNSTILE).await?;
        set(&mut transaction, name, value).await?;
        transaction.commit().await
    }

    /// The value of a setting; when it has none, `value` from now on. Whoever asks at the same time gets the same.
    pub async fn setting_or(&self, name: &str, value: &str) -> Result<String, CatalogError> {
        let mut transaction = self.database.write("store a setting", TURNSTILE).await?;
        if let Some(stored) = get(&mut transaction, name).await? {
            return Ok(stored);
        }
        set(&mut transaction, name, value).await?;
        transaction.commit().await?;
        Ok(value.to_owned())
    }

    /// The key that signs tokens, 32 random bytes made at the first call.
    pub async fn signing_key(&self) -> Result<Vec<u8>, CatalogError> {
        let fresh = STANDARD.encode(rand::random::<[u8; SIGNING_KEY_BYTES]>());
        let stored = self.setting_or(SIGNING_KEY, &fresh).await?;
        let key = STANDARD.decode(stored).ok().filter(|key| key.len() == SIGNING_KEY_BYTES);
        key.ok_or_else(|| CatalogError::Corrupt("the stored key that signs tokens is damaged".into()))
    }
}

/// An id that no probe had before.
pub(super) async fn next_probe_id(transaction: &mut Transaction) -> Result<i64, CatalogError> {
    let last = match get(transaction, PROBE_ID).await? {
        None => 0,
        Some(text) => {
            text.parse().map_err(|_| CatalogError::Corrupt(format!("the last probe id \"{text}\" is no number")))?
        }
    };
    let next: i64 = last + 1;
    set(transaction, PROBE_ID, &next.to_string()).await?;
    Ok(next)
}

async fn get(transaction: &mut Transaction, name: &str) -> Result<Option<String>, CatalogError> {
    let row = transaction.row("SELECT value FROM pp_setting WHERE name = $1", parameters![name]).await?;
    row.map(|row| row.get(0)).transpose()
}

async fn set(transaction: &mut Transaction, name: &str, value: &str) -> Result<(), CatalogError> {
    let upsert = "INSERT INTO pp_setting (name, value) VALUES ($1, $2)
                  ON CONFLICT (name) DO UPDATE SET value = excluded.value";
    transaction.execute(upsert, parameters![name, value]).await?;
    Ok(())
}
