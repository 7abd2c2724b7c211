//! Who gets in: tokens, roles, TLS, logins of real clients, and a log that holds no secret.

#![allow(clippy::disallowed_methods, reason = "a client is no part of the product")]

mod clients;
mod issuer;
mod limits;
mod locations;
mod tls;
mod walk;

use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::kit::daemon::{Answer, Daemon, arguments, binary, lakectl};

/// A daemon that asks for tokens.
struct Guarded {
    folder: TempDir,
    daemon: Daemon,
}

/// A token: its id, and its text.
struct Token {
    id: String,
    text: String,
}

impl Guarded {
    fn new() -> Guarded {
        Guarded::with(&[])
    }

    /// The same with settings as variables, `("TLS_KEY", "…")`.
    fn with(settings: &[(&str, &str)]) -> Guarded {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut command = Command::new(binary("laked"));
        command.args(arguments(&folder.path().join("lake"))).env("LAKED_ACCESS_TOKENS", "always");
        for (name, value) in settings {
            command.env(format!("LAKED_{name}"), value);
        }
        let daemon = Daemon::spawn(command).expect("the daemon starts");
        Guarded { folder, daemon }
    }

    fn lake(&self) -> String {
        self.folder.path().join("lake").to_str().expect("UTF-8").to_owned()
    }

    /// A token made in the lake itself, as the first one is.
    fn token(&self, role: &str, more: &[&str]) -> Token {
        let lake = self.lake();
        let words = ["token", "create", "--lake", &lake, "--output", "json", "--role", role];
        let made: Value = serde_json::from_str(&lakectl(&[&words, more].concat())).expect("JSON");
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        Token { id: text(&made["info"]["id"]), text: text(&made["token"]) }
    }

    fn send(&self, method: &str, path: &str, token: Option<&str>, body: &Value) -> Answer {
        send(&format!("{}{path}", self.daemon.url), method, token, body)
    }

    /// Ends it and gives all that it logged.
    fn log(self) -> String {
        let id = self.daemon.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().expect("kill").success());
        self.daemon.wait()
    }
}

/// Sends a request with any method.
fn send(url: &str, method: &str, token: Option<&str>, body: &Value) -> Answer {
    let config = ureq::Agent::config_builder().http_status_as_error(false).allow_non_standard_methods(true).build();
    let mut request = ureq::http::Request::builder().method(method).uri(url).header("content-type", "application/json");
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let request = request.body(body.to_string()).expect("a request");
    let mut response = ureq::Agent::new_with_config(config).run(request).expect("an answer");
    let body = response.body_mut().read_to_string().expect("text");
    Answer { status: response.status().as_u16(), headers: response.headers().clone(), body }
}

/// Runs `lakectl` with a token in its environment; gives whether it ended well, and all it said.
fn lakectl_as(token: Option<&str>, words: &[&str]) -> (bool, String) {
    let mut command = Command::new(binary("lakectl"));
    command.args(words).env_remove("LAKECTL_TOKEN");
    if let Some(token) = token {
        command.env("LAKECTL_TOKEN", token);
    }
    let output = command.output().expect("lakectl starts");
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    (output.status.success(), said)
}

#[test]
fn without_a_token_everything_is_open_on_this_machine_and_the_first_one_closes_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let lake = folder.path().join("lake");
    let daemon = Daemon::start(&lake).expect("starts");
    let config = format!("{}/v1/config", daemon.url);
    assert_eq!(send(&config, "GET", None, &Value::Null).status, 200);
    assert_eq!(send(&config, "GET", Some("None"), &Value::Null).status, 200, "PyIceberg says so");
    let text = lakectl(&["--url", &daemon.url, "token", "create", "--role", "admin"]).trim().to_owned();
    assert_eq!(send(&config, "GET", None, &Value::Null).status, 401, "at once");
    assert_eq!(send(&config, "GET", Some(&text), &Value::Null).status, 200);
    assert!(daemon.stop());
    let daemon = Daemon::start(&lake).expect("starts again");
    let config = format!("{}/v1/config", daemon.url);
    assert_eq!(send(&config, "GET", None, &Value::Null).status, 401, "after a restart too");
    assert_eq!(send(&config, "GET", Some(&text), &Value::Null).status, 200);
}

#[test]
fn it_does_not_listen_beyond_this_machine_without_tls_or_a_word() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = Command::new(binary("laked"));
    command.arg("--lake").arg(folder.path().join("lake")).args(["--listen", "192.0.2.1:0"]);
    let output = command.output().expect("runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(said.contains("tls.certificate") && said.contains("--insecure"), "{said}");
    assert!(!folder.path().join("lake").exists(), "nothing is begun");
}

#[test]
fn lakectl_sends_its_token_and_tells_what_is_missing() {
    let guarded = Guarded::new();
    let url = guarded.daemon.url.clone();
    let writer = guarded.token("writer", &["--namespace", "glucose"]);
    let file = guarded.folder.path().join("token");
    std::fs::write(&file, format!("{}\n", writer.text)).expect("writes");
    let file = file.to_str().expect("UTF-8");
    let record = guarded.folder.path().join("one.ndjson");
    let line = lakectl(&["sample", "cgm", "--users", "1"]);
    std::fs::write(&record, line.lines().next().expect("a line").to_owned() + "\n").expect("writes");
    let ingest = ["--url", &url, "ingest", "glucose.cgm_readings", record.to_str().expect("UTF-8"), "--wait"];
    let (well, said) = lakectl_as(None, &ingest);
    assert!(!well && said.contains("token"), "{said}");
    let (well, said) = lakectl_as(None, &[&ingest[..], &["--token-file", file]].concat());
    assert!(well, "{said}");
    let count = ["--url", &url, "query", "--format", "csv", "select count(*) n from glucose.cgm_readings"];
    let (well, said) = lakectl_as(Some(&writer.text), &count);
    assert!(well && said.contains("\n1\n"), "{said}");
    let (well, said) = lakectl_as(Some(&writer.text), &["--url", &url, "token", "list"]);
    assert!(!well && said.contains("admin"), "{said}");
    let (well, said) = lakectl_as(None, &["--url", &url, "health"]);
    assert!(well && said.contains("ready"), "no token is needed: {said}");
    let admin = guarded.token("admin", &[]);
    let (well, said) = lakectl_as(Some(&admin.text), &["--url", &url, "token", "revoke", &writer.id]);
    assert!(well, "{said}");
    assert!(!lakectl_as(Some(&writer.text), &count).0, "revoked, at once");
}

#[test]
fn each_change_is_in_the_log_and_no_secret_is() {
    let guarded = Guarded::with(&[("LOG_LEVEL", "trace")]);
    let writer = guarded.token("writer", &["--namespace", "glucose"]);
    let form = format!("grant_type=client_credentials&client_id={}&client_secret={}", writer.id, writer.text);
    let url = format!("{}/v1/oauth/tokens", guarded.daemon.url);
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    let login = crate::kit::daemon::post(&url, &headers, form.as_bytes()).expect("an answer");
    let login: Value = serde_json::from_str(&login.body).expect("JSON");
    let session = login["access_token"].as_str().expect("a session").to_owned();
    let create = |level: &str| json!({ "namespace": ["glucose", level] });
    assert_eq!(guarded.send("POST", "/v1/namespaces", Some(&session), &create("x")).status, 200);
    assert_eq!(guarded.send("POST", "/v1/namespaces", Some(&writer.text), &json!({ "namespace": ["y"] })).status, 403);
    let forged = format!("{}0", &writer.text[..writer.text.len() - 1]);
    guarded.send("POST", "/v1/namespaces", Some(&forged), &create("z"));
    let admin = guarded.token("admin", &[]);
    let made = guarded.send("POST", "/access/tokens", Some(&admin.text), &json!({ "role": "reader" }));
    let made: Value = serde_json::from_str(&made.body).expect("JSON");
    let made = made["token"].as_str().expect("a token").to_owned();
    let id = writer.id.clone();
    let log = guarded.log();
    let line = log.lines().find(|line| line.contains("glucose.x")).expect("the change is logged");
    for part in ["audit", &id, "127.0.0.1:", "POST", "/v1/namespaces", "200"] {
        assert!(line.contains(part), "{part}: {line}");
    }
    assert!(log.lines().any(|line| line.contains("/access/tokens") && line.contains(&admin.id)), "{log}");
    for secret in [&writer.text, &admin.text, &session, &made, &forged] {
        let (_, hidden) = secret.rsplit_once('_').expect("a secret part");
        assert!(!log.contains(&hidden[..32]), "a secret is in the log");
    }
}
