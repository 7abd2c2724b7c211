//! The daemon puts a contract in force while records come in, keeps it over restarts, and tells what it cannot use.

use std::fs;
use std::sync::mpsc;

use serde_json::{Value, json};

use super::apply::second;
use super::{BODY, Lake, TABLE, await_body, get, post, produce};
use crate::kit::readings::CONTRACT;

/// Records of an inbox file.
const FILE: u64 = 50;
/// The first number of the first inbox file.
const FILES: u64 = 100_000;

impl Lake {
    fn status(&self) -> Value {
        serde_json::from_str(&get(&format!("{}/status", self.url())).expect("an answer").body).expect("JSON")
    }

    /// What is told of the table's contract.
    fn in_force(&self) -> Value {
        self.status()["tables"][0]["contract"].clone()
    }

    /// Sends records, waits for their commit; gives the answer.
    fn post(&self, path: &str, records: &str) -> Value {
        let url = format!("{}/ingest/{path}?wait=committed", self.url());
        let answer = post(&url, &[("Content-Type", "application/x-ndjson")], records.as_bytes()).expect("an answer");
        serde_json::from_str(&answer.body).unwrap_or_else(|error| panic!("{error}: {}", answer.body))
    }

    fn drop_file(&self, number: u64) {
        let records = (FILES + number * FILE..FILES + (number + 1) * FILE).map(|n| format!("{n},TW\n"));
        let path = self.path().join(format!("inbox/{TABLE}"));
        let part = path.join(format!("{number}.csv.part"));
        fs::write(&part, format!("n,place\n{}", records.collect::<String>())).expect("writes");
        fs::rename(&part, path.join(format!("{number}.csv"))).expect("renames");
    }

    fn csv(&self, sql: &str) -> String {
        self.lakectl(&["query", "--format", "csv", sql]).lines().skip(1).collect::<Vec<_>>().join(";")
    }
}

#[test]
fn a_contract_comes_in_force_under_producers_and_no_record_is_lost_or_doubled() {
    let mut lake = Lake::new();
    let (tell, told) = mpsc::channel();
    let url = lake.url().to_owned();
    let producer = std::thread::spawn(move || produce(&url, 0..60, &tell));
    let new = |n: u64| format!("{{\"n\":{n},\"place\":\"KR\",\"note\":\"new\"}}\n");
    assert_eq!(lake.post("probe/readings", &new(1_500_000))["rejected"], 1);
    (0..4).for_each(|number| lake.drop_file(number));
    await_body(&told, 20);
    lake.write_contract(&second());
    let (code, out, complaint) = lake.contracts("apply", &[]);
    assert!(code == 0 && out.contains("+ note"), "{out} {complaint}");
    // Who has the answer to `apply` has the contract in force.
    assert_eq!(lake.in_force()["version"], 2);
    let records: String = (1_500_000..1_500_010).map(new).collect();
    assert_eq!(lake.post("probe/readings", &records)["accepted"], 10);
    (4..8).for_each(|number| lake.drop_file(number));
    producer.join().expect("the producer ends well");
    let done = lake.path().join(format!("done/{TABLE}"));
    let filed = || (0..8).all(|number| done.join(format!("{number}.csv")).exists());
    lake.daemon.as_ref().expect("a daemon").until("every file is taken in", filed);
    let wanted: Vec<u64> = (0..60 * BODY).chain(FILES..FILES + 8 * FILE).chain(1_500_000..1_500_010).collect();
    assert_eq!(lake.numbers(), wanted);
    assert_eq!(lake.csv(&format!("select count(note), count(*) from {TABLE} where place = 'KR'")), "10,10");
    assert_eq!(lake.csv(&format!("select count(*) from {TABLE}__rejected")), "1", "the one from before");
    lake.stop();
    lake.start();
    assert_eq!(lake.in_force()["version"], 2);
    assert_eq!(lake.post("probe/readings", &new(1_600_000))["accepted"], 1);
    let doctor = {
        lake.stop();
        lake.json(&["doctor", "--deep", "--stopped"])
    };
    assert_eq!(doctor["violations"], json!([]));
}

#[test]
fn what_the_spool_holds_by_the_old_contract_is_committed_under_the_new_names() {
    let mut lake = Lake::new();
    let ours = tempfile::tempdir().expect("a temporary folder");
    fs::create_dir(ours.path().join("probe")).expect("a folder");
    let apply = |lake: &Lake, text: &str| {
        fs::write(ours.path().join("probe/readings.toml"), text).expect("writes");
        lake.lakectl(&["apply", "--schemas", ours.path().to_str().expect("UTF-8")])
    };
    // Applied from elsewhere: the daemon's own folder keeps the first version.
    apply(&lake, &(second() + "more = \"long\"\n"));
    lake.stop();
    lake.start_with("1h");
    let body = "{\"n\":1,\"place\":\"TW\",\"note\":\"old\",\"more\":1}\n{\"n\":2,\"place\":\"QQ\",\"note\":\"bad\"}\n";
    let url = format!("{}/ingest/probe/readings", lake.url());
    let good: String = (100..140).map(|n| format!("{{\"n\":{n},\"place\":\"JP\"}}\n")).collect();
    let answer = post(&url, &[("Content-Type", "application/x-ndjson")], format!("{body}{good}").as_bytes());
    assert_eq!(answer.expect("an answer").status, 200);
    // Killed: what was answered is in the spool and nowhere else.
    drop(lake.daemon.take());
    assert_eq!(lake.numbers(), Vec::<u64>::new());
    let third = second().replace("version = 2", "version = 3").replace("note = {", "remark = { was = \"note\",");
    assert!(apply(&lake, &third).contains("- note: string -- Why."));
    lake.lakectl(&["evolve-schema", TABLE, "drop", "more"]);
    lake.start();
    assert_eq!((&lake.in_force()["version"], &lake.in_force()["waiting"]["version"]), (&json!(3), &json!(1)));
    let new = "{\"n\":3,\"place\":\"KR\",\"remark\":\"new\"}\n";
    assert_eq!(lake.post("probe/readings", new)["accepted"], 1);
    let found = lake.csv(&format!("select n, remark from {TABLE} where n < 100 order by n"));
    assert_eq!(found, "1,old;3,new");
    assert_eq!(lake.numbers().len(), 42);
    // What was refused when it came stays refused, by the contract it was held to.
    let refused = lake.csv(&format!("select count(*), count(distinct contract) from {TABLE}__rejected"));
    assert_eq!(refused, "1,1");
}

#[test]
fn what_cannot_be_used_is_told_and_changes_nothing_and_a_new_file_is_a_new_table() {
    let mut lake = Lake::new();
    let daemon = lake.daemon.as_ref().expect("a daemon");
    let told = |words: &str| daemon.await_log(words);
    lake.write_contract(&CONTRACT.replace("place\"]", "plaice\"]"));
    told("no field `plaice`");
    lake.write_contract(&CONTRACT.replace("1000000]", "2000000]"));
    told("version 1 was published with another text");
    assert_eq!(lake.in_force()["version"], 1);
    assert!(lake.in_force()["waiting"]["reason"].as_str().is_some_and(|reason| reason.contains("raise")));
    lake.write_contract(&second());
    told("`lakectl apply probe.readings` puts it in force");
    let health = get(&format!("{}/health", lake.url())).expect("an answer");
    assert!(health.status == 200 && health.body.contains("version 2 is not in force"), "{}", health.body);
    let metrics = get(&format!("{}/metrics", lake.url())).expect("an answer").body;
    assert!(metrics.contains("laked_contract_waiting{table=\"probe.readings\"} 1"), "{metrics}");
    assert!(metrics.contains("laked_contract_version{table=\"probe.readings\"} 1"), "{metrics}");
    lake.send(0..1);
    assert_eq!(lake.post("probe/readings", "{\"n\":1,\"place\":\"TW\",\"note\":\"x\"}\n")["rejected"], 1);
    assert_eq!(lake.numbers().len(), BODY as usize);

    fs::write(lake.folder.schemas().join("probe/fresh.toml"), "[fields]\nn = \"long\"\n").expect("writes");
    let there = || get(&format!("{}/v1/namespaces/probe/tables/fresh", lake.url())).is_ok_and(|got| got.status == 200);
    daemon.until("the table is there", || there() && lake.path().join("inbox/probe.fresh").exists());
    daemon.until("its door is open", || lake.post("probe/fresh", "{\"n\":1}\n")["accepted"] == 1);
    fs::write(lake.path().join("inbox/probe.fresh/a.ndjson"), "{\"n\":2}\n").expect("writes");
    daemon.until("its file is taken in", || lake.path().join("done/probe.fresh/a.ndjson").exists());
    assert_eq!(lake.csv("select count(*), count(distinct n) from probe.fresh"), "2,2");
    lake.stop();
}

#[test]
fn a_daemon_does_not_start_on_a_published_version_with_another_text() {
    let mut lake = Lake::new();
    lake.lakectl(&["contract", "lock", lake.folder.schemas().to_str().expect("UTF-8")]);
    lake.stop();
    lake.write_contract(&CONTRACT.replace("1000000]", "2000000]"));
    let output = lake.folder.served().output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && said.contains("raise the version to 2"), "{said}");
    lake.write_contract(&second());
    lake.start();
    assert_eq!(lake.in_force()["version"], 1, "a restart puts nothing in force");
    lake.stop();
}
