//! Claims, restarts, failures and gaps, on this machine's disk.

use std::io::Write;

use super::expiry::SEEN;
use super::*;

fn place(lake: &Path) -> Place {
    Place {
        lake: lake.to_owned(),
        table_name: "n.t".into(),
        table: Uuid::from_u128(7),
        system: System::real(),
        settle: Duration::ZERO,
        once: true,
        kept: Duration::from_secs(3600),
    }
}

fn drop_file(inbox: &Inbox, name: &str, text: &str) {
    inbox.place.system.disk.create(&inbox.folder().join(name)).unwrap().write_all(text.as_bytes()).unwrap();
    inbox.closed_by_writer(OsStr::new(name));
    inbox.sweep().unwrap();
}

fn claimed(inbox: &Inbox, from: u64) -> Claim {
    match inbox.next(from, Some(Duration::ZERO)) {
        Next::Claim(claim) => claim,
        other => panic!("{other:?}"),
    }
}

fn names(lake: &Path, folder: &str) -> Vec<String> {
    let listed = System::real().disk.list(&lake.join(folder).join("n.t")).unwrap();
    let mut names: Vec<_> = listed.into_iter().map(|(name, _)| name.into_string().unwrap()).collect();
    names.retain(|name| name != SEEN);
    names.sort();
    names
}

fn record(hash: &str) -> Record {
    Record { len: 1, hash: hash.into(), contract: "c".into(), at_ms: 1, failed: None }
}

#[test]
fn a_claim_survives_a_restart_and_is_done_when_the_mark_covers_it() {
    let lake = tempfile::tempdir().unwrap();
    let inbox = Inbox::open(place(lake.path()), &Marks::new()).unwrap();
    drop_file(&inbox, "a.csv", "x");
    drop_file(&inbox, "half.csv.part", "x");
    inbox.pin(claimed(&inbox, 0).entry, record("aa")).unwrap();
    let lane = inbox.lane();
    drop(inbox);
    let inbox = Inbox::open(place(lake.path()), &Marks::new()).unwrap();
    assert_eq!(inbox.lane(), lane);
    let claim = claimed(&inbox, 0);
    assert_eq!((claim.entry, claim.name.to_str(), claim.record), (0, Some("a.csv"), Some(record("aa"))));
    drop(inbox);
    // The commit took effect, and the process died before it could say so.
    let inbox = Inbox::open(place(lake.path()), &Marks::from([(lane, Mark { entry: 1, record: 0 })])).unwrap();
    assert_eq!(names(lake.path(), "done"), ["a.csv"]);
    assert_eq!((inbox.pending(), inbox.oldest_ms()), ((0, 1), None));
    drop_file(&inbox, "again.csv", "x");
    assert_eq!(inbox.oldest_ms(), Some(claimed(&inbox, 1).since_ms));
    assert_eq!(inbox.duplicate_of("aa", claimed(&inbox, 1).entry), Some(0));
    inbox.duplicate(&claimed(&inbox, 1)).unwrap();
    assert_eq!(names(lake.path(), "duplicate"), ["again.csv"]);
}

#[test]
fn a_failed_file_has_its_reason_beside_it_and_the_next_goes_on() {
    let lake = tempfile::tempdir().unwrap();
    let inbox = Inbox::open(place(lake.path()), &Marks::new()).unwrap();
    drop_file(&inbox, "bad.csv", "x");
    inbox.fail(&claimed(&inbox, 0), "no header", json!({})).unwrap();
    assert_eq!(names(lake.path(), "failed"), ["bad.csv", "bad.csv.reason.json"]);
    assert_eq!(inbox.failures()[0].reason, "no header");
    drop_file(&inbox, "good.csv", "y");
    assert_eq!(claimed(&inbox, 1).entry, 1);
}

#[test]
fn a_mark_inside_a_file_that_is_gone_halts_the_lane() {
    let lake = tempfile::tempdir().unwrap();
    let lane = Inbox::open(place(lake.path()), &Marks::new()).unwrap().lane();
    let opened = Inbox::open(place(lake.path()), &Marks::from([(lane, Mark { entry: 3, record: 5 })]));
    assert_eq!(opened.err().unwrap().kind(), Kind::Corrupt);
}

#[test]
fn a_lost_mark_halts_a_lane_that_brought_files_in() {
    let lake = tempfile::tempdir().unwrap();
    let inbox = Inbox::open(place(lake.path()), &Marks::new()).unwrap();
    drop_file(&inbox, "a.csv", "x");
    inbox.pin(claimed(&inbox, 0).entry, record("aa")).unwrap();
    drop(inbox);
    let inbox = Inbox::open(place(lake.path()), &Marks::new()).expect("nothing was committed yet");
    inbox.covered(Mark { entry: 1, record: 0 }).unwrap();
    drop(inbox);
    let lost = Inbox::open(place(lake.path()), &Marks::new()).err().expect("the table must have a mark");
    assert_eq!(lost.kind(), Kind::Corrupt);
    assert!(lost.to_string().contains("lost the mark"), "{lost}");
}

#[test]
fn what_fails_after_its_first_part_is_filed_when_the_mark_has_passed_it() {
    let lake = tempfile::tempdir().unwrap();
    let inbox = Inbox::open(place(lake.path()), &Marks::new()).unwrap();
    drop_file(&inbox, "half.csv", "x");
    inbox.pin(0, record("aa")).unwrap();
    inbox.covered(Mark { entry: 0, record: 5 }).unwrap();
    inbox.fail_later(0, "cut off".into()).unwrap();
    assert_eq!(names(lake.path(), "failed"), [""; 0], "the mark is inside it");
    let lane = inbox.lane();
    drop(inbox);
    let inbox = Inbox::open(place(lake.path()), &Marks::from([(lane, Mark { entry: 1, record: 0 })])).unwrap();
    assert_eq!(names(lake.path(), "failed"), ["half.csv", "half.csv.reason.json"]);
    assert_eq!(inbox.failures()[0].reason, "cut off");
}
