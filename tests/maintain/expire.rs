//! `lakectl expire`, while records come in.

use std::collections::BTreeSet;
use std::sync::mpsc;

use serde_json::{Value, json};

use super::{BODY, Lake, TABLE, await_body, produce};
use crate::kit::daemon::post;

/// A lake with so many snapshots.
fn of_snapshots(count: u64) -> Lake {
    let lake = Lake::new();
    (0..count).for_each(|n| lake.send(n..n + 1));
    lake
}

pub fn snapshots(lake: &Lake) -> Vec<i64> {
    let mut found = lake.metadata()["snapshots"].as_array().cloned().unwrap_or_default();
    found.sort_by_key(|one| one["sequence-number"].as_i64());
    found.iter().filter_map(|one| one["snapshot-id"].as_i64()).collect()
}

/// Files of the table, but for metadata files and hints.
fn files(lake: &Lake) -> BTreeSet<String> {
    let folder = lake.metadata()["location"].as_str().expect("a location").replace("file://", "");
    let mut found = BTreeSet::new();
    let mut pending = vec![std::path::PathBuf::from(folder)];
    while let Some(folder) = pending.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
            let path = entry.path();
            match path.extension().and_then(|end| end.to_str()) {
                _ if path.is_dir() => pending.push(path),
                Some("parquet" | "avro") => drop(found.insert(path.to_string_lossy().into_owned())),
                _ => {}
            }
        }
    }
    found
}

pub fn set_property(lake: &Lake, key: &str, value: &str) {
    let url = format!("{}/v1/namespaces/probe/tables/readings", lake.url());
    let body = json!({ "requirements": [], "updates": [{ "action": "set-properties", "updates": { key: value } }] });
    let answer = post(&url, &[("Content-Type", "application/json")], body.to_string().as_bytes());
    assert_eq!(answer.expect("an answer").status, 200);
}

#[test]
fn snapshots_go_at_once_and_their_files_when_their_time_has_come() {
    let mut lake = of_snapshots(4);
    let (ids, before) = (snapshots(&lake), files(&lake));
    lake.lakectl(&["tag", "create", TABLE, "v1", "--at", &ids[1].to_string()]);
    let dry = lake.json(&["expire", TABLE, "--older-than", "0s", "--dry-run"]);
    assert_eq!(snapshots(&lake), ids, "a dry run does nothing");
    assert_eq!(dry["snapshots"], json!([ids[0], ids[2]]));
    assert_eq!((&dry["kept"], &dry["files"]["manifest-list"]["files"]), (&2.into(), &2.into()));
    let done = lake.json(&["expire", TABLE, "--older-than", "0s"]);
    assert_eq!((&done["snapshots"], &done["files"]), (&dry["snapshots"], &dry["files"]));
    assert_eq!(done["unlinked"]["files"], 0);
    assert_eq!(snapshots(&lake), [ids[1], ids[3]]);
    assert_eq!(files(&lake), before, "a reader that has begun ends well");
    // Without a daemon; what is due then is unlinked by the next one, by itself.
    lake.send(4..5);
    lake.stop();
    let done = lake.json(&["expire", TABLE, "--older-than", "0s", "--grace", "1s"]);
    assert_eq!((&done["snapshots"], &done["unlinked"]["files"]), (&json!([ids[3]]), &0.into()));
    lake.start();
    lake.daemon.as_ref().expect("a daemon").await_log("expired files are unlinked");
    assert_eq!(files(&lake).len(), before.len() + 4 - 1, "two files, a manifest, a list more; a list less");
    assert_eq!(lake.numbers(), (0..5 * BODY).collect::<Vec<_>>());
    lake.lakectl(&["query", &format!("select count(*) from {TABLE}"), "--at", &ids[1].to_string()]);
    lake.stop();
    assert_eq!(lake.json(&["doctor", "--deep", "--stopped"])["violations"], json!([]));
}

#[test]
fn a_rollback_makes_rows_whose_files_expire() {
    let lake = of_snapshots(3);
    let ids = snapshots(&lake);
    lake.lakectl(&["rollback", TABLE, "--to", &ids[0].to_string()]);
    let done = lake.json(&["expire", TABLE, "--older-than", "0s", "--grace", "0s"]);
    assert_eq!(done["snapshots"], json!([ids[1], ids[2]]));
    assert_eq!(done["files"]["data"]["rows"], 2 * BODY);
    assert_eq!(done["unlinked"]["files"], 2 * 4, "two data files, a manifest, a list of each");
    assert_eq!(lake.numbers(), (0..BODY).collect::<Vec<_>>());
    assert_eq!(files(&lake).len(), 4);
    lake.send(3..4);
    assert_eq!(lake.numbers(), (0..BODY).chain(3 * BODY..4 * BODY).collect::<Vec<_>>());
}

#[test]
fn expiries_under_a_producer_lose_no_row_and_no_commit() {
    let mut lake = of_snapshots(2);
    let url = lake.url().to_owned();
    let (tell, told) = mpsc::channel();
    let producer = std::thread::spawn(move || produce(&url, 2..40, &tell));
    for body in [5, 15, 25, 35] {
        await_body(&told, body);
        let done = lake.json(&["expire", TABLE, "--older-than", "0s", "--grace", "0s"]);
        assert_ne!(done["snapshots"], json!([]));
    }
    assert!(producer.join().is_ok());
    assert_eq!(lake.numbers(), (0..40 * BODY).collect::<Vec<_>>());
    lake.stop();
    assert_eq!(lake.json(&["doctor", "--deep", "--stopped"])["violations"], json!([]));
}

#[test]
fn bad_requests_say_what_is_possible_and_change_nothing() {
    let lake = of_snapshots(2);
    let current = snapshots(&lake)[1].to_string();
    let ladder: Value = lake.metadata()["properties"]["laked.retention"].clone();
    assert_eq!(ladder, "10m:all, 1h:1m, 5d:1h, 90d:1d");
    assert_eq!(lake.json(&["expire", TABLE])["snapshots"], json!([]), "all are of the last ten minutes");
    for (words, said) in [
        (&["expire", "probe.none"][..], "there is no table"),
        (&["expire", TABLE, "--older-than", "-5d"], "no length of time"),
        (&["expire", TABLE, "--grace", "soon"], "no length of time"),
        (&["expire", TABLE, "--retain-last", "0"], "--retain-last 1"),
        (&["expire", TABLE, "--snapshot", "7"], "not in the table"),
        (&["expire", TABLE, "--snapshot", &current], "the current snapshot"),
    ] {
        lake.refuses(words, said);
    }
    set_property(&lake, "gc.enabled", "false");
    lake.refuses(&["expire", TABLE, "--older-than", "0s"], "gc.enabled");
    set_property(&lake, "gc.enabled", "true");
    set_property(&lake, "laked.retention", "often");
    lake.refuses(&["expire", TABLE], "no ladder");
}
