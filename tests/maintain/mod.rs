//! Tables that are changed while records come in: what a verb does, what it refuses, and that no row is lost for it.

#![allow(clippy::disallowed_methods, reason = "a sender is no part of the product")]

mod adopt;
mod apply;
mod bad_input;
mod beside;
mod compact;
mod compact_histories;
mod compact_verb;
mod curve;
mod erase;
mod erase_histories;
mod erase_leftovers;
mod evolve;
mod expire;
mod inspect;
mod killed;
mod moving;
mod orphans;
mod publish;
mod refs;
mod row_ids;
mod schedule;
mod schema;

use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::mpsc;

use serde_json::Value;

use crate::kit::daemon::{Daemon, binary, get, post};
use crate::kit::readings::{Readings, TABLE};

/// Records of a body.
const BODY: u64 = 10;

/// A lake of one table; `laked` serves it, or nobody does.
struct Lake {
    folder: Readings,
    daemon: Option<Daemon>,
}

impl Lake {
    fn new() -> Lake {
        let mut lake = Lake { folder: Readings::new(), daemon: None };
        lake.start();
        lake
    }

    /// Runs `lakectl`, through the daemon if one runs, and kills it at its `nth` such call: false if it ended well before.
    fn dies_at(&self, calls: &str, nth: u64, words: &[&str]) -> bool {
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={calls}")]);
        strace.args(["-e", &format!("inject={calls}:signal=KILL:when={nth}")]);
        self.adds_place(strace.arg(binary("lakectl")));
        let output =
            strace.args(words).output().expect("strace runs: install it (apt-get install strace), as .ci/run does");
        let died = output.status.signal() == Some(9);
        assert!(died || output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        died
    }

    fn start(&mut self) {
        self.start_with("50ms");
    }

    /// Starts a daemon that commits after this time.
    fn start_with(&mut self, age: &str) {
        let mut command = self.folder.served();
        command.args(["--commit-age", age]);
        self.daemon = Some(Daemon::spawn(command).expect("the daemon starts"));
    }

    fn stop(&mut self) {
        assert!(self.daemon.take().is_some_and(Daemon::stop), "it drains and ends well");
    }

    fn path(&self) -> PathBuf {
        self.folder.lake()
    }

    fn url(&self) -> &str {
        &self.daemon.as_ref().expect("a daemon").url
    }

    /// Where `lakectl` finds the lake.
    fn adds_place(&self, command: &mut Command) {
        match &self.daemon {
            Some(daemon) => command.args(["--url", &daemon.url]),
            None => command.arg("--lake").arg(self.path()),
        };
    }

    /// Exit code, standard output and complaint of `lakectl`, through the daemon if one runs.
    fn run(&self, words: &[&str]) -> (i32, String, String) {
        let mut command = Command::new(binary("lakectl"));
        self.adds_place(&mut command);
        let output = command.args(words).output().expect("lakectl starts");
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        (output.status.code().expect("an exit"), text(output.stdout), text(output.stderr))
    }

    fn lakectl(&self, words: &[&str]) -> String {
        let (code, out, complaint) = self.run(words);
        assert_eq!(code, 0, "{words:?}: {complaint}");
        out
    }

    fn json(&self, words: &[&str]) -> Value {
        let text = self.lakectl(&[words, &["--output", "json"]].concat());
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{words:?}: {error}: {text}"))
    }

    /// The table's metadata as the catalog tells it.
    fn metadata(&self) -> Value {
        self.json(&["table", "show", TABLE])["metadata"].clone()
    }

    /// Sends bodies of numbered records and waits until each is committed.
    fn send(&self, bodies: std::ops::Range<u64>) {
        produce(self.url(), bodies, &mpsc::channel().0);
    }

    /// The numbers in the table, in order.
    fn numbers(&self) -> Vec<u64> {
        let found = self.lakectl(&["query", "--format", "csv", &format!("select n from {TABLE} order by n")]);
        found.lines().skip(1).map(|line| line.parse().expect("a number")).collect()
    }

    /// Refused: exit code 2, nothing printed, nothing changed, and these words said.
    fn refuses(&self, words: &[&str], said: &str) {
        // Any commit makes a new metadata file.
        let location = || self.json(&["table", "show", TABLE])["metadata-location"].clone();
        let before = location();
        let (code, out, complaint) = self.run(words);
        assert_eq!((code, out.as_str()), (2, ""), "{words:?}: {complaint}");
        assert!(complaint.contains(said), "{words:?}: {complaint}");
        assert_eq!(location(), before, "{words:?}");
    }
}

fn body(number: u64) -> String {
    let record = |n: u64| {
        let (place, month, day) = (["TW", "JP"][n as usize % 2], 1 + n % 12, 1 + n / 12 % 28);
        format!("{{\"n\":{n},\"place\":\"{place}\",\"at\":\"2026-{month:02}-{day:02}T00:00:00Z\"}}\n")
    };
    (number * BODY..(number + 1) * BODY).map(record).collect()
}

/// Posts bodies one after another, every third waiting for its commit, and the last; tells each.
fn produce(url: &str, bodies: std::ops::Range<u64>, told: &mpsc::Sender<u64>) {
    for number in bodies.clone() {
        let waits = if number % 3 == 0 || number + 1 == bodies.end { "?wait=committed" } else { "" };
        let url = format!("{url}/ingest/probe/readings{waits}");
        let answer = post(&url, &[("Content-Type", "application/x-ndjson")], body(number).as_bytes());
        let answer = answer.expect("an answer");
        assert!(matches!(answer.status, 200 | 202), "{}", answer.body);
        let _ = told.send(number);
    }
}

/// Waits until this body was answered.
fn await_body(told: &mpsc::Receiver<u64>, number: u64) {
    assert!(told.iter().any(|at| at == number), "the producer ended before {number}");
}
