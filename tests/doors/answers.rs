//! What the HTTP door refuses: each answer is a problem that says what to do, and nothing of the body is left.

use std::fs;
use std::io::Write;

use super::forms::parquet;
use super::{CSV, Lake, NDJSON, TABLE, is_problem, json, record, records};
use crate::kit::daemon::post;
use crate::kit::wire::Wire;

/// The table has no more rows than before, nothing is in quarantine, and no file of a body is left in the spool.
fn nothing_is_left(lake: &Lake, rows: u64) {
    let answer = lake.send("?wait=committed", &[NDJSON], record(rows).as_bytes());
    assert_eq!(answer.status, 200, "the daemon goes on: {}", answer.body);
    assert_eq!(lake.numbers(), (0..=rows).collect::<Vec<_>>());
    assert_eq!(lake.query(&format!("select count(*) from {TABLE}__rejected")), "0\n");
    let spool = fs::read_dir(lake.path().join("spool").join(TABLE).join("push")).expect("a spool");
    let left: Vec<_> = spool.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8")).collect();
    assert!(!left.iter().any(|name| name.starts_with("big-")), "{left:?}");
}

#[test]
fn bodies_over_the_limit_are_413() {
    let lake = Lake::new(&[("HTTP_BODY_MOST", "100KiB")]);
    let long = vec![b' '; 32 << 20];
    // A client that writes all of it before it reads must still see the answer, and the connection is not reset.
    let mut whole = Wire::open(&lake.door(""), &[NDJSON], long.len());
    whole.send(&long);
    is_problem(&whole.answer(), 413, "body-too-large", "http.body_most");
    // Without a length it is found while it is read.
    let mut chunked = Wire::chunked(&lake.door(""), &[NDJSON]);
    chunked.chunk(&long[..110 << 10]);
    is_problem(&chunked.answer(), 413, "body-too-large", "in parts");
    // Who asks first need not send it.
    let asks = Wire::open(&lake.door(""), &[NDJSON, ("Expect", "100-continue")], long.len());
    is_problem(&asks.answer(), 413, "body-too-large", "102400 bytes");
    nothing_is_left(&lake, 0);
}

#[test]
fn unknown_forms_are_415() {
    let lake = Lake::new(&[]);
    let body = record(0);
    let parquet = ("Content-Type", "application/vnd.apache.parquet");
    for (headers, words) in [
        (&[("Content-Type", "text/plain")][..], "application/x-ndjson"),
        (&[("Content-Type", "")], "text/csv"),
        (&[NDJSON, ("Content-Encoding", "br")], "gzip, zstd"),
        (&[NDJSON, ("Content-Encoding", "gzip, zstd")], "gzip, zstd"),
        (&[parquet, ("Content-Encoding", "gzip")], "unpacked"),
    ] {
        let answer = lake.send("", headers, body.as_bytes());
        is_problem(&answer, 415, "unknown-content-type", words);
    }
    nothing_is_left(&lake, 0);
}

#[test]
fn bodies_that_cannot_be_read_are_422() {
    let lake = Lake::new(&[]);
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(records(0..50_000).as_bytes()).expect("packs");
    let packed = packed.finish().expect("packs");
    let gzip = ("Content-Encoding", "gzip");
    let parquet = ("Content-Type", "application/vnd.apache.parquet");
    let arrow = ("Content-Type", "application/vnd.apache.arrow.stream");
    let body = records(0..10).into_bytes();
    let array = format!("[{}", records(0..10_000).replace('\n', ","));
    for (headers, body, words) in [
        (&[NDJSON, gzip][..], &packed[..packed.len() / 2], "cut off"),
        (&[NDJSON, gzip], &body, "gzip -t"),
        (&[NDJSON, ("Content-Encoding", "zstd")], &body, "zstd -t"),
        (&[parquet], b"PAR1 and no more", "Parquet"),
        (&[arrow], b"no Arrow at all", "Arrow"),
        (&[CSV], b"place,m\nTW,1\n", "`m`"),
        (&[("Content-Type", "application/json")], array.as_bytes(), "early"),
    ] {
        is_problem(&lake.send("", headers, body), 422, "unreadable", words);
    }
    nothing_is_left(&lake, 0);
}

#[test]
fn too_many_bad_records_stop_their_source_visibly() {
    let lake = Lake::new(&[]);
    let bad =
        |from: u64, count: u64| -> String { (from..from + count).map(|_| "{\"n\":1,\"place\":\"XX\"}\n").collect() };
    // One in twenty is what a contract allows if it says nothing else, and five of a few.
    for (good, refused) in [(0, 6), (60_000, 7_000), (0, 200_000)] {
        let body = records(0..good) + &bad(good, refused);
        let answer = lake.send("?source=sensor-7", &[NDJSON], body.as_bytes());
        is_problem(&answer, 422, "too-many-rejects", "nothing was kept");
        let reasons = &json(&answer)["reasons"];
        assert_eq!(reasons.as_array().map(Vec::len), Some(refused.min(10) as usize), "the first reasons");
        assert_eq!((&reasons[0]["line"], &reasons[0]["code"]), (&(good + 1).into(), &"enum".into()));
        lake.daemon.await_log("source stopped table=\"probe.readings\" source=\"sensor-7\"");
    }
    let metrics = lake.metrics();
    assert!(metrics.contains("laked_sources_stopped_total{table=\"probe.readings\"} 3\n"), "{metrics}");
    nothing_is_left(&lake, 0);
}

#[test]
fn bombs_are_bounded() {
    let lake = Lake::new(&[("HTTP_UNPACKED_MOST", "8MiB")]);
    let blanks = vec![b' '; 64 << 20];
    let bomb = zstd::encode_all(&blanks[..], 3).expect("packs");
    let zstd = ("Content-Encoding", "zstd");
    is_problem(&lake.send("", &[NDJSON, zstd], &bomb), 422, "unreadable", "expands more than 1000 times");
    // As many records as are wanted, which no ratio gives away.
    let many: Vec<u8> =
        (0..1 << 20).flat_map(|n: u64| format!("{{\"n\":{n},\"place\":\"TW\"}}\n").into_bytes()).collect();
    let packed = zstd::encode_all(&many[..], 3).expect("packs");
    is_problem(&lake.send("", &[NDJSON, zstd], &packed), 422, "unreadable", "8388608 bytes");
    let same = parquet(std::iter::repeat_n(4, 2_000_000));
    assert!(same.len() < 64 << 10, "{}", same.len());
    let answer = lake.send("", &[("Content-Type", "application/vnd.apache.parquet")], &same);
    is_problem(&answer, 422, "unreadable", "8388608 bytes");
    nothing_is_left(&lake, 0);
}

#[test]
fn a_full_backlog_is_429_and_passes() {
    let lake = Lake::with(&["--commit-age", "1h"], &[("SPOOL_BACKLOG", "1KiB")]);
    assert_eq!(lake.send("", &[NDJSON], records(0..100).as_bytes()).status, 200);
    let answer = lake.send("", &[NDJSON], records(100..101).as_bytes());
    is_problem(&answer, 429, "busy", "Retry-After");
    let seconds: u64 = answer.header("retry-after").and_then(|text| text.parse().ok()).expect("seconds");
    assert!((1..60).contains(&seconds));
    let lake = lake.stopped();
    assert_eq!(lake.send("", &[NDJSON], records(100..101).as_bytes()).status, 200, "what was durable is committed");
}

#[test]
fn other_tables_and_other_words_are_refused() {
    let lake = Lake::new(&[]);
    let body = record(0);
    let elsewhere = format!("{}/ingest/probe/nowhere", lake.daemon.url);
    let answer = post(&elsewhere, &[NDJSON], body.as_bytes()).expect("an answer");
    is_problem(&answer, 404, "unknown-table", "schemas/probe/nowhere.toml");
    for query in ["?wait=forever", "?wiat=committed", "?wait=committed&wait=committed", "?source=", "?source=%0A"] {
        is_problem(&lake.send(query, &[NDJSON], body.as_bytes()), 400, "unknown-parameter", "");
    }
    let quarantine = post(&format!("{}__rejected", lake.door("")), &[NDJSON], body.as_bytes()).expect("an answer");
    is_problem(&quarantine, 404, "unknown-table", "no contract");
    nothing_is_left(&lake, 0);
}

#[test]
fn a_body_cut_off_leaves_nothing() {
    let lake = Lake::new(&[]);
    // In memory, and streamed by way of a file of the spool.
    for count in [10, 400_000] {
        let body = records(0..count);
        let mut wire = Wire::begin(&lake.door(""), &[NDJSON], body.len() + 1);
        wire.send(body.as_bytes());
        wire.cut_off();
    }
    nothing_is_left(&lake, 0);
}

#[test]
fn a_sender_that_falls_silent_is_cut_off() {
    let lake = Lake::new(&[("HTTP_IDLE", "50ms")]);
    let mut wire = Wire::begin(&lake.door(""), &[NDJSON], 1000);
    wire.send(record(0).as_bytes());
    is_problem(&wire.answer(), 400, "body-cut-off", "send it again");
    nothing_is_left(&lake, 0);
}

#[test]
fn slow_senders_do_not_hold_up_the_others() {
    let lake = Lake::new(&[("HTTP_IDLE", "1h")]);
    let body = |slot: u64| records(slot * 10_000..(slot + 1) * 10_000);
    let slow: Vec<Wire> = (0..40)
        .map(|slot| {
            let mut wire = Wire::begin(&lake.door(""), &[NDJSON], body(slot).len());
            wire.send(&body(slot).as_bytes()[..100_000]);
            wire
        })
        .collect();
    let mut quick = Wire::open(&lake.door("?wait=committed"), &[NDJSON], body(40).len());
    quick.send(body(40).as_bytes());
    let answer = quick.answer();
    assert_eq!((answer.status, &json(&answer)["accepted"]), (200, &10_000.into()));
    for (slot, mut wire) in (0..).zip(slow) {
        wire.send(&body(slot).as_bytes()[100_000..]);
        let answer = wire.answer();
        assert_eq!((answer.status, &json(&answer)["accepted"]), (200, &10_000.into()), "{}", answer.body);
    }
    let lake = lake.stopped();
    assert_eq!(lake.query("select count(*), count(distinct n) from probe.readings"), "410000,410000\n");
}

#[test]
fn the_answer_counts_and_names_the_first_reasons() {
    let lake = Lake::new(&[]);
    let bad = "{\"n\":-1,\"place\":\"TW\"}\n{\"n\":1}\n{\"n\":\"1\",\"place\":\"TW\"}\nnonsense\n".repeat(4);
    let answer = json(&lake.send("?wait=committed", &[NDJSON], (records(0..400) + &bad).as_bytes()));
    assert_eq!((&answer["accepted"], &answer["rejected"]), (&400.into(), &16.into()));
    let reasons = answer["reasons"].as_array().expect("reasons");
    let codes: Vec<&str> = reasons.iter().map(|reason| reason["code"].as_str().expect("a code")).collect();
    assert_eq!(codes[..4], ["range", "missing", "type", "syntax"]);
    assert_eq!(reasons.len(), 10);
    assert_eq!(
        (&reasons[0]["line"], &reasons[0]["record"], &reasons[0]["field"]),
        (&401.into(), &400.into(), &"n".into())
    );
    assert!(reasons.iter().all(|reason| reason["detail"].as_str().is_some_and(|detail| !detail.is_empty())));
    assert_eq!(lake.numbers().len(), 400);
    assert_eq!(lake.query(&format!("select count(*) from {TABLE}__rejected")), "16\n");
}
