//! The server's certificate: read at the start or not served at all, and read again when it was renewed.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use parking_lot::RwLock;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest, Sha256, Sha384, Sha512};
use tokio_rustls::TlsAcceptor;

/// The protocol's registered name, by which a client that begins with TLS says what it will speak.
pub const ALPN: &[u8] = b"postgresql";

/// A certificate chain and its key, as files.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The chain in PEM, the server's own certificate first.
    pub certificate: PathBuf,
    /// The key in PEM: PKCS#8, SEC1 or PKCS#1, not encrypted.
    pub key: PathBuf,
}

/// The certificate that is served now.
pub struct Tls {
    files: TlsFiles,
    current: RwLock<Arc<Loaded>>,
}

/// A certificate that was read and fits its key.
pub struct Loaded {
    /// Answers handshakes.
    pub acceptor: TlsAcceptor,
    /// The hash that binds a login to this certificate (RFC 5929, `tls-server-end-point`); `None` when the
    /// certificate's signature has no hash of its own, as Ed25519: then binding is not offered.
    pub end_point: Option<Arc<[u8]>>,
}

impl Tls {
    /// Reads the files; an error says which of them is wrong.
    pub fn open(files: TlsFiles) -> anyhow::Result<Tls> {
        let loaded = load(&files)?;
        Ok(Tls { files, current: RwLock::new(Arc::new(loaded)) })
    }

    /// Reads the files again, for the connections that come from now on. After an error the old certificate stays.
    pub fn reload(&self) -> anyhow::Result<()> {
        let loaded = load(&self.files)?;
        *self.current.write() = Arc::new(loaded);
        Ok(())
    }

    /// What a connection that begins now is served.
    pub fn current(&self) -> Arc<Loaded> {
        Arc::clone(&self.current.read())
    }
}

fn load(files: &TlsFiles) -> anyhow::Result<Loaded> {
    let TlsFiles { certificate, key } = files;
    let name = certificate.display();
    let chain = CertificateDer::pem_slice_iter(&read(certificate)?)
        .collect::<Result<Vec<_>, _>>()
        .with_context(|| format!("the certificate {name} is not PEM"))?;
    let Some(own) = chain.first() else { bail!("there is no certificate in {name}: PEM is wanted") };
    let end_point = end_point(own).with_context(|| format!("the certificate {name} is malformed"))?;
    let key_name = key.display();
    let text = read(key)?;
    ensure!(
        !text.windows(9).any(|word| word == b"ENCRYPTED"),
        "the key {key_name} is encrypted, and there is nobody to ask for its password: decrypt it first"
    );
    let key = PrivateKeyDer::from_pem_slice(&text).map_err(|_| {
        anyhow::anyhow!("there is no private key in {key_name}: PEM as PKCS#8, SEC1 or PKCS#1 is wanted")
    })?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .context("the TLS library has no protocol version")?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .with_context(|| format!("the certificate {name} and the key {key_name} cannot be used together"))?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(Loaded { acceptor: TlsAcceptor::from(Arc::new(config)), end_point })
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// The hash of a certificate by the algorithm of its own signature; MD5 and SHA-1 are replaced by SHA-256.
fn end_point(certificate: &[u8]) -> anyhow::Result<Option<Arc<[u8]>>> {
    let malformed = || anyhow::anyhow!("it is no X.509 certificate");
    // Certificate: a sequence of what was signed, the algorithm, and the signature.
    let (_, body, _) = element(certificate).ok_or_else(malformed)?;
    let (_, _, after_signed) = element(body).ok_or_else(malformed)?;
    let (_, algorithm, _) = element(after_signed).ok_or_else(malformed)?;
    let (tag, identifier, _) = element(algorithm).ok_or_else(malformed)?;
    ensure!(tag == OBJECT_IDENTIFIER, "its signature has no algorithm");
    Ok(match SIGNATURES.iter().find(|(known, _)| *known == identifier).map(|(_, hash)| hash) {
        Some(Hash::Sha256) => Some(Sha256::digest(certificate).to_vec().into()),
        Some(Hash::Sha384) => Some(Sha384::digest(certificate).to_vec().into()),
        Some(Hash::Sha512) => Some(Sha512::digest(certificate).to_vec().into()),
        None => None,
    })
}

/// DER's tag of an object identifier.
const OBJECT_IDENTIFIER: u8 = 6;

enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

/// Algorithms of signatures, as DER writes their identifiers, and the hash that RFC 5929 wants for them.
const SIGNATURES: [(&[u8], Hash); 8] = [
    (b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x04", Hash::Sha256), // RSA with MD5
    (b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x05", Hash::Sha256), // RSA with SHA-1
    (b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b", Hash::Sha256), // RSA with SHA-256
    (b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0c", Hash::Sha384), // RSA with SHA-384
    (b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0d", Hash::Sha512), // RSA with SHA-512
    (b"\x2a\x86\x48\xce\x3d\x04\x03\x02", Hash::Sha256),     // ECDSA with SHA-256
    (b"\x2a\x86\x48\xce\x3d\x04\x03\x03", Hash::Sha384),     // ECDSA with SHA-384
    (b"\x2a\x86\x48\xce\x3d\x04\x03\x04", Hash::Sha512),     // ECDSA with SHA-512
];

/// The first element of DER: its tag, its content, and what comes after it.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
        // Four bytes of length are more than any certificate needs.
        if bytes.is_empty() || bytes.len() > 4 {
            return None;
        }
        (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(certificate: &str, key: &str) -> TlsFiles {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pg/tls");
        TlsFiles { certificate: directory.join(certificate), key: directory.join(key) }
    }

    #[test]
    fn keys_of_every_form_are_read_and_the_hash_is_the_signatures() {
        for (certificate, key, hash_bytes) in [
            ("ec-certificate.pem", "ec-pkcs8-key.pem", Some(32)),
            ("ec-certificate.pem", "ec-sec1-key.pem", Some(32)),
            ("rsa-certificate.pem", "rsa-pkcs8-key.pem", Some(48)),
            ("rsa-certificate.pem", "rsa-pkcs1-key.pem", Some(48)),
            ("ed25519-certificate.pem", "ed25519-key.pem", None),
        ] {
            let loaded = load(&files(certificate, key)).unwrap();
            assert_eq!(loaded.end_point.map(|hash| hash.len()), hash_bytes, "{certificate} {key}");
        }
    }

    #[test]
    fn what_cannot_be_served_is_an_error_that_names_the_file() {
        for (certificate, key, reason) in [
            ("missing.pem", "ec-pkcs8-key.pem", "cannot read"),
            ("ec-pkcs8-key.pem", "ec-pkcs8-key.pem", "there is no certificate in"),
            ("ec-certificate.pem", "ec-certificate.pem", "there is no private key in"),
            ("ec-certificate.pem", "rsa-pkcs8-key.pem", "cannot be used together"),
        ] {
            let error = load(&files(certificate, key)).err().expect("it is refused");
            let error = format!("{error:#}");
            assert!(error.contains(reason) && error.contains(".pem"), "{error}");
        }
    }

    #[test]
    fn no_cut_of_a_certificate_is_one() {
        let path = files("ec-certificate.pem", "ec-sec1-key.pem").certificate;
        let certificate = CertificateDer::from_pem_file(path).unwrap();
        for end in 0..certificate.len() {
            assert!(end_point(&certificate[..end]).is_err(), "cut at {end}");
        }
    }
}
