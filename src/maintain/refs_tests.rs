//! A table that takes its records into a branch: published, rolled back, discarded, expired.

use iceberg::spec::MAIN_BRANCH;

use super::*;
use crate::history::{INGEST_BRANCH, unpublished};
use crate::maintain::histories::History;
use crate::maintain::retention::{Asked, kept};
use crate::maintain::rollback::{self, RollbackPlan, To};

/// `main` shows two snapshots; in branch `audit` so many wait upon them.
fn waiting(snapshots: usize) -> (History, i64, i64) {
    let mut history = History::new(1, &[(INGEST_BRANCH, "audit")]);
    history.append("audit");
    let one = shows(&history, "audit");
    history.append("audit");
    let two = shows(&history, "audit");
    apply(&history, publish(&history.table().metadata, &history.table().refs, "audit", None).expect("plans").edit);
    (0..snapshots).for_each(|_| history.append("audit"));
    (history, one, two)
}

fn shows(history: &History, name: &str) -> i64 {
    history.table().refs[name].snapshot_id
}

fn apply(history: &History, edit: Edit) {
    let table = history.table();
    edit.requirements.iter().for_each(|held| held.check(Some(&table.metadata)).expect("holds"));
    history.commit(edit.updates);
}

fn back(history: &History, to: i64, discard: bool) -> Result<RollbackPlan> {
    let table = history.table();
    rollback::rollback(&table.metadata, &table.refs, To::Snapshot(to), discard)
}

#[test]
fn a_rollback_takes_a_branch_along_that_comes_from_what_it_takes_out() {
    let (history, one, two) = waiting(0);
    let plan = back(&history, one, false).expect("plans");
    let along = plan.branch.as_ref().expect("goes along");
    assert_eq!((along.name.as_str(), along.from, along.waited, plan.taken_out.len()), ("audit", two, 0, 1));
    apply(&history, plan.edit);
    assert_eq!((shows(&history, MAIN_BRANCH), shows(&history, "audit")), (one, one));
    let table = history.table();
    let again = publish(&table.metadata, &table.refs, "audit", None).expect("plans");
    assert!(again.edit.is_empty(), "what was taken out does not come again");
    // Shown again, as without a branch; new records come upon it.
    apply(&history, rollback::set_current(&table.metadata, &table.refs, two, false).expect("plans").edit);
    let table = history.table();
    assert!(unpublished(&table.metadata, &table.refs).is_none());
}

#[test]
fn what_waits_upon_it_is_taken_out_only_if_that_is_said() {
    let (history, one, two) = waiting(2);
    let error = back(&history, one, false).expect_err("is refused");
    assert_eq!(error.kind(), Kind::Invalid);
    assert!(error.to_string().contains("2 snapshots wait in branch `audit`"), "{error}");
    let plan = back(&history, one, true).expect("plans");
    assert_eq!(plan.taken_out[0], shows(&history, "audit"), "newest first");
    assert_eq!((plan.taken_out.len(), plan.taken_out[2], plan.branch.as_ref().map(|b| b.waited)), (3, two, Some(2)));
    apply(&history, plan.edit);
    assert_eq!((shows(&history, MAIN_BRANCH), shows(&history, "audit")), (one, one));
}

#[test]
fn what_another_engine_rolled_back_does_not_come_again_either() {
    let set = |history: &History, id: i64| {
        let reference = SnapshotReference::new(id, SnapshotRetention::branch(None, None, None));
        history.commit(vec![TableUpdate::SetSnapshotRef { ref_name: MAIN_BRANCH.into(), reference }]);
    };
    let (history, one, _) = waiting(0);
    set(&history, one);
    let table = history.table();
    assert!(unpublished(&table.metadata, &table.refs).is_none(), "new records come upon what is shown");
    assert!(publish(&table.metadata, &table.refs, "audit", None).expect("plans").edit.is_empty());
    // Records that came upon it are not shown in its company unasked.
    let (history, one, two) = waiting(1);
    set(&history, one);
    let table = history.table();
    let error = publish(&table.metadata, &table.refs, "audit", None).expect_err("is refused");
    assert!(error.to_string().contains(&format!("lakectl set-current TABLE {two}")), "{error}");
    set(&history, two);
    let table = history.table();
    assert_eq!(publish(&table.metadata, &table.refs, "audit", None).expect("plans").snapshots, 1);
}

#[test]
fn a_branch_of_a_table_that_takes_its_records_into_main_stays() {
    let mut history = History::new(1, &[]);
    history.append(MAIN_BRANCH);
    let one = shows(&history, MAIN_BRANCH);
    history.append(MAIN_BRANCH);
    history.append("audit");
    let plan = back(&history, one, false).expect("plans");
    assert!(plan.branch.is_none() && plan.taken_out.len() == 1);
    assert_eq!((plan.edit.requirements.len(), plan.edit.updates.len()), (2, 1));
}

#[test]
fn a_plan_holds_the_branch_where_it_is() {
    let (mut history, one, _) = waiting(1);
    let table = history.table();
    let published = publish(&table.metadata, &table.refs, "audit", None).expect("plans").edit;
    let discarded = back(&history, one, true).expect("plans").edit;
    history.append("audit");
    let fits = |edit: &Edit, history: &History| {
        let metadata = history.table().metadata.clone();
        edit.requirements.iter().all(|held| held.check(Some(&metadata)).is_ok())
    };
    assert!(!fits(&discarded, &history), "more came in, which nobody has seen");
    assert!(!fits(&published, &history), "it is planned anew");
    history.commit(vec![TableUpdate::RemoveSnapshotRef { ref_name: "audit".into() }]);
    assert!(!fits(&published, &history), "what was discarded meanwhile is not shown");
    // Nothing waits, and the branch is not there: records may come in, and make it.
    let (mut history, one, _) = waiting(0);
    history.commit(vec![TableUpdate::RemoveSnapshotRef { ref_name: "audit".into() }]);
    let plan = back(&history, one, false).expect("plans").edit;
    history.append("audit");
    assert!(!fits(&plan, &history), "they came upon what is taken out");
}

#[test]
fn the_way_out_of_two_that_parted_names_the_snapshot_where_they_did() {
    let (mut history, _, two) = waiting(2);
    history.append(MAIN_BRANCH);
    let table = history.table();
    let error = publish(&table.metadata, &table.refs, "audit", None).expect_err("they parted");
    assert!(error.to_string().contains(&format!("lakectl rollback TABLE --to {two}")), "{error}");
    // That takes out nothing that waits, and then all of it is shown.
    apply(&history, back(&history, two, false).expect("plans").edit);
    let table = history.table();
    let plan = publish(&table.metadata, &table.refs, "audit", None).expect("plans");
    assert_eq!((plan.snapshots, plan.to), (2, Some(shows(&history, "audit"))));
}

#[test]
fn the_branch_that_takes_records_is_kept_however_old() {
    let mut history = History::new(1, &[(INGEST_BRANCH, "audit"), ("history.expire.max-ref-age-ms", "1")]);
    history.append(MAIN_BRANCH);
    history.append("other");
    history.append("audit");
    let table = history.table();
    let now_ms = table.metadata.last_updated_ms() + 10 * 86_400_000;
    let kept = kept(&table.metadata, &table.refs, &Asked::default(), now_ms).expect("plans");
    assert_eq!(kept.refs, ["other"]);
    assert!(kept.snapshots.contains(&shows(&history, "audit")));
}
