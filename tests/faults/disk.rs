//! A disk that fails for a while: strace makes the daemon's calls return EIO or ENOSPC, then lets them be.
//!
//! A producer sends numbered records and repeats a request that is answered 503, with the same key. Nothing
//! acknowledged may be lost, nothing may be there twice, and the daemon recovers by itself once the fault is over.

use std::fmt::Write as _;
use std::path::Path;

use super::count;
use crate::kit::daemon::{Daemon, post};

const REQUESTS: u64 = 40;
const PER_REQUEST: u64 = 100;
/// How often a request is sent before the daemon is held not to have recovered.
const ATTEMPTS: u32 = 200;

fn body(request: u64) -> String {
    let mut text = String::new();
    for n in request * PER_REQUEST..(request + 1) * PER_REQUEST {
        let _ = writeln!(
            text,
            r#"{{"reading_id":"r{n}","user_id":"u1","device_id":"d1","timestamp":"2025-03-01T00:{:02}:{:02}Z","glucose_mg_dl":100,"country":"TW","source":"cgm","trend":"flat"}}"#,
            n / 60 % 60,
            n % 60,
        );
    }
    text
}

/// Sends a request until it is accepted; gives how often it was refused.
fn send(daemon: &Daemon, request: u64) -> u32 {
    let wait = if request % 2 == 1 { "?wait=committed" } else { "" };
    let url = format!("{}/ingest/glucose/cgm_readings{wait}", daemon.url);
    let key = format!("00000000-0000-7000-8000-{request:012}");
    let headers = [("Content-Type", "application/x-ndjson"), ("Idempotency-Key", key.as_str())];
    for refused in 0..ATTEMPTS {
        let answer = post(&url, &headers, body(request).as_bytes()).expect("the daemon lives");
        match answer.status {
            200 | 202 => return refused,
            status => assert_eq!(status, 503, "{}", answer.body),
        }
        assert!(answer.body.contains("\"detail\""), "a problem says what to do: {}", answer.body);
    }
    panic!("the daemon did not recover within {ATTEMPTS} attempts");
}

fn survives(lake: &Path, calls: &str, error: &str) {
    let inject = format!("inject={calls}:error={error}:when=12..15");
    let trace = format!("trace={calls}");
    let log = lake.with_extension("strace");
    let log_name = log.to_str().expect("UTF-8");
    let options = ["-D", "-f", "-qq", "-o", log_name, "-e", &trace, "-e", &inject].map(String::from);
    let daemon = Daemon::start_under("strace", &options, lake).expect("opening makes fewer calls than that");
    let refused: u32 = (0..REQUESTS).map(|request| send(&daemon, request)).sum();
    assert!(daemon.stop(), "it drains and ends well");
    let injected = std::fs::read_to_string(log).expect("strace wrote it").matches("(INJECTED)").count();
    println!("{calls} {error}: {injected} calls failed, {refused} requests were refused and sent again");
    assert!(injected > 0, "{calls} {error}: no call was made to fail");
    let wanted = REQUESTS * PER_REQUEST;
    assert_eq!(count(lake).lines().nth(1), Some(format!("{wanted},{wanted}").as_str()), "{calls} {error}");
}

#[test]
fn errors_of_the_disk_pass_and_nothing_is_lost() {
    for (calls, error) in [
        ("fdatasync", "EIO"),
        ("fdatasync", "ENOSPC"),
        ("renameat2", "ENOSPC"),
        ("renameat2", "EIO"),
        ("pwrite64", "ENOSPC"),
        ("pwrite64", "EIO"),
    ] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let lake = folder.path().join("lake");
        let first = Daemon::start(&lake).expect("starts");
        assert!(first.stop(), "a lake is made before the disk fails");
        survives(&lake, calls, error);
    }
}
