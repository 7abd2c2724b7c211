//! The order of the release binary's system calls for one request that waits for its commit: what the simulated disk
//! assumes of the product is what the kernel is asked for.

use std::collections::BTreeMap;
use std::path::Path;

use crate::kit::daemon::{Daemon, post};

const RECORD: &str = r#"{"reading_id":"r1","user_id":"u1","device_id":"d1","timestamp":"2025-03-01T00:00:00Z","glucose_mg_dl":100,"country":"TW","source":"cgm","trend":"flat"}"#;
const CALLS: &str = "trace=write,writev,pwrite64,sendto,sendmsg,fsync,fdatasync,renameat2";

/// A call: its name, the text of its arguments, and the lines of the log at which it began and was over.
#[derive(Debug)]
struct Call {
    name: String,
    arguments: String,
    began: usize,
    ended: usize,
}

/// The calls in a log of `strace -f`, whose threads interrupt one another's lines.
fn calls(log: &str) -> Vec<Call> {
    let mut unfinished: BTreeMap<&str, Call> = BTreeMap::new();
    let mut calls = Vec::new();
    for (line, text) in log.lines().enumerate() {
        let Some((thread, rest)) = text.split_once(' ') else { continue };
        if rest.trim_start().starts_with("<... ") {
            calls.extend(unfinished.remove(thread).map(|call| Call { ended: line, ..call }));
        } else if let Some((name, arguments)) = rest.trim_start().split_once('(') {
            let (name, arguments) = (name.to_string(), arguments.to_string());
            let call = Call { name, arguments, began: line, ended: line };
            if call.arguments.contains("<unfinished") {
                unfinished.insert(thread, call);
            } else {
                calls.push(call);
            }
        }
    }
    calls.sort_by_key(|call| call.began);
    calls
}

/// The calls from the first write of a spool segment to the answer.
struct Trace(Vec<Call>);

impl Trace {
    fn of(log: &str) -> Trace {
        let calls = calls(log);
        let first = calls.iter().position(|call| call.name == "write" && call.arguments.contains(".seg>"));
        let answer = calls.iter().position(|call| call.arguments.contains("\"HTTP/1.1 200"));
        let (first, answer) = (first.expect("a segment is written"), answer.expect("an answer is sent"));
        Trace(calls.into_iter().skip(first).take(answer + 1 - first).collect())
    }

    /// A write of several buffers is a write.
    fn named<'a>(&'a self, name: &'a str, of: &'a str) -> impl Iterator<Item = &'a Call> {
        let is_it = move |call: &Call| call.name == name || name == "write" && call.name == "writev";
        self.0.iter().filter(move |call| is_it(call) && call.arguments.contains(of))
    }

    /// When the last call of this name on this file was over.
    fn over(&self, name: &str, of: &str) -> usize {
        self.named(name, of).map(|call| call.ended).max().unwrap_or_else(|| panic!("no {name} of {of}"))
    }

    /// When the first call of this name on this file began.
    fn begins(&self, name: &str, of: &str) -> usize {
        self.named(name, of).map(|call| call.began).min().unwrap_or_else(|| panic!("no {name} of {of}"))
    }
}

/// The two paths of a rename.
fn paths(call: &Call) -> (&str, &str) {
    let mut texts = call.arguments.split('"').skip(1).step_by(2);
    (texts.next().expect("a path"), texts.next().expect("another"))
}

/// The log of what a daemon calls while it is worked with, until it has ended.
fn traced(lake: &Path, work: impl FnOnce(&Daemon)) -> String {
    let log = lake.with_extension("strace");
    let log_name = log.to_str().expect("UTF-8");
    let options = ["-D", "-f", "-y", "-qq", "-s", "300", "-o", log_name, "-e", CALLS].map(String::from);
    let daemon = Daemon::start_under("strace", &options, lake).expect("starts");
    work(&daemon);
    assert!(daemon.stop(), "it drains and ends well");
    std::fs::read_to_string(log).expect("strace wrote it")
}

fn trace(lake: &Path) -> Trace {
    Trace::of(&traced(lake, |daemon| {
        let url = format!("{}/ingest/glucose/cgm_readings?wait=committed", daemon.url);
        let answer = post(&url, &[("Content-Type", "application/x-ndjson")], RECORD.as_bytes()).expect("answers");
        assert!(answer.status == 200 && answer.body.contains("\"committed\":true"), "{}", answer.body);
    }))
}

/// Its metadata file may follow: the same text is in the database's log.
#[test]
fn a_commit_by_rest_is_answered_when_the_database_is_durable_and_its_file_follows() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let log = traced(&folder.path().join("lake"), |daemon| {
        let table =
            r#"{"name":"t","schema":{"type":"struct","fields":[{"id":1,"name":"a","required":false,"type":"long"}]}}"#;
        let change = r#"{"requirements":[],"updates":[{"action":"set-properties","updates":{"v":"1"}}]}"#;
        for (path, body) in [("", r#"{"namespace":["n"]}"#), ("/n/tables", table), ("/n/tables/t", change)] {
            let url = format!("{}/v1/namespaces{path}", daemon.url);
            let answer = post(&url, &[("Content-Type", "application/json")], body.as_bytes()).expect("answers");
            assert_eq!(answer.status, 200, "{}", answer.body);
        }
    });
    let calls = calls(&log);
    let after = |line: usize, name: &'static str, of: &'static str| {
        calls.iter().find(move |call| call.began > line && call.name.ends_with(name) && call.arguments.contains(of))
    };
    let file = after(0, "write", "/n/t/metadata/00001-").expect("the metadata file is written").ended;
    let transaction = after(file, "pwrite64", "catalog.db-wal>").expect("then the transaction").ended;
    let durable = after(transaction, "fdatasync", "catalog.db-wal>").expect("which is synced").ended;
    let answer = calls.iter().find(|call| call.began > file && call.arguments.contains("\"HTTP/1.1 200"));
    assert!(durable < answer.expect("it is answered").began, "the answer comes after the sync");
    let settled = after(file, "fdatasync", "/n/t/metadata/00001-").expect("the file is synced too").ended;
    assert!(after(settled, "fsync", "/n/t/metadata>").is_some(), "and so is its name");
}

#[test]
fn a_request_is_durable_step_by_step_before_it_is_answered() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let trace = trace(&folder.path().join("lake"));
    assert!(trace.over("write", ".seg>") < trace.begins("fdatasync", ".seg>"), "the spool is synced when written");
    let kept = trace.over("fdatasync", ".seg>").max(trace.over("fsync", "/push>"));
    assert!(kept < trace.begins("write", "/staging/"), "nothing is made of records that are not durable");
    let renames: Vec<&Call> = trace.named("renameat2", "/staging/").collect();
    assert!(renames.len() >= 4, "data file, manifest, list, metadata: {renames:?}");
    // Its end is noted in the same log, and not synced: the commit is over by then.
    let intent = trace.named("write", "/intents/").next().expect("an intent");
    assert!(intent.ended < trace.begins("fdatasync", "/intents/"), "an intent is synced when written");
    let transaction = trace.begins("pwrite64", "catalog.db-wal>");
    for rename in renames {
        let (from, to) = paths(rename);
        let staged = format!("{from}>");
        assert!(trace.over("write", &staged) < trace.begins("fdatasync", &staged), "{to} is synced when written");
        assert!(trace.over("fdatasync", &staged) < rename.began, "{to} is durable before it has its name");
        assert!(trace.over("fdatasync", "/intents/") < rename.began, "the intent is durable before {to} is seen");
        let parent = format!("{}>", Path::new(to).parent().expect("a folder").display());
        let named = trace.named("fsync", &parent).find(|call| call.began > rename.ended);
        let named = named.unwrap_or_else(|| panic!("the folder of {to} is not synced"));
        assert!(named.ended < transaction, "{to} has its name durably before the table points to it");
    }
    let committed = trace.over("fdatasync", "catalog.db-wal>");
    assert!(trace.over("pwrite64", "catalog.db-wal>") < committed, "the transaction is synced when written");
    let answer = trace.0.last().expect("the answer");
    assert!(committed < answer.began, "the answer comes last: {answer:?}");
}
