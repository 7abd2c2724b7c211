//! `lakectl rollback`, `set-current`, `branch` and `tag`, while records come in.

use std::sync::mpsc;

use serde_json::Value;

use super::{BODY, Lake, TABLE, await_body, produce};

fn snapshots(lake: &Lake) -> Vec<String> {
    let found = lake.json(&["snapshots", TABLE]);
    found.as_array().expect("snapshots").iter().map(|one| one["snapshot-id"].to_string()).collect()
}

fn bodies(numbers: impl IntoIterator<Item = u64>) -> Vec<u64> {
    numbers.into_iter().flat_map(|body| body * BODY..(body + 1) * BODY).collect()
}

#[test]
fn rows_rolled_back_stay_out_and_ingestion_goes_on_behind_them() {
    let mut lake = Lake::new();
    lake.send(0..1);
    lake.send(1..2);
    let two = snapshots(&lake);
    lake.send(2..3);
    let dry = lake.json(&["rollback", TABLE, "--to", &two[1], "--dry-run"]);
    assert_eq!(lake.numbers(), bodies(0..3), "a dry run does nothing");
    let done = lake.json(&["rollback", TABLE, "--to", &two[1]]);
    assert_eq!((&done["plan"], &done["dry-run"]), (&dry["plan"], &Value::Bool(false)));
    assert_eq!((&done["plan"]["rows"], &done["plan"]["files"]), (&BODY.into(), &2.into()));
    let lanes = done["plan"]["lanes"].as_array().expect("lanes");
    assert_eq!((lanes.len(), &lanes[0]["from"], &lanes[0]["to"]), (1, &"2:0".into(), &"3:0".into()));
    assert_eq!(lake.numbers(), bodies(0..2));
    lake.send(3..4);
    assert_eq!(lake.numbers(), bodies([0, 1, 3]), "what was taken out does not come again by itself");
    // Nor does it at a start, which reads the marks, nor does the lane stop.
    lake.stop();
    lake.start();
    lake.send(4..5);
    assert_eq!(lake.numbers(), bodies([0, 1, 3, 4]));
    // Without a daemon, too; and a branch keeps what is given up.
    lake.stop();
    lake.lakectl(&["branch", "create", TABLE, "kept"]);
    lake.lakectl(&["rollback", TABLE, "--to", &two[0]]);
    assert_eq!(lake.numbers(), bodies(0..1));
    lake.start();
    lake.send(5..6);
    assert_eq!(lake.numbers(), bodies([0, 5]));
    let kept = lake.json(&["branch", "list", TABLE])["kept"]["snapshot-id"].to_string();
    lake.lakectl(&["set-current", TABLE, &kept]);
    lake.send(6..7);
    assert_eq!(lake.numbers(), bodies([0, 1, 3, 4, 6]));
    lake.stop();
    assert_eq!(lake.json(&["doctor", "--deep", "--stopped"])["violations"], serde_json::json!([]));
}

#[test]
fn a_rollback_under_a_producer_takes_out_whole_bodies_and_no_others() {
    let lake = Lake::new();
    lake.send(0..2);
    let url = lake.url().to_owned();
    let (tell, told) = mpsc::channel();
    let producer = std::thread::spawn(move || produce(&url, 2..32, &tell));
    await_body(&told, 12);
    let done = lake.json(&["rollback", TABLE, "--to", &snapshots(&lake)[0]]);
    assert!(producer.join().is_ok());
    let lane = &done["plan"]["lanes"][0];
    let entry = |side: &str| lane[side].as_str().and_then(|mark| mark.split(':').next()?.parse::<u64>().ok());
    let (from, to) = (entry("from").expect("a mark"), entry("to").expect("a mark"));
    assert!(from < to && to > 12, "{lane}");
    // An entry of the lane is a body, and both count from 0.
    assert_eq!(lake.numbers(), bodies((0..from).chain(to..32)));
}

#[test]
fn a_body_that_was_rolled_back_is_picked_again_and_only_once() {
    let mut lake = Lake::new();
    (0..4).for_each(|n| lake.send(n..n + 1));
    let all = snapshots(&lake);
    lake.lakectl(&["rollback", TABLE, "--to", &all[0]]);
    let dry = lake.json(&["cherry-pick", TABLE, &all[2], "--dry-run"]);
    assert_eq!((&dry["rows"], &dry["fast-forward"]), (&BODY.into(), &false.into()));
    assert_eq!(lake.numbers(), bodies([0]), "a dry run does nothing");
    lake.lakectl(&["cherry-pick", TABLE, &all[2]]);
    assert_eq!(lake.numbers(), bodies([0, 2]));
    lake.send(4..5);
    // Without a daemon, too.
    lake.stop();
    lake.lakectl(&["cherry-pick", TABLE, &all[3]]);
    assert_eq!(lake.numbers(), bodies([0, 2, 3, 4]));
    for (id, said) in [(all[2].as_str(), "picked already"), (&all[0], "shown already"), ("7", "not in the table")] {
        lake.refuses(&["cherry-pick", TABLE, id], said);
    }
    assert_eq!(lake.json(&["doctor", "--deep", "--stopped"])["violations"], serde_json::json!([]));
}

#[test]
fn branches_and_tags_are_made_moved_and_dropped() {
    let lake = Lake::new();
    lake.send(0..1);
    let first = snapshots(&lake)[0].clone();
    lake.lakectl(&["tag", "create", TABLE, "v1", "--keep", "90d"]);
    lake.lakectl(&["branch", "create", TABLE, "audit", "--min-snapshots", "3", "--snapshots-for", "2d"]);
    lake.send(1..2);
    let refs = lake.json(&["refs", TABLE]);
    assert_eq!(
        (refs["v1"]["type"].as_str(), refs["v1"]["max-ref-age-ms"].as_i64()),
        (Some("tag"), Some(7_776_000_000))
    );
    assert_eq!(refs["audit"]["min-snapshots-to-keep"], 3);
    assert_eq!(refs["audit"]["snapshot-id"].to_string(), first);
    let moved = lake.json(&["branch", "fast-forward", TABLE, "audit", "main"]);
    assert_eq!((&moved["plan"]["snapshots"], &moved["plan"]["rows"]), (&1.into(), &BODY.into()));
    let refs = lake.json(&["branch", "list", TABLE]);
    assert_eq!(refs["audit"]["snapshot-id"], refs["main"]["snapshot-id"]);
    assert_eq!(refs["audit"]["min-snapshots-to-keep"], 3, "its retention stays");
    lake.lakectl(&["rollback", TABLE, "--to", &first]);
    for (words, said) in [
        (&["branch", "drop", TABLE, "audit"][..], "--discard"),
        (&["branch", "drop", TABLE, "main"], "cannot be dropped"),
        (&["branch", "drop", TABLE, "v1"], "lakectl tag drop"),
        (&["branch", "drop", TABLE, "x"], "there are: audit, main, v1"),
        (&["tag", "create", TABLE, "v1"], "already"),
        (&["tag", "create", TABLE, "v2", "--at", "7"], "lakectl snapshots"),
        (&["tag", "create", TABLE, "v2", "--keep", "0s"], "from 1"),
        (&["branch", "fast-forward", TABLE, "v1", "audit"], "does not move"),
        (&["branch", "fast-forward", TABLE, "audit", "main"], "cannot be moved forward"),
        (&["set-current", TABLE, "7"], "lakectl snapshots"),
        (&["rollback", TABLE, "--to", "2001-01-01"], "as old as that"),
        (&["rollback", TABLE, "--to", refs["audit"]["snapshot-id"].to_string().as_str()], "set-current"),
    ] {
        lake.refuses(words, said);
    }
    lake.lakectl(&["branch", "drop", TABLE, "audit", "--discard"]);
    lake.lakectl(&["tag", "drop", TABLE, "v1"]);
    let refs = lake.json(&["branch", "list", TABLE]);
    assert_eq!(refs.as_object().expect("refs").keys().collect::<Vec<_>>(), ["main"]);
}
