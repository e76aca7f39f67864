//! Accounts: who may log in, as what.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::password::{self, PASSWORD_BYTES_MAX, ScramVerifier};
use super::{Control, TURNSTILE};
use crate::database::{Transaction, parameters};
use crate::error::CatalogError;

/// What an account may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Everything.
    Admin,
    /// Probes, and all that an analyst may.
    Operator,
    /// Reading.
    Analyst,
    /// Sending rows.
    Ingest,
    /// A collector's own account.
    Node,
}

impl Role {
    /// The word users see and the catalog stores.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Admin => "admin",
            Role::Operator => "operator",
            Role::Analyst => "analyst",
            Role::Ingest => "ingest",
            Role::Node => "node",
        }
    }

    /// The role a word stands for.
    pub fn from_word(word: &str) -> Option<Role> {
        [Role::Admin, Role::Operator, Role::Analyst, Role::Ingest, Role::Node]
            .into_iter()
            .find(|role| role.as_str() == word)
    }

    /// Whether it may create, change and drop probes, and read hooks.
    pub fn may_probe(self) -> bool {
        matches!(self, Role::Admin | Role::Operator)
    }

    /// Whether it may make, change and drop schemas and tables.
    pub fn may_define(self) -> bool {
        matches!(self, Role::Admin | Role::Operator)
    }

    /// Whether it may insert rows.
    pub fn may_insert(self) -> bool {
        matches!(self, Role::Admin | Role::Operator | Role::Ingest)
    }

    /// Whether it may read tables.
    pub fn may_read(self) -> bool {
        matches!(self, Role::Admin | Role::Operator | Role::Analyst)
    }
}

/// An account, without its secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its name.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// When it was created, Unix nanoseconds.
    pub created_at_ns: i64,
}

/// An account made a moment ago, with the password that is told once.
pub struct NewAccount {
    /// Its name.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// Its password: kept nowhere.
    pub password: String,
}

/// The accounts of a first start.
const FIRST_ACCOUNTS: [(&str, Role); 2] = [("admin", Role::Admin), ("grafana", Role::Analyst)];

/// Stands in for the hash of an account that does not exist, so that the answer takes as long.
const NOBODYS_HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5bm9ib2R5bm9ib2R5$\
    1Yh1QqSgmv2iGYcxlHLUfIZqRvhwc2dM3w0fkgNjwqE";

impl Control {
    /// Creates `admin` and `grafana` (an analyst) when there is no account yet, and returns what was created.
    ///
    /// `admin_password` is the password of `admin`; without it, and for `grafana`, it is random.
    pub async fn ensure_first_accounts(&self, admin_password: Option<&str>) -> Result<Vec<NewAccount>, CatalogError> {
        let query = "SELECT 1 FROM pp_account LIMIT 1";
        let mut transaction = self.database.read("look for accounts").await?;
        if transaction.row(query, vec![]).await?.is_some() {
            return Ok(Vec::new());
        }
        drop(transaction);
        let mut created = Vec::new();
        for (name, role) in FIRST_ACCOUNTS {
            let given = admin_password.filter(|_| role == Role::Admin);
            let password = given.map_or_else(password::generate, str::to_owned);
            created.push((
                NewAccount { name: name.to_owned(), role, password: password.clone() },
                self.hash(password).await?,
            ));
        }
        let mut transaction = self.database.write("create the first accounts", TURNSTILE).await?;
        // Another server may have been faster.
        if transaction.row(query, vec![]).await?.is_some() {
            return Ok(Vec::new());
        }
        for (account, hashes) in &created {
            insert(&mut transaction, &account.name, account.role, hashes).await?;
        }
        transaction.commit().await?;
        Ok(created.into_iter().map(|(account, _)| account).collect())
    }

    /// Creates an account.
    pub async fn create_account(&self, name: &str, role: Role, password: &str) -> Result<(), CatalogError> {
        let hashes = self.hash(password.to_owned()).await?;
        let mut transaction = self.database.write("create an account", TURNSTILE).await?;
        let exists = "SELECT 1 FROM pp_account WHERE name = $1";
        if transaction.row(exists, parameters![name]).await?.is_some() {
            return Err(CatalogError::AccountExists(name.to_owned()));
        }
        insert(&mut transaction, name, role, &hashes).await?;
        transaction.commit().await
    }

    /// Gives an account another password; the old one opens nothing from now on.
    pub async fn set_password(&self, name: &str, password: &str) -> Result<(), CatalogError> {
        let Hashes { argon2id, scram } = self.hash(password.to_owned()).await?;
        let mut transaction = self.database.write("set a password", TURNSTILE).await?;
        let update = "UPDATE pp_account SET password_hash = $2, scram_salt = $3, scram_iterations = $4,
            scram_stored_key = $5, scram_server_key = $6, changed_ns = $7 WHERE name = $1";
        let ScramVerifier { salt, iterations, stored_key, server_key } = &scram;
        let (salt, stored_key, server_key) =
            (STANDARD.encode(salt), STANDARD.encode(stored_key), STANDARD.encode(server_key));
        let values =
            parameters![name, argon2id, salt, i64::from(*iterations), stored_key, server_key, super::probes::now_ns()];
        if transaction.execute(update, values).await? == 0 {
            return Err(CatalogError::UnknownAccount(name.to_owned()));
        }
        transaction.commit().await
    }

    /// Every account, by name.
    pub async fn accounts(&self) -> Result<Vec<Account>, CatalogError> {
        let mut transaction = self.database.read("read the accounts").await?;
        let rows = transaction.rows("SELECT name, role, created_ns FROM pp_account ORDER BY name", vec![]).await?;
        rows.iter().map(|row| account(row.get(0)?, &row.get::<String>(1)?, row.get(2)?)).collect()
    }

    /// The account of this name.
    pub async fn account(&self, name: &str) -> Result<Option<Account>, CatalogError> {
        let mut transaction = self.database.read("read an account").await?;
        let query = "SELECT name, role, created_ns FROM pp_account WHERE name = $1";
        let row = transaction.row(query, parameters![name]).await?;
        row.map(|row| account(row.get(0)?, &row.get::<String>(1)?, row.get(2)?)).transpose()
    }

    /// The account's role when the password is right; `None` for a wrong password and for an unknown name, after the
    /// same time.
    pub async fn verify_password(&self, name: &str, password: &str) -> Result<Option<Role>, CatalogError> {
        let mut transaction = self.database.read("read an account").await?;
        let query = "SELECT role, password_hash FROM pp_account WHERE name = $1";
        let row = transaction.row(query, parameters![name]).await?;
        drop(transaction);
        let (role, hash) = match row {
            Some(row) => (Some(known_role(&row.get::<String>(0)?)?), row.get::<String>(1)?),
            None => (None, NOBODYS_HASH.to_owned()),
        };
        if password.len() > PASSWORD_BYTES_MAX {
            return Ok(None);
        }
        let password = password.to_owned();
        let is_right = self.computed(move || password::is_right(&password, &hash)).await;
        Ok(role.filter(|_| is_right))
    }

    /// What the Postgres door checks a login of this account with.
    pub async fn scram_verifier(&self, name: &str) -> Result<Option<ScramVerifier>, CatalogError> {
        let mut transaction = self.database.read("read an account").await?;
        let query = "SELECT scram_salt, scram_iterations, scram_stored_key, scram_server_key
                     FROM pp_account WHERE name = $1";
        let Some(row) = transaction.row(query, parameters![name]).await? else { return Ok(None) };
        let damaged = || CatalogError::Corrupt(format!("the stored password of account \"{name}\" is damaged"));
        let bytes = |index| STANDARD.decode(row.get::<String>(index)?).map_err(|_| damaged());
        Ok(Some(ScramVerifier {
            salt: bytes(0)?,
            iterations: u32::try_from(row.get::<i64>(1)?).map_err(|_| damaged())?,
            stored_key: bytes(2)?.try_into().map_err(|_| damaged())?,
            server_key: bytes(3)?.try_into().map_err(|_| damaged())?,
        }))
    }

    async fn hash(&self, password: String) -> Result<Hashes, CatalogError> {
        if password.is_empty() || password.len() > PASSWORD_BYTES_MAX {
            let text = format!("a password must have 1 to {PASSWORD_BYTES_MAX} bytes");
            return Err(CatalogError::InvalidPassword(text));
        }
        let hashes = move || Ok(Hashes { argon2id: password::hash(&password)?, scram: ScramVerifier::new(&password) });
        self.computed(hashes).await
    }

    /// Runs what takes a core for long, a few at a time, beside the runtime's own threads.
    async fn computed<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let permit = Arc::clone(&self.hashing).acquire_owned().await.expect("the semaphore is never closed");
        let working = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work()
        });
        working.await.expect("hashing neither panics nor is cancelled")
    }
}

/// Both forms in which a password is kept.
struct Hashes {
    argon2id: String,
    scram: ScramVerifier,
}

async fn insert(transaction: &mut Transaction, name: &str, role: Role, hashes: &Hashes) -> Result<(), CatalogError> {
    let Hashes { argon2id, scram: ScramVerifier { salt, iterations, stored_key, server_key } } = hashes;
    let (salt, stored_key, server_key) =
        (STANDARD.encode(salt), STANDARD.encode(stored_key), STANDARD.encode(server_key));
    let (iterations, now_ns) = (i64::from(*iterations), super::probes::now_ns());
    let argon2id = argon2id.as_str();
    let row = parameters![name, role.as_str(), argon2id, salt, iterations, stored_key, server_key, now_ns, now_ns];
    let into = "pp_account (name, role, password_hash, scram_salt, scram_iterations, scram_stored_key,
        scram_server_key, created_ns, changed_ns)";
    transaction.insert(into, vec![row]).await
}

fn account(name: String, role: &str, created_at_ns: i64) -> Result<Account, CatalogError> {
    Ok(Account { name, role: known_role(role)?, created_at_ns })
}

fn known_role(word: &str) -> Result<Role, CatalogError> {
    Role::from_word(word).ok_or_else(|| CatalogError::Corrupt(format!("an account has the unknown role \"{word}\"")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_name_is_answered_after_a_whole_hash() {
        let hash = argon2::password_hash::phc::PasswordHash::new(NOBODYS_HASH).expect("it is a hash");
        let cost = argon2::Params::try_from(&hash).unwrap();
        let default = argon2::Params::default();
        assert_eq!(
            (cost.m_cost(), cost.t_cost(), cost.p_cost()),
            (default.m_cost(), default.t_cost(), default.p_cost())
        );
        assert_eq!(hash.hash.map(|output| output.len()), Some(argon2::Params::DEFAULT_OUTPUT_LEN));
    }
}
