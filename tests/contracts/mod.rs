//! Contracts and other engines: PyIceberg as the foreign client.
//!
//! A commit that would break a contract is answered with 409, why, and how to do it instead; layout changes pass, and
//! ingestion follows them while it runs. Rows that a foreign engine wrote against the rules are found by the audit.

#![allow(clippy::disallowed_methods, reason = "who writes contracts is no part of the product")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::kit::daemon::{Daemon, arguments, binary, post};
use crate::readers::python;

const CONTRACT: &str = r#"
[table]
partition = ["month(at)"]
sort = ["id"]

[fields]
id = { type = "long", required = true }
n = { type = "int", range = [0, 100] }
name = { type = "string", required = true, length = [1, 8] }
price = { type = "decimal(9,2)", range = { above = 0 } }
at = { type = "timestamptz", required = true }
"#;

/// A daemon whose tables are of small contracts.
pub struct Shop {
    folder: tempfile::TempDir,
    pub daemon: Daemon,
}

impl Shop {
    /// Starts it on an empty lake.
    pub fn open() -> Shop {
        let folder = tempfile::tempdir().expect("a folder");
        let schemas = folder.path().join("schemas/shop");
        std::fs::create_dir_all(&schemas).expect("a folder");
        for table in ["orders", "returns", "drafts"] {
            std::fs::write(schemas.join(format!("{table}.toml")), CONTRACT).expect("a contract");
        }
        std::fs::write(schemas.join("audited.toml"), format!("{CONTRACT}key = \"uuid\"\n")).expect("a contract");
        let mut command = Command::new(binary("laked"));
        command.args(arguments(&folder.path().join("lake"))).arg("--schemas").arg(folder.path().join("schemas"));
        Shop { daemon: Daemon::spawn(command).expect("starts"), folder }
    }

    /// Runs a script of a client; gives what it printed.
    pub fn run(&self, script: &str, more: &[&str]) -> String {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(script);
        let output =
            Command::new(python()).arg(script).arg(&self.daemon.url).args(more).output().expect("python starts");
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "{}\n{}", said(&output.stdout), said(&output.stderr));
        said(&output.stdout)
    }

    fn schemas(&self) -> PathBuf {
        self.folder.path().join("schemas")
    }

    /// The exit code of an audit, and its answer.
    fn audit(&self, more: &[&str]) -> (Option<i32>, Value, String) {
        let mut command = Command::new(binary("lakectl"));
        command.args(["--url", &self.daemon.url, "contract", "audit", "shop.audited", "--output", "json", "--schemas"]);
        let Output { status, stdout, stderr } =
            command.arg(self.schemas()).args(more).output().expect("lakectl starts");
        let said = String::from_utf8_lossy(&stderr).into_owned();
        (status.code(), serde_json::from_slice(&stdout).unwrap_or_default(), said)
    }

    fn send(&self, rows: &[Value]) {
        let body: String = rows.iter().map(|row| format!("{row}\n")).collect();
        let url = format!("{}/ingest/shop/audited?wait=committed", self.daemon.url);
        let answer = post(&url, &[("content-type", "application/x-ndjson")], body.as_bytes()).expect("answers");
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
}

fn order(id: u32) -> Value {
    json!({
        "id": id, "n": id % 100, "name": format!("n{id}"), "price": 1.5, "at": "2026-01-15T00:00:00Z",
        "key": "eb26bdb1-a1d8-4aa6-990e-da940875492c",
    })
}

#[test]
fn foreign_commits_are_held_to_the_contract_and_may_change_the_layout() {
    let shop = Shop::open();
    shop.run("contracts/guard.py", &[]);
    shop.daemon.await_log("a commit breaks the contract");
    assert!(shop.daemon.stop());
}

#[test]
fn the_audit_finds_what_other_engines_wrote_against_the_rules() {
    let shop = Shop::open();
    shop.send(&(0..50).map(order).collect::<Vec<_>>());
    let (code, clean, said) = shop.audit(&[]);
    assert_eq!((code, &clean["rows"], &clean["broken_rows"]), (Some(0), &json!(50), &json!(0)), "{said}");
    let before = clean["snapshot_id"].to_string();
    shop.run("contracts/foreign_rows.py", &[]);
    let (code, found, said) = shop.audit(&["--samples", "2"]);
    assert_eq!((code, &found["rows"], &found["broken_rows"]), (Some(1), &json!(56), &json!(4)), "{found} {said}");
    let rules: Vec<(&str, &str, u64)> = found["rules"]
        .as_array()
        .expect("rules")
        .iter()
        .map(|rule| (rule["field"].as_str(), rule["code"].as_str(), rule["rows"].as_u64()))
        .map(|(field, code, rows)| (field.expect("a field"), code.expect("a code"), rows.expect("rows")))
        .collect();
    assert_eq!(rules, [("n", "range", 3), ("name", "length", 1), ("price", "range", 1)]);
    let sample = &found["rules"][0]["samples"][0];
    let file = sample["file"].as_str().expect("a file");
    assert!(Path::new(file).exists() && found["rules"][0]["samples"].as_array().expect("samples").len() == 2);
    assert!(sample["detail"].as_str().is_some_and(|detail| detail.contains("0 to 100")), "{sample}");
    assert_eq!(shop.audit(&["--at", &before]).0, Some(0), "the snapshot before is clean");
    let (code, ..) = shop.audit(&["--contract", "/none.toml"]);
    assert_eq!(code, Some(2));
    shop.run("contracts/delete_foreign_rows.py", &[]);
    let (code, clean, said) = shop.audit(&[]);
    assert_eq!((code, &clean["rows"]), (Some(0), &json!(50)), "deleted rows do not count: {said}");
    assert!(shop.daemon.stop());
}
