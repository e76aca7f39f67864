//! SCRAM-SHA-256 from stored verifiers (RFC 5802, RFC 7677): the server never sees the password.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, Mac};
use probepilot_sql::{SqlError, SqlState};
use sha2::{Digest, Sha256};

use crate::pg::backend::ScramVerifier;

/// The mechanism's name on the wire. Channel binding needs TLS and is not offered without it.
pub const MECHANISM: &str = "SCRAM-SHA-256";

/// An exchange after the client's first message.
pub struct Exchange {
    verifier: ScramVerifier,
    /// The header the client must repeat.
    header: String,
    client_first: String,
    server_first: String,
    nonce: String,
}

/// HMAC-SHA-256.
pub fn hmac(key: &[u8], text: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(text);
    mac.finalize().into_bytes().into()
}

fn malformed(detail: &str) -> SqlError {
    SqlError::new(SqlState::PROTOCOL_VIOLATION, "malformed SCRAM message").detail(detail)
}

impl Exchange {
    /// Reads the client's first message. The answer is [`Exchange::challenge`].
    pub fn begin(client_first: &[u8], verifier: ScramVerifier) -> Result<Exchange, SqlError> {
        let message = std::str::from_utf8(client_first).map_err(|_| malformed("The message is not UTF-8."))?;
        // gs2-header: the channel-binding flag, an optional authorisation identity, then the bare message.
        let mut parts = message.splitn(3, ',');
        let (flag, identity, bare) = (parts.next(), parts.next(), parts.next());
        let (Some(flag), Some(identity), Some(bare)) = (flag, identity, bare) else {
            return Err(malformed("The message has no header."));
        };
        if flag.starts_with("p=") {
            return Err(malformed("The client asks for channel binding, which was not offered."));
        }
        if !matches!(flag, "n" | "y") || !identity.is_empty() {
            return Err(malformed("The header is not one that was offered."));
        }
        // The user name in the message is empty or ignored, as PostgreSQL does: the startup packet has it.
        let nonce = bare.split(',').find_map(|attribute| attribute.strip_prefix("r="));
        let nonce = nonce.filter(|nonce| !nonce.is_empty()).ok_or_else(|| malformed("The nonce is missing."))?;
        let nonce = format!("{nonce}{}", BASE64.encode(rand::random::<[u8; 18]>()));
        let salt = BASE64.encode(&verifier.salt);
        let server_first = format!("r={nonce},s={salt},i={}", verifier.iterations);
        Ok(Exchange {
            verifier,
            header: format!("{flag},{identity},"),
            client_first: bare.to_owned(),
            server_first,
            nonce,
        })
    }

    /// What the client must answer to.
    pub fn challenge(&self) -> &str {
        &self.server_first
    }

    /// Checks the client's proof. `Ok(None)` means that the password is wrong; otherwise the server's own proof.
    pub fn finish(&self, client_final: &[u8]) -> Result<Option<String>, SqlError> {
        let message = std::str::from_utf8(client_final).map_err(|_| malformed("The message is not UTF-8."))?;
        let (without_proof, proof) = message.rsplit_once(",p=").ok_or_else(|| malformed("The proof is missing."))?;
        let attribute = |prefix| without_proof.split(',').find_map(|attribute| attribute.strip_prefix(prefix));
        if attribute("c=") != Some(BASE64.encode(&self.header).as_str()) {
            return Err(malformed("The channel-binding check failed."));
        }
        if attribute("r=") != Some(self.nonce.as_str()) {
            return Err(malformed("The nonce does not match."));
        }
        let proof = BASE64.decode(proof).map_err(|_| malformed("The proof is not base64."))?;
        let proof: [u8; 32] = proof.try_into().map_err(|_| malformed("The proof has a wrong length."))?;
        let exchange = format!("{},{},{without_proof}", self.client_first, self.server_first);
        let signature = hmac(&self.verifier.stored_key, exchange.as_bytes());
        let mut client_key = proof;
        client_key.iter_mut().zip(signature).for_each(|(byte, mask)| *byte ^= mask);
        let stored_key: [u8; 32] = Sha256::digest(client_key).into();
        // Every byte is compared, so that the time says nothing.
        let difference = stored_key.iter().zip(self.verifier.stored_key).fold(0, |sum, (a, b)| sum | (a ^ b));
        let server_signature = hmac(&self.verifier.server_key, exchange.as_bytes());
        Ok((difference == 0).then(|| format!("v={}", BASE64.encode(server_signature))))
    }
}

/// A verifier that no password fits, always the same for the same name, so that an account that does not exist looks
/// like one that does.
pub fn mock_verifier(secret: &[u8; 32], user: &str) -> ScramVerifier {
    ScramVerifier {
        salt: hmac(secret, user.as_bytes())[..16].to_vec(),
        iterations: 4096,
        stored_key: rand::random(),
        server_key: rand::random(),
    }
}

/// The verifier of a password, for tests.
#[cfg(test)]
pub fn verifier_of(password: &str, salt: &[u8], iterations: u32) -> ScramVerifier {
    let mut block = hmac(password.as_bytes(), &[salt, &[0, 0, 0, 1]].concat());
    let mut salted = block;
    for _ in 1..iterations {
        block = hmac(password.as_bytes(), &block);
        salted.iter_mut().zip(block).for_each(|(byte, mask)| *byte ^= mask);
    }
    ScramVerifier {
        salt: salt.to_vec(),
        iterations,
        stored_key: Sha256::digest(hmac(&salted, b"Client Key")).into(),
        server_key: hmac(&salted, b"Server Key"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // The example of RFC 7677, section 3: user "user", password "pencil".
    const SALT: &str = "W22ZaJ0SNY7soEsUEjb6gQ==";
    const CLIENT_FIRST: &str = "n=user,r=rOprNGfwEbeRWgbNEkqO";
    const NONCE: &str = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";

    fn example(password: &str) -> Exchange {
        let verifier = verifier_of(password, &BASE64.decode(SALT).unwrap(), 4096);
        Exchange {
            verifier,
            header: "n,,".to_owned(),
            client_first: CLIENT_FIRST.to_owned(),
            server_first: format!("r={NONCE},s={SALT},i=4096"),
            nonce: NONCE.to_owned(),
        }
    }

    #[test]
    fn the_example_of_the_standard_is_accepted() {
        let client_final = format!("c=biws,r={NONCE},p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=");
        let proof = example("pencil").finish(client_final.as_bytes()).unwrap();
        assert_eq!(proof.as_deref(), Some("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="));
        assert_eq!(example("pencils").finish(client_final.as_bytes()).unwrap(), None);
    }

    #[test]
    fn a_changed_nonce_or_header_is_refused() {
        for wrong in ["c=biws,r=x,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=", "c=eSws,r=,p=", "", "c=biws"] {
            assert!(example("pencil").finish(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_unknown_account_keeps_its_salt() {
        let secret = [7; 32];
        assert_eq!(mock_verifier(&secret, "eve").salt, mock_verifier(&secret, "eve").salt);
        assert_ne!(mock_verifier(&secret, "eve").salt, mock_verifier(&secret, "bob").salt);
    }
}
