//! Bad records in quarantine: as they came, with every rule they break, and on their way back into the table.

use std::fs;

use serde_json::Value;

use super::{CSV, Lake, NDJSON, TABLE, json, records};
use crate::kit::readings::CONTRACT;

/// Good records in front, so that the bad ones are few.
const GOOD: u64 = 400;

/// A line that is bad, and the codes of the rules it breaks.
const BAD: [(&str, &[&str]); 11] = [
    (r#"{"n":-1,"place":"TW"}"#, &["range"]),
    (r#"{"n":-1,"place":"XX","at":"yesterday"}"#, &["enum", "range", "timestamp"]),
    (r#"{"place":null}"#, &["missing", "null"]),
    (r#"{"n":"5","place":"TW"}"#, &["type"]),
    (r#"{"n":5,"n":6,"place":"TW"}"#, &["duplicate-key"]),
    (r#"{"n":5,"place":"TW","more":true}"#, &["unknown-field"]),
    (r#"{"n":5,"place":"TW","at":"2016-12-31T23:59:60Z"}"#, &["timestamp"]),
    (r#"{"n":5,"place":"TW","at":"10000-01-01T00:00:00Z"}"#, &["timestamp"]),
    (r#"{"n":5,"place":"TW","at":"2025-01-01T00:00:00"}"#, &["naive-timestamp"]),
    (r#"{"n":NaN,"place":"TW"}"#, &["syntax"]),
    (r#"{"n":9223372036854775808,"place":"TW"}"#, &["range"]),
];

fn body() -> String {
    records(0..GOOD) + &BAD.map(|(line, _)| format!("{line}\n")).concat()
}

/// What quarantine holds of a source, in order, held to [`BAD`].
fn is_quarantined(lake: &Lake, source: &str, door: &str) {
    let sql = format!(
        "select line, record, raw, codes, reasons, lane, rejected_at > '2026-01-01' as late, length(contract) as hash \
         from {TABLE}__rejected where source = '{source}' order by record"
    );
    let found = lake.lakectl(&["query", "--format", "json", &sql]);
    let found: Vec<Value> = found.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(found.len(), BAD.len(), "{source}");
    for (at, (row, (line, wanted))) in (GOOD..).zip(found.iter().zip(BAD)) {
        assert_eq!((&row["line"], &row["record"], &row["raw"]), (&(at + 1).into(), &at.into(), &line.into()));
        let mut codes: Vec<&str> = row["codes"].as_str().expect("codes").split(',').collect();
        let reasons: Vec<Value> = serde_json::from_str(row["reasons"].as_str().expect("reasons")).expect("JSON");
        let coded: Vec<&str> = reasons.iter().map(|reason| reason["code"].as_str().expect("a code")).collect();
        assert_eq!(coded, codes, "{line}");
        codes.sort_unstable();
        assert_eq!(codes, wanted, "{line}");
        assert!(reasons.iter().all(|reason| reason["detail"].as_str().is_some_and(|text| !text.is_empty())), "{row}");
        assert!(row["lane"].as_str().is_some_and(|lane| lane.starts_with(door)), "{row}");
        assert_eq!((&row["late"], &row["hash"]), (&true.into(), &64.into()));
    }
}

#[test]
fn bad_records_are_kept_with_every_rule_they_break() {
    let lake = Lake::new(&[]);
    lake.drop("readings.ndjson", body().as_bytes());
    lake.await_commit();
    for (query, source) in [("?wait=committed", "http"), ("?wait=committed&source=gate%207", "gate 7")] {
        let answer = json(&lake.send(query, &[NDJSON], body().as_bytes()));
        assert_eq!((&answer["accepted"], &answer["rejected"]), (&GOOD.into(), &BAD.len().into()));
        is_quarantined(&lake, source, "push.");
    }
    is_quarantined(&lake, "readings.ndjson", "inbox.");
    assert_eq!(lake.numbers().len() as u64, 3 * GOOD);
    let listed = lake.lakectl(&["quarantine", "list", "--output", "json"]);
    let listed: Vec<Value> = listed.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let timestamps = |source: &str| {
        let one = |row: &&Value| row["source"] == source && row["codes"] == "timestamp";
        listed.iter().find(one).map(|row| row["records"].clone())
    };
    assert_eq!(["http", "gate 7", "readings.ndjson"].map(timestamps), [(); 3].map(|()| Some(2.into())));
    let shown =
        lake.lakectl(&["quarantine", "show", TABLE, "--source", "gate 7", "--code", "enum", "--output", "json"]);
    let shown: Value = serde_json::from_str(shown.trim()).expect("one record");
    assert_eq!(shown["raw"], BAD[1].0);
}

#[test]
fn what_is_mended_goes_into_the_table_once() {
    let lake = Lake::new(&[]);
    let more = |n: u64| format!("{{\"n\":{n},\"place\":\"KR\"}}\n");
    let bad: String = (1000..1005).map(more).collect();
    assert_eq!(
        lake.send("", &[NDJSON], (records(0..GOOD) + &bad + "{\"n\":-1,\"place\":\"TW\"}\n").as_bytes()).status,
        200
    );
    lake.drop("more.ndjson", (records(GOOD..2 * GOOD) + &more(1005)).as_bytes());
    lake.await_filed(1);
    let contract = lake.folder.contract();
    fs::write(contract, CONTRACT.replace("version = 1", "version = 2").replace("\"JP\"]", "\"JP\", \"KR\"]"))
        .expect("writes");
    let schemas = lake.folder.schemas();
    lake.lakectl(&["apply", "--schemas", schemas.to_str().expect("UTF-8")]);
    let mut lake = lake;
    let replay = |lake: &Lake, words: &[&str]| -> Value {
        let words = [&["quarantine", "replay", TABLE, "--output", "json"], words].concat();
        serde_json::from_str(&lake.lakectl(&words)).expect("JSON")
    };
    let first = replay(&lake, &["--code", "enum"]);
    assert_eq!((&first["sent"], &first["accepted"], &first["rejected"]), (&6.into(), &6.into(), &0.into()));
    let wanted = format!("{0},{0}\n", 2 * GOOD + 6);
    for restart in [None, Some(Lake::killed as fn(Lake) -> Lake)] {
        lake = match restart {
            Some(restart) => restart(lake),
            None => lake,
        };
        assert_eq!(lake.query("select count(*), count(distinct n) from probe.readings"), wanted);
        let again = replay(&lake, &["--code", "enum"]);
        assert_eq!((&again["sent"], &again["sent-before"]), (&0.into(), &6.into()), "nothing is left to send");
    }
    assert_eq!(
        lake.query("select count(*), count(distinct n) from probe.readings"),
        wanted,
        "a second replay adds nothing"
    );
    // What is still bad comes back as a new record that names where it came from.
    let rest = replay(&lake, &[]);
    assert_eq!((&rest["sent"], &rest["rejected"], &rest["sent-before"]), (&1.into(), &1.into(), &6.into()));
    let sources = lake.query(&format!("select source, count(*) from {TABLE}__rejected group by 1 order by 1"));
    assert_eq!(sources, "http,6\nmore.ndjson,1\nreplay,1\n");
}

#[test]
fn a_lake_without_a_daemon_remembers_what_was_replayed() {
    let lake = Lake::new(&[]);
    let body = records(0..GOOD) + "{\"n\":-1,\"place\":\"TW\"}\n";
    assert_eq!(lake.send("?wait=committed", &[NDJSON], body.as_bytes()).status, 200);
    let (path, schemas) = (lake.path(), lake.folder.path().join("schemas"));
    let Lake { folder, flags, settings, daemon } = lake;
    assert!(daemon.stop(), "it drains and ends well");
    let replay = || -> Value {
        let (path, schemas) = (path.to_str().expect("UTF-8"), schemas.to_str().expect("UTF-8"));
        let words = ["--lake", path, "--output", "json", "quarantine", "replay", TABLE, "--set", "n=1000"];
        serde_json::from_str(&crate::kit::daemon::lakectl(&[&words[..], &["--schemas", schemas]].concat()))
            .expect("JSON")
    };
    let (first, again) = (replay(), replay());
    assert_eq!((&first["sent"], &first["accepted"]), (&1.into(), &1.into()));
    assert_eq!((&again["sent"], &again["sent-before"]), (&0.into(), &1.into()));
    let lake = Lake::start(folder, flags, settings);
    assert_eq!(lake.numbers().len() as u64, GOOD + 1);
}

#[test]
fn a_record_that_is_not_held_whole_is_not_replayed() {
    let lake = Lake::new(&[]);
    let long = format!("{{\"n\":-1,\"place\":\"{}\"}}\n", "x".repeat(100 << 10));
    let good = records(0..GOOD);
    let bad = [b"{\"n\":5,\"place\":\"T\xff\"}\n", long.as_bytes(), b"{\"n\":-1,\"place\":\"TW\"}\n"];
    let body = [good.as_bytes(), &bad.concat()];
    let answer = json(&lake.send("?wait=committed", &[NDJSON], &body.concat()));
    assert_eq!(answer["rejected"], 3);
    let said = lake.lakectl(&["quarantine", "replay", TABLE, "--set", "n=7", "--output", "json"]);
    let said: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!((&said["sent"], &said["accepted"], &said["not-whole"]), (&1.into(), &1.into(), &2.into()));
    assert_eq!(lake.query("select count(*) from probe.readings"), format!("{}\n", GOOD + 1));
}

#[test]
fn records_of_csv_go_back_under_their_header() {
    let lake = Lake::new(&[]);
    let rows: String = (0..GOOD).map(|n| format!("TW,{n}\n")).collect();
    let body = format!("place,n\n{rows}\"K\nR\",1000\n");
    assert_eq!(json(&lake.send("?wait=committed", &[CSV], body.as_bytes()))["rejected"], 1);
    let shown = lake.lakectl(&["quarantine", "show", TABLE, "--output", "json"]);
    let shown: Value = serde_json::from_str(shown.trim()).expect("one record");
    assert_eq!((&shown["line"], &shown["raw"]), (&(GOOD + 2).into(), &"\"K\nR\",1000".into()));
    let said = lake.lakectl(&["quarantine", "replay", TABLE, "--header", "place,n", "--output", "json"]);
    assert!(said.contains("\"rejected\": 1"), "{said}");
}
