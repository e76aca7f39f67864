//! Encryption: who gets it, who must have it, and what binds a login to the certificate.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use probepilot_api::pg::tls::{ALPN, Tls, TlsFiles};
use probepilot_api::pg::{DoorOptions, TlsPolicy};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::backend::PASSWORD;
use crate::drivers;
use crate::raw::{self, Raw, error, query, startup};
use crate::server::Server;

const SSL_REQUEST: &[u8] = b"\0\0\0\x08\x04\xd2\x16\x2f";
const GSS_REQUEST: &[u8] = b"\0\0\0\x08\x04\xd2\x16\x30";
const LOGIN: [(&str, &str); 2] = [("user", "admin"), ("database", "probepilot")];

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pg/tls").join(name)
}

fn tls(certificate: &str, key: &str) -> Arc<Tls> {
    Arc::new(Tls::open(TlsFiles { certificate: file(certificate), key: file(key) }).unwrap())
}

async fn server(policy: TlsPolicy) -> Server {
    let options = DoorOptions { tls: policy, ..DoorOptions::default() };
    Server::with_tls(options, Some(tls("ec-certificate.pem", "ec-sec1-key.pem"))).await
}

/// The handshake of a client that believes `root` alone.
async fn handshake(stream: TcpStream, root: &Path, alpn: &[&[u8]]) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(root).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    TlsConnector::from(Arc::new(config)).connect("localhost".try_into().unwrap(), stream).await
}

async fn dial(server: &Server) -> TcpStream {
    TcpStream::connect(server.address).await.unwrap()
}

async fn answer(stream: &mut TcpStream) -> u8 {
    stream.read_u8().await.unwrap()
}

/// A connection that asked for encryption and got it.
async fn encrypted(server: &Server) -> Raw {
    let mut stream = dial(server).await;
    stream.write_all(SSL_REQUEST).await.unwrap();
    assert_eq!(answer(&mut stream).await, b'S');
    Raw::over(handshake(stream, &file("ec-certificate.pem"), &[]).await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_asks_is_encrypted_and_offered_binding() {
    let server = server(TlsPolicy::Optional).await;
    let mut raw = encrypted(&server).await;
    raw.send(&startup(196_608, &LOGIN)).await;
    let reply = raw.next().await.unwrap();
    assert_eq!((reply.kind, &reply.body[..]), (b'R', &b"\0\0\0\x0aSCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0"[..]));
    // Without encryption there is nothing to bind to.
    let mut raw = Raw::over(dial(&server).await);
    raw.send(&startup(196_608, &LOGIN)).await;
    assert_eq!(&raw.next().await.unwrap().body[..], b"\0\0\0\x0aSCRAM-SHA-256\0\0");
    // A second request inside of the encryption is no startup packet.
    let mut raw = encrypted(&server).await;
    raw.send(SSL_REQUEST).await;
    assert_eq!(error(&raw.until_ready().await), "0A000");
}

#[tokio::test(flavor = "multi_thread")]
async fn gssapi_is_declined_and_tls_may_follow() {
    let server = server(TlsPolicy::Optional).await;
    let mut stream = dial(&server).await;
    stream.write_all(GSS_REQUEST).await.unwrap();
    assert_eq!(answer(&mut stream).await, b'N');
    stream.write_all(SSL_REQUEST).await.unwrap();
    assert_eq!(answer(&mut stream).await, b'S');
    handshake(stream, &file("ec-certificate.pem"), &[ALPN]).await.unwrap();
    // A door without a certificate says no, and goes on in the clear.
    let plain = Server::start().await;
    let mut stream = dial(&plain).await;
    stream.write_all(SSL_REQUEST).await.unwrap();
    assert_eq!(answer(&mut stream).await, b'N');
    let mut raw = Raw::over(stream);
    raw.send(&startup(196_608, &LOGIN)).await;
    assert_eq!(raw.next().await.unwrap().kind, b'R');
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_from_the_first_byte_needs_the_protocols_name() {
    let server = server(TlsPolicy::Required).await;
    let root = file("ec-certificate.pem");
    let mut raw = Raw::over(handshake(dial(&server).await, &root, &[ALPN]).await.unwrap());
    raw.send(&startup(196_608, &LOGIN)).await;
    assert_eq!(raw.next().await.unwrap().kind, b'R');
    let mut raw = Raw::over(handshake(dial(&server).await, &root, &[]).await.unwrap());
    assert_eq!(error(&raw.until_ready().await), "08P01");
    // Another protocol's client is refused in the handshake.
    let mut browser = match handshake(dial(&server).await, &root, &[b"h2"]).await {
        Ok(stream) => Raw::over(stream),
        Err(_) => return,
    };
    assert!(browser.next().await.is_none(), "a client of HTTP was let in");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_before_the_handshake_is_refused() {
    let server = server(TlsPolicy::Optional).await;
    for request in [SSL_REQUEST, GSS_REQUEST] {
        let mut raw = Raw::over(dial(&server).await);
        raw.send(&[request, &startup(196_608, &LOGIN)].concat()).await;
        assert_eq!(error(&raw.until_ready().await), "08P01");
        assert!(raw.next().await.is_none());
    }
    // Noise instead of a handshake ends this connection and no other.
    let mut stream = dial(&server).await;
    stream.write_all(SSL_REQUEST).await.unwrap();
    assert_eq!(answer(&mut stream).await, b'S');
    stream.write_all(&startup(196_608, &LOGIN)).await.unwrap();
    let mut rest = Vec::new();
    // Closing with unread bytes may look like a reset.
    let _ = stream.read_to_end(&mut rest).await;
    assert!(!rest.contains(&b'R') || rest.first() == Some(&0x15), "only an alert: {rest:?}");
    encrypted(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn required_means_everybody_but_the_unix_socket() {
    let server = server(TlsPolicy::Required).await;
    let mut raw = Raw::over(dial(&server).await);
    raw.send(&startup(196_608, &LOGIN)).await;
    let replies = raw.until_ready().await;
    assert_eq!(error(&replies), "28000");
    assert!(replies[0].field(b'H').unwrap().contains("sslmode=require"));
    let (mut raw, _) = Raw::login(&server).await;
    assert_eq!(raw::firsts(&raw.query("SELECT 1").await), ["1"]);
    let mut raw = encrypted(&server).await;
    raw.send(&startup(196_608, &LOGIN)).await;
    assert_eq!(raw.next().await.unwrap().kind, b'R');
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_request_may_be_encrypted() {
    let server = server(TlsPolicy::Required).await;
    let (mut raw, replies) = Raw::login(&server).await;
    let key = replies.iter().find(|reply| reply.kind == b'K').unwrap().body.clone();
    raw.send(&query("SHOW HOOKS")).await;
    raw.next().await.unwrap();
    let mut other = encrypted(&server).await;
    other.send(&[b"\0\0\0\x10\x04\xd2\x16\x2e", &key[..]].concat()).await;
    assert!(other.next().await.is_none(), "a cancel request has no answer");
    assert_eq!(error(&raw.until_ready().await), "57014");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_certificate_is_served_and_a_broken_one_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let files = TlsFiles { certificate: directory.path().join("c.pem"), key: directory.path().join("k.pem") };
    let put = |certificate: &str, key: &str| {
        std::fs::copy(file(certificate), &files.certificate).unwrap();
        std::fs::copy(file(key), &files.key).unwrap();
    };
    put("ec-certificate.pem", "ec-pkcs8-key.pem");
    let tls = Arc::new(Tls::open(files.clone()).unwrap());
    let server = Server::with_tls(DoorOptions::default(), Some(Arc::clone(&tls))).await;
    let believes = async |root: &str| handshake(dial(&server).await, &file(root), &[ALPN]).await.is_ok();
    assert!(believes("ec-certificate.pem").await);
    put("rsa-certificate.pem", "ec-pkcs8-key.pem");
    assert!(tls.reload().is_err());
    assert!(believes("ec-certificate.pem").await);
    put("rsa-certificate.pem", "rsa-pkcs1-key.pem");
    tls.reload().unwrap();
    assert!(believes("rsa-certificate.pem").await);
    assert!(!believes("ec-certificate.pem").await);
}

/// Whether psql, which must find the certificate right and bind its login to it, is let in.
async fn psql_binds(certificate: &str, key: &str, binding: &str) -> Option<bool> {
    let server = Server::with_tls(DoorOptions::default(), Some(tls(certificate, key))).await;
    let mut command = Command::new("psql");
    let (port, root) = (server.address.port(), file(certificate));
    let place = format!("host=localhost hostaddr=127.0.0.1 port={port} user=admin dbname=probepilot");
    let tls = format!("sslmode=verify-full sslrootcert={} channel_binding={binding}", root.display());
    command.args(["-XAt", "-c", "SELECT 6 * 7", &format!("{place} {tls}")]).env("PGPASSWORD", PASSWORD);
    let output = match tokio::task::spawn_blocking(move || command.output()).await.unwrap() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            println!("skipped: needs psql");
            return None;
        }
        output => output.unwrap(),
    };
    Some(output.stdout == b"42\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn psql_binds_its_login_to_the_certificate() {
    for (certificate, key, binding, let_in) in [
        ("ec-certificate.pem", "ec-pkcs8-key.pem", "require", true),
        ("rsa-certificate.pem", "rsa-pkcs1-key.pem", "require", true),
        ("ec-certificate.pem", "ec-pkcs8-key.pem", "disable", true),
        // A signature without a hash cannot be bound to.
        ("ed25519-certificate.pem", "ed25519-key.pem", "prefer", true),
        ("ed25519-certificate.pem", "ed25519-key.pem", "require", false),
    ] {
        if let Some(was_let_in) = psql_binds(certificate, key, binding).await {
            assert_eq!(was_let_in, let_in, "{certificate} {binding}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn drivers_connect_with_either_negotiation() {
    let certificate = file("ec-certificate.pem");
    let root = certificate.display();
    let program = format!(
        r#"
for negotiation in ("postgres", "direct"):
    with psycopg.connect(dsn, sslmode="verify-full", host="localhost", hostaddr="127.0.0.1", sslrootcert="{root}",
                         sslnegotiation=negotiation, channel_binding="require") as c:
        assert c.pgconn.used_password and c.pgconn.ssl_in_use
        assert c.execute("SELECT count(*) FROM generate_series(1, 200000)").fetchone() == (200000,)
        assert sum(r[0] for r in c.execute("SELECT value FROM generate_series(1, 200000)")) == 200000 * 200001 // 2
"#
    );
    drivers::check_on(server(TlsPolicy::Required).await, "psycopg", &program).await;
    let program = format!(
        r#"
import asyncio, ssl
async def main():
    trust = ssl.create_default_context(cafile="{root}")
    c = await asyncpg.connect(host="localhost", port=port, user="admin", password=password, database="probepilot", ssl=trust)
    assert await c.fetchval("SELECT $1::bigint", 42) == 42
    try:
        await c.fetch("SELECT count(*) FROM generate_series(1, 100000000000)", timeout=0.3)
        raise SystemExit("no timeout")
    except asyncio.TimeoutError:
        pass
    assert await c.fetchval("SELECT 7::bigint") == 7
    await c.close()
asyncio.run(main())
"#
    );
    drivers::check_on(server(TlsPolicy::Required).await, "asyncpg", &program).await;
}
