//! What an operator sees: health, metrics, and a lane that is halted while the others go on.

use std::fs;
use std::path::PathBuf;

use super::{Lake, NDJSON, TABLE, is_problem, json, record, records};
use crate::kit::daemon::get;

#[test]
fn bad_records_are_counted_by_their_reason() {
    let lake = Lake::new(&[]);
    let bad = "{\"n\":-1,\"place\":\"TW\"}\n{\"n\":-2,\"place\":\"TW\"}\n{\"n\":1}\nnonsense\n";
    let answer = lake.send("?wait=committed", &[NDJSON], (records(0..200) + bad).as_bytes());
    assert_eq!(json(&answer)["rejected"], 4);
    lake.drop("more.csv", b"n,place\n1,XX\n");
    lake.await_commit();
    lake.await_commit();
    let metrics = lake.metrics();
    for (code, count) in [("range", 2), ("missing", 1), ("syntax", 1), ("enum", 1)] {
        let line = format!("laked_rejects_total{{table=\"{TABLE}\",code=\"{code}\"}} {count}\n");
        assert!(metrics.contains(&line), "{line}{metrics}");
    }
    for (door, outcome, count) in [("push", "accepted", 200), ("push", "rejected", 4), ("inbox", "rejected", 1)] {
        let line = format!("laked_records_total{{table=\"{TABLE}\",door=\"{door}\",outcome=\"{outcome}\"}} {count}\n");
        assert!(metrics.contains(&line), "{line}{metrics}");
    }
    assert!(metrics.contains(&format!("laked_requests_total{{table=\"{TABLE}\",status=\"200\"}} 1\n")), "{metrics}");
}

/// The one segment of the push spool.
fn segment(lake: &Lake) -> PathBuf {
    let spool = fs::read_dir(lake.path().join("spool").join(TABLE).join("push")).expect("a spool");
    let mut found =
        spool.map(|entry| entry.expect("an entry").path()).filter(|path| path.extension().is_some_and(|e| e == "seg"));
    let segment = found.next().expect("a segment");
    assert_eq!(found.next(), None);
    segment
}

#[test]
fn a_halted_lane_says_why_and_the_others_go_on() {
    let lake = Lake::with(&["--commit-age", "1h"], &[]);
    let health = |lake: &Lake| get(&format!("{}/health", lake.daemon.url)).expect("an answer");
    let ready = health(&lake);
    assert_eq!((ready.status, json(&ready)["status"].as_str()), (200, Some("ready")));
    for n in 0..5 {
        assert_eq!(lake.send("", &[NDJSON], record(n).as_bytes()).status, 200);
    }
    let path = segment(&lake);
    let whole = fs::read(&path).expect("reads");
    let mut damaged = whole.clone();
    damaged[whole.len() / 2] ^= 1;
    // What the daemon had acknowledged is damaged on disk before it could be committed.
    let Lake { folder, settings, daemon, .. } = lake;
    drop(daemon);
    fs::write(&path, damaged).expect("writes");
    let lake = Lake::start(folder, Vec::new(), settings);
    let ill = health(&lake);
    let reason = json(&ill)["reasons"][0].as_str().expect("a reason").to_owned();
    assert_eq!((ill.status, json(&ill)["status"].as_str()), (503, Some("ailing")));
    assert!(reason.contains(TABLE) && reason.contains("damaged") && reason.contains("restore the segment"), "{reason}");
    let refused = lake.send("", &[NDJSON], record(5).as_bytes());
    is_problem(&refused, 503, "lane-halted", "restore the segment");
    assert!(refused.header("retry-after").is_some());
    let halted = |door: &str, is: u8| format!("laked_lane_halted{{table=\"{TABLE}\",door=\"{door}\"}} {is}\n");
    let metrics = lake.metrics();
    assert!(metrics.contains(&halted("push", 1)) && metrics.contains(&halted("inbox", 0)), "{metrics}");
    lake.drop("good.ndjson", record(6).as_bytes());
    lake.await_commit();
    assert_eq!(lake.numbers(), [6], "the inbox of the same table goes on");
    // The operator does as the reason says.
    let Lake { folder, settings, daemon, .. } = lake;
    drop(daemon);
    fs::write(&path, whole).expect("writes");
    let lake = Lake::start(folder, Vec::new(), settings);
    let answer = lake.send("?wait=committed", &[NDJSON], record(5).as_bytes());
    assert_eq!((answer.status, health(&lake).status), (200, 200), "{}", answer.body);
    assert_eq!(lake.numbers(), (0..=6).collect::<Vec<_>>(), "nothing acknowledged is lost");
}
