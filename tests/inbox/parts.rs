//! `atomic = "parts"`: a large file appears as it is read, and a death in its middle loses and doubles nothing.

#![allow(clippy::disallowed_methods, reason = "a user of the inbox is no part of the product")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use super::{drop_into, write_contract};
use crate::kit::daemon::{Daemon, binary, lakectl};

const TABLE: &str = "parts.numbers";
const CONTRACT: &str = "[table]\nversion = 1\natomic = \"parts\"\n\n[fields]\nn = { type = \"long\", required = true }\n\
                        text = \"string\"\n";
/// Four batches.
const RECORDS: u64 = 200_000;

fn lines() -> String {
    let mut text = String::new();
    for n in 0..RECORDS {
        let _ = writeln!(text, "{{\"n\":{n},\"text\":\"number {n} of {RECORDS}\"}}");
    }
    text
}

/// A daemon that commits whatever it has read; under strace it dies at its n-th rename.
fn start(folder: &Path, dies_at: Option<u64>) -> Result<Daemon, String> {
    let lake = folder.join("lake");
    let mut command = match dies_at {
        None => Command::new(binary("laked")),
        Some(nth) => {
            let mut command = Command::new("strace");
            command.args(["-D", "-f", "-qq", "-o", "/dev/null", "-e", "trace=rename,renameat2", "-e"]);
            command.arg(format!("inject=rename,renameat2:signal=KILL:when={nth}")).arg(binary("laked"));
            command
        }
    };
    command.arg("--lake").arg(lake).args(["--listen", "127.0.0.1:0", "--commit-age", "1ms"]);
    command.arg("--schemas").arg(folder.join("schemas"));
    Daemon::spawn(command)
}

/// Rows, and distinct numbers.
fn counts(folder: &Path) -> (u64, u64) {
    let lake = folder.join("lake");
    let sql = format!("select count(*) as rows, count(distinct n) as numbers from {TABLE}");
    let found = lakectl(&["--lake", lake.to_str().expect("UTF-8"), "query", "--format", "csv", &sql]);
    let (rows, numbers) = found.lines().nth(1).and_then(|line| line.split_once(',')).expect("two numbers");
    (rows.parse().expect("rows"), numbers.parse().expect("numbers"))
}

#[test]
fn a_death_between_parts_loses_and_doubles_nothing() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    write_contract(folder.path(), TABLE, CONTRACT);
    assert!(start(folder.path(), None).expect("starts").stop(), "it makes the table and ends well");
    drop_into(folder.path(), TABLE, "numbers.ndjson", lines().as_bytes());
    let done = folder.path().join("lake/done").join(TABLE).join("numbers.ndjson");
    let mut seen = BTreeSet::new();
    for nth in 1.. {
        assert!(nth < 200, "it gets no further: {seen:?}");
        if start(folder.path(), Some(nth)).is_ok_and(|daemon| daemon.until_ended(|| done.exists())) {
            break;
        }
        let (rows, numbers) = counts(folder.path());
        assert_eq!(rows, numbers, "none twice, at death {nth}");
        seen.insert(rows);
    }
    assert_eq!(counts(folder.path()), (RECORDS, RECORDS));
    assert!(seen.iter().any(|&rows| 0 < rows && rows < RECORDS), "parts were seen before the file was done: {seen:?}");
}

#[test]
fn a_file_that_turns_out_bad_says_how_much_of_it_is_in_the_table() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    write_contract(folder.path(), TABLE, CONTRACT);
    let daemon = start(folder.path(), None).expect("starts");
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(0));
    packed.write_all(lines().as_bytes()).expect("packs");
    let packed = packed.finish().expect("packs");
    drop_into(folder.path(), TABLE, "cut.ndjson.gz", &packed[..packed.len() * 3 / 4]);
    let failed = folder.path().join("lake/failed").join(TABLE).join("cut.ndjson.gz.reason.json");
    daemon.until("the file failed", || failed.exists());
    drop_into(folder.path(), TABLE, "next.ndjson", b"{\"n\":-1}\n");
    daemon.until("the next is in", || folder.path().join("lake/done").join(TABLE).join("next.ndjson").exists());
    let reason = fs::read_to_string(failed).expect("a reason");
    let (rows, numbers) = counts(folder.path());
    assert!(rows > 1 && rows < RECORDS && rows == numbers, "{rows} rows, {numbers} numbers");
    assert!(reason.contains(&format!("its first {} records are in the table", rows - 1)), "{rows}: {reason}");
}

/// The contract that each commit names, oldest first, those beside one another that are the same only once.
fn contracts(folder: &Path) -> Vec<String> {
    let lake = folder.join("lake");
    let told = lakectl(&["--lake", lake.to_str().expect("UTF-8"), "--output", "json", "snapshots", TABLE]);
    let history: serde_json::Value = serde_json::from_str(&told).expect("JSON");
    let named = |snapshot: &serde_json::Value| Some(snapshot["summary"]["laked.contract.hash"].as_str()?.to_owned());
    let mut found: Vec<String> = history.as_array().expect("snapshots").iter().filter_map(named).collect();
    found.dedup();
    found
}

#[test]
fn a_contract_that_changes_between_parts_loses_and_doubles_nothing() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let first = CONTRACT.replace("atomic", "reject_limit = \"100%\"\natomic");
    write_contract(folder.path(), TABLE, &first);
    assert!(start(folder.path(), None).expect("starts").stop(), "it makes the table and ends well");
    drop_into(folder.path(), TABLE, "numbers.ndjson", lines().as_bytes());
    let done = folder.path().join("lake/done").join(TABLE).join("numbers.ndjson");
    let begun = (1..200).find_map(|nth| {
        assert!(!start(folder.path(), Some(nth)).is_ok_and(|daemon| daemon.until_ended(|| done.exists())), "in parts");
        Some(counts(folder.path()).0).filter(|&rows| rows > 0)
    });
    let begun = begun.expect("a part was committed");
    // From now on the odd numbers of what is left are refused.
    let second = first
        .replace("version = 1", "version = 2")
        .replace("text = \"string\"", "text = { type = \"string\", pattern = \"number [0-9]*[02468] of .*\" }");
    write_contract(folder.path(), TABLE, &second);
    let (lake, schemas) = (folder.path().join("lake"), folder.path().join("schemas"));
    let words = ["--lake", lake.to_str().expect("UTF-8"), "apply", "--schemas", schemas.to_str().expect("UTF-8")];
    assert!(lakectl(&words).contains("1 changed"));
    let daemon = start(folder.path(), None).expect("starts");
    daemon.until("the file is done", || done.exists());
    assert!(daemon.stop(), "it ends well");
    let sql = format!(
        "select count(*), count(distinct record), min(record) >= {begun}, count(distinct contract) from {TABLE}__rejected"
    );
    let refused = lakectl(&["--lake", lake.to_str().expect("UTF-8"), "query", "--format", "csv", &sql]);
    let left = RECORDS - begun;
    assert_eq!(refused.lines().nth(1), Some(format!("{},{},true,1", left / 2, left / 2).as_str()), "behind {begun}");
    assert_eq!(counts(folder.path()), (begun + left / 2, begun + left / 2));
    assert_eq!(contracts(folder.path()).len(), 2, "each commit says what its rows were held to");
}
