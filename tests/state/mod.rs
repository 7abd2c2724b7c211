//! The catalog's state through the binaries: several daemons over one PostgreSQL, a daemon killed within commits, requests
//! that come again, tables that come back, and a database backed up, lost and made again.

mod kill;
mod protocol;

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::kit::daemon::{Answer, Daemon, arguments, binary, get, lakectl, post};
use crate::kit::postgres::PostgresServer;

const JSON: [(&str, &str); 1] = [("Content-Type", "application/json")];

/// A daemon without contracts of its own, so that the catalog is all there is.
fn command(lake: &Path, options: &[&str]) -> Vec<std::ffi::OsString> {
    let schemas = lake.with_extension("schemas");
    std::fs::create_dir_all(&schemas).expect("makes a folder");
    let own = ["--schemas".into(), schemas.into_os_string()];
    arguments(lake).into_iter().chain(own).chain(options.iter().map(Into::into)).collect()
}

fn start(lake: &Path, options: &[&str]) -> Daemon {
    let mut laked = Command::new(binary("laked"));
    laked.args(command(lake, options));
    Daemon::spawn(laked).expect("starts")
}

fn sent(url: &str, path: &str, body: &str) -> Result<Answer, String> {
    post(&format!("{url}/v1/{path}"), &JSON, body.as_bytes())
}

fn create(url: &str, table: &str) {
    let answer = sent(url, "namespaces", r#"{"namespace":["n"]}"#).expect("answers");
    assert!(matches!(answer.status, 200 | 409), "{answer:?}");
    let fields = r#"[{"id":1,"name":"id","required":true,"type":"long"}]"#;
    let body = format!(r#"{{"name":"{table}","schema":{{"type":"struct","fields":{fields}}}}}"#);
    let answer = sent(url, "namespaces/n/tables", &body).expect("answers");
    assert_eq!(answer.status, 200, "{answer:?}");
}

fn set(url: &str, table: &str, key: &str, value: &str) -> Result<Answer, String> {
    let updates = format!(r#"[{{"action":"set-properties","updates":{{"{key}":"{value}"}}}}]"#);
    sent(url, &format!("namespaces/n/tables/{table}"), &format!(r#"{{"requirements":[],"updates":{updates}}}"#))
}

fn loaded(url: &str, table: &str) -> Value {
    let answer = get(&format!("{url}/v1/namespaces/n/tables/{table}")).expect("answers");
    assert_eq!(answer.status, 200, "{answer:?}");
    serde_json::from_str(&answer.body).expect("JSON")
}

/// Runs `lakectl` where it may fail.
fn tried(arguments: &[&str]) -> (Option<i32>, String) {
    let Output { status, stderr, .. } =
        Command::new(binary("lakectl")).args(arguments).output().expect("lakectl starts");
    (status.code(), String::from_utf8_lossy(&stderr).into_owned())
}

#[test]
fn two_daemons_over_one_postgresql_lose_no_commit_and_serve_nothing_old() {
    const COMMITS: usize = 25;
    let server = PostgresServer::start();
    let folder = tempfile::tempdir().expect("a temporary folder");
    // Each keeps its tables in its own warehouse, and is allowed the other's.
    let (url, both) = (server.url(), format!("file://{}", folder.path().display()));
    let options = ["--database", &url, "--allow-location", &both];
    let daemons = ["a", "b"].map(|name| start(&folder.path().join(name), &options));
    create(&daemons[0].url, "t");
    std::thread::scope(|scope| {
        for (d, url) in daemons.iter().map(|daemon| daemon.url.as_str()).enumerate() {
            scope.spawn(move || {
                for n in 0..COMMITS {
                    let key = format!("k{d}-{n}");
                    // 409: the other was faster; nothing of ours is there.
                    while let 409 = set(url, "t", &key, "set").expect("answers").status {}
                    let seen = loaded(url, "t");
                    assert_eq!(seen["metadata"]["properties"][&key], "set", "what it answered for, it shows");
                }
            });
        }
    });
    let [a, b] = daemons.each_ref().map(|daemon| loaded(&daemon.url, "t"));
    assert_eq!(a, b);
    assert_eq!(a["metadata"]["properties"].as_object().map(serde_json::Map::len), Some(2 * COMMITS));
    assert_eq!(set(&daemons[1].url, "t", "last", "b").expect("answers").status, 200);
    assert_eq!(loaded(&daemons[0].url, "t")["metadata"]["properties"]["last"], "b", "at once, on the other");
}

#[test]
#[allow(clippy::disallowed_methods, reason = "the database is lost")]
fn a_catalog_is_backed_up_restored_checked_and_made_again() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let lake = folder.path().join("lake");
    let (at, backup) = (lake.to_str().expect("UTF-8"), folder.path().join("b.backup"));
    let file = backup.to_str().expect("UTF-8");
    let daemon = start(&lake, &[]);
    create(&daemon.url, "old");
    let said = lakectl(&["--lake", at, "catalog", "backup", file]);
    assert_eq!(said, "backed up: 1 namespaces, 1 tables and views\n", "beside the daemon");
    assert_eq!(tried(&["--lake", at, "catalog", "backup", file]).0, Some(2), "not over another file");
    create(&daemon.url, "new");
    assert_eq!(set(&daemon.url, "old", "k", "v").expect("answers").status, 200);
    let before = ["old", "new"].map(|table| loaded(&daemon.url, table));
    for verb in [vec!["restore", file], vec!["rebuild"]] {
        let (code, said) = tried(&[vec!["--lake", at, "catalog"], verb].concat());
        assert!(code == Some(1) && said.contains("stop it first"), "{code:?} {said}");
    }
    assert!(lakectl(&["--lake", at, "catalog", "check"]).contains("agree"));
    assert!(daemon.stop());

    let (code, said) = tried(&["--lake", at, "catalog", "restore", file]);
    assert!(code == Some(1) && said.contains("--force"), "{code:?} {said}");
    lakectl(&["--lake", at, "catalog", "restore", "--force", file]);
    let (code, _) = tried(&["--lake", at, "catalog", "check"]);
    assert_eq!(code, Some(1), "the warehouse is ahead of the backup");

    for end in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(lake.join(format!("catalog.db{end}")));
    }
    let dry = lakectl(&["--lake", at, "--output", "json", "catalog", "rebuild", "--dry-run"]);
    assert!(!lake.join("catalog.db").exists(), "a look makes nothing");
    assert_eq!(lakectl(&["--lake", at, "--output", "json", "catalog", "rebuild"]), dry);
    let found: Value = serde_json::from_str(&dry).expect("JSON");
    assert_eq!(found["found"].as_array().map(Vec::len), Some(2), "{dry}");
    assert!(lakectl(&["--lake", at, "catalog", "check"]).contains("agree"));
    let daemon = start(&lake, &[]);
    assert_eq!(["old", "new"].map(|table| loaded(&daemon.url, table)), before);
}
