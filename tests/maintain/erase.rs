//! `lakectl erase`: a person is in the table, its older snapshots, quarantine, spool and finished files; afterwards no byte
//! of the lake's folder has them, and everybody else is as before.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc;

use iceberg::spec::Manifest;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value, json};

use super::expire::set_property;
use super::{Lake, TABLE};
use crate::kit::daemon::{binary, post};
use crate::kit::readings::Readings;

const CONTRACT: &str = r#"
[table]
version = 1
partition = ["place"]
reject_limit = "100%"

[fields]
n = { type = "long", required = true, range = [0, 1000000] }
who = { type = "string", required = true }
place = { type = "string", required = true, enum = ["TW", "JP"] }
"#;

/// Nobody else's name has it in it.
const PERSON: &str = "zq7-erased-person";
const WHERE: &str = "who = 'zq7-erased-person'";
/// Records of a body; two of them are the person's.
const BODY: u64 = 10;

fn who(n: u64) -> String {
    if n % 5 == 3 { PERSON.to_string() } else { format!("zz-somebody-{}", n % 7) }
}

fn record(n: u64) -> String {
    format!("{{\"n\":{n},\"who\":\"{}\",\"place\":\"{}\"}}\n", who(n), ["TW", "JP"][n as usize % 2])
}

/// What is left of some numbers.
fn others(numbers: std::ops::Range<u64>) -> Vec<u64> {
    numbers.filter(|n| n % 5 != 3).collect()
}

fn lake_of(contract: &str) -> Lake {
    let mut lake = Lake { folder: Readings::new(), daemon: None };
    fs::write(lake.folder.contract(), contract).expect("writes");
    lake.start();
    lake
}

fn send(url: &str, text: &str) {
    let url = format!("{url}/ingest/probe/readings?wait=committed");
    let answer = post(&url, &[("Content-Type", "application/x-ndjson")], text.as_bytes()).expect("an answer");
    assert!(matches!(answer.status, 200 | 202), "{}", answer.body);
}

fn body(number: u64) -> String {
    (number * BODY..(number + 1) * BODY).map(record).collect()
}

/// A file that is dropped, and has been filed away under that folder when this returns.
fn drop_file(lake: &Lake, name: &str, text: &str, folder: &str) {
    let beside = lake.path().join(name);
    fs::write(&beside, text).expect("writes");
    fs::rename(&beside, lake.path().join("inbox").join(TABLE).join(name)).expect("moves");
    let target = lake.path().join(folder).join(TABLE).join(name);
    lake.daemon.as_ref().expect("a daemon").until("the file is filed away", || target.exists());
}

/// Wherever the person can be: 40 rows of 200 in the table, 2 refused records, finished files of 4 rows.
fn filled() -> Lake {
    let lake = lake_of(CONTRACT);
    let url = lake.url().to_owned();
    (0..20).for_each(|number| send(&url, &body(number)));
    let refused = |n: i64, who: &str| format!("{{\"n\":{n},\"who\":\"{who}\",\"place\":\"TW\"}}\n");
    send(&url, &[refused(-1, PERSON), refused(-2, "zz-somebody-1"), refused(-3, PERSON)].concat());
    drop_file(&lake, "hers.ndjson", &(1000..1010).map(record).collect::<String>(), "done");
    drop_file(&lake, "theirs.csv", "n,who,place\n2000,zz-somebody-2,TW\n", "done");
    drop_file(&lake, "hers-again.ndjson", &(1000..1010).map(record).collect::<String>(), "duplicate");
    lake
}

fn numbers_left(more: std::ops::Range<u64>) -> Vec<u64> {
    let mut left = others(0..200);
    left.extend(others(1000..1010));
    left.push(2000);
    left.extend(more);
    left.sort_unstable();
    left
}

/// Every file of a folder that has these bytes, as they are or in what Parquet and Avro pack.
pub fn with_bytes(folder: &Path, needle: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.to_string_lossy().contains(needle) {
            found.push(path.clone());
        }
        if path.is_dir() {
            found.extend(with_bytes(&path, needle));
        } else if let Ok(bytes) = fs::read(&path) {
            let plain = needle.is_empty() || bytes.windows(needle.len()).any(|window| window == needle.as_bytes());
            if plain || unpacked(&path, &bytes).contains(needle) {
                found.push(path);
            }
        }
    }
    found
}

fn unpacked(path: &Path, bytes: &[u8]) -> String {
    match path.extension().and_then(|end| end.to_str()) {
        Some("parquet") => {
            let file = fs::File::open(path).expect("opens");
            let Ok(builder) = ParquetRecordBatchReaderBuilder::try_new(file) else { return String::new() };
            let batches =
                builder.build().expect("a reader").map(|batch| format!("{:?}", batch.expect("rows").columns()));
            batches.collect()
        }
        Some("avro") => {
            Manifest::parse_avro(bytes).map(|manifest| format!("{:?}", manifest.entries())).unwrap_or_default()
        }
        _ => String::new(),
    }
}

fn erase(lake: &Lake, more: &[&str]) -> Value {
    let schemas = lake.folder.schemas();
    let words = [&["erase", TABLE, "--where", WHERE, "--schemas", schemas.to_str().expect("UTF-8")], more].concat();
    lake.json(&words)
}

#[test]
fn no_byte_of_a_person_is_left_and_everybody_else_is_beside_a_producer() {
    let mut lake = filled();
    assert!(with_bytes(&lake.path(), PERSON).len() > 20, "they are looked for where they are");
    let dry = erase(&lake, &["--dry-run"]);
    let rows = |certificate: &Value, place: &str| certificate["removed"][place]["rows"].clone();
    assert_eq!((rows(&dry, "table"), rows(&dry, "quarantine")), (json!(42), json!(2)), "{dry}");
    assert_eq!((rows(&dry, "done"), rows(&dry, "duplicate")), (json!(2), json!(2)), "{dry}");
    let url = lake.url().to_owned();
    let (tell, told) = mpsc::channel();
    let producer = std::thread::spawn(move || {
        for n in 3000..3060 {
            send(&url, &format!("{{\"n\":{n},\"who\":\"zz-somebody-0\",\"place\":\"TW\"}}\n"));
            let _ = tell.send(n);
        }
    });
    assert!(told.iter().any(|n| n == 3010));
    let done = erase(&lake, &[]);
    for place in ["table", "quarantine", "done", "duplicate"] {
        assert_eq!(rows(&done, place), rows(&dry, place), "{place}: {done}");
    }
    assert!(done["removed"]["spool"]["files"].as_u64() >= Some(1), "{done}");
    assert!(done["snapshots-expired"].as_array().is_some_and(|all| all.len() >= 20), "{done}");
    assert!(producer.join().is_ok());
    // A commit of the producer may have been under way, and nothing else may be told.
    let under_way = |held: &Value| held["why"].as_str().is_some_and(|why| why.contains("under way"));
    assert!(done["held"].as_array().expect("a list").iter().all(under_way), "{done}");
    assert_eq!(with_bytes(&lake.path(), PERSON), Vec::<PathBuf>::new());
    assert_eq!(lake.numbers(), numbers_left(3000..3060));
    assert!(lake.path().join("done").join(TABLE).join("theirs.csv").exists(), "it has nothing of theirs");
    let again = erase(&lake, &[]);
    assert_eq!((&again["complete"], rows(&again, "table")), (&json!(true), Value::Null), "{again}");
    let orphans = lake.json(&["remove-orphans", TABLE, "--dry-run", "--force", "--older-than", "0s"]);
    assert_eq!(orphans["files"], 0, "{orphans}");
    let kept = done["kept-at"].as_str().expect("a place");
    assert_eq!(serde_json::from_slice::<Value>(&fs::read(kept).expect("reads")).expect("JSON"), done);
    assert_eq!(lake.lakectl(&["quarantine", "show", TABLE]).matches("zz-somebody-1").count(), 1);
    lake.stop();
    assert_eq!(lake.json(&["doctor", "--deep", "--stopped"])["violations"], json!([]));
}

#[test]
fn a_dry_run_changes_nothing_with_a_daemon_and_without() {
    let mut lake = filled();
    let files = |lake: &Lake| -> Vec<PathBuf> {
        // What a daemon keeps up by itself is no change.
        let mut all = with_bytes(&lake.path(), "");
        all.retain(|path| !path.to_string_lossy().contains("catalog.db"));
        all.sort();
        all
    };
    let (before, beside) = (files(&lake), erase(&lake, &["--dry-run"]));
    assert_eq!(files(&lake), before);
    lake.stop();
    let (before, alone) = (files(&lake), erase(&lake, &["--dry-run"]));
    assert_eq!(files(&lake), before);
    assert_eq!(alone["removed"], beside["removed"]);
    assert_eq!((&alone["dry-run"], &alone["complete"]), (&json!(true), &json!(false)));
}

#[test]
fn the_certificate_says_what_holds_it_still() {
    let lake = filled();
    lake.lakectl(&["tag", "create", TABLE, "v1"]);
    send(lake.url(), "{\"n\":-9,\"place\":\"TW\"}\n");
    let failed = lake.path().join("failed").join(TABLE).join("mixed.ndjson");
    fs::write(&failed, [record(13), record(14)].concat()).expect("writes");
    let done = erase(&lake, &[]);
    let held = done["held"].to_string();
    assert!(held.contains("`v1`") && held.contains("mixed.ndjson"), "{held}");
    assert_eq!(done["complete"], false);
    assert!(failed.exists());
    assert_eq!(lake.numbers(), numbers_left(0..0), "readers of the table see none of it all the same");
    let left = with_bytes(&lake.path(), PERSON);
    assert!(left.iter().any(|path| path.ends_with("mixed.ndjson")) && left.len() > 2, "{left:?}");
    let done = erase(&lake, &["--drop-refs", "--remove-failed"]);
    assert_eq!((&done["complete"], &done["refs-dropped"]), (&json!(true), &json!(["v1"])), "{done}");
    assert_eq!(with_bytes(&lake.path(), PERSON), Vec::<PathBuf>::new());
    assert_eq!(lake.numbers(), numbers_left(0..0));
}

#[test]
fn a_person_that_is_a_partition_leaves_no_folder() {
    let lake = lake_of(&CONTRACT.replace("[\"place\"]", "[\"who\"]"));
    (0..3).for_each(|number| send(lake.url(), &body(number)));
    let done = erase(&lake, &[]);
    assert_eq!((&done["complete"], &done["removed"]["table"]["rows"]), (&json!(true), &json!(6)), "{done}");
    assert_eq!(lake.numbers(), others(0..30));
    assert_eq!(with_bytes(&lake.path(), PERSON), Vec::<PathBuf>::new());
}

#[test]
fn killed_at_any_call_an_erase_goes_on_when_it_is_asked_for_again() {
    let mut lake = filled();
    lake.stop();
    let (place, schemas) = (lake.path(), lake.folder.schemas());
    let mut deaths = 0;
    for (calls, step) in [("rename,renameat2", 1), ("unlink,unlinkat", 5), ("fsync,fdatasync", 7)] {
        for nth in 1..200 {
            let mut strace = Command::new("strace");
            strace.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={calls}")]);
            strace.args(["-e", &format!("inject={calls}:signal=KILL:when={}", nth * step)]);
            strace.arg(binary("lakectl")).arg("--lake").arg(&place);
            strace.args(["erase", TABLE, "--where", WHERE]).arg("--schemas").arg(&schemas);
            let output = strace.output().expect("strace runs: install it (apt-get install strace), as .ci/run does");
            if output.status.success() {
                break;
            }
            deaths += 1;
        }
    }
    assert!(deaths >= 20, "{deaths} deaths");
    let done = erase(&lake, &[]);
    assert_eq!(done["complete"], true, "{done}");
    assert_eq!(with_bytes(&lake.path(), PERSON), Vec::<PathBuf>::new());
    assert_eq!(lake.numbers(), numbers_left(0..0));
    assert_eq!(lake.json(&["doctor", "--deep", "--stopped"])["violations"], json!([]));
    let sum = |place: &str| {
        let folder = fs::read_dir(lake.path().join("erasures")).expect("a folder");
        let read = |entry: fs::DirEntry| serde_json::from_slice::<Value>(&fs::read(entry.path()).expect("reads"));
        let all = folder.map(|entry| read(entry.expect("an entry")).expect("JSON"));
        all.filter_map(|one| one["removed"][place]["rows"].as_u64()).sum::<u64>()
    };
    assert_eq!((sum("table"), sum("quarantine")), (42, 2), "counted once, whenever it died");
}

#[test]
fn bad_requests_say_what_is_possible_and_change_nothing() {
    let lake = lake_of(CONTRACT);
    send(lake.url(), &body(0));
    for (words, said) in [
        (&["erase", "probe.none", "--where", WHERE][..], "there is no table"),
        (&["erase", "readings", "--where", WHERE], "namespace.table"),
        (&["erase", TABLE], "--where"),
        (&["erase", TABLE, "--where", "whom = 'a'"], "there are: n, who, place"),
        (&["erase", TABLE, "--where", "who like '%a%'"], "one % at its end"),
        (&["erase", TABLE, "--where", WHERE, "--grace", "-1h"], "no length of time"),
    ] {
        lake.refuses(words, said);
    }
    set_property(&lake, "gc.enabled", "false");
    lake.refuses(&["erase", TABLE, "--where", WHERE], "gc.enabled");
}
