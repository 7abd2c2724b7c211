use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use iceberg::TableUpdate;
use iceberg::spec::{MAIN_BRANCH, SnapshotReference, SnapshotRetention};
use proptest::prelude::*;

use super::*;
use crate::history::ancestry;
use crate::maintain::histories::{History, normal};
use crate::maintain::ledger::unlink_due;

const HOUR_MS: i64 = 3_600_000;

fn asked(history: &mut History) -> Asked {
    let older_than_ms = [None, Some(0), Some(5 * HOUR_MS), Some(48 * HOUR_MS)][history.below(4)];
    let retain_last = [None, Some(1), Some(3)][history.below(3)];
    Asked { older_than_ms, retain_last, snapshots: Vec::new() }
}

fn random(seed: u64, steps: usize) -> History {
    let ladders: [&[(&str, &str)]; 3] = [
        &[],
        &[("laked.retention", "3h:all, 1d:6h, 5d:1d")],
        &[("history.expire.max-snapshot-age-ms", "36000000"), ("history.expire.max-ref-age-ms", "400000000")],
    ];
    let mut history = History::new(seed, ladders[usize::try_from(seed % 3).expect("small")]);
    (0..steps).for_each(|_| history.step());
    history
}

fn locations(plan: &ExpirePlan) -> BTreeSet<String> {
    plan.files.iter().map(|file| normal(&file.location)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// A plan's files are what its snapshots reach and no other does; no list or manifest is read twice for it.
    #[test]
    fn a_plan_equals_brute_force(seed in any::<u64>(), steps in 1..28usize) {
        let mut history = random(seed, steps);
        let (asked, table) = (asked(&mut history), history.table());
        let now = history.store().system().clock.now_ms();
        let mut reach = Reach::default();
        let plan = plan(history.store(), &table.metadata, &table.refs, &asked, now, &mut reach).expect("plans");
        let gone: HashSet<i64> = plan.snapshots.iter().copied().collect();
        let others = table.metadata.snapshots().map(|snapshot| snapshot.snapshot_id()).filter(|id| !gone.contains(id));
        let kept = history.reached(others);
        let wanted: BTreeSet<String> =
            history.reached(gone.iter().copied()).difference(&kept).cloned().collect();
        prop_assert_eq!(locations(&plan), wanted);
        prop_assert_eq!(plan.outside, 0);
        if let Some(current) = table.metadata.current_snapshot_id() {
            prop_assert!(!gone.contains(&current));
        }
        let named: BTreeSet<&str> =
            history.model.values().flat_map(|model| model.manifests()).collect();
        prop_assert!(reach.read <= table.metadata.snapshots().len() + named.len());
        // The same once more reads nothing.
        let read = reach.read;
        super::plan(history.store(), &table.metadata, &table.refs, &asked, now, &mut reach).expect("plans");
        prop_assert_eq!(reach.read, read);
    }

    /// Expiries between other changes, each from what the last has read: what is reached is there at every moment, what is
    /// not is gone after the grace.
    #[test]
    fn what_is_reached_stays_and_the_rest_goes(seed in any::<u64>(), rounds in 1..5usize) {
        let (mut history, mut reach) = (random(seed, 6), Reach::default());
        for _ in 0..rounds {
            (0..6).for_each(|_| history.step());
            let request = Request { asked: asked(&mut history), grace_ms: HOUR_MS, dry_run: false };
            let before = history.files();
            let report = expire_with(&history.catalog, &history.ident, &request, &mut reach).expect("expires");
            prop_assert_eq!(report.kept, history.table().metadata.snapshots().len());
            if report.unlinked.files == 0 {
                prop_assert_eq!(&history.files(), &before, "nothing goes before its time");
            }
            prop_assert!(history.needed().is_subset(&history.files()));
        }
        history.clock.advance(Duration::from_secs(3601));
        unlink_due(&history.catalog, history.store().system().clock.now_ms()).expect("unlinks");
        let needed = history.needed();
        prop_assert!(needed.is_subset(&history.files()));
        let left: Vec<String> = history.files().difference(&needed).cloned().collect();
        // What a statistics file of a snapshot was replaced by is nobody's, and no snapshot ever went with it.
        prop_assert!(left.iter().all(|file| file.contains("statistics")), "{left:?}");
    }
}

#[test]
fn a_ladder_keeps_its_rungs_and_the_way_back() {
    let mut history = History::new(1, &[("laked.retention", "10m:all, 1h:10m, 1d:1h")]);
    for _ in 0..200 {
        history.append(MAIN_BRANCH);
        history.clock.advance(Duration::from_secs(60));
    }
    let request = Request::default();
    let first = expire(&history.catalog, &history.ident, &request).expect("expires");
    // Ten of the last ten minutes, one in ten minutes of the hour before, one an hour of what is left.
    assert!((16..=22).contains(&first.kept), "{}", first.kept);
    let table = history.table();
    let current = table.metadata.current_snapshot_id().expect("a snapshot");
    assert_eq!(ancestry(&table.metadata, current).count(), first.kept, "all are ancestors still");
    let again = expire(&history.catalog, &history.ident, &request).expect("expires");
    assert_eq!((again.snapshots.len(), again.kept), (0, first.kept), "a plan is a fixed point");
    history.append(MAIN_BRANCH);
    history.clock.advance(Duration::from_secs(600));
    let later = expire(&history.catalog, &history.ident, &request).expect("expires");
    let table = history.table();
    let current = table.metadata.current_snapshot_id().expect("a snapshot");
    assert_eq!(ancestry(&table.metadata, current).count(), later.kept);
    assert!(table.metadata.properties()["laked.ancestry"].split(' ').count() < later.kept);
}

#[test]
fn snapshots_that_come_back_have_their_files() {
    let mut history = History::new(2, &[]);
    (0..5).for_each(|_| history.append(MAIN_BRANCH));
    let old = history.table().metadata_location.clone();
    let all = history.needed();
    let asked = Asked { older_than_ms: Some(0), ..Asked::default() };
    history.clock.advance(Duration::from_secs(60));
    let request = Request { asked, ..Request::default() };
    let report = expire(&history.catalog, &history.ident, &request).expect("expires");
    assert_eq!((report.snapshots.len(), report.kept), (4, 1));
    history.catalog.register_over(&history.ident, old).expect("is restored");
    history.clock.advance(Duration::from_secs(7200));
    let unlinked = unlink_due(&history.catalog, history.store().system().clock.now_ms()).expect("looks");
    assert_eq!((unlinked.files, unlinked.needed), (0, 4), "four manifest lists");
    assert!(all.is_subset(&history.files()));
    assert_eq!(history.catalog.next_owed_ms().expect("is read"), None);
}

#[test]
fn a_table_that_is_gone_is_waited_for_and_found_by_its_new_name() {
    let mut history = History::new(3, &[]);
    (0..3).for_each(|_| history.append(MAIN_BRANCH));
    history.clock.advance(Duration::from_secs(60));
    let asked = Asked { older_than_ms: Some(0), ..Asked::default() };
    let request = Request { asked, ..Request::default() };
    expire(&history.catalog, &history.ident, &request).expect("expires");
    let files = history.files();
    let location = history.table().metadata_location.clone();
    history.catalog.drop_table(&history.ident).expect("is dropped");
    history.clock.advance(Duration::from_secs(2 * 3600));
    let now = |history: &History| history.store().system().clock.now_ms();
    let unlinked = unlink_due(&history.catalog, now(&history)).expect("looks");
    assert_eq!((unlinked.files, unlinked.needed), (0, 0));
    let other = iceberg::TableIdent::from_strs(["n", "other"]).expect("a name");
    history.catalog.register_table(&other, location).expect("comes back");
    history.ident = other;
    assert_eq!(history.files(), files);
    history.clock.advance(Duration::from_secs(2 * 3600));
    let unlinked = unlink_due(&history.catalog, now(&history)).expect("unlinks");
    assert_eq!(unlinked.files, 2, "two manifest lists");
    assert_eq!(history.files(), history.needed());
}

#[test]
fn what_shows_a_snapshot_keeps_it() {
    let mut history = History::new(4, &[]);
    (0..6).for_each(|_| history.append(MAIN_BRANCH));
    let ids: Vec<i64> = history.model.keys().copied().collect();
    let point = |history: &History, name: &str, id, retention| {
        let reference = SnapshotReference::new(id, retention);
        history.commit(vec![TableUpdate::SetSnapshotRef { ref_name: name.into(), reference }]);
    };
    point(&history, "v1", ids[0], SnapshotRetention::Tag { max_ref_age_ms: None });
    point(&history, "short", ids[1], SnapshotRetention::Tag { max_ref_age_ms: Some(1000) });
    point(&history, "two", ids[3], SnapshotRetention::branch(Some(2), None, None));
    history.clock.advance(Duration::from_secs(60));
    let asked = Asked { older_than_ms: Some(0), ..Asked::default() };
    let request = Request { asked, ..Request::default() };
    let report = expire(&history.catalog, &history.ident, &request).expect("expires");
    assert_eq!(report.refs, ["short"]);
    assert_eq!(report.snapshots, [ids[1], ids[4]]);
    let named = |snapshots: Vec<i64>| {
        let request = Request { asked: Asked { snapshots, ..Asked::default() }, ..Request::default() };
        expire(&history.catalog, &history.ident, &request)
    };
    for (id, said) in [(ids[5], "current"), (ids[0], "`v1` shows"), (77, "not in the table")] {
        let error = named(vec![id]).expect_err("is refused");
        assert!(error.to_string().contains(said), "{error}");
    }
    let report = named(vec![ids[2]]).expect("goes");
    assert_eq!(report.snapshots, [ids[2]]);
}

#[test]
fn bad_requests_and_properties_say_what_is_wrong() {
    let say = |properties: &[(&str, &str)], asked: Asked| {
        let mut history = History::new(5, properties);
        history.append(MAIN_BRANCH);
        let location = history.table().metadata_location.clone();
        let request = Request { asked, ..Request::default() };
        let error = expire(&history.catalog, &history.ident, &request).expect_err("is refused");
        assert_eq!(error.kind(), Kind::Invalid);
        assert_eq!(history.table().metadata_location, location, "nothing changed");
        error.to_string()
    };
    assert!(say(&[("gc.enabled", "false")], Asked::default()).contains("gc.enabled"));
    assert!(say(&[("laked.retention", "1h")], Asked::default()).contains("10m:all"));
    assert!(say(&[("laked.retention", "1h:all, 10m:1m")], Asked::default()).contains("no ladder"));
    assert!(say(&[("history.expire.max-snapshot-age-ms", "x")], Asked::default()).contains("max-snapshot-age-ms"));
    assert!(say(&[], Asked { older_than_ms: Some(-1), ..Asked::default() }).contains("--older-than"));
    assert!(say(&[], Asked { retain_last: Some(0), ..Asked::default() }).contains("--retain-last 1"));
}

#[test]
fn files_of_others_stay() {
    let mut history = History::new(6, &[]);
    (0..2).for_each(|_| history.append(MAIN_BRANCH));
    // A table that was registered a second time still shows what the first one expires.
    let other = iceberg::TableIdent::from_strs(["n", "copy"]).expect("a name");
    history.catalog.register_table(&other, history.table().metadata_location.clone()).expect("is registered");
    let all = history.needed();
    history.clock.advance(Duration::from_secs(60));
    let asked = Asked { older_than_ms: Some(0), ..Asked::default() };
    let request = Request { asked, grace_ms: 0, dry_run: false };
    let report = expire(&history.catalog, &history.ident, &request).expect("expires");
    let figures: BTreeMap<What, Figures> = [(What::ManifestList, Figures { files: 1, rows: 0, bytes: 0 })].into();
    assert_eq!((report.files, report.unlinked.files), (figures, 0));
    history.clock.advance(Duration::from_secs(3600));
    let unlinked = unlink_due(&history.catalog, history.store().system().clock.now_ms()).expect("looks");
    assert_eq!((unlinked.files, unlinked.needed), (0, 1));
    assert!(all.is_subset(&history.files()));
}
