//! Who may name whom.

use super::{Source, none_breaks, sources};

/// What a module of `src/` may name of its siblings; the rest is forbidden. Stages exchange plain values (`flow`) and
/// never call one another: only `daemon` and `cli` know the order.
const MAY_NAME: [(&str, &[&str]); 15] = [
    ("flow", &["error"]),
    ("history", &["error"]),
    ("budget", &[]),
    ("units", &[]),
    ("error", &[]),
    // Pure: text in, compiled rules out.
    ("contract", &["error", "flow"]),
    ("ingest", &["error", "flow", "budget", "contract", "telemetry"]),
    ("write", &["error", "flow", "budget"]),
    ("commit", &["error", "flow", "history"]),
    ("maintain", &["error", "flow", "history", "budget", "units"]),
    ("read", &["error", "flow", "budget"]),
    ("derive", &["error", "flow", "budget"]),
    ("sample", &["error"]),
    ("telemetry", &["error", "config", "flow"]),
    ("config", &["error", "units"]),
];

/// Every allowed name beyond the table, with its reason.
const EXCEPTIONS: [(&str, &str, &str); 3] = [
    (
        "src/commit/",
        "write",
        "a commit takes the sealed files as `write` gives them, the value that passes between the two",
    ),
    (
        "src/maintain/compact/",
        "write",
        "what compaction writes is encoded, ordered and described as ingestion's files are",
    ),
    ("src/maintain/compact/", "read", "the form of deletion vectors is known in one place"),
];

fn stage(source: &Source) -> Option<&str> {
    let rest = source.path.strip_prefix("src/")?;
    Some(rest.split('/').next()?.trim_end_matches(".rs"))
}

fn siblings_named(line: &str) -> impl Iterator<Item = &str> {
    line.match_indices("crate::").filter(|(at, _)| !line[..*at].ends_with('_')).map(|(at, _)| {
        let rest = &line[at + "crate::".len()..];
        &rest[..rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len())]
    })
}

#[test]
fn stages_are_siblings_that_never_import_one_another() {
    let mut broken = Vec::new();
    for source in sources() {
        let Some((own, allowed)) = stage(&source).and_then(|own| MAY_NAME.iter().find(|(name, _)| *name == own)) else {
            continue;
        };
        for (line, text) in source.code().filter(|_| !source.is_test()) {
            for named in siblings_named(text).filter(|named| named != own && !allowed.contains(named)) {
                let excepted = EXCEPTIONS.iter().any(|(path, name, _)| source.path.starts_with(path) && *name == named);
                if !excepted && !named.is_empty() {
                    broken.push(format!("{}:{line}: {own} names {named}", source.path));
                }
            }
        }
    }
    none_breaks("a stage names a sibling it must not know (pass a value of `flow` instead)", &broken);
}

#[test]
fn only_read_names_duckdb() {
    let engine = format!("{}::", "duckdb");
    let names = |source: &&Source| {
        let reads = source.path.starts_with("src/read/");
        !reads && source.code().any(|(_, line)| line.contains(&engine) || line.contains("use duckdb"))
    };
    let sources = sources();
    let broken: Vec<String> =
        sources.iter().filter(|s| s.path.starts_with("src/")).filter(names).map(|s| s.path.clone()).collect();
    none_breaks("the engine is named outside of src/read", &broken);
}

/// Who may name `std::fs` besides `catalog/src/store`.
const TOUCH_DISK: [(&str, &str); 4] = [
    ("src/cli/contract.rs", "contracts and data that the user names lie outside of any lake"),
    ("src/cli/ingest/", "files that the user sends lie outside of any lake"),
    ("src/cli/query.rs", "a result goes where the user says"),
    ("src/cli/sample.rs", "a sample goes where the user says"),
];

#[test]
fn only_the_store_touches_the_disk() {
    let mut broken = Vec::new();
    for source in sources().iter().filter(|source| !source.is_test() && !source.path.starts_with("catalog/src/store/"))
    {
        if TOUCH_DISK.iter().any(|(path, _)| source.path.starts_with(path)) {
            continue;
        }
        let names = ["std::fs", "tokio::fs", "use std::{fs", "use tokio::{fs"];
        let lines = source.code().filter(|(_, line)| names.iter().any(|name| line.contains(name)));
        broken.extend(lines.map(|(line, text)| format!("{}:{line}: {}", source.path, text.trim())));
    }
    none_breaks("storage goes through laked_catalog::store", &broken);
}

#[test]
fn the_catalog_knows_nothing_of_the_daemon() {
    let sources = sources();
    let catalog = sources.iter().filter(|source| source.path.starts_with("catalog/"));
    let broken: Vec<String> = catalog
        .flat_map(|s| {
            s.code().filter(|(_, line)| line.contains("laked::")).map(|(line, _)| format!("{}:{line}", s.path))
        })
        .collect();
    none_breaks("the catalog also runs alone", &broken);
}
