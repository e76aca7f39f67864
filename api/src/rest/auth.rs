//! Who asks: a bearer token, or a password (HTTP Basic) where one curl should be enough.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::extract::{ConnectInfo, FromRequestParts, State};
use axum::http::header;
use axum::http::request::Parts;
use base64::Engine as _;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use probepilot_catalog::control::Role;
use serde::{Deserialize, Serialize};

use super::Rest;
use super::problem::Problem;
use crate::directory::DATABASE;
use crate::execute::Who;

/// How long an access token is good.
const ACCESS_SECONDS: u64 = 900;

/// How long a refresh token is good.
const REFRESH_SECONDS: u64 = 7 * 86_400;

/// Signs and reads tokens.
pub struct Tokens {
    encoding: EncodingKey,
    decoding: DecodingKey,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Use {
    Access,
    Refresh,
}

#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    sub: String,
    role: String,
    r#use: Use,
    exp: u64,
}

impl Tokens {
    /// Tokens signed with HMAC-SHA-256 under `key`.
    pub fn new(key: &[u8]) -> Tokens {
        Tokens { encoding: EncodingKey::from_secret(key), decoding: DecodingKey::from_secret(key) }
    }

    fn issue(&self, user: &str, role: Role, r#use: Use, seconds: u64) -> Result<String, Problem> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs());
        let claims = Claims { sub: user.to_owned(), role: role.as_str().to_owned(), r#use, exp: now + seconds };
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.encoding).map_err(|error| {
            Problem::new(axum::http::StatusCode::INTERNAL_SERVER_ERROR, format!("cannot sign a token: {error}"))
        })
    }

    fn read(&self, token: &str, wanted: Use) -> Result<Claims, Problem> {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.leeway = 0;
        let claims = jsonwebtoken::decode::<Claims>(token, &self.decoding, &validation)
            .map_err(|_| Problem::unauthorized("the token is not valid or has expired; log in again"))?
            .claims;
        if claims.r#use == wanted { Ok(claims) } else { Err(Problem::unauthorized("this token is not for that use")) }
    }
}

#[derive(Deserialize)]
pub(super) struct Login {
    username: String,
    password: String,
    tenant: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Refresh {
    refresh_token: String,
}

#[derive(Serialize)]
pub(super) struct LoggedIn {
    access_token: String,
    refresh_token: String,
    token_type: &'static str,
    expires_in: u64,
}

impl Rest {
    fn logged_in(&self, user: &str, role: Role) -> Result<Json<LoggedIn>, Problem> {
        Ok(Json(LoggedIn {
            access_token: self.tokens.issue(user, role, Use::Access, ACCESS_SECONDS)?,
            refresh_token: self.tokens.issue(user, role, Use::Refresh, REFRESH_SECONDS)?,
            token_type: "Bearer",
            expires_in: ACCESS_SECONDS,
        }))
    }

    /// The role of an account whose password is right; failures slow down.
    async fn check_password(&self, address: SocketAddr, user: &str, password: &str) -> Result<Role, Problem> {
        let ip = address.ip().to_string();
        tokio::time::sleep(self.back_off.wait(&ip, user)).await;
        match self.executor.control.verify_password(user, password).await.map_err(probepilot_sql::SqlError::from)? {
            Some(role) => {
                self.back_off.succeeded(&ip, user);
                Ok(role)
            }
            None => {
                self.back_off.failed(&ip, user);
                Err(Problem::unauthorized("wrong user or password; the first account is admin"))
            }
        }
    }

    /// The account's role as it is now: a token outlives neither its account nor a change of role.
    async fn role_now(&self, user: &str) -> Result<Role, Problem> {
        let account = self.executor.control.account(user).await.map_err(probepilot_sql::SqlError::from)?;
        account.map(|account| account.role).ok_or_else(|| Problem::unauthorized("the account does not exist any more"))
    }
}

/// `POST /auth/login`
pub(super) async fn login(
    State(rest): State<Arc<Rest>>,
    ConnectInfo(address): ConnectInfo<SocketAddr>,
    Json(login): Json<Login>,
) -> Result<Json<LoggedIn>, Problem> {
    if login.tenant.as_deref().is_some_and(|tenant| tenant != DATABASE) {
        return Err(Problem::unauthorized(format!("there is no tenant of that name; this server has {DATABASE}")));
    }
    let role = rest.check_password(address, &login.username, &login.password).await?;
    rest.logged_in(&login.username, role)
}

/// `POST /auth/refresh`
pub(super) async fn refresh(
    State(rest): State<Arc<Rest>>,
    Json(refresh): Json<Refresh>,
) -> Result<Json<LoggedIn>, Problem> {
    let claims = rest.tokens.read(&refresh.refresh_token, Use::Refresh)?;
    let role = rest.role_now(&claims.sub).await?;
    rest.logged_in(&claims.sub, role)
}

/// `GET /auth/me`
pub(super) async fn me(Caller(who): Caller) -> Json<serde_json::Value> {
    Json(serde_json::json!({ "username": who.user, "role": who.role.as_str(), "tenant": who.database }))
}

/// The account behind a request. Every route but the public ones takes it as an argument.
pub(super) struct Caller(pub Who);

impl FromRequestParts<Arc<Rest>> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, rest: &Arc<Rest>) -> Result<Caller, Problem> {
        let address = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0);
        let address = address.ok_or_else(|| Problem::bad_request("the connection has no address"))?;
        let text =
            |name: header::HeaderName| parts.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let application_name = text(header::USER_AGENT).unwrap_or_default();
        let given = text(header::AUTHORIZATION).ok_or_else(|| {
            Problem::unauthorized("log in at /api/v1/auth/login and send the token, or use HTTP Basic")
        })?;
        let (user, role) = match given.split_once(' ') {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => {
                let claims = rest.tokens.read(token.trim(), Use::Access)?;
                let role = rest.role_now(&claims.sub).await?;
                (claims.sub, role)
            }
            Some((scheme, encoded)) if scheme.eq_ignore_ascii_case("basic") => {
                let (user, password) =
                    basic(encoded.trim()).ok_or_else(|| Problem::bad_request("the Basic credentials are not valid"))?;
                let role = rest.check_password(address, &user, &password).await?;
                (user, role)
            }
            _ => return Err(Problem::unauthorized("the Authorization header is neither Bearer nor Basic")),
        };
        Ok(Caller(Who { user, role, database: DATABASE.to_owned(), address: address.to_string(), application_name }))
    }
}

fn basic(encoded: &str) -> Option<(String, String)> {
    let decoded = base64::engine::general_purpose::STANDARD.decode(encoded).ok()?;
    let text = String::from_utf8(decoded).ok()?;
    let (user, password) = text.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_for_its_use_and_under_its_key() {
        let tokens = Tokens::new(b"0123456789abcdef0123456789abcdef");
        let token = tokens.issue("admin", Role::Admin, Use::Access, 60).unwrap();
        assert_eq!(tokens.read(&token, Use::Access).unwrap().sub, "admin");
        assert!(tokens.read(&token, Use::Refresh).is_err());
        assert!(Tokens::new(b"another key, another key, another").read(&token, Use::Access).is_err());
    }

    #[test]
    fn basic_credentials_may_hold_colons() {
        let encoded = base64::engine::general_purpose::STANDARD.encode("admin:a:b");
        assert_eq!(basic(&encoded), Some(("admin".to_owned(), "a:b".to_owned())));
        assert_eq!(basic("*"), None);
    }
}
