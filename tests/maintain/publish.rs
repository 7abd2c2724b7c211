//! Write, audit, publish: records go into a branch, are looked at, and are shown when they hold.

use serde_json::json;

use super::expire::set_property;
use super::{BODY, Lake, TABLE};
use crate::kit::readings::CONTRACT;

const WRONG: &str = "select n from probe.readings where n >= 30";

fn numbers(bodies: std::ops::Range<u64>) -> Vec<u64> {
    (bodies.start * BODY..bodies.end * BODY).collect()
}

#[test]
fn records_wait_in_a_branch_until_they_are_published() {
    let mut lake = Lake::new();
    // From the table's first record on.
    set_property(&lake, "laked.ingest.branch", "audit");
    lake.send(0..1);
    lake.send(1..2);
    assert_eq!(lake.json(&["table", "show", TABLE])["metadata"].get("current-snapshot-id"), None);
    let dry = lake.json(&["publish", TABLE, "--check", WRONG, "--dry-run"]);
    assert_eq!((&dry["plan"]["rows"], &dry["holds"]), (&(2 * BODY).into(), &true.into()));
    assert_eq!(dry["judged"]["audit"]["rows"], 2 * BODY);
    assert_eq!(lake.json(&["refs", TABLE]).get("main"), None, "a dry run does nothing");
    lake.lakectl(&["publish", TABLE, "--check", WRONG]);
    assert_eq!(lake.numbers(), numbers(0..2));
    // While records wait nothing parts main from them; what is published is compacted, and what comes then comes upon that.
    lake.send(2..3);
    lake.refuses(&["compact", TABLE], "lakectl publish");
    lake.refuses(&["rewrite-manifests", TABLE], "lakectl publish");
    lake.refuses(&["erase", TABLE, "--where", "n = 1"], "lakectl publish");
    let health = lake.lakectl(&["health", TABLE]);
    assert!(health.contains("lakectl publish"), "{health}");
    lake.lakectl(&["publish", TABLE]);
    lake.lakectl(&["compact", TABLE]);
    lake.send(3..4);
    assert_eq!(lake.numbers(), numbers(0..3));
    // A check that finds something holds all of it back, and says what.
    let before = lake.json(&["refs", TABLE]);
    let (code, said, complaint) = lake.run(&["publish", TABLE, "--check", WRONG]);
    assert_eq!(code, 1, "{complaint}");
    assert!(said.contains("does not hold") && said.contains("{\"n\":30}"), "{said}");
    assert_eq!(lake.json(&["refs", TABLE]), before);
    // A daemon that starts anew goes on where the branch is; without one it is published all the same.
    lake.stop();
    lake.start();
    lake.send(4..5);
    lake.stop();
    assert_eq!(lake.json(&["publish", TABLE])["plan"]["rows"], 2 * BODY);
    assert_eq!(lake.numbers(), numbers(0..5));
    assert_eq!(lake.json(&["publish", TABLE])["changes"], false);
    assert_eq!(lake.json(&["doctor", "--deep", "--stopped"])["violations"], json!([]));
}

#[test]
fn what_cannot_be_published_is_said_and_changes_nothing() {
    let lake = Lake::new();
    lake.send(0..1);
    lake.refuses(&["publish", "probe.none"], TABLE);
    lake.refuses(&["publish", TABLE], "laked.ingest.branch");
    lake.refuses(&["publish", TABLE, "--branch", "none"], "there are: main");
    set_property(&lake, "laked.ingest.branch", "audit");
    lake.send(1..2);
    lake.refuses(&["publish", TABLE, "--check", "select nothing"], "nothing");
    // Somebody gives main a snapshot of its own, which the branch does not come from.
    let tip = |name: &str| lake.json(&["refs", TABLE])[name]["snapshot-id"].to_string();
    let first = tip("main");
    lake.lakectl(&["publish", TABLE]);
    let second = tip("main");
    lake.lakectl(&["rollback", TABLE, "--to", &first]);
    lake.send(2..3);
    lake.lakectl(&["cherry-pick", TABLE, &second]);
    lake.refuses(&["publish", TABLE], &format!("lakectl rollback TABLE --to {first}"));
    // As it says: no row of either is lost.
    lake.lakectl(&["rollback", TABLE, "--to", &first]);
    lake.lakectl(&["publish", TABLE]);
    assert_eq!(lake.numbers(), [numbers(0..1), numbers(2..3)].concat());
    lake.lakectl(&["cherry-pick", TABLE, &second]);
    lake.send(3..4);
    lake.lakectl(&["publish", TABLE]);
    assert_eq!(lake.numbers(), numbers(0..4));
}

#[test]
fn what_is_rolled_back_does_not_come_again_with_the_next_publishing() {
    let mut lake = Lake::new();
    set_property(&lake, "laked.ingest.branch", "audit");
    let tip = |lake: &Lake, name: &str| lake.json(&["refs", TABLE])[name]["snapshot-id"].to_string();
    lake.send(0..1);
    lake.lakectl(&["publish", TABLE]);
    let first = tip(&lake, "main");
    lake.send(1..2);
    lake.lakectl(&["publish", TABLE]);
    let second = tip(&lake, "main");
    // Nothing waits: the branch goes along, and new records come upon what is shown.
    let said = lake.lakectl(&["rollback", TABLE, "--to", &first]);
    assert!(said.contains("branch `audit`") && said.contains("what came from 1:0 up to 2:0"), "{said}");
    lake.send(2..3);
    lake.lakectl(&["publish", TABLE]);
    assert_eq!(lake.numbers(), [numbers(0..1), numbers(2..3)].concat());
    // Something waits upon what would be taken out; without a daemon it is the same.
    lake.send(3..4);
    for stopped in [false, true] {
        if stopped {
            lake.stop();
        }
        lake.refuses(&["rollback", TABLE, "--to", &first], "1 snapshots wait in branch `audit`");
        lake.refuses(&["set-current", TABLE, &second], "--discard");
    }
    let done = lake.json(&["rollback", TABLE, "--to", &first, "--discard"]);
    assert_eq!((&done["plan"]["branch"]["waited"], &done["plan"]["rows"]), (&1.into(), &(2 * BODY).into()));
    assert_eq!(done["plan"]["lanes"][0]["to"], "4:0", "by what waited, too");
    // The marks stay, with a branch as without: what was taken out is not taken in again, at a start neither.
    lake.start();
    lake.send(4..5);
    lake.lakectl(&["publish", TABLE]);
    assert_eq!(lake.numbers(), [numbers(0..1), numbers(4..5)].concat());
    lake.stop();
    assert_eq!(lake.json(&["doctor", "--deep", "--stopped"])["violations"], json!([]));
}

#[test]
fn only_what_is_new_is_held_to_the_contract_and_only_to_the_one_it_came_under() {
    let lake = Lake::new();
    set_property(&lake, "laked.ingest.branch", "audit");
    lake.send(0..1);
    lake.lakectl(&["publish", TABLE]);
    // Waiting records were let in by a version that a stricter one follows.
    lake.send(1..2);
    let stricter = CONTRACT.replace("version = 1", "version = 2").replace("[0, 1000000]", "[0, 15]");
    lake.write_contract(&stricter);
    let (code, _, complaint) = lake.contracts("apply", &[]);
    assert_eq!(code, 0, "{complaint}");
    let said = lake.lakectl(&["publish", TABLE, "--dry-run"]);
    assert!(said.contains("10 rows in 2 files came under an earlier version"), "{said}");
    let judged = |lake: &Lake| lake.json(&["publish", TABLE])["judged"].clone();
    let found = judged(&lake);
    assert_eq!((&found["audit"]["rows"], &found["earlier"]["rows"]), (&0.into(), &BODY.into()));
    // What comes under it is held to it; what is shown already is not looked at again.
    lake.send(0..1);
    let found = judged(&lake);
    assert_eq!((&found["audit"]["rows"], &found["earlier"]), (&BODY.into(), &json!(null)));
    // A check may ask other tables, too: they are as they are.
    lake.send(0..1);
    let other = "select r.n from probe.readings r, probe.readings__rejected q where r.n = 0";
    lake.lakectl(&["publish", TABLE, "--check", other]);
    assert_eq!(lake.numbers().len() as u64, 4 * BODY);
}
