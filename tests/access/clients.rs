//! PyIceberg and DuckDB log in with their standard settings, and do what their role lets them.

use std::process::Command;

use super::{Guarded, Token};
use crate::readers::python;

fn run(guarded: &Guarded, script: &str, writer: &Token, reader: &Token) {
    let script = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/access").join(script);
    let mut command = Command::new(python());
    command.arg(script).args([&guarded.daemon.url, &writer.id, &writer.text, &reader.id, &reader.text]);
    let output =
        command.env("PYTHONPATH", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/readers")).output().expect("runs");
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(output.status.success(), "{said}");
}

fn logs_in(script: &str) {
    let guarded = Guarded::new();
    let writer = guarded.token("writer", &["--namespace", "w"]);
    let reader = guarded.token("reader", &["--namespace", "w"]);
    run(&guarded, script, &writer, &reader);
}

#[test]
fn pyiceberg_logs_in() {
    logs_in("pyiceberg_login.py");
}

#[test]
fn duckdb_logs_in() {
    logs_in("duckdb_login.py");
}
