//! SCRAM-SHA-256 from stored verifiers (RFC 5802, RFC 7677): the server never sees the password.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, Mac};
use probepilot_sql::{SqlError, SqlState};
use sha2::{Digest, Sha256};

use crate::pg::backend::ScramVerifier;

/// What the client and the server agree on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// The password alone.
    Plain,
    /// The password and the server's certificate, so that nobody can stand between the two.
    Plus,
}

impl Mechanism {
    /// Its name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Mechanism::Plain => "SCRAM-SHA-256",
            Mechanism::Plus => "SCRAM-SHA-256-PLUS",
        }
    }
}

/// The one type of channel binding that PostgreSQL's clients know.
const END_POINT_FLAG: &str = "p=tls-server-end-point";

/// An exchange after the client's first message.
pub struct Exchange {
    verifier: ScramVerifier,
    /// The header the client must repeat, and the certificate's hash after it when the login is bound.
    header: Vec<u8>,
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
    /// Reads the client's first message. The answer is [`Exchange::challenge`]. `end_point` is the hash of our certificate
    /// when channel binding was offered.
    pub fn begin(
        client_first: &[u8],
        verifier: ScramVerifier,
        mechanism: Mechanism,
        end_point: Option<&[u8]>,
    ) -> Result<Exchange, SqlError> {
        let message = std::str::from_utf8(client_first).map_err(|_| malformed("The message is not UTF-8."))?;
        // gs2-header: the channel-binding flag, an optional authorisation identity, then the bare message.
        let mut parts = message.splitn(3, ',');
        let (flag, identity, bare) = (parts.next(), parts.next(), parts.next());
        let (Some(flag), Some(identity), Some(bare)) = (flag, identity, bare) else {
            return Err(malformed("The message has no header."));
        };
        match (mechanism, flag) {
            (Mechanism::Plus, END_POINT_FLAG) | (Mechanism::Plain, "n") => {}
            (Mechanism::Plain, "y") if end_point.is_none() => {}
            // The client could bind and believes that we cannot: somebody has taken the offer away.
            (Mechanism::Plain, "y") => {
                let message = "SCRAM channel binding negotiation error";
                return Err(SqlError::new(SqlState::INVALID_AUTHORIZATION, message)
                    .detail("The client can bind its login and was not told that the server can, too."));
            }
            (Mechanism::Plus, flag) if flag.starts_with("p=") => {
                let message = "unsupported SCRAM channel-binding type";
                return Err(SqlError::new(SqlState::PROTOCOL_VIOLATION, message));
            }
            _ => return Err(malformed("The flag for channel binding does not fit the mechanism.")),
        }
        if !identity.is_empty() {
            return Err(malformed("The client asks for another identity."));
        }
        let mut header = format!("{flag},{identity},").into_bytes();
        if mechanism == Mechanism::Plus {
            header.extend(end_point.unwrap_or_default());
        }
        // The user name in the message is empty or ignored, as PostgreSQL does: the startup packet has it.
        let nonce = bare.split(',').find_map(|attribute| attribute.strip_prefix("r="));
        let nonce = nonce.filter(|nonce| !nonce.is_empty()).ok_or_else(|| malformed("The nonce is missing."))?;
        let nonce = format!("{nonce}{}", BASE64.encode(rand::random::<[u8; 18]>()));
        let salt = BASE64.encode(&verifier.salt);
        let server_first = format!("r={nonce},s={salt},i={}", verifier.iterations);
        Ok(Exchange { verifier, header, client_first: bare.to_owned(), server_first, nonce })
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
            header: b"n,,".to_vec(),
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
    fn the_flag_must_fit_the_mechanism_and_the_offer() {
        let begin = |flag: &str, mechanism, end_point: Option<&[u8]>| {
            let first = format!("{flag},,n=,r=nonce");
            let exchange = Exchange::begin(first.as_bytes(), verifier_of("x", b"salt", 1), mechanism, end_point);
            exchange.map(|exchange| exchange.header).map_err(|error| error.state.0)
        };
        let hash: Option<&[u8]> = Some(b"\x01\xff");
        assert_eq!(begin("n", Mechanism::Plain, None), Ok(b"n,,".to_vec()));
        assert_eq!(begin("n", Mechanism::Plain, hash), Ok(b"n,,".to_vec()));
        assert_eq!(begin("y", Mechanism::Plain, None), Ok(b"y,,".to_vec()));
        assert_eq!(begin("y", Mechanism::Plain, hash), Err("28000"));
        let bound = b"p=tls-server-end-point,,\x01\xff".to_vec();
        assert_eq!(begin(END_POINT_FLAG, Mechanism::Plus, hash), Ok(bound));
        for flag in ["p=tls-unique", "n", "y", ""] {
            assert_eq!(begin(flag, Mechanism::Plus, hash), Err("08P01"), "{flag}");
        }
        assert_eq!(begin(END_POINT_FLAG, Mechanism::Plain, hash), Err("08P01"));
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
