//! `Idempotency-Key`: one answer for each key, whoever asks again, before and after the daemon died.

use super::{Lake, NDJSON, is_problem, json, record, records};
use crate::kit::wire::Wire;

fn key(name: &str) -> [(&str, &str); 2] {
    [NDJSON, ("Idempotency-Key", name)]
}

/// Sends the same under the same key: the first answer comes back, and nothing is added.
fn replays(lake: &Lake, name: &str, body: &str, first: &str) {
    let again = lake.send("", &key(name), body.as_bytes());
    assert_eq!((again.status, again.body.as_str()), (200, first), "{name}");
    let waited = json(&lake.send("?wait=committed", &key(name), body.as_bytes()));
    assert_eq!(waited["committed"], true);
    let other = record(900_000);
    is_problem(&lake.send("", &key(name), other.as_bytes()), 422, "key-reused", "new key");
}

#[test]
fn a_key_replays_its_answer_also_after_a_restart() {
    let mut lake = Lake::new(&[]);
    // With refused records, and one so large that it is streamed.
    let bodies = [records(0..100) + "{}\n", records(100..30_000)];
    let mut firsts = Vec::new();
    for (name, body) in ["small", "large"].into_iter().zip(&bodies) {
        let first = lake.send("", &key(name), body.as_bytes());
        assert_eq!(first.status, 200, "{}", first.body);
        firsts.push(first.body);
    }
    assert_eq!(json_text(&firsts[0])["reasons"][0]["code"], "missing");
    for restart in [None, Some(Lake::killed as fn(Lake) -> Lake), Some(Lake::stopped)] {
        lake = match restart {
            Some(restart) => restart(lake),
            None => lake,
        };
        for (name, (body, first)) in ["small", "large"].into_iter().zip(bodies.iter().zip(&firsts)) {
            replays(&lake, name, body, first);
        }
        assert_eq!(lake.query("select count(*), count(distinct n) from probe.readings"), "30000,30000\n");
        assert_eq!(lake.query("select count(*) from probe.readings__rejected"), "1\n");
    }
}

fn json_text(text: &str) -> serde_json::Value {
    serde_json::from_str(text).expect("JSON")
}

#[test]
fn keys_outlive_their_segment() {
    // Every entry has a segment of its own, which goes when it is committed.
    let mut lake = Lake::new(&[("SPOOL_SEGMENT", "1KiB")]);
    let body = |n: u64| records(n * 100..(n + 1) * 100);
    let send = |lake: &Lake, n: u64| lake.send("?wait=committed", &key(&format!("k{n}")), body(n).as_bytes());
    let firsts: Vec<String> = (0..5).map(|n| send(&lake, n).body).collect();
    for restart in [Lake::killed, Lake::stopped] {
        lake = restart(lake);
        for (n, first) in (0..).zip(&firsts) {
            assert_eq!(send(&lake, n).body, *first);
        }
    }
    assert_eq!(lake.numbers(), (0..500).collect::<Vec<_>>());
}

#[test]
fn the_second_waits_for_the_first() {
    let lake = Lake::new(&[]);
    // Small bodies are gathered in memory, others are decoded while they come.
    for (name, numbers) in [("small", 0..10), ("large", 10..30_000)] {
        let body = records(numbers);
        let (half, rest) = body.as_bytes().split_at(body.len() / 2);
        let mut first = Wire::begin(&lake.door("?wait=committed"), &key(name), body.len());
        first.send(half);
        let mut second = Wire::open(&lake.door("?wait=committed"), &key(name), body.len());
        std::thread::scope(|scope| {
            // The daemon reads the second body only when the first is answered.
            scope.spawn(|| second.send(body.as_bytes()));
            first.send(rest);
        });
        let (first, second) = (first.answer(), second.answer());
        assert_eq!((first.status, &first.body), (200, &second.body));
    }
    assert_eq!(lake.query("select count(*), count(distinct n) from probe.readings"), "30000,30000\n");
}

#[test]
fn a_first_that_is_cut_off_leaves_the_key_to_the_second() {
    let lake = Lake::new(&[]);
    let body = records(0..10);
    let mut first = Wire::begin(&lake.door(""), &key("k"), body.len());
    first.send(&body.as_bytes()[..body.len() / 2]);
    let mut second = Wire::open(&lake.door("?wait=committed"), &key("k"), body.len());
    second.send(body.as_bytes());
    first.cut_off();
    let answer = second.answer();
    assert_eq!((answer.status, &json(&answer)["accepted"]), (200, &10.into()));
    assert_eq!(lake.numbers(), (0..10).collect::<Vec<_>>());
}

#[test]
fn a_refused_body_leaves_its_key_free() {
    let lake = Lake::new(&[]);
    is_problem(&lake.send("", &key("k"), "{}\n".repeat(50).as_bytes()), 422, "too-many-rejects", "");
    assert_eq!(lake.send("", &key("k"), record(1).as_bytes()).status, 200, "mended, under the same key");
}

#[test]
fn keys_have_a_form_and_a_number() {
    let lake = Lake::new(&[("SPOOL_KEYS", "2")]);
    for bad in [String::new(), "k".repeat(256)] {
        is_problem(&lake.send("", &key(&bad), record(0).as_bytes()), 400, "bad-idempotency-key", "UUID");
    }
    for n in 0..2 {
        assert_eq!(lake.send("", &key(&format!("k{n}")), record(n).as_bytes()).status, 200);
    }
    let answer = lake.send("", &key("k2"), record(2).as_bytes());
    is_problem(&answer, 429, "busy", "spool.keys");
    assert!(answer.header("retry-after").is_some());
    assert_eq!(lake.send("", &key("k1"), record(1).as_bytes()).status, 200, "a known key is still answered");
}
