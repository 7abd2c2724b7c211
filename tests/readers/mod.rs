//! Real engines read the table while it is written: DuckDB with its iceberg extension, and PyIceberg.
//!
//! The clients are Python scripts beside this file, run by the interpreter of `.venv` (`make venv`), which
//! `TEST_PYTHON` names. Each loops over its reads until its standard input closes, holding every answer to what a
//! commit may look like: row counts that only grow and are whole multiples of a request, and never an error. It then
//! reads once more and prints the count.

use std::io::{Read, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::contracts::Shop;
use crate::kit::daemon::{Daemon, lakectl, post};

/// Records of a request; every commit holds whole requests, so that a reader sees only multiples of it.
const REQUEST: usize = 5_000;
const REQUESTS: usize = 20;

/// The interpreter with the clients installed.
pub fn python() -> PathBuf {
    let venv = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(".venv/bin/python");
    let python = std::env::var_os("TEST_PYTHON").map_or(venv, PathBuf::from);
    assert!(python.exists(), "{} is missing: run `make venv`", python.display());
    python
}

/// A reader that loops until it is told to end.
struct Reader(Child);

impl Reader {
    fn start(script: &str, arguments: &[&str]) -> Self {
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/readers").join(script);
        let mut command = Command::new(python());
        command.arg(script).args(arguments).args(["--step", &REQUEST.to_string()]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self(command.spawn().expect("python starts"))
    }

    /// Ends the loop; gives the rows of the last read and how many reads there were.
    fn end(mut self) -> (usize, usize) {
        drop(self.0.stdin.take());
        let (mut out, mut complaint) = (String::new(), String::new());
        self.0.stdout.take().expect("piped").read_to_string(&mut out).expect("text");
        self.0.stderr.take().expect("piped").read_to_string(&mut complaint).expect("text");
        assert!(self.0.wait().expect("ends").success(), "{out}\n{complaint}");
        let numbers: Vec<usize> = out.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        (numbers[0], numbers[1])
    }
}

/// The requests' bodies: a sample of exactly as many readings, in order of arrival.
fn bodies() -> Vec<Vec<u8>> {
    let text = lakectl(&["sample", "cgm", "--users", "60", "--order", "arrival", "--ids", "random"]);
    let lines: Vec<&str> = text.lines().take(REQUEST * REQUESTS).collect();
    assert_eq!(lines.len(), REQUEST * REQUESTS);
    lines.chunks(REQUEST).map(|chunk| (chunk.join("\n") + "\n").into_bytes()).collect()
}

fn feed(daemon: &Daemon) {
    let url = format!("{}/ingest/glucose/cgm_readings?wait=committed", daemon.url);
    for (number, body) in bodies().iter().enumerate() {
        let key = format!("readers-{number}");
        let headers = [("content-type", "application/x-ndjson"), ("idempotency-key", key.as_str())];
        let answer = post(&url, &headers, body).expect("the daemon answers");
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
}

fn read_while_written(script: &str, arguments: impl Fn(&Daemon, &str) -> Vec<String>) {
    let folder = tempfile::tempdir().expect("a folder");
    let lake = folder.path().join("lake");
    let daemon = Daemon::start(&lake).expect("starts");
    let arguments = arguments(&daemon, lake.to_str().expect("UTF-8"));
    let reader = Reader::start(script, &arguments.iter().map(String::as_str).collect::<Vec<_>>());
    feed(&daemon);
    let (rows, reads) = reader.end();
    let _ = std::io::stderr().write_all(format!("{script}: {reads} reads\n").as_bytes());
    assert_eq!(rows, REQUEST * REQUESTS);
    assert!(reads >= 2, "the reader hardly read: {reads} times");
    assert!(daemon.stop());
}

#[test]
fn duckdb_reads_through_the_catalog_while_rows_come_in() {
    read_while_written("duckdb_rest.py", |daemon, _| vec![daemon.url.clone()]);
}

#[test]
fn duckdb_reads_the_folder_while_rows_come_in() {
    read_while_written("duckdb_folder.py", |_, lake| vec![format!("{lake}/warehouse/glucose/cgm_readings")]);
}

#[test]
fn pyiceberg_reads_while_rows_come_in() {
    read_while_written("pyiceberg_rest.py", |daemon, _| vec![daemon.url.clone()]);
}

/// Counted in commits; `make readers` has them write for two minutes, and Trino with them.
#[test]
fn pyiceberg_duckdb_and_laked_write_one_table_at_once() {
    let shop = Shop::open();
    let said = shop.run("readers/writers.py", &["--commits", "12"]);
    let _ = std::io::stderr().write_all(said.as_bytes());
    assert!(said.contains("180 rows in"), "{said}");
    assert!(shop.daemon.stop());
}
