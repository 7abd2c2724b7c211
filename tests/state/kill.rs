//! Death within a commit, by the release binary: at its n-th write, sync, rename or unlink, each in turn.
//!
//! A client counts up in a table's property, every other request with a key of its own. Whenever the daemon dies it is
//! started again, to die one call later; the table then holds the number last answered or the one that was asked for,
//! whole. Asked again with its key, the request is then done, and was done once.

use std::path::Path;
use std::process::Command;

use super::{JSON, command, create, loaded, set, start};
use crate::kit::daemon::{Answer, Daemon, binary, lakectl, post};

/// Commits that a daemon is asked for, if it lives so long.
const COMMITS: u64 = 8;
/// How often each call is the last.
const TIMES: u64 = 10;
/// Each on its own: strace counts each thread's calls, and the frequent ones would always come first.
const CALLS: [&str; 6] = ["pwrite64", "fdatasync", "fsync", "rename", "renameat2", "unlink,unlinkat"];

fn start_to_die(lake: &Path, calls: &str, nth: u64) -> Option<Daemon> {
    let mut strace = Command::new("strace");
    strace.args(["-D", "-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={calls}")]);
    strace.args(["-e", &format!("inject={calls}:signal=KILL:when={nth}")]);
    strace.arg(binary("laked")).args(command(lake, &[]));
    Daemon::spawn(strace).ok()
}

/// What the table holds, and how many commits it has had: the number in its metadata file's name.
fn count(url: &str) -> (u64, u64) {
    let table = loaded(url, "t");
    let name = table["metadata-location"].as_str().and_then(|at| at.rsplit('/').next()).expect("a name");
    let commits = name.split('-').next().and_then(|number| number.parse().ok()).expect("a number");
    (table["metadata"]["properties"]["v"].as_str().map_or(0, |text| text.parse().expect("a number")), commits)
}

/// Whether the request for that number has a key: the files of those that have none follow their commit.
fn has_key(number: u64) -> bool {
    number % 2 == 1
}

fn ask(url: &str, number: u64) -> Result<Answer, String> {
    if !has_key(number) {
        return set(url, "t", "v", &number.to_string());
    }
    let key = format!("017f22e2-79b0-7cc3-98c4-{number:012}");
    let body = format!(r#"{{"updates":[{{"action":"set-properties","updates":{{"v":"{number}"}}}}]}}"#);
    post(&format!("{url}/v1/namespaces/n/tables/t"), &[JSON[0], ("Idempotency-Key", &key)], body.as_bytes())
}

#[test]
fn a_daemon_killed_within_a_commit_leaves_the_table_before_or_after() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let lake = folder.path().join("lake");
    let first = start(&lake, &[]);
    create(&first.url, "t");
    assert!(first.stop());
    let (mut answered, mut deaths, mut after) = (0, 0, 0);
    for (nth, calls) in (1..=TIMES).flat_map(|nth| CALLS.map(|calls| (nth, calls))) {
        let (mut asked, most) = (answered, answered + COMMITS);
        if let Some(daemon) = start_to_die(&lake, calls, nth) {
            while asked == answered && asked < most {
                asked += 1;
                if let Ok(answer) = ask(&daemon.url, asked) {
                    assert_eq!(answer.status, 200, "{answer:?}");
                    answered = asked;
                }
            }
        }
        deaths += u64::from(answered < most);
        let again = start(&lake, &[]);
        let (held, _) = count(&again.url);
        assert!(held == answered || held == asked, "{held} after {answered} was answered and {asked} asked for");
        after += u64::from(held > answered);
        let is_lost = asked > answered;
        answered = held;
        if is_lost && has_key(asked) {
            assert_eq!(ask(&again.url, asked).expect("answers").status, 200);
            answered = asked;
        }
        assert_eq!(count(&again.url), (answered, answered), "done once, each");
    }
    assert!(deaths >= 20 && after > 0, "{deaths} deaths, {after} after the commit took effect: too little was tried");
    let last = start(&lake, &[]);
    assert_eq!(set(&last.url, "t", "v", "last").expect("answers").status, 200);
    assert!(last.stop());
    let lake = lake.to_str().expect("UTF-8");
    assert!(lakectl(&["--lake", lake, "catalog", "check"]).contains("agree"));
}
