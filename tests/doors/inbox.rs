//! Files dropped into the inbox: the good ones go in whatever their form, the bad ones go aside with a reason, files
//! that are not finished are left alone.

use std::fs;
use std::io::Write;

use laked::flow::Packing;
use serde_json::Value;

use super::forms::{array, csv, packed, parquet, stream};
use super::{Lake, TABLE, record, records};
use crate::kit::daemon::get;

/// Bad files, each with words of its reason.
fn bad_files() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let zipped = packed(Packing::Gzip, records(0..50_000).as_bytes());
    let columns = parquet(0..1000);
    let bomb = packed(Packing::Zstd, &vec![b' '; 64 << 20]);
    let wrong = "{\"n\":1,\"place\":\"XX\"}\n".repeat(10);
    vec![
        ("empty.parquet", Vec::new(), "Parquet"),
        ("cut.ndjson.gz", zipped[..zipped.len() / 2].to_vec(), "cut off; send the whole file again"),
        ("cut.parquet", columns[..columns.len() - 10].to_vec(), "cut off"),
        ("magic.parquet", records(0..10).into_bytes(), "Parquet"),
        ("magic.arrow", columns.clone(), "Arrow"),
        ("magic.csv", columns.clone(), "Parquet"),
        ("plain.csv.gz", csv(0..10).into_bytes(), "gzip -t"),
        ("header.csv", b"place,m\nTW,1\n".to_vec(), "`m`"),
        ("form.txt", records(0..10).into_bytes(), ".ndjson"),
        ("wrong.ndjson", wrong.into_bytes(), "correct it"),
        ("utf16.ndjson", format!("\u{feff}{}", record(1)).encode_utf16().flat_map(u16::to_le_bytes).collect(), "UTF-"),
        ("latin.ndjson", b"{\"n\":1,\"place\":\"T\xfc\"}\n".repeat(10), "utf8"),
        ("bomb.ndjson.zst", bomb, "expands more than 1000 times"),
    ]
}

#[test]
fn bad_files_go_aside_with_their_reason_and_the_others_go_on() {
    let lake = Lake::new(&[]);
    let files = bad_files();
    for (n, (name, bytes, _)) in (0..).zip(&files) {
        lake.drop(name, bytes);
        lake.drop(&format!("good-{n}.ndjson"), record(n).as_bytes());
    }
    let stopped: Vec<_> =
        files.iter().map(|(name, ..)| format!("source stopped table=\"{TABLE}\" source=\"{name}\"")).collect();
    lake.daemon.await_logs(&stopped);
    for (name, bytes, words) in &files {
        let failed = lake.path().join("failed").join(TABLE);
        assert_eq!(fs::read(failed.join(name)).expect("the file"), *bytes, "{name} is kept as it came");
        let reason = fs::read_to_string(failed.join(format!("{name}.reason.json"))).expect("a reason");
        let reason: Value = serde_json::from_str(&reason).expect("JSON");
        assert!(reason["reason"].as_str().is_some_and(|reason| reason.contains(words)), "{name}: {words}: {reason}");
        assert_eq!(reason["file"], *name);
    }
    assert_eq!(lake.names("failed").len(), 2 * files.len());
    let count = files.len();
    let metrics = lake.metrics();
    assert!(metrics.contains(&format!("laked_sources_stopped_total{{table=\"{TABLE}\"}} {count}\n")), "{metrics}");
    let health = get(&format!("{}/health", lake.daemon.url)).expect("an answer");
    assert_eq!(health.status, 200, "bad files are no illness of the daemon: {}", health.body);
    assert!(files.iter().all(|(name, ..)| health.body.contains(name)), "{}", health.body);
    lake.await_filed(count);
    assert_eq!(lake.numbers(), (0..count as u64).collect::<Vec<_>>());
    assert_eq!(
        lake.query(&format!("select count(*) from {TABLE}__rejected")),
        "0\n",
        "a stopped source leaves nothing"
    );
}

#[test]
fn every_form_goes_in() {
    let lake = Lake::new(&[]);
    let files: [(&str, Vec<u8>); 11] = [
        ("a.ndjson", records(0..10).into_bytes()),
        ("b.jsonl", records(10..20).into_bytes()),
        ("c.json", array(20..30).into_bytes()),
        ("d.csv", csv(30..40).into_bytes()),
        ("e.parquet", parquet(40..50)),
        ("f.arrow", stream(50..60)),
        ("g.ndjson.gz", packed(Packing::Gzip, records(60..70).as_bytes())),
        ("h.jsonl.zst", packed(Packing::Zstd, records(70..80).as_bytes())),
        ("i.csv.gz", packed(Packing::Gzip, csv(80..90).as_bytes())),
        ("j.csv.zst", packed(Packing::Zstd, csv(90..100).as_bytes())),
        // Larger than what shares a commit.
        ("k.ndjson", records(100..300_000).into_bytes()),
    ];
    for (name, bytes) in &files {
        lake.drop(name, bytes);
    }
    lake.await_filed(files.len());
    assert_eq!(lake.query("select count(*), count(distinct n), max(n) from probe.readings"), "300000,300000,299999\n");
    assert_eq!(lake.names("done"), files.map(|(name, _)| name.to_owned()));
}

#[test]
fn empty_texts_are_done() {
    let lake = Lake::new(&[("INBOX_ONCE", "false")]);
    let names = ["bom.csv", "empty.csv", "empty.json", "empty.ndjson", "header.csv"];
    for name in names {
        let bytes: &[u8] = match name {
            "bom.csv" => b"\xef\xbb\xbf",
            "header.csv" => b"place,n\r\n",
            _ => b"",
        };
        lake.drop(name, bytes);
    }
    lake.await_filed(names.len());
    assert_eq!((lake.names("done"), lake.names("failed")), (names.map(str::to_owned).to_vec(), vec![]));
    assert!(lake.numbers().is_empty());
}

#[test]
fn names_of_unfinished_files_are_passed_over_until_they_are_renamed() {
    let lake = Lake::new(&[("INBOX_SETTLE", "0ms")]);
    let unfinished = [".a.ndjson", "b.ndjson.part", "c.ndjson.tmp"];
    for (n, name) in (0..).zip(unfinished) {
        lake.drop(name, record(n).as_bytes());
    }
    // What was there longer is claimed first.
    lake.drop("z.ndjson", record(9).as_bytes());
    lake.await_commit();
    assert_eq!(lake.names("inbox"), unfinished);
    assert_eq!(lake.numbers(), [9]);
    for name in unfinished {
        let finished = name.trim_start_matches('.').trim_end_matches(".part").trim_end_matches(".tmp");
        fs::rename(lake.inbox().join(name), lake.inbox().join(finished)).expect("renames");
    }
    lake.await_filed(4);
    assert_eq!(lake.numbers(), [0, 1, 2, 9]);
    assert_eq!(lake.names("done"), ["a.ndjson", "b.ndjson", "c.ndjson", "z.ndjson"]);
}

#[test]
fn a_file_that_is_being_written_is_left_alone_until_its_writer_closes_it() {
    let lake = Lake::new(&[("INBOX_SETTLE", "1h")]);
    let path = lake.inbox().join("slow.ndjson");
    let mut slow = fs::File::create(&path).expect("is made");
    for n in 0..5 {
        slow.write_all(record(n).as_bytes()).expect("writes");
        lake.drop(&format!("other-{n}.ndjson"), record(100 + n).as_bytes());
        lake.await_commit();
        assert!(path.exists(), "half a file is not claimed");
    }
    drop(slow);
    lake.await_commit();
    assert_eq!(lake.numbers(), [0, 1, 2, 3, 4, 100, 101, 102, 103, 104]);
}

#[test]
fn the_same_bytes_go_in_twice_if_that_is_set() {
    for (once, rows) in [("true", "10,10\n"), ("false", "20,10\n")] {
        let lake = Lake::new(&[("INBOX_ONCE", once)]);
        lake.drop("first.csv", csv(0..10).as_bytes());
        lake.await_commit();
        lake.drop("second.csv", csv(0..10).as_bytes());
        lake.drop("third.csv", b"n,place\n");
        lake.await_filed(3);
        assert_eq!(lake.query("select count(*), count(distinct n) from probe.readings"), rows, "once = {once}");
        assert_eq!(lake.names("duplicate").len(), usize::from(once == "true"));
    }
}
