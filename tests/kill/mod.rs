//! Death at any instruction, by the release binary: killed at its n-th rename, fsync and unlink for n = 1, 2, 3 …
//!
//! A producer sends numbered records and sends a request again until it is answered, with the same idempotency key.
//! Each time the daemon dies it is started again, to die one call later. Between the requests the table's snapshots
//! expire, and their files are unlinked at once, so that deaths fall into that too. At the end each number is in the
//! table once, and nothing that a snapshot reaches is missing.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::kit::daemon::{Daemon, lakectl, post};

const RECORDS: u64 = 200_000;
const PER_REQUEST: u64 = 500;
/// Every so many requests the producer waits for the commit, so that deaths fall into commits too.
const WAIT_EVERY: u64 = 4;
/// Every so many requests all snapshots but the current one expire.
const EXPIRE_EVERY: u64 = 20;
const CALLS: &str = "rename,renameat,renameat2,fsync,fdatasync,unlink,unlinkat";

fn body(request: u64) -> String {
    let mut text = String::new();
    for n in request * PER_REQUEST..(request + 1) * PER_REQUEST {
        let country = ["TW", "JP", "KR", "SG"][(n % 4) as usize];
        let (hour, minute, second) = (n / 3600 % 24, n / 60 % 60, n % 60);
        let _ = writeln!(
            text,
            r#"{{"reading_id":"r{n}","user_id":"u{:03}","device_id":"d1","timestamp":"2025-03-{:02}T{hour:02}:{minute:02}:{second:02}Z","glucose_mg_dl":100,"country":"{country}","source":"cgm","trend":"flat"}}"#,
            n % 500,
            1 + n / 86_400,
        );
    }
    text
}

/// `-D`: the daemon is our child, not strace, so that ending it ends both. Without `--seccomp-bpf`, under which
/// strace 6.1 counts calls wrongly and injects nothing after the first.
pub fn strace(nth: u64) -> Vec<String> {
    ["-D", "-f", "-qq", "-o", "/dev/null", "-e"]
        .into_iter()
        .map(String::from)
        .chain([format!("trace={CALLS}"), "-e".into(), format!("inject={CALLS}:signal=KILL:when={nth}")])
        .collect()
}

/// Sends requests from `next` on until the daemon dies or all are answered; returns the first unanswered.
fn produce(daemon: &Daemon, mut next: u64) -> u64 {
    while next < RECORDS / PER_REQUEST {
        let wait = if next.is_multiple_of(WAIT_EVERY) { "?wait=committed" } else { "" };
        let url = format!("{}/ingest/glucose/cgm_readings{wait}", daemon.url);
        let key = format!("00000000-0000-7000-8000-{next:012}");
        let headers = [("Content-Type", "application/x-ndjson"), ("Idempotency-Key", key.as_str())];
        match post(&url, &headers, body(next).as_bytes()) {
            Ok(answer) if matches!(answer.status, 200 | 202) => {
                next += 1;
                if next.is_multiple_of(EXPIRE_EVERY) && !expires(daemon) {
                    break;
                }
            }
            Ok(answer) => assert_eq!(answer.status, 503, "{}", answer.body),
            Err(_) => break,
        }
    }
    next
}

/// Whether it lived through an expiry.
fn expires(daemon: &Daemon) -> bool {
    let url = format!("{}/maintain/glucose/cgm_readings/expire", daemon.url);
    let request = r#"{"asked":{"older-than-ms":0},"grace-ms":0}"#;
    match post(&url, &[("Content-Type", "application/json")], request.as_bytes()) {
        Ok(answer) => answer.status == 200 || panic!("{}", answer.body),
        Err(_) => false,
    }
}

fn counts(lake: &Path) -> String {
    let sql = "select count(*) as n, count(distinct reading_id) as d from glucose.cgm_readings";
    let lake = lake.to_str().expect("UTF-8 path");
    lakectl(&["--lake", lake, "query", "--format", "csv", sql])
}

#[test]
fn killed_at_every_nth_call_loses_and_doubles_nothing() {
    let strace_runs = Command::new("strace").arg("-V").stdout(Stdio::null()).status();
    assert!(strace_runs.is_ok(), "strace is missing: install it (apt-get install strace), as .ci/run does");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let lake = folder.path().join("lake");
    let (mut next, mut deaths) = (0, 0);
    for nth in 1.. {
        assert!(deaths < 1_000, "{next} requests answered after {deaths} deaths: it gets no further");
        // A daemon that dies before it listens is a death like any other.
        if let Ok(daemon) = Daemon::start_under("strace", &strace(nth), &lake) {
            next = produce(&daemon, next);
            if next == RECORDS / PER_REQUEST {
                break;
            }
        }
        deaths += 1;
    }
    let _ = std::io::stderr().write_all(format!("{deaths} deaths\n").as_bytes());
    assert!(deaths >= 20, "only {deaths} deaths: the sweep tried too little");
    let daemon = Daemon::start(&lake).expect("the lake opens after all that");
    assert!(daemon.stop(), "the daemon drains and ends well");
    assert_eq!(counts(&lake).lines().nth(1), Some(format!("{RECORDS},{RECORDS}").as_str()));
    let lake = lake.to_str().expect("UTF-8 path");
    lakectl(&["--lake", lake, "doctor", "--stopped"]);
}
