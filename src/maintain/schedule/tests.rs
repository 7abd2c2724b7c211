use std::collections::BTreeMap;

use iceberg::spec::MAIN_BRANCH;

use super::*;
use crate::maintain::histories::{History, START_MS};
use crate::maintain::policy::tests::{defaults, trigger};

fn policy(task: Task, text: &str) -> Policy {
    let metadata = History::new(1, &[]).table().metadata.clone();
    let triggers = BTreeMap::from([(task, trigger(text))]);
    Policy { triggers, off: BTreeMap::new(), ..Policy::of(&metadata, &[], &defaults()) }
}

fn commit(sequence: i64, at_ms: i64) -> Commit {
    Commit { sequence, at_ms, files: 3, bytes: 100, replaces: false }
}

fn facts(commits: Vec<Commit>) -> Facts {
    let sequence = commits.last().map_or(0, |last| last.sequence);
    Facts { commits, sequence, numbered: true, expirable: Some(Ok(0)), keeps_all: None, waits: None }
}

fn look([began_ms, ended_ms, took_ms]: [i64; 3]) -> Look {
    Look { began_ms, ended_ms, took_ms, ..Look::default() }
}

fn due(text: &str, facts: &Facts, past: &Past, now_ms: i64) -> Due {
    next(Task::Compact, &policy(Task::Compact, text), facts, past, now_ms).due
}

#[test]
fn a_task_is_due_after_so_many_commits_files_or_bytes() {
    let found = facts((1..=9).map(|n| commit(n, n)).collect());
    let past = Past { sequence: 4, cooled: 4, last_ms: Some(0), ..Past::default() };
    for (text, then) in [
        ("5 commits", Due::Now),
        ("6 commits", Due::OnCommits),
        ("15 files", Due::Now),
        ("16 files", Due::OnCommits),
        ("500B", Due::Now),
        ("501B", Due::OnCommits),
        ("6 commits or 15 files", Due::Now),
    ] {
        assert_eq!(due(text, &found, &past, 10), then, "{text}");
    }
    let why = next(Task::Compact, &policy(Task::Compact, "6 commits or 99 files"), &found, &past, 10).why;
    assert_eq!(why, "5 of 6 commits, 15 of 99 files came");
}

#[test]
fn by_the_clock_it_is_due_once_and_a_missed_time_is_made_up_for() {
    let minute = 60_000;
    let past = |last_ms, began_ms| Past { last_ms, began_ms, ..Past::default() };
    let at = |past: &Past, now| due("cron */5 * * * *", &facts(Vec::new()), past, now);
    assert_eq!(at(&past(None, minute), 4 * minute), Due::At(5 * minute));
    assert_eq!(at(&past(None, minute), 5 * minute), Due::Now);
    assert_eq!(at(&past(Some(5 * minute), minute), 5 * minute + 1), Due::At(10 * minute));
    assert_eq!(at(&past(Some(5 * minute), 90 * minute), 91 * minute), Due::Now, "nobody was there at that time");
}

#[test]
fn files_are_looked_at_when_they_have_cooled_and_those_that_had_not_again() {
    let text = "cooled 1m";
    let mut past = Past { began_ms: 1000, ..Past::default() };
    assert_eq!(due(text, &facts(Vec::new()), &past, 1_000_000), Due::OnCommits);
    let found = facts(vec![commit(1, 0), commit(2, 50_000)]);
    assert_eq!(due(text, &found, &past, 60_000), Due::At(61_000), "not before it has been there for as long");
    assert_eq!(due(text, &found, &past, 61_000), Due::Now);
    past.looked(&found, &trigger(text), look([61_000, 61_500, 500]));
    assert_eq!((past.sequence, past.cooled), (2, 1));
    assert_eq!(due(text, &found, &past, 62_000), Due::At(121_500), "the second was too fresh; once a minute");
    past.looked(&found, &trigger(text), look([121_500, 121_600, 100]));
    assert_eq!(due(text, &found, &past, 500_000), Due::OnCommits);
}

#[test]
fn commits_whose_snapshots_have_expired_count_and_those_of_maintenance_do_not() {
    let replaces = |sequence| Commit { replaces: true, ..commit(sequence, 0) };
    let none = facts(vec![commit(1, 0), replaces(2), replaces(3)]);
    let past = Past { sequence: 1, cooled: 1, last_ms: Some(0), ..Past::default() };
    assert_eq!(due("1 commit or cooled 1s", &none, &past, 1_000_000), Due::OnCommits);
    // 2 to 8 are gone.
    let gone = facts(vec![commit(1, 0), Commit { at_ms: 5000, ..replaces(9) }]);
    assert_eq!(gone.since(1), [7, 7, 0]);
    assert_eq!(due("7 files", &gone, &past, 10), Due::Now);
    assert_eq!(due("8 commits or cooled 1s", &gone, &past, 10), Due::At(6000), "none is younger than the one after it");
}

#[test]
fn looks_take_a_twentieth_of_the_time_and_failures_wait_longer_each_time() {
    let found = facts(vec![commit(1, 0)]);
    let mut past = Past::default();
    past.looked(&facts(Vec::new()), &trigger("1 commit"), look([0, 3000, 3000]));
    assert_eq!(due("1 commit", &found, &past, 4000), Due::At(63_000));
    assert_eq!(due("1 commit", &found, &past, 63_000), Due::Now);
    let error = Error::new(Kind::Unavailable, "no disk");
    past.failed(&error, 100_000);
    assert_eq!(due("1 commit", &found, &past, 100_000), Due::At(160_000));
    past.failed(&error, 160_000);
    let again = next(Task::Compact, &policy(Task::Compact, "1 commit"), &found, &past, 170_000);
    assert_eq!(again.due, Due::At(280_000));
    assert!(again.why.contains("no disk") && again.why.contains('2'), "{}", again.why);
    (0..99).for_each(|_| past.failed(&error, 0));
    assert_eq!(due("1 commit", &found, &past, 1), Due::At(3_600_000));
    past.looked(&found, &trigger("1 commit"), look([0, 1, 1]));
    assert_eq!(past.failed, 0);
}

#[test]
fn what_was_cut_off_is_taken_up_at_once_and_what_was_left_over_soon() {
    let left = Past { goes_on: true, last_ms: Some(5), ..Past::default() };
    assert_eq!(due("9 commits", &facts(Vec::new()), &left, 6), Due::At(1005), "others have their turn");
    assert_eq!(due("9 commits", &facts(Vec::new()), &left, 1005), Due::Now);
    let cut = Past { cut_off: Some("7".into()), ..Past::default() };
    let then = next(Task::Compact, &policy(Task::Compact, "9 commits"), &facts(Vec::new()), &cut, 6);
    assert!(then.due == Due::Now && then.why.contains("run 7"), "{then:?}");
}

#[test]
fn what_another_daemon_has_is_tried_again_in_a_minute_for_what_it_was_due_for() {
    let (day, at) = (86_400_000, 100 * 86_400_000);
    let mut past = Past { last_ms: Some(at - day), began_ms: at - 2 * day, ..Past::default() };
    let text = "cron 0 0 * * *";
    assert_eq!(due(text, &facts(Vec::new()), &past, at + 1000), Due::Now);
    past.held(at + 1000);
    let held = next(Task::Compact, &policy(Task::Compact, text), &facts(Vec::new()), &past, at + 2000);
    assert_eq!(held.due, Due::At(at + 61_000));
    assert!(held.why.contains("another daemon") && held.why.contains("by the clock"), "{}", held.why);
    assert_eq!(due(text, &facts(Vec::new()), &past, at + 61_000), Due::Now, "the time of cron is not lost");
    let mut cut = Past { cut_off: Some("7".into()), goes_on: true, ..Past::default() };
    cut.held(0);
    assert_eq!(due("9 commits", &facts(Vec::new()), &cut, 60_000), Due::Now, "nor what was cut off");
}

#[test]
fn what_came_is_counted_when_it_is_seen_and_not_lost_with_its_snapshots() {
    let mut past = Past { last_ms: Some(0), ..Past::default() };
    for sequence in (2..=20).step_by(2) {
        // All but the last two have expired.
        let found = facts(vec![commit(sequence - 1, 1), commit(sequence, 1)]);
        past.follow(&found, 10);
    }
    assert_eq!(past.came, [20, 60, 2000]);
    let now = facts(vec![commit(20, 1)]);
    assert_eq!((due("2000B", &now, &past, 10), due("2001B", &now, &past, 10)), (Due::Now, Due::OnCommits));
    past.looked(&now, &trigger("2000B"), look([10, 10, 0]));
    assert_eq!((past.came, due("1 commit", &now, &past, 11)), ([0; 3], Due::OnCommits));
}

#[test]
fn a_table_made_again_under_its_name_is_not_held_to_the_old_ones_numbers() {
    let old = Past { sequence: 1000, cooled: 1000, last_ms: Some(0), ..Past::default() };
    let new = facts((1..=3).map(|n| commit(n, n)).collect());
    assert_eq!(due("3 commits", &new, &old, 10), Due::Now);
    assert_eq!(due("cooled 1s", &new, &old, 10), Due::At(1001));
    let mut followed = old;
    followed.follow(&new, 10);
    assert_eq!((followed.sequence, followed.cooled, followed.came[0]), (3, 0, 3));
}

#[test]
fn a_clock_that_steps_back_holds_nothing_up() {
    let hour = 3_600_000;
    let none = facts(Vec::new());
    let now = 100 * hour;
    let ahead = Past { last_ms: Some(now + 5 * hour), began_ms: now + 4 * hour, ..Past::default() };
    let mut failed = ahead.clone();
    failed.failed(&Error::new(Kind::Unavailable, "no disk"), now + 5 * hour);
    let mut held = ahead.clone();
    held.held(now + 5 * hour);
    for (what, mut past, text, within) in [
        ("cron", ahead.clone(), "cron */5 * * * *", 300_000),
        ("failed", failed, "9 commits", PAUSE_MS),
        ("held", held, "cron * * * * *", PAUSE_MS),
        ("left over", Past { goes_on: true, ..ahead.clone() }, "9 commits", ON_MS),
        ("often", Past { took_ms: 100, ..ahead }, "cron * * * * *", 60_000),
    ] {
        past.follow(&none, now);
        assert_eq!(due(text, &none, &past, now + within), Due::Now, "{what}");
    }
}

#[test]
fn commits_of_format_1_count_by_their_times() {
    let mut history = History::new(1, &[("format-version", "1")]);
    let mut append = |more: usize| {
        for _ in 0..more {
            history.clock.advance(std::time::Duration::from_secs(1));
            history.append(MAIN_BRANCH);
        }
        let table = history.table();
        assert_eq!(table.metadata.last_sequence_number(), 0);
        Facts::of(&table.metadata, &table.refs, START_MS + 60_000)
    };
    let mut past = Past { last_ms: Some(0), ..Past::default() };
    let came = append(3);
    assert_eq!(due("3 commits", &came, &past, START_MS + 60_000), Due::Now);
    assert_eq!(due("4 commits", &came, &past, START_MS + 60_000), Due::OnCommits);
    assert_eq!(due("cooled 1m", &came, &past, START_MS + 60_000), Due::At(START_MS + 61_000));
    past.looked(&came, &trigger("3 commits"), look([START_MS + 60_000, START_MS + 60_000, 0]));
    assert_eq!(due("1 commits", &came, &past, START_MS + 90_000), Due::OnCommits);
    assert_eq!(due("1 commits", &append(1), &past, START_MS + 90_000), Due::Now);
}

#[test]
fn a_snapshot_from_the_future_cools_since_it_was_seen() {
    let mut history = History::new(1, &[]);
    history.append(MAIN_BRANCH);
    let table = history.table();
    let past = Past { last_ms: Some(0), ..Past::default() };
    // Seen by one whose clock is two hours behind the writer's.
    let seen_ms = START_MS - 7_200_000;
    let first = Facts::of(&table.metadata, &table.refs, seen_ms);
    let mut later = Facts::of(&table.metadata, &table.refs, seen_ms + 50_000);
    later.seen(&first);
    assert_eq!(due("cooled 1m", &later, &past, seen_ms + 50_000), Due::At(seen_ms + 60_000));
}

#[test]
fn what_the_last_look_found_is_told_until_the_next() {
    let mut past = Past::default();
    let found = "2 partitions wait for their files to cool".to_string();
    past.looked(&facts(Vec::new()), &trigger("1 commit"), Look { found, ..Look::default() });
    let told = next(Task::Compact, &policy(Task::Compact, "2 commits"), &facts(Vec::new()), &past, 1).why;
    assert_eq!(told, "0 of 2 commits came; the last look found: 2 partitions wait for their files to cool");
}

#[test]
fn why_nothing_is_done_is_said() {
    let on = policy(Task::Expire, "1 commit");
    let keeps = Facts { keeps_all: Some("gc.enabled is false".into()), ..facts(Vec::new()) };
    let next = |task, policy: &Policy, facts: &Facts| next(task, policy, facts, &Past::default(), 0);
    assert_eq!(next(Task::Expire, &on, &keeps).due, Due::Off);
    assert_ne!(next(Task::Compact, &policy(Task::Compact, "1 commit"), &keeps).due, Due::Off, "it removes nothing");
    let unclear = Facts { expirable: Some(Err("no ladder".into())), ..facts(Vec::new()) };
    assert_eq!(next(Task::Expire, &on, &unclear).why, "no ladder");
    let foreign = Policy::of(&History::new(1, &[]).table().metadata, &[], &defaults());
    let off = next(Task::Compact, &foreign, &facts(Vec::new()));
    assert!(off.due == Due::Off && off.why.contains("laked.maintenance"), "{off:?}");
}

#[test]
fn facts_are_of_commits_and_not_of_maintenance() {
    let mut history = History::new(1, &[("laked.retention", "1m:all")]);
    (0..3).for_each(|_| history.append(MAIN_BRANCH));
    let table = history.table();
    let found = Facts::of(&table.metadata, &table.refs, START_MS + 60_001);
    assert_eq!(found.commits.iter().map(|commit| commit.sequence).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!((found.sequence, found.expirable, found.keeps_all), (3, Some(Ok(2)), None));
}

/// An hour of a commit a second: expiry is looked at once a minute, small files once a minute.
#[test]
fn an_hour_of_commits_takes_few_looks() {
    let (expire, compact) = ("60 commits or cron */5 * * * *", "cooled 1m");
    for (task, text) in [(Task::Expire, expire), (Task::Compact, compact)] {
        let (policy, trigger) = (policy(task, text), trigger(text));
        let (mut past, mut looks) = (Past { began_ms: START_MS, ..Past::default() }, 0);
        let mut found = facts(Vec::new());
        for second in 1..=3600 {
            let now = START_MS + second * 1000;
            found.commits.push(commit(second, now));
            found.sequence = second;
            if next(task, &policy, &found, &past, now).due == Due::Now {
                looks += 1;
                past.looked(&found, &trigger, look([now, now + 100, 100]));
            }
        }
        assert!((55..=62).contains(&looks), "{text}: {looks} looks");
    }
}
