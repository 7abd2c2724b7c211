//! `lakectl compact` and `lakectl rewrite-manifests`: under a producer, without a daemon, killed at any call, refused.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::mpsc;

use serde_json::json;

use super::{BODY, Lake, TABLE, await_body, produce};

fn files(lake: &Lake) -> usize {
    lake.json(&["files", TABLE]).as_array().expect("files").len()
}

/// Files of the table's folder that no snapshot needs, and folders that were staged in.
fn strays(lake: &Lake) -> Vec<String> {
    let folder = lake.path().join("warehouse/probe/readings");
    let mut found = Vec::new();
    walk(&folder, &mut found);
    let staged = lake.path().join("staging");
    walk(&staged, &mut found);
    let needed = lake.json(&["snapshots", TABLE]).as_array().expect("snapshots").len();
    let lists = found.iter().filter(|name| name.contains("/snap-")).count();
    assert_eq!(lists, needed, "a list for each snapshot");
    found.retain(|name| name.contains("/.staging") || name.starts_with(staged.to_str().expect("UTF-8")));
    found
}

fn walk(folder: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => walk(&path, found),
            false => found.push(path.to_str().expect("UTF-8").to_owned()),
        }
        if path.is_dir() && path.to_str().is_some_and(|name| name.contains("/.staging")) {
            found.push(path.to_str().expect("UTF-8").to_owned());
        }
    }
}

#[test]
fn files_are_compacted_under_a_producer_and_no_row_is_lost_or_doubled() {
    let mut lake = Lake::new();
    let url = lake.url().to_owned();
    let (tell, told) = mpsc::channel();
    let producer = std::thread::spawn(move || produce(&url, 0..241, &tell));
    await_body(&told, 12);
    let before = lake.json(&["snapshots", TABLE]).as_array().map(Vec::len);
    let dry = lake.json(&["compact", TABLE, "--dry-run"]);
    assert!(dry["before"]["files"].as_u64() >= Some(4) && dry["snapshots"] == json!([]), "{dry}");
    assert!(before <= lake.json(&["snapshots", TABLE]).as_array().map(Vec::len));
    let mut compacted = 0;
    for body in [24, 80, 160] {
        await_body(&told, body);
        let done = lake.json(&["compact", TABLE]);
        compacted += done["snapshots"].as_array().expect("snapshots").len();
        assert_eq!((&done["left-out"], &done["before"]["rows"]), (&json!([]), &done["after"]["rows"]), "{done}");
    }
    assert!(compacted >= 2 && producer.join().is_ok());
    assert_eq!(lake.numbers(), (0..241 * BODY).collect::<Vec<_>>());
    lake.lakectl(&["compact", TABLE, "--where", "place = 'TW'"]);
    lake.lakectl(&["compact", TABLE]);
    assert_eq!(files(&lake), 2, "one a partition");
    assert!(lake.lakectl(&["compact", TABLE]).contains("nothing to compact"));
    // Ingestion goes on, and so does a lake without a daemon.
    lake.send(241..243);
    assert_eq!(strays(&lake), Vec::<String>::new());
    lake.stop();
    let done = lake.json(&["compact", TABLE]);
    assert_eq!(done["after"]["files"], 2);
    assert_eq!(lake.numbers(), (0..243 * BODY).collect::<Vec<_>>());
    assert_eq!(lake.json(&["doctor", "--deep", "--stopped"])["violations"], json!([]));
    assert_eq!(strays(&lake), Vec::<String>::new());
}

#[test]
fn killed_at_any_call_a_compaction_leaves_the_table_before_or_after_and_no_file_of_its_own() {
    let mut lake = Lake::new();
    (0..6).for_each(|body| lake.send(body..body + 1));
    lake.stop();
    let place = lake.path();
    let (mut deaths, mut began) = (0, 0);
    for calls in ["rename,renameat2", "fsync,fdatasync", "unlink,unlinkat", "pwrite64"] {
        for nth in 1..60 {
            let died = lake.dies_at(calls, nth, &["compact", TABLE]);
            deaths += usize::from(died);
            began += usize::from(files(&lake) == 2);
            if !died {
                break;
            }
        }
        // Somebody opens it again: what was left is settled, and more comes.
        lake.start();
        let next = lake.numbers().len() as u64 / BODY;
        lake.send(next..next + 2);
        lake.stop();
    }
    assert!(deaths >= 10 && began >= 4, "{deaths} deaths, {began} times it was done");
    lake.lakectl(&["compact", TABLE]);
    assert_eq!(lake.numbers(), (0..14 * BODY).collect::<Vec<_>>());
    assert_eq!(lake.json(&["doctor", "--deep", "--stopped"])["violations"], json!([]));
    let mut needed = BTreeSet::new();
    for snapshot in lake.json(&["snapshots", TABLE]).as_array().expect("snapshots") {
        let listed = lake.json(&["files", TABLE, "--at", &snapshot["snapshot-id"].to_string()]);
        let path = |file: &serde_json::Value| file["path"].as_str().expect("a path").replace("file://", "");
        needed.extend(listed.as_array().expect("files").iter().map(path));
    }
    let mut found = Vec::new();
    walk(&place.join("warehouse/probe/readings/data"), &mut found);
    assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), needed, "every data file is of a snapshot");
}

#[test]
fn manifests_are_clustered_and_no_row_changes() {
    let lake = Lake::new();
    (0..8).for_each(|body| lake.send(body..body + 1));
    let dry = lake.json(&["rewrite-manifests", TABLE, "--dry-run"]);
    let done = lake.json(&["rewrite-manifests", TABLE]);
    assert_eq!((&done["made"], &done["files"], &done["rows"]), (&dry["made"], &16.into(), &(8 * BODY).into()));
    assert!(done["manifests-after"].as_u64() < done["manifests-before"].as_u64(), "{done}");
    assert!(lake.lakectl(&["rewrite-manifests", TABLE]).contains("nothing to do"));
    lake.send(8..9);
    lake.lakectl(&["rewrite-manifests", TABLE]);
    lake.lakectl(&["compact", TABLE]);
    assert_eq!((lake.numbers(), files(&lake)), ((0..9 * BODY).collect::<Vec<_>>(), 2));
}

#[test]
fn bad_requests_say_what_is_possible_and_change_nothing() {
    let lake = Lake::new();
    lake.send(0..1);
    lake.refuses(&["compact", "probe.nothing"], TABLE);
    lake.refuses(&["rewrite-manifests", "probe.nothing"], TABLE);
    lake.refuses(&["compact", "readings"], "namespace.table");
    lake.refuses(&["compact", TABLE, "--where", "nowhere = 1"], "nowhere");
    lake.refuses(&["compact", TABLE, "--max-bytes", "much"], "512KiB");
    lake.refuses(&["compact", TABLE, "--min-inputs", "x"], "--min-inputs");
}
