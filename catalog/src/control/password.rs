//! Passwords as hashes: argon2id for doors that receive the password, SCRAM-SHA-256 for the Postgres door, which does
//! not.

use argon2::Argon2;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use hmac::{Hmac, Mac};
use rand::Rng;
use rand::distr::Alphanumeric;
use sha2::{Digest, Sha256};

use crate::error::CatalogError;

/// PostgreSQL's default: clients compute as many, and some cap them.
const SCRAM_ITERATIONS: u32 = 4096;

/// Longer passwords would let a stranger make us hash megabytes.
pub(super) const PASSWORD_BYTES_MAX: usize = 1024;

/// Letters and digits of a generated password: 142 bits.
const GENERATED_CHARACTERS: usize = 24;

/// What a server needs to check a SCRAM-SHA-256 login, and with which nobody can log in.
#[derive(Clone, PartialEq, Eq)]
pub struct ScramVerifier {
    /// Random bytes of this password.
    pub salt: Vec<u8>,
    /// How often the hash is repeated.
    pub iterations: u32,
    /// Proves that the client knows the password.
    pub stored_key: [u8; 32],
    /// Proves to the client that the server knows it.
    pub server_key: [u8; 32],
}

impl ScramVerifier {
    /// The verifier of a password with fresh salt.
    pub(super) fn new(password: &str) -> ScramVerifier {
        ScramVerifier::with_salt(password, rand::random::<[u8; 16]>().to_vec(), SCRAM_ITERATIONS)
    }

    fn with_salt(password: &str, salt: Vec<u8>, iterations: u32) -> ScramVerifier {
        // What cannot be prepared is taken as it is, as PostgreSQL does on both sides.
        let prepared = stringprep::saslprep(password).map_or(password.into(), |prepared| prepared);
        let password = prepared.as_bytes();
        // RFC 5802's Hi(): PBKDF2 with one block.
        let mut block = keyed_hash(password, &[&salt[..], &1_u32.to_be_bytes()].concat());
        let mut salted = block;
        for _ in 1..iterations {
            block = keyed_hash(password, &block);
            for (byte, mask) in salted.iter_mut().zip(block) {
                *byte ^= mask;
            }
        }
        ScramVerifier {
            salt,
            iterations,
            stored_key: Sha256::digest(keyed_hash(&salted, b"Client Key")).into(),
            server_key: keyed_hash(&salted, b"Server Key"),
        }
    }
}

fn keyed_hash(key: &[u8], text: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(text);
    mac.finalize().into_bytes().into()
}

/// A password nobody guesses, of letters and digits, so that it needs no quoting in files and URLs.
pub(super) fn generate() -> String {
    rand::rng().sample_iter(Alphanumeric).take(GENERATED_CHARACTERS).map(char::from).collect()
}

/// The argon2id hash in its text form, which holds salt and cost. Takes a core for tens of milliseconds.
pub(super) fn hash(password: &str) -> Result<String, CatalogError> {
    let hashed = Argon2::default().hash_password(password.as_bytes());
    hashed.map(|hash| hash.to_string()).map_err(|error| CatalogError::InvalidPassword(error.to_string()))
}

/// Whether a hash is this password's. Takes as long as [`hash`].
pub(super) fn is_right(password: &str, hash: &str) -> bool {
    Argon2::default().verify_password(password.as_bytes(), hash).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verifier_is_the_one_of_the_standard() {
        // RFC 7677, section 3: the client's proof opens with the stored key, the server's signature with the server key.
        let salt = base64_of("W22ZaJ0SNY7soEsUEjb6gQ==");
        let verifier = ScramVerifier::with_salt("pencil", salt, 4096);
        let auth_message = "n=user,r=rOprNGfwEbeRWgbNEkqO,\
            r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,\
            c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let proof = base64_of("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=");
        let signature = keyed_hash(&verifier.stored_key, auth_message.as_bytes());
        let client_key: Vec<u8> = proof.iter().zip(signature).map(|(proof, mask)| proof ^ mask).collect();
        assert_eq!(<[u8; 32]>::from(Sha256::digest(client_key)), verifier.stored_key);
        let server_signature = base64_of("6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
        assert_eq!(keyed_hash(&verifier.server_key, auth_message.as_bytes()).to_vec(), server_signature);
    }

    fn base64_of(text: &str) -> Vec<u8> {
        use base64::Engine;
        base64::engine::general_purpose::STANDARD.decode(text).unwrap()
    }

    #[test]
    fn the_hash_is_argon2id_and_opens_for_its_password_only() {
        let hash = hash("correct horse").unwrap();
        assert!(hash.starts_with("$argon2id$"), "{hash}");
        assert!(is_right("correct horse", &hash));
        assert!(!is_right("correct horsE", &hash));
        assert!(!is_right("correct horse", "not a hash"));
    }
}
