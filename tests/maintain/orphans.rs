//! `lakectl remove-orphans`, while records come in.

use std::fs;
use std::sync::mpsc;

use serde_json::json;

use super::{BODY, Lake, TABLE, await_body, produce};

#[test]
fn leftovers_go_and_what_is_under_way_stays() {
    let mut lake = Lake::new();
    lake.send(0..2);
    let folder = lake.metadata()["location"].as_str().expect("a location").replace("file://", "");
    let (old, young) = (format!("{folder}/data/lost.parquet"), format!("{folder}/metadata/lost.avro"));
    for file in [&old, &young] {
        fs::write(file, b"lost").expect("is written");
    }
    let age = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_000);
    fs::File::options().append(true).open(&old).and_then(|file| file.set_modified(age)).expect("is old");
    let dry = lake.json(&["remove-orphans", TABLE, "--dry-run"]);
    assert_eq!((&dry["files"], &dry["bytes"], &dry["young"]), (&1.into(), &4.into(), &1.into()));
    assert_eq!(dry["named"], json!([format!("file://{old}")]));
    assert!(fs::exists(&old).expect("is looked at"), "a dry run does nothing");
    lake.lakectl(&["remove-orphans", TABLE]);
    assert!(!fs::exists(&old).expect("is looked at") && fs::exists(&young).expect("is looked at"));
    // With no age at all, beside a producer: only what nobody has under way goes.
    let url = lake.url().to_owned();
    let (tell, told) = mpsc::channel();
    let producer = std::thread::spawn(move || produce(&url, 2..40, &tell));
    for body in [5, 10, 15, 20, 25, 30] {
        await_body(&told, body);
        lake.lakectl(&["remove-orphans", TABLE, "--older-than", "0s", "--force"]);
    }
    assert!(producer.join().is_ok());
    assert!(!fs::exists(&young).expect("is looked at"));
    assert_eq!(lake.numbers(), (0..40 * BODY).collect::<Vec<_>>());
    for (words, said) in [
        (&["remove-orphans", "probe.none"][..], "there is no table"),
        (&["remove-orphans", TABLE, "--older-than", "1h"], "--force"),
        (&["remove-orphans", TABLE, "--older-than", "-3d"], "no length of time"),
    ] {
        lake.refuses(words, said);
    }
    lake.stop();
    assert_eq!(lake.json(&["remove-orphans", TABLE, "--older-than", "0s", "--force"])["files"], 0);
    assert_eq!(lake.json(&["doctor", "--deep", "--stopped"])["violations"], json!([]));
}

#[test]
fn what_a_killed_compaction_has_staged_goes_at_once() {
    let mut lake = Lake::new();
    lake.send(0..6);
    let folder = lake.metadata()["location"].as_str().expect("a location").replace("file://", "");
    let staged = || -> Vec<String> {
        let entries = fs::read_dir(&folder).expect("lists").map(|entry| entry.expect("an entry").file_name());
        let names = entries.map(|name| name.into_string().expect("UTF-8"));
        names.filter(|name| name.starts_with(".staging-")).collect()
    };
    assert!(lake.dies_at("rename,renameat2", 1, &["compact", TABLE]), "files are staged, none has its name");
    assert_eq!(staged().len(), 2, "a folder and its lock");
    let dry = lake.json(&["remove-orphans", TABLE, "--dry-run"]);
    assert!(dry["files"].as_u64() >= Some(1) && staged().len() == 2, "{dry}");
    let done = lake.json(&["remove-orphans", TABLE]);
    assert_eq!((&done["files"], &done["bytes"], staged()), (&dry["files"], &dry["bytes"], Vec::new()));
    // Who lives through it leaves nothing.
    lake.lakectl(&["compact", TABLE]);
    assert_eq!((lake.numbers(), staged()), ((0..6 * BODY).collect::<Vec<_>>(), Vec::new()));
    lake.stop();
}
