//! REST with curl: a login, queries in both forms, probes made and removed, errors as problems.

use std::process::Command;

use serde_json::{Value, json};

use crate::support::{Server, wait_until};

/// A client of one server.
struct Client<'a> {
    server: &'a Server,
    /// curl's way to say who asks.
    credentials: Vec<String>,
}

struct Answer {
    status: u16,
    content_type: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error} in {}", self.body))
    }
}

impl Client<'_> {
    /// Nobody.
    fn anonymous(server: &Server) -> Client<'_> {
        Client { server, credentials: Vec::new() }
    }

    /// `admin` by password.
    fn admin(server: &Server) -> Client<'_> {
        let password = server.password("admin");
        Client { server, credentials: vec!["-u".to_owned(), format!("admin:{password}")] }
    }

    fn call(&self, method: &str, path: &str, headers: &[&str], body: Option<&Value>) -> Answer {
        let url = format!("http://{}/api/v1{path}", self.server.address("http"));
        let mut curl = Command::new("curl");
        curl.args(["-s", "-X", method, "-w", "\n%{http_code} %{content_type}"]).args(&self.credentials).arg(url);
        for header in headers {
            curl.args(["-H", header]);
        }
        if let Some(body) = body {
            curl.args(["-H", "content-type: application/json", "--data-binary", &body.to_string()]);
        }
        let output = curl.output().expect("curl is there: xtask test installs it");
        let text = String::from_utf8(output.stdout).unwrap();
        let (body, end) = text.rsplit_once('\n').unwrap();
        let (status, content_type) = end.split_once(' ').unwrap();
        Answer { status: status.parse().unwrap(), content_type: content_type.to_owned(), body: body.to_owned() }
    }

    fn query(&self, sql: &str) -> Answer {
        self.call("POST", "/queries", &[], Some(&json!({ "sql": sql })))
    }
}

#[test]
fn health_and_info_need_no_login_and_everything_else_does() {
    let server = Server::without_probes();
    let client = Client::anonymous(&server);
    assert_eq!(client.call("GET", "/health", &[], None).json()["status"], "ok");
    assert_eq!(client.call("GET", "/info", &[], None).json()["name"], "probepilot");
    for (method, path) in [("GET", "/probes"), ("POST", "/queries"), ("GET", "/auth/me"), ("DELETE", "/probes/1")] {
        let answer = client.call(method, path, &[], Some(&json!({ "sql": "SELECT 1" })));
        assert_eq!((answer.status, answer.content_type.as_str()), (401, "application/problem+json"), "{method} {path}");
    }
    assert_eq!(client.call("GET", "/nothing", &[], None).status, 404);
}

#[test]
fn a_token_from_login_opens_the_routes_and_a_wrong_password_does_not() {
    let server = Server::without_probes();
    let mut client = Client::anonymous(&server);
    let wrong = json!({ "username": "admin", "password": "wrong" });
    assert_eq!(client.call("POST", "/auth/login", &[], Some(&wrong)).status, 401);
    let right = json!({ "username": "admin", "password": server.password("admin") });
    let tokens = client.call("POST", "/auth/login", &[], Some(&right)).json();
    assert_eq!(tokens["token_type"], "Bearer");
    let bearer = format!("Authorization: Bearer {}", tokens["access_token"].as_str().unwrap());
    client.credentials = vec!["-H".to_owned(), bearer];
    assert_eq!(client.call("GET", "/auth/me", &[], None).json()["role"], "admin");
    let refresh = format!("Authorization: Bearer {}", tokens["refresh_token"].as_str().unwrap());
    client.credentials = vec!["-H".to_owned(), refresh];
    assert_eq!(client.call("GET", "/auth/me", &[], None).status, 401, "a refresh token is no access token");
}

#[test]
fn a_query_answers_in_json_with_its_columns_and_in_ndjson() {
    let server = Server::without_probes();
    let client = Client::admin(&server);
    let answer = client.query("SELECT 1::bigint AS n, 'x' AS t, NULL::text AS nothing").json();
    assert_eq!(answer["columns"][0], json!({ "name": "n", "type": "bigint" }));
    assert_eq!(answer["rows"], json!([[1, "x", null]]));
    assert_eq!(answer["row_count"], 1);
    let request = json!({ "sql": "SELECT $1::bigint + 1 AS n", "params": [41] });
    assert_eq!(client.call("POST", "/queries", &[], Some(&request)).json()["rows"], json!([[42]]));
    let limited = json!({ "sql": "SELECT * FROM generate_series(1, 100)", "limit": 3 });
    let answer = client.call("POST", "/queries", &[], Some(&limited)).json();
    assert_eq!((&answer["row_count"], &answer["truncated"]), (&json!(3), &json!(true)));
    let series = json!({ "sql": "SELECT generate_series AS n FROM generate_series(1, 3)" });
    let answer = client.call("POST", "/queries", &["Accept: application/x-ndjson"], Some(&series));
    assert_eq!(answer.content_type, "application/x-ndjson");
    assert_eq!(answer.body.lines().collect::<Vec<_>>(), ["{\"n\":1}", "{\"n\":2}", "{\"n\":3}"]);
}

#[test]
fn wrong_sql_is_a_problem_with_sqlstate_and_position() {
    let server = Server::without_probes();
    let client = Client::admin(&server);
    for (sql, status, sqlstate, position) in [
        ("SELECT nope FROM system.tables", 400, "42703", json!(8)),
        ("SELECT * FROM nope", 404, "42P01", json!(15)),
        ("SELEC 1", 400, "42601", json!(1)),
    ] {
        let answer = client.query(sql);
        assert_eq!((answer.status, answer.content_type.as_str()), (status, "application/problem+json"), "{sql}");
        let problem = answer.json();
        assert_eq!((problem["sqlstate"].as_str(), &problem["position"]), (Some(sqlstate), &position), "{problem}");
    }
    assert_eq!(client.call("POST", "/queries", &[], Some(&json!({ "sequel": "SELECT 1" }))).status, 422);
}

#[test]
fn kernel_a_probe_is_made_listed_and_removed() {
    let Some(server) = Server::with_probes("") else { return };
    let client = Client::admin(&server);
    let request =
        json!({ "name": "rest_execs", "query": "SELECT pid, comm, filename FROM tracepoint.sched_process_exec" });
    let made = client.call("POST", "/probes", &[], Some(&request));
    assert_eq!(made.status, 201, "{}", made.body);
    let probe = made.json();
    assert_eq!((probe["name"].as_str(), probe["state"].as_str()), (Some("rest_execs"), Some("running")));
    assert_eq!(client.call("POST", "/probes", &[], Some(&request)).status, 409, "the name is taken");
    let wrong = json!({ "name": "wrong", "query": "SELECT nope FROM tracepoint.sched_process_exec" });
    assert_eq!(client.call("POST", "/probes", &[], Some(&wrong)).json()["sqlstate"], "42703");
    wait_until("a row of the probe", || {
        Command::new("true").status().unwrap();
        let rows =
            client.query("SELECT count(*) FROM rest_execs WHERE filename LIKE '%true'").json()["rows"][0][0].clone();
        if rows.as_i64() > Some(0) { Ok(()) } else { Err(rows.to_string()) }
    });
    let removed = client.call("DELETE", &format!("/probes/{}?with_data=true", probe["id"]), &[], None);
    assert_eq!(removed.status, 204, "{}", removed.body);
    let names = client.call("GET", "/probes", &[], None).json()["probes"].to_string();
    assert!(!names.contains("rest_execs"), "{names}");
    assert_eq!(client.query("SELECT * FROM rest_execs").json()["sqlstate"], "42P01");
}

#[test]
fn an_analyst_reads_but_makes_no_probe() {
    let server = Server::without_probes();
    let password = server.password("grafana");
    let client = Client { server: &server, credentials: vec!["-u".to_owned(), format!("grafana:{password}")] };
    assert_eq!(client.query("SELECT 1").status, 200);
    let request = json!({ "sql": "CREATE PROBE x AS SELECT comm FROM tracepoint.sched_process_exec" });
    let answer = client.call("POST", "/probes", &[], Some(&request));
    assert_eq!((answer.status, answer.json()["sqlstate"].as_str()), (403, Some("42501")));
    assert_eq!(client.query("SELECT comm FROM tracepoint.sched_process_exec LIMIT 1").status, 403);
}
