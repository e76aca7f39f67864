//! Wrong input: each refusal says what is wrong, with the SQLSTATE PostgreSQL gives.

use std::net::TcpListener;
use std::process::Command;

use crate::support::Server;

#[test]
fn a_second_server_on_the_same_directory_is_refused_and_the_first_goes_on() {
    let first = Server::without_probes();
    let Err(ended) = Server::try_start(first.data_dir(), &["--no-probes"]) else { panic!("a second server started") };
    assert!(!ended.status.success());
    assert!(ended.printed.contains(&first.pid().to_string()), "the holder is not named in:\n{}", ended.printed);
    assert_eq!(first.psql("SELECT 1"), "1");
}

#[test]
fn a_taken_port_is_named_with_its_holder() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let directory = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_probepilot"))
        .args([
            "serve",
            "--no-probes",
            "--http-listen",
            "127.0.0.1:0",
            "--grpc-listen",
            "127.0.0.1:0",
            "--pg-listen",
            &address,
        ])
        .arg("--data-dir")
        .arg(directory.path())
        .output()
        .unwrap();
    assert!(!output.status.success());
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(complaint.contains(&address) && complaint.contains(&std::process::id().to_string()), "{complaint}");
}

#[test]
fn a_certificate_that_cannot_be_used_stops_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let files = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pg/tls");
    let (certificate, wrong) = (files.join("ec-certificate.pem"), files.join("rsa-pkcs8-key.pem"));
    let tls = ["--no-probes", "--tls-cert", certificate.to_str().unwrap(), "--tls-key"];
    for (key, reason) in
        [(wrong.to_str().unwrap(), "cannot be used together"), ("/nowhere.pem", "cannot read /nowhere.pem")]
    {
        let Err(ended) = Server::try_start(directory.path(), &[&tls[..], &[key]].concat()) else {
            panic!("a server without a usable certificate serves");
        };
        assert!(!ended.status.success() && ended.printed.contains(reason), "{}", ended.printed);
    }
    let right = directory.path().join("key.pem");
    std::fs::copy(files.join("ec-sec1-key.pem"), &right).unwrap();
    let server = Server::start(directory.path(), &[&tls[..], &[right.to_str().unwrap(), "--tls", "required"]].concat());
    let port = server.address("postgres").port();
    let place = format!("host=localhost hostaddr=127.0.0.1 port={port} user=admin dbname=probepilot");
    let connect = |mode: &str| {
        let tls = format!(
            "sslmode={mode} sslrootcert={} passfile={}",
            certificate.display(),
            server.passfile("admin").display()
        );
        let output =
            Command::new("psql").args(["-XAt", "-c", "SELECT 42", &format!("{place} {tls}")]).output().unwrap();
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(connect("verify-full").0, "42\n");
    let complaint = connect("disable").1;
    assert!(complaint.contains("this server lets clients in over TLS only"), "{complaint}");
    // The files are read again: a key that is broken by now leaves the old one.
    std::fs::write(&right, "no key").unwrap();
    server.signal(libc::SIGHUP);
    for _ in 0..100 {
        if server.printed().contains("the certificate was not renewed") {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    assert!(server.printed().contains("there is no private key in"), "{}", server.printed());
    assert_eq!(connect("verify-full").0, "42\n");
}

#[test]
fn a_wrong_password_an_unknown_user_and_an_unknown_database_are_refused_as_postgresql_does() {
    let server = Server::without_probes();
    let address = server.address("postgres");
    let complaint = |url: &str| {
        let output =
            Command::new("psql").args(["-X", "-w", "-c", "SELECT 1", url]).env("PGPASSWORD", "wrong").output().unwrap();
        assert_eq!(output.status.code(), Some(2), "psql says that it did not connect");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    for user in ["admin", "nobody_here"] {
        let complaint = complaint(&format!("postgresql://{user}@{address}/probepilot"));
        assert!(complaint.contains(&format!("password authentication failed for user \"{user}\"")), "{complaint}");
    }
    let passfile = server.passfile("admin");
    let output = Command::new("psql")
        .args(["-X", "-w", "-c", "SELECT 1"])
        .arg(format!("postgresql://admin@{address}/elsewhere?passfile={}", passfile.display()))
        .output()
        .unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(complaint.contains("database \"elsewhere\" does not exist"), "{complaint}");
}

#[test]
fn errors_of_statements_carry_postgresqls_codes() {
    let server = Server::without_probes();
    for (sql, code) in [
        ("SELECT * FROM no_such_table", "42P01"),
        ("SELECT no_such_column FROM system.processes", "42703"),
        ("SELECT no_such_function(1)", "42883"),
        ("SELEC 1", "42601"),
        ("SELECT 1/0", "22012"),
        ("SELECT 'a'::int", "22P02"),
    ] {
        let complaint = server.psql_error(sql);
        assert!(complaint.contains(&format!("ERROR:  {code}:")), "{sql}: {complaint}");
    }
}

#[test]
fn a_misspelt_hook_or_column_names_the_nearest_ones() {
    let server = Server::without_probes();
    if !crate::support::may_attach() {
        return;
    }
    let complaint = server.psql_error("CREATE PROBE p AS SELECT pid FROM tracepoint.sys_enter_opnat");
    assert!(complaint.contains("42P01") && complaint.contains("sys_enter_openat"), "{complaint}");
    let complaint = server.psql_error("CREATE PROBE p AS SELECT filname FROM tracepoint.sys_enter_openat");
    assert!(complaint.contains("42703") && complaint.contains("filename"), "{complaint}");
    let complaint = server
        .psql_error("CREATE PROBE p AS\nSELECT comm, median(pid) AS m FROM tracepoint.sys_enter_openat GROUP BY 1");
    assert!(complaint.contains("0A000") && complaint.contains("LINE 2"), "{complaint}");
    assert_eq!(server.psql("SELECT count(*) FROM system.probes WHERE name = 'p'"), "0");
}
