//! `lakectl evolve-partition` under a producer that never stops.

use std::collections::BTreeSet;
use std::sync::mpsc;

use serde_json::{Value, json};

use super::{BODY, Lake, TABLE, await_body, get, produce};

/// The specs that the table's files have.
fn specs(lake: &Lake) -> BTreeSet<i64> {
    let files = lake.json(&["files", TABLE]);
    files.as_array().expect("files").iter().map(|file| file["spec"].as_i64().expect("a spec")).collect()
}

/// What of the table is left after its partitions are looked at: `(before, after)`.
fn pruned(lake: &Lake, condition: &str) -> (u64, u64) {
    let explained = lake.json(&["explain", TABLE, "--where", condition]);
    let step = explained["steps"].as_array().expect("steps").iter().find(|step| step["by"] == "partitions");
    let of = |side: &str| step.expect("a step")[side]["files"].as_u64().expect("a count");
    (of("before"), of("after"))
}

#[test]
fn a_spec_changes_twice_under_a_producer_and_no_row_is_lost_or_doubled() {
    let mut lake = Lake::new();
    let url = lake.url().to_owned();
    let (tell, told) = mpsc::channel();
    let producer = std::thread::spawn(move || produce(&url, 0..61, &tell));
    await_body(&told, 12);
    let dry = lake.json(&["evolve-partition", TABLE, "place, day(at)", "--dry-run"]);
    assert_eq!((&dry["changes"], lake.metadata()["default-spec-id"].as_i64()), (&true.into(), Some(0)));
    let done = lake.json(&["evolve-partition", TABLE, "place, day(at)"]);
    let fields = json!([
        { "source": "place", "transform": "identity", "name": "place", "field-id": 1000 },
        { "source": "at", "transform": "day", "name": "at_day", "field-id": 1001 },
    ]);
    assert_eq!((&done["after"], &dry["after"]), (&fields, &fields));
    assert!(done["kept"]["rows"].as_u64() > Some(0), "{done}");
    await_body(&told, 33);
    lake.lakectl(&["evolve-partition", TABLE, "bucket(4, n), month(at)"]);
    assert!(producer.join().is_ok());

    let all: Vec<u64> = (0..61 * BODY).collect();
    assert_eq!(lake.numbers(), all);
    assert_eq!(specs(&lake), BTreeSet::from([0, 1, 2]));
    // By `place` the first two layouts prune, by month the last two, and nothing by what no layout knows.
    let (before, by_place) = pruned(&lake, "place = 'TW'");
    let (_, by_month) = pruned(&lake, "at >= '2026-03-01' and at < '2026-04-01'");
    assert!(by_place < before && by_month < before / 2, "{before} {by_place} {by_month}");
    let sql = format!("select count(*) from {TABLE} where \"at\" >= '2026-03-01' and \"at\" < '2026-04-01'");
    let march = (0..61 * BODY).filter(|n| n % 12 == 2).count();
    assert_eq!(lake.lakectl(&["query", "--format", "csv", &sql]).lines().nth(1), Some(march.to_string().as_str()));
    lake.stop();
    let doctor = lake.json(&["doctor", "--deep", "--stopped"]);
    assert_eq!(doctor["violations"], json!([]));
}

#[test]
fn a_restart_leaves_the_layout_to_the_table_and_the_first_record_after_a_change_has_the_new_one() {
    let mut lake = Lake::new();
    lake.send(0..1);
    lake.lakectl(&["evolve-partition", TABLE, "month(at)"]);
    // The lane was idle, its writer open under the old spec.
    lake.send(1..2);
    assert_eq!(specs(&lake), BTreeSet::from([0, 1]));
    lake.stop();
    // Without a daemon the lake itself is changed, and back: ids and names come again.
    let done = lake.json(&["evolve-partition", TABLE, "place"]);
    assert_eq!(done["after"][0]["field-id"], 1000);
    assert_eq!(lake.metadata()["default-spec-id"], 0);
    lake.lakectl(&["evolve-partition", TABLE, "month(at) as moon"]);
    let moon = lake.metadata();
    lake.start();
    assert_eq!(lake.metadata()["default-spec-id"], moon["default-spec-id"]);
    lake.send(2..3);
    let default = moon["default-spec-id"].as_i64().expect("a spec");
    assert_eq!(specs(&lake), BTreeSet::from([0, 1, default]));
    assert_eq!(lake.numbers(), (0..3 * BODY).collect::<Vec<_>>());
    let again = lake.lakectl(&["evolve-partition", TABLE, "month(at) as moon"]);
    assert!(again.contains("already"), "{again}");
}

#[test]
fn bad_specs_say_what_is_possible_and_change_nothing() {
    let lake = Lake::new();
    for (spec, said) in [
        ("nowhere", "fields: n, place, at"),
        ("week(at)", "bucket[N](f)"),
        ("day(place)", "does not apply"),
        ("place, place", "is there twice"),
        ("place,, at", "no list"),
        ("day(at) as place", "as a column is"),
        ("place, month(at), day(at)", "adds nothing to `month(at)`"),
        ("day(at) as x, truncate(1, place) as x", "another field of the spec"),
    ] {
        lake.refuses(&["evolve-partition", TABLE, spec], said);
    }
    lake.refuses(&["evolve-partition", "probe.nothing", "place"], TABLE);
    // A lake that a daemon has is changed through the daemon.
    let place = lake.path();
    let words = ["evolve-partition", TABLE, "at", "--lake", place.to_str().expect("UTF-8")];
    let (code, _, complaint) = lake.run(&words);
    assert!(code == 1 && complaint.contains("--url"), "{code}: {complaint}");
    let listed = get(&format!("{}/v1/namespaces/probe/tables/readings", lake.url())).expect("an answer").body;
    let loaded: Value = serde_json::from_str(&listed).expect("JSON");
    assert_eq!(loaded["metadata"]["partition-specs"].as_array().map(Vec::len), Some(1));
}
